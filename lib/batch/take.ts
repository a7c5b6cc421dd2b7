import { IdempotencyError } from '../errors.ts';
import type { BatchRecord } from '../events/index.ts';
import { type ArrivedBatch, arrivedIn } from './arrived-batch.ts';
import { GuardedBatch, type RecordByRecord } from './guarded-batch.ts';
import { UnguardedBatch } from './unguarded-batch.ts';

/** A guarded batch, and those of its records that are to be processed. */
export interface Taken {
  readonly guarded: RecordByRecord;
  readonly records: readonly BatchRecord[];
}

/**
 * Claims the records of `event` for a handler that is about to process them; `undefined` where nothing guards it.
 *
 * @param what the function that takes them
 * @throws `UNSUPPORTED` where `event` has records that are none of the guarded batch, or whose numbers cannot be claimed in turn;
 * an error that shows that the guard is set up wrongly
 */
export async function take(what: string, event: unknown, context: unknown): Promise<Taken | undefined> {
  const arrived = arrivedIn(context);
  if (arrived === undefined) return undefined;
  refuseNumbered(what, arrived);
  const records = await takeRecords(arrived, event);
  if (records) return { guarded: arrived.taken(takenOf), records };
  throw foreignRecords(what);
}

/** @param what the function that was to take the records */
export const foreignRecords = (what: string): IdempotencyError =>
  new IdempotencyError(
    'UNSUPPORTED',
    `${what}() was given records that are not those of the guarded batch: a middleware has made others of them. Let it keep all members that the service sends, or change the records in place. Records may be taken out.`,
  );

async function takeRecords(arrived: ArrivedBatch, event: unknown): Promise<BatchRecord[] | undefined> {
  const { outer, batch } = arrived;
  const taken = arrived.taken(takenOf);
  if (!outer) return taken.take(event);
  const theirs = await takeRecords(outer, event);
  return theirs && taken.take(batch.only(event as object, theirs));
}

/** A number can be claimed once its predecessor is completed. Only `eachRecord` goes record by record, by one guard. */
function refuseNumbered(what: string, { isNumbered, outer }: ArrivedBatch): void {
  if (isNumbered && what !== 'eachRecord') {
    throw new IdempotencyError(
      'UNSUPPORTED',
      `${what}() takes all records at once, and a number can be taken only after its predecessor is done. Under the option \`sequence\`, write eachRecord(async (record, operation) => { … }).`,
    );
  }
  for (let around = outer; around; around = around.outer) {
    if (!around.isNumbered) continue;
    throw new IdempotencyError(
      'UNSUPPORTED',
      'A guard with the option `sequence` is around another guard of the same batch, which would claim before it. Make it the inner one.',
    );
  }
}

const takenOf = (arrived: ArrivedBatch): GuardedBatch | UnguardedBatch =>
  arrived.identities ? new GuardedBatch(arrived) : new UnguardedBatch(arrived);
