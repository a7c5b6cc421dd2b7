import { DynamoDBClient, TransactWriteItemsCommand } from '@aws-sdk/client-dynamodb';
import { mockClient } from 'aws-sdk-client-mock';
import { beforeEach, describe, expect, test } from 'vitest';
import { dynamoStore, type TransactWrite } from '../../lib/index.ts';
import { completed } from '../../lib/store.ts';
import { incompressible } from '../support/hands.ts';
import { failureOf, workbench } from '../support/work.ts';

const bench = workbench();
/** A handler's own item, of this test only. */
let item: string;
beforeEach(() => {
  item = `item-${bench.id}`;
});

const times = async () => (await bench.read(item))?.times;
const put = (Item: Record<string, unknown>, more: object = {}): TransactWrite => ({
  Put: { TableName: bench.own.tableName, Item, ...more },
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
    ['writes of null', null, 'Expected `writes` to be an array, got null'],
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
    const transaction = await completed(dynamoStore({ tableName: 'records', client })).transactions.build({
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
