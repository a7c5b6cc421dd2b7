import { describe, expect, it } from 'vitest';
import { storeUnavailable } from '../../lib/errors.ts';
import {
  type HttpResponse,
  IdempotencyError,
  type IdempotentOptions,
  idempotent,
  type Operation,
  operation,
} from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { type ManualClock, type MemoryStore, manualClock, memoryStore } from '../../lib/testing.ts';
import { deferred, observer } from '../support/hands.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { failureOf } from '../support/work.ts';

interface Order {
  readonly id: string;
  readonly amount?: number;
}

const order = { id: 'order-1' };
const message = { destination: 'ledger', body: 'entry', groupId: 'g' };
const leaseMs = 60_000;

/** A memory store with parts replaced, on a clock that stands still. */
function bench(parts: (store: MemoryStore, clock: ManualClock) => Partial<Store> = () => ({})) {
  const clock = manualClock();
  const memory = memoryStore({ clock });
  const calls: string[] = [];
  const replaced: Store = { ...memory, ...parts(memory, clock) };
  const told = <Part extends object>(part: Part, prefix = ''): Part =>
    new Proxy(part, {
      get(target, name) {
        const member: unknown = Reflect.get(target, name);
        if (name === 'steps' && typeof member === 'object' && member) return told(member, 'steps.');
        if (typeof member !== 'function') return member;
        return (...args: unknown[]) => {
          calls.push(prefix + String(name));
          return Reflect.apply(member, target, args);
        };
      },
    });
  const store = told(replaced);
  const seen = observer();
  const guard = (work: (op: Operation, event: Order) => unknown, more: IdempotentOptions<Order> = {}) =>
    idempotent(async (event: Order, context) => work(operation(context), event), {
      ...{ store, namespace: 'orders', destinations: ['ledger'] },
      key: ({ id }: Order) => id,
      ...{
        lease: { seconds: leaseMs / 1000 },
        observe: seen.observe,
        fingerprint: ({ amount }: Order) => amount ?? 0,
      },
      ...more,
    });
  /** An attempt that gets as far as `work` and is never heard of again; its lease is over afterwards. */
  const crash = async (work: (op: Operation) => unknown, event: Order = order) => {
    const arrived = deferred();
    const running = guard(async (op) => {
      await work(op);
      arrived.resolve();
      return new Promise(() => {});
    });
    void running(event);
    await arrived.promise;
    clock.advance(leaseMs + 1_000);
  };
  return { clock, memory, store, calls, guard, crash, seen };
}

describe('a commit that nobody awaited', () => {
  it('and that is applied after all is the answer of its caller, as it is of every repeat', async () => {
    const goOn = deferred();
    const isApplied = deferred();
    let completions = 0;
    const { guard } = bench((memory) => ({
      async complete(completion) {
        completions++;
        if (completions === 1) {
          await goOn.promise;
          const written = await memory.complete(completion);
          isApplied.resolve();
          return written;
        }
        // By now the guard no longer waits for the commit.
        goOn.resolve();
        await isApplied.promise;
        return memory.complete(completion);
      },
    }));
    const handler = guard((op) => {
      void op.commit({ result: 'committed' });
      return 'returned';
    });
    expect(await handler(order, lambdaContext(300))).toBe('committed');
    expect(await handler(order, lambdaContext(300))).toBe('committed');
    expect(completions).toBe(2);
  });

  /** A store that applies the commit only once the guard no longer waits for it. */
  const lateCommit = () => {
    const goOn = deferred();
    const isApplied = deferred();
    let commits = 0;
    return bench((memory) => ({
      async claimCompleted(claim, completion) {
        commits++;
        if (commits === 1) {
          await goOn.promise;
          const written = await memory.claimCompleted(claim, completion);
          isApplied.resolve();
          return written;
        }
        goOn.resolve();
        await isApplied.promise;
        return memory.claimCompleted(claim, completion);
      },
    }));
  };

  it('and that claims as well is the answer, whatever the handler returned', async () => {
    const handler = lateCommit().guard(
      (op) => {
        void op.commit({ result: 'committed' });
        return 'returned';
      },
      { claim: 'at-commit' },
    );
    expect(await handler(order, lambdaContext(300))).toBe('committed');
    expect(await handler(order, lambdaContext(300))).toBe('committed');
  });

  it('is the answer to an HTTP request, too, that the handler refuses', async () => {
    const handler = lateCommit().guard(
      (op) => {
        void op.commit({ result: { statusCode: 201, body: 'charged' } });
        return { statusCode: 400, body: 'refused' };
      },
      { claim: 'at-commit', key: () => 'k' },
    );
    for (let call = 0; call < 2; call++) {
      expect(await handler({ ...paymentEvent({ key: 'k' }), ...order }, lambdaContext(300))).toMatchObject({
        statusCode: 201,
        body: 'charged',
      });
    }
  });
});

describe('once its lease is over, while the store was asked,', () => {
  const late = (verb: 'read' | 'put') =>
    bench(({ steps }, clock) => ({
      steps: {
        ...steps,
        [verb]: async (of: never) => {
          const answer = await (steps[verb] as (of: never) => Promise<unknown>)(of);
          clock.advance(leaseMs + 1_000);
          return answer;
        },
      },
    }));

  it.each([false, true])('a step does not begin (`atMostOnce`: %s)', async (once) => {
    const { guard, crash, calls } = late('read');
    await crash(() => {});
    calls.length = 0;
    let ran = 0;
    const handler = guard((op) => op.step('charge', () => ++ran, { atMostOnce: once }));
    expect(await failureOf(handler(order))).toMatchObject({ code: 'OVERTAKEN', effect: 'possible' });
    expect(ran).toBe(0);
    // Its start would keep every later attempt from it.
    expect(calls).not.toContain('steps.put');
  });

  it('a step of which the start was being recorded does not begin', async () => {
    const { guard } = late('put');
    let ran = 0;
    const handler = guard((op) => op.step('charge', () => ++ran, { atMostOnce: true }));
    expect(await failureOf(handler(order))).toMatchObject({ code: 'OVERTAKEN', effect: 'possible' });
    expect(ran).toBe(0);
  });

  it('a transaction is not sent', async () => {
    const { guard, crash, memory } = late('read');
    await crash(() => {});
    const handler = guard((op) => op.transaction('book', { messages: [message] }));
    expect(await failureOf(handler(order))).toMatchObject({ code: 'OVERTAKEN' });
    expect(memory.messages).toEqual([]);
  });
});

describe('a read of the steps that failed', () => {
  it('is made again for the next step, which finds what was recorded', async () => {
    let reads = 0;
    const { guard, crash } = bench((memory) => ({
      steps: {
        ...memory.steps,
        async read(of) {
          reads++;
          if (reads === 1) throw new IdempotencyError('STORE_UNAVAILABLE', 'No answer.');
          return memory.steps.read(of);
        },
      },
    }));
    await crash((op) => op.step('ship', () => 'shipped'));
    const handler = guard(async (op) => {
      const { code } = await failureOf(op.step('charge', () => 'charged'));
      return [code, await op.step('ship', () => 'shipped again'), await op.step('mail', () => 'mailed')];
    });
    expect(await handler(order)).toEqual(['STORE_UNAVAILABLE', 'shipped', 'mailed']);
    // Once it has been read, it is not read again.
    expect(reads).toBe(2);
  });
});

describe('an operation whose window is over while its lease holds', () => {
  const ttlSeconds = 10;
  const afterMs = 20_000;

  const running = async () => {
    const hands = bench();
    const done = deferred<unknown>();
    const started = deferred();
    const first = hands.guard(
      () => {
        started.resolve();
        return done.promise;
      },
      { ttlSeconds },
    )(order);
    await started.promise;
    hands.clock.advance(afterMs);
    hands.calls.length = 0;
    return { ...hands, first, done };
  };

  it('is busy: it is asked for once, and told with its record', async () => {
    const { guard, calls } = await running();
    const error = await failureOf(guard(() => 'not run', { ttlSeconds })(order));
    expect(error).toMatchObject({ code: 'IN_PROGRESS', record: { status: 'IN_PROGRESS', attempt: 1 } });
    expect(calls).toEqual(['claim']);
  });

  it('refuses another payload', async () => {
    const { guard } = await running();
    const other = guard(() => 'not run', { ttlSeconds })({ ...order, amount: 7 });
    expect(await failureOf(other)).toMatchObject({ code: 'PAYLOAD_MISMATCH', effect: 'none' });
  });

  it('can be waited for', async () => {
    const { guard, first, done } = await running();
    const second = guard(() => 'not run', { ttlSeconds, whenBusy: { waitMs: 30_000 } })(order);
    done.resolve('first');
    expect([await first, await second]).toEqual(['first', 'first']);
  });

  it('overtakes the attempt that it took over from, whose window is the same', async () => {
    const hands = bench();
    const [done, started] = [deferred<unknown>(), deferred()];
    const first = hands.guard(
      () => {
        started.resolve();
        return done.promise;
      },
      { ttlSeconds: 65 },
    )(order);
    await started.promise;
    hands.clock.advance(leaseMs + 1_000);
    const taken = deferred();
    const second = hands.guard(() => {
      taken.resolve();
      return new Promise(() => {});
    });
    void second(order);
    await taken.promise;
    // The window ends; the second attempt's lease does not.
    hands.clock.advance(10_000);
    done.resolve('mine');
    expect(await failureOf(first)).toMatchObject({ code: 'OVERTAKEN', effect: 'possible' });
  });
});

describe('an answer that is not available', () => {
  const notStorable = () => ({ close: () => {} });

  it("of a step fails the call: its caller was promised nothing of it, and a 410 would end the caller's retries", async () => {
    const { guard, crash } = bench();
    const event = { ...paymentEvent({ key: 'k' }), ...order };
    await crash((op) => op.step('charge', notStorable), event);
    const error = await failureOf(guard((op) => op.step('charge', notStorable))(event));
    expect(error).toMatchObject({ code: 'RESULT_UNAVAILABLE', effect: 'possible' });
    expect(error.step).toBe('charge');
  });

  it('of a commit that was first is a 410', async () => {
    const { guard } = bench();
    const event = { ...paymentEvent({ key: 'k' }), ...order };
    const options = { claim: 'at-commit' } as const;
    const [goOn, isAtWork] = [deferred(), deferred()];
    const second = guard(async (op) => {
      isAtWork.resolve();
      await goOn.promise;
      return op.commit({ result: { statusCode: 201 } });
    }, options)(event);
    await isAtWork.promise;
    await guard((op) => op.commit({ result: { statusCode: 201, ...notStorable() } }), options)(event);
    goOn.resolve();
    const answer = (await second) as HttpResponse;
    expect(answer.statusCode).toBe(410);
    expect(answer.body).toContain('RESULT_UNAVAILABLE');
  });
});

describe('a store of your own whose `complete` throws before it returns a promise', () => {
  it('is asked again while it says that this may pass', async () => {
    let asked = 0;
    const { guard } = bench((store) => ({
      complete(completion) {
        if (++asked < 3) throw storeUnavailable(new Error('not connected'));
        return store.complete(completion);
      },
    }));
    const handler = guard(() => 'paid');
    expect(await handler(order)).toBe('paid');
    expect(asked).toBe(3);
    expect(await handler(order)).toBe('paid');
  });

  it("does not fail the call, whose work is done: its caller gets the handler's answer", async () => {
    const { guard, seen } = bench(() => ({
      complete() {
        throw new TypeError('broken');
      },
    }));
    expect(await guard(() => 'paid')(order)).toBe('paid');
    expect(seen.types()).toEqual(['claim', 'unrecorded']);
  });
});
