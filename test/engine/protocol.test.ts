import { describe, expect, test } from 'vitest';
import { dynamoStore, type IdempotentOptions, operation } from '../../lib/index.ts';
import { clientFor, countRequests, dynamodbEndpoint } from '../support/dynamodb.ts';
import { deferred, incompressible } from '../support/hands.ts';
import { lambdaContext } from '../support/invocation.ts';
import { codeOf, guard, type Order, protocolBench } from './protocol-bench.ts';

const bench = protocolBench();
const { options, items, claimItem, traced, crashed } = bench;

describe('what a call costs', () => {
  function countingStore() {
    const client = clientFor(dynamodbEndpoint());
    const requests = countRequests(client);
    return { store: dynamoStore({ tableName: bench.table.tableName, client, clock: bench.clock }), requests };
  }

  test('a fresh call is one Put and one Update', async () => {
    const { store, requests } = countingStore();
    await guard(async () => 'done', options({ store }))({ id: bench.id });
    expect(requests).toEqual(['PutItem', 'UpdateItem']);
  });

  test('a duplicate is one Put', async () => {
    const { store, requests } = countingStore();
    const handler = guard(async () => 'done', options({ store }));
    await handler({ id: bench.id });
    requests.length = 0;
    await handler({ id: bench.id });
    expect(requests).toEqual(['PutItem']);
  });

  test('a takeover is three requests', async () => {
    const { store, requests } = countingStore();
    await crashed({ id: bench.id }, { store });
    bench.clock.advance(60_000);
    requests.length = 0;
    await guard(async () => 'done', options({ store }))({ id: bench.id });
    expect(requests).toEqual(['PutItem', 'UpdateItem', 'UpdateItem']);
  });

  test('a refused duplicate is one Put, a released call two', async () => {
    const { store, requests } = countingStore();
    const first = deferred();
    const running = guard(() => first.promise, options({ store }))({ id: bench.id });
    await expect.poll(() => requests).toEqual(['PutItem']);
    requests.length = 0;
    expect(await codeOf(guard(async () => 'x', options({ store }))({ id: bench.id }))).toBe('IN_PROGRESS');
    expect(requests).toEqual(['PutItem']);
    first.reject(new Error('declined'));
    await expect(running).rejects.toThrow('declined');
    expect(requests).toEqual(['PutItem', 'PutItem']);
  });

  test('an answer in chunks costs one Put a chunk to write and one Query to read', async () => {
    const { store, requests } = countingStore();
    const answer = incompressible(990_000);
    const handler = guard(async () => answer, options({ store }));
    await handler({ id: bench.id });
    expect(requests).toEqual(['PutItem', 'PutItem', 'PutItem', 'PutItem', 'UpdateItem']);
    requests.length = 0;
    expect(await handler({ id: bench.id })).toBe(answer);
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
    const store = dynamoStore({ tableName: bench.table.tableName, client, clock: bench.clock });
    await guard(async () => ({ paid: true }), options({ store, namespace: 'small' }))({ id: bench.id });
    expect(units).toBe(2);

    units = 0;
    const lines = Array.from({ length: 100 }, (_, line) => ({
      line,
      sku: `sku-${line * 7919}`,
      text: 'a line of an invoice, as they are',
    }));
    expect(JSON.stringify(lines).length).toBeGreaterThan(7_000);
    await guard(async () => lines, options({ store, namespace: 'large' }))({ id: bench.id });
    expect(units).toBeLessThanOrEqual(4);
  });
});

describe('a repeat', () => {
  test('gets the first answer and runs nothing', async () => {
    let runs = 0;
    const handler = guard(async () => ({ run: ++runs, at: new Date(0) }), options());
    const first = await handler({ id: bench.id });
    expect(await handler({ id: bench.id })).toEqual(first);
    expect(runs).toBe(1);
  });

  test('is refused with other parameters, and the record stays as it is', async () => {
    let runs = 0;
    const handler = guard(async () => ++runs, traced());
    await handler({ id: bench.id, amount: 1 });
    const before = await items();
    expect(await codeOf(handler({ id: bench.id, amount: 2 }))).toBe('PAYLOAD_MISMATCH');
    expect(await items()).toEqual(before);
    expect(await handler({ id: bench.id, amount: 1 })).toBe(1);
  });

  test('is refused with other parameters while the first one runs', async () => {
    const gate = deferred<string>();
    const started = deferred();
    const handler = guard(() => {
      started.resolve();
      return gate.promise;
    }, options());
    const running = handler({ id: bench.id, amount: 1 });
    await started.promise;
    expect(await codeOf(handler({ id: bench.id, amount: 2 }))).toBe('PAYLOAD_MISMATCH');
    expect(await codeOf(handler({ id: bench.id, amount: 1 }))).toBe('IN_PROGRESS');
    gate.resolve('paid');
    expect(await running).toBe('paid');
    expect(await handler({ id: bench.id, amount: 1 })).toBe('paid');
  });

  test('learns when the running call began and how long to wait, but nothing of its answer', async () => {
    await crashed({ id: bench.id }, { lease: { seconds: 30 } });
    bench.clock.advance(26_500);
    const error = await guard(async () => 1, options())({ id: bench.id }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'IN_PROGRESS',
      effect: 'none',
      retryAfterSeconds: 4,
      record: {
        status: 'IN_PROGRESS',
        attempt: 1,
        createdAt: new Date(bench.clock.now() - 26_500),
        leaseUntil: new Date(bench.clock.now() + 3_500),
      },
    });
  });

  test('replays to the last millisecond of the window and runs anew in the next, the item still there', async () => {
    let runs = 0;
    const handler = guard(async () => ++runs, options({ ttlSeconds: 60 }));
    await handler({ id: bench.id });
    bench.clock.advance(59_999);
    expect(await handler({ id: bench.id })).toBe(1);
    bench.clock.advance(1);
    expect(await handler({ id: bench.id })).toBe(2);
    expect(await handler({ id: bench.id })).toBe(2);
  });

  test('runs once where twenty race for an expired record that is still there', async () => {
    let runs = 0;
    const handler = guard(async () => ++runs, options({ ttlSeconds: 60, whenBusy: { waitMs: 60_000 } }));
    await handler({ id: bench.id });
    bench.clock.advance(60_000);
    const answers = await Promise.all(Array.from({ length: 20 }, () => handler({ id: bench.id })));
    expect(runs).toBe(2);
    expect(new Set(answers)).toEqual(new Set([2]));
  });

  test('gets an equivalent answer though the resource is gone, and creates nothing', async () => {
    const resources = new Map<string, string>();
    const handler = guard(async (order: Order) => {
      resources.set(order.id, 'created');
      return { created: order.id };
    }, options());
    const first = await handler({ id: bench.id });
    resources.delete(bench.id);
    bench.clock.advance(80_000_000);
    expect(await handler({ id: bench.id })).toEqual(first);
    expect(resources.size).toBe(0);
  });
});

describe('a release', () => {
  test('of a first attempt that began nothing leaves nothing, so that a corrected payload may use the key', async () => {
    const handler = guard(async (order: Order) => {
      if (order.amount === 0) throw new Error('no amount');
      return order.amount;
    }, traced());
    await expect(handler({ id: bench.id, amount: 0 })).rejects.toThrow('no amount');
    expect(await items()).toEqual([]);
    expect(await handler({ id: bench.id, amount: 5 })).toBe(5);
  });

  test('of an attempt that handed out a token keeps the window for the next one', async () => {
    const tokens: string[] = [];
    let fails = true;
    const handler = guard(async (order: Order, context) => {
      tokens.push(operation(context).token('charge'));
      if (fails) throw new Error('provider down');
      return [operation(context).attempt, order.amount];
    }, traced());
    await expect(handler({ id: bench.id, amount: 1 })).rejects.toThrow('provider down');
    expect(await claimItem()).toMatchObject({ status: { S: 'IN_PROGRESS' }, leaseUntil: { N: '0' } });
    fails = false;
    expect(await codeOf(handler({ id: bench.id, amount: 2 }))).toBe('PAYLOAD_MISMATCH');
    expect(await handler({ id: bench.id, amount: 1 })).toEqual([2, 1]);
    expect(tokens[1]).toBe(tokens[0]);
  });

  test('of a later attempt never deletes the window', async () => {
    await crashed({ id: bench.id }, { lease: { seconds: 10 } });
    bench.clock.advance(10_000);
    const failing = guard(async () => {
      throw new Error('again');
    }, traced());
    await expect(failing({ id: bench.id })).rejects.toThrow('again');
    expect(await claimItem()).toMatchObject({ attempt: { N: '2' }, leaseUntil: { N: '0' } });
    expect(await guard(async (_: Order, c) => operation(c).attempt, traced())({ id: bench.id })).toBe(3);
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
      { ...options(patient), store: dynamoStore(bench.table.store) },
    );
    const first = handler({ id: bench.id });
    await started.promise;
    const others = Array.from({ length: 10 }, () => handler({ id: bench.id }));
    gate.resolve('paid');
    expect(await Promise.all([first, ...others])).toEqual(Array(11).fill('paid'));
    expect(runs).toBe(1);
  });

  test('is refused when its wait is over, and runs nothing', async () => {
    await crashed({ id: bench.id }, { lease: { seconds: 3_600 } });
    let runs = 0;
    const at = bench.clock.now();
    const handler = guard(async () => ++runs, options({ whenBusy: { waitMs: 5_000 } }));
    expect(await codeOf(handler({ id: bench.id }))).toBe('IN_PROGRESS');
    expect(bench.clock.now() - at).toBe(5_000);
    expect(runs).toBe(0);
  });

  test('waits no longer than its invocation lasts', async () => {
    await crashed({ id: bench.id }, { lease: { seconds: 3_600 } });
    const at = bench.clock.now();
    const handler = guard(async () => 1, options({ whenBusy: { waitMs: 600_000 } }));
    expect(await codeOf(handler({ id: bench.id }, lambdaContext(3_000)))).toBe('IN_PROGRESS');
    expect(bench.clock.now() - at).toBe(2_750);
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
      { ...options(patient), store: dynamoStore(bench.table.store) },
    );
    const first = handler({ id: bench.id });
    first.catch(() => {});
    await started.promise;
    const waiting = [handler({ id: bench.id }), handler({ id: bench.id })];
    gate.reject(new Error('declined'));
    await expect(first).rejects.toThrow('declined');
    expect(await Promise.all(waiting)).toEqual(['second', 'second']);
    expect(runs).toBe(2);
  });

  test('takes over when the first one falls silent', async () => {
    await crashed({ id: bench.id }, { lease: { seconds: 10 } });
    const handler = guard(async (_: Order, context) => operation(context).attempt, options(patient));
    expect(await handler({ id: bench.id })).toBe(2);
  });

  test('with other parameters does not wait', async () => {
    await crashed({ id: bench.id, amount: 1 });
    const at = bench.clock.now();
    expect(await codeOf(guard(async () => 1, options(patient))({ id: bench.id, amount: 2 }))).toBe(
      'PAYLOAD_MISMATCH',
    );
    expect(bench.clock.now()).toBe(at);
  });
});
