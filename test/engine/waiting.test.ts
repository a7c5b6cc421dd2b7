import { describe, expect, it, vi } from 'vitest';
import { idempotent } from '../../lib/index.ts';
import { callBench, type Order, order } from '../support/call-bench.ts';
import { deferred } from '../support/hands.ts';
import { recordingStore } from '../support/recording-store.ts';

const bench = callBench();
const { options } = bench;

describe('idempotent(handler)', () => {
  describe('waits for a running duplicate if told to', () => {
    it("and answers with the first one's answer", async () => {
      const finish = deferred<string>();
      bench.store = recordingStore({
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
      bench.store = recordingStore({
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
