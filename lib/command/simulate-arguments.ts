/** What `idemkit simulate` is told. */
import { IdempotencyError } from '../errors.ts';
import {
  type Metrics,
  type SimulationSettings,
  type SweepParameter,
  settingRules,
  settingsFrom,
  sweepValues,
  type TemplateName,
  templateNames,
  templates,
  withoutFaults,
} from '../simulate/index.ts';
import { UsageError } from './command.ts';
import { nearestOf } from './nearest.ts';
import { type OptionKinds, read, typed } from './options.ts';
import { metricNames } from './simulate-charts.ts';

export const settingNames = Object.keys(settingRules) as (keyof SimulationSettings)[];

/** Options beside the parameters. */
export const own = {
  json: { kind: 'flag', words: 'prints the whole report as JSON' },
  svg: { kind: 'text', words: 'FILE: draws double effects over time, or the sweep’s curve' },
  'time-lines': {
    kind: 'text',
    words: 'N: prints what happened to N operations, doubled ones first (at most 20)',
  },
  replay: { kind: 'text', words: 'FILE: plays a log of real requests (time, method, key) instead' },
  sweep: { kind: 'text', words: 'PARAMETER=FROM..TO[:STEPS]: varies one parameter' },
  metric: { kind: 'text', words: 'what a sweep draws; doubleEffects by default' },
  page: { kind: 'flag', words: 'serves a page with sliders on this machine, until it is interrupted' },
  port: { kind: 'text', words: 'PORT: where the page is served; a free one by default' },
} as const;

const kinds: OptionKinds = {
  ...Object.fromEntries(settingNames.map((name) => [typed(name), 'text'] as const)),
  ...Object.fromEntries(Object.entries(own).map(([name, { kind }]) => [name, kind] as const)),
};

export interface Wanted {
  readonly template: TemplateName;
  readonly settings: SimulationSettings;
  /** Where the page is to be served; `undefined` where there is to be none. */
  readonly pagePort: number | undefined;
  readonly isJson: boolean;
  readonly svg: string | undefined;
  readonly timeLines: number;
  readonly metric: keyof Metrics;
  /** A file. */
  readonly replay: string | undefined;
  readonly sweep: { readonly parameter: SweepParameter; readonly values: readonly number[] } | undefined;
}

/**
 * @throws {@link UsageError}
 */
export function wantedFrom(args: readonly string[]): Wanted {
  try {
    return wantedOf(args);
  } catch (error) {
    // A setting that is wrong is a mistake in the arguments.
    if (IdempotencyError.is(error, 'BAD_OPTION')) throw new UsageError(error.message, { cause: error });
    throw error;
  }
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
    pagePort: pagePortIn(options),
    settings: settingsFrom(name, log === undefined ? changes : { ...withoutFaults, ...changes }),
    replay: log === true ? undefined : log,
    isJson: json === true,
    svg: svg === true ? undefined : svg,
    timeLines: countOf(String(lines)),
    metric: oneOf(String(metric), metricNames, 'metric'),
    sweep: swept === undefined ? undefined : sweepOf(String(swept)),
  };
}

function pagePortIn(options: Readonly<Record<string, string | true>>): number | undefined {
  const { page, port = '0' } = options;
  if (page === undefined) {
    if (options.port === undefined) return undefined;
    throw new UsageError('--port says where the page is served. Write --page as well.');
  }
  const other = (Object.keys(own) as (keyof typeof own)[]).find(
    (name) => name !== 'page' && name !== 'port' && options[name] !== undefined,
  );
  if (other !== undefined) throw new UsageError(`--page and --${other} exclude each other.`);
  const number = Number(port);
  if (Number.isSafeInteger(number) && number >= 0 && number <= 65_535) return number;
  throw new UsageError(`Expected --port to be a whole number from 0 to 65535, got ${JSON.stringify(port)}.`);
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
