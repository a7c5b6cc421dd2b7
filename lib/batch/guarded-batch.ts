/** A batch that its handler has taken. Each record is settled as soon as its handler is done, the rest when all is over. */
import type { Ended, Execution } from '../engine/index.ts';
import { type Batch, type BatchRecord, isBelow, lowestOf, type SenderPlace } from '../events/index.ts';
import type { BatchOperations, Operation } from '../operation/index.ts';
import { inParallel } from '../pool.ts';
import type { ArrivedBatch, TakenBatch } from './arrived-batch.ts';
import { claimInTurn, claimRecords, maxParallel } from './claim-batch.ts';
import { OriginalRecords } from './original-records.ts';
import { RecordStates } from './record-state.ts';
import { asOfBatch, reportOf } from './report.ts';

/** A batch as `eachRecord` sees it, which calls a handler for each record. */
export interface RecordByRecord extends BatchOperations {
  readonly batch: Batch;
  /**
   * Claims the records of `event`. Resolves to those to process; to `undefined` where `event` has no place for any, or one that is
   * not of this batch.
   *
   * @param event what the guard passed on, or what other middlewares made of it
   * @throws an error that shows that the guard is set up wrongly
   */
  take(event: unknown): Promise<BatchRecord[] | undefined>;
  operationFor(record: BatchRecord): Operation | undefined;
  /** The record's place in its sender's sequence, where the sender numbers its records. */
  placeOf(record: BatchRecord): SenderPlace | undefined;
  /**
   * Claims the record, where that had to wait for its turn. `undefined` where it is to be processed without more ado.
   *
   * @throws an error that shows that the guard is set up wrongly
   */
  turnOf(record: BatchRecord): Promise<Turn> | undefined;
  /** @throws `OVERTAKEN` where another attempt has taken the record over */
  recordReturned(record: BatchRecord, value: unknown): Promise<void>;
  /**
   * Never rejects.
   *
   * @param isHandled whether the handler was called; `false` where the payload was refused before
   */
  recordThrew(record: BatchRecord, error: unknown, isHandled: boolean): Promise<void>;
  /** The record will not be started. Its claim is given back when the handler ends. */
  recordSkipped(record: BatchRecord): void;
}

/** What comes of a record's turn. */
export type Turn =
  | { readonly outcome: 'run' }
  | { readonly outcome: 'done' }
  | { readonly outcome: 'failed'; readonly error: unknown };

export class GuardedBatch implements TakenBatch, RecordByRecord {
  readonly batch: Batch;
  readonly #arrived: ArrivedBatch;
  readonly #states: RecordStates;
  readonly #skipped = new Set<BatchRecord>();
  /** Records that failed before their handler was called. */
  readonly #untouched = new Set<BatchRecord>();
  /** The records that the handler was given. */
  readonly #given = new Set<BatchRecord>();
  readonly #originals: OriginalRecords;

  constructor(arrived: ArrivedBatch) {
    const { batch } = arrived;
    this.#arrived = arrived;
    this.batch = batch;
    this.#states = new RecordStates(batch.records);
    this.#originals = new OriginalRecords(batch.records);
  }

  async take(event: unknown): Promise<BatchRecord[] | undefined> {
    const records = this.#originals.recordsIn(event);
    if (records === undefined) return undefined;
    const arriving = new Set(records.map((record) => this.#original(record)));
    const unclaimed = this.batch.records.filter(
      (record) => arriving.has(record) && !this.#states.get(record),
    );
    await claimRecords(this.#arrived, unclaimed, this.#states);
    // What has failed or follows another stands in its lane too, for what comes behind it.
    if (this.#arrived.isNumbered) return records;
    const fresh = records.filter((record) => this.#states.get(this.#original(record))?.kind === 'fresh');
    for (const record of fresh) this.#given.add(this.#original(record));
    return fresh;
  }

  placeOf(record: BatchRecord): SenderPlace | undefined {
    const identity = this.#arrived.identities?.get(this.#original(record));
    return identity?.kind === 'operation' ? identity.place : undefined;
  }

  turnOf(record: BatchRecord): Promise<Turn> | undefined {
    return this.#arrived.isNumbered ? this.#claimInTurn(this.#original(record)) : undefined;
  }

  async #claimInTurn(record: BatchRecord): Promise<Turn> {
    await claimInTurn(this.#arrived, record, this.#states);
    const state = this.#states.get(record);
    const decisive = state?.kind === 'follows' ? this.#states.get(state.leader) : state;
    switch (decisive?.kind) {
      case 'fresh':
        this.#given.add(record);
        return { outcome: 'run' };
      case 'done':
        return { outcome: 'done' };
      case 'failed':
        return { outcome: 'failed', error: decisive.error };
      default:
        return { outcome: 'failed', error: undefined };
    }
  }

  operationOf(raw: unknown): Operation | undefined {
    const record = this.#originals.find(raw);
    return record && this.operationFor(record);
  }

  operationFor(record: BatchRecord): Operation | undefined {
    const state = this.#states.get(this.#original(record));
    const leading = state?.kind === 'follows' ? this.#states.get(state.leader) : state;
    return leading?.kind === 'fresh' ? leading.operation : undefined;
  }

  async recordReturned(record: BatchRecord, value: unknown): Promise<void> {
    await this.#complete(this.#original(record), value);
  }

  async recordThrew(record: BatchRecord, error: unknown, isHandled: boolean): Promise<void> {
    const original = this.#original(record);
    if (!isHandled) this.#untouched.add(original);
    await this.#states.take(original, { kind: 'failed', error })?.threw(error);
  }

  recordSkipped(record: BatchRecord): void {
    this.#skipped.add(this.#original(record));
  }

  async returned(answer: unknown): Promise<unknown> {
    const reported = this.#reportedIn(answer);
    await this.#settleRest(async (execution, record) => {
      if (reported.has(record)) await execution.threw(undefined);
      else await this.#complete(record, undefined).catch(() => {});
    });
    for (const record of reported) {
      if (!this.#states.comesAgain(record)) this.#states.fail(record, reportedByHandler());
    }
    return this.completed(answer);
  }

  async threw(error: unknown): Promise<Ended> {
    await this.#settleRest((execution) => execution.threw(error));
    return { kind: 'error', error: asOfBatch(error, undefined, this.#started()) };
  }

  async returnedInVain(answer: unknown): Promise<void> {
    const reported = this.#reportedIn(answer);
    await this.#settleRest((execution, record) =>
      reported.has(record) ? execution.threw(undefined) : execution.returnedInVain(),
    );
  }

  /**
   * What the service is told: the handler's answer, together with the failures that were found here.
   *
   * @throws what `reportOf` throws
   */
  completed(handlersAnswer?: unknown): unknown {
    const comeAgain = this.batch.records.filter((record) => this.#states.comesAgain(record));
    const errors = new Map<BatchRecord, unknown>();
    for (const record of comeAgain) {
      const state = this.#states.get(record);
      if (state?.kind === 'failed') errors.set(record, state.error);
    }
    return reportOf(this.batch, { comeAgain, errors, started: this.#started() }, handlersAnswer);
  }

  /** The records that the handler was given, without those that it reports as not started. */
  #started(): ReadonlySet<BatchRecord> {
    return new Set(
      [...this.#given].filter((record) => !this.#skipped.has(record) && !this.#untouched.has(record)),
    );
  }

  /** The record as it was read when the event arrived. */
  #original(record: BatchRecord): BatchRecord {
    return this.#originals.of(record);
  }

  /** The records that the handler's own answer reports as failed. */
  #reportedIn(answer: unknown): Set<BatchRecord> {
    const { report } = this.batch;
    const list = (answer as { batchItemFailures?: unknown } | null | undefined)?.batchItemFailures;
    if (report === 'throw' || list === null || list === undefined) return new Set();
    const reported = new Set<BatchRecord>();
    for (const item of Array.isArray(list) ? list : [undefined]) {
      const record = this.#originals.first(item?.itemIdentifier);
      // Lambda takes an unknown identifier for the failure of the whole batch.
      if (record === undefined) return new Set(this.#states.fresh());
      reported.add(record);
    }
    if (report === 'lowest') {
      const [first] = lowestOf([...reported].map(({ id }) => id));
      // A stream is delivered again from the lowest one on. Nobody knows whether the handler went on after it.
      for (const record of this.#states.fresh()) {
        if (first !== undefined && !isBelow(record.id, first)) reported.add(record);
      }
    }
    return reported;
  }

  /** Settles the records that `eachRecord` has not settled one by one. */
  async #settleRest(how: (execution: Execution, record: BatchRecord) => Promise<unknown>): Promise<void> {
    await inParallel(this.#states.fresh(), maxParallel, async (record) => {
      const state = this.#states.get(record);
      if (state?.kind !== 'fresh') return;
      if (this.#skipped.has(record)) {
        await this.#states.take(record, { kind: 'skipped' })?.notStarted();
      } else if (state.execution) await how(state.execution, record);
    });
  }

  /** @throws `OVERTAKEN` */
  async #complete(record: BatchRecord, value: unknown): Promise<void> {
    try {
      await this.#states.take(record, { kind: 'done' })?.recordReturned(value);
    } catch (error) {
      this.#states.fail(record, error);
      throw error;
    }
  }
}

const reportedByHandler = (): Error => new Error('The handler reported this record as failed.');
