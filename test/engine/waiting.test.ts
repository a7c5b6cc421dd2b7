import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type IdempotencyEvent, type IdempotentOptions, idempotent } from '../../lib/index.ts';
import { deferred } from '../support/hands.ts';
import { type RecordingStore, recordingStore } from '../support/recording-store.ts';

interface Order {
  readonly id: string;
  readonly amount?: number;
}

const order: Order = { id: 'order-1' };

describe('idempotent(handler)', () => {
  let store: RecordingStore;
  let seen: IdempotencyEvent[];

  beforeEach(() => {
    store = recordingStore();
    seen = [];
    vi.stubEnv('AWS_LAMBDA_FUNCTION_NAME', undefined);
    vi.stubEnv('IDEMPOTENCY_NAMESPACE', undefined);
    vi.stubEnv('IDEMPOTENCY_DISABLED', undefined);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
    vi.useRealTimers();
  });

  /** The options of most tests here; in a namespace of their own, so that one test may make several guards. */
  const options = (more: IdempotentOptions = {}): IdempotentOptions => ({
    store,
    namespace: 'orders',
    key: (event: Order) => event.id,
    observe: (event) => seen.push(event),
    ...more,
  });

  describe('waits for a running duplicate if told to', () => {
    it("and answers with the first one's answer", async () => {
      const finish = deferred<string>();
      store = recordingStore({
        before: (verb) => {
          if (verb === 'read') finish.resolve('first');
        },
      });
      const work = vi.fn(async (_: Order) => finish.promise);
      const once = idempotent(work, options({ whenBusy: { waitMs: 30_000 } }));
      expect(await Promise.all([once(order), once(order)])).toEqual(['first', 'first']);
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('and runs if the first one fails', async () => {
      const finish = deferred<string>();
      store = recordingStore({
        before: (verb) => {
          if (verb === 'read') finish.reject(new Error('card declined'));
        },
      });
      const work = vi.fn(async (_: Order): Promise<string> => 'second');
      work.mockImplementationOnce(() => finish.promise);
      const once = idempotent(work, options({ whenBusy: { waitMs: 30_000 } }));
      const first = once(order);
      const second = once(order);
      await expect(first).rejects.toThrow('card declined');
      expect(await second).toBe('second');
    });

    it('and gives up in the end', async () => {
      const finish = deferred<string>();
      const work = vi.fn(async (_: Order) => finish.promise);
      const once = idempotent(work, options({ whenBusy: { waitMs: 5_000 } }));
      const first = once(order);
      await expect(once(order)).rejects.toMatchObject({ code: 'IN_PROGRESS' });
      finish.resolve('first');
      expect(await first).toBe('first');
      expect(work).toHaveBeenCalledTimes(1);
    });
  });
});
