import { DynamoDBClient, TransactWriteItemsCommand } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient, GetCommand } from '@aws-sdk/lib-dynamodb';
import { mockClient } from 'aws-sdk-client-mock';
import { beforeEach, describe, expect, test } from 'vitest';
import { createOnce, dynamoStore, type Store, type TransactWrite, updateVersion } from '../../lib/index.ts';
import { clientFor, dynamodbEndpoint } from '../support/dynamodb.ts';
import { contextWith, deferred, httpEvent, incompressible } from '../support/hands.ts';
import { failureOf, sdkAttempts, workbench } from '../support/work.ts';

const bench = workbench();
/** A handler's own item, of this test only. */
let item: string;
beforeEach(() => {
  item = `item-${bench.id}`;
});

const down = { status: 500, type: 'InternalServerError' };
const cancelledFor = (...codes: string[]) => ({
  status: 400,
  type: 'TransactionCanceledException',
  fields: { CancellationReasons: codes.map((Code) => ({ Code })) },
});
const times = async () => (await bench.read(item))?.times;
const bodies = () => new Set(bench.transactions().map(({ body }) => JSON.stringify(body)));

describe('a transaction', () => {
  test('resolves to its value, and its writes, its messages and its record are one request', async () => {
    const handler = bench.guard((op) =>
      op.transaction('reserve', {
        writes: [bench.count(item)],
        messages: [{ destination: 'mail', body: { hello: 1 }, groupId: 'g' }],
        value: { reserved: 1 },
      }),
    );
    expect(await handler({ id: bench.id })).toEqual({ reserved: 1 });
    expect(bench.sent()).toEqual(['PutItem 200', 'TransactWriteItems 200', 'UpdateItem 200']);
    expect(await times()).toBe(1);
    expect((await bench.messages())[0]).toMatchObject({
      destination: { S: 'mail' },
      body: { S: '{"hello":1}' },
      groupId: { S: 'g' },
    });
  });

  test('needs no value', async () => {
    const handler = bench.guard((op) => op.transaction('reserve', { writes: [bench.count(item)] }));
    expect(await handler({ id: bench.id })).toBeUndefined();
  });

  test('is applied once over crashes, and its value is recalled', async () => {
    await bench.crash((op) => op.transaction('reserve', { writes: [bench.count(item)], value: 'by 1' }));
    const again = bench.guard((op) =>
      op.transaction('reserve', { writes: [bench.count(item)], value: 'by 2' }),
    );
    expect(await again({ id: bench.id })).toBe('by 1');
    expect(await times()).toBe(1);
    expect(bench.transactions()).toHaveLength(1);
  });

  test('takes values as the client of the store has them converted', async () => {
    const documents = DynamoDBDocumentClient.from(clientFor(dynamodbEndpoint()), {
      marshallOptions: { convertEmptyValues: true, convertClassInstanceToMap: true },
      unmarshallOptions: { wrapNumbers: true },
    });
    // From its first command on a document client's options are set for attributes, not for items.
    await documents.send(new GetCommand({ TableName: bench.own.tableName, Key: { pk: item, sk: 'own' } }));
    const store = dynamoStore({ tableName: bench.table.tableName, client: documents, clock: bench.clock });
    class Money {
      cents = 5;
    }
    const Item = { pk: item, sk: 'own', empty: '', money: new Money(), tags: new Set(['a']), left: 1 };
    await bench.guard((op) => op.transaction('put', { writes: [put(Item)] }), { store })({ id: bench.id });
    expect(await bench.read(item)).toMatchObject({
      empty: null,
      money: { cents: 5 },
      tags: new Set(['a']),
    });
    const again = bench.guard((op) => op.transaction('put', { writes: [put(Item, ifNew)] }), { store });
    const error = await failureOf(again({ id: `${bench.id}-2` }));
    expect(error.message).toContain('number 0');
    expect(error.rejections[0].item.left).toEqual({ value: '1' });
  });

  test('takes sets, bytes, bigints and nothing for undefined from a native client', async () => {
    const Item = {
      ...{ pk: item, sk: 'own', tags: new Set(['a']), count: 12345678901234567890n },
      ...{ bytes: Buffer.from('x'), nothing: undefined, nested: { gone: undefined, list: [1] } },
    };
    await bench.guard((op) => op.transaction('put', { writes: [put(Item)] }))({ id: bench.id });
    const stored = await bench.own.dump();
    expect(stored.find(({ pk }) => pk?.S === item)).toEqual({
      pk: { S: item },
      sk: { S: 'own' },
      tags: { SS: ['a'] },
      count: { N: '12345678901234567890' },
      bytes: { B: Uint8Array.from(Buffer.from('x')) },
      nested: { M: { list: { L: [{ N: '1' }] } } },
    });
  });

  test('takes the entries of createOnce and updateVersion', async () => {
    const tableName = bench.own.tableName;
    const key = { pk: item, sk: 'own' };
    await bench.guard((op) =>
      op.transaction('create', {
        writes: [
          createOnce.write({ tableName, partitionKey: 'pk', item: { ...key, version: 'v1', left: 2 } }),
        ],
      }),
    )({ id: `${bench.id}-1` });
    const reserve = bench.guard((op) =>
      op.commit({
        result: 'reserved',
        writes: [updateVersion.write({ tableName, key, version: 'v1', set: { left: 1 }, newVersion: 'v2' })],
      }),
    );
    expect(await reserve({ id: `${bench.id}-2` })).toBe('reserved');
    expect(await bench.read(item)).toMatchObject({ version: 'v2', left: 1 });
    const error = await failureOf(reserve({ id: `${bench.id}-3` }));
    expect(error).toMatchObject({
      code: 'COMMIT_REJECTED',
      rejections: [{ index: 0, code: 'ConditionalCheckFailed', item: { version: 'v2', left: 1 } }],
    });
  });
});

const ifNew = { ConditionExpression: 'attribute_not_exists(pk)' };
const put = (Item: Record<string, unknown>, more: object = {}): TransactWrite => ({
  Put: { TableName: bench.own.tableName, Item, ...more },
});

describe('a lost answer to a transaction', () => {
  for (const lost of [1, sdkAttempts, sdkAttempts + 1]) {
    test(`(${lost} times) leaves one application: the same request is sent again, byte by byte`, async () => {
      bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-after', times: lost });
      const handler = bench.guard((op) =>
        op.transaction('reserve', {
          writes: [bench.count(item)],
          messages: [{ destination: 'mail', body: 'm', groupId: 'g' }],
          value: 'reserved',
        }),
      );
      expect(await handler({ id: bench.id })).toBe('reserved');
      expect(await times()).toBe(1);
      expect(bench.transactions()).toHaveLength(lost + 1);
      expect(bodies().size).toBe(1);
      const token = bench.transactions()[0]?.body.ClientRequestToken;
      expect(token.length).toBeLessThanOrEqual(36);
    });
  }

  test('is recognised by the record of the step where the token is forgotten', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-after', times: sdkAttempts });
    const store = bench.store();
    const forgetful: Store = {
      ...store,
      async transact(request) {
        const first = await store.transact(request);
        // As DynamoDB is ten minutes later: the same request is judged anew.
        const later = await store.transact({ ...request, token: 'another' });
        let sendings = 0;
        return { send: () => (++sendings === 1 ? first : later).send() };
      },
    };
    const handler = bench.guard(
      (op) => op.transaction('reserve', { writes: [bench.count(item)], value: 'reserved' }),
      { store: forgetful },
    );
    expect(await handler({ id: bench.id })).toBe('reserved');
    expect(bench.transactions().at(-1)?.status).toBe(400);
    expect(await times()).toBe(1);
  });
});

describe('a request that never arrived', () => {
  test('is sent again', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-before', times: sdkAttempts + 2 });
    const handler = bench.guard((op) => op.transaction('reserve', { writes: [bench.count(item)] }));
    await handler({ id: bench.id });
    expect(await times()).toBe(1);
    expect(bodies().size).toBe(1);
  });
});

describe('an outcome that stays unknown', () => {
  const applied = { operation: 'TransactWriteItems', fault: 'drop-after', times: Infinity } as const;
  const notApplied = { operation: 'TransactWriteItems', fault: down, times: Infinity } as const;

  test('is OUTCOME_UNKNOWN, never success, and nothing further may begin', async () => {
    bench.proxy.inject(applied);
    const codes: string[] = [];
    const handler = bench.guard(async (op) => {
      const tried = async (work: () => unknown) => {
        try {
          await work();
          codes.push('none');
        } catch (error) {
          codes.push((error as { code: string }).code);
        }
      };
      await tried(() => op.transaction('reserve', { writes: [bench.count(item)] }));
      await tried(() => op.step('step', () => 1));
      await tried(() => op.transaction('other', { writes: [bench.count(item)] }));
      await tried(() => op.commit({ result: 1 }));
      await tried(() => op.token('token'));
      throw new Error('gives up');
    });
    await expect(handler({ id: bench.id })).rejects.toThrow('gives up');
    expect(codes).toEqual(Array(5).fill('OUTCOME_UNKNOWN'));
  });

  test('is found out with the same key: applied is recalled', async () => {
    bench.proxy.inject(applied);
    const handler = bench.guard((op) =>
      op.transaction('reserve', { writes: [bench.count(item)], value: `by ${op.attempt}` }),
    );
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({
      code: 'OUTCOME_UNKNOWN',
      effect: 'possible',
      retryAfterSeconds: 1,
    });
    bench.proxy.reset();
    expect(await handler({ id: bench.id })).toBe('by 1');
    expect(await times()).toBe(1);
  });

  test('is found out with the same key: not applied runs', async () => {
    bench.proxy.inject(notApplied);
    const handler = bench.guard((op) =>
      op.transaction('reserve', { writes: [bench.count(item)], value: `by ${op.attempt}` }),
    );
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    bench.proxy.reset();
    expect(await handler({ id: bench.id })).toBe('by 2');
    expect(await times()).toBe(1);
  });

  test('is a 503 with Retry-After over HTTP', async () => {
    bench.proxy.inject(notApplied);
    const handler = bench.guard((op) => op.transaction('reserve', { writes: [bench.count(item)] }), {
      key: undefined as never,
    }) as any;
    const answer = await handler(httpEvent(bench.id));
    expect(answer).toMatchObject({ statusCode: 503, headers: { 'Retry-After': '1' } });
    expect(JSON.parse(answer.body)).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  });

  test('a request that arrives after the next attempt has begun is not applied', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: { delayMs: 3_000 }, times: Infinity });
    const client = { maxAttempts: 1, requestHandler: { requestTimeout: 100, throwOnRequestTimeout: true } };
    const deadline = Date.now() + 700;
    const handler = bench.guard(
      (op) => op.transaction('reserve', { writes: [bench.count(item)], value: `by ${op.attempt}` }),
      { store: bench.store({ client }) },
    );
    const error = await failureOf(
      handler(
        { id: bench.id },
        contextWith(() => deadline - Date.now()),
      ),
    );
    expect(error).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    const late = bench.transactions();
    bench.clock.advance(61_000);
    // What comes later is not delayed.
    const next = bench.guard(async (op) => {
      await expect.poll(() => late.every(({ endedAtMs }) => endedAtMs !== undefined)).toBe(true);
      return op.attempt;
    });
    expect(await next({ id: bench.id })).toBe(2);
    expect(new Set(late.map(({ status }) => status))).toEqual(new Set([400]));
    expect(await times()).toBeUndefined();
  });
});

describe('a rejection after a sending that was not answered', () => {
  test('is in doubt: the first one may arrive when the conditions hold', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-before' });
    await bench.write(item, { left: 0 });
    const handler = bench.guard((op) =>
      op.transaction('reserve', {
        writes: [bench.count(item, { ConditionExpression: 'times > :one' })],
      }),
    );
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'COMMIT_REJECTED' });
  });
});

describe('a transaction that met another one', () => {
  test('is sent again after a pause, and succeeds', async () => {
    bench.proxy.inject({
      operation: 'TransactWriteItems',
      fault: cancelledFor('None', 'None', 'TransactionConflict'),
      times: 2,
    });
    const handler = bench.guard((op) =>
      op.transaction('reserve', { writes: [bench.count(item)], value: 'reserved' }),
    );
    const beforeMs = bench.clock.now();
    expect(await handler({ id: bench.id })).toBe('reserved');
    expect(await times()).toBe(1);
    expect(bodies().size).toBe(1);
    expect(bench.clock.now() - beforeMs).toBeGreaterThan(50);
    expect(bench.clock.now() - beforeMs).toBeLessThan(150);
  });

  test('is sent again before the conditions of the handler count', async () => {
    bench.proxy.inject({
      operation: 'TransactWriteItems',
      fault: cancelledFor('None', 'None', 'ConditionalCheckFailed', 'TransactionConflict'),
    });
    const handler = bench.guard((op) =>
      op.transaction('reserve', { writes: [bench.count(item), bench.count(`${item}-2`)], value: 'reserved' }),
    );
    expect(await handler({ id: bench.id })).toBe('reserved');
  });

  test('is not sent again once the claim is lost: that counts first', async () => {
    bench.proxy.inject({
      operation: 'TransactWriteItems',
      fault: cancelledFor('ConditionalCheckFailed', 'None', 'TransactionConflict'),
      times: Infinity,
    });
    const handler = bench.guard((op) => op.transaction('reserve', { writes: [bench.count(item)] }));
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'OVERTAKEN' });
    expect(bench.transactions()).toHaveLength(1);
  });

  test('and another one for as long as there is time is STORE_UNAVAILABLE: nothing was written', async () => {
    bench.proxy.inject({
      operation: 'TransactWriteItems',
      fault: cancelledFor('TransactionConflict', 'None', 'None'),
      times: Infinity,
    });
    const handler = bench.guard((op) => op.transaction('reserve', { writes: [bench.count(item)] }));
    const error = await failureOf(handler({ id: bench.id }));
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', retryAfterSeconds: 1 });
    expect(error.cause.message).toContain('not applied');
    expect(await times()).toBeUndefined();
    bench.proxy.reset();
    await handler({ id: bench.id });
    expect(await times()).toBe(1);
  });

  test('in progress under its own token is waited for, for six seconds at least', async () => {
    const fault = { status: 400, type: 'TransactionInProgressException' };
    bench.proxy.inject({ operation: 'TransactWriteItems', fault, times: 5 });
    // The SDK would repeat it too, in real time.
    const store = bench.store({ client: { maxAttempts: 1 } });
    const handler = bench.guard(
      (op) => op.transaction('reserve', { writes: [bench.count(item)], value: 'reserved' }),
      { store },
    );
    expect(await handler({ id: bench.id })).toBe('reserved');
    expect(await times()).toBe(1);

    bench.proxy.inject({ operation: 'TransactWriteItems', fault, times: Infinity });
    const startedMs = bench.clock.now();
    const other = { id: `${bench.id}-other` };
    expect(await failureOf(handler(other))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(bench.clock.now() - startedMs).toBeGreaterThan(6_000);
  });
});

describe('a token that was used for another request', () => {
  const mismatch = { status: 400, type: 'IdempotentParameterMismatchException' };

  test('reads the claim: still ours is an unknown outcome, without sending again', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: mismatch, times: Infinity });
    const handler = bench.guard((op) => op.transaction('reserve', { writes: [bench.count(item)] }));
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(bench.sent().slice(1)).toEqual(['TransactWriteItems 400', 'GetItem 200', 'UpdateItem 200']);
  });

  test('reads the claim: overtaken is OVERTAKEN', async () => {
    const paused = deferred();
    const started = deferred();
    const first = bench.guard(
      async (op) => {
        started.resolve();
        await paused.promise;
        await op.transaction('reserve', { writes: [bench.count(item)] });
      },
      { lease: { seconds: 3_600 } },
    )({ id: bench.id });
    await started.promise;
    const { pk, owner } = (await bench.claim()) ?? {};
    await bench.store().takeOver({
      pk: pk?.S ?? '',
      previousOwner: owner?.S ?? '',
      owner: 'another',
      attempt: 2,
      leaseUntilMs: bench.clock.now() + 60_000,
    });
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: mismatch, times: Infinity });
    paused.resolve();
    expect(await failureOf(first)).toMatchObject({ code: 'OVERTAKEN' });
  });

  test('reads the claim: what cannot be read is unknown', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: mismatch, times: Infinity });
    bench.proxy.inject({ operation: 'GetItem', fault: down, times: Infinity });
    const handler = bench.guard((op) => op.transaction('reserve', { writes: [bench.count(item)] }));
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  });
});

describe('an overtaken attempt', () => {
  test('writes nothing, and its caller is told', async () => {
    const started = deferred();
    const goOn = deferred();
    const first = bench.guard(
      async (op) => {
        started.resolve();
        await goOn.promise;
        return op.transaction('reserve', { writes: [bench.count(item)] });
      },
      { lease: { seconds: 3_600 } },
    )({ id: bench.id });
    await started.promise;
    // Its clock is an hour behind: it does not know that its lease is over.
    bench.clock.advance(3_600_000);
    const second = deferred();
    const call = bench.guard(() => second.promise)({ id: bench.id });
    await expect.poll(async () => (await bench.claim())?.attempt?.N).toBe('2');
    bench.clock.advance(-3_600_000);
    goOn.resolve();
    expect(await failureOf(first)).toMatchObject({ code: 'OVERTAKEN', effect: 'possible' });
    expect(bench.sent()).toContain('TransactWriteItems 400');
    expect(await times()).toBeUndefined();
    second.resolve();
    await call;
  });
});

describe('what DynamoDB would refuse', () => {
  const refusal = async (work: { writes?: readonly unknown[]; messages?: readonly unknown[] }) => {
    const handler = bench.guard((op) => op.transaction('t', work as never));
    const error = await failureOf(handler({ id: bench.id }));
    expect(error).toMatchObject({ code: 'BAD_WRITES', effect: 'possible' });
    return error.message as string;
  };
  const refusedUnsent = async (work: Parameters<typeof refusal>[0]) => {
    const message = await refusal(work);
    expect(bench.transactions()).toEqual([]);
    return message;
  };
  const counts = (amount: number) =>
    Array.from({ length: amount }, (_, index) => bench.count(`${item}-${index}`));
  const message = { destination: 'mail', body: 'm', groupId: 'g' };

  test('is refused before it is sent: more than 100 items, with messages and our own two', async () => {
    expect(await refusedUnsent({ writes: counts(99) })).toContain('101');
    const mixed = await refusedUnsent({ writes: counts(48), messages: Array(51).fill(message) });
    expect(mixed).toContain('48 writes, 51 messages and 2 of the record');
  });

  test('is refused before anything of a large result is stored', async () => {
    const handler = bench.guard((op) =>
      op.commit({ result: incompressible(10_000), writes: counts(100) as never }),
    );
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'BAD_WRITES' });
    expect(bench.sent()).toEqual(['PutItem 200', 'UpdateItem 200']);
  });

  test('is not refused at 100', async () => {
    await bench.guard((op) => op.transaction('t', { writes: counts(98) }))({ id: bench.id });
    expect(bench.sent()).toContain('TransactWriteItems 200');
  });

  test('is refused before it is sent: more than 4 MB', async () => {
    const large = Array.from({ length: 11 }, (_, index) =>
      put({ pk: `${item}-${index}`, sk: 'own', text: 'x'.repeat(390_000) }),
    );
    expect(await refusedUnsent({ writes: large })).toContain('4194304 bytes');
  });

  const key = () => ({ TableName: bench.own.tableName, Key: { pk: item, sk: 'own' } });
  const same = {
    Put: () => put({ pk: item, sk: 'own', is: 'put' }),
    Update: () => bench.count(item),
    Delete: (): TransactWrite => ({ Delete: key() }),
    ConditionCheck: (): TransactWrite => ({
      ConditionCheck: { ...key(), ConditionExpression: 'attribute_exists(pk)' },
    }),
  };
  for (const [left, one] of Object.entries(same)) {
    for (const [right, other] of Object.entries(same)) {
      test(`is refused before it is sent: ${left} and ${right} of one item`, async () => {
        const message = await refusedUnsent({ writes: [bench.count(`${item}-2`), one(), other()] });
        expect(message).toContain('Writes 1 and 2');
      });
    }
  }

  test('is refused by DynamoDB where only it can know: two Puts of one item', async () => {
    const message = await refusal({
      writes: [put({ pk: item, sk: 'own', a: 1 }), put({ pk: item, sk: 'own', b: 2 })],
    });
    expect(message).toContain('nothing was written');
    expect(await bench.read(item)).toBeUndefined();
  });

  test('is not refused: the same key in two tables, other sort keys', async () => {
    const other = { ...same.Update().Update!, TableName: bench.table.tableName };
    await bench.guard((op) =>
      op.transaction('t', {
        writes: [same.Update(), { Update: other }, put({ pk: item, sk: 'other' })],
      }),
    )({ id: bench.id });
    expect(bench.sent()).toContain('TransactWriteItems 200');
  });

  for (const [what, writes, says] of [
    ['no writes at all', 'x', 'Expected `writes` to be an array'],
    ['a write that is no object', [7], 'Write 0 must have one of Put'],
    ['two actions in one write', [{ Put: {}, Delete: {} }], 'Write 0 must have one of Put'],
    ['an unknown action', [{ Get: {} }], 'got an object with none of them'],
    ['no table', [{ Put: { Item: { pk: 'a' } } }], 'Write 0 (Put) has no TableName'],
    ['no item', [{ Put: { TableName: 't' } }], 'Write 0 (Put) has no Item'],
    ['no key', [{ Delete: { TableName: 't' } }], 'Write 0 (Delete) has no Key'],
    [
      'a date',
      [{ Put: { TableName: 't', Item: { pk: 'a', at: new Date() } } }],
      'Write 0 (Put) has a value that DynamoDB cannot hold',
    ],
    [
      'a class instance',
      [{ Put: { TableName: 't', Item: { pk: 'a', at: new (class Money {})() } } }],
      'Write 0 (Put) has a value that DynamoDB cannot hold',
    ],
    [
      'a number beyond what is safe',
      [{ Put: { TableName: 't', Item: { pk: 'a', at: 2 ** 60 } } }],
      'Write 0 (Put) has a value that DynamoDB cannot hold',
    ],
  ] as const) {
    test(`is refused before it is sent: ${what}`, async () => {
      expect(await refusedUnsent({ writes: writes as never })).toContain(says);
    });
  }

  test("is refused by DynamoDB, and said to be the handler's: a wrong key, a wrong expression, a missing table", async () => {
    expect(await refusal({ writes: [put({ wrong: item })] })).toContain('nothing was written');
    expect(await refusal({ writes: [bench.count(item, { UpdateExpression: 'ADD' })] })).toContain(
      'nothing was written',
    );
    const missing = await refusal({ writes: [{ Put: { TableName: 'missing', Item: { pk: item } } }] });
    expect(missing).toContain('missing');
  });

  test('fails the attempt, which a corrected one can follow', async () => {
    await refusal({ writes: [put({ wrong: item })] });
    await bench.guard((op) => op.transaction('t', { writes: [bench.count(item)] }))({ id: bench.id });
    expect(await times()).toBe(1);
  });
});

describe('a condition of the handler that fails', () => {
  test('is COMMIT_REJECTED with index, code and the item it met, and nothing is written', async () => {
    await bench.write(item, { balance: 0, tags: new Set(['a']) });
    const handler = bench.guard((op) =>
      op.transaction('reserve', {
        writes: [
          bench.count(`${item}-other`),
          bench.count(item, { ConditionExpression: 'balance >= :one' }),
          put({ pk: `${item}-3`, sk: 'own' }, { ConditionExpression: 'attribute_exists(pk)' }),
        ],
        messages: [{ destination: 'mail', body: 'm', groupId: 'g' }],
      }),
    );
    const error = await failureOf(handler({ id: bench.id }));
    expect(error).toMatchObject({ code: 'COMMIT_REJECTED', effect: 'possible' });
    expect(error.rejections).toEqual([
      {
        index: 1,
        code: 'ConditionalCheckFailed',
        item: { pk: item, sk: 'own', balance: 0, tags: new Set(['a']) },
      },
      { index: 2, code: 'ConditionalCheckFailed' },
    ]);
    expect(error.message).toContain('1 (ConditionalCheckFailed), 2 (ConditionalCheckFailed)');
    expect(JSON.stringify(error)).not.toContain('balance');
    expect(await bench.read(`${item}-other`)).toBeUndefined();
    expect(await bench.messages()).toEqual([]);
  });

  test('leaves the attempt free to do something else', async () => {
    const handler = bench.guard(async (op) => {
      const writes = [bench.count(item, { ConditionExpression: 'attribute_exists(pk)' })];
      await op.transaction('first', { writes }).catch(() => {});
      return op.transaction('second', { writes: [bench.count(item)], value: 'second' });
    });
    expect(await handler({ id: bench.id })).toBe('second');
    expect(await times()).toBe(1);
  });
});

describe('the reasons of a cancelled transaction', () => {
  /** What a client is told of `codes`, which no emulator can be brought to say together. */
  const outcomeOf = async (...reasons: { Code: string; Item?: object; Message?: string }[]) => {
    const client = new DynamoDBClient({ region: 'eu-west-1' });
    const mock = mockClient(client);
    mock.on(TransactWriteItemsCommand).rejects(
      Object.assign(new Error('cancelled'), {
        name: 'TransactionCanceledException',
        CancellationReasons: reasons,
      }),
    );
    const transaction = await dynamoStore({ tableName: 'records', client }).transact({
      ...{ pk: 'pk', window: 'w', nowMs: 0, endsAtMs: 1, token: 't', messages: [] },
      claim: { kind: 'check', owner: 'me' },
      step: { pk: 'pk', window: 'w', name: 's', status: 'DONE', owner: 'me', attempt: 1, endsAtMs: 1 },
      writes: [bench.count('a'), bench.count('b')],
    });
    return transaction.send();
  };
  const failed = { Code: 'ConditionalCheckFailed' };
  const none = { Code: 'None' };

  test('are the claim first: what is said of the writes does not count then', async () => {
    expect(await outcomeOf(failed, failed, failed, none)).toEqual({
      outcome: 'cancelled',
      claim: { found: undefined },
      step: { found: undefined },
      conflict: false,
      isRepeat: false,
      rejections: [],
    });
  });

  test('are counted from the end for the writes', async () => {
    expect(await outcomeOf(none, none, none, { ...failed, Item: { left: { N: '1' } } })).toMatchObject({
      rejections: [{ index: 1, code: 'ConditionalCheckFailed', item: { left: 1 } }],
    });
  });

  for (const Code of ['TransactionConflict', 'ThrottlingError', 'ProvisionedThroughputExceeded']) {
    test(`are passing: ${Code}`, async () => {
      expect(await outcomeOf(none, none, { Code }, failed)).toMatchObject({
        conflict: true,
        rejections: [],
      });
    });
  }

  test('may be that a write is wrong', async () => {
    const work = outcomeOf(none, none, none, { Code: 'ValidationError', Message: 'No such type.' });
    expect(await failureOf(work)).toMatchObject({
      code: 'BAD_WRITES',
      message: expect.stringContaining('Write 1 was refused, and nothing was written: No such type.'),
    });
  });
});

describe('twenty at once', () => {
  test('on one item of the handler are applied as often as its condition allows', async () => {
    await bench.write(item, { stock: 7 });
    await bench.write(`${item}-ledger`, { times: 0 });
    const handler = bench.guard(async (op) => {
      try {
        return await op.transaction('take', {
          writes: [
            bench.count(item, {
              UpdateExpression: 'ADD stock :less',
              ConditionExpression: 'stock >= :one',
              ExpressionAttributeValues: { ':less': -1, ':one': 1 },
            }),
            bench.count(`${item}-ledger`),
          ],
          value: 'taken',
        });
      } catch (error) {
        if ((error as { code?: string }).code !== 'COMMIT_REJECTED') throw error;
        return 'sold out';
      }
    });
    const orders = Array.from({ length: 20 }, (_, index) => ({ id: `${bench.id}-${index}` }));
    const all = await Promise.all(orders.map((order) => retried(() => handler(order))));
    expect(all.filter((outcome) => outcome === 'taken')).toHaveLength(7);
    expect(all.filter((outcome) => outcome === 'sold out')).toHaveLength(13);
    expect(await bench.read(item)).toMatchObject({ stock: 0 });
    expect(await bench.read(`${item}-ledger`)).toMatchObject({ times: 7 });
  });

  /** As a caller does whose call ended in a conflict or in doubt. */
  async function retried<T>(work: () => Promise<T>): Promise<T> {
    for (;;) {
      try {
        return await work();
      } catch (error) {
        if (!['STORE_UNAVAILABLE', 'OUTCOME_UNKNOWN'].includes((error as { code?: string }).code ?? ''))
          throw error;
      }
    }
  }
});
