/** The table of what was counted, in a page that is otherwise written by hand. */
import type { Row } from './run.ts';
import type { Counted } from './stage.ts';

/** What a run has counted, as it is kept. */
export interface Report {
  readonly peer: string;
  readonly version: string;
  /** `2026-11-24` */
  readonly date: string;
  readonly rows: readonly Row[];
}

const begin = '<!-- counted: begin -->';
const end = '<!-- counted: end -->';

/** `page` with the table of `report` in its place. */
export function withTable(page: string, report: Report): string {
  const before = page.slice(0, page.indexOf(begin) + begin.length);
  return `${before}\n\n${tableOf(report)}\n\n${page.slice(page.indexOf(end))}`;
}

function tableOf({ peer, version, date, rows }: Report): string {
  return [
    `Counted on ${date}, idemkit of this commit beside \`${peer}\` ${version}.`,
    '',
    '| scenario | clean calls: effects | idemkit: effects | callers got | peer: effects | callers got |',
    '|---|---|---|---|---|---|',
    ...rows.map(({ scenario, cleanEffects, idemkit, peer }) => {
      const cells = [scenario, cleanEffects, ...told(idemkit, cleanEffects), ...told(peer, cleanEffects)];
      return `| ${cells.join(' | ')} |`;
    }),
  ].join('\n');
}

/** Effects and callers, each in bold where it is not what clean calls leave. */
export function told(
  { effects, callers }: Counted,
  cleanEffects: number,
): [effects: string, callers: string] {
  const answers = new Set(callers.filter((word) => word === 'nothing' || word.startsWith('answer ')));
  return [
    marked(String(effects), effects !== cleanEffects),
    marked(inGroups(callers), answers.size > cleanEffects),
  ];
}

const marked = (text: string, differs: boolean): string => (differs ? `**${text}**` : text);

/** `answer 1, 10 × busy` */
function inGroups(callers: readonly string[]): string {
  const groups: { word: string; count: number }[] = [];
  for (const word of callers) {
    const last = groups.at(-1);
    if (last?.word === word) last.count++;
    else groups.push({ word, count: 1 });
  }
  return groups.map(({ word, count }) => (count === 1 ? word : `${count} × ${word}`)).join(', ');
}
