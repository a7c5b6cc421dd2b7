/**
 * The way in for a batch. Every record is claimed before the handler is called. The handler gets the fresh ones.
 */
import type { Context } from 'aws-lambda';
import { type Begun, carrying, type Guard, refuseSharedNamespace } from '../engine/index.ts';
import { IdempotencyError } from '../errors.ts';
import type { Batch } from '../events/index.ts';
import { type BatchSettings, claimBatch } from './claim-batch.ts';
import { GuardedBatch } from './guarded-batch.ts';

/**
 * @throws an error that shows that the guard is set up wrongly
 * @throws what `reportOf` throws, where no record is left for the handler
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
  return { kind: 'run', event, context: carrying(context, { kind: 'batch', batch: guarded }), run: guarded };
}

/** The state of a tumbling window goes from batch to batch. A record that is dropped as a repeat would be missing in it. */
function refuseTumblingWindow({ event }: Batch): void {
  if (!('isFinalInvokeForWindow' in event)) return;
  throw new IdempotencyError(
    'UNSUPPORTED',
    'A tumbling window cannot be guarded: its state would miss records that were completed before. Keep the state in a table, or remove the guard.',
  );
}
