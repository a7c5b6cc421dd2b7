import { randomUUID } from 'node:crypto';
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import {
  DynamoDBDocumentClient,
  GetCommand,
  TransactWriteCommand,
  type TransactWriteCommandInput,
} from '@aws-sdk/lib-dynamodb';
import {
  afterAll,
  beforeAll,
  beforeEach,
  describe,
  expect,
  expectTypeOf,
  it,
  onTestFinished,
  vi,
} from 'vitest';
import { type Created, createOnce, IdempotencyError } from '../../lib/index.ts';
import { type FaultProxy, startFaultProxy } from '../../local/faults/fault-proxy.ts';
import { clientFor, createTable, dynamodbEndpoint, type TestTable } from '../support/dynamodb.ts';

let table: TestTable;
let tableName: string;
let proxy: FaultProxy;
let native: DynamoDBClient;
let client: DynamoDBDocumentClient;
let pk: string;

beforeAll(async () => {
  table = await createTable();
  tableName = table.tableName;
  proxy = await startFaultProxy(dynamodbEndpoint());
  native = clientFor(proxy.endpoint);
  client = DynamoDBDocumentClient.from(clientFor(proxy.endpoint));
});

afterAll(async () => {
  await proxy?.stop();
});

beforeEach(() => {
  proxy.reset();
  pk = randomUUID();
});

interface User {
  readonly pk: string;
  readonly sk: string;
  readonly name: string;
  readonly id?: string;
}
const user = (name: string, more: object = {}): User => ({ pk, sk: 'user', name, ...more });
const create = (item: User, by: { send(command: never): Promise<unknown> } = client) =>
  createOnce(by, { tableName, partitionKey: 'pk', item });

async function stored(sk: string): Promise<Record<string, unknown> | undefined> {
  const { Item } = await DynamoDBDocumentClient.from(table.client).send(
    new GetCommand({ TableName: tableName, Key: { pk, sk }, ConsistentRead: true }),
  );
  return Item;
}

/** The error of a call that must not reach DynamoDB. */
async function refusal(call: () => unknown): Promise<string> {
  const error = await (async () => call())().catch((thrown: unknown) => thrown);
  if (!IdempotencyError.is(error, 'BAD_OPTION')) throw error;
  expect(proxy.requests).toEqual([]);
  return error.message;
}

describe('createOnce', () => {
  it('creates an item, and gives the one that is there to whoever comes later', async () => {
    expect(await create(user('Ann'))).toEqual({ outcome: 'created', item: user('Ann') });
    expect(await create(user('Bob'))).toEqual({ outcome: 'exists', item: user('Ann') });
    expect(await stored('user')).toEqual(user('Ann'));
    expect(proxy.requests.map(({ operation }) => operation)).toEqual(['PutItem', 'PutItem']);
  });

  it('is one item for twenty calls at once', async () => {
    const results = await Promise.all(
      Array.from({ length: 20 }, (_, index) => create(user(`name ${index}`))),
    );
    const created = results.filter(({ outcome }) => outcome === 'created');
    expect(created).toHaveLength(1);
    for (const { item } of results) expect(item).toEqual(created[0]?.item);
    expect(await stored('user')).toEqual(created[0]?.item);
  });

  it('is one item for each key, whatever the sort key', async () => {
    const results = await Promise.all(
      ['a', 'b', 'a', 'b'].map((sk) =>
        createOnce(client, { tableName, partitionKey: 'pk', item: { pk, sk } }),
      ),
    );
    expect(results.map(({ outcome }) => outcome).sort()).toEqual(['created', 'created', 'exists', 'exists']);
  });

  it('takes and gives plain values with a native client too, and leaves undefined out', async () => {
    const item = {
      ...user('Ann'),
      tags: new Set(['b', 'a']),
      photo: Buffer.from('bytes'),
      address: { street: 'Main', floor: undefined, lines: [1, 'two', null] },
      removed: undefined,
      big: 12_345_678_901_234_567_890n,
    };
    const { removed: _, ...kept } = item;
    const expected = { ...kept, address: { street: 'Main', lines: [1, 'two', null] } };
    expect(await create(item, native)).toEqual({ outcome: 'created', item: expected });
    const again = await create(item, client);
    expect(again).toEqual({
      outcome: 'exists',
      item: { ...expected, photo: new Uint8Array(item.photo) },
    });
  });

  it("converts values as the document client's own options say", async () => {
    const strict = DynamoDBDocumentClient.from(clientFor(proxy.endpoint), {
      marshallOptions: { removeUndefinedValues: false },
      unmarshallOptions: { wrapNumbers: String },
    });
    await expect(create(user('Ann', { removed: undefined }), strict)).rejects.toThrow(
      'removeUndefinedValues',
    );
    expect(await create(user('Ann', { age: 7 }), strict)).toEqual({
      outcome: 'created',
      item: user('Ann', { age: '7' }),
    });
  });

  it('is created, not found, when the answer of its own put was lost', async () => {
    proxy.inject({ operation: 'PutItem', fault: 'drop-after' });
    const item = user('Ann', { id: randomUUID(), tags: new Set(['b', 'a']), photo: Buffer.from('bytes') });
    expect((await create(item)).outcome).toBe('created');
    expect(proxy.requests.map(({ outcome, status }) => [outcome, status])).toEqual([
      ['faulted', 200],
      ['forwarded', 400],
    ]);
  });

  it("is not created when the put that was lost was another's, or nobody's", async () => {
    await create(user('Ann'));
    proxy.inject({ operation: 'PutItem', fault: 'drop-before' });
    expect(await create(user('Bob'))).toEqual({ outcome: 'exists', item: user('Ann') });
  });

  it('is not created for an equal item that was there before, where nothing was lost', async () => {
    await create(user('Ann'));
    expect((await create(user('Ann'))).outcome).toBe('exists');
  });

  it('tries again where it met a transaction', async () => {
    proxy.inject({
      operation: 'PutItem',
      fault: { status: 400, type: 'TransactionConflictException' },
      times: 2,
    });
    expect((await create(user('Ann'))).outcome).toBe('created');
    expect(proxy.requests).toHaveLength(3);
  });

  it("gives the client's errors as they are, also a transaction that does not end", async () => {
    proxy.inject({
      operation: 'PutItem',
      fault: { status: 400, type: 'TransactionConflictException' },
      times: Number.POSITIVE_INFINITY,
    });
    await expect(create(user('Ann'))).rejects.toMatchObject({ name: 'TransactionConflictException' });
    proxy.reset();
    await expect(
      createOnce(client, { tableName: 'no-such-table', partitionKey: 'pk', item: user('Ann') }),
    ).rejects.toMatchObject({ name: 'ResourceNotFoundException' });
  });

  it('is one entry of a transaction that happens as a whole or not at all', async () => {
    const entry = (sk: string) =>
      createOnce.write({ tableName, partitionKey: 'pk', item: { pk, sk, name: 'Ann' } });
    expectTypeOf(entry('a')).toExtend<NonNullable<TransactWriteCommandInput['TransactItems']>[number]>();
    await client.send(new TransactWriteCommand({ TransactItems: [entry('user'), entry('address')] }));
    const repeated = client.send(
      new TransactWriteCommand({ TransactItems: [entry('other'), entry('address')] }),
    );
    await expect(repeated).rejects.toMatchObject({
      name: 'TransactionCanceledException',
      CancellationReasons: [
        { Code: 'None' },
        {
          Code: 'ConditionalCheckFailed',
          Item: expect.objectContaining({ name: expect.anything() }) as unknown,
        },
      ],
    });
    expect(await stored('user')).toEqual({ pk, sk: 'user', name: 'Ann' });
    expect(await stored('other')).toBeUndefined();
  });

  it.each<[string, object | undefined, string]>([
    [
      'no options',
      undefined,
      'Expected createOnce to be given an object with `tableName`, …, got undefined.',
    ],
    ['no table', { tableName: '' }, 'Expected `tableName` to be the name of a table, got "" (string).'],
    [
      'no item',
      { item: undefined },
      'Expected `item` to be an object with the attributes of the item, got undefined.',
    ],
    ['an array', { item: [] }, 'got an array.'],
    ['no partition key', { partitionKey: undefined }, "partition key, such as 'pk', got undefined."],
    [
      'a key that the item lacks',
      { partitionKey: 'email' },
      "Expected `item` to hold the partition key 'email' as a string that is not empty, a number or bytes, got undefined. Put it into the item, or name the right attribute in `partitionKey`.",
    ],
    ['an empty key', { item: { pk: '' } }, 'got a blank string.'],
    ['an object as key', { item: { pk: { S: 'k' } } }, 'got an object.'],
    [
      'an unknown option',
      { partitionkey: 'pk' },
      'Unknown option `partitionkey`. Did you mean `partitionKey`?',
    ],
  ])('refuses %s', async (_, change, expected) => {
    const options = (change && {
      tableName,
      partitionKey: 'pk',
      item: { pk, sk: 'user' },
      ...change,
    }) as never;
    expect(await refusal(() => createOnce(client, options))).toContain(expected);
    expect(await refusal(() => createOnce.write(options))).toContain(expected);
  });

  it('refuses what is no client', async () => {
    const options = { tableName, partitionKey: 'pk', item: user('Ann') } as const;
    expect(await refusal(() => (createOnce as (...args: unknown[]) => unknown)(options))).toMatch(
      /^Expected a DynamoDBClient or a DynamoDBDocumentClient as the first argument, got .*\. For an entry of `writes`, call \.write\(options\)\.$/,
    );
  });

  describe('where @aws-sdk/util-dynamodb is not installed', () => {
    beforeEach(() => {
      vi.doMock('@aws-sdk/util-dynamodb', () => {
        throw new Error('Cannot find package');
      });
      onTestFinished(() => void vi.doUnmock('@aws-sdk/util-dynamodb'));
    });

    it('converts values all the same', async () => {
      expect(await create(user('Ann'))).toMatchObject({ outcome: 'created' });
      expect(await create(user('Bob'))).toMatchObject({ outcome: 'exists', item: { name: 'Ann' } });
    });

    it('says what to install for a client that wraps numbers in its class', async () => {
      const wrapping = DynamoDBDocumentClient.from(clientFor(proxy.endpoint), {
        unmarshallOptions: { wrapNumbers: true },
      });
      await expect(create(user('Ann'), wrapping)).rejects.toMatchObject({
        code: 'UNSUPPORTED',
        message:
          '@aws-sdk/util-dynamodb cannot be loaded. Install it beside idemkit: npm install @aws-sdk/util-dynamodb',
      });
      expect(proxy.requests).toEqual([]);
    });
  });

  it('has the type of the item, and a key that is one of its members', () => {
    expectTypeOf(create).returns.resolves.toEqualTypeOf<Created<User>>();
    const item = { pk, name: 'Ann' };
    // @ts-expect-error a user has no email
    expect(() => createOnce.write({ tableName, item, partitionKey: 'email' })).toThrow("'email'");
  });
});
