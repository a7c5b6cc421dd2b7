import type { Context } from 'aws-lambda';
import { describe, expect, it, vi } from 'vitest';
import { type IdempotentOptions, idempotent, operation } from '../../lib/index.ts';
import { callBench, type Order, order } from '../support/call-bench.ts';
import { deferred } from '../support/hands.ts';
import { lambdaContext } from '../support/invocation.ts';

const bench = callBench();
const { options } = bench;

describe('idempotent(handler)', () => {
  describe('has a lease', () => {
    /** How long a claim of this call holds, as a duplicate is told. */
    const leaseOf = async (context?: Context, more?: IdempotentOptions): Promise<number> => {
      const started = deferred();
      const finish = deferred();
      const once = idempotent(async () => {
        started.resolve();
        await finish.promise;
      }, options(more));
      const first = once(order, context);
      await started.promise;
      await once(order, context).catch(() => {});
      finish.resolve();
      await first;
      const busy = bench.seen.find(({ type }) => type === 'busy');
      return busy?.type === 'busy' ? busy.leaseLeftMs : 0;
    };

    it("of the invocation's remaining time and a second for clock skew", async () => {
      expect(await leaseOf(lambdaContext(12_000))).toBe(13_000);
    });

    it('of 60 s outside Lambda, without a context', async () => {
      expect(await leaseOf()).toBe(60_000);
    });

    it('of 901 s inside Lambda, where the context was not passed on', async () => {
      vi.stubEnv('AWS_LAMBDA_FUNCTION_NAME', 'orders');
      expect(await leaseOf()).toBe(901_000);
    });

    it('of what the option says', async () => {
      expect(await leaseOf(lambdaContext(12_000), { lease: { seconds: 5 } })).toBe(5_000);
    });

    it('after which a silent attempt is taken over', async () => {
      const silent = deferred<string>();
      const work = vi.fn(async (_: Order): Promise<string> => 'second');
      work.mockImplementationOnce(() => silent.promise);
      const once = idempotent(work, options());
      const first = once(order);
      await vi.waitFor(() => expect(work).toHaveBeenCalledTimes(1));
      bench.store.clock.advance(59_999);
      await expect(once(order)).rejects.toMatchObject({ code: 'IN_PROGRESS' });
      bench.store.clock.advance(1);
      expect(await once(order)).toBe('second');
      silent.resolve('first');
      // One answer per window: the overtaken attempt hands out the stored one.
      expect(await first).toBe('second');
      expect(await once(order)).toBe('second');
    });

    it('after which an attempt whose successor still runs is told so', async () => {
      const finish = [deferred<string>(), deferred<string>()];
      const work = vi.fn(async (_: Order): Promise<string> => finish[work.mock.calls.length - 1]!.promise);
      const once = idempotent(work, options());
      const first = once(order);
      await vi.waitFor(() => expect(work).toHaveBeenCalledTimes(1));
      bench.store.clock.advance(60_000);
      const second = once(order);
      await vi.waitFor(() => expect(work).toHaveBeenCalledTimes(2));
      finish[0]!.resolve('first');
      await expect(first).rejects.toMatchObject({ code: 'OVERTAKEN', effect: 'possible' });
      finish[1]!.resolve('second');
      expect(await second).toBe('second');
    });

    it('after which a failing attempt changes nothing of its successor', async () => {
      const finish = [deferred<string>(), deferred<string>()];
      const work = vi.fn(async (_: Order): Promise<string> => finish[work.mock.calls.length - 1]!.promise);
      const once = idempotent(work, options());
      const first = once(order);
      await vi.waitFor(() => expect(work).toHaveBeenCalledTimes(1));
      bench.store.clock.advance(60_000);
      const second = once(order);
      await vi.waitFor(() => expect(work).toHaveBeenCalledTimes(2));
      const failure = new Error('card declined');
      finish[0]!.reject(failure);
      await expect(first).rejects.toBe(failure);
      await expect(once(order)).rejects.toMatchObject({ code: 'IN_PROGRESS' });
      finish[1]!.resolve('second');
      expect(await second).toBe('second');
      expect(await once(order)).toBe('second');
    });
  });

  describe('gives a signal', () => {
    it('that aborts when the lease is over', async () => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      await idempotent(
        async (_: Order, context) => {
          const { signal } = operation(context);
          expect(operation(context).signal).toBe(signal);
          vi.advanceTimersByTime(4_999);
          expect(signal.aborted).toBe(false);
          vi.advanceTimersByTime(1);
          expect(signal.aborted).toBe(true);
          expect(signal.reason).toMatchObject({ code: 'OVERTAKEN' });
        },
        options({ lease: { seconds: 5 } }),
      )(order);
      expect.assertions(4);
    });

    it('that has been aborted where it is first asked for after the lease', async () => {
      await idempotent(
        async (_: Order, context) => {
          bench.store.clock.advance(5_000);
          expect(operation(context).signal.aborted).toBe(true);
        },
        options({ lease: { seconds: 5 } }),
      )(order);
      expect.assertions(1);
    });

    it('that leaves no timer behind when the handler has returned', async () => {
      vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] });
      const signals: AbortSignal[] = [];
      const once = idempotent(async (_: Order, context) => {
        signals.push(operation(context).signal);
      }, options());
      await once(order);
      expect(vi.getTimerCount()).toBe(0);
      expect(signals[0]?.aborted).toBe(false);
    });
  });
});
