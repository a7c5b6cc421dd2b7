import { describe, expect, it, vi } from 'vitest';
import { type Order, order } from '../support/call-bench.ts';
import { turn } from '../support/hands.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { recordingStore } from '../support/recording-store.ts';
import { middyBench, versions } from './middy-bench.ts';

describe.each(versions)('%s: idempotent()', (_, middy) => {
  const bench = middyBench();
  const { guard, httpGuard, count } = bench;

  describe('with an inner middleware that answers early', () => {
    it('frees the key when a `before` returns a value', async () => {
      let isWarmUp = true;
      const handler = middy()
        .use(guard())
        .before(() => (isWarmUp ? 'warm' : undefined))
        .handler(count);
      expect(await handler(order, lambdaContext())).toBe('warm');
      expect(bench.store.calls).toEqual(['claim', 'giveBack']);

      isWarmUp = false;
      expect(await handler(order, lambdaContext())).toBe(1);
      expect(await handler(order, lambdaContext())).toBe(1);
    });

    it('frees the key when a `before` answers with undefined', async () => {
      let isWarmUp = true;
      const handler = middy()
        .use(guard())
        .before((request) => {
          if (isWarmUp) request.earlyResponse = undefined;
        })
        .handler(count);
      expect(await handler(order, lambdaContext())).toBeUndefined();
      expect(bench.store.calls).toEqual(['claim', 'giveBack']);

      isWarmUp = false;
      expect(await handler(order, lambdaContext())).toBe(1);
    });

    it('frees the key for another payload when a `before` answers', async () => {
      const handler = middy<Order, unknown>()
        .use(guard())
        .before(({ event }) => (event.amount === undefined ? 'amount is missing' : undefined))
        .handler(count);
      expect(await handler(order, lambdaContext())).toBe('amount is missing');
      expect(await handler({ ...order, amount: 7 }, lambdaContext())).toBe(1);
    });

    it('stores what an `after` returns', async () => {
      const handler = middy()
        .use(guard())
        .after((request) => ({ wrapped: request.response }))
        .handler(count);
      expect(await handler(order, lambdaContext())).toEqual({ wrapped: 1 });
      expect(bench.store.calls).toEqual(['claim', 'complete']);
      expect(await handler(order, lambdaContext())).toEqual({ wrapped: 1 });
      expect(bench.runs).toBe(1);
    });

    it('stores the undefined that an `after` answers with', async () => {
      const handler = middy()
        .use(guard())
        .after((request) => {
          request.earlyResponse = undefined;
        })
        .handler(count);
      expect(await handler(order, lambdaContext())).toBeUndefined();
      expect(bench.store.calls).toEqual(['claim', 'complete']);
      expect(await handler(order, lambdaContext())).toBeUndefined();
      expect(bench.runs).toBe(1);
    });

    it('stores what an `after` returns where the handler returned undefined', async () => {
      const work = vi.fn(async () => undefined);
      const handler = middy()
        .use(guard())
        .after(() => 'accepted')
        .handler(work);
      expect(await handler(order, lambdaContext())).toBe('accepted');
      expect(await handler(order, lambdaContext())).toBe('accepted');
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('releases when an `after` answers with what is not to be remembered', async () => {
      const handler = middy()
        .use(httpGuard())
        .after(() => ({ statusCode: 503 }))
        .handler(async () => {
          bench.runs++;
          return { statusCode: 200 };
        });
      expect(await handler(paymentEvent(), lambdaContext())).toEqual({ statusCode: 503 });
      expect(bench.store.calls).toEqual(['claim', 'giveBack']);
    });

    it('releases when an `onError` returns an answer, and lets the answer pass', async () => {
      const handler = middy()
        .use(guard())
        .onError((request) => ({ failed: request.error?.message }))
        .handler(async () => {
          bench.runs++;
          throw new Error('card declined');
        });
      expect(await handler(order, lambdaContext())).toEqual({ failed: 'card declined' });
      expect(bench.store.calls).toEqual(['claim', 'giveBack']);
      expect(await handler(order, lambdaContext())).toEqual({ failed: 'card declined' });
      expect(bench.runs).toBe(2);
    });

    it('releases when an `onError` sets the response, and lets the answer pass', async () => {
      const handler = middy()
        .use(httpGuard())
        .onError((request) => {
          request.response = { statusCode: 402, body: request.error?.message };
        })
        .handler(async () => {
          bench.runs++;
          throw new Error('card declined');
        });
      expect(await handler(paymentEvent(), lambdaContext())).toEqual({
        statusCode: 402,
        body: 'card declined',
      });
      expect(bench.store.calls).toEqual(['claim', 'giveBack']);
      await handler(paymentEvent(), lambdaContext());
      expect(bench.runs).toBe(2);
    });

    it('releases when an `onError` answers with undefined, which Middy takes for no answer', async () => {
      const failure = new Error('card declined');
      const handler = middy()
        .use(guard())
        .onError((request) => {
          request.earlyResponse = undefined;
        })
        .handler(async () => {
          throw failure;
        });
      await expect(handler(order, lambdaContext())).rejects.toBe(failure);
      expect(bench.store.calls).toEqual(['claim', 'giveBack']);
    });

    it.each([
      ['undefined', undefined],
      ['null', null],
      ['an empty text', ''],
    ])('releases when the handler threw %s and an `onError` makes it an answer', async (_, thrown) => {
      for (const onError of [
        () => 'sorry',
        (request: { response: unknown }) => {
          request.response = 'sorry';
        },
      ]) {
        bench.store = recordingStore();
        const work = vi.fn().mockRejectedValueOnce(thrown).mockResolvedValueOnce('paid');
        const handler = middy().use(guard()).onError(onError).handler(work);
        expect(await handler(order, lambdaContext())).toBe('sorry');
        expect(bench.store.calls).toEqual(['claim', 'giveBack']);
        expect(await handler(order, lambdaContext())).toBe('paid');
      }
    });
  });

  describe('with an inner `before` that assigns the response', () => {
    const refusal = { statusCode: 400, body: 'amount is missing' };
    const missesAmount = (event: unknown) => (event as Order).amount === undefined;

    it.each<[string, (request: { event: unknown; response: unknown; earlyResponse?: unknown }) => unknown]>([
      [
        'returns it',
        (request) => {
          if (!missesAmount(request.event)) return undefined;
          request.response = refusal;
          return request.response;
        },
      ],
      [
        'makes it the early response',
        (request) => {
          if (!missesAmount(request.event)) return;
          request.response = refusal;
          request.earlyResponse = request.response;
        },
      ],
      [
        'returns it a moment later',
        async (request) => {
          if (!missesAmount(request.event)) return undefined;
          await turn();
          request.response = refusal;
          await turn();
          return request.response;
        },
      ],
    ])('and %s frees the key for a corrected request', async (_, before) => {
      const handler = middy<Order, unknown>().use(guard()).before(before).handler(count);
      expect(await handler(order, lambdaContext())).toEqual(refusal);
      expect(bench.store.calls).toEqual(['claim', 'giveBack']);
      expect(await handler({ ...order, amount: 7 }, lambdaContext())).toBe(1);
    });

    it('and throws frees the key for a corrected request', async () => {
      const handler = middy<Order, unknown>()
        .use(guard())
        .before((request) => {
          if (!missesAmount(request.event)) return;
          request.response = refusal as never;
          throw new Error('amount is missing');
        })
        .handler(count);
      await expect(handler(order, lambdaContext())).rejects.toThrow('amount is missing');
      expect(bench.store.calls).toEqual(['claim', 'giveBack']);
      expect(await handler({ ...order, amount: 7 }, lambdaContext())).toBe(1);
    });

    it('as a default frees the key when the handler throws', async () => {
      const handler = middy<Order>()
        .use(guard())
        .before((request) => {
          request.response = { headers: { 'X-Served-By': 'shop' } };
        })
        .handler(async () => {
          bench.runs++;
          if (bench.runs === 1) throw new Error('out of stock');
          return bench.runs;
        });
      await expect(handler(order, lambdaContext())).rejects.toThrow('out of stock');
      expect(bench.store.calls).toEqual(['claim', 'giveBack']);
      expect(await handler(order, lambdaContext())).toBe(2);
    });

    it('as a default keeps the answer of a handler that returns, also when an `after` throws', async () => {
      let isBroken = true;
      const handler = middy<Order>()
        .use(guard())
        .before((request) => {
          request.response = { headers: { 'X-Served-By': 'shop' } };
        })
        .after((request) => {
          // Just as Middy reads them to call a handler.
          const { event, context } = request;
          if (isBroken) throw new Error(`no header for ${event.id} of ${context.awsRequestId}`);
        })
        .handler(count);
      await expect(handler(order, lambdaContext())).rejects.toThrow('no header');
      isBroken = false;
      await expect(handler(order, lambdaContext())).rejects.toMatchObject({ code: 'RESULT_UNAVAILABLE' });
      expect(bench.runs).toBe(1);
    });

    it('inside another guard frees the keys of both', async () => {
      const handler = middy<Order, unknown>()
        .use(guard({ namespace: 'outer' }))
        .use(guard({ namespace: 'inner' }))
        .before((request) => {
          if (!missesAmount(request.event)) return undefined;
          request.response = refusal as never;
          return request.response;
        })
        .handler(count);
      expect(await handler(order, lambdaContext())).toEqual(refusal);
      expect(bench.store.calls).toEqual(['claim', 'claim', 'giveBack', 'giveBack']);
      expect(await handler({ ...order, amount: 7 }, lambdaContext())).toBe(1);
    });

    it('lets middlewares replace event and context', async () => {
      const handler = middy<Order, unknown>()
        .use(guard())
        .before((request) => {
          request.event = { id: 'parsed' };
          Object.assign(request.context, { secret: 's' });
        })
        .handler(async (event, context) => [event, (context as { secret?: string }).secret]);
      expect(await handler(order, lambdaContext())).toEqual([{ id: 'parsed' }, 's']);
    });
  });
});
