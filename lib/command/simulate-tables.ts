/** A simulation's findings as text. */
import { figure } from '../figure.ts';
import {
  type Metrics,
  type ReplayReport,
  type SimulationProgress,
  type SimulationSettings,
  type SweepReport,
  type TemplateName,
  type TimeLine,
  templates,
  timeLineKinds,
} from '../simulate/index.ts';
import { formatTable } from '../text-table.ts';
import { typed } from './options.ts';

/** What was played. */
export function described(template: TemplateName, settings: SimulationSettings, seconds?: number): string {
  const { title, description, settings: defaults } = templates[template];
  const changed = (Object.keys(settings) as (keyof SimulationSettings)[]).filter(
    (name) => settings[name] !== defaults[name],
  );
  return [
    `${title}: ${description}`,
    `${figure(settings.operations)} operations at the level ${settings.level}, seed ${settings.seed}` +
      (seconds === undefined ? '' : `, ${figure(seconds)} s of virtual time`),
    ...(changed.length > 0
      ? [`Changed: ${changed.map((name) => `--${typed(name)}=${settings[name]}`).join(' ')}`]
      : []),
  ].join('\n');
}

/** What was replayed, and what of it was left out. Nothing of what the log holds. */
export function describedLog(
  settings: SimulationSettings,
  { log, operations, seconds }: ReplayReport,
): string {
  const left = [
    [log.otherMethods, 'have another method than POST and PATCH'],
    [log.withoutKey, 'have no key'],
  ] as const;
  return [
    `Replayed log: ${figure(log.requests)} requests with ${figure(operations)} keys in ${figure(seconds)} s, at the level ${settings.level}`,
    ...left.filter(([count]) => count > 0).map(([count, words]) => `Not played: ${figure(count)} ${words}`),
    ...(log.outOfOrder > 0
      ? [`Logged after a later one, and played with it: ${figure(log.outOfOrder)}`]
      : []),
    ...(log.forgotten > 0
      ? [`Keys that were given up early, for want of memory: ${figure(log.forgotten)}`]
      : []),
  ].join('\n');
}

interface Row {
  readonly what: string;
  readonly without: string;
  readonly with: string;
}

type Lanes = SimulationProgress['lanes'];

/** Both lanes side by side. */
export function laneTable({ without, with: guarded }: Lanes): string {
  const shown = (value: number | null | undefined, unit = ''): string =>
    value === null || value === undefined ? '–' : `${figure(value)}${unit}`;
  const metric = (what: string, name: keyof Metrics, unit = '', isGuards = false): Row => ({
    what,
    without: isGuards ? '–' : shown(without.metrics[name], unit),
    with: shown(guarded?.metrics[name], unit),
  });
  const count = (what: string, name: 'calls' | 'runs' | 'effects' | 'refused' | 'abandoned'): Row => ({
    what,
    without: shown(without.counts[name]),
    with: shown(guarded?.counts[name]),
  });
  const rows: Row[] = [
    metric('duplicate_detection_rate', 'duplicate_detection_rate', ' %', true),
    metric('idempotency_key_collision_pct', 'idempotency_key_collision_pct', ' %', true),
    metric('retry_success_rate', 'retry_success_rate', ' %', true),
    metric('throughput_rps', 'throughput_rps', ' /s'),
    metric('double effects', 'doubleEffects'),
    metric('lost effects', 'lostEffects'),
    count('calls of the function', 'calls'),
    count('runs of the handler', 'runs'),
    count('effects', 'effects'),
    metric('operations answered', 'answeredPercent', ' %'),
    count('operations refused: another one’s key', 'refused'),
    count('operations given up by their caller', 'abandoned'),
    metric('latency, p50', 'latencyP50Ms', ' ms'),
    metric('latency, p99', 'latencyP99Ms', ' ms'),
    metric('added latency, p50', 'addedLatencyP50Ms', ' ms', true),
    metric('added latency, p99', 'addedLatencyP99Ms', ' ms', true),
    metric('write units for each operation', 'writeUnitsPerOperation', '', true),
    metric('dollars per million operations', 'dollarsPerMillion', '', true),
  ];
  return formatTable(
    [
      { title: '', width: 38, cell: (row: Row) => row.what },
      { title: 'without', width: 14, cell: (row: Row) => row.without },
      { title: 'with idemkit', width: 14, cell: (row: Row) => row.with },
    ],
    rows,
    'dense',
  );
}

/** One row for each value of the parameter. */
export function sweepTable({ parameter, points }: SweepReport): string {
  const shown = (value: number | null | undefined): string =>
    value === null || value === undefined ? '–' : figure(value);
  const guarded = (title: string, name: keyof Metrics, width = 12) => ({
    title,
    width,
    cell: ({ lanes }: SweepReport['points'][number]) => shown(lanes.with?.metrics[name]),
  });
  return formatTable(
    [
      {
        title: typed(parameter),
        width: Math.max(10, typed(parameter).length),
        cell: ({ value }: SweepReport['points'][number]) => figure(value),
      },
      {
        title: 'double effects without',
        width: 14,
        cell: ({ lanes }: SweepReport['points'][number]) => shown(lanes.without.metrics.doubleEffects),
      },
      guarded('double effects with', 'doubleEffects', 14),
      guarded('lost effects', 'lostEffects'),
      guarded('answered, %', 'answeredPercent'),
      guarded('duplicates, %', 'duplicate_detection_rate'),
      guarded('collisions, %', 'idempotency_key_collision_pct'),
      guarded('retries that succeeded, %', 'retry_success_rate', 16),
      guarded('p99 added, ms', 'addedLatencyP99Ms'),
      guarded('dollars per million', 'dollarsPerMillion'),
    ],
    points,
    'dense',
  );
}

/** What happened to one operation, both lanes one after the other. */
export function timeLineText({ operation, because, lanes }: TimeLine): string {
  return [
    `Operation ${operation} (${because}):`,
    ...lanes.flatMap(({ lane, effects, events }) => [
      `  ${lane === 'with' ? 'with idemkit' : 'without'}, ${effects} ${effects === 1 ? 'effect' : 'effects'}`,
      ...events.map(({ atMs, request, kind, environment }) => {
        const { actor, words } = timeLineKinds[kind];
        const place = environment === undefined ? '' : ` (environment ${environment})`;
        return `${String(atMs).padStart(12)} ms  request ${request}: ${actor} ${words}${place}`;
      }),
    ]),
  ].join('\n');
}
