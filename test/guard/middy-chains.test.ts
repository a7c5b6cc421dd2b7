import { Readable } from 'node:stream';
import { executionModeStreamifyResponse } from '@middy/core/StreamifyResponse';
import type { Context } from 'aws-lambda';
import { describe, expect, it, vi } from 'vitest';
import { type IdempotentOptions, idempotent, operation } from '../../lib/index.ts';
import { type Order, order } from '../support/call-bench.ts';
import { deferred } from '../support/hands.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { middyBench, versions } from './middy-bench.ts';

describe.each(versions)('%s: idempotent()', (version, middy) => {
  const bench = middyBench();
  const { guard, httpGuard, count } = bench;

  describe('twice in one chain', () => {
    interface Payment {
      readonly id: string;
      readonly invoice: string;
    }
    const byRequest = (options: IdempotentOptions = {}) =>
      idempotent({
        store: bench.store,
        namespace: 'requests',
        key: (event: Payment) => event.id,
        ...options,
      });
    const byInvoice = (options: IdempotentOptions = {}) =>
      idempotent({
        store: bench.store,
        namespace: 'invoices',
        key: (event: Payment) => event.invoice,
        fingerprint: false,
        ...options,
      });

    it('stores the answer in both', async () => {
      const handler = middy().use(byRequest()).use(byInvoice()).handler(count);
      expect(await handler({ id: 'a', invoice: '1' }, lambdaContext())).toBe(1);
      expect(bench.store.calls).toEqual(['claim', 'claim', 'complete', 'complete']);
      expect(await handler({ id: 'a', invoice: '1' }, lambdaContext())).toBe(1);
      expect(await handler({ id: 'b', invoice: '1' }, lambdaContext())).toBe(1);
      expect(bench.runs).toBe(1);
    });

    it('frees the outer key when the inner guard replays', async () => {
      const handler = middy().use(byRequest()).use(byInvoice()).handler(count);
      await handler({ id: 'a', invoice: '1' }, lambdaContext());
      bench.store.calls.length = 0;
      expect(await handler({ id: 'b', invoice: '1' }, lambdaContext())).toBe(1);
      expect(bench.store.calls).toEqual(['claim', 'claim', 'giveBack']);
    });

    it('settles both when an `after` answers early', async () => {
      const handler = middy()
        .use(byRequest())
        .use(byInvoice())
        .after(() => 'early')
        .handler(count);
      expect(await handler({ id: 'a', invoice: '1' }, lambdaContext())).toBe('early');
      expect(bench.store.calls).toEqual(['claim', 'claim', 'complete', 'complete']);
      expect(await handler({ id: 'a', invoice: '1' }, lambdaContext())).toBe('early');
      expect(await handler({ id: 'b', invoice: '1' }, lambdaContext())).toBe('early');
      expect(bench.runs).toBe(1);
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
      expect([...bench.store.calls].sort()).toEqual(['claim', 'claim', 'giveBack', 'giveBack']);
    });

    it.each([
      ['the handler', false],
      ['an `after` that answers early', true],
    ])('stores in the outer guard what the inner one answers with, past %s', async (_, isEarly) => {
      // The inner lease is over while the first handler runs, so a second one's answer is the answer.
      const started = deferred();
      const finish = deferred();
      const handler = middy<Payment, unknown>()
        .use(byRequest({ lease: { seconds: 3_600 } }))
        .use(byInvoice({ lease: { seconds: 10 } }))
        .after((request) => (isEarly ? request.response : undefined))
        .handler(async ({ id }: Payment) => {
          if (id !== 'a') return 'of the second';
          started.resolve();
          await finish.promise;
          return 'of the first';
        });
      const first = handler({ id: 'a', invoice: '1' }, lambdaContext());
      await started.promise;
      bench.store.clock.advance(11_000);
      expect(await handler({ id: 'b', invoice: '1' }, lambdaContext())).toBe('of the second');
      finish.resolve();
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

  describe('for concurrent requests', () => {
    it('keeps them apart on one middleware and one shared context', async () => {
      const context = lambdaContext();
      const allStarted = deferred();
      const handler = middy<Order, string>()
        .use(guard())
        .handler(async (event: Order, itsContext: Context) => {
          bench.runs++;
          if (bench.runs === 3) allStarted.resolve();
          await allStarted.promise;
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
      expect([...bench.store.calls].sort()).toEqual([
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
          (work) => middy(idempotent(work, { store: bench.store, key: () => 'order-1' })).before(noop),
        ],
        [
          'as a wrapper around Middy',
          (work) => idempotent(middy(work).before(noop), { store: bench.store, key: () => 'order-1' }),
        ],
      ];

    it.each(styles)('runs fifty duplicates once, %s', async (_, build) => {
      const othersRefused = deferred();
      const refused: unknown[] = [];
      const handler = build(async () => {
        bench.runs++;
        await othersRefused.promise;
        return { runs: bench.runs };
      });
      const answers = await Promise.all(
        Array.from({ length: 50 }, async () => {
          try {
            return [await handler(order, lambdaContext())];
          } catch (error) {
            refused.push(error);
            if (refused.length === 49) othersRefused.resolve();
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
      expect(bench.runs).toBe(1);
    });
  });

  describe('for what it cannot guard', () => {
    it('refuses a durable execution with the fix and without a claim', async () => {
      const context = { executionContext: {}, lambdaContext: lambdaContext() } as unknown as Context;
      for (const [handler, event] of [
        [middy().use(guard()).handler(count), order],
        [middy().use(httpGuard()).handler(count), paymentEvent()],
        [idempotent(count, { store: bench.store, key: () => 'order-1' }), order],
      ] as const) {
        await expect(handler(event, context)).rejects.toMatchObject({
          code: 'UNSUPPORTED',
          message: expect.stringMatching(/durable execution.*Guard what starts it/s),
        });
      }
      expect(bench.store.calls).toEqual([]);
      expect(bench.runs).toBe(0);
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
        .handler(work as never);
      const first = await handler(order, lambdaContext());
      expect(await text(first)).toBe('first time');
      expect(bench.store.calls).toEqual(['claim', 'complete']);
      await expect(handler(order, lambdaContext())).rejects.toMatchObject({ code: 'RESULT_UNAVAILABLE' });
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('lets a stream in an HTTP answer reach the first caller, and answers a repeat with 410', async () => {
      const handler = middy<unknown, { statusCode: number; body: Readable }>()
        .use(httpGuard())
        .handler(async () => {
          bench.runs++;
          return { statusCode: 200, body: Readable.from(['first time']) };
        });
      const first = await handler(paymentEvent(), lambdaContext());
      expect(await text(first.body)).toBe('first time');
      expect(await handler(paymentEvent(), lambdaContext())).toMatchObject({ statusCode: 410 });
      expect(bench.runs).toBe(1);
    });
  });
});

function noop(): void {}
