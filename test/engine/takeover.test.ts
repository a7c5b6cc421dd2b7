import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { DeleteItemCommand } from '@aws-sdk/client-dynamodb';
import { describe, expect, test } from 'vitest';
import { dynamoStore, type IdempotentOptions, idempotent, operation } from '../../lib/index.ts';
import { manualClock } from '../../lib/testing.ts';
import { clientFor, countRequests, dynamodbEndpoint } from '../support/dynamodb.ts';
import { deferred, observer } from '../support/hands.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { codeOf, crash, guard, type Order, protocolBench } from './protocol-bench.ts';

const bench = protocolBench();
const { options, items, claimItem, traced, crashed } = bench;

describe('the lease', () => {
  const leaseLeft = async () => Number((await claimItem())?.leaseUntil?.N) - bench.clock.now();

  test.each([3_000, 900_000])('lasts for the remaining %i ms and a margin of 1 s', async (remainingMs) => {
    let lease = 0;
    const handler = guard(async () => {
      lease = await leaseLeft();
    }, traced());
    await handler({ id: bench.id }, lambdaContext(remainingMs));
    expect(lease).toBe(remainingMs + 1_000);
  });

  test('takes no time left for what it is, and sends nothing', async () => {
    const client = clientFor(dynamodbEndpoint());
    const requests = countRequests(client);
    const store = dynamoStore({ tableName: bench.table.tableName, client, clock: bench.clock });
    let runs = 0;
    const handler = guard(async () => ++runs, options({ store }));
    const error = await handler({ id: bench.id }, lambdaContext(0)).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'NO_TIME_LEFT', effect: 'none' });
    expect([runs, requests]).toEqual([0, []]);
  });

  test.each([
    [2_999, 'none'],
    [3_000, 'NO_TIME_LEFT'],
  ])('of 3 s and a margin, claimed after %i ms, leaves time to begin: %s', async (takesMs, code) => {
    const store = dynamoStore({
      tableName: bench.table.tableName,
      client: bench.table.client,
      clock: bench.clock,
    });
    const claim: typeof store.claim = async (request) => {
      const written = await store.claim(request);
      bench.clock.advance(takesMs);
      return written;
    };
    let runs = 0;
    const handler = guard(async () => ++runs, options({ store: { ...store, claim } }));
    expect(await codeOf(handler({ id: bench.id }, lambdaContext(3_000)))).toBe(code);
    expect(runs).toBe(code === 'none' ? 1 : 0);
  });

  test('is over only when it is: busy at its last millisecond, taken over at the next', async () => {
    await crashed({ id: bench.id }, { lease: { seconds: 30 } });
    const handler = guard(async (_: Order, context) => operation(context).attempt, options());
    bench.clock.advance(29_999);
    expect(await codeOf(handler({ id: bench.id }))).toBe('IN_PROGRESS');
    bench.clock.advance(1);
    expect(await handler({ id: bench.id })).toBe(2);
  });

  test('lets no second handler start while clocks differ by less than the margin', async () => {
    const ahead = manualClock(bench.clock.now() + 900);
    const started = deferred();
    const remaining = 3_000;
    void guard(() => {
      started.resolve();
      return crash();
    }, options())({ id: bench.id }, lambdaContext(remaining));
    await started.promise;
    const elsewhere = guard(
      async () => 2,
      options({ store: dynamoStore({ ...bench.table.store, clock: ahead }) }),
    );
    ahead.advance(remaining);
    expect(await codeOf(elsewhere({ id: bench.id }))).toBe('IN_PROGRESS');
    ahead.advance(100);
    expect(await elsewhere({ id: bench.id })).toBe(2);
  });

  test('keeps one answer where clocks differ by more than the margin', async () => {
    const ahead = manualClock(bench.clock.now() + 3_600_000);
    const gate = deferred<string>();
    const started = deferred();
    const first = guard(() => {
      started.resolve();
      return gate.promise;
    }, options())({ id: bench.id });
    await started.promise;
    const elsewhere = guard(
      async () => 'second',
      options({ store: dynamoStore({ ...bench.table.store, clock: ahead }) }),
    );
    expect(await elsewhere({ id: bench.id })).toBe('second');
    gate.resolve('first');
    expect(await first).toBe('second');
    expect(await elsewhere({ id: bench.id })).toBe('second');
  });
});

describe('an overtaken attempt', () => {
  /** A first attempt that is still running when its lease is over. */
  async function paused(more: IdempotentOptions<Order> = {}) {
    const gate = deferred<string>();
    const started = deferred();
    const seen = observer();
    const caller = guard(
      () => {
        started.resolve();
        return gate.promise;
      },
      traced({ lease: { seconds: 10 }, observe: seen.observe, ...more }),
    )({ id: bench.id });
    caller.catch(() => {});
    await started.promise;
    bench.clock.advance(10_000);
    return { gate, caller, seen };
  }

  test('that completes gets the answer of the one that took over, and changes nothing', async () => {
    const { gate, caller, seen } = await paused();
    await guard(async () => 'second', traced())({ id: bench.id });
    const before = await items();
    gate.resolve('first');
    expect(await caller).toBe('second');
    expect(await items()).toEqual(before);
    expect(seen.types()).toEqual(['claim', 'overtaken']);
  });

  test('that completes while the other runs is told OVERTAKEN, and changes nothing', async () => {
    const { gate, caller } = await paused();
    const second = deferred<string>();
    const started = deferred();
    const other = guard(
      () => {
        started.resolve();
        return second.promise;
      },
      traced({ lease: { seconds: 20 } }),
    )({ id: bench.id });
    await started.promise;
    const before = await items();
    gate.resolve('first');
    const error = await caller.catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'OVERTAKEN',
      effect: 'possible',
      retryAfterSeconds: 5,
      record: { attempt: 2 },
    });
    expect(await items()).toEqual(before);
    second.resolve('second');
    expect(await other).toBe('second');
  });

  test('that fails deletes and alters nothing, and its caller gets its error', async () => {
    const { gate, caller, seen } = await paused();
    await guard(async () => 'second', traced())({ id: bench.id });
    const before = await items();
    gate.reject(new Error('card declined'));
    await expect(caller).rejects.toThrow('card declined');
    expect(await items()).toEqual(before);
    expect(seen.types()).toEqual(['claim', 'overtaken']);
  });

  test('that fails while the other runs does not release it', async () => {
    const { gate, caller } = await paused();
    const started = deferred();
    const second = deferred<string>();
    const other = guard(() => {
      started.resolve();
      return second.promise;
    }, traced())({ id: bench.id });
    await started.promise;
    gate.reject(new Error('late'));
    await expect(caller).rejects.toThrow('late');
    expect(await codeOf(guard(async () => 'third', traced())({ id: bench.id }))).toBe('IN_PROGRESS');
    second.resolve('second');
    expect(await other).toBe('second');
  });

  test('is told OVERTAKEN, not an answer, where the key was used again in a later window', async () => {
    const { gate, caller } = await paused({ ttlSeconds: 5 });
    await guard(async () => 'another operation', traced())({ id: bench.id });
    gate.resolve('first');
    expect(await codeOf(caller)).toBe('OVERTAKEN');
  });

  test('is told OVERTAKEN where the later window has other parameters', async () => {
    const { gate, caller } = await paused({ ttlSeconds: 5 });
    await guard(async () => 'another operation', traced())({ id: bench.id, amount: 2 });
    gate.resolve('first');
    expect(await codeOf(caller)).toBe('OVERTAKEN');
  });

  test('that nobody overtook still completes after its lease', async () => {
    const { gate, caller, seen } = await paused();
    gate.resolve('late but only');
    expect(await caller).toBe('late but only');
    expect(await guard(async () => 'x', traced())({ id: bench.id })).toBe('late but only');
    expect(seen.types()).toEqual(['claim', 'complete']);
  });

  test('of which the record is gone returns its result, unrecorded', async () => {
    const { gate, caller, seen } = await paused();
    const { pk, sk } = (await claimItem())!;
    await bench.table.client.send(
      new DeleteItemCommand({ TableName: bench.table.tableName, Key: { pk: pk!, sk: sk! } }),
    );
    gate.resolve('first');
    expect(await caller).toBe('first');
    expect(seen.types()).toEqual(['claim', 'unrecorded']);
    expect(await items()).toEqual([]);
  });

  test('gets a conflict over HTTP', async () => {
    const gate = deferred<unknown>();
    const started = deferred();
    const shared = {
      store: dynamoStore({ ...bench.table.store, clock: bench.clock }),
      namespace: `http-${bench.id}`,
      lease: { seconds: 10 },
    };
    const caller = idempotent(async (_event: unknown) => {
      started.resolve();
      await gate.promise;
      return { statusCode: 201, body: 'first' };
    }, shared)(paymentEvent({ key: bench.id }));
    await started.promise;
    bench.clock.advance(10_000);
    void idempotent(async (_event: unknown) => crash(), shared)(paymentEvent({ key: bench.id }));
    await expect.poll(async () => await attemptIn(shared.namespace)).toBe('2');
    gate.resolve(undefined);
    expect(await caller).toMatchObject({ statusCode: 409, headers: { 'Retry-After': '5' } });
  });

  const attemptIn = async (namespace: string) =>
    (await bench.table.dump()).find((item) => item.pk?.S?.startsWith(`${namespace}#`))?.attempt?.N;
});

describe('a takeover', () => {
  test('keeps the window and its end, and counts attempts', async () => {
    await crashed({ id: bench.id }, { lease: { seconds: 10 } });
    const first = await claimItem();
    bench.clock.advance(10_000);
    let during: Record<string, AttributeValue> | undefined;
    await guard(
      async () => {
        during = await claimItem();
      },
      traced({ ttlSeconds: 5 }),
    )({ id: bench.id });
    expect(during).toEqual({
      ...first,
      owner: during?.owner,
      attempt: { N: '2' },
      leaseUntil: { N: String(bench.clock.now() + 60_000) },
    });
    expect(during?.owner).not.toEqual(first?.owner);
    const after = await claimItem();
    expect(after?.endsAt).toEqual({ N: String(bench.clock.now() + 5_000) });
    expect(after?.window).toEqual(first?.window);
  });

  test('is won by one of twenty, and the others get its answer', async () => {
    await crashed({ id: bench.id }, { lease: { seconds: 10 } });
    bench.clock.advance(10_000);
    let runs = 0;
    const handler = guard(
      async (_: Order, context) => {
        runs++;
        return operation(context).attempt;
      },
      options({ whenBusy: { waitMs: 600_000 }, lease: { seconds: 3_600 } }),
    );
    const answers = await Promise.all(Array.from({ length: 20 }, () => handler({ id: bench.id })));
    expect(runs).toBe(1);
    expect(new Set(answers)).toEqual(new Set([2]));
  });

  test('must have the parameters of the first attempt', async () => {
    await crashed({ id: bench.id, amount: 1 }, { lease: { seconds: 10 } });
    bench.clock.advance(10_000);
    expect(await codeOf(guard(async () => 1, options())({ id: bench.id, amount: 2 }))).toBe(
      'PAYLOAD_MISMATCH',
    );
  });
});
