/** A simulation's findings as charts. */
import type { Metrics, SimulationReport, SweepReport } from '../simulate/index.ts';
import type { Chart, Line } from '../svg-chart.ts';
import { typed } from './options.ts';

const titles: Readonly<Record<keyof Metrics, readonly [title: string, unit: string]>> = {
  duplicate_detection_rate: ['duplicate_detection_rate', '%'],
  idempotency_key_collision_pct: ['idempotency_key_collision_pct', '%'],
  retry_success_rate: ['retry_success_rate', '%'],
  throughput_rps: ['throughput_rps', 'per second'],
  doubleEffects: ['double effects', 'effects'],
  lostEffects: ['lost effects', 'effects'],
  answeredPercent: ['operations answered', '%'],
  answeredAfterRetryPercent: ['retried operations answered', '%'],
  latencyP50Ms: ['latency, p50', 'ms'],
  latencyP99Ms: ['latency, p99', 'ms'],
  addedLatencyP50Ms: ['added latency, p50', 'ms'],
  addedLatencyP99Ms: ['added latency, p99', 'ms'],
  writeUnitsPerOperation: ['write units for each operation', 'units'],
  dollarsPerMillion: ['dollars per million operations', 'dollars'],
};

export const metricNames = Object.keys(titles) as (keyof Metrics)[];

/** Metrics that the lane without a guard does not have. */
const guards: ReadonlySet<keyof Metrics> = new Set([
  ...(['duplicate_detection_rate', 'idempotency_key_collision_pct', 'retry_success_rate'] as const),
  ...(['addedLatencyP50Ms', 'addedLatencyP99Ms', 'writeUnitsPerOperation', 'dollarsPerMillion'] as const),
]);

/** Double effects over time, in both lanes. */
export function effectsChart(title: string, { series }: SimulationReport): Chart {
  return {
    title: `${title}: double effects`,
    x: { title: 'seconds', scale: 'linear' },
    y: { title: 'effects', scale: 'linear' },
    lines: (['without', 'with'] as const).flatMap((lane) => {
      const points = series.flatMap(({ seconds, lanes }): [number, number][] => {
        const report = lanes[lane];
        return report ? [[seconds, report.counts.doubleEffects]] : [];
      });
      return points.length === 0 ? [] : [{ ...looks[lane], points }];
    }),
  };
}

/** What is doubled is red. */
const looks = {
  without: { name: 'without', colour: '#d1242f' },
  with: { name: 'with idemkit', colour: '#2f81f7' },
} as const;

/** One metric over the values of a parameter. */
export function sweepChart({ parameter, points }: SweepReport, metric: keyof Metrics): Chart {
  const lanes = guards.has(metric) ? (['with'] as const) : (['without', 'with'] as const);
  const [title, unit] = titles[metric];
  const values = points.map(({ value }) => value);
  const [least, most] = [Math.min(...values), Math.max(...values)];
  return {
    title: `${title}, by ${typed(parameter)}`,
    x: { title: typed(parameter), scale: least > 0 && most / least >= 50 ? 'logarithmic' : 'linear' },
    y: { title: unit, scale: 'linear' },
    lines: lanes.map(
      (lane): Line => ({
        ...looks[lane],
        points: points.flatMap(({ value, lanes: both }): [number, number][] => {
          const found = both[lane]?.metrics[metric];
          return found === null || found === undefined ? [] : [[value, found]];
        }),
      }),
    ),
  };
}
