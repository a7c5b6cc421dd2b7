import { type IdempotencyError, storeUnavailable } from '../errors.ts';
import { systemClock } from '../store/index.ts';
import type { DynamoClient } from './client.ts';
import type { Item } from './items.ts';

/** The outcome of a single write with a condition. `isRepeat`: it was sent before, and that sending may have been applied. */
export type Sent =
  | { readonly outcome: 'applied'; readonly attributes: Item | undefined }
  | { readonly outcome: 'stopped'; readonly found: Item | undefined; readonly isRepeat: boolean }
  /** `isConflict`: another request was at work on the item for as long as this one tried. */
  | {
      readonly outcome: 'failed';
      readonly failure: unknown;
      readonly isConflict: boolean;
      readonly isRepeat: boolean;
    };

const maxConflicts = 6;
const conflictPauseMs = 50;

/**
 * Sends a write of which the condition may fail: the item that it met is an answer then.
 *
 * @param read makes of it what the promise resolves to; it rejects only where `read` throws
 */
export async function sendConditional<Outcome>(
  client: DynamoClient,
  command: object,
  read: (sent: Sent) => Outcome,
): Promise<Outcome> {
  let isRepeat = false;
  for (let tries = 1; ; tries++) {
    let sent: Sent;
    try {
      const { Attributes } = (await client.send(command)) ?? {};
      sent = { outcome: 'applied', attributes: Attributes };
    } catch (failure) {
      isRepeat ||= wasRepeated(failure);
      const { name, Item: found } = (failure ?? {}) as { name?: string; Item?: Item };
      // The SDK repeats throttled and broken requests, but not one that met a transaction on the same item.
      const isTransaction = name === 'TransactionConflictException';
      if (isTransaction && tries < maxConflicts) {
        await systemClock.sleep(conflictPauseMs * tries * Math.random());
        continue;
      }
      const isConflict = isTransaction || name === 'ReplicatedWriteConflictException';
      sent =
        name === 'ConditionalCheckFailedException'
          ? { outcome: 'stopped', found, isRepeat }
          : { outcome: 'failed', failure, isConflict, isRepeat };
    }
    return read(sent);
  }
}

/** Whether the SDK had sent the request before the one that failed so. */
export const wasRepeated = (error: unknown): boolean =>
  ((error as { $metadata?: { attempts?: number } } | null)?.$metadata?.attempts ?? 1) > 1;

/** What a refusal of a write says, unless it had been sent before: that sending may have been applied. */
export const inDoubt = (isRepeat: boolean, refusal: IdempotencyError): IdempotencyError =>
  isRepeat && refusal.code !== 'STORE_UNAVAILABLE' ? storeUnavailable(refusal) : refusal;
