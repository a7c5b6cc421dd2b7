/** A run: both lanes under one virtual time, from the first arrival until nothing is under way. */
import type { IdempotencyEvent } from '../observe/index.ts';
import type { LaneCounts } from './counts.ts';
import { Histogram } from './histogram.ts';
import { Lane } from './lane.ts';
import { type Metrics, metricsOf } from './metrics.ts';
import type { OpenOperation } from './open-operation.ts';
import type { SimulationSettings } from './settings.ts';
import { settingsFrom } from './templates.ts';
import { Draws } from './time/draws.ts';
import { withPlaces } from './time/timers.ts';
import { VirtualTime } from './time/virtual-time.ts';
import type { LaneName, TimeLine } from './time-line.ts';
import { TimeLines } from './time-lines.ts';
import { gapMs, intentOf } from './traffic.ts';

export interface LaneReport {
  readonly counts: LaneCounts;
  readonly metrics: Metrics;
}

/** How far a run has come. The numbers of the last one are the report's. */
export interface SimulationProgress {
  /** Operations that have begun, of `settings.operations`. */
  readonly operations: number;
  /** Of virtual time, from the first arrival on; at the end, until the last operation was over. */
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
const points = 100;

/**
 * Plays traffic against the real engine, without a guard and with one. The same settings give the same report.
 *
 * @throws `BAD_OPTION` for settings that are not what `settingRules` says; the signal's reason
 */
export async function simulate(
  given: SimulationSettings,
  options: SimulateOptions = {},
): Promise<SimulationReport> {
  const settings = settingsFrom('pay-button', given);
  return withPlaces(() => new Run(settings, options).report());
}

class Run {
  readonly #settings: SimulationSettings;
  readonly #options: SimulateOptions;
  readonly #time = new VirtualTime(startMs);
  readonly #draws: Draws;
  readonly #lanes: Partial<Record<LaneName, Lane>> & { readonly without: Lane };
  readonly #addedLatency = new Histogram();
  readonly #timeLines: TimeLines;
  readonly #series: SimulationProgress[] = [];
  #begun = 0;
  #lastAtMs = startMs;

  constructor(settings: SimulationSettings, options: SimulateOptions) {
    this.#settings = settings;
    this.#options = options;
    this.#draws = new Draws(settings.seed);
    const names: readonly LaneName[] = settings.level === 'none' ? ['without'] : ['without', 'with'];
    this.#timeLines = new TimeLines(names, (both) => this.#compare(both));
    const lane = (name: LaneName) =>
      new Lane({
        ...{ name, settings, time: this.#time, startMs, draws: this.#draws, observe: options.observe },
        over: (operation) => this.#over(operation, name),
      });
    this.#lanes = { without: lane('without'), ...(names.includes('with') && { with: lane('with') }) };
  }

  async report(): Promise<SimulationReport> {
    const { signal } = this.#options;
    signal?.throwIfAborted();
    this.#arrive();
    await this.#time.untilQuiet(undefined, signal);
    // What is planned beyond that is nobody's.
    const last = this.#progress(this.#lastAtMs);
    this.#options.onProgress?.(last);
    return {
      ...last,
      settings: this.#settings,
      timeLines: this.#timeLines.kept,
      series: [...this.#series, last].slice(-points),
    };
  }

  #arrive(): void {
    const number = this.#begun++;
    const { operations } = this.#settings;
    const intent = intentOf(this.#settings, this.#draws, number, this.#time.nowMs);
    this.#lanes.without.begin(intent);
    this.#lanes.with?.begin(intent);
    const every = Math.ceil(operations / (points - 1));
    if (this.#begun % every === 0) {
      const progress = this.#progress(this.#time.nowMs);
      this.#series.push(progress);
      this.#options.onProgress?.(progress);
    }
    if (this.#begun < operations) {
      this.#time.after(gapMs(this.#settings, this.#draws, this.#begun), () => this.#arrive());
    }
  }

  #over(operation: OpenOperation, lane: LaneName): void {
    this.#lastAtMs = this.#time.nowMs;
    this.#timeLines.over(operation, lane);
  }

  #compare({ without, with: guarded }: Partial<Record<LaneName, OpenOperation>>): void {
    if (without?.answeredAfterMs === undefined || guarded?.answeredAfterMs === undefined) return;
    this.#addedLatency.add(guarded.answeredAfterMs - without.answeredAfterMs);
  }

  #progress(nowMs: number): SimulationProgress {
    const seconds = (nowMs - startMs) / 1000;
    const { without, with: guarded } = this.#lanes;
    const report = (lane: Lane, isGuarded: boolean): LaneReport => ({
      counts: lane.counts.snapshot(),
      metrics: metricsOf(
        lane.counts,
        seconds,
        isGuarded,
        lane.counts.latency,
        isGuarded ? this.#addedLatency : undefined,
      ),
    });
    return {
      operations: this.#begun,
      seconds,
      lanes: { without: report(without, false), ...(guarded && { with: report(guarded, true) }) },
    };
  }
}
