import { DynamoDBDocumentClient, GetCommand } from '@aws-sdk/lib-dynamodb';
import { beforeEach, describe, expect, test } from 'vitest';
import { createOnce, dynamoStore, type TransactWrite, updateVersion } from '../../lib/index.ts';
import { clientFor, dynamodbEndpoint } from '../support/dynamodb.ts';
import { failureOf, workbench } from '../support/work.ts';

const bench = workbench();
/** A handler's own item, of this test only. */
let item: string;
beforeEach(() => {
  item = `item-${bench.id}`;
});

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
