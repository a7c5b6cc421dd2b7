import type { SQSRecord } from 'aws-lambda';
import { beforeEach, describe, expect, test } from 'vitest';
import { eachRecord, type IdempotentOptions, idempotent, type Operation } from '../../lib/index.ts';
import { failedIn, sqsEvent, sqsMessage } from '../support/batch-events.ts';
import { deferred, incompressible } from '../support/hands.ts';
import type { HttpCall } from '../support/http-events.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { failureOf, type Order, sdkAttempts, workbench } from '../support/work.ts';

const bench = workbench();
/** A handler's own item, of this test only. */
let item: string;
beforeEach(() => {
  item = `item-${bench.id}`;
});

const down = { status: 500, type: 'InternalServerError' };
const times = async () => (await bench.read(item))?.times;
const atCommit = <Result>(
  work: (op: Operation, order: Order) => Promise<Result> | Result,
  more: IdempotentOptions<Order> = {},
) => bench.guard(work, { claim: 'at-commit', ...more });
const http = { key: undefined as never };

/** Each run of the handler has a result of its own. */
function counting(more: IdempotentOptions<Order> = {}) {
  let runs = 0;
  const handler = atCommit((op) => op.commit({ result: { run: ++runs }, writes: [bench.count(item)] }), more);
  return { handler, runs: () => runs };
}

describe('a claim at the commit', () => {
  test('costs one round trip for a fresh call', async () => {
    expect(await counting().handler({ id: bench.id })).toEqual({ run: 1 });
    expect(bench.sent()).toEqual(['TransactWriteItems 200']);
    expect(bench.seen.types()).toEqual(['complete']);
  });

  test('costs a plain Put without writes and messages', async () => {
    const handler = atCommit((op) => op.commit({ result: 'done' }));
    expect(await handler({ id: bench.id })).toBe('done');
    expect(bench.sent()).toEqual(['PutItem 200']);
    expect(await handler({ id: bench.id })).toBe('done');
    expect(bench.sent()).toEqual(['PutItem 200', 'PutItem 400']);
  });

  test('gives a duplicate, computed in vain, the stored answer', async () => {
    const { handler, runs } = counting();
    await handler({ id: bench.id });
    expect(await handler({ id: bench.id })).toEqual({ run: 1 });
    expect(runs()).toBe(2);
    expect(await times()).toBe(1);
    expect(bench.sent()).toEqual(['TransactWriteItems 200', 'TransactWriteItems 400']);
    expect(bench.seen.types()).toEqual(['complete', 'replay']);
  });

  test('marks the replay over HTTP', async () => {
    let runs = 0;
    const handler = atCommit(
      (op) => op.commit({ result: { statusCode: 201, body: `run ${++runs}` }, writes: [bench.count(item)] }),
      http,
    ) as HttpCall;
    const first = await handler(paymentEvent({ key: bench.id }));
    const repeat = await handler(paymentEvent({ key: bench.id }));
    expect(first).toEqual({ statusCode: 201, body: 'run 1' });
    expect(repeat).toEqual({ ...first, headers: { 'Idempotent-Replayed': 'true' } });
  });

  test('keeps the answer for a key of another payload: 422', async () => {
    const handler = atCommit(
      (op) => op.commit({ result: { statusCode: 201 }, writes: [bench.count(item)] }),
      http,
    ) as HttpCall;
    await handler(paymentEvent({ key: bench.id, body: { amount: 1 } }));
    expect(await handler(paymentEvent({ key: bench.id, body: { amount: 2 } }))).toMatchObject({
      statusCode: 422,
    });
    expect(await times()).toBe(1);
    expect(bench.seen.types()).toEqual(['complete', 'mismatch']);
  });

  test('is refused under a claim that is held: 409', async () => {
    void bench.guard(() => new Promise<never>(() => {}), http)(paymentEvent({ key: bench.id }) as never);
    await expect.poll(() => bench.sent()).toEqual(['PutItem 200']);
    const handler = atCommit(
      (op) => op.commit({ result: { statusCode: 201 }, writes: [bench.count(item)] }),
      http,
    ) as HttpCall;
    expect(await handler(paymentEvent({ key: bench.id }))).toMatchObject({
      statusCode: 409,
      headers: { 'Retry-After': '5' },
    });
    expect(await times()).toBeUndefined();
  });

  test('takes over a claim that was abandoned, and commits as its owner', async () => {
    await bench.crash(() => {});
    bench.proxy.reset();
    const handler = atCommit((op) =>
      op.commit({ result: 'by 2', writes: [bench.count(item)], messages: [message] }),
    );
    expect(await handler({ id: bench.id })).toBe('by 2');
    expect(bench.sent()).toEqual(['TransactWriteItems 400', 'UpdateItem 200', 'TransactWriteItems 200']);
    expect(await bench.claim()).toMatchObject({ status: { S: 'COMPLETED' }, attempt: { N: '2' } });
    expect(await times()).toBe(1);
    expect(bench.seen.types().slice(-2)).toEqual(['takeover', 'complete']);
  });

  test('recognises its own takeover, the answer to which was lost', async () => {
    await bench.crash(() => {});
    bench.proxy.inject({ operation: 'UpdateItem', fault: 'drop-after' });
    const handler = atCommit((op) => op.commit({ result: 'by 2', writes: [bench.count(item)] }));
    expect(await handler({ id: bench.id })).toBe('by 2');
    expect(await times()).toBe(1);
    expect(await bench.claim()).toMatchObject({ status: { S: 'COMPLETED' }, attempt: { N: '2' } });
  });

  test('gives a takeover back of which all answers were lost', async () => {
    await bench.crash(() => {});
    bench.proxy.inject({ operation: 'UpdateItem', fault: 'drop-after', times: sdkAttempts });
    const handler = atCommit((op) => op.commit({ result: 'done', writes: [bench.count(item)] }));
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(await times()).toBeUndefined();
    expect(await handler({ id: bench.id })).toBe('done');
  });

  test('begins a new window where the old one is over', async () => {
    const { handler } = counting();
    await handler({ id: bench.id });
    bench.clock.advance(86_400_001);
    expect(await handler({ id: bench.id })).toEqual({ run: 2 });
    expect(await times()).toBe(2);
    bench.clock.advance(86_399_000);
    expect(await handler({ id: bench.id })).toEqual({ run: 2 });
  });

  test('dates the window from the commit, not from the call', async () => {
    const handler = atCommit((op) => {
      bench.clock.advance(50_000);
      return op.commit({ result: 1, writes: [bench.count(item)] });
    });
    await handler({ id: bench.id });
    expect((await bench.claim())?.createdAt?.N).toBe(String(bench.clock.now()));
  });

  test('keeps a result over 4 KB in chunks', async () => {
    const result = incompressible(9_000);
    const handler = atCommit((op) => op.commit({ result, writes: [bench.count(item)] }));
    expect((await handler({ id: bench.id })) === result).toBe(true);
    expect((await handler({ id: bench.id })) === result).toBe(true);
    expect(await times()).toBe(1);
  });

  test('answers from a cache without a request and without running the handler', async () => {
    const { handler, runs } = counting({ cache: { maxItems: 10 } });
    await handler({ id: bench.id });
    expect(await handler({ id: bench.id })).toEqual({ run: 1 });
    expect(runs()).toBe(1);
    expect(bench.sent()).toHaveLength(1);
    expect(bench.seen.types()).toEqual(['complete', 'replay']);
  });

  test('refuses by a cache, without running the handler, a key of another payload', async () => {
    const { handler, runs } = counting({ cache: { maxItems: 10 } });
    await handler({ id: bench.id, amount: 1 });
    expect(await failureOf(handler({ id: bench.id, amount: 2 }))).toMatchObject({ code: 'PAYLOAD_MISMATCH' });
    expect(runs()).toBe(1);
    expect(bench.sent()).toHaveLength(1);
    expect(bench.seen.types()).toEqual(['complete', 'mismatch']);
  });

  test('knows by a cache the records of a batch that were done', async () => {
    const runs: string[] = [];
    const handler = idempotent(
      eachRecord(async ({ messageId }, op) => {
        runs.push(messageId);
        return op.commit({ result: undefined, writes: [bench.count(item)] });
      }),
      bench.options<unknown>({
        claim: 'at-commit',
        key: (record) => (record as SQSRecord).messageId,
        cache: { maxItems: 10 },
      }),
    );
    const event = sqsEvent(sqsMessage(bench.id));
    for (let delivery = 0; delivery < 2; delivery++) {
      expect(failedIn(await handler(event, lambdaContext()))).toEqual([]);
    }
    expect(runs).toEqual([bench.id]);
    expect(bench.sent()).toEqual(['TransactWriteItems 200']);
  });

  const message = { destination: 'mail', body: 'm', groupId: 'g' };

  for (const [what, work] of Object.entries({
    'with writes': () => ({ writes: [bench.count(item)] }),
    'without writes': () => ({}),
    'with messages': () => ({ messages: [message] }),
  })) {
    test(`of twenty duplicates at once, ${what}, has one effect and one answer`, async () => {
      let runs = 0;
      const handler = atCommit((op) => op.commit({ result: ++runs, ...work() }));
      const call = async (): Promise<number> => {
        try {
          return await handler({ id: bench.id });
        } catch (error) {
          if (!['STORE_UNAVAILABLE', 'OUTCOME_UNKNOWN'].includes((error as { code?: string }).code ?? ''))
            throw error;
          return call();
        }
      };
      const all = await Promise.all(Array.from({ length: 20 }, call));
      expect(new Set(all).size).toBe(1);
      if (what === 'with writes') expect(await times()).toBe(1);
      if (what === 'with messages') {
        const staged = (await bench.records()).filter((one) => one.sk?.S?.includes('#outbox#'));
        expect(staged).toHaveLength(1);
      }
    });
  }

  test('tells a duplicate whose answer is not available: RESULT_UNAVAILABLE, over HTTP 410', async () => {
    const handler = atCommit(
      (op) =>
        op.commit({ result: { statusCode: 200, body: () => 1 } as object, writes: [bench.count(item)] }),
      http,
    ) as HttpCall;
    await handler(paymentEvent({ key: bench.id }));
    expect(await handler(paymentEvent({ key: bench.id }))).toMatchObject({ statusCode: 410 });
    expect(await times()).toBe(1);
  });
});

describe('a condition of a commit that claims', () => {
  const once = { ConditionExpression: 'attribute_not_exists(pk)' };

  test('that fails for a duplicate as well does not hide the stored answer', async () => {
    let runs = 0;
    const handler = atCommit((op) =>
      op.commit({ result: { run: ++runs }, writes: [bench.count(item, once)] }),
    );
    await handler({ id: bench.id });
    expect(await handler({ id: bench.id })).toEqual({ run: 1 });
  });

  test('that fails for a first call is COMMIT_REJECTED, and the answer to that is put', async () => {
    await bench.write(item, { is: 'taken' });
    let runs = 0;
    const handler = atCommit(async (op) => {
      runs++;
      try {
        return await op.commit({ result: 'created', writes: [bench.count(item, once)] });
      } catch (error) {
        return (error as { code: string }).code;
      }
    });
    expect(await handler({ id: bench.id })).toBe('COMMIT_REJECTED');
    expect(bench.sent()).toEqual(['TransactWriteItems 400', 'PutItem 200']);
    expect(await handler({ id: bench.id })).toBe('COMMIT_REJECTED');
    expect(runs).toBe(2);
    expect(await bench.claim()).toMatchObject({ status: { S: 'COMPLETED' } });
  });

  test('that fails and is not caught leaves nothing behind', async () => {
    await bench.write(item, { is: 'taken' });
    const handler = atCommit((op) => op.commit({ result: 1, writes: [bench.count(item, once)] }));
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'COMMIT_REJECTED' });
    expect(bench.sent()).toEqual(['TransactWriteItems 400']);
  });

  test('that fails may be followed by another commit', async () => {
    await bench.write(item, { is: 'taken' });
    const handler = atCommit(async (op) => {
      try {
        return await op.commit({ result: 1, writes: [bench.count(item, once)] });
      } catch {
        return op.commit({ result: 2, writes: [bench.count(`${item}-2`)] });
      }
    });
    expect(await handler({ id: bench.id })).toBe(2);
    expect(await handler({ id: bench.id })).toBe(2);
    expect(await bench.read(`${item}-2`)).toMatchObject({ times: 1 });
  });
});

describe('a handler that claims at its commit has no effect outside of it:', () => {
  for (const [what, work] of Object.entries<(op: Operation) => unknown>({
    step: (op) => op.step('step', () => 1),
    transaction: (op) => op.transaction('transaction', { value: 1 }),
    token: async (op) => op.token('token'),
  })) {
    test(`${what}() is refused`, async () => {
      const error = await failureOf(atCommit(work)({ id: bench.id }));
      expect(error).toMatchObject({ code: 'BAD_STEP' });
      expect(error.message).toContain(`${what}()`);
      expect(bench.sent()).toEqual([]);
    });
  }

  test('step() is refused after a takeover, too', async () => {
    await bench.crash(() => {});
    await bench.write(item, { is: 'taken' });
    const handler = atCommit(async (op) => {
      const writes = [bench.count(item, { ConditionExpression: 'attribute_not_exists(pk)' })];
      await op.commit({ result: 1, writes }).catch(() => {});
      return op.step('step', () => 1);
    });
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'BAD_STEP' });
  });

  test('a return without a commit is NOT_COMMITTED, whatever `remember` says', async () => {
    for (const remember of [() => true, () => false]) {
      const handler = atCommit(() => 'done', { remember });
      expect(await failureOf(handler({ id: bench.id }))).toMatchObject({
        code: 'NOT_COMMITTED',
        effect: 'possible',
      });
    }
    expect(bench.sent()).toEqual([]);
  });

  test('a status of 400 and up without a commit is put, if it is remembered', async () => {
    let runs = 0;
    const answering = (statusCode: number) =>
      atCommit(() => ({ statusCode, body: `run ${++runs}` }), http) as HttpCall;
    expect(await answering(404)(paymentEvent({ key: bench.id }))).toMatchObject({ statusCode: 404 });
    expect(await answering(404)(paymentEvent({ key: bench.id }))).toMatchObject({
      body: 'run 1',
      headers: { 'Idempotent-Replayed': 'true' },
    });
    expect(bench.sent()).toEqual(['PutItem 200', 'PutItem 400']);
    bench.proxy.reset();
    const other = `${bench.id}-other`;
    expect(await answering(429)(paymentEvent({ key: other }))).toMatchObject({ statusCode: 429 });
    expect(await failureOf(answering(200)(paymentEvent({ key: other })))).toMatchObject({
      code: 'NOT_COMMITTED',
    });
    expect(bench.sent()).toEqual([]);
  });

  test('an error leaves nothing behind', async () => {
    const handler = atCommit(() => Promise.reject(new Error('failed')));
    await expect(handler({ id: bench.id })).rejects.toThrow('failed');
    expect(bench.sent()).toEqual([]);
  });
});

describe('a lost answer to a commit that claims', () => {
  for (const lost of [1, sdkAttempts + 1]) {
    test(`(${lost} times) leaves one application`, async () => {
      bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-after', times: lost });
      const { handler } = counting();
      expect(await handler({ id: bench.id })).toEqual({ run: 1 });
      expect(await times()).toBe(1);
    });
  }

  test('without writes is recognised by the record', async () => {
    bench.proxy.inject({ operation: 'PutItem', fault: 'drop-after', times: sdkAttempts + 1 });
    const resolved: string[] = [];
    const handler = atCommit(async (op) => {
      resolved.push(await op.commit({ result: 'done' }));
      return 'done';
    });
    expect(await handler({ id: bench.id })).toBe('done');
    expect(resolved).toEqual(['done']);
    expect(bench.seen.types()).toEqual(['complete']);
  });

  test('to the end is found out by a read', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-after', times: Infinity });
    const { handler } = counting();
    expect(await handler({ id: bench.id })).toEqual({ run: 1 });
    expect(bench.sent().at(-1)).toBe('GetItem 200');
  });

  test('to the end that was not applied is OUTCOME_UNKNOWN, and the same key runs', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: down, times: Infinity });
    const { handler } = counting();
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    bench.proxy.reset();
    expect(await handler({ id: bench.id })).toEqual({ run: 2 });
    expect(await times()).toBe(1);
  });
});

describe('in a batch that claims at its commits,', () => {
  const sqsEvent = (...ids: string[]) => ({
    Records: ids.map((messageId) => ({
      ...{ messageId, body: messageId, eventSource: 'aws:sqs', eventSourceARN: 'arn:aws:sqs:eu-west-1:1:q' },
      ...{ receiptHandle: 'r', attributes: {}, messageAttributes: {}, md5OfBody: '', awsRegion: 'x' },
    })),
  });
  const batch = (work: (record: SQSRecord, op: Operation) => Promise<unknown>) =>
    idempotent(eachRecord(work as never), {
      ...bench.options<unknown>({ claim: 'at-commit' }),
      key: undefined as never,
    }) as HttpCall<unknown>;

  test('each record is committed by itself, once', async () => {
    const handler = batch((record, op) =>
      op.commit({ result: undefined, writes: [bench.count(`${item}-${record.body}`)] }),
    );
    const event = sqsEvent('m1', 'm2', 'm3');
    for (const _ of [1, 2]) {
      expect(await handler(event, lambdaContext(60_000))).toEqual({ batchItemFailures: [] });
    }
    for (const body of ['m1', 'm2', 'm3']) {
      expect(await bench.read(`${item}-${body}`)).toMatchObject({ times: 1 });
    }
    expect(bench.sent()).toHaveLength(6);
  });

  test('a record whose handler does not commit is reported', async () => {
    const handler = batch(async (record, op) => {
      if (record.body !== 'm2') await op.commit({ result: undefined });
    });
    expect(await handler(sqsEvent('m1', 'm2', 'm3'), lambdaContext(60_000))).toEqual({
      batchItemFailures: [{ itemIdentifier: 'm2' }],
    });
  });
});

describe('a fallback answer after a commit in doubt', () => {
  const fallback = (more: IdempotentOptions<Order> = {}) =>
    atCommit(async (op) => {
      try {
        return await op.commit({ result: 'committed', writes: [bench.count(item)] });
      } catch {
        return 'fallback';
      }
    }, more);

  for (const [what, more] of [
    ['remembered', {}],
    ['not remembered', { remember: () => false }],
  ] as const) {
    test(`gives way to what was committed (${what})`, async () => {
      bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-after', times: Infinity });
      const handler = fallback(more);
      expect(await handler({ id: bench.id })).toBe('committed');
      bench.proxy.reset();
      expect(await handler({ id: bench.id })).toBe('committed');
      expect(await times()).toBe(1);
    });
  }

  test('is the answer where nothing was committed, and keeps a late commit out', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: down, times: Infinity });
    const handler = fallback();
    expect(await handler({ id: bench.id })).toBe('fallback');
    bench.proxy.reset();
    expect(await handler({ id: bench.id })).toBe('fallback');
    expect(await times()).toBeUndefined();
  });
});

describe('an attempt that claims at its commit', () => {
  test('does not wait for one that runs beside it: the first to commit wins', async () => {
    const goOn = deferred();
    const slow = atCommit(async (op) => {
      await goOn.promise;
      return op.commit({ result: 'slow', writes: [bench.count(item)] });
    })({ id: bench.id });
    const fast = atCommit((op) => op.commit({ result: 'fast', writes: [bench.count(item)] }));
    expect(await fast({ id: bench.id })).toBe('fast');
    goOn.resolve();
    expect(await slow).toBe('fast');
    expect(await times()).toBe(1);
  });
});
