import {
  DeleteItemCommand,
  PutItemCommand,
  TransactWriteItemsCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import type { DynamoDBRecord } from 'aws-lambda';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Stack, startStack } from '../../../local/stack/stack.ts';
import { dynamodbEndpoint } from '../../support/dynamodb.ts';
import { saidBy, type WrittenFunctions, writeFunctions } from '../functions.ts';

/** An item's attribute `fail` is how often the first function to have it fails its batch. */
const source = `
  const say = (what) => console.info(JSON.stringify(what));
  export const raw = async (event) => say(event);
  const failures = new Map();
  const fails = ({ dynamodb }) => {
    const { pk, fail } = dynamodb.NewImage ?? {};
    const before = failures.get(pk?.S) ?? 0;
    if (fail === undefined || before >= Number(fail.N)) return false;
    failures.set(pk.S, before + 1);
    return true;
  };
  const pkOf = ({ dynamodb }) => dynamodb.Keys.pk.S;
  export const stream = async ({ Records }) => {
    say(Records.map(pkOf));
    if (Records.some(fails)) throw new Error('on purpose');
  };
  export const streamPartial = async ({ Records }) => {
    say(Records.map(pkOf));
    const failed = Records.filter(fails).map(({ dynamodb }) => ({ itemIdentifier: dynamodb.SequenceNumber }));
    return { batchItemFailures: failed.reverse() };
  };
`;

let functions: WrittenFunctions;
let stack: Stack;
const tables = Object.fromEntries(
  ['raw', 'ordered', 'partial', 'bisected', 'given-up'].map((name) => [
    name,
    `stream-${name}-${process.pid}`,
  ]),
) as Record<'raw' | 'ordered' | 'partial' | 'bisected' | 'given-up', string>;

beforeAll(async () => {
  functions = await writeFunctions(source);
  const { entry } = functions;
  stack = await startStack(
    {
      tables: Object.values(tables).map((name) => ({ name, stream: 'NEW_AND_OLD_IMAGES' as const })),
      functions: {
        'stream-raw': { entry, handler: 'raw' },
        ordered: { entry, handler: 'stream', maxConcurrency: 1 },
        'stream-partial': { entry, handler: 'streamPartial', maxConcurrency: 1 },
        bisected: { entry, handler: 'stream', maxConcurrency: 1 },
        'given-up': { entry, handler: 'stream', maxConcurrency: 1 },
      },
      eventSources: [
        {
          stream: tables.raw,
          function: 'stream-raw',
          filters: [{ eventName: ['INSERT', 'MODIFY'], dynamodb: { Keys: { sk: { S: ['wanted'] } } } }],
        },
        { stream: tables.ordered, function: 'ordered', batchSize: 3 },
        { stream: tables.partial, function: 'stream-partial', reportBatchItemFailures: true },
        { stream: tables.bisected, function: 'bisected', bisectBatchOnFunctionError: true },
        { stream: tables['given-up'], function: 'given-up', maxRetryAttempts: 1 },
      ],
    },
    { dynamodbEndpoint: dynamodbEndpoint() },
  );
});

afterAll(async () => {
  await stack?.stop();
  await functions?.remove();
});

const said = <Line>(functionName: string): Line[] => saidBy(stack, functionName);
const recordsOf = (functionName: string): DynamoDBRecord[] =>
  said<{ Records: DynamoDBRecord[] }>(functionName).flatMap(({ Records }) => Records);

describe('an event source mapping of a stream', () => {
  const write = (table: string, ...items: { pk: string; fail?: number }[]) =>
    stack.dynamodb.send(
      new TransactWriteItemsCommand({
        TransactItems: items.map(({ pk, fail }) => ({
          Put: {
            TableName: table,
            Item: { pk: { S: pk }, sk: { S: 'x' }, ...(fail !== undefined && { fail: { N: `${fail}` } }) },
          },
        })),
      }),
    );

  test('makes the events that Lambda would make of the records that pass its filters', async () => {
    const TableName = tables.raw;
    const Key = { pk: { S: 'a' }, sk: { S: 'wanted' } };
    const bytes = Buffer.from([0, 255]);
    const Item = { ...Key, b: { B: bytes }, m: { M: { l: { L: [{ BS: [bytes] }, { N: '1' }] } } } };
    await stack.dynamodb.send(new PutItemCommand({ TableName, Item: { ...Key, sk: { S: 'unwanted' } } }));
    await stack.dynamodb.send(new PutItemCommand({ TableName, Item }));
    await stack.dynamodb.send(
      new UpdateItemCommand({
        TableName,
        Key,
        UpdateExpression: 'SET b = :b REMOVE m',
        ExpressionAttributeValues: { ':b': { BOOL: true } },
      }),
    );
    await stack.dynamodb.send(new DeleteItemCommand({ TableName, Key }));
    await stack.streamDrained(TableName);

    const image = { ...Key, b: { B: 'AP8=' }, m: { M: { l: { L: [{ BS: ['AP8='] }, { N: '1' }] } } } };
    const change = {
      ApproximateCreationDateTime: expect.any(Number),
      Keys: Key,
      SequenceNumber: expect.stringMatching(/^\d+$/),
      SizeBytes: expect.any(Number),
      StreamViewType: 'NEW_AND_OLD_IMAGES',
    };
    const common = {
      eventID: expect.any(String),
      eventVersion: expect.any(String),
      eventSource: 'aws:dynamodb',
      awsRegion: 'eu-west-1',
      eventSourceARN: expect.stringMatching(new RegExp(`^arn:aws:dynamodb:.*:table/${TableName}/stream/`)),
    };
    expect(recordsOf('stream-raw')).toEqual([
      { ...common, eventName: 'INSERT', dynamodb: { ...change, NewImage: image } },
      {
        ...common,
        eventName: 'MODIFY',
        dynamodb: { ...change, OldImage: image, NewImage: { ...Key, b: { BOOL: true } } },
      },
    ]);
  });

  test('keeps the order and repeats a failed batch before it goes on', async () => {
    const pks = ['1', '2', '3', '4', '5', '6', '7'];
    for (const pk of pks) await write(tables.ordered, { pk, ...(pk === '1' && { fail: 2 }) });
    await stack.streamDrained(tables.ordered);
    const batches = said<string[]>('ordered');
    const [first] = batches;
    expect(batches.slice(0, 3)).toEqual([first, first, first]);
    expect(batches.slice(2).flat()).toEqual(pks);
    expect(Math.max(...batches.map(({ length }) => length))).toBeLessThanOrEqual(3);
  });

  test('goes on from the lowest reported sequence number', async () => {
    await write(tables.partial, { pk: '1' }, { pk: '2' });
    await stack.streamDrained(tables.partial);
    const before = said('stream-partial').length;
    const written = Array.from({ length: 5 }, (_, index) => ({ pk: `p${index}`, fail: 0 }));
    for (const one of [1, 3]) written[one]!.fail = 1;
    await write(tables.partial, ...written);
    await stack.streamDrained(tables.partial);
    const batches = said<string[]>('stream-partial').slice(before);
    expect(batches).toHaveLength(2);
    const [all = [], rest] = batches;
    expect(all).toHaveLength(5);
    // Within a transaction the order is DynamoDB's choice.
    const lowest = Math.min(all.indexOf('p1'), all.indexOf('p3'));
    expect(rest).toEqual(all.slice(lowest));
  });

  test('halves a failed batch until the bad record is alone', async () => {
    await write(tables.bisected, { pk: '1' }, { pk: '2' }, { pk: '3', fail: 3 }, { pk: '4' });
    await stack.streamDrained(tables.bisected);
    const batches = said<string[]>('bisected');
    expect(batches[0]).toHaveLength(4);
    const withBad = batches.filter((batch) => batch.includes('3'));
    expect(withBad.map(({ length }) => length)).toEqual([4, 2, 1, 1]);
    expect(
      batches
        .slice(1)
        .flat()
        .filter((pk) => pk !== '3')
        .sort(),
    ).toEqual(expect.arrayContaining(['1', '2', '4']));
  });

  test('discards a batch after its retries, logs that and goes on', async () => {
    await write(tables['given-up'], { pk: 'bad', fail: 99 });
    await stack.streamDrained(tables['given-up']);
    await write(tables['given-up'], { pk: 'good' });
    await stack.streamDrained(tables['given-up']);
    expect(said('given-up')).toEqual([['bad'], ['bad'], ['good']]);
    expect(stack.logs).toContainEqual({
      functionName: 'given-up',
      text: expect.stringMatching(/^Discarded: \d+$/),
    });
  });
});
