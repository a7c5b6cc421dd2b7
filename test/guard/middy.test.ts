import { Readable } from 'node:stream';
import middy7 from '@middy/core';
import { executionModeStreamifyResponse } from '@middy/core/StreamifyResponse';
import type { APIGatewayProxyStructuredResultV2, Context } from 'aws-lambda';
import middy6 from 'middy6';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type IdempotencyEvent, type IdempotentOptions, idempotent, operation } from '../../lib/index.ts';
import { turn } from '../support/hands.ts';
import { gate, httpRequest, lambdaContext } from '../support/invocation.ts';
import { type RecordingStore, recordingStore } from '../support/recording-store.ts';

interface Order {
  readonly id: string;
  readonly amount?: number;
}

const order: Order = { id: 'order-1' };

const versions: [string, typeof middy7][] = [
  ['Middy 6', middy6 as unknown as typeof middy7],
  ['Middy 7', middy7],
];

describe.each(versions)('%s: idempotent()', (version, middy) => {
  let store: RecordingStore;
  let seen: IdempotencyEvent[];
  let runs: number;

  beforeEach(() => {
    store = recordingStore();
    seen = [];
    runs = 0;
  });
  afterEach(() => {
    vi.unstubAllGlobals();
  });

  const guard = (options: IdempotentOptions = {}) =>
    idempotent({
      store,
      key: (event: Order) => event.id,
      observe: (event) => seen.push(event),
      ...options,
    });
  const httpGuard = (options: IdempotentOptions = {}) => idempotent({ store, ...options });
  /** A handler that counts and answers with the count. */
  const count = async (): Promise<number> => {
    runs++;
    return runs;
  };
  const occurrences = () => seen.map(({ type }) => type);

  describe('by itself', () => {
    it('runs the handler for a fresh key and stores its answer', async () => {
      const handler = middy().use(guard()).handler(count);
      expect(await handler(order, lambdaContext())).toBe(1);
      expect(store.calls).toEqual(['claim', 'complete']);
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
      expect(store.calls).toEqual(['claim', 'complete', 'claim']);
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
          runs++;
          return 'sync' as any;
        });
      expect(await handler(order, lambdaContext())).toBe('sync');
      expect(await handler(order, lambdaContext())).toBe('sync');
      expect(runs).toBe(1);
    });

    it('releases the key when the handler fails, and the caller gets its error', async () => {
      const failure = new Error('card declined');
      const work = vi.fn().mockRejectedValueOnce(failure).mockResolvedValueOnce('paid');
      const handler = middy().use(guard()).handler(work);
      await expect(handler(order, lambdaContext())).rejects.toBe(failure);
      expect(store.calls).toEqual(['claim', 'giveBack']);
      expect(await handler(order, lambdaContext())).toBe('paid');
    });

    it('lets a refused duplicate touch nothing, although every onError runs', async () => {
      const started = gate();
      const finish = gate<string>();
      const onErrors: unknown[] = [];
      const handler = middy()
        .use(guard())
        .onError((request) => {
          onErrors.push(request.error);
        })
        .handler(async () => {
          started.open();
          return finish.passed;
        });

      const first = handler(order, lambdaContext());
      await started.passed;
      await expect(handler(order, lambdaContext())).rejects.toMatchObject({
        code: 'IN_PROGRESS',
        effect: 'none',
      });
      expect(onErrors).toHaveLength(1);
      expect(store.calls).toEqual(['claim', 'claim']);
      expect(occurrences()).toEqual(['claim', 'busy']);

      finish.open('done');
      expect(await first).toBe('done');
      expect(await handler(order, lambdaContext())).toBe('done');
      expect(store.calls).toEqual(['claim', 'claim', 'complete', 'claim']);
    });

    it('lets a mismatch touch nothing', async () => {
      const handler = middy().use(guard()).handler(count);
      await handler(order, lambdaContext());
      await expect(handler({ ...order, amount: 8 }, lambdaContext())).rejects.toMatchObject({
        code: 'PAYLOAD_MISMATCH',
      });
      expect(store.calls).toEqual(['claim', 'complete', 'claim']);
      expect(await handler(order, lambdaContext())).toBe(1);
    });

    it('refuses a key that is missing before any call to the store', async () => {
      const handler = middy().use(httpGuard()).handler(count);
      expect(await handler(httpRequest({ key: null }), lambdaContext())).toMatchObject({ statusCode: 400 });
      expect(store.calls).toEqual([]);
      expect(runs).toBe(0);
    });

    it('answers a duplicate over HTTP with 409 while the first one runs, then with its answer', async () => {
      const started = gate();
      const finish = gate<APIGatewayProxyStructuredResultV2>();
      const handler = middy()
        .use(httpGuard())
        .handler(async () => {
          started.open();
          return finish.passed;
        });
      const first = handler(httpRequest(), lambdaContext());
      await started.passed;
      const busy = await handler(httpRequest(), lambdaContext());
      expect(busy).toMatchObject({ statusCode: 409, headers: { 'Retry-After': expect.any(String) } });

      finish.open({ statusCode: 201, body: 'made' });
      expect(await first).toEqual({ statusCode: 201, body: 'made' });
      expect(await handler(httpRequest(), lambdaContext())).toEqual({
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
      expect(await handler(httpRequest(), lambdaContext())).toBe(1);
      expect(await handler(httpRequest(), lambdaContext())).toMatchObject({ body: '1' });
      expect(await handler(httpRequest({ body: '{"amount":8}' }), lambdaContext())).toMatchObject({
        statusCode: 422,
      });
      expect(runs).toBe(1);
    });

    it('works under a context without a deadline', async () => {
      const handler = middy().use(guard()).handler(count);
      expect(await handler(order, {} as Context)).toBe(1);
      expect(await handler(order, {} as Context)).toBe(1);
      expect(store.calls).toEqual(['claim', 'complete', 'claim']);
    });

    it('takes zero milliseconds left for a deadline', async () => {
      const handler = middy().use(guard()).handler(count);
      await expect(handler(order, lambdaContext(0))).rejects.toMatchObject({ code: 'NO_TIME_LEFT' });
      expect(store.calls).toEqual([]);
      expect(runs).toBe(0);
    });
  });

  describe('with an inner middleware that answers early', () => {
    it('frees the key when a `before` returns a value', async () => {
      let isWarmUp = true;
      const handler = middy()
        .use(guard())
        .before(() => (isWarmUp ? 'warm' : undefined))
        .handler(count);
      expect(await handler(order, lambdaContext())).toBe('warm');
      expect(store.calls).toEqual(['claim', 'giveBack']);

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
      expect(store.calls).toEqual(['claim', 'giveBack']);

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
      expect(store.calls).toEqual(['claim', 'complete']);
      expect(await handler(order, lambdaContext())).toEqual({ wrapped: 1 });
      expect(runs).toBe(1);
    });

    it('stores the undefined that an `after` answers with', async () => {
      const handler = middy()
        .use(guard())
        .after((request) => {
          request.earlyResponse = undefined;
        })
        .handler(count);
      expect(await handler(order, lambdaContext())).toBeUndefined();
      expect(store.calls).toEqual(['claim', 'complete']);
      expect(await handler(order, lambdaContext())).toBeUndefined();
      expect(runs).toBe(1);
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
          runs++;
          return { statusCode: 200 };
        });
      expect(await handler(httpRequest(), lambdaContext())).toEqual({ statusCode: 503 });
      expect(store.calls).toEqual(['claim', 'giveBack']);
    });

    it('releases when an `onError` returns an answer, and lets the answer pass', async () => {
      const handler = middy()
        .use(guard())
        .onError((request) => ({ failed: request.error?.message }))
        .handler(async () => {
          runs++;
          throw new Error('card declined');
        });
      expect(await handler(order, lambdaContext())).toEqual({ failed: 'card declined' });
      expect(store.calls).toEqual(['claim', 'giveBack']);
      expect(await handler(order, lambdaContext())).toEqual({ failed: 'card declined' });
      expect(runs).toBe(2);
    });

    it('releases when an `onError` sets the response, and lets the answer pass', async () => {
      const handler = middy()
        .use(httpGuard())
        .onError((request) => {
          request.response = { statusCode: 402, body: request.error?.message };
        })
        .handler(async () => {
          runs++;
          throw new Error('card declined');
        });
      expect(await handler(httpRequest(), lambdaContext())).toEqual({
        statusCode: 402,
        body: 'card declined',
      });
      expect(store.calls).toEqual(['claim', 'giveBack']);
      await handler(httpRequest(), lambdaContext());
      expect(runs).toBe(2);
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
      expect(store.calls).toEqual(['claim', 'giveBack']);
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
        store = recordingStore();
        const work = vi.fn().mockRejectedValueOnce(thrown).mockResolvedValueOnce('paid');
        const handler = middy().use(guard()).onError(onError).handler(work);
        expect(await handler(order, lambdaContext())).toBe('sorry');
        expect(store.calls).toEqual(['claim', 'giveBack']);
        expect(await handler(order, lambdaContext())).toBe('paid');
      }
    });
  });

  describe('with an inner `before` that assigns the response', () => {
    const refusal = { statusCode: 400, body: 'amount is missing' };
    const missesAmount = (event: unknown) => (event as Order).amount === undefined;

    it.each<[string, (request: { event: unknown; response: any; earlyResponse?: any }) => unknown]>([
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
      expect(store.calls).toEqual(['claim', 'giveBack']);
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
      expect(store.calls).toEqual(['claim', 'giveBack']);
      expect(await handler({ ...order, amount: 7 }, lambdaContext())).toBe(1);
    });

    it('as a default frees the key when the handler throws', async () => {
      const handler = middy<Order, any>()
        .use(guard())
        .before((request) => {
          request.response = { headers: { 'X-Served-By': 'shop' } };
        })
        .handler(async () => {
          runs++;
          if (runs === 1) throw new Error('out of stock');
          return runs;
        });
      await expect(handler(order, lambdaContext())).rejects.toThrow('out of stock');
      expect(store.calls).toEqual(['claim', 'giveBack']);
      expect(await handler(order, lambdaContext())).toBe(2);
    });

    it('as a default keeps the answer of a handler that returns, also when an `after` throws', async () => {
      let isBroken = true;
      const handler = middy<Order, any>()
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
      expect(runs).toBe(1);
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
      expect(store.calls).toEqual(['claim', 'claim', 'giveBack', 'giveBack']);
      expect(await handler({ ...order, amount: 7 }, lambdaContext())).toBe(1);
    });

    it('lets middlewares replace event and context', async () => {
      const handler = middy<any, unknown>()
        .use(guard())
        .before((request) => {
          request.event = { parsed: true };
          Object.assign(request.context, { secret: 's' });
        })
        .handler(async (event, context) => [event, (context as { secret?: string }).secret]);
      expect(await handler(order, lambdaContext())).toEqual([{ parsed: true }, 's']);
    });
  });

  describe('with a middleware that throws', () => {
    it('leaves nothing behind when an inner `before` throws', async () => {
      const invalid = new Error('amount is missing');
      const handler = middy<Order, unknown>()
        .use(guard())
        .before(({ event }) => {
          if (event.amount === undefined) throw invalid;
        })
        .handler(count);
      await expect(handler(order, lambdaContext())).rejects.toBe(invalid);
      expect(store.calls).toEqual(['claim', 'giveBack']);
      expect(await handler({ ...order, amount: 7 }, lambdaContext())).toBe(1);
    });

    it('does not run the handler again when an inner `after` throws', async () => {
      const failure = new Error('response is invalid');
      const handler = middy()
        .use(guard())
        .after(() => {
          throw failure;
        })
        .handler(count);
      await expect(handler(order, lambdaContext())).rejects.toBe(failure);
      expect(store.calls).toEqual(['claim', 'complete']);
      await expect(handler(order, lambdaContext())).rejects.toMatchObject({ code: 'RESULT_UNAVAILABLE' });
      expect(runs).toBe(1);
    });

    it('answers with 410 over HTTP after an inner `after` has thrown', async () => {
      const handler = middy()
        .use(httpGuard())
        .after(() => {
          throw new Error('response is invalid');
        })
        .handler(async () => {
          runs++;
          return { statusCode: 201 };
        });
      await expect(handler(httpRequest(), lambdaContext())).rejects.toThrow('response is invalid');
      expect(await handler(httpRequest(), lambdaContext())).toMatchObject({ statusCode: 410 });
      expect(runs).toBe(1);
    });

    it.each([
      ['returns', () => 'sorry'],
      [
        'sets',
        (request: { response: unknown }) => {
          request.response = 'sorry';
        },
      ],
    ])(
      'does not run the handler again when an `onError` %s an answer for a throwing `after`',
      async (_, onError) => {
        const errors: unknown[] = [];
        const handler = middy()
          .use(guard())
          .onError(onError)
          .onError(({ error }) => {
            errors.push(error);
          })
          .after((request) => {
            request.response = { ...request.response, more: true };
          })
          .after(() => {
            throw new Error('response is invalid');
          })
          .handler(count);
        expect(await handler(order, lambdaContext())).toBe('sorry');
        expect(store.calls).toEqual(['claim', 'complete']);
        expect(await handler(order, lambdaContext())).toBe('sorry');
        expect(errors).toMatchObject([{ message: 'response is invalid' }, { code: 'RESULT_UNAVAILABLE' }]);
        expect(runs).toBe(1);
      },
    );

    it('does not run the handler again when an `after` announces an early answer and then throws', async () => {
      const handler = middy()
        .use(guard())
        .after((request) => {
          request.earlyResponse = 'early';
          throw new Error('response is invalid');
        })
        .handler(count);
      await handler(order, lambdaContext()).catch(() => {});
      await handler(order, lambdaContext()).catch(() => {});
      expect(runs).toBe(1);
    });

    it('keeps the stored answer when an outer `after` throws', async () => {
      const failure = new Error('response is too large');
      const handler = middy()
        .after(() => {
          throw failure;
        })
        .use(guard())
        .handler(count);
      await expect(handler(order, lambdaContext())).rejects.toBe(failure);
      expect(store.calls).toEqual(['claim', 'complete']);
      expect(await handler(order, lambdaContext())).toBe(1);
      expect(store.calls).toEqual(['claim', 'complete', 'claim']);
      expect(runs).toBe(1);
    });

    it('claims nothing when an outer `before` throws', async () => {
      const handler = middy()
        .before(() => {
          throw new Error('unauthorised');
        })
        .use(guard())
        .handler(count);
      await expect(handler(order, lambdaContext())).rejects.toThrow('unauthorised');
      expect(store.calls).toEqual([]);
    });

    it('leaves the claim to its lease when an inner `onError` throws, for then no other is called', async () => {
      const handler = middy()
        .use(guard())
        .onError(() => {
          throw new Error('mapped');
        })
        .handler(async () => {
          runs++;
          throw new Error('card declined');
        });
      await expect(handler(order, lambdaContext(5_000))).rejects.toThrow('mapped');
      await expect(handler(order, lambdaContext(5_000))).rejects.toThrow();
      expect(runs).toBe(1);
      store.clock.advance(6_000);
      await expect(handler(order, lambdaContext(5_000))).rejects.toThrow('mapped');
      expect(runs).toBe(2);
    });
  });

  describe('not as the first middleware', () => {
    it('claims nothing when an outer `before` answers early', async () => {
      const handler = middy()
        .before(() => 'warm')
        .use(guard())
        .handler(count);
      expect(await handler(order, lambdaContext())).toBe('warm');
      expect(store.calls).toEqual([]);
    });

    it('stores its own answer when an outer `after` answers early', async () => {
      const handler = middy()
        .after(() => 'outer')
        .use(guard())
        .handler(count);
      expect(await handler(order, lambdaContext())).toBe('outer');
      expect(store.calls).toEqual(['claim', 'complete']);
      // As everywhere in Middy, an early answer in `before` skips every `after`.
      expect(await handler(order, lambdaContext())).toBe(1);
    });

    it('releases when an outer `onError` answers early', async () => {
      const handler = middy()
        .onError(() => 'sorry')
        .use(guard())
        .handler(async () => {
          throw new Error('card declined');
        });
      expect(await handler(order, lambdaContext())).toBe('sorry');
      expect(store.calls).toEqual(['claim', 'giveBack']);
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
      const first = await handler(httpRequest(), lambdaContext());
      expect(first).toEqual({
        statusCode: 201,
        body: '"made"',
        headers: { 'Access-Control-Allow-Origin': '*' },
      });
      expect(await handler(httpRequest(), lambdaContext())).toEqual({
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

  describe('when Middy answers before the deadline', () => {
    /** A handler that starts and then waits for the test. */
    const hanging = () => {
      const finish = gate<string>();
      const ended = gate();
      return {
        finish: async () => {
          finish.open('late');
          await ended.passed;
        },
        work: async () => {
          runs++;
          await finish.passed;
          ended.open();
          return 'late';
        },
      };
    };

    const staysClaimed = async (handler: { finish(): Promise<void> }) => {
      expect(store.calls).toEqual(['claim']);
      expect(occurrences()).toEqual(['claim', 'abandon']);
      await handler.finish();
      expect(store.calls).toEqual(['claim']);
      const duplicate = idempotent(count, { store, namespace: 'memory', key: () => 'order-1' });
      await expect(duplicate(order)).rejects.toMatchObject({ code: 'IN_PROGRESS' });
      expect(runs).toBe(1);
    };

    it('leaves the claim of a handler that still runs to its lease', async () => {
      const hangs = hanging();
      const handler = middy().use(guard()).handler(hangs.work);
      await expect(handler(order, lambdaContext(150))).rejects.toMatchObject({ name: 'TimeoutError' });
      await staysClaimed(hangs);

      store.clock.advance(150 + 1_000);
      const retry = handler(order, lambdaContext());
      expect(await retry).toBe('late');
      expect(store.calls.slice(-2)).toEqual(['takeOver', 'complete']);
      expect(runs).toBe(2);
    });

    it('leaves the claim also when an error handler replaces the timeout by an error of its own', async () => {
      const hangs = hanging();
      const handler = middy()
        .use(guard())
        .onError((request) => {
          request.error = Object.assign(new Error('Internal Server Error'), { statusCode: 500 });
          request.response = { statusCode: 500 };
        })
        .handler(hangs.work);
      expect(await handler(order, lambdaContext(150))).toEqual({ statusCode: 500 });
      await staysClaimed(hangs);
    });

    it('leaves the claim also when an error handler answers early', async () => {
      const hangs = hanging();
      const handler = middy()
        .use(guard())
        .onError(() => ({ statusCode: 504 }))
        .handler(hangs.work);
      expect(await handler(order, lambdaContext(150))).toEqual({ statusCode: 504 });
      await staysClaimed(hangs);
    });

    it('leaves the claim when `timeoutEarlyResponse` throws an error of its own', async () => {
      const hangs = hanging();
      const tooLate = new Error('too late');
      const handler = middy({
        timeoutEarlyResponse: () => {
          throw tooLate;
        },
      })
        .use(guard())
        .handler(hangs.work);
      await expect(handler(order, lambdaContext(40))).rejects.toBe(tooLate);
      await staysClaimed(hangs);
    });

    it('leaves the claim when `timeoutEarlyResponse` answers with a gateway timeout', async () => {
      const hangs = hanging();
      const handler = middy({ timeoutEarlyResponse: () => ({ statusCode: 504 }) })
        .use(httpGuard({ observe: (event) => seen.push(event) }))
        .handler(hangs.work);
      expect(await handler(httpRequest(), lambdaContext(40))).toEqual({ statusCode: 504 });
      expect(store.calls).toEqual(['claim']);
      expect(occurrences()).toEqual(['claim', 'abandon']);
      await hangs.finish();
      expect(await handler(httpRequest(), lambdaContext())).toMatchObject({ statusCode: 409 });
    });

    it('refuses a token to a handler that still runs', async () => {
      const finish = gate();
      const token = gate<string>();
      const handler = middy()
        .use(guard())
        .handler(async (_event: unknown, context: Context) => {
          await finish.passed;
          try {
            token.open(operation(context).token('refund'));
          } catch (error) {
            token.fail(error);
          }
        });
      await expect(handler(order, lambdaContext(150))).rejects.toMatchObject({ name: 'TimeoutError' });
      finish.open();
      await expect(token.passed).rejects.toMatchObject({ effect: 'possible' });
    });

    it('leaves the claim when the wrapper goes around Middy', async () => {
      const hangs = hanging();
      const handler = idempotent(middy().handler(hangs.work), {
        store,
        key: () => 'order-1',
        observe: (event) => seen.push(event),
      });
      await expect(handler(order, lambdaContext(150))).rejects.toMatchObject({ name: 'TimeoutError' });
      await staysClaimed(hangs);
    });

    it('stores the late answer when the wrapper goes inside Middy', async () => {
      const hangs = hanging();
      const once = idempotent(hangs.work, { store, key: () => 'order-1' });
      const handler = middy(once);
      await expect(handler(order, lambdaContext(150))).rejects.toMatchObject({ name: 'TimeoutError' });
      expect(store.calls).toEqual(['claim']);
      await hangs.finish();
      await vi.waitFor(() => expect(store.calls).toEqual(['claim', 'complete']));
      expect(await handler(order, lambdaContext())).toBe('late');
      expect(runs).toBe(1);
    });
  });

  describe('twice in one chain', () => {
    interface Payment {
      readonly id: string;
      readonly invoice: string;
    }
    const byRequest = (options: IdempotentOptions = {}) =>
      idempotent({ store, namespace: 'requests', key: (event: Payment) => event.id, ...options });
    const byInvoice = (options: IdempotentOptions = {}) =>
      idempotent({
        store,
        namespace: 'invoices',
        key: (event: Payment) => event.invoice,
        fingerprint: false,
        ...options,
      });

    it('stores the answer in both', async () => {
      const handler = middy().use(byRequest()).use(byInvoice()).handler(count);
      expect(await handler({ id: 'a', invoice: '1' }, lambdaContext())).toBe(1);
      expect(store.calls).toEqual(['claim', 'claim', 'complete', 'complete']);
      expect(await handler({ id: 'a', invoice: '1' }, lambdaContext())).toBe(1);
      expect(await handler({ id: 'b', invoice: '1' }, lambdaContext())).toBe(1);
      expect(runs).toBe(1);
    });

    it('frees the outer key when the inner guard replays', async () => {
      const handler = middy().use(byRequest()).use(byInvoice()).handler(count);
      await handler({ id: 'a', invoice: '1' }, lambdaContext());
      store.calls.length = 0;
      expect(await handler({ id: 'b', invoice: '1' }, lambdaContext())).toBe(1);
      expect(store.calls).toEqual(['claim', 'claim', 'giveBack']);
    });

    it('settles both when an `after` answers early', async () => {
      const handler = middy()
        .use(byRequest())
        .use(byInvoice())
        .after(() => 'early')
        .handler(count);
      expect(await handler({ id: 'a', invoice: '1' }, lambdaContext())).toBe('early');
      expect(store.calls).toEqual(['claim', 'claim', 'complete', 'complete']);
      expect(await handler({ id: 'a', invoice: '1' }, lambdaContext())).toBe('early');
      expect(await handler({ id: 'b', invoice: '1' }, lambdaContext())).toBe('early');
      expect(runs).toBe(1);
    });

    it('frees both keys when a `before` answers early and when the handler throws', async () => {
      const handler = middy<Payment, unknown>()
        .use(byRequest())
        .use(byInvoice())
        .before(({ event }) => (event.invoice === '' ? 'warm' : undefined))
        .onError(() => 'sorry')
        .handler(async () => {
          throw new Error('card declined');
        });
      expect(await handler({ id: 'a', invoice: '1' }, lambdaContext())).toBe('sorry');
      expect([...store.calls].sort()).toEqual(['claim', 'claim', 'giveBack', 'giveBack']);
    });

    it.each([
      ['the handler', false],
      ['an `after` that answers early', true],
    ])('stores in the outer guard what the inner one answers with, past %s', async (_, isEarly) => {
      // The inner lease is over while the first handler runs, so a second one's answer is the answer.
      const started = gate();
      const finish = gate();
      const handler = middy<Payment, unknown>()
        .use(byRequest({ lease: { seconds: 3_600 } }))
        .use(byInvoice({ lease: { seconds: 10 } }))
        .after((request) => (isEarly ? request.response : undefined))
        .handler(async ({ id }: Payment) => {
          if (id !== 'a') return 'of the second';
          started.open();
          await finish.passed;
          return 'of the first';
        });
      const first = handler({ id: 'a', invoice: '1' }, lambdaContext());
      await started.passed;
      store.clock.advance(11_000);
      expect(await handler({ id: 'b', invoice: '1' }, lambdaContext())).toBe('of the second');
      finish.open();
      expect(await first).toBe('of the second');
      expect(await handler({ id: 'a', invoice: '1' }, lambdaContext())).toBe('of the second');
    });

    it('gives the handler the inner operation', async () => {
      const handler = middy()
        .use(byRequest())
        .use(byInvoice())
        .handler(async (_event: unknown, context: Context) => operation(context).scope);
      expect(await handler({ id: 'a', invoice: '1' }, lambdaContext())).toBe('invoices');
    });
  });

  describe('as a wrapper', () => {
    it('leaves no claim inside Middy when a `before` answers early', async () => {
      const handler = middy(idempotent(count, { store, key: () => 'order-1' })).before(() => 'warm');
      expect(await handler(order, lambdaContext())).toBe('warm');
      expect(store.calls).toEqual([]);
    });

    it('lets every `after` work on a replay when it goes inside Middy', async () => {
      const handler = middy<Order, unknown>(idempotent(count, { store, key: () => 'order-1' })).after(
        (request) => {
          request.response = { wrapped: request.response };
        },
      );
      expect(await handler(order, lambdaContext())).toEqual({ wrapped: 1 });
      expect(await handler(order, lambdaContext())).toEqual({ wrapped: 1 });
      expect(runs).toBe(1);
    });

    it('stores the final answer when it goes around Middy', async () => {
      const inner = middy()
        .after((request) => ({ wrapped: request.response }))
        .handler(count);
      const handler = idempotent(inner, { store, key: () => 'order-1' });
      expect(await handler(order, lambdaContext())).toEqual({ wrapped: 1 });
      expect(await handler(order, lambdaContext())).toEqual({ wrapped: 1 });
      expect(store.calls).toEqual(['claim', 'complete', 'claim']);
      expect(runs).toBe(1);
    });
  });

  describe('for concurrent requests', () => {
    it('keeps them apart on one middleware and one shared context', async () => {
      const context = lambdaContext();
      const allStarted = gate();
      const handler = middy<Order, string>()
        .use(guard())
        .handler(async (event: Order, itsContext: Context) => {
          runs++;
          if (runs === 3) allStarted.open();
          await allStarted.passed;
          if (event.id === 'b') throw new Error('b fails');
          return `${event.id} as ${operation(itsContext).key}`;
        });
      const outcomes = await Promise.allSettled(
        ['a', 'b', 'c'].map((id) => handler({ id }, context) as Promise<string>),
      );
      expect(outcomes).toMatchObject([
        { value: 'a as a' },
        { reason: { message: 'b fails' } },
        { value: 'c as c' },
      ]);
      expect([...store.calls].sort()).toEqual([
        'claim',
        'claim',
        'claim',
        'complete',
        'complete',
        'giveBack',
      ]);
      expect(() => operation(context)).toThrow(expect.objectContaining({ code: 'NOT_GUARDED' }));
      expect(await handler({ id: 'a' }, context)).toBe('a as a');
    });

    const styles: [string, (work: () => Promise<unknown>) => (event: Order, context: Context) => unknown][] =
      [
        [
          'as the first middleware',
          (work) => middy<Order, unknown>().use(guard()).before(noop).handler(work),
        ],
        ['as the last middleware', (work) => middy<Order, unknown>().before(noop).use(guard()).handler(work)],
        [
          'as a wrapper inside Middy',
          (work) => middy(idempotent(work, { store, key: () => 'order-1' })).before(noop),
        ],
        [
          'as a wrapper around Middy',
          (work) => idempotent(middy(work).before(noop), { store, key: () => 'order-1' }),
        ],
      ];

    it.each(styles)('runs fifty duplicates once, %s', async (_, build) => {
      const othersRefused = gate();
      const refused: unknown[] = [];
      const handler = build(async () => {
        runs++;
        await othersRefused.passed;
        return { runs };
      });
      const answers = await Promise.all(
        Array.from({ length: 50 }, async () => {
          try {
            return [await handler(order, lambdaContext())];
          } catch (error) {
            refused.push(error);
            if (refused.length === 49) othersRefused.open();
            return [];
          }
        }),
      );
      expect(answers.flat()).toEqual([{ runs: 1 }]);
      expect(refused.map((error) => (error as { code?: string }).code)).toEqual(
        Array(49).fill('IN_PROGRESS'),
      );
      const repeats = await Promise.all(Array.from({ length: 50 }, () => handler(order, lambdaContext())));
      expect(repeats).toEqual(Array(50).fill({ runs: 1 }));
      expect(runs).toBe(1);
    });
  });

  describe('for what it cannot guard', () => {
    it('refuses a durable execution with the fix and without a claim', async () => {
      const context = { executionContext: {}, lambdaContext: lambdaContext() } as unknown as Context;
      for (const [handler, event] of [
        [middy().use(guard()).handler(count), order],
        [middy().use(httpGuard()).handler(count), httpRequest()],
        [idempotent(count, { store, key: () => 'order-1' }), order],
      ] as const) {
        await expect(handler(event, context)).rejects.toMatchObject({
          code: 'UNSUPPORTED',
          message: expect.stringMatching(/durable execution.*Guard what starts it/s),
        });
      }
      expect(store.calls).toEqual([]);
      expect(runs).toBe(0);
    });

    it('refuses a streaming handler of Middy when it is wrapped', () => {
      // As the runtime's global does.
      vi.stubGlobal('awslambda', {
        streamifyResponse: (handler: object) =>
          Object.assign(handler, { [Symbol.for('aws.lambda.runtime.handler.streaming')]: 'response' }),
      });
      const inTheirWords: object =
        version === 'Middy 6'
          ? { streamifyResponse: true }
          : { executionMode: executionModeStreamifyResponse };
      const streaming = middy(inTheirWords).handler(count);
      expect(() => idempotent(streaming)).toThrow(
        expect.objectContaining({
          code: 'UNSUPPORTED',
          message: expect.stringContaining('Return a buffered answer'),
        }),
      );
    });

    const text = async (stream: AsyncIterable<unknown>) => {
      const parts: Buffer[] = [];
      for await (const part of stream) parts.push(Buffer.from(part as string | Uint8Array<ArrayBuffer>));
      return Buffer.concat(parts).toString();
    };

    it.each([
      ['a Node stream', () => Readable.from(['first ', 'time'])],
      ['a web stream', () => new Blob(['first ', 'time']).stream()],
      [
        'an async generator',
        async function* () {
          yield 'first ';
          yield 'time';
        },
      ],
    ])('lets %s reach the first caller and no other', async (_, makeStream) => {
      const work = vi.fn(async () => makeStream());
      const handler = middy<Order, AsyncIterable<unknown>>()
        .use(guard())
        .handler(work as any);
      const first = await handler(order, lambdaContext());
      expect(await text(first)).toBe('first time');
      expect(store.calls).toEqual(['claim', 'complete']);
      await expect(handler(order, lambdaContext())).rejects.toMatchObject({ code: 'RESULT_UNAVAILABLE' });
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('lets a stream in an HTTP answer reach the first caller, and answers a repeat with 410', async () => {
      const handler = middy<unknown, { statusCode: number; body: Readable }>()
        .use(httpGuard())
        .handler(async () => {
          runs++;
          return { statusCode: 200, body: Readable.from(['first time']) };
        });
      const first = await handler(httpRequest(), lambdaContext());
      expect(await text(first.body)).toBe('first time');
      expect(await handler(httpRequest(), lambdaContext())).toMatchObject({ statusCode: 410 });
      expect(runs).toBe(1);
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
