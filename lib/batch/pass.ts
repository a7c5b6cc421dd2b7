/** One batch on its way through a handler of single records: in which order, how many at once, and until when. */
import type { Context } from 'aws-lambda';
import { remainingTimeOf } from '../engine/index.ts';
import { IdempotencyError } from '../errors.ts';
import type { Batch, BatchRecord } from '../events/index.ts';
import { type Operation, UnguardedOperation } from '../operation/index.ts';
import { inParallel } from '../pool.ts';
import { maxParallel } from './claim-batch.ts';
import type { RecordByRecord } from './guarded-batch.ts';
import { isInOrder } from './lanes.ts';
import { type Schema, withPayload } from './payload.ts';
import { reportOf } from './report.ts';

export type RecordHandler = (record: object, operation: Operation, context: Context) => unknown;

/** The options of `eachRecord`, with all defaults filled in. */
export interface PassSettings {
  readonly schema: Schema | undefined;
  readonly concurrency: number;
  readonly stopBeforeDeadlineMs: number;
  readonly onFailure: (error: unknown, record: never) => unknown;
}

/** Records that are processed one after the other, until one fails. */
interface Lane {
  readonly records: readonly BatchRecord[];
  /** Whether the source has given them their order. */
  readonly isInOrder: boolean;
  isStopped: boolean;
}

export class Pass {
  readonly #batch: Batch;
  readonly #context: Context;
  readonly #handler: RecordHandler;
  readonly #settings: PassSettings;
  readonly #guarded: RecordByRecord | undefined;
  readonly #failures = new Map<BatchRecord, unknown>();
  readonly #skipped = new Set<BatchRecord>();
  /** Records whose handler was called. */
  readonly #started = new Set<BatchRecord>();
  /** Records that are being settled, and calls of `onFailure`. All have ended before the report. */
  readonly #pending = new Set<Promise<void>>();
  /** Lanes that wait until fewer records are being settled. */
  readonly #waiting: (() => void)[] = [];
  #slowestMs = 0;
  /** The guard is set up wrongly, as the turn of a record has shown. */
  #fault: { readonly error: unknown } | undefined;

  constructor(
    batch: Batch,
    guarded: RecordByRecord | undefined,
    context: Context,
    handler: RecordHandler,
    settings: PassSettings,
  ) {
    this.#batch = batch;
    this.#guarded = guarded;
    this.#context = context;
    this.#handler = handler;
    this.#settings = settings;
  }

  async go(lanes: readonly BatchRecord[][]): Promise<unknown> {
    const inTurn = lanes.map(
      (records): Lane => ({ records, isInOrder: isInOrder(records), isStopped: false }),
    );
    await inParallel(inTurn, this.#settings.concurrency, async (lane) => {
      for (const record of lane.records) {
        if (lane.isStopped || this.#fault || !this.#isTimeLeft()) this.#skip(record);
        else if (await this.#isToRun(record, lane)) await this.#process(record, lane);
      }
    });
    while (this.#pending.size > 0) await Promise.all(this.#pending);
    if (this.#fault) throw this.#fault.error;
    return this.#report(lanes.flat());
  }

  #isTimeLeft(): boolean {
    const remainingMs = remainingTimeOf(this.#context);
    return !remainingMs || remainingMs() >= this.#settings.stopBeforeDeadlineMs + this.#slowestMs;
  }

  /** Claims a record of a numbered sender, whose turn it is. A failed claim is told by the guard. */
  async #isToRun(record: BatchRecord, lane: Lane): Promise<boolean> {
    try {
      const turn = await this.#guarded?.turnOf(record);
      if (turn?.outcome === 'failed') stop(lane, turn.error);
      return turn === undefined || turn.outcome === 'run';
    } catch (error) {
      this.#fault = { error };
      return false;
    }
  }

  #skip(record: BatchRecord): void {
    this.#skipped.add(record);
    this.#guarded?.recordSkipped(record);
  }

  async #process(record: BatchRecord, lane: Lane): Promise<void> {
    const startedAtMs = performance.now();
    const operation = this.#guarded?.operationFor(record) ?? new UnguardedOperation();
    let settled: Promise<void>;
    try {
      const given = await withPayload(record, this.#settings.schema);
      this.#started.add(record);
      const value = await this.#handler(given, operation, this.#context);
      settled = this.#settle(record, lane, this.#guarded?.recordReturned(record, value));
    } catch (error) {
      this.#fail(record, lane, error);
      settled = this.#settle(
        record,
        lane,
        this.#guarded?.recordThrew(record, error, this.#started.has(record)),
      );
    }
    // Settling may find that the record was overtaken. Then nothing after it in its lane may start.
    if (record !== lane.records.at(-1)) await settled;
    this.#slowestMs = Math.max(this.#slowestMs, performance.now() - startedAtMs);
    // Other lanes wait only if the store falls behind.
    while (this.#pending.size >= maxParallel) await new Promise<void>((go) => this.#waiting.push(go));
  }

  /** Never rejects. */
  #settle(record: BatchRecord, lane: Lane, settled = Promise.resolve()): Promise<void> {
    return this.#await(settled.catch((error) => this.#fail(record, lane, error)));
  }

  #await(work: Promise<void>): Promise<void> {
    const pending: Promise<void> = work.finally(() => {
      this.#pending.delete(pending);
      if (this.#pending.size < maxParallel) for (const go of this.#waiting.splice(0)) go();
    });
    this.#pending.add(pending);
    return pending;
  }

  #fail(record: BatchRecord, lane: Lane, error: unknown): void {
    stop(lane, error);
    this.#failures.set(record, error);
    // What `onFailure` throws must not change the report.
    const told = async () => void (await this.#settings.onFailure(error, record.raw as never));
    void this.#await(told().catch(() => {}));
  }

  #report(records: readonly BatchRecord[]): unknown {
    const comeAgain = records.filter((record) => this.#failures.has(record) || this.#skipped.has(record));
    return reportOf(this.#batch, { comeAgain, errors: this.#failures, started: this.#started });
  }
}

/**
 * Ends a lane at a record that failed with `error`. In a lane that was sorted here, what follows a fenced number or another payload
 * of a number that is done does not wait for it: the store decides of each.
 */
function stop(lane: Lane, error: unknown): void {
  const isPassed = IdempotencyError.is(error, 'FENCED') || IdempotencyError.is(error, 'PAYLOAD_MISMATCH');
  lane.isStopped ||= lane.isInOrder || !isPassed;
}
