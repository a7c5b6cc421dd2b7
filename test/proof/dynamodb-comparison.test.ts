/** The model answers as DynamoDB does: the same requests to both, by chance and at the limits. */
import { beforeAll, describe, expect, test } from 'vitest';
import { reservedWords } from '../../lib/testing/dynamodb/reserved-words.ts';
import { clientFor, dynamodbEndpoint } from '../support/dynamodb.ts';
import { compareCourse, compareRequests, createTables } from './comparison/compare.ts';
import type { Names, Request } from './comparison/requests.ts';

let client: ReturnType<typeof clientFor>;
let names: Names;

beforeAll(async () => {
  client = clientFor(dynamodbEndpoint());
  names = await createTables(client, `model-${Date.now()}`);
});

const courses = 160;

test('4,000 requests by chance have the same answers, errors and tables', async () => {
  const answers: Record<string, number> = {};
  for (let seed = 1; seed <= courses; seed++) {
    const comparison = await compareCourse(client, names, seed);
    expect(comparison.differences).toEqual([]);
    for (const [label, count] of Object.entries(comparison.answers)) {
      answers[label] = (answers[label] ?? 0) + count;
    }
  }
  // Refusals alone would say little.
  for (const name of ['PutItem', 'UpdateItem', 'DeleteItem', 'GetItem', 'Query', 'TransactWriteItems']) {
    expect(answers[`${name} ok`]).toBeGreaterThan(50);
  }
  expect(answers['TransactWriteItems TransactionCanceledException']).toBeGreaterThan(50);
  expect(answers['UpdateItem ConditionalCheckFailedException']).toBeGreaterThan(50);
  expect(answers['TransactWriteItems IdempotentParameterMismatchException']).toBeGreaterThan(0);
}, 120_000);

describe('at the limits', () => {
  const own = { count: 0 };

  /** Sends them to both, and gives how often each answer came. */
  async function same(requestsOf: (pk: string) => readonly Request[]): Promise<Record<string, number>> {
    const course = `limits-${own.count++}`;
    const { differences, answers } = await compareRequests(client, names, course, requestsOf(`${course}-p`));
    expect(differences).toEqual([]);
    return answers;
  }

  const put = (pk: string, sk: string, more: object = {}): Request => ({
    name: 'PutItem',
    input: { TableName: names.texts, Item: { pk: { S: pk }, sk: { S: sk }, ...more } },
  });
  const query = (pk: string, more: object = {}): Request => ({
    name: 'Query',
    input: {
      TableName: names.texts,
      ConsistentRead: true,
      KeyConditionExpression: 'pk = :pk',
      ExpressionAttributeValues: { ':pk': { S: pk } },
      ...more,
    },
  });
  const update = (pk: string, UpdateExpression: string, values?: object): Request => ({
    name: 'UpdateItem',
    input: {
      TableName: names.texts,
      Key: { pk: { S: pk }, sk: { S: 'a' } },
      UpdateExpression,
      ...(values && { ExpressionAttributeValues: values }),
    },
  });
  /** As much as an item takes beside its keys and this attribute's name. */
  const most = (pk: string): number =>
    400 * 1024 - 'pk'.length - pk.length - 'sk'.length - 'a'.length - 'd'.length;
  const bytes = (length: number): object => ({ B: new Uint8Array(length) });

  test('an item has 400 KB, put or updated', async () => {
    const answers = await same((pk) => [
      put(pk, 'a', { d: bytes(most(pk)) }),
      put(pk, 'a', { d: bytes(most(pk) + 1) }),
      update(pk, 'SET d = :d', { ':d': bytes(most(pk)) }),
      update(pk, 'SET d = :d', { ':d': bytes(most(pk) + 1) }),
    ]);
    expect(answers).toEqual({
      'PutItem ok': 1,
      'PutItem ValidationException': 1,
      'UpdateItem ok': 1,
      'UpdateItem ValidationException': 1,
    });
  });

  test('a page has 1 MB and the item that goes beyond', async () => {
    await same((pk) => [
      ...['a', 'b', 'c', 'd', 'e', 'f'].map((sk) => put(pk, sk, { d: bytes(300_000) })),
      query(pk),
      query(pk, { ExclusiveStartKey: { pk: { S: pk }, sk: { S: 'd' } } }),
      query(pk, { ScanIndexForward: false }),
      query(pk, { ScanIndexForward: false, ExclusiveStartKey: { pk: { S: pk }, sk: { S: 'c' } } }),
    ]);
  }, 60_000);

  test('keys have 2,048 and 1,024 bytes', async () => {
    const answers = await same((pk) => [
      put(pk, 'é'.repeat(512)),
      put(pk, `${'é'.repeat(512)}x`),
      put(pk.padEnd(2_048, 'x'), 'a'),
      put(pk.padEnd(2_049, 'x'), 'a'),
    ]);
    expect(answers).toEqual({ 'PutItem ok': 2, 'PutItem ValidationException': 2 });
  });

  test('a transaction has 100 items, and none of them twice', async () => {
    const transaction = (sks: readonly string[], pk: string): Request => ({
      name: 'TransactWriteItems',
      input: { TransactItems: sks.map((sk) => ({ Put: put(pk, sk).input })) },
    });
    const sks = (count: number) => Array.from({ length: count }, (_, at) => String(at));
    const answers = await same((pk) => [
      transaction(sks(100), pk),
      transaction(sks(101), pk),
      transaction(['a', 'b', 'a'], pk),
      transaction([], pk),
    ]);
    expect(answers).toEqual({ 'TransactWriteItems ok': 1, 'TransactWriteItems ValidationException': 3 });
  });

  test('an index has the items with its key, and no consistent reads', async () => {
    await same((pk) => {
      const byOwner = (more: object = {}) =>
        query(pk, {
          IndexName: 'byOwner',
          KeyConditionExpression: '#owner = :pk',
          ExpressionAttributeNames: { '#owner': 'owner' },
          ConsistentRead: false,
          ...more,
        });
      return [
        put(pk, 'a', { owner: { S: pk } }),
        put(pk, 'b'),
        put(pk, 'c', { owner: { S: 'x' } }),
        byOwner(),
        byOwner({ ConsistentRead: true }),
        byOwner({ IndexName: 'none' }),
        put(pk, 'd', { owner: { S: '' } }),
        put(pk, 'd', { owner: { N: '1' } }),
      ];
    });
  });

  test('a number has 38 digits and magnitudes from 1e-130 to below 1e126', async () => {
    const numbers = [
      '1e125',
      '9.9e125',
      '1e126',
      '1e-130',
      '9e-131',
      '1'.repeat(38),
      '1'.repeat(39),
      '0e999',
      'x',
      '',
    ];
    const answers = await same((pk) => [
      ...numbers.map((N) => put(pk, 'a', { n: { N } })),
      put(pk, 'a', { n: { N: '9.9e125' } }),
      update(pk, 'SET n = n + n'),
      put(pk, 'a', { n: { N: '1'.repeat(38) } }),
      update(pk, 'SET n = n + :one', { ':one': { N: '0.1' } }),
    ]);
    expect(answers['PutItem ValidationException']).toBe(5);
  });

  test('expressions that nobody may write are refused', async () => {
    const conditions = [
      ...[
        '',
        '(',
        's',
        's =',
        's = :v)',
        '((s = :v))',
        '(s = :v)',
        '((s = :v) OR (s = :v))',
        's = :v AND',
        's == :v',
      ],
      ...[
        'nope(s)',
        'size(s)',
        'attribute_exists(:v)',
        'attribute_exists(s, s)',
        'contains(s)',
        's = s',
        'NOT NOT s = :v',
      ],
      ...[
        's in (:v)',
        's Between :v and :v',
        'ATTRIBUTE_EXISTS(s)',
        's.s[0].s = :v',
        's[x] = :v',
        's[-1] = :v',
        ':v = s',
      ],
      ...[
        's = :other',
        '#s = :v',
        's + :v = :v',
        ':v = :v',
        'begins_with(:v, s)',
        'contains(:v, s)',
        's != :v',
      ],
    ];
    await same((pk) =>
      conditions.map((ConditionExpression) => ({
        name: 'PutItem',
        input: {
          ...put(pk, 'a', { s: { S: 'x' } }).input,
          ConditionExpression,
          ExpressionAttributeValues: { ':v': { S: 'x' } },
        },
      })),
    );
  });

  test('updates that nobody may write are refused', async () => {
    const updates = [
      ...[
        '',
        'SET',
        'SET s',
        'SET s = :v SET n = :v',
        'SET s = :v, s = :v',
        'SET s = :v REMOVE s',
        'set s = :v',
      ],
      ...[
        'SET m.x = :v, m = :v',
        'SET m[0] = :v, m.x = :v',
        'SET s = :v + :v',
        'ADD s :v',
        'DELETE s :v',
        'REMOVE s = :v',
      ],
      ...[
        'SET s = list_append(:v, :v)',
        'SET s = nope(:v)',
        'SET s = if_not_exists(:v, :v)',
        'SET pk = :v',
        'SET s = (:v)',
      ],
      ...[
        'SET s = :v,',
        'SET m.x = :v',
        'SET n[0] = :v',
        'REMOVE m.x',
        'REMOVE pk',
        'SET s = if_not_exists(s, :v) + :v',
      ],
    ];
    await same((pk) => [put(pk, 'a'), ...updates.map((one) => update(pk, one, { ':v': { S: 'x' } }))]);
  });

  test('names and values that are not used, not there or empty are refused', async () => {
    await same((pk) => {
      const { input } = put(pk, 'a');
      const variants: object[] = [
        { ExpressionAttributeNames: { '#a': 'a' } },
        { ExpressionAttributeValues: { ':a': { S: 'a' } } },
        { ConditionExpression: 'attribute_not_exists(pk)', ExpressionAttributeNames: {} },
        { ConditionExpression: 'attribute_not_exists(pk)', ExpressionAttributeValues: {} },
        {
          ConditionExpression: 'attribute_not_exists(#a)',
          ExpressionAttributeNames: { '#a': 'a', '#b': 'b' },
        },
        { ConditionExpression: 'attribute_not_exists(#a)', ExpressionAttributeNames: { a: 'a' } },
        { ConditionExpression: 's = :a', ExpressionAttributeValues: { a: { S: 'a' } } },
        { ConditionExpression: 's = :a', ExpressionAttributeValues: { ':a': { S: 'a' }, ':b': { S: 'a' } } },
        { ReturnValues: 'ALL_NEW' },
        { ReturnValues: 'nonsense' },
      ];
      return variants.map((variant) => ({ name: 'PutItem', input: { ...input, ...variant } }));
    });
  });

  test('values that no item holds are refused', async () => {
    const deep = (levels: number): object => (levels === 0 ? { S: 'x' } : { L: [deep(levels - 1)] });
    const values: object[] = [
      ...[
        { SS: [] },
        { SS: ['a', 'a'] },
        { NS: ['1', '1.0'] },
        { BS: [] },
        { SS: [''] },
        { S: '' },
        { M: {} },
        { L: [] },
      ],
      ...[deep(31), deep(32), { M: { '': { S: 'x' } } }],
    ];
    await same((pk) => values.map((d) => put(pk, 'a', { d })));
  });

  test('reserved words stand behind placeholders only', async () => {
    const answers = await same((pk) =>
      [...reservedWords].map((word) => ({
        name: 'GetItem',
        input: {
          TableName: names.texts,
          Key: { pk: { S: pk }, sk: { S: 'a' } },
          ConsistentRead: true,
          ProjectionExpression: word.toLowerCase(),
        },
      })),
    );
    expect(answers).toEqual({ 'GetItem ValidationException': reservedWords.size });
  });

  test('tables that are not there are not found', async () => {
    await same((pk) => {
      const { input } = put(pk, 'a');
      const elsewhere = { ...input, TableName: `${names.texts}-not` };
      return [
        { name: 'PutItem', input: elsewhere },
        { name: 'TransactWriteItems', input: { TransactItems: [{ Put: input }, { Put: elsewhere }] } },
      ];
    });
  });
});
