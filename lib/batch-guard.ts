/**
 * A batch on its way: every record is claimed before the handler is called, all at once, and settled by itself. The handler
 * is given the records that are fresh; what it reports is merged with what was found here.
 */
import type { Context } from 'aws-lambda';
import { asRecord, type Batch, type BatchRecord, isBelow, itemFailures, lowestOf, shownId } from './batch.ts';
import { type BatchOperations, type Operation, UnguardedOperation, withBatch } from './context.ts';
import { afterActing, IdempotencyError } from './errors.ts';
import { type Identity, type IdentitySettings, identifyRecord } from './identity.ts';
import { type Guard, refuseSharedNamespace } from './namespace.ts';
import { refusalOf } from './operation.ts';
import type { Ended } from './plain-reply.ts';
import { plainReply } from './plain-reply.ts';
import { inParallel } from './pool.ts';
import { type Execution, enter, type Request, sendUnrecorded } from './request.ts';
import type { Begun, Run } from './run.ts';
import type { Settings } from './settings.ts';

/** The SDK opens at most 50 sockets for a client; more requests at once would wait inside it, out of sight. */
const maxParallel = 50;

/**
 * @throws what shows that the guard is set up wrongly, and for services without partial failures what `report` says; else
 * what is wrong with a record is that record's failure.
 */
export async function beginBatch(
  guard: Guard<BatchSettings>,
  batch: Batch,
  context: Context | undefined,
): Promise<Begun> {
  refuseTumblingWindow(batch);
  refuseSharedNamespace(guard);
  const guarded = new GuardedBatch(guard.settings, batch, context);
  await guarded.claimAll();
  const fresh = guarded.fresh();
  if (fresh.length === 0) return { kind: 'answer', answer: guarded.completed() };
  return {
    kind: 'run',
    event: batch.only(fresh),
    context: withBatch(context, guarded),
    run: guarded,
  };
}

/** A batch's guard names an operation for every record. */
export type BatchSettings = Settings & IdentitySettings;

/** A batch's records, each by itself, for a handler that says what becomes of each. `raw` may be a copy. */
export interface RecordByRecord extends BatchOperations {
  /** @throws `OVERTAKEN` where another attempt is working on it */
  recordReturned(raw: object, value: unknown): Promise<void>;
  /** Never rejects. @param isHandled whether the handler was called, and not its payload refused before */
  recordThrew(raw: object, error: unknown, isHandled: boolean): Promise<void>;
  /** It was not started, and will not be: its claim is given up when the handler ends. */
  recordSkipped(raw: object): void;
}

type Standing =
  /** To be given to the handler; `execution` is absent where it runs without a record. */
  | { readonly kind: 'fresh'; readonly execution: Execution | undefined; readonly operation: Operation }
  /** Completed, earlier or by now. */
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly error: unknown }
  /** Not started, because of one before it in its group or for lack of time. */
  | { readonly kind: 'skipped' }
  /** The same operation comes earlier in this batch: this one has its fate. */
  | { readonly kind: 'follows'; readonly leader: BatchRecord };

class GuardedBatch implements Run, RecordByRecord {
  readonly #settings: BatchSettings;
  readonly #batch: Batch;
  readonly #context: Context | undefined;
  readonly #standings = new Map<BatchRecord, Standing>();
  readonly #skipped = new Set<BatchRecord>();
  /** Failed before its handler was called. */
  readonly #untouched = new Set<BatchRecord>();
  /** What the handler was given. */
  #given: ReadonlySet<BatchRecord> = new Set();
  /** An inner middleware may have changed what it found in a record … */
  readonly #byRaw = new Map<unknown, BatchRecord>();
  /** … or may have copied it. */
  readonly #byId = new Map<unknown, BatchRecord>();

  constructor(settings: BatchSettings, batch: Batch, context: Context | undefined) {
    this.#settings = settings;
    this.#batch = batch;
    this.#context = context;
    for (const record of batch.records) {
      this.#byRaw.set(record.raw, record);
      // The first one: those that follow it have its fate.
      if (!this.#byId.has(record.id)) this.#byId.set(record.id, record);
    }
  }

  async claimAll(): Promise<void> {
    const requests: [BatchRecord, Request][] = [];
    const leaders = new Map<string, [BatchRecord, Request]>();
    for (const record of this.#batch.records) {
      const identity = this.#identify(record);
      if (identity === undefined) continue;
      const request: Request = {
        settings: this.#settings,
        event: record.raw,
        context: this.#context,
        reply: plainReply,
        identity,
        startedAtMs: this.#settings.clock().now(),
      };
      const [leader, first] = leaders.get(identity.pk) ?? [];
      if (leader === undefined) {
        leaders.set(identity.pk, [record, request]);
        requests.push([record, request]);
      } else if (first?.identity.fingerprint !== identity.fingerprint) {
        this.#fail(record, mismatchInBatch(leader));
      } else {
        this.#standings.set(record, { kind: 'follows', leader });
      }
    }

    let faultOfSetUp: unknown;
    await inParallel(requests, maxParallel, async ([record, request]) => {
      if (faultOfSetUp !== undefined) return;
      try {
        this.#standings.set(record, await this.#claim(request));
      } catch (error) {
        if (isFaultOfSetUp(error)) faultOfSetUp = error;
        this.#fail(record, error);
      }
    });
    if (faultOfSetUp !== undefined) {
      await this.#settleRest((execution) => execution.notStarted());
      throw faultOfSetUp;
    }
    this.#tellFailures();
    this.#cutAcrossGroups();
    await this.#stopGroups();
    this.#given = new Set(this.fresh());
  }

  fresh(): BatchRecord[] {
    return this.#batch.records.filter((record) => this.#standings.get(record)?.kind === 'fresh');
  }

  operationOf(raw: unknown): Operation | undefined {
    let standing = this.#standings.get(this.#find(raw)!);
    if (standing?.kind === 'follows') standing = this.#standings.get(standing.leader);
    return standing?.kind === 'fresh' ? standing.operation : undefined;
  }

  async recordReturned(raw: object, value: unknown): Promise<void> {
    const record = this.#find(raw);
    if (record) await this.#complete(record, value);
  }

  async recordThrew(raw: object, error: unknown, isHandled: boolean): Promise<void> {
    const record = this.#find(raw);
    if (record === undefined) return;
    if (!isHandled) this.#untouched.add(record);
    await this.#take(record, { kind: 'failed', error })?.threw(error);
  }

  recordSkipped(raw: object): void {
    const record = this.#find(raw);
    if (record) this.#skipped.add(record);
  }

  async returned(answer: unknown): Promise<unknown> {
    const reported = this.#reportedIn(answer);
    await this.#settleRest(async (execution, record) => {
      if (reported.has(record)) await execution.threw(undefined);
      else await this.#complete(record, undefined).catch(() => {});
    });
    for (const record of reported) {
      if (!this.#isFailed(record)) this.#fail(record, reportedByHandler());
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

  /** What the service is told: the handler's answer, with the failures that were found here. @throws see `report` */
  completed(handlers?: unknown): unknown {
    const failed = this.#batch.records.filter((record) => this.#isFailed(record));
    const ids = failed.map(({ id }) => id);
    switch (this.#batch.report) {
      case 'each':
        return withFailures(handlers, ids);
      case 'lowest':
        return withFailures(handlers, lowestOf(ids));
      case 'throw':
        if (failed.length === 0) return handlers;
        throw failureOf(this.#errorsOf(failed), this.#batch, this.#started());
    }
  }

  /** What the handler was given, and has not said that it never came to. */
  #started(): ReadonlySet<BatchRecord> {
    return new Set(
      [...this.#given].filter((record) => !this.#skipped.has(record) && !this.#untouched.has(record)),
    );
  }

  #find(raw: unknown): BatchRecord | undefined {
    const found = this.#byRaw.get(raw);
    if (found) return found;
    const id = asRecord(raw)?.id;
    return id === undefined ? undefined : this.#byId.get(id);
  }

  #identify(record: BatchRecord): Extract<Identity, { kind: 'operation' }> | undefined {
    try {
      const identity = identifyRecord(this.#settings, record, this.#context as Context);
      if (identity.kind === 'operation') return identity;
      this.#settings.observe({ type: 'unguarded', reason: identity.reason });
      this.#standings.set(record, unguarded(this.#settings));
    } catch (error) {
      if (isFaultOfSetUp(error)) throw error;
      this.#fail(record, error);
    }
    return undefined;
  }

  async #claim(request: Request): Promise<Standing> {
    const entered = await enter(request);
    switch (entered.outcome) {
      case 'run': {
        const { execution } = entered;
        return { kind: 'fresh', execution, operation: execution.operation };
      }
      case 'replay':
        this.#settings.cache?.put(entered.record);
        return { kind: 'done' };
      case 'mismatch':
      case 'busy':
        return { kind: 'failed', error: refusalOf(entered, this.#settings.clock().now()) };
      case 'unreachable':
        if (this.#settings.whenStoreFails === 'fail') return { kind: 'failed', error: entered.error };
        this.#settings.observe({ type: 'unguarded', reason: 'store-failed', cause: entered.error });
        return unguarded(this.#settings);
    }
  }

  /** What comes after a record in its group cannot wait for what becomes of another group's. */
  #cutAcrossGroups(): void {
    for (const [record, standing] of this.#standings) {
      if (standing.kind !== 'follows' || standing.leader.group === record.group) continue;
      if (this.#standings.get(standing.leader)?.kind !== 'done')
        this.#fail(record, busyInBatch(standing.leader));
    }
  }

  /** Order within a group holds only if nothing of it runs behind a record that could not. */
  async #stopGroups(): Promise<void> {
    const stopped = new Set<string>();
    const behind: BatchRecord[] = [];
    for (const record of this.#batch.records) {
      const { group } = record;
      if (group === undefined) continue;
      if (this.#isFailed(record)) stopped.add(group);
      else if (stopped.has(group) && this.#standings.get(record)?.kind === 'fresh') behind.push(record);
    }
    await inParallel(behind, maxParallel, async (record) => {
      await this.#take(record, { kind: 'skipped' })?.notStarted();
    });
  }

  /** The records that a handler's own answer gives back. */
  #reportedIn(answer: unknown): Set<BatchRecord> {
    const { report } = this.#batch;
    const list = (answer as { batchItemFailures?: unknown } | null | undefined)?.batchItemFailures;
    if (report === 'throw' || list === null || list === undefined) return new Set();
    const reported = new Set<BatchRecord>();
    for (const item of Array.isArray(list) ? list : [undefined]) {
      const record = this.#byId.get(item?.itemIdentifier);
      // Lambda takes an identifier that is not one of the batch's for the failure of all of it.
      if (record === undefined) return new Set(this.fresh());
      reported.add(record);
    }
    if (report === 'lowest') {
      const [first] = lowestOf([...reported].map(({ id }) => id));
      // A stream is delivered again from there on, and whether the handler went on after it is not known.
      for (const record of this.fresh()) {
        if (first !== undefined && !isBelow(record.id, first)) reported.add(record);
      }
    }
    return reported;
  }

  /** Settles what has not been settled one by one. */
  async #settleRest(how: (execution: Execution, record: BatchRecord) => Promise<unknown>): Promise<void> {
    await inParallel(this.fresh(), maxParallel, async (record) => {
      const standing = this.#standings.get(record);
      if (standing?.kind !== 'fresh') return;
      if (this.#skipped.has(record)) {
        await this.#take(record, { kind: 'skipped' })?.notStarted();
      } else if (standing.execution) await how(standing.execution, record);
    });
  }

  /** @throws `OVERTAKEN` */
  async #complete(record: BatchRecord, value: unknown): Promise<void> {
    try {
      await this.#take(record, { kind: 'done' })?.recordReturned(value);
    } catch (error) {
      this.#fail(record, error);
      throw error;
    }
  }

  /** The execution of a record that is fresh, and from now on is what it is said to be. */
  #take(record: BatchRecord, standing: Standing): Execution | undefined {
    const before = this.#standings.get(record);
    if (before?.kind !== 'fresh') return undefined;
    this.#standings.set(record, standing);
    return before.execution;
  }

  #isFailed(record: BatchRecord): boolean {
    const standing = this.#standings.get(record);
    if (standing?.kind === 'follows') return this.#isFailed(standing.leader);
    return standing?.kind === 'failed' || standing?.kind === 'skipped';
  }

  /** Why they failed, without those of which another one is the reason. */
  #errorsOf(failed: readonly BatchRecord[]): Map<BatchRecord, unknown> {
    const errors = new Map<BatchRecord, unknown>();
    for (const record of failed) {
      const standing = this.#standings.get(record);
      if (standing?.kind === 'failed') errors.set(record, standing.error);
    }
    return errors;
  }

  #fail(record: BatchRecord, error: unknown): void {
    this.#standings.set(record, { kind: 'failed', error });
  }

  /** A partial batch response carries no reason, so nothing else would tell. */
  #tellFailures(): void {
    if (this.#batch.report === 'throw') return;
    const ids = new Map<string, string[]>();
    for (const record of this.#batch.records) {
      const standing = this.#standings.get(record);
      // That one is running elsewhere is no fault, and the observer is told.
      if (standing?.kind !== 'failed' || IdempotencyError.is(standing.error, 'IN_PROGRESS')) continue;
      const why = reasonOf(standing.error);
      const known = ids.get(why);
      if (known) known.push(record.id);
      else ids.set(why, [record.id]);
    }
    for (const [why, failed] of ids) {
      const named = failed.slice(0, maxNamed).join(', ');
      const more = failed.length > maxNamed ? ` and ${failed.length - maxNamed} more` : '';
      console.error(`[idemkit] Not processed, and delivered again: ${named}${more}. ${why}`);
    }
  }
}

/** A batch under a guard that is switched off. */
export class UnguardedBatch implements RecordByRecord {
  readonly #operations = new Map<unknown, Operation>();
  readonly #settings: Settings;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  operationOf(raw: unknown): Operation | undefined {
    const id = asRecord(raw)?.id;
    if (id === undefined) return undefined;
    const operation = this.#operations.get(id) ?? new UnguardedOperation(sendUnrecorded(this.#settings));
    this.#operations.set(id, operation);
    return operation;
  }

  async recordReturned(): Promise<void> {}
  async recordThrew(): Promise<void> {}
  recordSkipped(): void {}
}

/**
 * What fails a batch of a service that knows no partial failure: one record's error, or all of them in one.
 *
 * @param started the records that the handler was called with
 */
export function failureOf(
  failures: ReadonlyMap<BatchRecord, unknown>,
  { records }: Batch,
  started: ReadonlySet<BatchRecord>,
): unknown {
  const errors = [...failures.values()];
  const [failed] = failures.keys();
  // What is no error, such as `undefined`, would be taken for none.
  if (errors.length === 1 && errors[0] instanceof Error) return asOfBatch(errors[0], failed, started);
  return new IdempotencyError(
    'BATCH_FAILED',
    `Records failed: ${errors.length} of ${records.length}. Guarded, the others will not run again when the batch is delivered again.`,
    {
      cause: new AggregateError(errors, 'Records failed.'),
      effect: started.size > 0 ? 'possible' : 'none',
    },
  );
}

/** The error of one record, thrown for the whole batch: it is not nothing that has been done where records were handled. */
function asOfBatch(
  error: unknown,
  failed: BatchRecord | undefined,
  started: ReadonlySet<BatchRecord>,
): unknown {
  if (started.size === 0 || !IdempotencyError.is(error)) return error;
  const isAlone = started.size === 1 && (failed === undefined || started.has(failed));
  return isAlone
    ? afterActing(error)
    : afterActing(error, `${error.message} Other records of the batch may have been processed.`);
}

function withFailures(answer: unknown, ids: readonly string[]): object {
  const rest = typeof answer === 'object' && answer !== null ? answer : {};
  return { ...rest, batchItemFailures: itemFailures(ids) };
}

const unguarded = (settings: Settings): Standing => ({
  kind: 'fresh',
  execution: undefined,
  operation: new UnguardedOperation(sendUnrecorded(settings)),
});

/** State that is carried from batch to batch holds records that a later delivery would be said to have done. */
function refuseTumblingWindow({ event }: Batch): void {
  if (!('isFinalInvokeForWindow' in event)) return;
  throw new IdempotencyError(
    'UNSUPPORTED',
    'A tumbling window cannot be guarded: its state would miss the records that were completed before. Keep the aggregate in a table, or do without the guard.',
  );
}

/** It will be the same for every record and every delivery, until somebody mends it. */
const isFaultOfSetUp = (error: unknown): boolean =>
  ['STORE_MISCONFIGURED', 'UNSUPPORTED', 'BAD_OPTION', 'NAMESPACE_CLASH'].some((code) =>
    IdempotencyError.is(error, code as 'BAD_OPTION'),
  );

const maxNamed = 5;

/** The message of an error that is not ours may quote the payload. */
function reasonOf(error: unknown): string {
  if (IdempotencyError.is(error)) return `${error.code}: ${error.message}`;
  const name = error instanceof Error ? error.name : typeof error;
  return `One of the guard's options threw (${name}).`;
}

const mismatchInBatch = (record: BatchRecord): IdempotencyError =>
  new IdempotencyError(
    'PAYLOAD_MISMATCH',
    `It has the idempotency key of record ${shownId(record)} in the same batch, but another payload. Nothing has been done.`,
  );

const busyInBatch = (record: BatchRecord): IdempotencyError =>
  new IdempotencyError(
    'IN_PROGRESS',
    `It has the idempotency key of record ${shownId(record)} in the same batch, which belongs to another group. Nothing has been done by this one.`,
    { retryAfterSeconds: 1 },
  );

const reportedByHandler = (): Error => new Error('The handler reported this record as failed.');
