/** The lanes of one batch on their way through a handler: how many at once, until when, and what comes again. */
import type { Context } from 'aws-lambda';
import { remainingTimeOf } from '../engine/index.ts';
import type { Batch, BatchRecord } from '../events/index.ts';
import type { LaneOperation } from '../operation/index.ts';
import { inParallel } from '../pool.ts';
import { isFaultOfSetUp } from './arrived-batch.ts';
import type { LaneTurn } from './lane-turn.ts';
import { type Schema, withPayload } from './payload.ts';
import { asOfBatch, type BatchFate, reportOf } from './report.ts';

export type LaneHandler = (records: object[], operation: LaneOperation, context: Context) => unknown;

/** The options of `eachPartition` that a pass needs, with all defaults filled in. */
export interface LanePassSettings {
  readonly schema: Schema | undefined;
  readonly concurrency: number;
  readonly stopBeforeDeadlineMs: number;
  readonly onFailure: (error: unknown, records: readonly never[]) => unknown;
}

export interface PlacedRecord {
  /** The record as it was read when the event arrived. */
  readonly original: BatchRecord;
  /** The record as the handler is given it. */
  readonly record: BatchRecord;
  readonly position: string;
}

/** What the pass of a batch asks of whoever guards it. */
export interface LaneGuard<Lane> {
  readonly batch: Batch;
  /** Resolves to `undefined` where all of the lane's records are done. */
  begin(lane: Lane): Promise<LaneTurn | undefined>;
  /** The handler is about to be called with these. */
  started(turn: LaneTurn, lane: Lane, operation: LaneOperation): void;
  /** @param moved how many records the position was moved over @param dropped how many were at or behind it before */
  over(lane: Lane, moved: number, dropped: number): void;
  /** Whether no further lane may begin. */
  readonly isClosed: boolean;
}

export class LanePass<Lane extends { readonly records: readonly PlacedRecord[] }> {
  readonly #guard: LaneGuard<Lane>;
  readonly #context: Context;
  readonly #handler: LaneHandler;
  readonly #settings: LanePassSettings;
  readonly #comeAgain = new Set<BatchRecord>();
  readonly #errors = new Map<BatchRecord, unknown>();
  readonly #started = new Set<BatchRecord>();
  readonly #told: Promise<unknown>[] = [];
  #faultOfSetUp: unknown;
  #slowestMs = 0;

  constructor(guard: LaneGuard<Lane>, context: Context, handler: LaneHandler, settings: LanePassSettings) {
    this.#guard = guard;
    this.#context = context;
    this.#handler = handler;
    this.#settings = settings;
  }

  /** @throws an error that shows that the guard is set up wrongly, what `reportOf` throws */
  async go(lanes: readonly Lane[]): Promise<unknown> {
    await inParallel(lanes, this.#settings.concurrency, async (lane) => {
      if (this.#mayStart()) await this.#run(lane);
      else for (const { original } of lane.records) this.#comeAgain.add(original);
    });
    await Promise.all(this.#told);
    if (this.#faultOfSetUp !== undefined) throw asOfBatch(this.#faultOfSetUp, undefined, this.#started);
    return reportOf(this.#guard.batch, this.fate);
  }

  get fate(): BatchFate {
    return { comeAgain: [...this.#comeAgain], errors: this.#errors, started: this.#started };
  }

  #mayStart(): boolean {
    if (this.#guard.isClosed || this.#faultOfSetUp !== undefined) return false;
    const remainingMs = remainingTimeOf(this.#context);
    return !remainingMs || remainingMs() >= this.#settings.stopBeforeDeadlineMs + this.#slowestMs;
  }

  /** Never rejects. */
  async #run(lane: Lane): Promise<void> {
    const startedAtMs = performance.now();
    let turn: LaneTurn | undefined;
    try {
      turn = await this.#guard.begin(lane);
    } catch (error) {
      if (isFaultOfSetUp(error)) this.#faultOfSetUp ??= error;
      this.#fail(lane.records, error);
      return;
    }
    if (turn === undefined) {
      this.#guard.over(lane, 0, lane.records.length);
      return;
    }
    const fresh = beyond(turn, lane.records);
    await this.#take(turn, lane, fresh);
    const left = beyond(turn, fresh).length;
    this.#guard.over(lane, fresh.length - left, lane.records.length - fresh.length);
    this.#slowestMs = Math.max(this.#slowestMs, performance.now() - startedAtMs);
  }

  /** Never rejects. */
  async #take(turn: LaneTurn, lane: Lane, fresh: readonly PlacedRecord[]): Promise<void> {
    const { positions, stoppedBy } = await this.#payloadsOf(fresh);
    if (positions.size === 0) {
      await turn.notStarted();
      if (stoppedBy) this.#fail(fresh, stoppedBy.error);
      return;
    }
    const operation = turn.operationFor(positions);
    this.#guard.started(turn, lane, operation);
    for (const { original } of fresh.slice(0, positions.size)) this.#started.add(original);
    try {
      await this.#handler([...positions.keys()] as object[], operation, this.#context);
      await turn.returned();
    } catch (error) {
      const left = await turn.threw(error);
      this.#fail(beyond(turn, fresh), left);
      return;
    }
    if (stoppedBy) this.#fail(fresh.slice(positions.size), stoppedBy.error);
  }

  /** What the handler is given: the records before the first one whose payload is refused. */
  async #payloadsOf(
    records: readonly PlacedRecord[],
  ): Promise<{ positions: Map<unknown, string>; stoppedBy?: { readonly error: unknown } }> {
    const positions = new Map<unknown, string>();
    for (const { record, position } of records) {
      try {
        positions.set(await withPayload(record, this.#settings.schema), position);
      } catch (error) {
        return { positions, stoppedBy: { error } };
      }
    }
    return { positions };
  }

  /** The first of `rest` failed, and the others are not started. */
  #fail(rest: readonly PlacedRecord[], error: unknown): void {
    for (const { original } of rest) this.#comeAgain.add(original);
    if (rest[0]) this.#errors.set(rest[0].original, error);
    const raws = rest.map(({ record }) => record.raw as never);
    // What `onFailure` throws must not change the report.
    const tell = async () => this.#settings.onFailure(error, raws);
    this.#told.push(tell().catch(() => {}));
  }
}

const beyond = ({ reached }: LaneTurn, records: readonly PlacedRecord[]): readonly PlacedRecord[] =>
  reached === undefined ? records : records.filter(({ position }) => position > reached);
