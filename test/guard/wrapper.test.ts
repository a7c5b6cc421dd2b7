import { inspect } from 'node:util';
import type { Context } from 'aws-lambda';
import { describe, expect, it, vi } from 'vitest';
import { idempotent, type Operation, operation } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { callBench, type Order, order } from '../support/call-bench.ts';
import { lambdaContext } from '../support/invocation.ts';

const bench = callBench();
const { options } = bench;

describe('idempotent(handler)', () => {
  describe('around a function', () => {
    it('runs an async function once per key', async () => {
      const work = vi.fn(async (event: Order) => `did ${event.id}`);
      const once = idempotent(work, options());
      expect(await once(order)).toBe('did order-1');
      expect(await once(order)).toBe('did order-1');
      expect(await once({ id: 'order-2' })).toBe('did order-2');
      expect(work).toHaveBeenCalledTimes(2);
    });

    it('runs a sync function once per key', async () => {
      const work = vi.fn((event: Order) => event.id.length);
      const once = idempotent(work, options());
      expect(await once(order)).toBe(7);
      expect(await once(order)).toBe(7);
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('releases when a sync function throws', async () => {
      const failure = new Error('card declined');
      const work = vi.fn((_: Order): string => {
        throw failure;
      });
      await expect(idempotent(work, options())(order)).rejects.toBe(failure);
      expect(bench.store.calls).toEqual(['claim', 'giveBack']);
    });

    it('keeps `this`', async () => {
      const shop = {
        currency: 'EUR',
        pay: idempotent(async function (this: { currency: string }, event: Order) {
          return `${event.id} in ${this.currency}`;
        }, options()),
      };
      expect(await shop.pay(order)).toBe('order-1 in EUR');
    });

    it('passes on the event itself and all arguments after the context', async () => {
      const work = vi.fn(async (..._all: unknown[]) => {});
      const signal = { signal: AbortSignal.abort() };
      await idempotent(work, options())(order, lambdaContext(), signal, 'more');
      const [event, , ...rest] = work.mock.calls[0]!;
      expect(event).toBe(order);
      expect(rest).toEqual([signal, 'more']);
      expect(rest[0]).toBe(signal);
    });

    it('decides by the first argument only', async () => {
      const work = vi.fn(async (_event: Order, _context: Context, note: string) => note);
      const once = idempotent(work, options());
      expect(await once(order, undefined, 'first')).toBe('first');
      expect(await once(order, undefined, 'second')).toBe('first');
      await expect(once({ ...order, amount: 8 }, undefined, 'first')).rejects.toMatchObject({
        code: 'PAYLOAD_MISMATCH',
      });
    });

    it("has the function's name, and the arity of a handler without a callback", () => {
      async function payOrder() {}
      const once = idempotent(payOrder, options());
      expect(once.name).toBe('payOrder');
      // Newer Lambda runtimes refuse handlers with three parameters.
      expect(once.length).toBeLessThanOrEqual(2);
    });

    it('refuses options without a function', () => {
      expect(() => (idempotent as (...all: unknown[]) => unknown)(undefined, options())).toThrow(
        expect.objectContaining({
          code: 'BAD_OPTION',
          message: expect.stringContaining('idempotent(handler, options)'),
        }),
      );
    });

    it('refuses a streaming handler and an async generator, with the fix', () => {
      const streaming = Object.assign(async () => {}, {
        [Symbol.for('aws.lambda.runtime.handler.streaming')]: 'response',
      });
      async function* generator() {
        yield 'part';
      }
      const handlers: [() => unknown, string][] = [
        [streaming, 'streaming handler'],
        [generator, 'async generator'],
      ];
      for (const [handler, what] of handlers) {
        expect(() => idempotent(handler, options())).toThrow(
          expect.objectContaining({
            code: 'UNSUPPORTED',
            message: expect.stringMatching(new RegExp(`${what} cannot be guarded.*Return a buffered answer`)),
          }),
        );
      }
    });

    it('guards nested calls, each in its own namespace', async () => {
      const charge = vi.fn(async (event: Order) => `charged ${event.id}`);
      const chargeOnce = idempotent(charge, options({ namespace: 'charges' }));
      const scopes: string[] = [];
      const fail = vi.fn().mockReturnValueOnce(true);
      const pay = idempotent(
        async (event: Order, context) => {
          const charged = await chargeOnce(event, context);
          scopes.push(operation(context).scope);
          if (fail()) throw new Error('mail server is down');
          return charged;
        },
        options({ namespace: 'payments' }),
      );
      await expect(pay(order)).rejects.toThrow('mail server is down');
      expect(await pay(order)).toBe('charged order-1');
      expect(charge).toHaveBeenCalledTimes(1);
      expect(scopes).toEqual(['payments', 'payments']);
    });

    it('refuses the second of two functions that share the default namespace on one store', async () => {
      const work = async () => 'first';
      const first = idempotent(work, options({ namespace: undefined }));
      const again = idempotent(work, options({ namespace: undefined }));
      const second = idempotent(async () => 'second', options({ namespace: undefined }));
      expect(await first(order)).toBe('first');
      expect(await again(order)).toBe('first');
      await expect(second(order)).rejects.toMatchObject({
        code: 'NAMESPACE_CLASH',
        message: expect.stringMatching(/Give each its own, e\.g\. \{ namespace: /),
      });
      await expect(
        idempotent(async () => 'second', { ...options(), store: memoryStore(), namespace: undefined })(order),
      ).resolves.toBe('second');
    });
  });

  describe('gives the handler a context', () => {
    it('that is a copy, with prototype and accessors', async () => {
      const context = Object.assign(Object.create({ inherited: () => 'inherited' }), {
        awsRequestId: 'request-1',
      });
      let waits = true;
      Object.defineProperty(context, 'callbackWaitsForEmptyEventLoop', {
        get: () => waits,
        set: (value) => {
          waits = value;
        },
        enumerable: true,
      });
      await idempotent(async (_: Order, its: Context & { inherited?(): string }) => {
        expect(its).not.toBe(context);
        expect(its.awsRequestId).toBe('request-1');
        expect(its.inherited?.()).toBe('inherited');
        its.callbackWaitsForEmptyEventLoop = false;
        its.functionName = 'changed';
      }, options())(order, context);
      expect(waits).toBe(false);
      expect(context.functionName).toBeUndefined();
      expect('idempotency' in context).toBe(false);
    });

    it('with all members of Lambda’s, of which one stays an accessor', async () => {
      let waits = true;
      const trace = Symbol('trace');
      const context = {
        get callbackWaitsForEmptyEventLoop() {
          return waits;
        },
        set callbackWaitsForEmptyEventLoop(value) {
          waits = value;
        },
        awsRequestId: 'request-1',
        getRemainingTimeInMillis: () => 3_000,
        [trace]: 'trace-1',
      } as unknown as Context;
      const seen = await idempotent(async (_: Order, its) => {
        its.callbackWaitsForEmptyEventLoop = false;
        its.functionName = 'changed';
        return {
          members: Reflect.ownKeys({ ...its }).map(String),
          waits: its.callbackWaitsForEmptyEventLoop,
        };
      }, options())(order, context);
      expect(seen).toEqual({
        members: [...Reflect.ownKeys(context).map(String).slice(0, 3), 'functionName', 'Symbol(trace)'],
        waits: false,
      });
      expect(waits).toBe(false);
      expect(context.functionName).toBeUndefined();
    });

    it('even where the caller gave none', async () => {
      const once = idempotent(async (_: Order, context) => operation(context).key, options());
      expect(await once(order)).toBe('order-1');
    });

    it('that carries the operation', async () => {
      const startMs = bench.store.clock.now();
      let its: Operation | undefined;
      const once = idempotent(
        async (_: Order, context) => {
          its = operation(context);
          expect(operation(context)).toBe(its);
          expect(its.guarded).toBe(true);
          expect(its.attempt).toBe(1);
          expect(its.expiresAt).toEqual(new Date(startMs + 3_600_000));
        },
        options({ tenant: () => 'tenant-1', key: (event: Order) => [event.id, 7], ttlSeconds: 3_600 }),
      );
      await once(order);
      expect(its?.key).toBe('order-1#7');
      expect(its?.scope).toBe('orders#tenant-1');
    });

    it('that shows no key and no tenant when it is logged', async () => {
      const shown: string[] = [];
      await idempotent(
        async (_: Order, context) => {
          shown.push(
            inspect(context, { depth: 9, showHidden: true }),
            JSON.stringify(context),
            inspect(operation(context), { depth: 9, showHidden: true }),
            JSON.stringify({ ...operation(context) }),
          );
        },
        options({ tenant: () => 'tenant-1' }),
      )(order, lambdaContext());
      expect(shown.join()).not.toMatch(/order-1|tenant-1/);
    });

    it.each([
      ['no context', undefined],
      ['null', null],
      ['a context that no guard has seen', lambdaContext()],
      ['something else of that name', { idempotency: { token: () => 'fake' } }],
    ])('without which `operation` throws: %s', (_, context) => {
      expect(() => operation(context)).toThrow(
        expect.objectContaining({
          code: 'NOT_GUARDED',
          message: expect.stringContaining('idempotent(handler)'),
        }),
      );
    });
  });
});
