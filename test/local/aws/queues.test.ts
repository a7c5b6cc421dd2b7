import { PublishCommand, SNSClient } from '@aws-sdk/client-sns';
import {
  ChangeMessageVisibilityCommand,
  DeleteMessageCommand,
  GetQueueUrlCommand,
  type Message,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  SQSClient,
} from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { credentials, queueArn, region, topicArn } from '../../../local/aws/account.ts';
import { type LocalQueues, startQueues } from '../../../local/aws/queues.ts';
import { startFaultProxy } from '../../../local/faults/fault-proxy.ts';

let queues: LocalQueues;

beforeAll(async () => {
  queues = await startQueues(
    {
      'order.fifo': {},
      'lock.fifo': {},
      'many-groups.fifo': {},
      'dedup.fifo': {},
      'by-group.fifo': { highThroughput: true, contentBasedDeduplication: true },
      'late.fifo': {},
      'source.fifo': { deadLetterQueue: 'dead.fifo', maxReceiveCount: 1 },
      'dead.fifo': {},
      source: { deadLetterQueue: 'dead', maxReceiveCount: 2 },
      dead: {},
      short: { retentionSeconds: 0.05 },
      drain: {},
      faulty: {},
      'audit.fifo': {},
    },
    {
      'events.fifo': { subscriptions: [{ queue: 'audit.fifo', rawMessageDelivery: true }] },
    },
  );
});

afterAll(async () => {
  await queues?.stop();
});

const urlOf = (name: string): string => queues.queue(name).url;

async function send(queue: string, ...messages: { body: string; group?: string; id?: string }[]) {
  const { Successful } = await queues.client.send(
    new SendMessageBatchCommand({
      QueueUrl: urlOf(queue),
      Entries: messages.map(({ body, group, id }, index) => ({
        Id: `${index}`,
        MessageBody: body,
        ...(queue.endsWith('.fifo') && {
          MessageGroupId: group ?? 'g',
          MessageDeduplicationId: id ?? `${body}-${group}`,
        }),
      })),
    }),
  );
  return Successful ?? [];
}

async function receive(queue: string, visibilityTimeoutSeconds?: number): Promise<Message[]> {
  const { Messages = [] } = await queues.client.send(
    new ReceiveMessageCommand({
      QueueUrl: urlOf(queue),
      MaxNumberOfMessages: 10,
      MessageSystemAttributeNames: ['All'],
      VisibilityTimeout: visibilityTimeoutSeconds,
    }),
  );
  return Messages;
}

const remove = (queue: string, { ReceiptHandle }: Message) =>
  queues.client.send(new DeleteMessageCommand({ QueueUrl: urlOf(queue), ReceiptHandle }));

const show = (queue: string, { ReceiptHandle }: Message) =>
  queues.client.send(
    new ChangeMessageVisibilityCommand({ QueueUrl: urlOf(queue), ReceiptHandle, VisibilityTimeout: 0 }),
  );

const bodies = (messages: readonly Message[]) => messages.map(({ Body }) => Body);

describe('a local FIFO queue', () => {
  test('hands out the messages of a group together and in order, even after they came back', async () => {
    await send('order.fifo', { body: '1' }, { body: '2' }, { body: '3' });
    const first = await receive('order.fifo');
    expect(bodies(first)).toEqual(['1', '2', '3']);
    for (const message of first) await show('order.fifo', message);
    const second = await receive('order.fifo', 1);
    expect(bodies(second)).toEqual(['1', '2', '3']);
    expect(second.map(({ Attributes }) => Attributes?.ApproximateReceiveCount)).toEqual(['2', '2', '2']);
    // This time by the end of their visibility timeout.
    await expect.poll(async () => bodies(await receive('order.fifo'))).toEqual(['1', '2', '3']);
  });

  test('locks a group while one of its messages is in flight, and only that group', async () => {
    await send('lock.fifo', { body: 'a1', group: 'a' });
    const [a1] = await receive('lock.fifo');
    await send('lock.fifo', { body: 'a2', group: 'a' }, { body: 'b1', group: 'b' });
    expect(bodies(await receive('lock.fifo'))).toEqual(['b1']);
    expect(bodies(await receive('lock.fifo'))).toEqual([]);
    await remove('lock.fifo', a1!);
    expect(bodies(await receive('lock.fifo'))).toEqual(['a2']);
  });

  test('takes ten messages of one group rather than of several', async () => {
    for (const half of [0, 1]) {
      const numbers = Array.from({ length: 10 }, (_, index) => index + 10 * half);
      const group = (number: number) => (number % 2 === 0 ? 'even' : 'odd');
      await send('many-groups.fifo', ...numbers.map((n) => ({ body: `${n}`, group: group(n) })));
    }
    expect(bodies(await receive('many-groups.fifo'))).toEqual(
      ['0', '2', '4', '6', '8', '10', '12', '14', '16', '18'], // as one
    );
    expect(bodies(await receive('many-groups.fifo'))).toHaveLength(10);
  });

  test('takes a deduplication id once, for all of its groups, until it has forgotten it', async () => {
    const [sent] = await send('dedup.fifo', { body: 'first', group: 'a', id: 'same' });
    const [again] = await send('dedup.fifo', { body: 'second', group: 'b', id: 'same' });
    expect(again).toMatchObject({ MessageId: sent?.MessageId, SequenceNumber: sent?.SequenceNumber });
    expect(queues.queue('dedup.fifo').messages).toHaveLength(1);
    queues.queue('dedup.fifo').forgetDeduplicationIds();
    await send('dedup.fifo', { body: 'third', group: 'b', id: 'same' });
    expect(queues.queue('dedup.fifo').messages).toHaveLength(2);
  });

  test('takes a deduplication id once for each group under high throughput, even one made of the content', async () => {
    await send('by-group.fifo', { body: '1', group: 'a', id: 'same' }, { body: '2', group: 'b', id: 'same' });
    await send('by-group.fifo', { body: '3', group: 'a', id: 'same' });
    const ofContent = { QueueUrl: urlOf('by-group.fifo'), MessageBody: 'content' };
    for (const MessageGroupId of ['a', 'b', 'b']) {
      await queues.client.send(new SendMessageCommand({ ...ofContent, MessageGroupId }));
    }
    const messages = queues.queue('by-group.fifo').messages;
    expect(messages.map(({ body, groupId }) => `${groupId}: ${body}`)).toEqual([
      'a: 1',
      'a: content',
      'b: 2',
      'b: content',
    ]);
    expect(messages.map(({ deduplicationId }) => deduplicationId)).toEqual([
      'same',
      expect.stringMatching(/^[\da-f]{64}$/),
      'same',
      expect.stringMatching(/^[\da-f]{64}$/),
    ]);
  });

  test('refuses to delete by a receipt handle whose visibility timeout is over', async () => {
    await send('late.fifo', { body: 'slow' });
    const [message] = await receive('late.fifo', 0);
    await remove('late.fifo', message!);
    expect(bodies(await receive('late.fifo'))).toEqual(['slow']);
  });
});

describe('a local dead-letter queue', () => {
  test('keeps the group of a FIFO message, and takes the message id for its deduplication id', async () => {
    const sent = await send(
      'source.fifo',
      { body: 'bad', group: 'g', id: 'mine' },
      { body: 'next', group: 'g' },
    );
    for (const message of await receive('source.fifo')) await show('source.fifo', message);
    expect(await receive('source.fifo')).toEqual([]);
    expect(queues.queue('dead.fifo').messages).toMatchObject([
      { body: 'bad', groupId: 'g', messageId: sent[0]?.MessageId, deduplicationId: sent[0]?.MessageId },
      { body: 'next', groupId: 'g', messageId: sent[1]?.MessageId, deduplicationId: sent[1]?.MessageId },
    ]);
  });

  test('is redriven in order as new messages, and keeps what was sent to it directly', async () => {
    await send('dead.fifo', { body: 'direct' });
    const dead = queues.queue('dead.fifo').messages;
    expect(queues.queue('dead.fifo').redrive()).toBe(2);
    expect(queues.queue('dead.fifo').messages).toMatchObject([{ body: 'direct' }]);
    const back = await receive('source.fifo');
    expect(bodies(back)).toEqual(['bad', 'next']);
    expect(back.map(({ Attributes }) => Attributes)).toMatchObject(
      dead.slice(0, 2).map(({ deduplicationId }) => ({
        ApproximateReceiveCount: '1',
        MessageGroupId: 'g',
        MessageDeduplicationId: deduplicationId,
      })),
    );
    const ids = new Set([
      ...back.map(({ MessageId }) => MessageId),
      ...dead.map(({ messageId }) => messageId),
    ]);
    expect(ids.size).toBe(5);
  });

  test('gets a message of a standard queue when that is received once more than allowed', async () => {
    await send('source', { body: 'bad' });
    for (const time of [1, 2]) {
      const [message] = await receive('source');
      expect(message?.Attributes?.ApproximateReceiveCount).toBe(`${time}`);
      await show('source', message!);
    }
    expect(await receive('source')).toEqual([]);
    expect(queues.queue('dead').messages).toMatchObject([{ body: 'bad', state: 'visible' }]);
  });
});

test('a queue drops a message at the end of the retention period', async () => {
  expect(await send('short', { body: 'old' })).toHaveLength(1);
  await expect.poll(() => queues.queue('short').messages).toEqual([]);
  expect(await receive('short')).toEqual([]);
});

test('drained() waits for messages in flight', async () => {
  await send('drain', { body: '1' }, { body: '2' });
  let isDrained = false;
  const drained = queues
    .queue('drain')
    .drained()
    .then(() => {
      isDrained = true;
    });
  const messages = await receive('drain');
  await remove('drain', messages[0]!);
  expect(isDrained).toBe(false);
  await remove('drain', messages[1]!);
  await drained;
  await queues.queue('drain').drained();
});

test('a FIFO topic hands on group and deduplication id', async () => {
  const sns = new SNSClient({ endpoint: queues.endpoint, region, credentials });
  const published = { TopicArn: topicArn('events.fifo'), MessageGroupId: 'g', MessageDeduplicationId: 'd' };
  await sns.send(new PublishCommand({ ...published, Message: 'happened' }));
  await sns.send(new PublishCommand({ ...published, Message: 'happened' }));
  expect(queues.queue('audit.fifo').messages).toMatchObject([
    { body: 'happened', groupId: 'g', deduplicationId: 'd' },
  ]);
});

describe('a proxy in front of the queues', () => {
  test('loses, repeats and refuses requests to SQS, even to a queue whose URL was looked up', async () => {
    const proxy = await startFaultProxy(queues.endpoint);
    try {
      const client = new SQSClient({ endpoint: proxy.endpoint, region, credentials, maxAttempts: 2 });
      const { QueueUrl } = await client.send(new GetQueueUrlCommand({ QueueName: 'faulty' }));
      expect(QueueUrl).toBe(`${proxy.endpoint}/000000000000/faulty`);

      proxy.inject({ operation: 'SendMessage', fault: 'drop-after' });
      await client.send(new SendMessageCommand({ QueueUrl, MessageBody: 'twice' }));
      expect(queues.queue('faulty').messages).toMatchObject([{ body: 'twice' }, { body: 'twice' }]);

      proxy.inject({
        operation: 'SendMessage',
        fault: { status: 400, type: 'InvalidMessageContents', message: 'no' },
      });
      await expect(client.send(new SendMessageCommand({ QueueUrl, MessageBody: 'x' }))).rejects.toMatchObject(
        {
          name: 'InvalidMessageContents',
          message: 'no',
        },
      );
      expect(proxy.requests.map(({ operation, outcome }) => `${operation} ${outcome}`)).toEqual([
        'GetQueueUrl forwarded',
        'SendMessage faulted',
        'SendMessage forwarded',
        'SendMessage faulted',
      ]);
    } finally {
      await proxy.stop();
    }
  });

  test('refuses requests to SNS in their own format', async () => {
    const proxy = await startFaultProxy(queues.endpoint);
    try {
      const sns = new SNSClient({ endpoint: proxy.endpoint, region, credentials });
      proxy.inject({ operation: 'Publish', fault: { status: 403, type: 'AuthorizationError' } });
      await expect(
        sns.send(new PublishCommand({ TopicArn: topicArn('events.fifo'), Message: 'x' })),
      ).rejects.toMatchObject({ name: 'AuthorizationErrorException' });
    } finally {
      await proxy.stop();
    }
  });
});

test.each([
  [
    { 'q.fifo': { fifo: false } },
    "Queue 'q.fifo': the name of a FIFO queue, and of no other, ends with '.fifo'.",
  ],
  [{ q: { fifo: true } }, "Queue 'q': the name of a FIFO queue"],
  [{ q: { contentBasedDeduplication: true } }, "Queue 'q' is no FIFO queue"],
  [{ q: { maxReceiveCount: 3 } }, "Queue 'q': deadLetterQueue and maxReceiveCount go together."],
  [
    { q: { deadLetterQueue: 'd', maxReceiveCount: 3 } },
    "the dead-letter queue 'd', which is none of the queues.",
  ],
  [{ q: { deadLetterQueue: 'd.fifo', maxReceiveCount: 3 }, 'd.fifo': {} }, 'is a FIFO queue.'],
])('the local queues refuse %j', async (description, problem) => {
  await expect(startQueues(description)).rejects.toThrow(problem);
});

test('a local queue has the ARN of its account, and is found by its name only', () => {
  expect(queues.queue('dead').arn).toBe(queueArn('dead'));
  expect(() => queues.queue('none')).toThrow("There is no queue 'none' in this stack.");
});
