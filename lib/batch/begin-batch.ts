/**
 * A batch on its way: every record is claimed before the handler is called, all at once, and settled by itself. The handler
 * is given the records that are fresh; what it reports is merged with what was found here.
 */
import type { Context } from 'aws-lambda';
import { type Begun, type Guard, refuseSharedNamespace, withBatch } from '../engine/index.ts';
import { IdempotencyError } from '../errors.ts';
import type { Batch } from '../events/index.ts';
import { type BatchSettings, claimBatch } from './claiming.ts';
import { GuardedBatch } from './settling.ts';

/**
 * @throws what shows that the guard is set up wrongly, and for services without partial failures what `reportOf` says; else
 * what is wrong with a record is that record's failure.
 */
export async function beginBatch(
  guard: Guard<BatchSettings>,
  batch: Batch,
  context: Context | undefined,
): Promise<Begun> {
  refuseTumblingWindow(batch);
  refuseSharedNamespace(guard);
  const guarded = new GuardedBatch(batch, await claimBatch(guard.settings, batch, context));
  const { event } = guarded;
  if (event === undefined) return { kind: 'answer', answer: guarded.completed() };
  return { kind: 'run', event, context: withBatch(context, guarded), run: guarded };
}

/** State that is carried from batch to batch holds records that a later delivery would be said to have done. */
function refuseTumblingWindow({ event }: Batch): void {
  if (!('isFinalInvokeForWindow' in event)) return;
  throw new IdempotencyError(
    'UNSUPPORTED',
    'A tumbling window cannot be guarded: its state would miss the records that were completed before. Keep the aggregate in a table, or do without the guard.',
  );
}
