/** Commits without writes of which the answers are lost, and steps whose start is answered late. */
import { expect, test, vi } from 'vitest';
import { IdempotencyError, storeUnavailable } from '../../lib/errors.ts';
import { idempotent, operation } from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';

const options = { namespace: 'orders', key: () => 'k', ttlSeconds: 600, lease: { seconds: 60 } };

function setUp() {
  const clock = manualClock();
  const store = memoryStore({ clock });
  return { clock, store };
}

test('a fallback answer under a claim gives way to the commit that turns out to have been applied', async () => {
  const { clock, store } = setUp();
  let isLost = true;
  const complete: Store['complete'] = async (completion) => {
    const written = await store.complete(completion);
    if (!isLost) return written;
    clock.advance(11_000);
    throw storeUnavailable(new Error('The answer was lost.'));
  };
  const errors: unknown[] = [];
  const handler = async (_event: unknown, context: unknown) => {
    try {
      return await operation(context).commit({ result: 'committed' });
    } catch (error) {
      errors.push(error);
      isLost = false;
      return 'fallback';
    }
  };
  expect(await idempotent(handler, { ...options, store: { ...store, complete } })({})).toBe('committed');
  expect(errors).toMatchObject([{ code: 'OUTCOME_UNKNOWN' }]);
});

test('a commit that is refused after a lost answer is in doubt', async () => {
  const { store } = setUp();
  let sendings = 0;
  const complete: Store['complete'] = async (completion) => {
    if (++sendings > 1) throw new IdempotencyError('STORE_MISCONFIGURED', 'The role is gone.');
    await store.complete(completion);
    throw storeUnavailable(new Error('The answer was lost.'));
  };
  const errors: unknown[] = [];
  const handler = async (_event: unknown, context: unknown) => {
    const commit = operation(context).commit({ result: 'committed' });
    return commit.catch((error: unknown) => {
      errors.push(error);
      throw error;
    });
  };
  await idempotent(handler, { ...options, store: { ...store, complete } })({}).catch(() => {});
  expect(errors).toMatchObject([{ code: 'OUTCOME_UNKNOWN' }]);
});

test('a step whose start took longer than the lease does not begin', async () => {
  const { clock, store } = setUp();
  const charge = vi.fn(async () => 'charged');
  const put: NonNullable<Store['steps']>['put'] = async (step) => {
    const written = await store.steps!.put(step);
    clock.advance(61_000);
    return written;
  };
  const handler = (_event: unknown, context: unknown) =>
    operation(context).step('charge', charge, { atMostOnce: true });
  const slow: Store = { ...store, steps: { ...store.steps!, put } };
  await expect(idempotent(handler, { ...options, store: slow })({})).rejects.toMatchObject({
    code: 'OVERTAKEN',
  });
  expect(charge).not.toHaveBeenCalled();
});
