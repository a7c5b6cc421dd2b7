import type { APIGatewayProxyEventV2, Context } from 'aws-lambda';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import {
  IdempotencyError,
  type IdempotentOptions,
  idempotent,
  type Operation,
  operation,
} from '../../lib/index.ts';
import { callBench, order } from '../support/call-bench.ts';
import { paymentEvent } from '../support/http-events.ts';
import { recordingStore } from '../support/recording-store.ts';

const bench = callBench();
const { options } = bench;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

describe('idempotent(handler)', () => {
  describe('runs unguarded', () => {
    const operations: Operation[] = [];
    const work = vi.fn(async (_: unknown, context: Context) => {
      operations.push(operation(context));
      return operations.length;
    });
    const http = (more: IdempotentOptions = {}) =>
      idempotent(work, {
        store: bench.store,
        namespace: 'orders',
        observe: (event) => bench.seen.push(event),
        ...more,
      });
    const expectUnguarded = (calls = 2) => {
      expect(work).toHaveBeenCalledTimes(calls);
      expect(operations.map(({ guarded }) => guarded)).toEqual(Array(calls).fill(false));
      expect(bench.seen.map(({ type }) => type)).toEqual(Array(calls).fill('unguarded'));
    };

    beforeEach(() => {
      operations.length = 0;
      work.mockClear();
    });

    it.each(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'])(
      'a %s request, with a key or without',
      async (method) => {
        await http()(paymentEvent({ method }));
        await http()(paymentEvent({ method, key: null }));
        expectUnguarded();
        expect(bench.store.calls).toEqual([]);
      },
    );

    it('an event without a key where none is required', async () => {
      const once = http({ required: false });
      await once(paymentEvent({ key: null }));
      await once(paymentEvent({ key: null }));
      expectUnguarded();
      expect(bench.store.calls).toEqual([]);
    });

    it('everything while it is disabled, and says so in the log', async () => {
      vi.stubEnv('IDEMPOTENCY_DISABLED', 'true');
      const warn = vi.spyOn(console, 'warn').mockReturnValue();
      const once = http();
      await once(paymentEvent());
      await once(paymentEvent());
      expectUnguarded();
      expect(bench.store.calls).toEqual([]);
      expect(warn).toHaveBeenCalledExactlyOnceWith(expect.stringContaining('IDEMPOTENCY_DISABLED'));
    });

    const unavailable = () => {
      throw storeError('STORE_UNAVAILABLE');
    };

    it('where the store fails and it was told to run then', async () => {
      bench.store = recordingStore({ before: unavailable });
      const once = http({ whenStoreFails: 'run' });
      expect(await once(paymentEvent())).toBe(1);
      expect(await once(paymentEvent())).toBe(2);
      expectUnguarded();
    });

    it('not where the store fails and nothing else was said', async () => {
      bench.store = recordingStore({ before: unavailable });
      expect(await http()(paymentEvent())).toMatchObject({
        statusCode: 503,
        headers: { 'Retry-After': expect.any(String) },
      });
      await expect(idempotent(work, options())(order)).rejects.toMatchObject({
        code: 'STORE_UNAVAILABLE',
        effect: 'none',
      });
      expect(work).not.toHaveBeenCalled();
    });

    it('not where the store is set up wrongly', async () => {
      bench.store = recordingStore({
        before: () => {
          throw storeError('STORE_MISCONFIGURED');
        },
      });
      await expect(http({ whenStoreFails: 'run' })(paymentEvent())).rejects.toMatchObject({
        code: 'STORE_MISCONFIGURED',
      });
      expect(work).not.toHaveBeenCalled();
    });

    it('with an operation that works, and tokens of one call only', async () => {
      const tokens: string[][] = [];
      const signals: AbortSignal[] = [];
      const once = idempotent(
        async (_: APIGatewayProxyEventV2, context) => {
          const its = operation(context);
          tokens.push([its.token('charge'), its.token('charge'), its.token('refund')]);
          signals.push(its.signal, operation(context).signal);
          expect(its).toMatchObject({ key: '', scope: '', attempt: 1 });
        },
        { store: bench.store },
      );
      await once(paymentEvent({ method: 'GET' }));
      await once(paymentEvent({ method: 'GET' }));
      expect(tokens.flat().every((token) => uuid.test(token))).toBe(true);
      const [first, second] = tokens as [string[], string[]];
      expect(first[1]).toBe(first[0]);
      expect(first[2]).not.toBe(first[0]);
      expect(second[0]).not.toBe(first[0]);
      expect(signals[0]?.aborted).toBe(false);
      expect(signals[1]).toBe(signals[0]);
    });

    it('and lets errors and results pass', async () => {
      const failure = new Error('not found');
      work.mockRejectedValueOnce(failure);
      await expect(http()(paymentEvent({ method: 'GET' }))).rejects.toBe(failure);
      const stream = new ReadableStream();
      work.mockResolvedValueOnce(stream as never);
      expect(await http()(paymentEvent({ method: 'GET' }))).toBe(stream);
    });
  });
});

/** What a store rejects with. */
function storeError(code: 'STORE_UNAVAILABLE' | 'STORE_MISCONFIGURED'): IdempotencyError {
  return new IdempotencyError(code, 'The store failed.', { retryAfterSeconds: 1 });
}
