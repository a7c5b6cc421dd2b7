/** A claim that was applied without an answer, and that is no longer its sender's by the time the SDK sends it again. */
import { expect, test } from 'vitest';
import { idempotent, operation } from '../../lib/index.ts';
import type { NewClaim, Store, Takeover } from '../../lib/store.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';
import { deferred } from '../support/hands.ts';

const options = { namespace: 'orders', key: () => 'k', ttlSeconds: 60, lease: { seconds: 10 } };

test('its sender begins a window of its own, in which nothing is recorded of what another attempt did in the first one', async () => {
  const clock = manualClock();
  const store = memoryStore({ clock });
  const tokens: string[] = [];
  const charging = (by: string, failure?: Error) => async (_event: unknown, context: unknown) => {
    const charged = await operation(context).step('charge', ({ token }) => {
      tokens.push(token);
      return by;
    });
    if (failure) throw failure;
    return charged;
  };
  const other = idempotent(charging('the other', new Error('It failed.')), { ...options, store });

  let sendings = 0;
  /** The first answer is lost; before the request is sent again, another attempt takes over, and the window ends. */
  const claim = async (asked: NewClaim) => {
    if (++sendings > 1) return store.claim(asked);
    await store.claim(asked);
    clock.advance(11_000);
    await expect(other({})).rejects.toThrow('It failed.');
    clock.advance(60_000);
    return store.claim(asked);
  };
  const slow: Store = { ...store, claim };

  expect(await idempotent(charging('the first'), { ...options, store: slow })({})).toBe('the first');
  expect(sendings).toBe(2);
  expect(new Set(tokens).size).toBe(2);
});

test('its sender takes over as another owner, so that a repeated takeover from the first one changes nothing', async () => {
  const clock = manualClock();
  const store = memoryStore({ clock });
  const takenOver = deferred<Takeover>();
  /** It is not answered, and will be sent again. */
  const takeOver = async (asked: Takeover) => {
    await store.takeOver(asked);
    takenOver.resolve(asked);
    return deferred<never>().promise;
  };
  const other = idempotent(async () => 'the other', { ...options, store: { ...store, takeOver } });

  const claim = async (asked: NewClaim) => {
    await store.claim(asked);
    clock.advance(11_000);
    void other({});
    await takenOver.promise;
    clock.advance(11_000);
    return store.claim(asked);
  };
  const handler = async () => {
    expect(await store.takeOver(await takenOver.promise)).toMatchObject({ outcome: 'stopped' });
    return 'the first';
  };
  expect(await idempotent(handler, { ...options, store: { ...store, claim } })({})).toBe('the first');
  expect(store.records).toMatchObject([{ status: 'COMPLETED', attempt: 3 }]);
});
