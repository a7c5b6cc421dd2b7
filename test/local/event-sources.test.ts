import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  DeleteItemCommand,
  PutItemCommand,
  TransactWriteItemsCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { SendMessageBatchCommand, SendMessageCommand } from '@aws-sdk/client-sqs';
import type { DynamoDBRecord, SQSRecord } from 'aws-lambda';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { queueArn, queueUrl } from '../../local/aws/account.ts';
import { compileFilter } from '../../local/aws/event-filter.ts';
import { failedItems } from '../../local/aws/event-source.ts';
import { type Stack, startStack } from '../../local/stack/stack.ts';
import { dynamodbEndpoint } from '../support/dynamodb.ts';

/** A message's body says what becomes of it: `{ name, until, how }`, where `until` is a receive count. */
const source = `
  import { existsSync } from 'node:fs';
  import { SQSClient, SendMessageCommand } from ${JSON.stringify(import.meta.resolve('@aws-sdk/client-sqs'))};
  const say = (what) => console.info(JSON.stringify(what));
  const wishOf = (record) => JSON.parse(record.body);
  const isBad = (record) => Number(record.attributes.ApproximateReceiveCount) <= (wishOf(record).until ?? 0);

  export const raw = async (event) => say(event);
  export const partial = async ({ Records }) => {
    say(Records.map((record) => wishOf(record).name + ' ' + record.attributes.ApproximateReceiveCount));
    const bad = Records.filter(isBad);
    for (const record of bad) {
      const { how } = wishOf(record);
      if (how === 'crash') process.kill(process.pid, 'SIGKILL');
      if (how === 'throw') throw new Error('on purpose');
      if (how === 'hang') await new Promise(() => {});
    }
    return { batchItemFailures: bad.map(({ messageId }) => ({ itemIdentifier: messageId })) };
  };
  export const held = async ({ Records }) => {
    const names = Records.map((record) => wishOf(record).name);
    say('begin ' + names);
    while (!existsSync(process.env.RELEASE)) await new Promise((resolve) => setTimeout(resolve, 10));
    say('end ' + names);
  };
  const sqs = new SQSClient({});
  export const forward = async ({ Records }) => {
    for (const { body } of Records) {
      await sqs.send(new SendMessageCommand({ QueueUrl: process.env.TARGET_URL, MessageBody: body }));
    }
  };

  const failures = new Map();
  /** An item's attribute fail is how often the first one to have it fails its batch. */
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

let directory: string;
let stack: Stack;
/** The file that lets the function `held` go on. */
const release = (): string => join(directory, 'release');
const tables = Object.fromEntries(
  ['raw', 'ordered', 'partial', 'bisected', 'given-up'].map((name) => [
    name,
    `stream-${name}-${process.pid}`,
  ]),
) as Record<'raw' | 'ordered' | 'partial' | 'bisected' | 'given-up', string>;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'idemkit-events-'));
  const entry = join(directory, 'functions.mjs');
  await writeFile(entry, source);
  const retried = { reportBatchItemFailures: true, retryAfterSeconds: 0 };
  stack = await startStack(
    {
      tables: Object.values(tables).map((name) => ({ name, stream: 'NEW_AND_OLD_IMAGES' as const })),
      queues: {
        raw: {},
        'raw.fifo': {},
        'partial.fifo': { deadLetterQueue: 'dead.fifo', maxReceiveCount: 3 },
        'dead.fifo': {},
        partial: {},
        left: { visibilityTimeoutSeconds: 1 },
        'held.fifo': {},
        window: {},
        forward: {},
        target: {},
      },
      functions: {
        raw: { entry, handler: 'raw' },
        partial: { entry, handler: 'partial', timeoutSeconds: 1 },
        left: { entry, handler: 'partial', timeoutSeconds: 5 },
        held: { entry, handler: 'held', timeoutSeconds: 20, environment: { RELEASE: release() } },
        window: { entry, handler: 'raw' },
        forward: { entry, handler: 'forward', environment: { TARGET_URL: queueUrl('target') } },
        'stream-raw': { entry, handler: 'raw' },
        ordered: { entry, handler: 'stream', maxConcurrency: 1 },
        'stream-partial': { entry, handler: 'streamPartial', maxConcurrency: 1 },
        bisected: { entry, handler: 'stream', maxConcurrency: 1 },
        'given-up': { entry, handler: 'stream', maxConcurrency: 1 },
      },
      eventSources: [
        { queue: 'raw', function: 'raw', maxConcurrency: 1 },
        { queue: 'raw.fifo', function: 'raw', maxConcurrency: 1 },
        { queue: 'partial', function: 'partial', ...retried },
        { queue: 'partial.fifo', function: 'partial', ...retried },
        { queue: 'left', function: 'left', reportBatchItemFailures: true },
        { queue: 'held.fifo', function: 'held', batchSize: 1, maxConcurrency: 3 },
        { queue: 'window', function: 'window', batchSize: 20, maxBatchingWindowSeconds: 5 },
        { queue: 'forward', function: 'forward' },
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
  await rm(directory, { recursive: true, force: true });
});

const isFifo = (queue: string): boolean => queue.endsWith('.fifo');

async function send(
  queue: string,
  ...messages: { name: string; group?: string; until?: number; how?: string }[]
) {
  const { Successful = [] } = await stack.sqs.send(
    new SendMessageBatchCommand({
      QueueUrl: stack.queue(queue).url,
      Entries: messages.map(({ group = 'g', ...wish }, index) => ({
        Id: `${index}`,
        MessageBody: JSON.stringify(wish),
        ...(isFifo(queue) && { MessageGroupId: group, MessageDeduplicationId: wish.name }),
      })),
    }),
  );
  return Successful.map(({ MessageId }) => MessageId);
}

/** What the function has said, line by line. */
function said<Line = any>(functionName: string): Line[] {
  const lines = stack.logs.filter((line) => line.functionName === functionName && line.level === 'info');
  return lines.map(({ text }) => JSON.parse(text));
}

const recordsOf = <Event extends SQSRecord | DynamoDBRecord>(functionName: string): Event[] =>
  said<{ Records: Event[] }>(functionName).flatMap(({ Records }) => Records);

describe('an event source mapping of a queue', () => {
  test('makes the event that Lambda makes', async () => {
    const sent = await stack.sqs.send(
      new SendMessageCommand({
        QueueUrl: stack.queue('raw').url,
        MessageBody: 'hello',
        MessageAttributes: {
          kind: { DataType: 'String', StringValue: 'greeting' },
          bytes: { DataType: 'Binary', BinaryValue: Buffer.from([0, 255]) },
        },
      }),
    );
    await stack.queue('raw').drained();
    expect(recordsOf('raw')).toEqual([
      {
        messageId: sent.MessageId,
        receiptHandle: expect.any(String),
        body: 'hello',
        attributes: {
          ApproximateReceiveCount: '1',
          SentTimestamp: expect.stringMatching(/^\d{13}$/),
          SenderId: expect.any(String),
          ApproximateFirstReceiveTimestamp: expect.stringMatching(/^\d{13}$/),
        },
        messageAttributes: {
          kind: { stringValue: 'greeting', stringListValues: [], binaryListValues: [], dataType: 'String' },
          bytes: { binaryValue: 'AP8=', stringListValues: [], binaryListValues: [], dataType: 'Binary' },
        },
        md5OfMessageAttributes: sent.MD5OfMessageAttributes,
        md5OfBody: '5d41402abc4b2a76b9719d911017c592',
        eventSource: 'aws:sqs',
        eventSourceARN: queueArn('raw'),
        awsRegion: 'eu-west-1',
      },
    ]);
  });

  test('tells group, deduplication id and sequence number of a FIFO queue', async () => {
    await send('raw.fifo', { name: 'ordered', group: 'a' });
    await stack.queue('raw.fifo').drained();
    expect(recordsOf<SQSRecord>('raw').at(-1)?.attributes).toMatchObject({
      MessageGroupId: 'a',
      MessageDeduplicationId: 'ordered',
      SequenceNumber: expect.stringMatching(/^\d{20}$/),
    });
  });

  test('brings only the failed ones of a batch again', async () => {
    await send('partial', { name: 'ok-1' }, { name: 'bad', until: 1 }, { name: 'ok-2' });
    await stack.queue('partial').drained();
    expect(said('partial')).toEqual([['ok-1 1', 'bad 1', 'ok-2 1'], ['bad 2']]);
  });

  test.each(['throw', 'crash', 'hang'])(
    'brings a whole batch again after a %s in its middle',
    async (how) => {
      const before = said('partial').length;
      await send('partial', { name: 'a' }, { name: how, until: 1, how }, { name: 'c' });
      await stack.queue('partial').drained();
      const batches = said<string[]>('partial').slice(before);
      expect(batches[0]).toEqual(['a 1', `${how} 1`, 'c 1']);
      expect(batches.slice(1).flat().sort()).toEqual(['a 2', 'c 2', `${how} 2`].sort());
    },
  );

  test('leaves what failed to its visibility timeout', async () => {
    await send('left', { name: 'left', until: 1 });
    await expect
      .poll(() => stack.queue('left').messages)
      .toMatchObject([{ receiveCount: 1, state: 'in-flight' }]);
    await stack.queue('left').drained();
    const [first, second] = stack.logs.filter(({ functionName }) => functionName === 'left');
    expect([first?.text, second?.text]).toEqual(['["left 1"]', '["left 2"]']);
  });

  test('gives a message up to the dead-letter queue after it was received often enough, and takes it back', async () => {
    const before = said('partial').length;
    const [bad] = await send('partial.fifo', { name: 'bad', until: 3 }, { name: 'other', group: 'h' });
    await stack.queue('partial.fifo').drained();
    expect(said<string[]>('partial').slice(before)).toEqual([['bad 1', 'other 1'], ['bad 2'], ['bad 3']]);
    expect(stack.queue('dead.fifo').messages).toMatchObject([{ messageId: bad, groupId: 'g' }]);

    expect(stack.queue('dead.fifo').redrive()).toBe(1);
    await stack.queue('partial.fifo').drained();
    // Its receive count began anew, and so it fails anew.
    expect(said<string[]>('partial').slice(before + 3)).toEqual([['bad 1'], ['bad 2'], ['bad 3']]);
    expect(stack.queue('dead.fifo').messages).toMatchObject([
      { groupId: 'g', deduplicationId: expect.any(String) },
    ]);
  });

  test('has one batch of a FIFO group in progress, several of several groups, and keeps the order', async () => {
    const groups = ['a', 'b'];
    await send(
      'held.fifo',
      ...[1, 2, 3].flatMap((n) => groups.map((group) => ({ name: `${group}${n}`, group }))),
    );
    await expect.poll(() => said('held').toSorted(), { timeout: 10_000 }).toEqual(['begin a1', 'begin b1']);
    const waiting = stack.queue('held.fifo').messages.filter(({ state }) => state === 'visible');
    expect(waiting.map(({ body }) => JSON.parse(body).name)).toEqual(['a2', 'a3', 'b2', 'b3']);

    await writeFile(release(), '');
    await stack.queue('held.fifo').drained();
    for (const group of groups) {
      expect(said<string>('held').filter((line) => line.includes(` ${group}`))).toEqual(
        [1, 2, 3].flatMap((n) => [`begin ${group}${n}`, `end ${group}${n}`]),
      );
    }
  });

  test('waits for a batch to be full, over several receives, within its window', async () => {
    const names = Array.from({ length: 20 }, (_, index) => ({ name: `${index}` }));
    await send('window', ...names.slice(0, 10));
    await send('window', ...names.slice(10));
    await stack.queue('window').drained();
    expect(said<{ Records: unknown[] }>('window').map(({ Records }) => Records.length)).toEqual([20]);
  });

  test('a function sends to a queue of the stack by the URL in its environment, through the proxy', async () => {
    await send('forward', { name: 'onwards' });
    await stack.queue('forward').drained();
    expect(stack.queue('target').messages).toMatchObject([{ body: '{"name":"onwards"}' }]);
    expect(stack.queueFaults.requests).toMatchObject([
      { operation: 'SendMessage', caller: 'forward', body: { QueueUrl: expect.stringMatching(/\/target$/) } },
    ]);
  });
});

describe('what a function answers', () => {
  const items = ['1', '2', '3'];
  const answered = (payload: unknown) => ({ outcome: 'result', payload: JSON.stringify(payload) }) as const;

  test.each([
    [null],
    [{}],
    [{ batchItemFailures: [] }],
    [{ batchItemFailures: null }],
    [{ statusCode: 500 }],
  ])('%j is a complete success', (answer) => {
    expect(failedItems(answered(answer), items, true)).toEqual([]);
  });

  test.each([
    ['text'],
    [[]],
    [{ batchItemFailures: '1' }],
    [{ batchItemFailures: ['1'] }],
    [{ batchItemFailures: [null] }],
    [{ batchItemFailures: [{ itemIdentifier: '' }] }],
    [{ batchItemFailures: [{ itemIdentifier: null }] }],
    [{ batchItemFailures: [{ itemIdentifier: 1 }] }],
    [{ batchItemFailures: [{ itemIdentifier: '1' }, { messageId: '2' }] }],
    [{ batchItemFailures: [{ itemIdentifier: '1' }, { itemIdentifier: '4' }] }],
  ])('%j is a complete failure', (answer) => {
    expect(failedItems(answered(answer), items, true)).toEqual(items);
  });

  test('names the failed ones, in whatever order', () => {
    const answer = { batchItemFailures: [{ itemIdentifier: '3' }, { itemIdentifier: '1' }] };
    expect(failedItems(answered(answer), items, true)).toEqual(['1', '3']);
  });

  test('does not count without ReportBatchItemFailures', () => {
    expect(failedItems(answered({ batchItemFailures: [{ itemIdentifier: '1' }] }), items, false)).toEqual([]);
    expect(failedItems({ outcome: 'timeout' }, items, false)).toEqual(items);
  });
});

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

  test('makes the events that Lambda makes, of the records that its filters want', async () => {
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

  test('keeps the order, in batches, and repeats one that failed before it goes on', async () => {
    const pks = ['1', '2', '3', '4', '5', '6', '7'];
    for (const pk of pks) await write(tables.ordered, { pk, ...(pk === '1' && { fail: 2 }) });
    await stack.streamDrained(tables.ordered);
    const batches = said<string[]>('ordered');
    const [first] = batches;
    expect(batches.slice(0, 3)).toEqual([first, first, first]);
    expect(batches.slice(2).flat()).toEqual(pks);
    expect(Math.max(...batches.map(({ length }) => length))).toBeLessThanOrEqual(3);
  });

  test('goes on from the lowest sequence number that is reported', async () => {
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

  test('splits a batch that failed in two, until the bad record is alone', async () => {
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

  test('discards a batch after the retries it has, says so, and goes on', async () => {
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

describe('a filter', () => {
  const matches = (pattern: Record<string, unknown>, record: unknown) => compileFilter(pattern)(record);

  test('compares values as they are, and wants all its fields', () => {
    const record = { eventName: 'INSERT', dynamodb: { NewImage: { n: { N: '1' } } } };
    expect(matches({ eventName: ['INSERT', 'MODIFY'] }, record)).toBe(true);
    expect(matches({ eventName: ['REMOVE'] }, record)).toBe(false);
    expect(matches({ dynamodb: { NewImage: { n: { N: ['1'] } } } }, record)).toBe(true);
    expect(matches({ dynamodb: { NewImage: { n: { N: [1] } } } }, record)).toBe(false);
    expect(matches({ eventName: ['INSERT'], dynamodb: { OldImage: { n: { N: ['1'] } } } }, record)).toBe(
      false,
    );
  });

  test.each([
    [{ prefix: 'ab' }, 'abc', true],
    [{ prefix: 'b' }, 'abc', false],
    [{ suffix: 'bc' }, 'abc', true],
    [{ exists: true }, 'abc', true],
    [{ exists: false }, undefined, true],
    [{ exists: false }, 'abc', false],
    [{ 'anything-but': ['abc', 'd'] }, 'abc', false],
    [{ 'anything-but': 'd' }, 'abc', true],
  ])('%j on %j is %j', (operator, value, expected) => {
    expect(matches({ field: [operator] }, { field: value })).toBe(expected);
  });

  test('refuses what it does not know', () => {
    expect(() => compileFilter({ field: 'INSERT' })).toThrow(
      '\'field\' is "INSERT"; expected a list of values',
    );
    expect(() => compileFilter({ field: [{ numeric: ['>', 1] }] })).toThrow(
      'known are prefix, suffix, exists',
    );
  });
});

test.each([
  [{ queue: 'raw.fifo', maxBatchingWindowSeconds: 1 }, 'a FIFO queue has no batching window'],
  [{ queue: 'raw', batchSize: 11 }, 'a batchSize over 10 needs a standard queue'],
  [{ queue: 'raw', batchSize: 0 }, 'batchSize is a whole number from 1'],
  [{ queue: 'none' }, "Event source 'none' is none of the queues (raw, raw.fifo)."],
  [{ stream: 'plain' }, "Event source 'plain' is no table with a stream"],
  [{ stream: 'plain', batchSize: 1001 }, 'batchSize is a whole number from 1 to 1000'],
])('refuses the event source %j', async (mapping, problem) => {
  const functions = { echo: { entry: 'examples/payments.ts' } };
  const described = {
    tables: ['plain'],
    queues: { raw: {}, 'raw.fifo': {} },
    functions,
    eventSources: [{ ...mapping, function: 'echo' }],
  };
  await expect(startStack(described, { dynamodbEndpoint: dynamodbEndpoint() })).rejects.toThrow(problem);
});
