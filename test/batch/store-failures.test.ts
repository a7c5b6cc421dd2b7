/** Batches of which records cannot be claimed. */
import { expect, test, vi } from 'vitest';
import { IdempotencyError, storeUnavailable } from '../../lib/errors.ts';
import { eachRecord, idempotent } from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { memoryStore } from '../../lib/testing.ts';
import { failedIn, sqsEvent, sqsMessage } from '../support/batch-events.ts';

/** A batch of two messages, of which the second one's claim fails with `error`. */
async function secondFails(
  error: Error,
  whenStoreFails: 'refuse' | 'run',
  around = <T>(handler: T) => handler,
) {
  const store = memoryStore();
  let claims = 0;
  const claim: Store['claim'] = async (asked) => {
    if (++claims > 1) throw error;
    return store.claim(asked);
  };
  const process = vi.fn(async (_record: unknown) => {});
  const options = { namespace: 'orders', store: { ...store, claim }, whenStoreFails } as const;
  const call = idempotent(around(eachRecord(process)), options);
  const outcome = await call(sqsEvent(sqsMessage('1'), sqsMessage('2'))).catch((thrown: unknown) => thrown);
  return { outcome, runs: process.mock.calls.length, store };
}

const unanswered = storeUnavailable(new Error('There was no answer.'));

test('a record that could not be claimed does not run, and comes again', async () => {
  const { outcome, runs } = await secondFails(unanswered, 'refuse');
  expect(failedIn(outcome)).toEqual(['2']);
  expect(runs).toBe(1);
});

test('a record that could not be claimed runs unguarded where that was asked for', async () => {
  const { outcome, runs } = await secondFails(unanswered, 'run');
  expect(failedIn(outcome)).toEqual([]);
  expect(runs).toBe(2);
});

test('a fault in the set-up fails the batch, and gives back what was claimed', async () => {
  const fault = new IdempotencyError('STORE_MISCONFIGURED', 'There is no table.');
  const { outcome, runs, store } = await secondFails(fault, 'refuse');
  expect(outcome).toMatchObject({ code: 'STORE_MISCONFIGURED' });
  expect(runs).toBe(0);
  expect(store.records).toMatchObject([{ status: 'RELEASED' }]);
});

test('a fault in the set-up that the handler catches acknowledges nothing', async () => {
  const fault = new IdempotencyError('STORE_MISCONFIGURED', 'There is no table.');
  const { runs, store } = await secondFails(
    fault,
    'refuse',
    (handler) =>
      ((event: never, context: never) =>
        (handler as (event: never, context: never) => Promise<unknown>)(event, context).catch(() => ({
          batchItemFailures: [],
        }))) as typeof handler,
  );
  expect(runs).toBe(0);
  expect(store.records).toMatchObject([{ status: 'RELEASED' }]);
});
