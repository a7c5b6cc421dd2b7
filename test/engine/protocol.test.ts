import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { DeleteItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  dynamoStore,
  IdempotencyError,
  type IdempotentContext,
  type IdempotentOptions,
  idempotent,
  operation,
  type Seal,
} from '../../lib/index.ts';
import { type ManualClock, manualClock } from '../../lib/testing.ts';
import {
  clientFor,
  countRequests,
  createTable,
  dynamodbEndpoint,
  type TestTable,
} from '../support/dynamodb.ts';
import { contextWith, deferred, httpEvent, incompressible, observer } from '../support/hands.ts';

interface Order {
  readonly id: string;
  readonly amount?: number;
}

let table: TestTable;
let clock: ManualClock;
let sequence = 0;
/** A key that no other test uses. */
let id: string;

beforeAll(async () => {
  table = await createTable();
});

beforeEach(() => {
  clock = manualClock();
  id = `order-${++sequence}`;
});

const options = (more: IdempotentOptions<Order> = {}): IdempotentOptions<Order> => ({
  store: dynamoStore({ ...table.store, clock }),
  namespace: 'orders',
  key: (order) => order.id,
  ...more,
});

/** `idempotent` for handlers of orders, also for those that do not look at theirs. */
const guard = <Result>(
  handler: (order: Order, context: IdempotentContext) => Result,
  options: IdempotentOptions<Order>,
) => idempotent(handler, options);

/** The items of this test's operation: the only ones younger than the test. */
async function items(): Promise<Record<string, AttributeValue>[]> {
  const all = await table.dump();
  const claim = all.find((item) => item.key?.S === id);
  return all.filter((item) => item.pk?.S === claim?.pk?.S);
}

const claimItem = async () => (await items()).find((item) => item.sk?.S === 'claim');

/** Options that let {@link items} find the record. */
const traced = (more: IdempotentOptions<Order> = {}): IdempotentOptions<Order> =>
  options({ keep: { key: true }, ...more });

/** A handler that never comes back, as when its sandbox is killed. */
const crash = () => new Promise<never>(() => {});

/** An attempt that has claimed, runs, and is never heard of again. */
async function crashed(order: Order, more: IdempotentOptions<Order> = {}): Promise<void> {
  const started = deferred();
  void guard(() => {
    started.resolve();
    return crash();
  }, traced(more))(order);
  await started.promise;
}

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (IdempotencyError.is(error)) return error.code;
    throw error;
  }
  return 'none';
}

describe('what a call costs', () => {
  function countingStore() {
    const client = clientFor(dynamodbEndpoint());
    const requests = countRequests(client);
    return { store: dynamoStore({ tableName: table.tableName, client, clock }), requests };
  }

  test('a fresh call is one Put and one Update', async () => {
    const { store, requests } = countingStore();
    await guard(async () => 'done', options({ store }))({ id });
    expect(requests).toEqual(['PutItem', 'UpdateItem']);
  });

  test('a duplicate is one Put', async () => {
    const { store, requests } = countingStore();
    const handler = guard(async () => 'done', options({ store }));
    await handler({ id });
    requests.length = 0;
    await handler({ id });
    expect(requests).toEqual(['PutItem']);
  });

  test('a takeover is three requests', async () => {
    const { store, requests } = countingStore();
    await crashed({ id }, { store });
    clock.advance(60_000);
    requests.length = 0;
    await guard(async () => 'done', options({ store }))({ id });
    expect(requests).toEqual(['PutItem', 'UpdateItem', 'UpdateItem']);
  });

  test('a refused duplicate is one Put, a released call two', async () => {
    const { store, requests } = countingStore();
    const first = deferred();
    const running = guard(() => first.promise, options({ store }))({ id });
    await expect.poll(() => requests).toEqual(['PutItem']);
    requests.length = 0;
    expect(await codeOf(guard(async () => 'x', options({ store }))({ id }))).toBe('IN_PROGRESS');
    expect(requests).toEqual(['PutItem']);
    first.reject(new Error('declined'));
    await expect(running).rejects.toThrow('declined');
    expect(requests).toEqual(['PutItem', 'PutItem']);
  });

  test('an answer in chunks costs one Put a chunk to write and one Query to read', async () => {
    const { store, requests } = countingStore();
    const answer = incompressible(990_000);
    const handler = guard(async () => answer, options({ store }));
    await handler({ id });
    expect(requests).toEqual(['PutItem', 'PutItem', 'PutItem', 'PutItem', 'UpdateItem']);
    requests.length = 0;
    expect(await handler({ id })).toBe(answer);
    expect(requests).toEqual(['PutItem', 'Query']);
  });

  test('a small answer costs two write units, 10 KB of JSON at most four', async () => {
    const client = clientFor(dynamodbEndpoint());
    let units = 0;
    client.middlewareStack.add(
      (next) => async (args) => {
        const result = await next({ ...args, input: { ...args.input, ReturnConsumedCapacity: 'TOTAL' } });
        units += (result.output as { ConsumedCapacity?: { CapacityUnits?: number } }).ConsumedCapacity
          ?.CapacityUnits as number;
        return result;
      },
      { step: 'initialize' },
    );
    const store = dynamoStore({ tableName: table.tableName, client, clock });
    await guard(async () => ({ paid: true }), options({ store, namespace: 'small' }))({ id });
    expect(units).toBe(2);

    units = 0;
    const lines = Array.from({ length: 100 }, (_, line) => ({
      line,
      sku: `sku-${line * 7919}`,
      text: 'a line of an invoice, as they are',
    }));
    expect(JSON.stringify(lines).length).toBeGreaterThan(7_000);
    await guard(async () => lines, options({ store, namespace: 'large' }))({ id });
    expect(units).toBeLessThanOrEqual(4);
  });
});

describe('a repeat', () => {
  test('gets the first answer and runs nothing', async () => {
    let runs = 0;
    const handler = guard(async () => ({ run: ++runs, at: new Date(0) }), options());
    const first = await handler({ id });
    expect(await handler({ id })).toEqual(first);
    expect(runs).toBe(1);
  });

  test('is refused with other parameters, and the record stays as it is', async () => {
    let runs = 0;
    const handler = guard(async () => ++runs, traced());
    await handler({ id, amount: 1 });
    const before = await items();
    expect(await codeOf(handler({ id, amount: 2 }))).toBe('PAYLOAD_MISMATCH');
    expect(await items()).toEqual(before);
    expect(await handler({ id, amount: 1 })).toBe(1);
  });

  test('is refused with other parameters while the first one runs', async () => {
    const gate = deferred<string>();
    const started = deferred();
    const handler = guard(() => {
      started.resolve();
      return gate.promise;
    }, options());
    const running = handler({ id, amount: 1 });
    await started.promise;
    expect(await codeOf(handler({ id, amount: 2 }))).toBe('PAYLOAD_MISMATCH');
    expect(await codeOf(handler({ id, amount: 1 }))).toBe('IN_PROGRESS');
    gate.resolve('paid');
    expect(await running).toBe('paid');
    expect(await handler({ id, amount: 1 })).toBe('paid');
  });

  test('learns when the running call began and how long to wait, but nothing of its answer', async () => {
    await crashed({ id }, { lease: { seconds: 30 } });
    clock.advance(26_500);
    const error = await guard(async () => 1, options())({ id }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'IN_PROGRESS',
      effect: 'none',
      retryAfterSeconds: 4,
      record: {
        status: 'IN_PROGRESS',
        attempt: 1,
        createdAt: new Date(clock.now() - 26_500),
        leaseUntil: new Date(clock.now() + 3_500),
      },
    });
  });

  test('replays to the last millisecond of the window and runs anew in the next, the item still there', async () => {
    let runs = 0;
    const handler = guard(async () => ++runs, options({ ttlSeconds: 60 }));
    await handler({ id });
    clock.advance(59_999);
    expect(await handler({ id })).toBe(1);
    clock.advance(1);
    expect(await handler({ id })).toBe(2);
    expect(await handler({ id })).toBe(2);
  });

  test('runs once where twenty race for an expired record that is still there', async () => {
    let runs = 0;
    const handler = guard(async () => ++runs, options({ ttlSeconds: 60, whenBusy: { waitMs: 60_000 } }));
    await handler({ id });
    clock.advance(60_000);
    const answers = await Promise.all(Array.from({ length: 20 }, () => handler({ id })));
    expect(runs).toBe(2);
    expect(new Set(answers)).toEqual(new Set([2]));
  });

  test('gets an equivalent answer though the resource is gone, and creates nothing', async () => {
    const resources = new Map<string, string>();
    const handler = guard(async (order: Order) => {
      resources.set(order.id, 'created');
      return { created: order.id };
    }, options());
    const first = await handler({ id });
    resources.delete(id);
    clock.advance(80_000_000);
    expect(await handler({ id })).toEqual(first);
    expect(resources.size).toBe(0);
  });
});

describe('the record', () => {
  test('holds neither key nor payload nor tenant in clear', async () => {
    const secret = `secret-${id}`;
    const handler = guard(
      async (order) => ({ paid: order.id.length }),
      options({ tenant: () => `tenant-${secret}` }),
    );
    await handler({ id: secret, card: `card-${secret}` } as Order);
    expect(JSON.stringify(await table.dump())).not.toContain(secret);
  });

  test('holds key and input where `keep` says so', async () => {
    await guard(async () => 1, options({ keep: { key: true, input: true } }))({ id, amount: 7 });
    const item = await claimItem();
    expect(item?.key).toEqual({ S: id });
    expect(Buffer.from(item?.input?.B ?? []).toString()).toContain(`"id":"${id}","amount":7`);
  });

  test('has exactly the documented attributes', async () => {
    await guard(async () => 'x', traced())({ id });
    const item = await claimItem();
    expect(Object.keys(item ?? {}).sort()).toEqual(
      [
        'attempt',
        'completedAt',
        'createdAt',
        'data',
        'endsAt',
        'expiresAt',
        'fingerprint',
        'key',
        'leaseUntil',
        'owner',
        'pk',
        'sk',
        'status',
        'window',
      ].sort(),
    );
    expect(item?.pk?.S).toMatch(/^orders#[\w-]{43}$/);
  });

  test('expires a day after its window, in whole seconds', async () => {
    clock.advance(1);
    await guard(async () => 'x', traced({ ttlSeconds: 60 }))({ id });
    const item = await claimItem();
    expect(item?.endsAt).toEqual({ N: String(clock.now() + 60_000) });
    expect(item?.expiresAt).toEqual({ N: String(Math.ceil((clock.now() + 60_000) / 1000) + 86_400) });
  });

  test('of chunks expires with its claim, and a later window does not read it', async () => {
    const handler = guard(
      async (order: Order) => incompressible(5_000) + order.id,
      traced({ ttlSeconds: 60 }),
    );
    await handler({ id });
    const stored = await items();
    expect(stored.map((item) => item.expiresAt)).toEqual([stored[0]?.expiresAt, stored[0]?.expiresAt]);
    const oldChunk = stored.find((item) => item.sk?.S?.includes('#result#'));
    clock.advance(60_000);
    await handler({ id });
    const window = (await claimItem())?.window?.S;
    expect(oldChunk?.sk?.S?.startsWith(`${window}#`)).toBe(false);
  });

  test('carries answers that only `seal` can read', async () => {
    const sealed: string[] = [];
    const flip = (bytes: Uint8Array) => bytes.map((byte) => byte ^ 0xff);
    const seal: Seal = {
      seal: (plain, context) => {
        sealed.push(context.operation);
        return flip(plain);
      },
      open: (bytes) => flip(bytes),
    };
    const store = dynamoStore({ ...table.store, clock, seal });
    const handler = guard(async () => ({ card: 'secret-4242' }), traced({ store }));
    await handler({ id });
    const item = await claimItem();
    expect(sealed).toEqual([item?.pk?.S]);
    expect(Buffer.from(item?.data?.B ?? []).toString('latin1')).not.toContain('secret');
    expect(await handler({ id })).toEqual({ card: 'secret-4242' });
  });
});

describe('answers that are large or cannot be kept', () => {
  test.each([4_000, 4_097, 400_000, 990_000])('replays %i incompressible characters', async (size) => {
    const answer = incompressible(size);
    const handler = guard(async () => answer, options());
    await handler({ id });
    expect((await handler({ id })) === answer).toBe(true);
  });

  test('completes an answer over 1 MB without it, and a repeat does not run', async () => {
    let runs = 0;
    const { observe, seen } = observer();
    const handler = guard(async () => incompressible(1_400_000) + ++runs, options({ observe }));
    await handler({ id });
    expect(seen.at(-1)).toMatchObject({ type: 'complete', unavailable: 'too-large', answerBytes: 0 });
    const error = await handler({ id }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'RESULT_UNAVAILABLE',
      effect: 'none',
      record: { status: 'COMPLETED' },
    });
    expect(runs).toBe(1);
  });

  test('says RESULT_UNAVAILABLE where a chunk is gone', async () => {
    const handler = guard(async () => incompressible(500_000), traced());
    await handler({ id });
    const chunk = (await items()).find((item) => item.sk?.S?.endsWith('#0002'));
    await table.client.send(
      new DeleteItemCommand({ TableName: table.tableName, Key: { pk: chunk!.pk!, sk: chunk!.sk! } }),
    );
    await expect(handler({ id })).rejects.toMatchObject({
      code: 'RESULT_UNAVAILABLE',
      message: expect.stringContaining('a part of it is gone'),
    });
  });

  test('says RESULT_UNAVAILABLE where the stored bytes are not what was written', async () => {
    const handler = guard(async () => 'fine', traced());
    await handler({ id });
    const item = await claimItem();
    await table.client.send(
      new PutItemCommand({
        TableName: table.tableName,
        Item: { ...item!, data: { B: Uint8Array.of(9, 9) } },
      }),
    );
    expect(await codeOf(handler({ id }))).toBe('RESULT_UNAVAILABLE');
  });
});

describe('the lease', () => {
  const leaseLeft = async () => Number((await claimItem())?.leaseUntil?.N) - clock.now();

  test.each([3_000, 900_000])('lasts for the remaining %i ms and a margin of 1 s', async (remainingMs) => {
    let lease = 0;
    const handler = guard(async () => {
      lease = await leaseLeft();
    }, traced());
    await handler({ id }, contextWith(remainingMs));
    expect(lease).toBe(remainingMs + 1_000);
  });

  test('takes no time left for what it is, and sends nothing', async () => {
    const client = clientFor(dynamodbEndpoint());
    const requests = countRequests(client);
    const store = dynamoStore({ tableName: table.tableName, client, clock });
    let runs = 0;
    const handler = guard(async () => ++runs, options({ store }));
    const error = await handler({ id }, contextWith(0)).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({ code: 'NO_TIME_LEFT', effect: 'none' });
    expect([runs, requests]).toEqual([0, []]);
  });

  test.each([
    [2_999, 'none'],
    [3_000, 'NO_TIME_LEFT'],
  ])('of 3 s and a margin, claimed after %i ms, leaves time to begin: %s', async (takesMs, code) => {
    const store = dynamoStore({ tableName: table.tableName, client: table.client, clock });
    const claim: typeof store.claim = async (request) => {
      const written = await store.claim(request);
      clock.advance(takesMs);
      return written;
    };
    let runs = 0;
    const handler = guard(async () => ++runs, options({ store: { ...store, claim } }));
    expect(await codeOf(handler({ id }, contextWith(3_000)))).toBe(code);
    expect(runs).toBe(code === 'none' ? 1 : 0);
  });

  test('is over only when it is: busy at its last millisecond, taken over at the next', async () => {
    await crashed({ id }, { lease: { seconds: 30 } });
    const handler = guard(async (_: Order, context) => operation(context).attempt, options());
    clock.advance(29_999);
    expect(await codeOf(handler({ id }))).toBe('IN_PROGRESS');
    clock.advance(1);
    expect(await handler({ id })).toBe(2);
  });

  test('lets no second handler start while clocks differ by less than the margin', async () => {
    const ahead = manualClock(clock.now() + 900);
    const started = deferred();
    const remaining = 3_000;
    void guard(() => {
      started.resolve();
      return crash();
    }, options())({ id }, contextWith(remaining));
    await started.promise;
    const elsewhere = guard(async () => 2, options({ store: dynamoStore({ ...table.store, clock: ahead }) }));
    ahead.advance(remaining);
    expect(await codeOf(elsewhere({ id }))).toBe('IN_PROGRESS');
    ahead.advance(100);
    expect(await elsewhere({ id })).toBe(2);
  });

  test('keeps one answer where clocks differ by more than the margin', async () => {
    const ahead = manualClock(clock.now() + 3_600_000);
    const gate = deferred<string>();
    const started = deferred();
    const first = guard(() => {
      started.resolve();
      return gate.promise;
    }, options())({ id });
    await started.promise;
    const elsewhere = guard(
      async () => 'second',
      options({ store: dynamoStore({ ...table.store, clock: ahead }) }),
    );
    expect(await elsewhere({ id })).toBe('second');
    gate.resolve('first');
    expect(await first).toBe('second');
    expect(await elsewhere({ id })).toBe('second');
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
    )({ id });
    caller.catch(() => {});
    await started.promise;
    clock.advance(10_000);
    return { gate, caller, seen };
  }

  test('that completes gets the answer of the one that took over, and changes nothing', async () => {
    const { gate, caller, seen } = await paused();
    await guard(async () => 'second', traced())({ id });
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
    )({ id });
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
    await guard(async () => 'second', traced())({ id });
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
    }, traced())({ id });
    await started.promise;
    gate.reject(new Error('late'));
    await expect(caller).rejects.toThrow('late');
    expect(await codeOf(guard(async () => 'third', traced())({ id }))).toBe('IN_PROGRESS');
    second.resolve('second');
    expect(await other).toBe('second');
  });

  test('is told OVERTAKEN, not an answer, where the key was used again in a later window', async () => {
    const { gate, caller } = await paused({ ttlSeconds: 5 });
    await guard(async () => 'another operation', traced())({ id });
    gate.resolve('first');
    expect(await codeOf(caller)).toBe('OVERTAKEN');
  });

  test('is told OVERTAKEN where the later window has other parameters', async () => {
    const { gate, caller } = await paused({ ttlSeconds: 5 });
    await guard(async () => 'another operation', traced())({ id, amount: 2 });
    gate.resolve('first');
    expect(await codeOf(caller)).toBe('OVERTAKEN');
  });

  test('that nobody overtook still completes after its lease', async () => {
    const { gate, caller, seen } = await paused();
    gate.resolve('late but only');
    expect(await caller).toBe('late but only');
    expect(await guard(async () => 'x', traced())({ id })).toBe('late but only');
    expect(seen.types()).toEqual(['claim', 'complete']);
  });

  test('of which the record is gone returns its result, unrecorded', async () => {
    const { gate, caller, seen } = await paused();
    const { pk, sk } = (await claimItem())!;
    await table.client.send(new DeleteItemCommand({ TableName: table.tableName, Key: { pk: pk!, sk: sk! } }));
    gate.resolve('first');
    expect(await caller).toBe('first');
    expect(seen.types()).toEqual(['claim', 'unrecorded']);
    expect(await items()).toEqual([]);
  });

  test('gets a conflict over HTTP', async () => {
    const gate = deferred<unknown>();
    const started = deferred();
    const shared = {
      store: dynamoStore({ ...table.store, clock }),
      namespace: `http-${id}`,
      lease: { seconds: 10 },
    };
    const caller = idempotent(async (_event: any) => {
      started.resolve();
      await gate.promise;
      return { statusCode: 201, body: 'first' };
    }, shared)(httpEvent(id));
    await started.promise;
    clock.advance(10_000);
    void idempotent(async (_event: any) => crash(), shared)(httpEvent(id));
    await expect.poll(async () => await attemptIn(shared.namespace)).toBe('2');
    gate.resolve(undefined);
    expect(await caller).toMatchObject({ statusCode: 409, headers: { 'Retry-After': '5' } });
  });

  const attemptIn = async (namespace: string) =>
    (await table.dump()).find((item) => item.pk?.S?.startsWith(`${namespace}#`))?.attempt?.N;
});

describe('a takeover', () => {
  test('keeps the window and its end, and counts attempts', async () => {
    await crashed({ id }, { lease: { seconds: 10 } });
    const first = await claimItem();
    clock.advance(10_000);
    let during: Record<string, AttributeValue> | undefined;
    await guard(
      async () => {
        during = await claimItem();
      },
      traced({ ttlSeconds: 5 }),
    )({ id });
    expect(during).toEqual({
      ...first,
      owner: during?.owner,
      attempt: { N: '2' },
      leaseUntil: { N: String(clock.now() + 60_000) },
    });
    expect(during?.owner).not.toEqual(first?.owner);
    const after = await claimItem();
    expect(after?.endsAt).toEqual({ N: String(clock.now() + 5_000) });
    expect(after?.window).toEqual(first?.window);
  });

  test('is won by one of twenty, and the others get its answer', async () => {
    await crashed({ id }, { lease: { seconds: 10 } });
    clock.advance(10_000);
    let runs = 0;
    const handler = guard(
      async (_: Order, context) => {
        runs++;
        return operation(context).attempt;
      },
      options({ whenBusy: { waitMs: 600_000 }, lease: { seconds: 3_600 } }),
    );
    const answers = await Promise.all(Array.from({ length: 20 }, () => handler({ id })));
    expect(runs).toBe(1);
    expect(new Set(answers)).toEqual(new Set([2]));
  });

  test('must have the parameters of the first attempt', async () => {
    await crashed({ id, amount: 1 }, { lease: { seconds: 10 } });
    clock.advance(10_000);
    expect(await codeOf(guard(async () => 1, options())({ id, amount: 2 }))).toBe('PAYLOAD_MISMATCH');
  });
});

describe('a release', () => {
  test('of a first attempt that began nothing leaves nothing, so that a corrected payload may use the key', async () => {
    const handler = guard(async (order: Order) => {
      if (order.amount === 0) throw new Error('no amount');
      return order.amount;
    }, traced());
    await expect(handler({ id, amount: 0 })).rejects.toThrow('no amount');
    expect(await items()).toEqual([]);
    expect(await handler({ id, amount: 5 })).toBe(5);
  });

  test('of an attempt that handed out a token keeps the window for the next one', async () => {
    const tokens: string[] = [];
    let fails = true;
    const handler = guard(async (order: Order, context) => {
      tokens.push(operation(context).token('charge'));
      if (fails) throw new Error('provider down');
      return [operation(context).attempt, order.amount];
    }, traced());
    await expect(handler({ id, amount: 1 })).rejects.toThrow('provider down');
    expect(await claimItem()).toMatchObject({ status: { S: 'IN_PROGRESS' }, leaseUntil: { N: '0' } });
    fails = false;
    expect(await codeOf(handler({ id, amount: 2 }))).toBe('PAYLOAD_MISMATCH');
    expect(await handler({ id, amount: 1 })).toEqual([2, 1]);
    expect(tokens[1]).toBe(tokens[0]);
  });

  test('of a later attempt never deletes the window', async () => {
    await crashed({ id }, { lease: { seconds: 10 } });
    clock.advance(10_000);
    const failing = guard(async () => {
      throw new Error('again');
    }, traced());
    await expect(failing({ id })).rejects.toThrow('again');
    expect(await claimItem()).toMatchObject({ attempt: { N: '2' }, leaseUntil: { N: '0' } });
    expect(await guard(async (_: Order, c) => operation(c).attempt, traced())({ id })).toBe(3);
  });
});

describe('a waiting duplicate', () => {
  const patient: IdempotentOptions<Order> = { whenBusy: { waitMs: 30_000 } };

  test('gets the answer of the first one, and so does every other', async () => {
    const gate = deferred<string>();
    const started = deferred();
    let runs = 0;
    const handler = guard(
      () => {
        runs++;
        started.resolve();
        return gate.promise;
      },
      { ...options(patient), store: dynamoStore(table.store) },
    );
    const first = handler({ id });
    await started.promise;
    const others = Array.from({ length: 10 }, () => handler({ id }));
    gate.resolve('paid');
    expect(await Promise.all([first, ...others])).toEqual(Array(11).fill('paid'));
    expect(runs).toBe(1);
  });

  test('is refused when its wait is over, and runs nothing', async () => {
    await crashed({ id }, { lease: { seconds: 3_600 } });
    let runs = 0;
    const at = clock.now();
    const handler = guard(async () => ++runs, options({ whenBusy: { waitMs: 5_000 } }));
    expect(await codeOf(handler({ id }))).toBe('IN_PROGRESS');
    expect(clock.now() - at).toBe(5_000);
    expect(runs).toBe(0);
  });

  test('waits no longer than its invocation lasts', async () => {
    await crashed({ id }, { lease: { seconds: 3_600 } });
    const at = clock.now();
    const handler = guard(async () => 1, options({ whenBusy: { waitMs: 600_000 } }));
    expect(await codeOf(handler({ id }, contextWith(3_000)))).toBe('IN_PROGRESS');
    expect(clock.now() - at).toBe(2_750);
  });

  test('claims when the first one fails', async () => {
    const gate = deferred<string>();
    const started = deferred();
    let runs = 0;
    const handler = guard(
      () => {
        started.resolve();
        return ++runs === 1 ? gate.promise : Promise.resolve('second');
      },
      { ...options(patient), store: dynamoStore(table.store) },
    );
    const first = handler({ id });
    first.catch(() => {});
    await started.promise;
    const waiting = [handler({ id }), handler({ id })];
    gate.reject(new Error('declined'));
    await expect(first).rejects.toThrow('declined');
    expect(await Promise.all(waiting)).toEqual(['second', 'second']);
    expect(runs).toBe(2);
  });

  test('takes over when the first one falls silent', async () => {
    await crashed({ id }, { lease: { seconds: 10 } });
    const handler = guard(async (_: Order, context) => operation(context).attempt, options(patient));
    expect(await handler({ id })).toBe(2);
  });

  test('with other parameters does not wait', async () => {
    await crashed({ id, amount: 1 });
    const at = clock.now();
    expect(await codeOf(guard(async () => 1, options(patient))({ id, amount: 2 }))).toBe('PAYLOAD_MISMATCH');
    expect(clock.now()).toBe(at);
  });
});
