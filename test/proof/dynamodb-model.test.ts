/** What a simulation relies on, and no table could show: time, halves of transactions, lag, expiry, copies. */

import { describe, expect, test } from 'vitest';
import { dynamoStore } from '../../lib/index.ts';
import { storeContract } from '../../lib/store.ts';
import { wholeStore } from '../support/whole-store.ts';
import {
  type Applied,
  type Change,
  createDynamoModel,
  type Item,
  modelClient,
  sdkError,
} from './dynamodb-model/index.ts';

const tableName = 'records';
const startMs = 1_700_000_000_000;

function setUp(options: Partial<Parameters<typeof createDynamoModel>[0]> = {}) {
  const own = { nowMs: startMs, changes: [] as Change[] };
  const model = createDynamoModel({
    tables: [
      {
        name: tableName,
        partitionKey: 'pk',
        sortKey: 'sk',
        ttlAttribute: 'expiresAt',
        indexes: [{ name: 'byOwner', partitionKey: 'owner' }],
      },
    ],
    nowMs: () => own.nowMs,
    onChange: (change) => own.changes.push(change),
    ...options,
  });
  const keyOf = (sk: string) => ({ pk: { S: 'p' }, sk: { S: sk } });
  const itemOf = (sk: string, more: Item = {}): Item => ({ ...keyOf(sk), ...more });
  const put = (sk: string, more: Item = {}): Applied =>
    model.apply('PutItem', { TableName: tableName, Item: itemOf(sk, more) });
  const get = (sk: string, ConsistentRead = true) =>
    model.apply('GetItem', { TableName: tableName, Key: keyOf(sk), ConsistentRead }).ok?.Item;
  const transaction = (token: string, ...sks: readonly string[]) => ({
    ClientRequestToken: token,
    TransactItems: sks.map((sk) => ({
      Put: { TableName: tableName, Item: itemOf(sk, { by: { S: token } }) },
    })),
  });
  return { own, model, keyOf, itemOf, put, get, transaction };
}

describe('the contract of every store holds on the model', () => {
  for (const { name, run } of storeContract(() => {
    const model = createDynamoModel({
      tables: [{ name: tableName, partitionKey: 'pk', sortKey: 'sk', ttlAttribute: 'expiresAt' }],
      nowMs: () => startMs,
    });
    return wholeStore(dynamoStore({ tableName, client: modelClient(model) }));
  })) {
    test(name, run);
  }
});

describe('a transaction in two halves', () => {
  test('is not seen before it is finished', () => {
    const { model, get, transaction } = setUp();
    const { prepared } = model.prepare(transaction('t', 'a', 'b'));
    expect(get('a')).toBeUndefined();
    expect(model.finish(prepared as number)).toEqual({ ok: {} });
    expect([get('a')?.by, get('b')?.by]).toEqual([{ S: 't' }, { S: 't' }]);
  });

  test('is a conflict for every other write to its items meanwhile, and to no other', () => {
    const { model, put, transaction } = setUp();
    const { prepared } = model.prepare(transaction('t', 'a', 'b'));
    expect(put('a').error).toMatchObject({ name: 'TransactionConflictException' });
    expect(put('c').ok).toEqual({});
    expect(model.apply('TransactWriteItems', transaction('u', 'c', 'b')).error).toMatchObject({
      name: 'TransactionCanceledException',
      CancellationReasons: [{ Code: 'None' }, { Code: 'TransactionConflict' }],
    });
    model.finish(prepared as number);
    expect(put('a').ok).toEqual({});
  });

  test('is in progress for who sends it again, and done once it is finished', () => {
    const { model, put, get, transaction } = setUp();
    const { prepared } = model.prepare(transaction('t', 'a'));
    const again = () => model.apply('TransactWriteItems', transaction('t', 'a'));
    expect(again().error?.name).toBe('TransactionInProgressException');
    model.finish(prepared as number);
    put('a', { by: { S: 'somebody else' } });
    expect(again()).toEqual({ ok: {} });
    expect(get('a')?.by).toEqual({ S: 'somebody else' });
  });

  test('leaves nothing where it is abandoned, and may be sent again', () => {
    const { model, get, transaction } = setUp();
    const { prepared } = model.prepare(transaction('t', 'a'));
    expect(model.abandon(prepared as number).error?.CancellationReasons).toMatchObject([
      { Code: 'TransactionConflict' },
    ]);
    expect(get('a')).toBeUndefined();
    expect(model.apply('TransactWriteItems', transaction('t', 'a'))).toEqual({ ok: {} });
    expect(get('a')?.by).toEqual({ S: 't' });
  });
});

describe('a ClientRequestToken', () => {
  test('makes a repeat harmless for ten minutes, and not a moment longer', () => {
    const { own, model, put, get, transaction } = setUp();
    const send = () => model.apply('TransactWriteItems', transaction('t', 'a'));
    send();
    put('a', { by: { S: 'x' } });
    own.nowMs += 599_999;
    expect(send()).toEqual({ ok: {} });
    expect(get('a')?.by).toEqual({ S: 'x' });
    own.nowMs += 1;
    expect(send()).toEqual({ ok: {} });
    expect(get('a')?.by).toEqual({ S: 't' });
  });

  test('refuses other parameters, and forgets a transaction that was cancelled', () => {
    const { model, put, keyOf, transaction } = setUp();
    put('a');
    const failing = {
      ClientRequestToken: 't',
      TransactItems: [
        {
          Delete: {
            TableName: tableName,
            Key: keyOf('a'),
            ConditionExpression: 'attribute_not_exists(pk)',
            ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
          },
        },
      ],
    };
    expect(model.apply('TransactWriteItems', failing).error).toMatchObject({
      CancellationReasons: [{ Code: 'ConditionalCheckFailed', Item: keyOf('a') }],
    });
    expect(model.apply('TransactWriteItems', transaction('t', 'b'))).toEqual({ ok: {} });
    expect(model.apply('TransactWriteItems', transaction('t', 'c')).error?.name).toBe(
      'IdempotentParameterMismatchException',
    );
  });
});

describe('TTL', () => {
  const past = { expiresAt: { N: String(startMs / 1_000 - 1) } };
  const future = { expiresAt: { N: String(startMs / 1_000 + 1) } };

  test('deletes what it is told to, if its time is over, and nothing by itself', () => {
    const { own, model, put, get, keyOf } = setUp();
    put('a', past);
    put('b', past);
    put('c', future);
    put('d', { expiresAt: { S: '1' } });
    expect(model.expirable(tableName)).toEqual([keyOf('a'), keyOf('b')]);
    expect(model.expire(tableName, keyOf('b'))).toBe(true);
    expect(model.expire(tableName, keyOf('c'))).toBe(false);
    expect(model.expire(tableName, keyOf('d'))).toBe(false);
    expect([get('a'), get('b'), get('c'), get('d')].map((item) => item !== undefined)).toEqual([
      true,
      false,
      true,
      true,
    ]);
    expect(own.changes.at(-1)).toMatchObject({ key: keyOf('b'), after: undefined, byTtl: true });
  });

  test('leaves alone what a transaction holds, and what is older than five years', () => {
    const { model, put, keyOf } = setUp();
    const write = { Put: { TableName: tableName, Item: { ...keyOf('a'), ...past } } };
    put('a', past);
    put('b', { expiresAt: { N: '1' } });
    const { prepared } = model.prepare({ TransactItems: [write] });
    expect(model.expire(tableName, keyOf('a'))).toBe(false);
    expect(model.expire(tableName, keyOf('b'))).toBe(false);
    model.finish(prepared as number);
    expect(model.expire(tableName, keyOf('a'))).toBe(true);
  });
});

describe('a read that lags', () => {
  const behind = (versions: number) => setUp({ versionsBehind: () => versions });

  test('sees an item as it was, while a consistent one sees it as it is', () => {
    const { put, get } = behind(1);
    put('a', { n: { N: '1' } });
    expect(get('a', false)).toBeUndefined();
    put('a', { n: { N: '2' } });
    expect(get('a', false)?.n).toEqual({ N: '1' });
    expect(get('a')?.n).toEqual({ N: '2' });
  });

  test('still sees what was deleted, in queries and indexes too', () => {
    const { model, put, keyOf } = behind(1);
    put('a', { owner: { S: 'x' } });
    model.apply('DeleteItem', { TableName: tableName, Key: keyOf('a') });
    const query = (more: object) =>
      model.apply('Query', {
        TableName: tableName,
        KeyConditionExpression: '#name = :value',
        ...more,
      }).ok?.Count;
    const table = {
      ExpressionAttributeNames: { '#name': 'pk' },
      ExpressionAttributeValues: { ':value': { S: 'p' } },
    };
    const index = {
      IndexName: 'byOwner',
      ExpressionAttributeNames: { '#name': 'owner' },
      ExpressionAttributeValues: { ':value': { S: 'x' } },
    };
    expect([query(table), query({ ...table, ConsistentRead: true }), query(index)]).toEqual([1, 0, 1]);
  });
});

describe('a model', () => {
  test('keeps its own copies', () => {
    const { model, put, get } = setUp();
    const bytes = Uint8Array.of(1);
    put('a', { bytes: { B: bytes } });
    bytes[0] = 2;
    const found = get('a');
    expect(found.bytes.B).toEqual(Uint8Array.of(1));
    found.bytes.B[0] = 3;
    expect(model.dump(tableName)[0]?.bytes).toEqual({ B: Uint8Array.of(1) });
  });

  test('forks into two that know nothing of each other', () => {
    const { own, model, put, get, transaction } = setUp();
    put('a');
    const { prepared } = model.prepare(transaction('t', 'b'));
    const fork = model.fork({ onChange: () => {} });
    expect(fork.digest()).toBe(model.digest());
    fork.finish(prepared as number);
    expect(fork.digest()).not.toBe(model.digest());
    expect(get('b')).toBeUndefined();
    model.finish(prepared as number);
    expect(fork.digest()).toBe(model.digest());
    expect(own.changes.map(({ key }) => key.sk)).toEqual([{ S: 'a' }, { S: 'b' }]);
  });

  test('has one digest for one state, whatever way led there', () => {
    const [one, other] = [setUp(), setUp()];
    one.put('a');
    one.put('b');
    other.put('b');
    other.put('a', { passing: { BOOL: true } });
    expect(other.model.digest()).not.toBe(one.model.digest());
    other.put('a');
    expect(other.model.digest()).toBe(one.model.digest());
  });

  test('tells a stream of changes only, and none of a write that changes nothing', () => {
    const { own, put, itemOf } = setUp();
    put('a');
    put('a');
    put('a', { n: { N: '1.0' } });
    expect(own.changes.map(({ before, after }) => ({ before, after }))).toEqual([
      { before: undefined, after: itemOf('a') },
      { before: itemOf('a'), after: itemOf('a', { n: { N: '1' } }) },
    ]);
  });

  test('does not pass over in silence what it does not know', () => {
    const { model } = setUp();
    expect(() => model.apply('Scan', {})).toThrow('does not know the command Scan');
    expect(() => model.apply('PutItem', { TableName: tableName, Expected: {} })).toThrow(
      "does not know PutItem's parameter Expected",
    );
  });

  test('fails as the SDK does', () => {
    const { model, put } = setUp();
    put('a', { n: { N: '1' } });
    const { error } = model.apply('PutItem', {
      TableName: tableName,
      Item: { pk: { S: 'p' }, sk: { S: 'a' } },
      ConditionExpression: 'attribute_not_exists(pk)',
      ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
    });
    const thrown = sdkError(error!, 3);
    expect(thrown).toBeInstanceOf(Error);
    expect(thrown).toMatchObject({
      name: 'ConditionalCheckFailedException',
      message: 'The conditional request failed',
      Item: { n: { N: '1' } },
      $metadata: { attempts: 3, httpStatusCode: 400 },
    });
  });
});
