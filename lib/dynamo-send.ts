import type { DynamoClient } from './dynamo-client.ts';
import type { Item } from './dynamo-items.ts';
import { systemClock } from './store.ts';

/** The outcome of a single write with a condition. */
export type Sent =
  | { readonly applied: true; readonly attributes: Item | undefined }
  /** `isRepeat`: the SDK had sent it before, so an earlier sending may have been applied. */
  | { readonly applied: false; readonly found: Item | undefined; readonly isRepeat: boolean };

const maxConflicts = 6;
const conflictPauseMs = 50;

/** Sends a write of which the condition may fail: the item that it met is an answer then. @throws all other errors */
export async function sendConditional(client: DynamoClient, command: object): Promise<Sent> {
  let isRepeat = false;
  for (let tries = 1; ; tries++) {
    try {
      const { Attributes } = (await client.send(command)) ?? {};
      return { applied: true, attributes: Attributes };
    } catch (thrown) {
      const error = thrown as { name?: string; Item?: Item; $metadata?: { attempts?: number } } | undefined;
      isRepeat ||= (error?.$metadata?.attempts ?? 1) > 1;
      if (error?.name === 'ConditionalCheckFailedException') {
        return { applied: false, found: error.Item, isRepeat };
      }
      // The SDK repeats throttled and broken requests, but not one that met a transaction on the same item.
      if (error?.name !== 'TransactionConflictException' || tries === maxConflicts) throw thrown;
      await systemClock.sleep(conflictPauseMs * tries * Math.random());
    }
  }
}
