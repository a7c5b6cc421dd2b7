/**
 * A batch on its way: every record is claimed before the handler is called, all at once, and settled by itself. The handler
 * is given the records that are fresh; what it reports is merged with what was found here.
 */
import type { Context } from 'aws-lambda';
import { type Batch, type BatchRecord, isBelow, lowest } from './batch.ts';
import { type Operation, UnguardedOperation, withBatch } from './context.ts';
import { IdempotencyError } from './errors.ts';
import type { Begun, Run } from './guard.ts';
import { type Identity, identifyRecord } from './identity.ts';
import { type Guard, refuseSharedNamespace } from './namespace.ts';
import { refusalOf } from './operation.ts';
import type { Settings } from './options.ts';
import { inParallel } from './pool.ts';
import { claimFor, Execution, executeUnclaimed, type Request, sendUnrecorded } from './request.ts';

/** The SDK opens at most 50 sockets for a client; more requests at once would wait inside it, out of sight. */
const maxParallel = 50;

/** @throws what shows that the guard is set up wrongly; what is wrong with a record is that record's failure. */
export async function beginBatch(guard: Guard, batch: Batch, context: Context | undefined): Promise<Begun> {
  refuseSharedNamespace(guard);
  const guarded = new GuardedBatch(guard.settings, batch, context);
  await guarded.claimAll();
  const fresh = guarded.fresh();
  if (fresh.length === 0) return { kind: 'answer', answer: guarded.answer() };
  return {
    kind: 'run',
    event: batch.only(fresh),
    context: withBatch(context, guarded),
    run: guarded,
  };
}

type Standing =
  /** To be given to the handler; `execution` is absent where it runs without a record. */
  | { readonly kind: 'fresh'; readonly execution: Execution | undefined; readonly operation: Operation }
  /** Completed earlier. */
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly error: unknown }
  /** The same operation comes earlier in this batch: this one has its fate. */
  | { readonly kind: 'follows'; readonly leader: BatchRecord };

class GuardedBatch implements Run {
  readonly #settings: Settings;
  readonly #batch: Batch;
  readonly #context: Context | undefined;
  readonly #standings = new Map<BatchRecord, Standing>();
  /** By id, for a middleware may have copied the record that a handler asks with. */
  readonly #byId = new Map<string, BatchRecord>();

  constructor(settings: Settings, batch: Batch, context: Context | undefined) {
    this.#settings = settings;
    this.#batch = batch;
    this.#context = context;
    // The first one: those that follow it have its fate.
    for (const record of batch.records) {
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
        http: undefined,
        identity,
        startedAtMs: this.#settings.clock().now(),
      };
      const leader = leaders.get(identity.pk);
      if (leader === undefined) {
        leaders.set(identity.pk, [record, request]);
        requests.push([record, request]);
      } else if (leader[1].identity.fingerprint === identity.fingerprint) {
        this.#standings.set(record, { kind: 'follows', leader: leader[0] });
      } else {
        this.#fail(record, mismatchInBatch(leader[0]));
      }
    }

    let faultOfSetUp: unknown;
    await inParallel(requests, maxParallel, async ([record, request]) => {
      if (faultOfSetUp !== undefined) return;
      try {
        this.#standings.set(record, await this.#claim(request));
      } catch (error) {
        if (isFaultOfSetUp(error)) faultOfSetUp = error;
        this.#standings.set(record, { kind: 'failed', error });
      }
    });
    if (faultOfSetUp !== undefined) {
      await this.#settleAll((execution) => execution.notStarted());
      throw faultOfSetUp;
    }
    await this.#stopGroups();
  }

  fresh(): BatchRecord[] {
    return this.#batch.records.filter((record) => this.#standings.get(record)?.kind === 'fresh');
  }

  operationOf(id: string): Operation | undefined {
    const record = this.#byId.get(id);
    const standing = record && this.#standings.get(record);
    if (standing?.kind === 'follows') return this.operationOf(standing.leader.id);
    return standing?.kind === 'fresh' ? standing.operation : undefined;
  }

  /** Settles one record by itself. @throws `OVERTAKEN` */
  async recordReturned(id: string, value: unknown): Promise<void> {
    const taken = this.#take(id);
    if (!taken) return;
    try {
      await taken.execution?.recordReturned(value);
    } catch (error) {
      this.#standings.set(taken.record, { kind: 'failed', error });
      throw error;
    }
  }

  async recordThrew(id: string, error: unknown): Promise<void> {
    const taken = this.#take(id);
    if (!taken) return;
    this.#standings.set(taken.record, { kind: 'failed', error });
    await taken.execution?.threw(error);
  }

  async returned(answer: unknown): Promise<unknown> {
    const reported = this.#failuresIn(answer);
    await this.#settleAll(async (execution, record) => {
      if (reported.has(record)) await execution.threw(undefined);
      else await this.recordReturned(record.id, undefined).catch(() => {});
    });
    for (const record of reported) {
      this.#standings.set(record, { kind: 'failed', error: reportedByHandler() });
    }
    return this.answer(answer);
  }

  async threw(error: unknown): Promise<undefined> {
    await this.#settleAll((execution) => execution.threw(error));
  }

  async returnedInVain(): Promise<void> {
    await this.#settleAll((execution) => execution.returnedInVain());
  }

  /** What the service is told: the handler's answer, with the failures that were found here. @throws see `report` */
  answer(handlers?: unknown): unknown {
    const failed = this.#batch.records.filter((record) => this.#isFailed(record));
    const ids = failed.map(({ id }) => id);
    switch (this.#batch.report) {
      case 'each':
        return withFailures(handlers, ids);
      case 'lowest':
        return withFailures(handlers, lowestOf(ids));
      case 'throw':
        if (failed.length > 0)
          throw failureOf(
            failed.map((record) => this.#errorOf(record)),
            this.#batch,
          );
        return handlers;
    }
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
    if (this.#settings.claim === 'at-commit') {
      const execution = await executeUnclaimed(request);
      return { kind: 'fresh', execution, operation: execution.operation };
    }
    const claimed = await claimFor(request);
    switch (claimed.outcome) {
      case 'won': {
        const execution = new Execution(request, claimed.attempt);
        return { kind: 'fresh', execution, operation: execution.operation };
      }
      case 'replay':
        this.#settings.cache?.put(claimed.record);
        return { kind: 'done' };
      case 'mismatch':
      case 'busy':
        return { kind: 'failed', error: refusalOf(claimed, this.#settings.clock().now()) };
      case 'unreachable':
        if (this.#settings.whenStoreFails === 'fail') return { kind: 'failed', error: claimed.error };
        this.#settings.observe({ type: 'unguarded', reason: 'store-failed', cause: claimed.error });
        return unguarded(this.#settings);
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
      const taken = this.#take(record.id);
      this.#standings.set(record, { kind: 'failed', error: behindFailure() });
      await taken?.execution?.notStarted();
    });
  }

  /** The records that a handler's own answer gives back. */
  #failuresIn(answer: unknown): Set<BatchRecord> {
    const { report } = this.#batch;
    const all = new Set(this.fresh());
    const list = (answer as { batchItemFailures?: unknown } | null | undefined)?.batchItemFailures;
    if (report === 'throw' || list === null || list === undefined) return new Set();
    // Lambda takes an identifier that is not one of the batch's for the failure of all of it.
    if (!Array.isArray(list)) return all;
    const ids: string[] = [];
    for (const item of list) {
      const id: unknown = item?.itemIdentifier;
      if (typeof id !== 'string' || !this.#byId.has(id)) return all;
      ids.push(id);
    }
    const first = report === 'lowest' ? lowest(ids) : undefined;
    // A stream is delivered again from there on, and whether the handler went on after it is not known.
    const isFailed = ({ id }: BatchRecord) =>
      ids.includes(id) || (first !== undefined && !isBelow(id, first));
    return new Set([...all].filter(isFailed));
  }

  async #settleAll(how: (execution: Execution, record: BatchRecord) => Promise<unknown>): Promise<void> {
    await inParallel(this.fresh(), maxParallel, async (record) => {
      const standing = this.#standings.get(record);
      if (standing?.kind === 'fresh' && standing.execution) await how(standing.execution, record);
    });
  }

  /** A fresh record's execution, which is settled from now on. */
  #take(id: string): { record: BatchRecord; execution: Execution | undefined } | undefined {
    const record = this.#byId.get(id);
    const standing = record && this.#standings.get(record);
    if (record === undefined || standing?.kind !== 'fresh') return undefined;
    this.#standings.set(record, { kind: 'done' });
    return { record, execution: standing.execution };
  }

  #isFailed(record: BatchRecord): boolean {
    const standing = this.#standings.get(record);
    return standing?.kind === 'follows' ? this.#isFailed(standing.leader) : standing?.kind === 'failed';
  }

  #errorOf(record: BatchRecord): unknown {
    const standing = this.#standings.get(record);
    if (standing?.kind === 'follows') return this.#errorOf(standing.leader);
    return standing?.kind === 'failed' ? standing.error : undefined;
  }

  #fail(record: BatchRecord, error: unknown): void {
    this.#standings.set(record, { kind: 'failed', error });
    // A partial batch response carries no reason, so nothing else would tell.
    console.error(`[idemkit] Record ${record.id} cannot be processed: ${(error as Error).message}`);
  }
}

export type { GuardedBatch };

/** What fails a batch of a service that knows no partial failure: one record's error, or all of them in one. */
export function failureOf(errors: readonly unknown[], { records }: Batch): unknown {
  if (errors.length === 1) return errors[0];
  return new IdempotencyError(
    'BATCH_FAILED',
    `${errors.length} of ${records.length} records failed. Guarded, the others will not run again when the batch is delivered again.`,
    { cause: new AggregateError(errors, 'Records failed.'), effect: 'possible' },
  );
}

export const lowestOf = (ids: readonly string[]): string[] => {
  const first = lowest(ids);
  return first === undefined ? [] : [first];
};

function withFailures(answer: unknown, ids: readonly string[]): object {
  const rest = typeof answer === 'object' && answer !== null ? answer : {};
  return { ...rest, batchItemFailures: ids.map((itemIdentifier) => ({ itemIdentifier })) };
}

const unguarded = (settings: Settings): Standing => ({
  kind: 'fresh',
  execution: undefined,
  operation: new UnguardedOperation(sendUnrecorded(settings)),
});

/** It will be the same for every record and every delivery, until somebody mends it. */
const isFaultOfSetUp = (error: unknown): boolean =>
  ['STORE_MISCONFIGURED', 'UNSUPPORTED', 'BAD_OPTION', 'NAMESPACE_CLASH'].some((code) =>
    IdempotencyError.is(error, code as 'BAD_OPTION'),
  );

const mismatchInBatch = ({ id }: BatchRecord): IdempotencyError =>
  new IdempotencyError(
    'PAYLOAD_MISMATCH',
    `It has the idempotency key of record ${id} in the same batch, but another payload. Nothing has been done.`,
  );

const behindFailure = (): IdempotencyError =>
  new IdempotencyError(
    'IN_PROGRESS',
    'A record before it in its group could not be processed, so it was not started.',
    { retryAfterSeconds: 1 },
  );

const reportedByHandler = (): Error => new Error('The handler reported this record as failed.');
