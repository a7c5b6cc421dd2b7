/** Lanes of a real stream, read as Lambda reads it: with retries, bisected, in parallel, and from an earlier place again. */
import { UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { DynamoDBStreamsClient } from '@aws-sdk/client-dynamodb-streams';
import type { DynamoDBRecord, DynamoDBStreamEvent } from 'aws-lambda';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dynamoStore, eachPartition, type IdempotentOptions, idempotent } from '../../lib/index.ts';
import { createTable as createStreamedTable } from '../../local/aws/dynamodb-tables.ts';
import { startStreamEventSource } from '../../local/aws/index.ts';
import { createTable, dynamodbEndpoint, type TestTable } from '../support/dynamodb.ts';
import { lambdaContext } from '../support/invocation.ts';

const accounts = `accounts-${process.pid}`;
const changes = 40;
let table: TestTable;
let streams: DynamoDBStreamsClient;
let streamArn: string;

beforeAll(async () => {
  table = await createTable();
  const created = await createStreamedTable(table.client, {
    ...{ name: accounts, partitionKey: 'pk', sortKey: 'sk', stream: 'NEW_AND_OLD_IMAGES' },
  });
  streamArn = created.streamArn as string;
  streams = new DynamoDBStreamsClient({
    endpoint: dynamodbEndpoint(),
    ...{ region: 'eu-west-1', credentials: { accessKeyId: 'local', secretAccessKey: 'local' } },
  });
  // Ten changes of each of four accounts.
  for (let change = 0; change < changes; change++) {
    await table.client.send(
      new UpdateItemCommand({
        TableName: accounts,
        Key: { pk: { S: `account-${change % 4}` }, sk: { S: 'balance' } },
        UpdateExpression: 'ADD version :one',
        ExpressionAttributeValues: { ':one': { N: '1' } },
      }),
    );
  }
});
afterAll(() => streams?.destroy());

const accountOf = ({ dynamodb }: DynamoDBRecord) => dynamodb?.Keys?.pk?.S ?? '';
const versionOf = ({ dynamodb }: DynamoDBRecord) => Number(dynamodb?.NewImage?.version?.N);

/** A ledger with an entry for each change, which is written once: a second time fails the commit. */
function ledger(name: string, options: IdempotentOptions) {
  const order = new Map<string, number[]>();
  const seen = { records: 0, given: 0, reported: 0, running: 0, mostAtOnce: 0 };
  const entryOf = (record: DynamoDBRecord) => ({
    Put: {
      TableName: table.tableName,
      Item: { pk: `${name} ${accountOf(record)} ${versionOf(record)}`, sk: 'entry' },
      ConditionExpression: 'attribute_not_exists(pk)',
    },
  });
  let failures = 0;
  const guarded = idempotent(
    eachPartition<DynamoDBRecord>(
      async (records, operation) => {
        seen.given += records.length;
        for (let from = 0; from < records.length; from += 3) {
          const part = records.slice(from, from + 3);
          // Every third part fails once it has begun.
          if (++failures % 3 === 0) throw new Error('on purpose');
          await operation.commit({ writes: part.map(entryOf), upTo: part.at(-1) });
          const versions = order.get(accountOf(part[0] as DynamoDBRecord)) ?? [];
          order.set(accountOf(part[0] as DynamoDBRecord), [...versions, ...part.map(versionOf)]);
        }
      },
      {
        onFailure: (_, records) => {
          seen.reported += records.length;
        },
      },
    ),
    { store: dynamoStore(table.store), namespace: name, ...options },
  );
  return {
    order,
    seen,
    async invoke(event: DynamoDBStreamEvent) {
      seen.records += event.Records.length;
      seen.mostAtOnce = Math.max(seen.mostAtOnce, ++seen.running);
      const answer = await guarded(event, lambdaContext());
      seen.running--;
      return { outcome: 'result' as const, payload: JSON.stringify(answer) };
    },
    async entries(): Promise<number> {
      return (await table.dump()).filter((item) => item.pk?.S?.startsWith(`${name} account-`)).length;
    },
  };
}

const tenVersions = Array.from({ length: 10 }, (_, at) => at + 1);

describe.each<[string, IdempotentOptions]>([
  ['without a claim', { claim: 'at-commit' }],
  ['under a claim', {}],
])('a ledger of a stream, %s', (level, options) => {
  test.each([
    ['whole', {}],
    ['bisected', { bisectBatchOnFunctionError: true }],
    ['in parallel', { parallelizationFactor: 3 }],
  ])(
    'has each change once, in the order of its account, of batches that come again %s',
    async (how, more) => {
      const book = ledger(`${level} ${how}`, options);
      const source = startStreamEventSource(
        { batchSize: 12, reportBatchItemFailures: true, ...more },
        {
          ...{ name: 'ledger', client: streams, streamArn, invoke: book.invoke },
          onDiscard: () => expect.unreachable('Nothing is given up.'),
        },
      );
      await source.drained();
      source.stop();
      await source.ended;
      expect(book.order.size).toBe(4);
      for (const versions of book.order.values()) expect(versions).toEqual(tenVersions);
      expect(await book.entries()).toBe(changes);
      expect(book.seen.reported).toBeGreaterThan(0);
      expect(book.seen.mostAtOnce > 1).toBe(how === 'in parallel');
    },
  );

  test('has each change once where two readers deliver the stream at the same time, and once more later', async () => {
    const book = ledger(`${level} overlapping`, options);
    const read = (batchSize: number) => {
      const source = startStreamEventSource(
        { batchSize, reportBatchItemFailures: true, bisectBatchOnFunctionError: true },
        {
          ...{ name: `reader-${batchSize}`, client: streams, streamArn, invoke: book.invoke },
          onDiscard: () => expect.unreachable('Nothing is given up.'),
        },
      );
      return source.drained().then(async () => {
        source.stop();
        await source.ended;
      });
    };
    await Promise.all([read(5), read(8)]);
    expect(await book.entries()).toBe(changes);
    const { given } = book.seen;
    await read(100);
    expect(book.seen.given).toBe(given);
    expect(book.seen.records).toBeGreaterThan(2 * changes);
  });
});
