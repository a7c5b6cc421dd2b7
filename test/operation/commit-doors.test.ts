import middy7 from '@middy/core';
import type { Context } from 'aws-lambda';
import middy6 from 'middy6';
import { beforeEach, describe, expect, test } from 'vitest';
import type { HttpResponse, Operation, TransactWrite } from '../../lib/index.ts';
import { eachRecord, idempotent, operation } from '../../lib/index.ts';
import { deferred } from '../support/hands.ts';
import type { HttpCall } from '../support/http-events.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { failureOf, workbench } from '../support/work.ts';

const bench = workbench();
/** A handler's own item, of this test only. */
let item: string;
beforeEach(() => {
  item = `item-${bench.id}`;
});

const down = { status: 500, type: 'InternalServerError' };
const times = async () => (await bench.read(item))?.times;
const mail = (more: object = {}) => ({ destination: 'mail', body: { to: 'ann' }, groupId: 'ann', ...more });
const http = { key: undefined as never };

describe('a commit over HTTP', () => {
  for (const [version, middy] of Object.entries({ 6: middy6, 7: middy7 })) {
    test(`(Middy ${version}) keeps the final answer, with what other middlewares added`, async () => {
      const handler = (middy as typeof middy7)()
        .use(idempotent(bench.options<unknown>(http)))
        .use({
          after: (request) => {
            request.response.headers = { ...request.response.headers, 'X-Added': 'yes', Date: 'now' };
          },
        })
        .handler((_: unknown, context: Context) =>
          operation(context).commit({
            result: { statusCode: 201, headers: {}, body: 'done' },
            writes: [bench.count(item)],
          }),
        );
      const first = await handler(paymentEvent({ key: bench.id }), lambdaContext(60_000));
      const repeat = await handler(paymentEvent({ key: bench.id }), lambdaContext(60_000));
      expect(first.headers).toMatchObject({ 'X-Added': 'yes' });
      expect(repeat).toMatchObject({ statusCode: 201, body: 'done', headers: { 'X-Added': 'yes' } });
      expect(bench.sent()).toEqual([
        'PutItem 200',
        'TransactWriteItems 200',
        'UpdateItem 200',
        'PutItem 400',
      ]);
      expect(await times()).toBe(1);
    });
  }

  const committing = (answer: (committed: object) => unknown, more: object = {}) =>
    bench.guard(
      async (op) => {
        const committed = await op.commit({
          result: { statusCode: 201, body: 'committed' },
          writes: [bench.count(item)],
        });
        return answer(committed);
      },
      { ...http, ...more },
    ) as HttpCall;

  test('that is answered as committed costs no more than the commit', async () => {
    const handler = committing((committed) => committed);
    await handler(paymentEvent({ key: bench.id }));
    expect(bench.sent()).toEqual(['PutItem 200', 'TransactWriteItems 200']);
  });

  test('gives a duplicate in between its own answer', async () => {
    const between = deferred<HttpResponse>();
    const handler = committing(async (committed) => {
      const duplicate = bench.guard(() => 'not run', http) as HttpCall<unknown>;
      between.resolve((await duplicate(paymentEvent({ key: bench.id }))) as HttpResponse);
      return { ...committed, headers: { 'X-Late': '1' } };
    });
    await handler(paymentEvent({ key: bench.id }));
    expect(await between.promise).toMatchObject({ statusCode: 201, body: 'committed' });
    expect((await between.promise).headers).not.toHaveProperty('X-Late');
    expect((await handler(paymentEvent({ key: bench.id }))).headers).toMatchObject({ 'X-Late': '1' });
  });

  test('is not replaced by an answer that is not to be remembered', async () => {
    const handler = committing(() => ({ statusCode: 503, body: 'overloaded' }));
    expect(await handler(paymentEvent({ key: bench.id }))).toMatchObject({ statusCode: 503 });
    expect(await handler(paymentEvent({ key: bench.id }))).toMatchObject({
      statusCode: 201,
      body: 'committed',
    });
    expect(await times()).toBe(1);
  });

  test('is not replaced by an answer that cannot be kept', async () => {
    const handler = committing((committed) => ({ ...committed, body: () => 'a stream' }));
    await handler(paymentEvent({ key: bench.id }));
    expect(await handler(paymentEvent({ key: bench.id }))).toMatchObject({ body: 'committed' });
  });

  test('is what repeats get when the final answer cannot be stored', async () => {
    bench.proxy.inject({ operation: 'UpdateItem', fault: down, times: Infinity });
    const handler = committing((committed) => ({ ...committed, headers: { 'X-Late': '1' } }));
    expect((await handler(paymentEvent({ key: bench.id }))).headers).toEqual({ 'X-Late': '1' });
    expect(bench.seen.types()).toEqual(['claim', 'unrecorded']);
    expect(await handler(paymentEvent({ key: bench.id }))).toMatchObject({
      statusCode: 201,
      body: 'committed',
    });
  });

  test('leaves the window where the commit put it, also in a cache', async () => {
    const handler = committing(
      (committed) => {
        bench.clock.advance(10_000);
        return { ...committed, headers: { 'X-Late': '1' } };
      },
      { ttlSeconds: 100, cache: { maxItems: 10 } },
    );
    await handler(paymentEvent({ key: bench.id }));
    bench.clock.advance(89_000);
    await handler(paymentEvent({ key: bench.id }));
    expect(await times()).toBe(1);
    bench.clock.advance(1_001);
    await handler(paymentEvent({ key: bench.id }));
    expect(await times()).toBe(2);
  });
});

test.each([
  [
    'a commit',
    (op: Operation) => op.commit({ result: 1, write: [] } as never),
    '`.write`, but writes, messages, result',
  ],
  [
    'a transaction',
    (op: Operation) => op.transaction('book', { values: 1 } as never),
    '`.values`, but writes, messages, value',
  ],
  [
    'a commit with data for a name',
    (op: Operation) => op.commit({ result: 1, 'ada@example.com': [] } as never),
    '`[…]`, but',
  ],
])('%s refuses a member that it does not know, which would be left out', async (_, act, message) => {
  const call = bench.guard(act as never, http) as HttpCall;
  expect(await failureOf(call(paymentEvent({ key: bench.id })))).toMatchObject({
    code: 'BAD_WRITES',
    message: expect.stringContaining(message),
  });
  expect(bench.transactions()).toEqual([]);
});

test('a commit or transaction under a claim that is given no object says what to give', async () => {
  for (const none of [null, undefined, 'done']) {
    const acts = [
      (op: Operation) => op.commit(none as never),
      (op: Operation) => op.transaction('book', none as never),
    ];
    for (const act of acts) {
      const call = bench.guard(act, http) as HttpCall;
      const answer = await failureOf(
        call(paymentEvent({ key: `${bench.id}-${String(none)}-${acts.indexOf(act)}` })),
      );
      expect(answer).toMatchObject({
        code: 'BAD_WRITES',
        effect: 'possible',
        message: expect.stringContaining('to be given an object'),
      });
    }
  }
  expect(bench.transactions()).toEqual([]);
});

describe('where there is no record,', () => {
  for (const [what, call] of Object.entries({
    'a GET': () => unguarded(http)(paymentEvent({ key: 'k', method: 'GET' })),
    'an event without a key': () => unguarded({ ...http, required: false })(paymentEvent({ key: null })),
    'a call whose store failed to claim': () => {
      bench.proxy.inject({ operation: 'PutItem', fault: down, times: Infinity });
      return unguarded({ whenStoreFails: 'run' })({ id: bench.id });
    },
  })) {
    test(`${what} commits its writes and messages`, async () => {
      expect(await call()).toBe('done');
      expect(await times()).toBe(1);
      const transaction = bench.transactions()[0];
      expect(transaction?.body.TransactItems).toHaveLength(2);
      const staged = (await bench.table.dump()).filter(({ body }) => body?.S === bench.id);
      expect(staged).toHaveLength(1);
    });
  }

  const unguarded = (more: object) =>
    bench.guard(
      (op) =>
        op.commit({
          result: 'done',
          writes: [bench.count(item)],
          messages: [mail({ body: bench.id })],
        }),
      more,
    ) as HttpCall<unknown>;

  test('a commit or transaction that is given no object says what to give', async () => {
    const given = (act: (op: Operation) => Promise<unknown>) =>
      failureOf((bench.guard(act, http) as HttpCall<unknown>)(paymentEvent({ key: 'k', method: 'GET' })));
    for (const none of [null, undefined, 'done']) {
      for (const act of [
        (op: Operation) => op.commit(none as never),
        (op: Operation) => op.transaction('book', none as never),
      ]) {
        expect(await given(act)).toMatchObject({
          code: 'BAD_WRITES',
          message: expect.stringContaining('to be given an object'),
        });
      }
    }
    expect(bench.sent()).toEqual([]);
  });

  test('a commit of nothing sends nothing', async () => {
    const handler = bench.guard((op) => op.commit({ result: 'done' }), http) as HttpCall<unknown>;
    expect(await handler(paymentEvent({ key: 'k', method: 'GET' }))).toBe('done');
    expect(bench.sent()).toEqual([]);
  });

  test('a rejection, an unknown outcome and bad writes are told as they are', async () => {
    const call = (writes: object[]) =>
      failureOf(
        (
          bench.guard(
            (op) => op.commit({ result: 1, writes: writes as TransactWrite[] }),
            http,
          ) as HttpCall<unknown>
        )(paymentEvent({ key: 'k', method: 'GET' })),
      );
    const rejection = await call([bench.count(item, { ConditionExpression: 'attribute_exists(pk)' })]);
    expect(rejection).toMatchObject({ code: 'COMMIT_REJECTED', rejections: [{ index: 0 }] });
    expect(await call([{ Put: {} }])).toMatchObject({ code: 'BAD_WRITES' });
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: down, times: Infinity });
    expect(await call([bench.count(item)])).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  });

  test('a commit is refused where there is no guard, for there is no store', async () => {
    const handler = eachRecord(async (_record, op) => {
      await op.commit({ result: 1, writes: [bench.count(item)] });
    });
    const answer = await handler({ Records: [sqsRecord('m1')] } as never, lambdaContext(60_000));
    expect(answer).toEqual({ batchItemFailures: [{ itemIdentifier: 'm1' }] });
  });
});

const sqsRecord = (messageId: string, body = messageId) => ({
  ...{ messageId, body, eventSource: 'aws:sqs', eventSourceARN: 'arn:aws:sqs:eu-west-1:1:orders' },
  ...{ receiptHandle: 'r', attributes: {}, messageAttributes: {}, md5OfBody: '', awsRegion: 'eu-west-1' },
});

describe('a commit for each record of a batch', () => {
  test('is applied once, over redeliveries and beside failures', async () => {
    let fails = true;
    const handler = idempotent(
      eachRecord(async (record, op) => {
        if (record.body === 'm2' && fails) throw new Error('failed');
        await op.commit({
          result: undefined,
          writes: [bench.count(`${item}-${record.body}`)],
          messages: [mail({ body: record.body })],
        });
      }),
      { ...bench.options<unknown>(), key: undefined as never },
    ) as HttpCall<unknown>;
    const event = { Records: [sqsRecord('m1'), sqsRecord('m2'), sqsRecord('m3')] };
    expect(await handler(event, lambdaContext(60_000))).toEqual({
      batchItemFailures: [{ itemIdentifier: 'm2' }],
    });
    fails = false;
    expect(await handler(event, lambdaContext(60_000))).toEqual({ batchItemFailures: [] });
    for (const body of ['m1', 'm2', 'm3']) {
      expect(await bench.read(`${item}-${body}`)).toMatchObject({ times: 1 });
    }
  });

  test('may return what it likes: nobody waits for an answer', async () => {
    const handler = idempotent(
      eachRecord(async (_record, op) => {
        await op.commit({ result: 'committed', writes: [bench.count(item)] });
        return 'something else' as never;
      }),
      { ...bench.options<unknown>(), key: undefined as never },
    ) as HttpCall<unknown>;
    const event = { Records: [sqsRecord(bench.id)] };
    expect(await handler(event, lambdaContext(60_000))).toEqual({ batchItemFailures: [] });
    expect(bench.sent()).toEqual(['PutItem 200', 'TransactWriteItems 200']);
  });
});
