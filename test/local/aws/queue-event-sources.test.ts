import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { SendMessageBatchCommand, SendMessageCommand } from '@aws-sdk/client-sqs';
import type { SQSRecord } from 'aws-lambda';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { queueArn, queueUrl } from '../../../local/aws/account.ts';
import { type Stack, startStack } from '../../../local/stack/stack.ts';
import { dynamodbEndpoint } from '../../support/dynamodb.ts';
import { saidBy, type WrittenFunctions, writeFunctions } from '../functions.ts';

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
`;

let functions: WrittenFunctions;
let stack: Stack;
/** The file that lets the function `held` go on. */
const release = (): string => join(functions.directory, 'release');

beforeAll(async () => {
  functions = await writeFunctions(source);
  const { entry } = functions;
  const retried = { reportBatchItemFailures: true, retryAfterSeconds: 0 };
  stack = await startStack(
    {
      queues: {
        raw: {},
        'raw.fifo': {},
        'partial.fifo': { deadLetterQueue: 'dead.fifo', maxReceiveCount: 3 },
        'dead.fifo': {},
        partial: {},
        hanging: {},
        left: { visibilityTimeoutSeconds: 2 },
        'held.fifo': {},
        window: {},
        forward: {},
        target: {},
      },
      functions: {
        raw: { entry, handler: 'raw' },
        partial: { entry, handler: 'partial', timeoutSeconds: 20 },
        hanging: { entry, handler: 'partial', timeoutSeconds: 2 },
        left: { entry, handler: 'partial', timeoutSeconds: 5 },
        held: { entry, handler: 'held', timeoutSeconds: 20, environment: { RELEASE: release() } },
        window: { entry, handler: 'raw' },
        forward: { entry, handler: 'forward', environment: { TARGET_URL: queueUrl('target') } },
      },
      eventSources: [
        { queue: 'raw', function: 'raw', maxConcurrency: 1 },
        { queue: 'raw.fifo', function: 'raw', maxConcurrency: 1 },
        { queue: 'partial', function: 'partial', ...retried },
        { queue: 'hanging', function: 'hanging', ...retried },
        { queue: 'partial.fifo', function: 'partial', ...retried },
        { queue: 'left', function: 'left', reportBatchItemFailures: true },
        { queue: 'held.fifo', function: 'held', batchSize: 1, maxConcurrency: 3 },
        { queue: 'window', function: 'window', batchSize: 20, maxBatchingWindowSeconds: 5 },
        { queue: 'forward', function: 'forward' },
      ],
    },
    { dynamodbEndpoint: dynamodbEndpoint() },
  );
});

afterAll(async () => {
  await stack?.stop();
  await functions?.remove();
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

const said = <Line>(functionName: string): Line[] => saidBy(stack, functionName);
const recordsOf = (functionName: string): SQSRecord[] =>
  said<{ Records: SQSRecord[] }>(functionName).flatMap(({ Records }) => Records);

describe('an event source mapping of a queue', () => {
  test('makes the event that Lambda would make', async () => {
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

  test('hands on group, deduplication id and sequence number of a FIFO queue', async () => {
    await send('raw.fifo', { name: 'ordered', group: 'a' });
    await stack.queue('raw.fifo').drained();
    expect(recordsOf('raw').at(-1)?.attributes).toMatchObject({
      MessageGroupId: 'a',
      MessageDeduplicationId: 'ordered',
      SequenceNumber: expect.stringMatching(/^\d{20}$/),
    });
  });

  test('delivers only the failed messages of a batch again', async () => {
    await send('partial', { name: 'ok-1' }, { name: 'bad', until: 1 }, { name: 'ok-2' });
    await stack.queue('partial').drained();
    expect(said('partial')).toEqual([['ok-1 1', 'bad 1', 'ok-2 1'], ['bad 2']]);
  });

  test.each(['throw', 'crash', 'hang'])(
    'delivers a whole batch again after a %s in its middle',
    async (how) => {
      // Its deadline is the only short one, so that a busy machine ends no other batch.
      const queue = how === 'hang' ? 'hanging' : 'partial';
      const before = said(queue).length;
      await send(queue, { name: 'a' }, { name: how, until: 1, how }, { name: 'c' });
      await stack.queue(queue).drained();
      const batches = said<string[]>(queue).slice(before);
      expect(batches[0]).toEqual(['a 1', `${how} 1`, 'c 1']);
      expect(batches.slice(1).flat().sort()).toEqual(['a 2', 'c 2', `${how} 2`].sort());
    },
  );

  test('delivers a failed message again after its visibility timeout', async () => {
    await send('left', { name: 'left', until: 1 });
    await expect
      .poll(() => stack.queue('left').messages)
      .toMatchObject([{ receiveCount: 1, state: 'in-flight' }]);
    await stack.queue('left').drained();
    const [first, second] = stack.logs.filter(({ functionName }) => functionName === 'left');
    expect([first?.text, second?.text]).toEqual(['["left 1"]', '["left 2"]']);
  });

  test('moves a message to the dead-letter queue after its last receive, and takes it back from there', async () => {
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

  test('has one batch of each FIFO group in progress and keeps its order', async () => {
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

  test('fills a batch over several receives within its window', async () => {
    const names = Array.from({ length: 20 }, (_, index) => ({ name: `${index}` }));
    await send('window', ...names.slice(0, 10));
    await send('window', ...names.slice(10));
    await stack.queue('window').drained();
    expect(said<{ Records: unknown[] }>('window').map(({ Records }) => Records.length)).toEqual([20]);
  });

  test('lets a function send through the proxy to the queue that its environment names', async () => {
    await send('forward', { name: 'onwards' });
    await stack.queue('forward').drained();
    expect(stack.queue('target').messages).toMatchObject([{ body: '{"name":"onwards"}' }]);
    expect(stack.queueFaults.requests).toMatchObject([
      { operation: 'SendMessage', caller: 'forward', body: { QueueUrl: expect.stringMatching(/\/target$/) } },
    ]);
  });
});
