/** Orders of events that break a naive build of steps, transactions and commit; each its own test. */
import { DeleteItemCommand } from '@aws-sdk/client-dynamodb';
import { beforeEach, describe, expect, test } from 'vitest';
import type { IdempotentOptions, Operation } from '../../lib/index.ts';
import { deferred } from '../support/hands.ts';
import { failureOf, type Order, sdkAttempts, workbench } from '../support/work.ts';

const bench = workbench();
/** A handler's own item, of this test only. */
let item: string;
beforeEach(() => {
  item = `item-${bench.id}`;
});

const down = { status: 500, type: 'InternalServerError' };
const times = async () => (await bench.read(item))?.times;
const mail = (body: string) => ({ destination: 'mail', body, groupId: 'ann' });

/** An attempt that stops before `work`, with a lease of which it knows more than the others. */
async function paused<Result>(work: (op: Operation) => Promise<Result>) {
  const started = deferred();
  const goOn = deferred();
  const call = bench.guard(
    async (op) => {
      started.resolve();
      await goOn.promise;
      return work(op);
    },
    { lease: { seconds: 3_600 } },
  )({ id: bench.id });
  call.catch(() => {});
  await started.promise;
  return {
    /** Lets it go on while its own clock says that its lease holds. */
    async wakesUp(): Promise<Result> {
      bench.clock.advance(-3_600_000);
      goOn.resolve();
      try {
        return await call;
      } finally {
        bench.clock.advance(3_600_000);
      }
    },
  };
}

test('a release by a later attempt keeps what an earlier one has recorded by a transaction', async () => {
  await bench.crash((op) => op.transaction('reserve', { writes: [bench.count(item)], value: 'by 1' }));
  const failing = bench.guard((op) => {
    // It begins nothing, and still it must not take the window with it.
    throw new Error(`attempt ${op.attempt}`);
  });
  await expect(failing({ id: bench.id })).rejects.toThrow('attempt 2');
  const third = bench.guard(async (op) => [
    op.attempt,
    await op.transaction('reserve', { writes: [bench.count(item)], value: 'by 3' }),
  ]);
  expect(await third({ id: bench.id })).toEqual([3, 'by 1']);
  expect(await times()).toBe(1);
});

test('a release waits for the record of a step whose sibling threw', async () => {
  bench.proxy.inject({
    operation: 'PutItem',
    match: ({ body }) => body.Item.sk.S.includes('#step#'),
    fault: { delayMs: 300 },
  });
  const handler = bench.guard((op) =>
    Promise.all([
      op.step('charge', () => 'by 1'),
      op.step('failing', async () => {
        await expect.poll(() => bench.proxy.requests.length).toBe(2);
        throw new Error('failed');
      }),
    ]),
  );
  await expect(handler({ id: bench.id })).rejects.toThrow('failed');
  expect(bench.sent()).toEqual(['PutItem 200', 'PutItem 200', 'UpdateItem 200']);
  expect(await bench.guard((op) => op.step('charge', () => 'by 2'))({ id: bench.id })).toBe('by 1');
});

describe('a window that ends while a transaction is sent again', () => {
  test('changes nothing in the request, and the operation ends in its window', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-before', times: sdkAttempts });
    const stop = bench.proxy.onRequest(({ operation }) => {
      if (operation === 'TransactWriteItems') bench.clock.advance(2_000);
    });
    const handler = bench.guard(
      (op) => op.transaction('reserve', { writes: [bench.count(item)], messages: [mail('m')] }),
      { ttlSeconds: 5 },
    );
    await handler({ id: bench.id });
    stop();
    expect(new Set(bench.transactions().map(({ body }) => JSON.stringify(body))).size).toBe(1);
    expect(await times()).toBe(1);
    expect(await bench.claim()).toMatchObject({ status: { S: 'COMPLETED' } });
  });

  test('and is begun anew by another call leaves the first one without an effect', async () => {
    const other = deferred<unknown>();
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: down, times: sdkAttempts });
    let sendings = 0;
    const stop = bench.proxy.onRequest(({ operation }) => {
      if (operation !== 'TransactWriteItems' || ++sendings !== sdkAttempts) return;
      // Window and lease of the first call end, and the key is used again, before it sends once more.
      bench.clock.advance(120_000);
      void bench
        .guard(async (op) => {
          await op.step('new window', () => 1);
          return `attempt ${op.attempt}`;
        })({ id: bench.id })
        .then(other.resolve, other.reject);
    });
    const slow = bench.clock.sleep;
    bench.clock.sleep = async (ms) => {
      if (sendings >= sdkAttempts) await other.promise;
      return slow(ms);
    };
    const handler = bench.guard(
      (op) => op.transaction('reserve', { writes: [bench.count(item)], value: 'first' }),
      { ttlSeconds: 60, lease: { seconds: 60 } },
    );
    const error = await failureOf(handler({ id: bench.id }));
    stop();
    expect(await other.promise).toBe('attempt 1');
    expect(['OVERTAKEN', 'OUTCOME_UNKNOWN']).toContain(error.code);
    expect(await times()).toBeUndefined();
  });
});

test('of two attempts that both stage message 0, one does', async () => {
  const first = await paused((op) => op.commit({ result: 'by 1', messages: [mail('by 1')] }));
  bench.clock.advance(3_600_000);
  const second = bench.guard((op) => op.commit({ result: 'by 2', messages: [mail('by 2')] }));
  expect(await second({ id: bench.id })).toBe('by 2');
  expect(await first.wakesUp()).toBe('by 2');
  expect((await bench.messages()).map(({ body }) => body?.S)).toEqual(['by 2']);
});

test('a key used again in a later window sends its message again, under another deduplication id', async () => {
  const handler = bench.guard((op) => op.commit({ result: 1, messages: [mail('m')] }));
  await handler({ id: bench.id });
  bench.clock.advance(86_400_001);
  await handler({ id: bench.id });
  const staged = await bench.messages();
  expect(staged).toHaveLength(2);
  expect(new Set(staged.map(({ deduplicationId }) => deduplicationId?.S)).size).toBe(2);
});

describe('an overtaken attempt whose window is gone', () => {
  test('has no effect and is told OVERTAKEN: the answer of the new window is not its own', async () => {
    const first = await paused((op) => op.commit({ result: 'old window', writes: [bench.count(item)] }));
    bench.clock.advance(86_400_000);
    const again = bench.guard((op) => op.commit({ result: 'new window', writes: [bench.count(item)] }));
    expect(await again({ id: bench.id })).toBe('new window');
    expect(await failureOf(first.wakesUp())).toMatchObject({ code: 'OVERTAKEN', effect: 'possible' });
    expect(await times()).toBe(1);
    expect(await again({ id: bench.id })).toBe('new window');
  });

  test('has no effect where its record was cleaned up', async () => {
    const first = await paused((op) => op.commit({ result: 1, writes: [bench.count(item)] }));
    const { pk, sk } = (await bench.claim()) ?? {};
    const { tableName, client } = bench.table;
    await client.send(new DeleteItemCommand({ TableName: tableName, Key: { pk: pk!, sk: sk! } }));
    expect(await failureOf(first.wakesUp())).toMatchObject({ code: 'OVERTAKEN' });
    expect(await times()).toBeUndefined();
  });
});

describe('a commit that was applied without an answer, and a fallback of the handler', () => {
  for (const [what, more] of [
    ['that is remembered', {}],
    ['that is not remembered', { remember: () => false }],
  ] as [string, IdempotentOptions<Order>][]) {
    test(`${what}: the caller gets what was committed`, async () => {
      bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-after', times: Infinity });
      const handler = bench.guard(async (op) => {
        try {
          return await op.commit({ result: 'committed', writes: [bench.count(item)] });
        } catch (error) {
          return (error as { code: string }).code;
        }
      }, more);
      expect(await handler({ id: bench.id })).toBe('committed');
      bench.proxy.reset();
      expect(await handler({ id: bench.id })).toBe('committed');
      expect(await times()).toBe(1);
      expect(bench.seen.types()).toEqual(['claim', 'complete', 'replay']);
    });
  }

  test('where it was not applied, the fallback is the answer and keeps a late commit out', async () => {
    bench.proxy.inject({
      operation: 'TransactWriteItems',
      fault: { delayMs: 600 },
      times: Infinity,
    });
    const client = { maxAttempts: 1, requestHandler: { requestTimeout: 50, throwOnRequestTimeout: true } };
    const handler = bench.guard(
      async (op) => {
        try {
          return await op.commit({ result: 'committed', writes: [bench.count(item)] });
        } catch {
          return 'fallback';
        }
      },
      { store: bench.store({ client }) },
    );
    const answer = await handler({ id: bench.id });
    const late = bench.transactions();
    await expect.poll(() => late.every(({ endedAtMs }) => endedAtMs !== undefined)).toBe(true);
    const repeat = await bench.guard(() => 'not run')({ id: bench.id });
    // One of the two was first, and everybody is told the same.
    expect(repeat).toBe(answer);
    expect(await times()).toBe(answer === 'committed' ? 1 : undefined);
  });
});

describe('a second commit in one attempt', () => {
  test('after one that was applied is refused, whatever was lost on the way', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-after' });
    const handler = bench.guard(async (op) => {
      const result = await op.commit({ result: 'first', writes: [bench.count(item)] });
      expect(await failureOf(op.commit({ result: 'second', writes: [bench.count(item)] }))).toMatchObject({
        code: 'BAD_STEP',
      });
      return result;
    });
    expect(await handler({ id: bench.id })).toBe('first');
    expect(await times()).toBe(1);
  });

  test('after one in doubt is refused: either could be applied', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-before', times: 1 });
    const handler = bench.guard(async (op) => {
      // The first sending is lost on the way, the second one rejected: the first may still arrive.
      const writes = [bench.count(item, { ConditionExpression: 'attribute_exists(pk)' })];
      const codes = [(await failureOf(op.commit({ result: 'first', writes }))).code];
      codes.push((await failureOf(op.commit({ result: 'second', writes: [bench.count(item)] }))).code);
      return codes;
    });
    expect(await handler({ id: bench.id })).toEqual(['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN']);
    expect(await times()).toBeUndefined();
  });

  test('after one that was rejected has a token of its own', async () => {
    const handler = bench.guard(async (op) => {
      const writes = [bench.count(item, { ConditionExpression: 'attribute_exists(pk)' })];
      await op.commit({ result: 'first', writes }).catch(() => {});
      return op.commit({ result: 'second', writes: [bench.count(item)] });
    });
    expect(await handler({ id: bench.id })).toBe('second');
    expect(new Set(bench.transactions().map(({ body }) => body.ClientRequestToken)).size).toBe(2);
    expect(await times()).toBe(1);
  });
});

test('a commit that is late for its release is the answer, not a second effect', async () => {
  // All sendings hang in the network, longer than the attempt lasts.
  bench.proxy.inject({ operation: 'TransactWriteItems', fault: { delayMs: 4_000 }, times: 1 });
  bench.proxy.inject({ operation: 'TransactWriteItems', fault: down, times: Infinity });
  const client = { maxAttempts: 1, requestHandler: { requestTimeout: 500, throwOnRequestTimeout: true } };
  const handler = bench.guard(
    (op) => op.commit({ result: `by ${op.attempt}`, writes: [bench.count(item)] }),
    {
      store: bench.store({ client }),
    },
  );
  expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  const [late] = bench.transactions();
  await expect.poll(() => late?.endedAtMs).toBeDefined();
  bench.proxy.reset();
  // It came between the release and the next claim, while the owner was still in the record.
  expect(late?.status).toBe(200);
  expect(await handler({ id: bench.id })).toBe('by 1');
  expect(await times()).toBe(1);
});
