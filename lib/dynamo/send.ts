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

/** Sends a write of which the condition may fail: the item that it met is an answer then. Never rejects. */
export async function sendConditional(client: DynamoClient, command: object): Promise<Sent> {
  let isRepeat = false;
  for (let tries = 1; ; tries++) {
    try {
      const { Attributes } = (await client.send(command)) ?? {};
      return { outcome: 'applied', attributes: Attributes };
    } catch (failure) {
      const error = failure as { name?: string; Item?: Item } | undefined;
      isRepeat ||= wasRepeated(failure);
      if (error?.name === 'ConditionalCheckFailedException') {
        return { outcome: 'stopped', found: error.Item, isRepeat };
      }
      // The SDK repeats throttled and broken requests, but not one that met a transaction on the same item.
      const isTransaction = error?.name === 'TransactionConflictException';
      if (!isTransaction || tries === maxConflicts) {
        const isConflict = isTransaction || error?.name === 'ReplicatedWriteConflictException';
        return { outcome: 'failed', failure, isConflict, isRepeat };
      }
      await systemClock.sleep(conflictPauseMs * tries * Math.random());
    }
  }
}

/** Whether the SDK had sent the request before the one that failed so. */
export const wasRepeated = (error: unknown): boolean =>
  ((error as { $metadata?: { attempts?: number } } | null)?.$metadata?.attempts ?? 1) > 1;

/** What a refusal of a write says, unless it had been sent before: that sending may have been applied. */
export const inDoubt = (isRepeat: boolean, refusal: IdempotencyError): IdempotencyError =>
  isRepeat && refusal.code !== 'STORE_UNAVAILABLE' ? storeUnavailable(refusal) : refusal;
