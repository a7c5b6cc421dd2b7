/**
 * The way in for a batch. Its records are identified as they arrive, before other middlewares change them, and claimed once
 * `eachRecord`, `eachPartition` or `freshRecords` takes them. A program that imports none has guards without this room.
 */
import type { Context } from 'aws-lambda';
import {
  type Begun,
  carriedBy,
  carrying,
  type Ended,
  type Guard,
  parts,
  type Run,
  refuseSharedNamespace,
  type Settings,
} from '../engine/index.ts';
import { afterActing, IdempotencyError } from '../errors.ts';
import {
  asBatch,
  type Batch,
  type BatchRecord,
  batchNotTaken,
  type Identity,
  type IdentitySettings,
  identifyRecord,
  refuseIncomplete,
} from '../events/index.ts';
import { type LockedEvent, lockedEvent } from './locked-event.ts';

/** The settings of a guard that identifies an operation in each record. */
export type BatchSettings = Settings & IdentitySettings;

/** Which operation a record belongs to, or why that cannot be told. */
export type Identified = Identity | { readonly kind: 'failed'; readonly error: unknown };

/** What a batch becomes once its handler takes it. */
export interface TakenBatch extends Run {
  operationOf(record: unknown): object | undefined;
  completed(answer: unknown): unknown;
}

parts.beginBatch = (guard: Guard<BatchSettings>, event, context, isOff): Begun | undefined => {
  const batch = asBatch(event);
  if (!batch && !isOff) refuseIncomplete(guard.settings, event);
  return batch && (isOff ? beginUnguarded(guard, batch, context) : beginGuarded(guard, batch, context));
};

/**
 * @throws an error that shows that the guard is set up wrongly
 */
function beginGuarded(guard: Guard<BatchSettings>, batch: Batch, context: Context | undefined): Begun {
  const { settings } = guard;
  refuseSharedNamespace(guard);
  refuseTumblingWindow(batch);
  return begun(new ArrivedBatch(settings, batch, context, identitiesOf(settings, batch, context)), context);
}

function beginUnguarded(
  { settings }: Guard<BatchSettings>,
  batch: Batch,
  context: Context | undefined,
): Begun {
  settings.observe?.({ type: 'unguarded', reason: 'disabled' });
  return begun(new ArrivedBatch(settings, batch, context, undefined), context);
}

const begun = (batch: ArrivedBatch, context: Context | undefined): Begun => ({
  kind: 'run',
  event: batch.event,
  context: carrying(context, { kind: 'batch', batch }),
  run: batch,
});

/** The batch that `context` carries from its guard. */
export function arrivedIn(context: unknown): ArrivedBatch | undefined {
  const carried = carriedBy(context);
  return carried?.kind === 'batch' ? (carried.batch as ArrivedBatch) : undefined;
}

/** A batch as it arrived at its guard. It is the `Run` of a handler that may or may not take it. */
export class ArrivedBatch implements Run {
  readonly settings: BatchSettings;
  readonly batch: Batch;
  readonly context: Context | undefined;
  /** `undefined` where the guard is switched off. */
  readonly identities: ReadonlyMap<BatchRecord, Identified> | undefined;
  /** The batch of a guard around this one. Whoever takes this one takes that one first. */
  readonly outer: ArrivedBatch | undefined;
  readonly #event: LockedEvent | undefined;
  #taken: TakenBatch | undefined;

  constructor(
    settings: BatchSettings,
    batch: Batch,
    context: Context | undefined,
    identities: ReadonlyMap<BatchRecord, Identified> | undefined,
  ) {
    this.settings = settings;
    this.batch = batch;
    this.context = context;
    this.identities = identities;
    const outer = arrivedIn(context);
    this.outer = outer?.isTaken ? undefined : outer;
    this.#event = identities && lockedEvent(batch.event, batchNotTaken);
  }

  /** What the handler is given: its records cannot be read by a handler that has not taken them. */
  get event(): object {
    return this.#event?.event ?? this.batch.event;
  }

  /** Whether its records are claimed in the order of their senders' numbers. */
  get isNumbered(): boolean {
    return this.identities !== undefined && this.settings.placed !== undefined;
  }

  get isTaken(): boolean {
    return this.#taken !== undefined;
  }

  /** The same one each time. */
  taken<Taken extends TakenBatch>(take: (arrived: ArrivedBatch) => Taken): Taken {
    this.#event?.unlock();
    this.#taken ??= take(this);
    return this.#taken as Taken;
  }

  operationOf(record: unknown): object | undefined {
    return this.#taken?.operationOf(record);
  }

  called(): void {
    if (!this.#taken) this.#event?.lock();
  }

  /** Lets a guard inside of this one read what it is to guard. */
  open(): void {
    this.#event?.unlock();
  }

  async returned(answer: unknown): Promise<unknown> {
    if (this.#taken) return this.#taken.returned(answer);
    if (this.identities) throw afterActing(batchNotTaken());
    return answer;
  }

  async threw(error: unknown): Promise<Ended> {
    this.#event?.unlock();
    return this.#taken?.threw(error) ?? { kind: 'error', error: afterActing(error) };
  }

  async returnedInVain(answer: unknown): Promise<void> {
    await this.#taken?.returnedInVain(answer);
  }

  completed(answer: unknown): unknown {
    return this.#taken ? this.#taken.completed(answer) : answer;
  }
}

function identitiesOf(
  settings: BatchSettings,
  { records }: Batch,
  context: Context | undefined,
): Map<BatchRecord, Identified> {
  const identities = new Map<BatchRecord, Identified>();
  for (const record of records) {
    try {
      identities.set(record, identifyRecord(settings, record, context as Context));
    } catch (error) {
      if (isFaultOfSetUp(error)) throw error;
      identities.set(record, { kind: 'failed', error });
    }
  }
  return identities;
}

/** Whether an error meets every record and every delivery, until somebody corrects the set-up. */
export const isFaultOfSetUp = (error: unknown): boolean =>
  ['STORE_MISCONFIGURED', 'UNSUPPORTED', 'BAD_OPTION', 'NAMESPACE_CLASH'].some((code) =>
    IdempotencyError.is(error, code as 'BAD_OPTION'),
  );

/** The state of a tumbling window goes from batch to batch. A record that is dropped as a repeat would be missing in it. */
function refuseTumblingWindow({ event }: Batch): void {
  if (!('isFinalInvokeForWindow' in event)) return;
  throw new IdempotencyError(
    'UNSUPPORTED',
    'A tumbling window cannot be guarded: its state would miss records that were completed before. Keep the state in a table, or remove the guard.',
  );
}
