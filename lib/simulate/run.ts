/** Both lanes under one virtual time, what is counted while they run, and what is kept of it. */
import type { IdempotencyEvent } from '../observe/index.ts';
import type { LaneCounts } from './counts.ts';
import { Histogram } from './histogram.ts';
import { Lane } from './lane.ts';
import { type Metrics, metricsOf } from './metrics.ts';
import type { OpenOperation } from './open-operation.ts';
import type { SimulationSettings } from './settings.ts';
import { Draws } from './time/draws.ts';
import { VirtualTime } from './time/virtual-time.ts';
import type { LaneName, TimeLine } from './time-line.ts';
import { TimeLines } from './time-lines.ts';

export interface LaneReport {
  /** Of virtual time, from the first arrival on; at the end, until the lane's last operation was over. */
  readonly seconds: number;
  readonly counts: LaneCounts;
  readonly metrics: Metrics;
}

/** How far a run has come. The numbers of the last one are the report's. */
export interface SimulationProgress {
  /** Operations that have begun, of `settings.operations`. */
  readonly operations: number;
  /** Of virtual time: the longer one of the lanes. */
  readonly seconds: number;
  readonly lanes: { readonly without: LaneReport; readonly with?: LaneReport };
}

export interface SimulationReport extends SimulationProgress {
  readonly settings: SimulationSettings;
  /** At most 20 operations: doubled ones first, then lost ones, then some that were retried. */
  readonly timeLines: readonly TimeLine[];
  /** The run in at most 100 points, for charts. */
  readonly series: readonly SimulationProgress[];
}

export interface SimulateOptions {
  /** Is called about a hundred times during a run, and at its end. */
  readonly onProgress?: (progress: SimulationProgress) => void;
  /** Ends the run: `simulate` rejects with its reason. */
  readonly signal?: AbortSignal;
  /** Is told what the guards' observers are told. */
  readonly observe?: (event: IdempotencyEvent) => void;
}

const startMs = Date.UTC(2026, 0, 1);
/** How many points of a run are kept. */
export const points = 100;

export class Run {
  readonly settings: SimulationSettings;
  readonly time = new VirtualTime(startMs);
  readonly draws: Draws;
  readonly lanes: readonly Lane[];
  readonly #options: SimulateOptions;
  readonly #addedLatency = new Histogram();
  readonly #timeLines: TimeLines;
  #series: SimulationProgress[] = [];
  readonly #lastAtMs: Record<LaneName, number> = { without: startMs, with: startMs };

  constructor(settings: SimulationSettings, options: SimulateOptions) {
    options.signal?.throwIfAborted();
    this.settings = settings;
    this.#options = options;
    this.draws = new Draws(settings.seed);
    const names: readonly LaneName[] = settings.level === 'none' ? ['without'] : ['without', 'with'];
    this.#timeLines = new TimeLines(names, (both) => this.#compare(both));
    this.lanes = names.map(
      (name) =>
        new Lane({
          ...{ name, settings, time: this.time, startMs, draws: this.draws, observe: options.observe },
          over: (operation) => this.#over(operation, name),
        }),
    );
  }

  /** Milliseconds since the run began. */
  get elapsedMs(): number {
    return this.time.nowMs - startMs;
  }

  /** Keeps how far the run has come, and tells it. */
  mark(): void {
    const progress = this.#progress(() => this.time.nowMs);
    this.#series.push(progress);
    // A log does not say how long it is: half of the points are then dropped, again and again.
    if (this.#series.length >= 2 * points) this.#series = this.#series.filter((_, index) => index % 2 === 1);
    this.#options.onProgress?.(progress);
  }

  /** Lets everything end that is under way. */
  async report(): Promise<SimulationReport> {
    await this.time.untilQuiet(undefined, this.#options.signal);
    // What is planned beyond that is nobody's.
    const last = this.#progress((name) => this.#lastAtMs[name]);
    this.#options.onProgress?.(last);
    const series = [...this.#series, last];
    const every = Math.ceil(series.length / points);
    return {
      ...last,
      settings: this.settings,
      timeLines: this.#timeLines.kept,
      series: series.filter((_, index) => (series.length - 1 - index) % every === 0),
    };
  }

  #over(operation: OpenOperation, lane: LaneName): void {
    this.#lastAtMs[lane] = this.time.nowMs;
    this.#timeLines.over(operation, lane);
  }

  #compare({ without, with: guarded }: Partial<Record<LaneName, OpenOperation>>): void {
    if (without?.answeredAfterMs === undefined || guarded?.answeredAfterMs === undefined) return;
    this.#addedLatency.add(guarded.answeredAfterMs - without.answeredAfterMs);
  }

  /** @param untilMs to which moment a lane has run */
  #progress(untilMs: (name: LaneName) => number): SimulationProgress {
    const [without, guarded] = this.lanes;
    const lanes = {
      without: this.#laneReport(without!, untilMs('without')),
      ...(guarded && { with: this.#laneReport(guarded, untilMs('with'), this.#addedLatency) }),
    };
    return {
      operations: lanes.without.counts.operations,
      seconds: Math.max(lanes.without.seconds, lanes.with?.seconds ?? 0),
      lanes,
    };
  }

  #laneReport({ counts, isGuarded }: Lane, untilMs: number, addedLatency?: Histogram): LaneReport {
    const seconds = (untilMs - startMs) / 1000;
    return {
      seconds,
      counts: counts.snapshot(),
      metrics: metricsOf(counts, seconds, isGuarded, addedLatency),
    };
  }
}
