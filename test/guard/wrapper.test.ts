import { Readable } from 'node:stream';
import { inspect } from 'node:util';
import type { APIGatewayProxyEventV2, Context } from 'aws-lambda';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  IdempotencyError,
  type IdempotencyEvent,
  type IdempotentContext,
  type IdempotentOptions,
  idempotent,
  memoryStore,
  type NewClaim,
  type Operation,
  operation,
} from '../../lib/index.ts';
import { gate, httpRequest, lambdaContext } from '../support/invocation.ts';
import { type RecordingStore, recordingStore } from '../support/recording-store.ts';

interface Order {
  readonly id: string;
  readonly amount?: number;
}

const order: Order = { id: 'order-1' };
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

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
      expect(store.calls).toEqual(['claim', 'giveBack']);
    });

    it('keeps `this`', async () => {
      const shop = {
        currency: 'EUR',
        pay: idempotent(async function (this: any, event: Order) {
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
      const work = vi.fn(async (_event: Order, _context: IdempotentContext, note: string) => note);
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

  describe('has a lease', () => {
    /** How long a claim of this call holds, as a duplicate is told. */
    const leaseOf = async (context?: Context, more?: IdempotentOptions): Promise<number> => {
      const started = gate();
      const finish = gate();
      const once = idempotent(async () => {
        started.open();
        await finish.passed;
      }, options(more));
      const first = once(order, context);
      await started.passed;
      await once(order, context).catch(() => {});
      finish.open();
      await first;
      const busy = seen.find(({ type }) => type === 'busy');
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
      const silent = gate<string>();
      const work = vi.fn(async (_: Order): Promise<string> => 'second');
      work.mockImplementationOnce(() => silent.passed);
      const once = idempotent(work, options());
      const first = once(order);
      await vi.waitFor(() => expect(work).toHaveBeenCalledTimes(1));
      store.clock.advance(59_999);
      await expect(once(order)).rejects.toMatchObject({ code: 'IN_PROGRESS' });
      store.clock.advance(1);
      expect(await once(order)).toBe('second');
      silent.open('first');
      // One answer per window: the overtaken attempt hands out the stored one.
      expect(await first).toBe('second');
      expect(await once(order)).toBe('second');
    });

    it('after which an attempt whose successor still runs is told so', async () => {
      const finish = [gate<string>(), gate<string>()];
      const work = vi.fn(async (_: Order): Promise<string> => finish[work.mock.calls.length - 1]!.passed);
      const once = idempotent(work, options());
      const first = once(order);
      await vi.waitFor(() => expect(work).toHaveBeenCalledTimes(1));
      store.clock.advance(60_000);
      const second = once(order);
      await vi.waitFor(() => expect(work).toHaveBeenCalledTimes(2));
      finish[0]!.open('first');
      await expect(first).rejects.toMatchObject({ code: 'OVERTAKEN', effect: 'possible' });
      finish[1]!.open('second');
      expect(await second).toBe('second');
    });

    it('after which a failing attempt changes nothing of its successor', async () => {
      const finish = [gate<string>(), gate<string>()];
      const work = vi.fn(async (_: Order): Promise<string> => finish[work.mock.calls.length - 1]!.passed);
      const once = idempotent(work, options());
      const first = once(order);
      await vi.waitFor(() => expect(work).toHaveBeenCalledTimes(1));
      store.clock.advance(60_000);
      const second = once(order);
      await vi.waitFor(() => expect(work).toHaveBeenCalledTimes(2));
      const failure = new Error('card declined');
      finish[0]!.fail(failure);
      await expect(first).rejects.toBe(failure);
      await expect(once(order)).rejects.toMatchObject({ code: 'IN_PROGRESS' });
      finish[1]!.open('second');
      expect(await second).toBe('second');
      expect(await once(order)).toBe('second');
    });
  });

  describe('waits for a running duplicate if told to', () => {
    it("and answers with the first one's answer", async () => {
      const finish = gate<string>();
      store = recordingStore({
        before: (verb) => {
          if (verb === 'read') finish.open('first');
        },
      });
      const work = vi.fn(async (_: Order) => finish.passed);
      const once = idempotent(work, options({ whenBusy: { waitMs: 30_000 } }));
      expect(await Promise.all([once(order), once(order)])).toEqual(['first', 'first']);
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('and runs if the first one fails', async () => {
      const finish = gate<string>();
      store = recordingStore({
        before: (verb) => {
          if (verb === 'read') finish.fail(new Error('card declined'));
        },
      });
      const work = vi.fn(async (_: Order): Promise<string> => 'second');
      work.mockImplementationOnce(() => finish.passed);
      const once = idempotent(work, options({ whenBusy: { waitMs: 30_000 } }));
      const first = once(order);
      const second = once(order);
      await expect(first).rejects.toThrow('card declined');
      expect(await second).toBe('second');
    });

    it('and gives up in the end', async () => {
      const finish = gate<string>();
      const work = vi.fn(async (_: Order) => finish.passed);
      const once = idempotent(work, options({ whenBusy: { waitMs: 5_000 } }));
      const first = once(order);
      await expect(once(order)).rejects.toMatchObject({ code: 'IN_PROGRESS' });
      finish.open('first');
      expect(await first).toBe('first');
      expect(work).toHaveBeenCalledTimes(1);
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
      await idempotent(async (_: Order, its: IdempotentContext & { inherited?(): string }) => {
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

    it('even where the caller gave none', async () => {
      const once = idempotent(async (_: Order, context) => operation(context).key, options());
      expect(await once(order)).toBe('order-1');
    });

    it('that carries the operation', async () => {
      const startMs = store.clock.now();
      let its: Operation | undefined;
      const once = idempotent(
        async (_: Order, context) => {
          its = operation(context);
          expect(context.idempotency).toBe(its);
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
            inspect(context.idempotency, { depth: 9, showHidden: true }),
            JSON.stringify({ ...context.idempotency }),
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

  describe('gives tokens', () => {
    /** Calls the guarded handler once more; it fails, unless told otherwise, after `use`. */
    const attempt = async (use: (its: Operation) => unknown, event = order, answer?: string) => {
      const failure = new Error('card declined');
      const call = idempotent(async (_: Order, context) => {
        await use(operation(context));
        if (answer === undefined) throw failure;
        return answer;
      }, options());
      return call(event).catch((error) => {
        if (error !== failure) throw error;
      });
    };

    it('that are shaped like UUIDs and differ by name', async () => {
      const tokens: string[] = [];
      await attempt((its) => tokens.push(its.token('charge'), its.token('refund'), its.token('charge')));
      expect(tokens[0]).toMatch(uuid);
      expect(tokens[1]).toMatch(uuid);
      expect(tokens[0]).not.toBe(tokens[1]);
      expect(tokens[2]).toBe(tokens[0]);
    });

    it('that are the same in every attempt, and keep the window for the next one', async () => {
      const tokens: string[] = [];
      const attempts: number[] = [];
      const ends: Date[] = [];
      const use = (its: Operation) => {
        tokens.push(its.token('charge'));
        attempts.push(its.attempt);
        ends.push(its.expiresAt);
        store.clock.advance(1_000);
      };
      await attempt(use);
      await attempt(use);
      await attempt(use, order, 'paid');
      expect(new Set(tokens).size).toBe(1);
      expect(attempts).toEqual([1, 2, 3]);
      expect(new Set(ends.map(Number)).size).toBe(1);
      expect(store.calls.filter((verb) => verb === 'giveBack')).toEqual([]);
    });

    it('after which the key demands the same payload', async () => {
      await attempt((its) => its.token('charge'));
      await expect(attempt(() => {}, { ...order, amount: 8 })).rejects.toMatchObject({
        code: 'PAYLOAD_MISMATCH',
      });
    });

    it('without which a failed attempt leaves the key to another payload', async () => {
      const attempts: number[] = [];
      await attempt(() => {});
      await attempt((its) => attempts.push(its.attempt), { ...order, amount: 8 });
      expect(attempts).toEqual([1]);
    });

    it('that are others for another key, another tenant, another namespace and another window', async () => {
      const tokens: string[] = [];
      const tokenFor = async (more: IdempotentOptions, event = order) =>
        idempotent(
          async (_: Order, context) => {
            tokens.push(operation(context).token('charge'));
          },
          options({ ttlSeconds: 60, ...more }),
        )(event);
      await tokenFor({});
      await tokenFor({}, { id: 'order-2' });
      await tokenFor({ tenant: () => 'tenant-1' });
      await tokenFor({ namespace: 'refunds' });
      store.clock.advance(60_000);
      await tokenFor({});
      expect(new Set(tokens).size).toBe(5);
    });

    it('until the handler has returned', async () => {
      let its: Operation | undefined;
      await attempt((found) => (its = found), order, 'paid');
      expect(() => its?.token('late')).toThrow(
        expect.objectContaining({ effect: 'possible', message: expect.stringContaining('settled') }),
      );
    });

    it('until the handler has failed', async () => {
      let its: Operation | undefined;
      await attempt((found) => (its = found));
      expect(() => its?.token('late')).toThrow(expect.objectContaining({ effect: 'possible' }));
    });

    it('until the lease is over', async () => {
      let thrown: unknown;
      await attempt((its) => {
        its.token('in time');
        store.clock.advance(60_000);
        try {
          its.token('late');
        } catch (error) {
          thrown = error;
        }
      });
      expect(thrown).toMatchObject({ code: 'OVERTAKEN', effect: 'possible' });
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
          store.clock.advance(5_000);
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

  describe('runs unguarded', () => {
    const operations: Operation[] = [];
    const work = vi.fn(async (_: unknown, context: IdempotentContext) => {
      operations.push(operation(context));
      return operations.length;
    });
    const http = (more: IdempotentOptions = {}) =>
      idempotent(work, { store, namespace: 'orders', observe: (event) => seen.push(event), ...more });
    const expectUnguarded = (calls = 2) => {
      expect(work).toHaveBeenCalledTimes(calls);
      expect(operations.map(({ guarded }) => guarded)).toEqual(Array(calls).fill(false));
      expect(seen.map(({ type }) => type)).toEqual(Array(calls).fill('unguarded'));
    };

    beforeEach(() => {
      operations.length = 0;
      work.mockClear();
    });

    it.each(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS'])(
      'a %s request, with a key or without',
      async (method) => {
        await http()(httpRequest({ method }));
        await http()(httpRequest({ method, key: null }));
        expectUnguarded();
        expect(store.calls).toEqual([]);
      },
    );

    it('an event without a key where none is required', async () => {
      const once = http({ required: false });
      await once(httpRequest({ key: null }));
      await once(httpRequest({ key: null }));
      expectUnguarded();
      expect(store.calls).toEqual([]);
    });

    it('everything while it is disabled, and says so in the log', async () => {
      vi.stubEnv('IDEMPOTENCY_DISABLED', 'true');
      const warn = vi.spyOn(console, 'warn').mockReturnValue();
      const once = http();
      await once(httpRequest());
      await once(httpRequest());
      expectUnguarded();
      expect(store.calls).toEqual([]);
      expect(warn).toHaveBeenCalledExactlyOnceWith(expect.stringContaining('IDEMPOTENCY_DISABLED'));
    });

    const unavailable = () => {
      throw storeError('STORE_UNAVAILABLE');
    };

    it('where the store fails and it was told to run then', async () => {
      store = recordingStore({ before: unavailable });
      const once = http({ whenStoreFails: 'run' });
      expect(await once(httpRequest())).toBe(1);
      expect(await once(httpRequest())).toBe(2);
      expectUnguarded();
    });

    it('not where the store fails and nothing else was said', async () => {
      store = recordingStore({ before: unavailable });
      expect(await http()(httpRequest())).toMatchObject({
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
      store = recordingStore({
        before: () => {
          throw storeError('STORE_MISCONFIGURED');
        },
      });
      await expect(http({ whenStoreFails: 'run' })(httpRequest())).rejects.toMatchObject({
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
        { store },
      );
      await once(httpRequest({ method: 'GET' }));
      await once(httpRequest({ method: 'GET' }));
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
      await expect(http()(httpRequest({ method: 'GET' }))).rejects.toBe(failure);
      const stream = new ReadableStream();
      work.mockResolvedValueOnce(stream as never);
      expect(await http()(httpRequest({ method: 'GET' }))).toBe(stream);
    });
  });

  describe('replays', () => {
    it.each([
      ['undefined', undefined],
      ['null', null],
      ['NaN', Number.NaN],
      ['minus zero', -0],
      ['Infinity', Number.POSITIVE_INFINITY],
      ['a BigInt', 12345678901234567890n],
      ['a Date', new Date(1_700_000_000_000)],
      ['an invalid Date', new Date(Number.NaN)],
      [
        'a Map',
        new Map<unknown, unknown>([
          ['a', new Date(0)],
          [{ b: 1 }, undefined],
        ]),
      ],
      ['a Set', new Set([1, 'two', undefined])],
      ['a RegExp', /id=(\d+)/giu],
      ['a Uint8Array', new Uint8Array([0, 127, 255])],
      ['a Float64Array', new Float64Array([0.1, -1])],
      ['an ArrayBuffer', new Uint8Array([1, 2]).buffer],
      ['a Buffer', Buffer.from('bytes')],
      ['undefined within an object', { a: undefined, b: [undefined, null] }],
      ['a sparse array', Object.assign(new Array(3), { 0: 'first', 2: 'third' })],
      ['an empty object', {}],
      ['a long text', 'ä'.repeat(100_000)],
      ['a key named __proto__', JSON.parse('{"__proto__":{"admin":true},"a":1}')],
    ])('%s equal to the first answer', async (_, value) => {
      const work = vi.fn(async (_: Order) => value);
      const once = idempotent(work, options());
      expect(await once(order)).toBe(value);
      const replay = await once(order);
      expect(replay).toStrictEqual(value);
      if (typeof value === 'object' && value !== null) expect(replay).not.toBe(value);
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('what a function without a return statement gives', async () => {
      const work = vi.fn(async (_: Order) => {});
      const once = idempotent(work, options());
      expect(await once(order)).toBeUndefined();
      expect(await once(order)).toBeUndefined();
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('an object that refers to itself', async () => {
      const node: { self?: unknown } = {};
      node.self = node;
      const once = idempotent(async (_: Order) => node, options());
      await once(order);
      const replay = await once(order);
      expect(replay.self).toBe(replay);
    });

    it('copies: changing one changes no other, nor does the handler later on', async () => {
      const answer = { lines: [1], at: new Date(0) };
      const once = idempotent(async (_: Order) => answer, options());
      const first = await once(order);
      first.lines.push(2);
      answer.lines.push(3);
      const second = await once(order);
      expect(second).toEqual({ lines: [1], at: new Date(0) });
      second.lines.push(4);
      second.at.setFullYear(2000);
      expect(await once(order)).toEqual({ lines: [1], at: new Date(0) });
    });

    it('until the window is over', async () => {
      const work = vi.fn(async (_: Order) => work.mock.calls.length);
      const once = idempotent(work, options({ ttlSeconds: 60 }));
      expect(await once(order)).toBe(1);
      store.clock.advance(59_999);
      expect(await once(order)).toBe(1);
      store.clock.advance(1);
      expect(await once(order)).toBe(2);
    });

    it('what `onReplay` makes of the stored answer', async () => {
      const onReplay = vi.fn(async (answer: { status: string }) => ({ ...answer, status: 'shipped' }));
      const work = vi.fn(async (_: Order) => ({ status: 'paid' }));
      const once = idempotent(work, options({ onReplay }));
      const context = lambdaContext();
      expect(await once(order, context)).toEqual({ status: 'paid' });
      expect(onReplay).not.toHaveBeenCalled();
      expect(await once(order, context)).toEqual({ status: 'shipped' });
      expect(onReplay).toHaveBeenCalledExactlyOnceWith({ status: 'paid' }, order, context);
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('over HTTP what `onReplay` makes of it, marked as replayed', async () => {
      const once = idempotent(async (_: APIGatewayProxyEventV2) => ({ statusCode: 201, body: 'paid' }), {
        store,
        onReplay: (answer) => ({ ...answer, body: 'shipped' }),
      });
      await once(httpRequest());
      expect(await once(httpRequest())).toEqual({
        statusCode: 201,
        body: 'shipped',
        headers: { 'Idempotent-Replayed': 'true' },
      });
    });

    it('nothing where `onReplay` throws, and runs nothing', async () => {
      const failure = new Error('the order cannot be read');
      const work = vi.fn(async (_: Order) => 'paid');
      const once = idempotent(
        work,
        options({
          onReplay: () => {
            throw failure;
          },
        }),
      );
      await once(order);
      await expect(once(order)).rejects.toBe(failure);
      expect(work).toHaveBeenCalledTimes(1);
    });
  });

  describe('remembers', () => {
    const answering = (statusCode: number, more: IdempotentOptions = {}) => {
      const work = vi.fn(async (_: APIGatewayProxyEventV2) => ({ statusCode, body: 'text' }));
      return { work, once: idempotent(work, { store, namespace: 'orders', ...more }) };
    };

    it.each([200, 201, 302, 400, 402, 404, 422])('an HTTP answer of %i', async (statusCode) => {
      const { work, once } = answering(statusCode);
      await once(httpRequest());
      expect(await once(httpRequest())).toMatchObject({ statusCode, body: 'text' });
      expect(work).toHaveBeenCalledTimes(1);
    });

    it.each([408, 409, 425, 429, 500, 502, 503, 599])('no HTTP answer of %i', async (statusCode) => {
      const { work, once } = answering(statusCode);
      expect(await once(httpRequest())).toEqual({ statusCode, body: 'text' });
      store.clock.advance(1);
      expect(await once(httpRequest())).toEqual({ statusCode, body: 'text' });
      expect(work).toHaveBeenCalledTimes(2);
      expect(store.calls).toEqual(['claim', 'giveBack', 'claim', 'giveBack']);
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
      await once(httpRequest());
      expect(await once(httpRequest())).toMatchObject({ statusCode: 500 });
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
      expect(store.calls).toEqual(['claim', 'giveBack']);
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
      expect(store.calls).toEqual(['claim', 'complete']);
      await expect(once(order)).rejects.toMatchObject({
        code: 'RESULT_UNAVAILABLE',
        record: { status: 'COMPLETED', attempt: 1 },
      });
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('that the work is done where its answer is too large', async () => {
      const small = { ...store, maxAnswerBytes: 100 };
      const work = vi.fn(async (_: Order) => Array.from({ length: 99 }, () => Math.random()));
      const once = idempotent(work, options({ store: small }));
      expect(await once(order)).toHaveLength(99);
      await expect(once(order)).rejects.toMatchObject({ code: 'RESULT_UNAVAILABLE' });
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('the key and the event only if it is told to keep them', async () => {
      const claims: NewClaim[] = [];
      const watched = {
        ...store,
        claim: (claim: NewClaim) => {
          claims.push(claim);
          return store.claim(claim);
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
      store = failingAt('giveBack', 'endLease');
      const failure = new Error('card declined');
      const once = idempotent(async (_: Order) => {
        throw failure;
      }, options());
      await expect(once(order)).rejects.toBe(failure);
      expect(seen.map(({ type }) => type)).toEqual(['claim', 'unrecorded']);
    });

    it('when the completion fails: the caller gets the result, and the claim stays', async () => {
      store = failingAt('complete');
      const work = vi.fn(async (_: Order) => 'paid');
      const once = idempotent(work, options());
      expect(await once(order)).toBe('paid');
      expect(seen.map(({ type }) => type)).toEqual(['claim', 'unrecorded']);
      await expect(once(order)).rejects.toMatchObject({ code: 'IN_PROGRESS' });
      expect(store.calls).not.toContain('giveBack');
    });

    it('when the first tries to complete fail: it tries again', async () => {
      let failures = 2;
      store = recordingStore({
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
