/** Answers of the store that come too late, or not at all, and what is done about the claim. */
import { expect, test, vi } from 'vitest';
import { storeUnavailable } from '../../lib/errors.ts';
import { idempotent } from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';
import { deferred } from '../support/hands.ts';

const options = { namespace: 'orders', key: () => 'k', ttlSeconds: 60, lease: { seconds: 10 } };
const unanswered = () => storeUnavailable(new Error('There was no answer.'));

function setUp() {
  const clock = manualClock();
  const store = memoryStore({ clock });
  const handler = vi.fn(async () => 'done');
  return { clock, store, handler };
}

/** A claim is answered `ms` after it was asked for. */
const claimAfter = ({ store, clock, handler }: ReturnType<typeof setUp>, ms: number) => {
  const claim: Store['claim'] = async (asked) => {
    const written = await store.claim(asked);
    clock.advance(ms);
    return written;
  };
  return idempotent(handler, { ...options, store: { ...store, claim } })({});
};

test('a claim that is answered within the margin before its end is not used', async () => {
  const world = setUp();
  await expect(claimAfter(world, 9_000)).rejects.toMatchObject({ code: 'NO_TIME_LEFT', effect: 'none' });
  expect(world.handler).not.toHaveBeenCalled();
  expect(await claimAfter(setUp(), 8_999)).toBe('done');
});

test('a claim that was answered too late is given back, and free at once', async () => {
  const world = setUp();
  await expect(claimAfter(world, 9_500)).rejects.toMatchObject({ code: 'NO_TIME_LEFT' });
  expect(world.store.records).toMatchObject([{ status: 'RELEASED' }]);
  expect(await idempotent(world.handler, { ...options, store: world.store })({})).toBe('done');
});

test('a takeover that is not answered does not run unguarded: an operation is under way', async () => {
  const { clock, store, handler } = setUp();
  void idempotent(() => deferred().promise, { ...options, store })({});
  await expect.poll(() => store.records.length).toBe(1);
  clock.advance(11_000);
  const takeOver = () => Promise.reject(unanswered());
  const taking = idempotent(handler, {
    ...options,
    store: { ...store, takeOver },
    whenStoreFails: 'run',
  });
  await expect(taking({})).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  expect(handler).not.toHaveBeenCalled();
});

test('a claim that was blocked is not used where the request that gives it back may yet arrive', async () => {
  const { clock, store, handler } = setUp();
  /** An earlier sending was applied, and the last one met a transaction. */
  const claim: Store['claim'] = async (asked) => {
    const written = await store.claim(asked);
    return written.outcome === 'applied' ? { outcome: 'blocked', isRepeat: true } : written;
  };
  const giveBack = () => Promise.reject(unanswered());
  const slow: Store = { ...store, claim, giveBack };
  const waiting = idempotent(handler, { ...options, store: slow, whenBusy: { waitMs: 2_000 } });
  const startedAtMs = clock.now();
  await expect(waiting({})).rejects.toMatchObject({ code: 'IN_PROGRESS' });
  expect(clock.now() - startedAtMs).toBeGreaterThanOrEqual(2_000);
  expect(handler).not.toHaveBeenCalled();
});

test('a window lasts from the completion on, and not from the claim', async () => {
  const { clock, store, handler } = setUp();
  handler.mockImplementation(async () => {
    clock.advance(9_000);
    return 'done';
  });
  const call = idempotent(handler, { ...options, store });
  await call({});
  clock.advance(59_999);
  await call({});
  expect(handler).toHaveBeenCalledTimes(1);
  clock.advance(1);
  await call({});
  expect(handler).toHaveBeenCalledTimes(2);
});
