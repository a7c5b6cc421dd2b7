/** `idemkit simulate`: what retries do to a traffic, without idemkit and with. */
import { writeFileSync } from 'node:fs';
import { IdempotencyError } from '../errors.ts';
import {
  doubledByCommits,
  LogError,
  type Metrics,
  replay,
  type SimulationReport,
  type SimulationSettings,
  type SweepParameter,
  settingRules,
  settingsFrom,
  settingWords,
  simulate,
  sweep,
  sweepValues,
  type TemplateName,
  templateNames,
  templates,
  withoutFaults,
} from '../simulate/index.ts';
import { svgOf } from '../svg-chart.ts';
import { type Command, type Terminal, UsageError } from './command.ts';
import { linesOf } from './lines.ts';
import { nearestOf } from './nearest.ts';
import { type OptionKinds, read, typed } from './options.ts';
import { Progress } from './progress.ts';
import { effectsChart, metricNames, sweepChart } from './simulate-charts.ts';
import { described, describedLog, laneTable, sweepTable, timeLineText } from './simulate-tables.ts';

const settingNames = Object.keys(settingRules) as (keyof SimulationSettings)[];

const own = {
  json: { kind: 'flag', words: 'prints the whole report as JSON' },
  svg: { kind: 'text', words: 'FILE: draws double effects over time, or the sweep’s curve' },
  'time-lines': {
    kind: 'text',
    words: 'N: prints what happened to N operations, doubled ones first (at most 20)',
  },
  replay: { kind: 'text', words: 'FILE: plays a log of real requests (time, method, key) instead' },
  sweep: { kind: 'text', words: 'PARAMETER=FROM..TO[:STEPS]: varies one parameter' },
  metric: { kind: 'text', words: 'what a sweep draws; doubleEffects by default' },
} as const;

const kinds: OptionKinds = {
  ...Object.fromEntries(settingNames.map((name) => [typed(name), 'text'] as const)),
  ...Object.fromEntries(Object.entries(own).map(([name, { kind }]) => [name, kind] as const)),
};

export const simulateCommand: Command = {
  name: 'simulate',
  summary: 'plays traffic without idemkit and with, and counts what is done twice',
  help,
  run,
};

interface Wanted {
  readonly template: TemplateName;
  readonly settings: SimulationSettings;
  readonly isJson: boolean;
  readonly svg: string | undefined;
  readonly timeLines: number;
  readonly metric: keyof Metrics;
  /** A file. */
  readonly replay: string | undefined;
  readonly sweep: { readonly parameter: SweepParameter; readonly values: readonly number[] } | undefined;
}

async function run(args: readonly string[], terminal: Terminal): Promise<number> {
  const wanted = asUsage(() => wantedOf(args));
  if (wanted.replay !== undefined) return runReplay(wanted, wanted.replay, terminal);
  return wanted.sweep ? runSweep(wanted, wanted.sweep, terminal) : runOnce(wanted, terminal);
}

async function runOnce(wanted: Wanted, terminal: Terminal): Promise<number> {
  const { settings, template } = wanted;
  const progress = new Progress(terminal);
  const report = await simulate(settings, {
    onProgress: ({ operations }) => progress.tell(operations / settings.operations),
  });
  progress.end();
  const { title } = templates[template];
  return tell(wanted, report, title, described(template, settings, report.seconds), terminal);
}

/** The log is opened before anything is played: a file that is not there is a mistake in the arguments. */
async function runReplay(wanted: Wanted, file: string, terminal: Terminal): Promise<number> {
  const progress = new Progress(terminal);
  try {
    const report = await replay(linesOf(file), wanted.settings, {
      onProgress: ({ lanes }) => progress.count(lanes.without.counts.calls, 'requests'),
    });
    progress.end();
    return tell(wanted, report, 'Replayed log', describedLog(wanted.settings, report), terminal);
  } catch (error) {
    progress.end();
    if (error instanceof LogError) throw new UsageError(`${file}: ${error.message}`, { cause: error });
    const { code, syscall } = error as NodeJS.ErrnoException;
    if (code === undefined || syscall === undefined) throw error;
    throw new UsageError(`${JSON.stringify(file)} could not be read (${code}).`, { cause: error });
  }
}

function tell(
  wanted: Wanted,
  report: SimulationReport,
  title: string,
  introduction: string,
  terminal: Terminal,
): number {
  const { template, settings } = wanted;
  if (wanted.isJson) terminal.out(`${JSON.stringify({ template, ...report }, null, 2)}\n`);
  else terminal.out(textOf(introduction, wanted, report));
  if (wanted.svg !== undefined) write(wanted.svg, svgOf(effectsChart(title, report)));
  return exitCode(settings, [report.lanes], terminal);
}

function textOf(introduction: string, { timeLines }: Wanted, report: SimulationReport): string {
  return [
    introduction,
    laneTable(report.lanes),
    ...report.timeLines.slice(0, timeLines).map(timeLineText),
    '',
  ].join('\n\n');
}

async function runSweep(
  { settings, template, isJson, svg, metric }: Wanted,
  { parameter, values }: NonNullable<Wanted['sweep']>,
  terminal: Terminal,
): Promise<number> {
  const progress = new Progress(terminal);
  const report = await sweep(settings, parameter, values, {
    onProgress: (done, of) => progress.tell(done / of),
  });
  progress.end();
  if (isJson) terminal.out(`${JSON.stringify({ template, ...report }, null, 2)}\n`);
  else terminal.out(`${described(template, settings)}\n\n${sweepTable(report)}\n`);
  if (svg !== undefined) write(svg, svgOf(sweepChart(report, metric)));
  return exitCode(
    settings,
    report.points.map(({ lanes }) => lanes),
    terminal,
  );
}

/** Says where an effect was doubled that no fault may double. */
function exitCode(
  settings: SimulationSettings,
  all: readonly SimulationReport['lanes'][],
  terminal: Terminal,
): number {
  const doubled = doubledByCommits(settings, all);
  if (doubled === 0) return 0;
  terminal.error(
    `${doubled} effects were doubled at the level committed, where none may be. Please report the seed.\n`,
  );
  return 1;
}

function wantedOf(args: readonly string[]): Wanted {
  const { options, words } = read(args, kinds);
  const [template = 'pay-button', ...more] = words;
  if (more.length > 0) throw new UsageError('Name one template at most. Options begin with --.');
  if (!templateNames.includes(template as TemplateName)) {
    throw new UsageError(
      `Unknown template ${JSON.stringify(template)}. Did you mean ${nearestOf(template, templateNames)}? Known: ${templateNames.join(', ')}.`,
    );
  }
  const name = template as TemplateName;
  const {
    json,
    svg,
    replay: log,
    sweep: swept,
    metric = 'doubleEffects',
    'time-lines': lines = '0',
  } = options;
  if (log !== undefined && swept !== undefined) {
    throw new UsageError('--replay and --sweep exclude each other: a log is played once.');
  }
  const changes = changesIn(options, templates[name].settings);
  return {
    template: name,
    settings: settingsFrom(name, log === undefined ? changes : { ...withoutFaults, ...changes }),
    replay: log === true ? undefined : log,
    isJson: json === true,
    svg: svg === true ? undefined : svg,
    timeLines: countOf(String(lines)),
    metric: oneOf(String(metric), metricNames, 'metric'),
    sweep: swept === undefined ? undefined : sweepOf(String(swept)),
  };
}

/** What is typed, as the template's value of the same name is: a number, a word, or whether something is so. */
function changesIn(
  options: Readonly<Record<string, string | true>>,
  defaults: SimulationSettings,
): Partial<SimulationSettings> {
  const changes: Record<string, unknown> = {};
  for (const name of settingNames) {
    const text = options[typed(name)];
    if (text === undefined) continue;
    const value = parsed(String(text), typeof defaults[name]);
    const rule = settingRules[name];
    if (!rule.isFine(value)) {
      throw new UsageError(`Expected --${typed(name)} to be ${rule.expected}, got ${JSON.stringify(text)}.`);
    }
    changes[name] = value;
  }
  return changes;
}

function parsed(text: string, kind: string): unknown {
  if (kind === 'boolean') return text === 'true' ? true : text === 'false' ? false : text;
  return kind === 'number' && text.trim() !== '' ? Number(text) : text;
}

function countOf(text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count >= 0 && count <= 20) return count;
  throw new UsageError(
    `Expected --time-lines to be a whole number from 0 to 20, got ${JSON.stringify(text)}.`,
  );
}

function oneOf<Name extends string>(text: string, names: readonly Name[], option: string): Name {
  if (names.includes(text as Name)) return text as Name;
  throw new UsageError(
    `Unknown --${option} ${JSON.stringify(text)}. Did you mean ${nearestOf(text, names)}? Known: ${names.join(', ')}.`,
  );
}

function sweepOf(text: string): NonNullable<Wanted['sweep']> {
  const [, name = '', from = '', to = '', steps] =
    /^([a-zA-Z0-9-]+)=(-?[\d.e]{1,20}?)\.\.(-?[\d.e]{1,20}?)(?::(\d{1,3}))?$/.exec(text) ?? [];
  if (name === '') {
    throw new UsageError(
      `Expected --sweep to be PARAMETER=FROM..TO or PARAMETER=FROM..TO:STEPS, e.g. lease-seconds=1..30:6, got ${JSON.stringify(text)}.`,
    );
  }
  const numeric = settingNames.filter(
    (one) => typeof templates['pay-button'].settings[one] === 'number',
  ) as SweepParameter[];
  const parameter = numeric.find((one) => typed(one) === name || one === name);
  if (parameter === undefined) {
    const known = numeric.map(typed);
    throw new UsageError(
      `There is no parameter ${JSON.stringify(name)} with numbers. Did you mean ${nearestOf(name, known)}? Known: ${known.join(', ')}.`,
    );
  }
  const ends = [Number(from), Number(to)] as const;
  for (const end of ends) {
    if (!settingRules[parameter].isFine(end)) {
      throw new UsageError(
        `Expected the ends of --sweep ${typed(parameter)} to be ${settingRules[parameter].expected}, got ${JSON.stringify(text)}.`,
      );
    }
  }
  return {
    parameter,
    values: sweepValues(parameter, ...ends, steps === undefined ? undefined : Number(steps)),
  };
}

/** A setting that is wrong is a mistake in the arguments. */
function asUsage<T>(work: () => T): T {
  try {
    return work();
  } catch (error) {
    if (IdempotencyError.is(error, 'BAD_OPTION')) throw new UsageError(error.message, { cause: error });
    throw error;
  }
}

function write(file: string, text: string): void {
  try {
    writeFileSync(file, text);
  } catch (cause) {
    throw new UsageError(
      `${JSON.stringify(file)} could not be written (${(cause as { code?: string }).code}).`,
      {
        cause,
      },
    );
  }
}

function help(): string {
  const line = (option: string, words: string) => `  --${option.padEnd(28)} ${words}`;
  const { settings } = templates['pay-button'];
  return [
    'Usage: idemkit simulate [template] [options]',
    '',
    'Plays invented traffic against the real guard under virtual time, without idemkit and with.',
    '',
    'Templates (pay-button by default):',
    ...templateNames.map((name) => `  ${name.padEnd(16)} ${templates[name].description}`),
    '',
    'Options:',
    ...Object.entries(own).map(([name, { words }]) => line(name, words)),
    '',
    'Parameters, with their values in pay-button:',
    ...settingNames.map((name) => line(typed(name), `${settingWords[name]} (${settings[name]})`)),
    '',
    'Exit codes: 0; 1 where an effect was doubled at the level committed; 2 for wrong arguments.',
    '',
  ].join('\n');
}
