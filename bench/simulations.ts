/** Makes the tables and the pictures of `docs/simulate.md` from runs at fixed seeds. `npm run simulate:docs` writes them. */
import { readFileSync, writeFileSync } from 'node:fs';
import { pathToFileURL } from 'node:url';
import { sweepChart } from '../lib/command/simulate-charts.ts';
import { timeLineText } from '../lib/command/simulate-tables.ts';
import { figure } from '../lib/figure.ts';
import {
  type LaneReport,
  type Metrics,
  type SimulationSettings,
  type SweepParameter,
  settingsFrom,
  simulate,
  sweep,
  type TemplateName,
  templateNames,
  templates,
} from '../lib/simulate/index.ts';
import { svgOf } from '../lib/svg-chart.ts';

export const page = 'docs/simulate.md';

interface Picture {
  /** Of the file, without its ending. */
  readonly name: string;
  readonly template: TemplateName;
  readonly changes: Partial<SimulationSettings>;
  readonly parameter: SweepParameter;
  readonly values: readonly number[];
  readonly metric: keyof Metrics;
}

const pictures: readonly Picture[] = [
  {
    name: 'simulated-retries',
    template: 'pay-button',
    changes: { level: 'committed', requestLossRate: 0.1, answerLossRate: 0.1 },
    parameter: 'maxAttempts',
    values: [1, 2, 3, 4, 5, 6],
    metric: 'doubleEffects',
  },
  {
    name: 'simulated-lease',
    template: 'pay-button',
    changes: {
      ...{ handlerP50Ms: 600, handlerP99Ms: 9_000, functionTimeoutMs: 15_000 },
      ...{ clientTimeoutMs: 3_000, waitForResultMs: 0 },
    },
    parameter: 'leaseSeconds',
    values: [1, 2, 4, 7, 10, 13, 16],
    metric: 'doubleEffects',
  },
  {
    name: 'simulated-key-length',
    template: 'pay-button',
    changes: { key: 'short' },
    parameter: 'keyBits',
    values: [8, 10, 12, 14, 16, 20, 24],
    metric: 'idempotency_key_collision_pct',
  },
];

const operationsOfTemplate = 3_000;
const operationsOfPicture = 1_500;

/** What is generated: whole files, and parts of the page between their marks. */
export interface Generated {
  readonly files: Readonly<Record<string, string>>;
  readonly parts: Readonly<Record<string, string>>;
}

export async function generated(): Promise<Generated> {
  const files: Record<string, string> = {};
  const parts: Record<string, string> = { templates: await templatesTable(), 'time-line': await timeLine() };
  for (const { name, template, changes, parameter, values, metric } of pictures) {
    const settings = settingsFrom(template, { ...changes, operations: operationsOfPicture });
    const report = await sweep(settings, parameter, values);
    files[`docs/charts/${name}.svg`] = svgOf(sweepChart(report, metric));
    parts[name] = tableOf([
      [parameter, 'double effects without', 'with', 'refused: another’s key', 'answered', 'p99 added'],
      ...report.points.map(({ value, lanes: { without, with: guarded } }) => [
        figure(value),
        figure(without.counts.doubleEffects),
        figure(guarded?.counts.doubleEffects ?? 0),
        figure(guarded?.counts.refused ?? 0),
        shown(guarded?.metrics.answeredPercent, ' %'),
        shown(guarded?.metrics.addedLatencyP99Ms, ' ms'),
      ]),
    ]);
  }
  return { files, parts };
}

/** The first operation that the template's traffic doubles. */
async function timeLine(): Promise<string> {
  const { timeLines } = await simulate(settingsFrom('pay-button', { operations: 100 }));
  return ['```text', timeLineText(timeLines[0]!), '```'].join('\n');
}

async function templatesTable(): Promise<string> {
  const lanes: { readonly without: LaneReport; readonly with?: LaneReport }[] = [];
  for (const name of templateNames) {
    lanes.push((await simulate(settingsFrom(name, { operations: operationsOfTemplate }))).lanes);
  }
  const row = (what: string, cell: (lane: LaneReport) => string): string[] => [
    what,
    ...lanes.map(({ with: guarded }) => (guarded ? cell(guarded) : '–')),
  ];
  return tableOf([
    ['', ...templateNames.map((name) => `\`${name}\``)],
    ['level', ...templateNames.map((name) => templates[name].settings.level)],
    row('`duplicate_detection_rate`', ({ metrics }) => shown(metrics.duplicate_detection_rate, ' %')),
    row('`idempotency_key_collision_pct`', ({ metrics }) =>
      shown(metrics.idempotency_key_collision_pct, ' %'),
    ),
    row('`retry_success_rate`', ({ metrics }) => shown(metrics.retry_success_rate, ' %')),
    row('`throughput_rps`', ({ metrics }) => shown(metrics.throughput_rps, '')),
    ['double effects without', ...lanes.map(({ without }) => figure(without.counts.doubleEffects))],
    row('double effects with', ({ counts }) => figure(counts.doubleEffects)),
    row('lost effects', ({ counts }) => figure(counts.lostEffects)),
    row('added latency, p50', ({ metrics }) => shown(metrics.addedLatencyP50Ms, ' ms')),
    row('added latency, p99', ({ metrics }) => shown(metrics.addedLatencyP99Ms, ' ms')),
    row('write units for each operation', ({ metrics }) => shown(metrics.writeUnitsPerOperation, '')),
    row('dollars per million operations', ({ metrics }) => shown(metrics.dollarsPerMillion, '')),
  ]);
}

const shown = (value: number | null | undefined, unit: string): string =>
  value === null || value === undefined ? '–' : `${figure(value)}${unit}`;

const tableOf = ([head = [], ...rows]: readonly (readonly string[])[]): string =>
  [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

/** The page with its parts replaced. */
export function filled(text: string, { parts }: Generated): string {
  return Object.entries(parts).reduce((filledSoFar, [name, part]) => {
    const marks = new RegExp(`(<!-- ${name} -->\n)[\\s\\S]*?(\n<!-- /${name} -->)`);
    if (!marks.test(filledSoFar)) throw new Error(`${page} has no marks for ${name}.`);
    return filledSoFar.replace(marks, (_, before: string, after: string) => `${before}\n${part}\n${after}`);
  }, text);
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const made = await generated();
  for (const [file, text] of Object.entries(made.files)) writeFileSync(file, text);
  writeFileSync(page, filled(readFileSync(page, 'utf8'), made));
}
