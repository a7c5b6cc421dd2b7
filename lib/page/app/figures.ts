/** The two lanes' large figures, and the table of all of them. */
import type { LaneReport, Metrics, SimulationProgress } from '../../simulate/index.ts';
import { byId, make } from './elements.ts';
import { duration } from './sliders.ts';

const share = (value: number | null): string => (value === null ? '–' : `${value.toFixed(2)} %`);
const number = (value: number | null): string =>
  value === null ? '–' : value.toLocaleString('en', { maximumFractionDigits: 2 });
const time = (value: number | null): string => (value === null ? '–' : duration(value));

const rows: readonly { readonly name: string; readonly hint: string; show(metrics: Metrics): string }[] = [
  {
    name: 'duplicate_detection_rate',
    hint: 'guarded calls that were repeats',
    show: (all) => share(all.duplicate_detection_rate),
  },
  {
    name: 'idempotency_key_collision_pct',
    hint: 'guarded calls whose key belongs to another operation',
    show: (all) => share(all.idempotency_key_collision_pct),
  },
  {
    name: 'retry_success_rate',
    hint: 'takeovers that ended with a completion',
    show: (all) => share(all.retry_success_rate),
  },
  { name: 'throughput_rps', hint: 'calls a second', show: (all) => number(all.throughput_rps) },
  { name: 'double charges', hint: 'after the first one', show: (all) => number(all.doubleEffects) },
  {
    name: 'lost charges',
    hint: 'operations whose caller was told of success, and nothing was done',
    show: (all) => number(all.lostEffects),
  },
  { name: 'answered', hint: 'operations', show: (all) => share(all.answeredPercent) },
  {
    name: 'answered after a retry',
    hint: 'of those that took more than one request',
    show: (all) => share(all.answeredAfterRetryPercent),
  },
  {
    name: 'time to the answer',
    hint: 'median and 99th percentile',
    show: (all) => `${time(all.latencyP50Ms)}, ${time(all.latencyP99Ms)}`,
  },
  {
    name: 'added by the guard',
    hint: 'median and 99th percentile',
    show: (all) => `${time(all.addedLatencyP50Ms)}, ${time(all.addedLatencyP99Ms)}`,
  },
  { name: 'write units', hint: 'for each operation', show: (all) => number(all.writeUnitsPerOperation) },
  {
    name: 'DynamoDB, US dollars',
    hint: 'for a million operations',
    show: (all) => number(all.dollarsPerMillion),
  },
];

export function showFigures({ lanes }: SimulationProgress, level: string): void {
  byId('lanes', HTMLDivElement).replaceChildren(
    lane('Without idemkit', lanes.without),
    ...(lanes.with ? [lane(`With idemkit, ${level}`, lanes.with)] : []),
  );
  byId('metrics', HTMLTableSectionElement).replaceChildren(
    ...rows.map(({ name, hint, show }) =>
      make(
        'tr',
        {},
        make('th', { scope: 'row' }, name, make('small', {}, hint)),
        make('td', {}, show(lanes.without.metrics)),
        make('td', {}, lanes.with ? show(lanes.with.metrics) : '–'),
      ),
    ),
  );
}

function lane(title: string, { counts, metrics }: LaneReport): HTMLElement {
  const { doubleEffects } = metrics;
  return make(
    'section',
    { class: 'card lane', 'aria-label': title },
    make('h2', {}, title),
    make('p', { class: doubleEffects > 0 ? 'figure bad' : 'figure good' }, number(doubleEffects)),
    make('p', {}, doubleEffects === 1 ? 'double charge' : 'double charges'),
    make(
      'p',
      { class: 'quiet' },
      `${number(counts.operations)} operations, ${number(counts.calls)} calls, ${number(counts.effects)} charges; ${share(metrics.answeredPercent)} answered`,
    ),
  );
}
