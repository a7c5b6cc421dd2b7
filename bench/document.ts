/** Writes `docs/performance.md` and its charts from what a run found. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { svgOf } from '../lib/svg-chart.ts';
import { cellsOf } from './report.ts';
import type { PartResult, Result } from './result.ts';

const introduction = `# Performance

idemkit beside \`@aws-lambda-powertools/idempotency\`, which this page calls the peer.
\`npm run bench -- --docs\` measures both by turns in one run, and writes this page.
Read the ratios: below 1.00, idemkit takes less than the peer.
Times hold for the machine that is named below.
A figure is the median of the rounds, with the quartiles in brackets.
A ratio is the median of each round's own ratio.

Both guard the same handler.
Both refuse a key that comes again with another payload.
The peer does so by its option \`payloadValidationJmesPath\`.
"Own CPU" is measured on a client that answers in the next turn of the event loop.
It leaves out the SDK, the network and DynamoDB.
The first table also leaves out what such a call costs without a guard.
These are its event, context and handler, Middy, as many requests, and the errors of those that are refused.
That is measured beside each figure.
Each case runs 18,000 times before it is measured, because V8 takes that long to compile it.
The processes are told that they were started on demand, as Lambda tells them.
`;

export function writeDocument({ machine, parts }: Result, folder: string): void {
  const { date, node, cpu, cores, packages, quick } = machine;
  const charts = join(folder, 'charts');
  mkdirSync(charts, { recursive: true });
  const lines = [
    introduction,
    '| measured on | |',
    '|---|---|',
    `| date | ${date}${quick ? ', a quick run' : ''} |`,
    `| machine | ${cpu}, ${cores} cores |`,
    `| Node | ${node} |`,
    ...Object.entries(packages).map(([name, version]) => `| \`${name}\` | ${version} |`),
  ];
  for (const part of parts) lines.push('', ...sectionOf(part, charts));
  writeFileSync(join(folder, 'performance.md'), `${lines.join('\n')}\n`);
}

/** Replaces the sections of these parts in the page, and adds those that it does not have. The others stay as they were measured. */
export function updateDocument({ parts }: Result, folder: string): void {
  const file = join(folder, 'performance.md');
  const charts = join(folder, 'charts');
  const [head = '', ...sections] = readFileSync(file, 'utf8').split(/^(?=## )/m);
  for (const part of parts) {
    const text = `${sectionOf(part, charts).join('\n')}\n`;
    const at = sections.findIndex((section) => section.startsWith(`## ${part.title}\n`));
    if (at < 0) sections.push(text);
    else sections[at] = text;
  }
  const all = [head, ...sections].map((section) => section.trimEnd());
  writeFileSync(file, `${all.join('\n\n')}\n`);
}

function sectionOf(part: PartResult, charts: string): string[] {
  const lines = [`## ${part.title}`, '', '| | idemkit | peer | ratio | |', '|---|---|---|---|---|'];
  for (const row of part.rows) lines.push(`| ${cellsOf(row).join(' | ')} |`);
  for (const chart of part.charts ?? []) {
    writeFileSync(join(charts, `${chart.name}.svg`), svgOf(chart));
    lines.push('', `![${chart.title}](charts/${chart.name}.svg)`);
  }
  return lines;
}
