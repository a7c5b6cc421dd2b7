import { Readable } from 'node:stream';
import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import { describe, expect, it, vi } from 'vitest';
import { IdempotencyError, type IdempotentOptions, idempotent } from '../../lib/index.ts';
import type { NewClaim } from '../../lib/store.ts';
import { callBench, type Order, order } from '../support/call-bench.ts';
import { paymentEvent } from '../support/http-events.ts';
import { recordingStore } from '../support/recording-store.ts';

const bench = callBench();
const { options } = bench;

describe('idempotent(handler)', () => {
  describe('remembers', () => {
    const answering = (statusCode: number, more: IdempotentOptions = {}) => {
      const work = vi.fn(async (_: APIGatewayProxyEventV2) => ({ statusCode, body: 'text' }));
      return { work, once: idempotent(work, { store: bench.store, namespace: 'orders', ...more }) };
    };

    it.each([200, 201, 302, 400, 402, 404, 422])('an HTTP answer of %i', async (statusCode) => {
      const { work, once } = answering(statusCode);
      await once(paymentEvent());
      expect(await once(paymentEvent())).toMatchObject({ statusCode, body: 'text' });
      expect(work).toHaveBeenCalledTimes(1);
    });

    it.each([408, 409, 425, 429, 500, 502, 503, 599])('no HTTP answer of %i', async (statusCode) => {
      const { work, once } = answering(statusCode);
      expect(await once(paymentEvent())).toEqual({ statusCode, body: 'text' });
      bench.store.clock.advance(1);
      expect(await once(paymentEvent())).toEqual({ statusCode, body: 'text' });
      expect(work).toHaveBeenCalledTimes(2);
      expect(bench.store.calls).toEqual(['claim', 'giveBack', 'claim', 'giveBack']);
    });

    it('any answer to an event that is not HTTP, whatever it looks like', async () => {
      const work = vi.fn(async (_: Order) => ({ statusCode: 500 }));
      const once = idempotent(work, options());
      await once(order);
      await once(order);
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('what `remember` says', async () => {
      const remember = vi.fn(({ value }: { value: unknown }) => value !== 'pending');
      const work = vi.fn(async (_: Order): Promise<string> => 'done');
      work.mockResolvedValueOnce('pending');
      const once = idempotent(work, options({ remember }));
      expect(await once(order)).toBe('pending');
      expect(await once(order)).toBe('done');
      expect(await once(order)).toBe('done');
      expect(work).toHaveBeenCalledTimes(2);
      expect(remember.mock.calls).toEqual([
        [{ value: 'pending', statusCode: undefined }],
        [{ value: 'done', statusCode: undefined }],
      ]);
    });

    it('a server error if `remember` says so', async () => {
      const { work, once } = answering(500, { remember: ({ statusCode }) => statusCode === 500 });
      await once(paymentEvent());
      expect(await once(paymentEvent())).toMatchObject({ statusCode: 500 });
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('the answer if `remember` throws, for the work is done', async () => {
      const warn = vi.spyOn(console, 'warn').mockReturnValue();
      const work = vi.fn(async (_: Order) => 'done');
      const once = idempotent(
        work,
        options({
          remember: () => {
            throw new Error('a bug');
          },
        }),
      );
      expect(await once(order)).toBe('done');
      expect(await once(order)).toBe('done');
      expect(work).toHaveBeenCalledTimes(1);
      expect(warn).toHaveBeenCalledWith(
        expect.stringMatching(/`remember` threw, so the answer was remembered: \w+\n +at /),
      );
    });

    it('no thrown error, whatever `remember` says', async () => {
      const failure = { not: 'an Error' };
      const work = vi.fn(async (_: Order): Promise<string> => 'done');
      work.mockRejectedValueOnce(failure);
      const once = idempotent(work, options({ remember: () => true }));
      await expect(once(order)).rejects.toBe(failure);
      expect(bench.store.calls).toEqual(['claim', 'giveBack']);
      expect(await once(order)).toBe('done');
    });

    it.each([
      ['a function', () => () => {}],
      ['an instance of a class', () => new (class Cart {})()],
      ['a symbol', () => Symbol('s')],
      ['a promise within an object', () => ({ later: Promise.resolve() })],
      ['a Node stream', () => Readable.from(['part'])],
      ['a web stream', () => new ReadableStream()],
      ['an HTTP answer with a stream for a body', () => ({ statusCode: 200, body: Readable.from(['part']) })],
    ])('that the work is done where it returned %s, which no repeat can get', async (_, make) => {
      const value = make();
      const work = vi.fn(async (_: Order) => value);
      const once = idempotent(work, options());
      expect(await once(order)).toBe(value);
      expect(bench.store.calls).toEqual(['claim', 'complete']);
      await expect(once(order)).rejects.toMatchObject({
        code: 'RESULT_UNAVAILABLE',
        record: { status: 'COMPLETED', attempt: 1 },
      });
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('that the work is done where its answer is too large', async () => {
      const small = { ...bench.store, maxAnswerBytes: 100 };
      const work = vi.fn(async (_: Order) => Array.from({ length: 99 }, () => Math.random()));
      const once = idempotent(work, options({ store: small }));
      expect(await once(order)).toHaveLength(99);
      await expect(once(order)).rejects.toMatchObject({ code: 'RESULT_UNAVAILABLE' });
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('the key and the event only if it is told to keep them', async () => {
      const claims: NewClaim[] = [];
      const watched = {
        ...bench.store,
        claim: (claim: NewClaim) => {
          claims.push(claim);
          return bench.store.claim(claim);
        },
      };
      const event = { id: 'order-1', card: '4242' };
      for (const keep of [undefined, { key: true }, { input: true }]) {
        await idempotent(
          async () => {},
          options({ store: watched, keep, namespace: `keep ${!keep} ${keep?.key}` }),
        )(event);
      }
      const text = (claim?: NewClaim) =>
        JSON.stringify(claim) + Buffer.from(claim?.rawInput ?? []).toString('latin1');
      expect(claims).toHaveLength(3);
      expect(text(claims[0])).not.toMatch(/order-1|4242/);
      expect(claims[1]).toMatchObject({ rawKey: 'order-1', rawInput: undefined });
      expect(claims[2]?.rawKey).toBeUndefined();
      expect(text(claims[2])).toContain('4242');
    });
  });

  describe('never lets its bookkeeping hide what the handler did', () => {
    const failingAt = (...verbs: string[]) =>
      recordingStore({
        before: (verb) => {
          if (verbs.includes(verb)) throw storeError('STORE_UNAVAILABLE');
        },
      });

    it("when the release fails: the caller gets the handler's error", async () => {
      bench.store = failingAt('giveBack', 'endLease');
      const failure = new Error('card declined');
      const once = idempotent(async (_: Order) => {
        throw failure;
      }, options());
      await expect(once(order)).rejects.toBe(failure);
      expect(bench.seen.map(({ type }) => type)).toEqual(['claim', 'unrecorded']);
    });

    it('when the completion fails: the caller gets the result, and the claim stays', async () => {
      bench.store = failingAt('complete');
      const work = vi.fn(async (_: Order) => 'paid');
      const once = idempotent(work, options());
      expect(await once(order)).toBe('paid');
      expect(bench.seen.map(({ type }) => type)).toEqual(['claim', 'unrecorded']);
      await expect(once(order)).rejects.toMatchObject({ code: 'IN_PROGRESS' });
      expect(bench.store.calls).not.toContain('giveBack');
    });

    it('when the first tries to complete fail: it tries again', async () => {
      let failures = 2;
      bench.store = recordingStore({
        before: (verb) => {
          if (verb === 'complete' && failures-- > 0) throw storeError('STORE_UNAVAILABLE');
        },
      });
      const work = vi.fn(async (_: Order) => 'paid');
      const once = idempotent(work, options());
      expect(await once(order)).toBe('paid');
      expect(await once(order)).toBe('paid');
      expect(work).toHaveBeenCalledTimes(1);
    });
  });
});

/** What a store rejects with. */
function storeError(code: 'STORE_UNAVAILABLE' | 'STORE_MISCONFIGURED'): IdempotencyError {
  return new IdempotencyError(code, 'The store failed.', { retryAfterSeconds: 1 });
}
