import { randomUUID } from 'node:crypto';
import { type DynamoDBClient, type PutItemCommandInput, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import {
  DynamoDBDocumentClient,
  GetCommand,
  TransactWriteCommand,
  type TransactWriteCommandInput,
} from '@aws-sdk/lib-dynamodb';
import { afterAll, beforeAll, beforeEach, describe, expect, expectTypeOf, it } from 'vitest';
import { createOnce, IdempotencyError, type UpdateVersionOptions, updateVersion } from '../../lib/index.ts';
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

interface Order {
  readonly pk: string;
  readonly sk: string;
  readonly version?: string | number;
  readonly status?: string;
  readonly left?: number;
  readonly note?: string;
}

describe('updateVersion', () => {
  const key = () => ({ pk, sk: 'order' });

  async function order(more: Partial<Order> = { version: 'v1' }): Promise<Order> {
    const { item } = await createOnce<Order>(client, {
      tableName,
      partitionKey: 'pk',
      item: { pk, sk: 'order', status: 'open', left: 5, ...more },
    });
    proxy.reset();
    return item;
  }

  const update = (
    { version }: { version?: string | number },
    change: Partial<UpdateVersionOptions<Order>>,
    by: { send(command: never): Promise<unknown> } = client,
  ) => updateVersion<Order>(by, { tableName, key: key(), version, ...change });

  it('changes the version that was read, and gives it a new one', async () => {
    const read = await order();
    const updated = await update(read, { set: { status: 'paid' }, remove: ['left'] });
    expect(updated).toEqual({
      outcome: 'updated',
      item: { ...key(), status: 'paid', version: expect.stringMatching(/^[0-9a-f-]{36}$/) as string },
    });
    expect(await stored('order')).toEqual(updated.item);
    expect(proxy.requests.map(({ operation }) => operation)).toEqual(['UpdateItem']);
    expect((await update(updated.item!, { set: { status: 'sent' } })).outcome).toBe('updated');
  });

  it('changes nothing at another version, and gives the item as it stands', async () => {
    const read = await order();
    const { item } = await update(read, { set: { status: 'paid' } });
    expect(await update(read, { set: { status: 'cancelled' } })).toEqual({ outcome: 'conflict', item });
    expect(await stored('order')).toEqual(item);
  });

  it('is one update for twenty calls at once, even if all set the same', async () => {
    const read = await order();
    const results = await Promise.all(
      Array.from({ length: 20 }, () => update(read, { set: { left: read.left! - 1 } })),
    );
    const updated = results.filter(({ outcome }) => outcome === 'updated');
    expect(updated).toHaveLength(1);
    for (const { item } of results) expect(item).toEqual(updated[0]?.item);
    expect(await stored('order')).toMatchObject({ left: 4 });
  });

  it('loses no step of twenty that decide again on a conflict', async () => {
    let read = await order({ version: 'v1', left: 20 });
    const first = read;
    await Promise.all(
      Array.from({ length: 20 }, async () => {
        let current: Order = first;
        for (;;) {
          const { outcome, item } = await update(current, { set: { left: current.left! - 1 } });
          if (outcome === 'updated') return;
          current = item!;
        }
      }),
    );
    read = (await stored('order')) as unknown as Order;
    expect(read.left).toBe(0);
  });

  it('is a conflict without an item where there is none, and creates none', async () => {
    expect(await update({ version: 'v1' }, { set: { status: 'paid' } })).toEqual({
      outcome: 'conflict',
      item: undefined,
    });
    expect(await update({ version: undefined }, { set: { status: 'paid' } })).toEqual({
      outcome: 'conflict',
      item: undefined,
    });
    expect(await stored('order')).toBeUndefined();
  });

  it('gives a first version to an item that has none, once', async () => {
    const read = await order({});
    const { outcome, item } = await update(read, { set: { status: 'paid' } });
    expect([outcome, item]).toEqual([
      'updated',
      { ...read, status: 'paid', version: expect.any(String) as string },
    ]);
    expect((await update(read, { set: { status: 'cancelled' } })).outcome).toBe('conflict');
  });

  it('takes a count that was read, and replaces it', async () => {
    const read = await order({ version: 7 });
    expect(await update({ version: '7' }, { set: { status: 'paid' } })).toEqual({
      outcome: 'conflict',
      item: read,
    });
    expect(await update(read, { set: { status: 'paid' } })).toMatchObject({
      outcome: 'updated',
      item: { version: expect.stringMatching(/^[0-9a-f-]{36}$/) as string },
    });
  });

  it('is updated, not in conflict, when the answer of its own update was lost', async () => {
    const read = await order();
    proxy.inject({ operation: 'UpdateItem', fault: 'drop-after' });
    const { outcome, item } = await update(read, { set: { left: 4 } });
    expect(outcome).toBe('updated');
    expect(item).toEqual(await stored('order'));
    expect(proxy.requests.map(({ outcome, status }) => [outcome, status])).toEqual([
      ['faulted', 200],
      ['forwarded', 400],
    ]);
  });

  it("is in conflict when another's equal update came first and its own request was lost", async () => {
    const read = await order();
    await update(read, { set: { left: 4 } });
    proxy.inject({ operation: 'UpdateItem', fault: 'drop-before' });
    expect(await update(read, { set: { left: 4 } })).toMatchObject({
      outcome: 'conflict',
      item: { left: 4 },
    });
  });

  it('is in conflict where another update came between its own and the repeat', async () => {
    const read = await order();
    const own = clientFor(proxy.endpoint);
    let requests = 0;
    own.middlewareStack.add(
      (next) => async (args) => {
        if (++requests === 2) await updateLater();
        return next(args);
      },
      // This step comes after the retries.
      { step: 'deserialize', priority: 'high' },
    );
    const updateLater = () =>
      table.client.send(
        new UpdateItemCommand({
          TableName: tableName,
          Key: { pk: { S: pk }, sk: { S: 'order' } },
          UpdateExpression: 'SET version = :later',
          ExpressionAttributeValues: { ':later': { S: 'later' } },
        }),
      );
    proxy.inject({ operation: 'UpdateItem', fault: 'drop-after' });
    expect(await update(read, { set: { left: 4 } }, own)).toMatchObject({
      outcome: 'conflict',
      item: { left: 4, version: 'later' },
    });
    expect(requests).toBe(2);
  });

  it('takes reserved words, dots and other attribute names, and a native client', async () => {
    await createOnce(native, {
      tableName,
      partitionKey: 'pk',
      item: { ...key(), window: 'v1', owner: 'old', data: 1 },
    });
    const { outcome, item } = await updateVersion(native, {
      tableName,
      key: key(),
      versionAttribute: 'window',
      version: 'v1',
      newVersion: 'v2',
      set: { owner: 'ann', status: { value: new Set([1]) }, 'a.b-c': true },
      remove: ['data', 'never there'],
    });
    expect(outcome).toBe('updated');
    expect(item).toEqual({
      ...key(),
      window: 'v2',
      owner: 'ann',
      status: { value: new Set([1]) },
      'a.b-c': true,
    });
  });

  it('is one entry of a transaction that happens as a whole or not at all', async () => {
    const read = await order();
    const pay = (version: string | number | undefined) =>
      updateVersion.write<Order>({ tableName, key: key(), version, set: { status: 'paid' } });
    const receipt = (sk: string) => createOnce.write({ tableName, partitionKey: 'pk', item: { pk, sk } });
    expectTypeOf(pay('v')).toExtend<NonNullable<TransactWriteCommandInput['TransactItems']>[number]>();
    await client.send(new TransactWriteCommand({ TransactItems: [pay(read.version), receipt('r-1')] }));
    const overtaken = client.send(
      new TransactWriteCommand({ TransactItems: [pay(read.version), receipt('r-2')] }),
    );
    await expect(overtaken).rejects.toMatchObject({
      CancellationReasons: [
        {
          Code: 'ConditionalCheckFailed',
          Item: expect.objectContaining({ version: expect.anything() }) as unknown,
        },
        { Code: 'None' },
      ],
    });
    expect(await stored('order')).toMatchObject({ status: 'paid' });
    expect(await stored('r-2')).toBeUndefined();
  });

  it.each<[string, object | undefined, string]>([
    [
      'no options',
      undefined,
      'Expected updateVersion to be given an object with `tableName`, …, got undefined.',
    ],
    ['no table', { tableName: undefined }, 'Expected `tableName` to be the name of a table, got undefined.'],
    [
      'no key',
      { key: undefined },
      "Expected `key` to be the item's key, such as { pk: 'order#1', sk: 'order' }",
    ],
    ['an empty key', { key: {} }, 'got an object.'],
    ['a key with a hole', { key: { pk: 'k', sk: undefined } }, 'got an object.'],
    ['three keys', { key: { a: 1, b: 2, c: 3 } }, 'one or two attributes'],
    ['a version that is neither', { version: null }, 'a string or a number, got null. Read the item first'],
    ['an empty version', { version: '' }, 'got a blank string. Read the item first'],
    ['NaN', { version: Number.NaN }, 'got NaN. Read the item first'],
    [
      'the old version as the new one',
      { newVersion: 'v1' },
      'that no version of this item has had, got the version that was read.',
    ],
    ['a number as new version', { newVersion: 2 }, 'got a number. Leave it out for a random UUID.'],
    ['nothing to change', { set: {} }, 'updateVersion was given nothing to change.'],
    ['an array to set', { set: [] }, 'Expected `set` to be an object of attributes, got an array.'],
    [
      'undefined to set',
      { set: { a: undefined } },
      "`set` has undefined for 'a'. Leave it out, or name it in `remove`.",
    ],
    ['the version to set', { set: { version: 'v2' } }, "updateVersion writes 'version' itself."],
    ['the version to remove', { remove: ['version'] }, "updateVersion writes 'version' itself."],
    ['the key to set', { set: { sk: 'x' } }, "'sk' is part of the key, which no update can change."],
    ['one attribute twice', { set: { a: 1 }, remove: ['a'] }, "'a' is to be changed twice. Name it once."],
    [
      'a text to remove',
      { remove: 'a' },
      "Expected `remove` to be an array of attributes' names, got a string.",
    ],
    [
      'an empty version attribute',
      { versionAttribute: '' },
      "Expected `versionAttribute` to be an attribute's name",
    ],
    ['an unknown option', { expected: 1 }, 'Unknown option `expected`.'],
  ])('refuses %s', async (_, change, expected) => {
    const options = (change && { tableName, key: key(), version: 'v1', set: { a: 1 }, ...change }) as never;
    expect(await refusal(() => updateVersion(client, options))).toContain(expected);
    expect(await refusal(() => updateVersion.write(options))).toContain(expected);
  });

  it('refuses a version that was forgotten', async () => {
    const options = { tableName, key: key(), set: { a: 1 } } as never;
    expect(await refusal(() => updateVersion(client, options))).toBe(
      "Expected `version` to be the version that was read, a string or a number, got nothing. Read the item first and pass its 'version'; pass undefined for an item that has none yet.",
    );
  });

  it('knows the members of the item', () => {
    const options = { tableName: 'orders', key: { pk: 'p' }, version: 'v' };
    // @ts-expect-error an order has no price
    updateVersion.write<Order>({ ...options, set: { price: 1 } });
    // @ts-expect-error a status is a string
    updateVersion.write<Order>({ ...options, set: { status: 1 } });
    // @ts-expect-error an order has no price
    updateVersion.write<Order>({ ...options, remove: ['price'] });
    expectTypeOf(updateVersion.write({ ...options, set: { price: 1 } }).Update.TableName).toBeString();
  });
});

it('a natural write asks for the item that stopped it, with the names behind placeholders', () => {
  const { Put } = createOnce.write({ tableName: 'users', partitionKey: 'name', item: { name: 'ann' } });
  expect(Put).toEqual({
    TableName: 'users',
    Item: { name: 'ann' },
    ConditionExpression: 'attribute_not_exists(#pk)',
    ExpressionAttributeNames: { '#pk': 'name' },
    ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
  } satisfies Omit<PutItemCommandInput, 'Item'> & { Item: object });
  expect(
    updateVersion.write({ tableName: 't', key: { pk: 'p' }, version: 'v1', set: { size: 1 } }),
  ).toMatchObject({
    Update: { ReturnValuesOnConditionCheckFailure: 'ALL_OLD' },
  });
});
