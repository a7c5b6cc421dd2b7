import type middy7 from '@middy/core';
import type { APIGatewayProxyStructuredResultV2, Context } from 'aws-lambda';
import { describe, expect, it, vi } from 'vitest';
import { idempotent, operation } from '../../lib/index.ts';
import { type Order, order } from '../support/call-bench.ts';
import { deferred } from '../support/hands.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { middyBench, versions } from './middy-bench.ts';

describe.each(versions)('%s: idempotent()', (_, middy) => {
  const bench = middyBench();
  const { guard, httpGuard, count, occurrences } = bench;

  describe('by itself', () => {
    it('runs the handler for a fresh key and stores its answer', async () => {
      const handler = middy().use(guard()).handler(count);
      expect(await handler(order, lambdaContext())).toBe(1);
      expect(bench.store.calls).toEqual(['claim', 'complete']);
    });

    it.each([
      ['an object', { paid: true }],
      ['undefined', undefined],
      ['null', null],
      ['false', false],
      ['zero', 0],
      ['an empty text', ''],
      ['a Date', new Date(0)],
    ])('replays %s and runs the handler once', async (_, value) => {
      const work = vi.fn(async () => value);
      const handler = middy().use(guard()).handler(work);
      expect(await handler(order, lambdaContext())).toEqual(value);
      expect(await handler(order, lambdaContext())).toEqual(value);
      expect(work).toHaveBeenCalledTimes(1);
      expect(bench.store.calls).toEqual(['claim', 'complete', 'claim']);
    });

    it('runs again for another key', async () => {
      const handler = middy().use(guard()).handler(count);
      await handler(order, lambdaContext());
      expect(await handler({ id: 'order-2' }, lambdaContext())).toBe(2);
    });

    it('takes a handler that is not async', async () => {
      const handler = middy()
        .use(guard())
        .handler(() => {
          bench.runs++;
          return 'sync' as never;
        });
      expect(await handler(order, lambdaContext())).toBe('sync');
      expect(await handler(order, lambdaContext())).toBe('sync');
      expect(bench.runs).toBe(1);
    });

    it('releases the key when the handler fails, and the caller gets its error', async () => {
      const failure = new Error('card declined');
      const work = vi.fn().mockRejectedValueOnce(failure).mockResolvedValueOnce('paid');
      const handler = middy().use(guard()).handler(work);
      await expect(handler(order, lambdaContext())).rejects.toBe(failure);
      expect(bench.store.calls).toEqual(['claim', 'giveBack']);
      expect(await handler(order, lambdaContext())).toBe('paid');
    });

    it('lets a refused duplicate touch nothing, although every onError runs', async () => {
      const started = deferred();
      const finish = deferred<string>();
      const onErrors: unknown[] = [];
      const handler = middy()
        .use(guard())
        .onError((request) => {
          onErrors.push(request.error);
        })
        .handler(async () => {
          started.resolve();
          return finish.promise;
        });

      const first = handler(order, lambdaContext());
      await started.promise;
      await expect(handler(order, lambdaContext())).rejects.toMatchObject({
        code: 'IN_PROGRESS',
        effect: 'none',
      });
      expect(onErrors).toHaveLength(1);
      expect(bench.store.calls).toEqual(['claim', 'claim']);
      expect(occurrences()).toEqual(['claim', 'busy']);

      finish.resolve('done');
      expect(await first).toBe('done');
      expect(await handler(order, lambdaContext())).toBe('done');
      expect(bench.store.calls).toEqual(['claim', 'claim', 'complete', 'claim']);
    });

    it('lets a mismatch touch nothing', async () => {
      const handler = middy().use(guard()).handler(count);
      await handler(order, lambdaContext());
      await expect(handler({ ...order, amount: 8 }, lambdaContext())).rejects.toMatchObject({
        code: 'PAYLOAD_MISMATCH',
      });
      expect(bench.store.calls).toEqual(['claim', 'complete', 'claim']);
      expect(await handler(order, lambdaContext())).toBe(1);
    });

    it('refuses a key that is missing before any call to the store', async () => {
      const handler = middy().use(httpGuard()).handler(count);
      expect(await handler(paymentEvent({ key: null }), lambdaContext())).toMatchObject({ statusCode: 400 });
      expect(bench.store.calls).toEqual([]);
      expect(bench.runs).toBe(0);
    });

    it('answers a duplicate over HTTP with 409 while the first one runs, then with its answer', async () => {
      const started = deferred();
      const finish = deferred<APIGatewayProxyStructuredResultV2>();
      const handler = middy()
        .use(httpGuard())
        .handler(async () => {
          started.resolve();
          return finish.promise;
        });
      const first = handler(paymentEvent(), lambdaContext());
      await started.promise;
      const busy = await handler(paymentEvent(), lambdaContext());
      expect(busy).toMatchObject({ statusCode: 409, headers: { 'Retry-After': expect.any(String) } });

      finish.resolve({ statusCode: 201, body: 'made' });
      expect(await first).toEqual({ statusCode: 201, body: 'made' });
      expect(await handler(paymentEvent(), lambdaContext())).toEqual({
        statusCode: 201,
        body: 'made',
        headers: { 'Idempotent-Replayed': 'true' },
      });
    });

    it('reads key and payload as they arrived, whatever inner middlewares make of the event', async () => {
      const handler = middy()
        .use(httpGuard())
        .before((request) => {
          const event = request.event as { body: unknown; headers: Record<string, string> };
          event.body = JSON.parse(String(event.body));
          event.headers['idempotency-key'] = 'another';
        })
        .handler(count);
      expect(await handler(paymentEvent(), lambdaContext())).toBe(1);
      expect(await handler(paymentEvent(), lambdaContext())).toMatchObject({ body: '1' });
      expect(await handler(paymentEvent({ body: { amount: 8 } }), lambdaContext())).toMatchObject({
        statusCode: 422,
      });
      expect(bench.runs).toBe(1);
    });

    it('works under a context without a deadline', async () => {
      const handler = middy().use(guard()).handler(count);
      expect(await handler(order, {} as Context)).toBe(1);
      expect(await handler(order, {} as Context)).toBe(1);
      expect(bench.store.calls).toEqual(['claim', 'complete', 'claim']);
    });

    it('takes zero milliseconds left for a deadline', async () => {
      const handler = middy().use(guard()).handler(count);
      await expect(handler(order, lambdaContext(0))).rejects.toMatchObject({ code: 'NO_TIME_LEFT' });
      expect(bench.store.calls).toEqual([]);
      expect(bench.runs).toBe(0);
    });
  });

  describe('with what inner middlewares add', () => {
    it('stores and replays it', async () => {
      const handler = middy<unknown, APIGatewayProxyStructuredResultV2>()
        .use(httpGuard())
        .after(async (request) => {
          request.response!.headers = { ...request.response!.headers, 'Access-Control-Allow-Origin': '*' };
        })
        .after(async (request) => {
          request.response = { ...request.response, body: JSON.stringify(request.response?.body) };
        })
        .handler(async () => ({ statusCode: 201, body: 'made' }));
      const first = await handler(paymentEvent(), lambdaContext());
      expect(first).toEqual({
        statusCode: 201,
        body: '"made"',
        headers: { 'Access-Control-Allow-Origin': '*' },
      });
      expect(await handler(paymentEvent(), lambdaContext())).toEqual({
        ...first,
        headers: { ...first.headers, 'Idempotent-Replayed': 'true' },
      });
    });

    it('hands out copies: changing an answer changes no other', async () => {
      const handler = middy<Order, { list: number[] }>()
        .use(guard())
        .handler(async () => ({ list: [1] }));
      (await handler(order, lambdaContext())).list.push(2);
      (await handler(order, lambdaContext())).list.push(3);
      expect(await handler(order, lambdaContext())).toEqual({ list: [1] });
    });

    it('reaches the handler through the context', async () => {
      const handler = middy()
        .use(guard())
        .before((request) => {
          Object.assign(request.context, { secret: 'from a middleware' });
        })
        .handler(async (_event: unknown, context: Context & { secret?: string }) => context.secret);
      expect(await handler(order, lambdaContext())).toBe('from a middleware');
    });
  });

  describe('as a wrapper', () => {
    it('leaves no claim inside Middy when a `before` answers early', async () => {
      const handler = middy(idempotent(count, { store: bench.store, key: () => 'order-1' })).before(
        () => 'warm',
      );
      expect(await handler(order, lambdaContext())).toBe('warm');
      expect(bench.store.calls).toEqual([]);
    });

    it('lets every `after` work on a replay when it goes inside Middy', async () => {
      const handler = middy<Order, unknown>(
        idempotent(count, { store: bench.store, key: () => 'order-1' }),
      ).after((request) => {
        request.response = { wrapped: request.response };
      });
      expect(await handler(order, lambdaContext())).toEqual({ wrapped: 1 });
      expect(await handler(order, lambdaContext())).toEqual({ wrapped: 1 });
      expect(bench.runs).toBe(1);
    });

    it('stores the final answer when it goes around Middy', async () => {
      const inner = middy()
        .after((request) => ({ wrapped: request.response }))
        .handler(count);
      const handler = idempotent(inner, { store: bench.store, key: () => 'order-1' });
      expect(await handler(order, lambdaContext())).toEqual({ wrapped: 1 });
      expect(await handler(order, lambdaContext())).toEqual({ wrapped: 1 });
      expect(bench.store.calls).toEqual(['claim', 'complete', 'claim']);
      expect(bench.runs).toBe(1);
    });
  });

  describe('towards Middy', () => {
    const endings: [string, middy7.MiddlewareObj, unknown][] = [
      ['a plain answer', {}, 1],
      ['an early answer in `before`', { before: () => 'early' }, 'early'],
      ['an early answer in `after`', { after: () => 'early' }, 'early'],
      [
        'an answer made from an error',
        {
          before() {
            throw new Error('invalid');
          },
          onError: () => 'sorry',
        },
        'sorry',
      ],
    ];

    it.each(endings)('shows `requestEnd` the response itself after %s', async (_, middleware, answer) => {
      const ends: unknown[] = [];
      const handler = middy({
        requestEnd: (request) => {
          ends.push(request.response);
        },
      })
        .use(guard())
        .use({ after: noop, ...middleware })
        .handler(count);
      expect(await handler(order, lambdaContext())).toBe(answer);
      expect(ends).toEqual([answer]);
    });

    it('shows `requestEnd` a replay', async () => {
      const ends: unknown[] = [];
      const handler = middy({
        requestEnd: (request) => {
          ends.push(request.response);
        },
      })
        .use(guard())
        .handler(count);
      await handler(order, lambdaContext());
      await handler(order, lambdaContext());
      expect(ends).toEqual([1, 1]);
    });

    it('shows other middlewares the error, and its replacement by one of them', async () => {
      const failure = new Error('card declined');
      const replacement = new Error('Internal Server Error');
      const errors: unknown[] = [];
      const handler = middy()
        .onError(({ error }) => {
          errors.push(error);
        })
        .use(guard())
        .onError((request) => {
          request.error = replacement;
        })
        .onError(({ error }) => {
          errors.push(error);
        })
        .handler(async () => {
          throw failure;
        });
      await expect(handler(order, lambdaContext())).rejects.toBe(replacement);
      expect(errors).toEqual([failure, replacement]);
    });

    it('leaves `internal` alone', async () => {
      const internal = { mine: true };
      let seenInternal: object | undefined;
      const handler = middy({ internal })
        .use(guard())
        .after((request) => {
          seenInternal = request.internal;
        })
        .handler(count);
      await handler(order, lambdaContext());
      expect(internal).toEqual({ mine: true });
      expect({ ...seenInternal }).toEqual({ mine: true });
    });

    it('lets middlewares and the handler reach the original of an accessor on the context', async () => {
      const context = lambdaContext();
      const handler = middy()
        .use(guard())
        .before((request) => {
          request.context.callbackWaitsForEmptyEventLoop = false;
        })
        .handler(async (_event: unknown, its: Context) => its.callbackWaitsForEmptyEventLoop);
      expect(await handler(order, context)).toBe(false);
      expect(context.callbackWaitsForEmptyEventLoop).toBe(false);
    });

    it('does not change the context that it was given', async () => {
      const context = Object.freeze(lambdaContext());
      const handler = middy()
        .use(guard())
        .handler(async (_event: unknown, its: Context) => operation(its).key);
      expect(await handler(order, context)).toBe('order-1');
      expect('idempotency' in context).toBe(false);
    });
  });
});

function noop(): void {}
