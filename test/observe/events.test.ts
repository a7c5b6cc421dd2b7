import { inspect } from 'node:util';
import middy from '@middy/core';
import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  IdempotencyError,
  type IdempotencyEvent,
  type IdempotentOptions,
  idempotent,
  operation,
} from '../../lib/index.ts';
import { deferred } from '../support/hands.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { type RecordingStore, recordingStore, type Verb } from '../support/recording-store.ts';

interface Order {
  readonly id: string;
  readonly card?: string;
}

const order: Order = { id: 'secret-key', card: 'secret-card' };

/** How long the store takes for each verb, in milliseconds. */
const cost: Record<Verb, number> = {
  claim: 5,
  takeOver: 4,
  complete: 7,
  giveBack: 3,
  endLease: 2,
  read: 1,
};

describe('observe', () => {
  let store: RecordingStore;
  let seen: IdempotencyEvent[];
  let failing: Verb[];

  beforeEach(() => {
    seen = [];
    failing = [];
    store = recordingStore({
      before: (verb) => {
        if (failing.includes(verb)) {
          throw new IdempotencyError('STORE_UNAVAILABLE', 'The store is down.');
        }
        store.clock.advance(cost[verb]);
      },
    });
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
  });

  const options = (more: IdempotentOptions = {}): IdempotentOptions => ({
    store,
    namespace: 'orders',
    key: (event: Order) => event.id,
    observe: (event) => seen.push(event),
    ...more,
  });
  const takes = (ms: number) => store.clock.advance(ms);
  const failure = new Error('card declined');
  /** What every event of this operation has. */
  const common = {
    namespace: 'orders',
    atMs: expect.any(Number),
    operation: expect.stringMatching(/^orders#[\w-]{43}$/),
    attempt: 1,
  };

  it('sees the claim and the completion of the first execution', async () => {
    await idempotent(async (_: Order) => {
      expect(seen).toEqual([{ ...common, type: 'claim', durationMs: 5 }]);
      takes(100);
      return { paid: true };
    }, options())(order);
    expect(seen.slice(1)).toEqual([
      { ...common, type: 'complete', durationMs: 7, runMs: 100, answerBytes: expect.any(Number) },
    ]);
    expect(seen[1]).toMatchObject({ answerBytes: '{"paid":true}'.length + 1 });
  });

  it('sees a replay, and how old its answer is', async () => {
    const once = idempotent(async (_: Order) => 'paid', options());
    await once(order);
    takes(1_000);
    seen.length = 0;
    await once(order);
    // The answer counts from when it was sent to the store.
    expect(seen).toEqual([{ ...common, type: 'replay', durationMs: 5, ageMs: 7 + 1_000 + 5 }]);
  });

  it('sees a duplicate of a running operation, how old that is and how long its lease holds', async () => {
    const started = deferred();
    const finish = deferred();
    const once = idempotent(async (_: Order) => {
      started.resolve();
      await finish.promise;
    }, options());
    const first = once(order, lambdaContext(10_000));
    await started.promise;
    takes(1_000);
    seen.length = 0;
    await expect(once(order)).rejects.toMatchObject({ code: 'IN_PROGRESS' });
    const ageMs = 5 + 1_000 + 5;
    expect(seen).toEqual([
      { ...common, type: 'busy', durationMs: 5, ageMs, leaseLeftMs: 10_000 + 1_000 - ageMs },
    ]);
    finish.resolve();
    await first;
  });

  it('sees a mismatch, of a finished operation and of a running one', async () => {
    const once = idempotent(async (_: Order) => {
      const other = idempotent(async (_: Order) => {}, options())({ ...order, card: 'secret-other' });
      await expect(other).rejects.toMatchObject({ code: 'PAYLOAD_MISMATCH' });
    }, options());
    await once(order);
    expect(seen.map(({ type }) => type)).toEqual(['claim', 'mismatch', 'complete']);
    expect(seen[1]).toEqual({ ...common, type: 'mismatch', durationMs: 5, ageMs: 5 + 5 });

    takes(1_000);
    seen.length = 0;
    await expect(once({ ...order, card: 'secret-other' })).rejects.toMatchObject({
      code: 'PAYLOAD_MISMATCH',
    });
    expect(seen).toEqual([{ ...common, type: 'mismatch', durationMs: 5, ageMs: 5 + 5 + 7 + 1_000 + 5 }]);
  });

  it('sees a release, and a fresh claim after it', async () => {
    const work = vi.fn(async (_: Order): Promise<string> => 'paid');
    work.mockImplementationOnce(async () => {
      takes(100);
      throw failure;
    });
    const once = idempotent(work, options());
    await expect(once(order)).rejects.toBe(failure);
    expect(seen.slice(1)).toEqual([{ ...common, type: 'release', durationMs: 3, runMs: 100 }]);
    await once(order);
    expect(seen.map(({ type }) => type)).toEqual(['claim', 'release', 'claim', 'complete']);
  });

  it('sees the takeover of a window that a failed attempt has begun something in', async () => {
    let attempts = 0;
    const once = idempotent(async (_: Order, context) => {
      attempts++;
      operation(context).token('charge');
      if (attempts === 1) throw failure;
      takes(50);
    }, options());
    await expect(once(order)).rejects.toBe(failure);
    expect(seen[1]).toEqual({ ...common, type: 'release', durationMs: 2, runMs: 0 });
    takes(1_000);
    seen.length = 0;
    await once(order);
    expect(seen).toEqual([
      { ...common, type: 'takeover', attempt: 2, durationMs: 5 + 4, ageMs: 5 + 2 + 1_000 + 5 + 4 },
      { ...common, type: 'complete', attempt: 2, durationMs: 7, runMs: 50, answerBytes: expect.any(Number) },
    ]);
  });

  it('sees an overtaken attempt', async () => {
    const started = deferred();
    const finish = deferred();
    const work = vi.fn(async (_: Order): Promise<void> => {});
    work.mockImplementationOnce(async () => {
      started.resolve();
      await finish.promise;
    });
    const once = idempotent(work, options({ lease: { seconds: 10 } }));
    const first = once(order);
    await started.promise;
    takes(20_000);
    await once(order);
    expect(seen.map(({ type, ...rest }) => [type, 'attempt' in rest && rest.attempt])).toEqual([
      ['claim', 1],
      ['takeover', 2],
      ['complete', 2],
    ]);
    seen.length = 0;
    finish.resolve();
    await first;
    expect(seen).toEqual([{ ...common, type: 'overtaken', durationMs: 7, runMs: 20_000 + 5 + 4 + 7 }]);
  });

  it('sees an attempt that fails after it was overtaken', async () => {
    const started = deferred();
    const finish = deferred();
    const work = vi.fn(async (_: Order): Promise<void> => {});
    work.mockImplementationOnce(async () => {
      started.resolve();
      await finish.promise;
    });
    const once = idempotent(work, options({ lease: { seconds: 10 } }));
    const first = once(order);
    await started.promise;
    takes(20_000);
    await once(order);
    seen.length = 0;
    finish.reject(failure);
    await expect(first).rejects.toBe(failure);
    expect(seen).toMatchObject([{ type: 'overtaken', attempt: 1 }]);
  });

  it('sees what could not be recorded, and why', async () => {
    failing = ['complete'];
    await idempotent(async (_: Order) => {
      takes(100);
    }, options())(order);
    expect(seen.slice(1)).toEqual([
      {
        ...common,
        type: 'unrecorded',
        durationMs: expect.any(Number),
        runMs: 100,
        cause: expect.objectContaining({ code: 'STORE_UNAVAILABLE' }),
      },
    ]);
  });

  it('sees that a release could not be recorded', async () => {
    failing = ['giveBack'];
    const once = idempotent(async (_: Order) => {
      throw failure;
    }, options());
    await expect(once(order)).rejects.toBe(failure);
    expect(seen.slice(1)).toMatchObject([{ type: 'unrecorded', durationMs: 0, runMs: 0 }]);
  });

  it('sees a claim that is left to its lease', async () => {
    const finish = deferred();
    const handler = middy<Order, void>()
      .use(idempotent(options()))
      .handler(async () => finish.promise);
    const timedOut = handler(order, lambdaContext(150));
    await vi.waitFor(() => expect(seen).toHaveLength(1));
    takes(120);
    await expect(timedOut).rejects.toMatchObject({ name: 'TimeoutError' });
    expect(seen.slice(1)).toEqual([{ ...common, type: 'abandon', runMs: 120 }]);
    finish.resolve();
  });

  it('sees that an operation was completed without its answer, and why', async () => {
    await idempotent(async (_: Order) => () => {}, options())(order);
    await idempotent(
      async (_: Order) => 'a'.repeat(99),
      options({ store: { ...store, maxAnswerBytes: 10 } }),
    )({
      id: 'another',
    });
    expect(seen.filter(({ type }) => type === 'complete')).toEqual([
      {
        ...common,
        type: 'complete',
        durationMs: 7,
        runMs: 0,
        answerBytes: 0,
        unavailable: 'unserialisable',
        cause: expect.any(Error),
      },
      expect.objectContaining({ unavailable: 'too-large', answerBytes: 0 }),
    ]);
  });

  describe('sees a call that runs unguarded', () => {
    const http = (more: IdempotentOptions = {}) =>
      idempotent(async (_: APIGatewayProxyEventV2) => 'done', options({ key: undefined, ...more }));
    const unguarded = { namespace: 'orders', atMs: expect.any(Number), type: 'unguarded' };

    it('because of its method', async () => {
      await http()(paymentEvent({ method: 'GET' }));
      expect(seen).toEqual([{ ...unguarded, reason: 'method' }]);
    });

    it('because it has no key', async () => {
      await http({ required: false })(paymentEvent({ key: null }));
      expect(seen).toEqual([{ ...unguarded, reason: 'no-key' }]);
    });

    it('because the store fails, and why it does', async () => {
      failing = ['claim'];
      await http({ whenStoreFails: 'run' })(paymentEvent());
      expect(seen).toEqual([
        {
          ...unguarded,
          reason: 'store-failed',
          cause: expect.objectContaining({ code: 'STORE_UNAVAILABLE' }),
        },
      ]);
    });

    it('because guards are disabled', async () => {
      vi.stubEnv('IDEMPOTENCY_DISABLED', 'true');
      vi.spyOn(console, 'warn').mockReturnValue();
      await http()(paymentEvent());
      expect(seen).toEqual([{ ...unguarded, reason: 'disabled' }]);
    });
  });

  it('tells two operations apart, and attempts of one operation as one', async () => {
    const once = idempotent(async (_: Order) => 'paid', options());
    await once(order);
    await once(order);
    await once({ id: 'another' });
    const [first, , replay, other] = seen.map((event) => ('operation' in event ? event.operation : ''));
    expect(replay).toBe(first);
    expect(other).not.toBe(first);
  });

  it('says of refusals before any claim nothing', async () => {
    const once = idempotent(async (_: Order) => {}, options({ key: () => undefined }));
    await expect(once(order)).rejects.toMatchObject({ code: 'MISSING_KEY' });
    expect(seen).toEqual([]);
  });

  it('is ignored when it throws', async () => {
    const observe = vi.fn(() => {
      throw new Error('a bug');
    });
    const once = idempotent(async (_: Order) => 'paid', options({ observe }));
    expect(await once(order)).toBe('paid');
    expect(await once(order)).toBe('paid');
    expect(observe).toHaveBeenCalledTimes(3);
  });

  it('is ignored when it rejects, and nobody waits for it', async () => {
    const unhandled = vi.fn();
    process.on('unhandledRejection', unhandled);
    try {
      const never = new Promise<never>(() => {});
      let calls = 0;
      // Not a spy: a spy handles the promises that pass through it.
      const observe = (event: IdempotencyEvent) => {
        calls++;
        return event.type === 'claim' ? never : Promise.reject(new Error('a bug'));
      };
      const once = idempotent(async (_: Order) => 'paid', options({ observe }));
      expect(await once(order)).toBe('paid');
      expect(await once(order)).toBe('paid');
      expect(calls).toBe(3);
      // Rejections that nobody has handled are reported once the microtasks are done.
      await new Promise((resolve) => setImmediate(resolve));
      expect(unhandled).not.toHaveBeenCalled();
    } finally {
      process.off('unhandledRejection', unhandled);
    }
  });

  it('shows neither key nor tenant nor payload nor answer', async () => {
    let answers = 0;
    const once = idempotent(
      async ({ card }: Order, context) => {
        operation(context).token('secret-token');
        answers++;
        if (answers === 1) throw new Error('secret-failure');
        return { receipt: `secret-receipt for ${card}` };
      },
      options({ tenant: () => 'secret-tenant' }),
    );
    await once(order).catch(() => {});
    await once(order);
    await once(order);
    await once({ ...order, card: 'secret-other' }).catch(() => {});
    const unserialisable = { receipts: new Map([['secret-entry', () => 'secret-receipt']]) };
    await idempotent(async (_: Order) => unserialisable, options())({ ...order, id: 'secret-third' });
    expect(seen.at(-1)).toMatchObject({ unavailable: 'unserialisable', cause: expect.any(Error) });
    failing = ['complete'];
    await once({ ...order, id: 'secret-second' });
    await once({ ...order, id: 'secret-second' }).catch(() => {});
    expect(new Set(seen.map(({ type }) => type))).toEqual(
      new Set(['claim', 'release', 'takeover', 'complete', 'replay', 'mismatch', 'unrecorded', 'busy']),
    );
    expect(inspect(seen, { depth: 9, showHidden: true }) + JSON.stringify(seen)).not.toContain('secret-');
  });
});
