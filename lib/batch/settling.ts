/** Settling a batch: each record by itself as soon as its handler is done, the rest when all is over. */

import {
  type BatchOperations,
  type Ended,
  type Execution,
  type Operation,
  type Run,
  type Settings,
  sendUnrecorded,
  UnguardedOperation,
} from '../engine/index.ts';
import {
  asBatch,
  asRecord,
  type Batch,
  type BatchRecord,
  isBelow,
  lowestOf,
  rawsIn,
} from '../events/index.ts';
import { inParallel } from '../pool.ts';
import { maxParallel } from './claiming.ts';
import { lanesOf } from './lanes.ts';
import type { RecordStates } from './record-state.ts';
import { asOfBatch, reportOf } from './report.ts';

/** A batch as a handler of single records sees it. */
export interface RecordByRecord extends BatchOperations {
  readonly batch: Batch;
  /**
   * The records of `event`, lane by lane; `undefined` where it is no batch. It is what the guard handed out, or what other
   * middlewares made of that.
   */
  lanesIn(event: unknown): BatchRecord[][] | undefined;
  operationFor(record: BatchRecord): Operation | undefined;
  /** @throws `OVERTAKEN` where another attempt is working on it */
  recordReturned(record: BatchRecord, value: unknown): Promise<void>;
  /** Never rejects. @param isHandled whether the handler was called, and not its payload refused before */
  recordThrew(record: BatchRecord, error: unknown, isHandled: boolean): Promise<void>;
  /** It was not started, and will not be: its claim is given up when the handler ends. */
  recordSkipped(record: BatchRecord): void;
}

export class GuardedBatch implements Run, RecordByRecord {
  readonly batch: Batch;
  readonly #states: RecordStates;
  readonly #skipped = new Set<BatchRecord>();
  /** Failed before its handler was called. */
  readonly #untouched = new Set<BatchRecord>();
  /** What the handler was given. */
  readonly #given: readonly BatchRecord[];
  readonly #byRaw = new Map<unknown, BatchRecord>();
  readonly #byId = new Map<unknown, BatchRecord>();

  constructor(batch: Batch, states: RecordStates) {
    this.batch = batch;
    this.#states = states;
    this.#given = states.fresh();
    for (const record of batch.records) {
      this.#byRaw.set(record.raw, record);
      // The first one: those that follow it have its fate.
      if (!this.#byId.has(record.id)) this.#byId.set(record.id, record);
    }
  }

  /** The event with the records that the handler is to be given; `undefined` where there are none. */
  get event(): object | undefined {
    return this.#given.length === 0 ? undefined : this.batch.only(this.#given);
  }

  lanesIn(event: unknown): BatchRecord[][] | undefined {
    const raws = rawsIn(event);
    if (raws === undefined) return undefined;
    const isAsGiven =
      raws.length === this.#given.length && this.#given.every(({ raw }, at) => raws[at] === raw);
    if (isAsGiven) return lanesOf(this.#given);
    // A middleware has taken some out, or has made copies: what they hold counts, under the name that was read first.
    return lanesOf(raws.map((raw) => this.#copyOf(raw)).filter((record) => record !== undefined));
  }

  operationOf(raw: unknown): Operation | undefined {
    const record = this.#find(raw);
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

  /** What the service is told: the handler's answer, with the failures that were found here. @throws see `reportOf` */
  completed(handlersAnswer?: unknown): unknown {
    const comeAgain = this.batch.records.filter((record) => this.#states.comesAgain(record));
    const errors = new Map<BatchRecord, unknown>();
    for (const record of comeAgain) {
      const state = this.#states.get(record);
      if (state?.kind === 'failed') errors.set(record, state.error);
    }
    return reportOf(this.batch, { comeAgain, errors, started: this.#started() }, handlersAnswer);
  }

  /** What the handler was given, and has not said that it never came to. */
  #started(): ReadonlySet<BatchRecord> {
    return new Set(
      this.#given.filter((record) => !this.#skipped.has(record) && !this.#untouched.has(record)),
    );
  }

  #find(raw: unknown): BatchRecord | undefined {
    return this.#byRaw.get(raw) ?? this.#byId.get(asRecord(raw)?.id);
  }

  /** The record that was read when the event arrived. */
  #original(record: BatchRecord): BatchRecord {
    return this.#byRaw.get(record.raw) ?? record;
  }

  #copyOf(raw: object): BatchRecord | undefined {
    const known = this.#byRaw.get(raw);
    if (known) return known;
    const copy = asRecord(raw);
    const original = copy && this.#byId.get(copy.id);
    if (copy === undefined || original === undefined) return undefined;
    this.#byRaw.set(raw, original);
    return { ...copy, id: original.id, group: original.group };
  }

  /** The records that a handler's own answer gives back. */
  #reportedIn(answer: unknown): Set<BatchRecord> {
    const { report } = this.batch;
    const list = (answer as { batchItemFailures?: unknown } | null | undefined)?.batchItemFailures;
    if (report === 'throw' || list === null || list === undefined) return new Set();
    const reported = new Set<BatchRecord>();
    for (const item of Array.isArray(list) ? list : [undefined]) {
      const record = this.#byId.get(item?.itemIdentifier);
      // Lambda takes an identifier that is not one of the batch's for the failure of all of it.
      if (record === undefined) return new Set(this.#states.fresh());
      reported.add(record);
    }
    if (report === 'lowest') {
      const [first] = lowestOf([...reported].map(({ id }) => id));
      // A stream is delivered again from there on, and whether the handler went on after it is not known.
      for (const record of this.#states.fresh()) {
        if (first !== undefined && !isBelow(record.id, first)) reported.add(record);
      }
    }
    return reported;
  }

  /** Settles what has not been settled one by one. */
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

/** A batch under a guard that is switched off. */
export class UnguardedBatch implements RecordByRecord {
  readonly batch: Batch;
  readonly #operations = new Map<unknown, Operation>();
  readonly #settings: Settings;

  constructor(settings: Settings, batch: Batch) {
    this.#settings = settings;
    this.batch = batch;
  }

  lanesIn(event: unknown): BatchRecord[][] | undefined {
    const raws = rawsIn(event);
    return raws && lanesOf(asBatch(event)?.records ?? []);
  }

  operationOf(raw: unknown): Operation | undefined {
    const record = asRecord(raw);
    return record && this.operationFor(record);
  }

  operationFor({ id }: BatchRecord): Operation {
    const operation = this.#operations.get(id) ?? new UnguardedOperation(sendUnrecorded(this.#settings));
    this.#operations.set(id, operation);
    return operation;
  }

  async recordReturned(): Promise<void> {}
  async recordThrew(): Promise<void> {}
  recordSkipped(): void {}
}

const reportedByHandler = (): Error => new Error('The handler reported this record as failed.');
