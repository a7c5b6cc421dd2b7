/** Formulas over counted events. `docs/simulate.md` gives them in words. */
import type { Counts, LaneCounts } from './counts.ts';
import type { Histogram } from './histogram.ts';
import { prices } from './prices.ts';
import type { SimulationSettings } from './settings.ts';

/** What is shown of a lane. `null`: there is nothing to divide by. Shares are in percent. */
export interface Metrics {
  /** As `IdempotencyDashboard` has it: `100 * (replay + busy) / guarded calls`. */
  readonly duplicate_detection_rate: number | null;
  /** As `IdempotencyDashboard` has it: `100 * mismatch / guarded calls`. */
  readonly idempotency_key_collision_pct: number | null;
  /** As `IdempotencyDashboard` has it: `100 * completions by a second or later attempt / takeovers`. */
  readonly retry_success_rate: number | null;
  /** Guarded calls for each second of the run; without a guard, calls. */
  readonly throughput_rps: number;
  readonly doubleEffects: number;
  readonly lostEffects: number;
  /** `100 * answered / operations` */
  readonly answeredPercent: number | null;
  /** Of operations that took more than one request, those that were answered, in percent. */
  readonly answeredAfterRetryPercent: number | null;
  readonly latencyP50Ms: number | null;
  readonly latencyP99Ms: number | null;
  /** For each operation that was answered in both lanes: how much later than without a guard. `null` in the lane without. */
  readonly addedLatencyP50Ms: number | null;
  readonly addedLatencyP99Ms: number | null;
  readonly writeUnitsPerOperation: number | null;
  /** What a million operations cost at DynamoDB, requests only. */
  readonly dollarsPerMillion: number | null;
}

/** Calls that a guard answered for: claimed, taken over, replayed or refused. */
export const guardedCalls = ({ claim, takeover, replay, busy, mismatch }: LaneCounts['observed']): number =>
  claim + takeover + replay + busy + mismatch;

export function metricsOf(
  counts: Counts,
  seconds: number,
  isGuarded: boolean,
  addedLatency?: Histogram,
): Metrics {
  const { observed, operations } = counts;
  const calls = guardedCalls(observed);
  const dollars =
    (counts.writeUnits * prices.perMillionWriteUnits + counts.readUnits * prices.perMillionReadUnits) / 1e6;
  return {
    duplicate_detection_rate: percent(observed.replay + observed.busy, calls),
    idempotency_key_collision_pct: percent(observed.mismatch, calls),
    retry_success_rate: percent(observed.retrySuccess, observed.takeover),
    throughput_rps: seconds > 0 ? (isGuarded ? calls : counts.calls) / seconds : 0,
    doubleEffects: counts.doubleEffects,
    lostEffects: counts.lostEffects,
    answeredPercent: percent(counts.answered, operations),
    answeredAfterRetryPercent: percent(counts.answeredAfterRetry, counts.retried),
    latencyP50Ms: counts.latency.quantile(0.5),
    latencyP99Ms: counts.latency.quantile(0.99),
    addedLatencyP50Ms: addedLatency?.quantile(0.5) ?? null,
    addedLatencyP99Ms: addedLatency?.quantile(0.99) ?? null,
    writeUnitsPerOperation: operations === 0 ? null : counts.writeUnits / operations,
    dollarsPerMillion: operations === 0 ? null : (dollars / operations) * 1e6,
  };
}

/**
 * How many effects were doubled at the level `committed`. A commit's effect happens once: any other number than 0 says that
 * idemkit is broken.
 */
export const doubledByCommits = (
  { level }: Pick<SimulationSettings, 'level'>,
  all: readonly { readonly with?: { readonly counts: Pick<LaneCounts, 'doubleEffects'> } }[],
): number =>
  level === 'committed' ? all.reduce((sum, lanes) => sum + (lanes.with?.counts.doubleEffects ?? 0), 0) : 0;

const percent = (part: number, whole: number): number | null => (whole === 0 ? null : (100 * part) / whole);
