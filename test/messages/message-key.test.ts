import { randomUUID } from 'node:crypto';
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoDBStreamsClient } from '@aws-sdk/client-dynamodb-streams';
import { SNSClient } from '@aws-sdk/client-sns';
import { SendMessageCommand } from '@aws-sdk/client-sqs';
import type { Context, DynamoDBRecord, SQSEvent, SQSRecord } from 'aws-lambda';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished, vi } from 'vitest';
import {
  dynamoStore,
  eachRecord,
  type IdempotentOptions,
  idempotent,
  type Message,
  messageKey,
  operation,
  relayOutbox,
  sendOnce,
} from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { credentials, region, topicArn } from '../../local/aws/account.ts';
import { createTable } from '../../local/aws/dynamodb-tables.ts';
import { type LocalQueue, type LocalQueues, startQueues } from '../../local/aws/index.ts';
import { startPipe } from '../../local/aws/pipes.ts';
import { startSqsEventSource } from '../../local/aws/sqs-event-source.ts';
import { startStreamEventSource } from '../../local/aws/stream-event-source.ts';
import { failedIn, fifoMessage, snsNotification, sqsEvent, sqsMessage } from '../support/batch-events.ts';
import { clientFor, dynamodbEndpoint } from '../support/dynamodb.ts';
import { lambdaContext } from '../support/invocation.ts';
import { failureOf } from '../support/work.ts';

let dynamodb: DynamoDBClient;
let streams: DynamoDBStreamsClient;
let queues: LocalQueues;
let sns: SNSClient;

beforeAll(async () => {
  dynamodb = clientFor(dynamodbEndpoint());
  streams = new DynamoDBStreamsClient({ endpoint: dynamodbEndpoint(), region, credentials });
  const ledger = (deadLetterQueue: string) => ({
    ...{ deadLetterQueue, maxReceiveCount: 2, visibilityTimeoutSeconds: 1 },
  });
  queues = await startQueues(
    {
      'ledger.fifo': ledger('dead.fifo'),
      'dead.fifo': {},
      'raw.fifo': {},
      'wrapped.fifo': {},
    },
    {
      'events.fifo': {
        subscriptions: [{ queue: 'raw.fifo', rawMessageDelivery: true }, { queue: 'wrapped.fifo' }],
      },
    },
  );
  sns = new SNSClient({ endpoint: queues.endpoint, region, credentials });
});

afterAll(async () => {
  await queues?.stop();
  for (const client of [sns, streams, dynamodb]) client?.destroy();
});

beforeEach(() => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
});

/** A table with a stream, an operation that stages messages in it, and the stream's records. */
async function openOutbox() {
  const name = `keys-${randomUUID()}`;
  const table = await createTable(dynamodb, {
    ...{ name, partitionKey: 'pk', sortKey: 'sk', stream: 'NEW_IMAGE' },
  });
  const streamArn = table.streamArn ?? '';
  const records: DynamoDBRecord[] = [];
  const source = startStreamEventSource(
    {},
    {
      ...{ name: 'keep', client: streams, streamArn, onDiscard: () => {} },
      invoke: async ({ Records }) => {
        records.push(...Records);
        return { outcome: 'result', payload: 'null' };
      },
    },
  );
  onTestFinished(async () => {
    source.stop();
    await source.ended;
    await table.remove();
  });
  const stage = idempotent(
    async (messages: readonly Message[], context: Context) =>
      operation(context).commit({ result: 'staged', messages }),
    {
      ...{ store: dynamoStore({ tableName: name, client: dynamodb }), namespace: 'outbox' },
      ...{ key: () => randomUUID(), fingerprint: false, destinations: ['ledger', 'events'] },
    },
  );
  return {
    streamArn,
    async stage(...messages: Message[]): Promise<DynamoDBRecord[]> {
      await stage(messages);
      await source.drained();
      return records;
    },
  };
}

/** A guarded consumer; `isDoomed` makes an invocation do its work and then end as if it had been killed. */
function consume(name: string, options: IdempotentOptions<SQSRecord>) {
  const done: unknown[] = [];
  const keys: string[] = [];
  const queue = queues.queue(name);
  let isDoomed = false;
  const handler = idempotent(
    eachRecord<SQSRecord>(async ({ body }, op) => {
      done.push(body);
      keys.push(op.key);
    }),
    { store: memoryStore(), ...options },
  );
  const source = startSqsEventSource(
    { queue: name, function: 'consumer', reportBatchItemFailures: true, maxConcurrency: 1 },
    {
      ...{ client: queues.client, queueUrl: queue.url, queueArn: queue.arn },
      invoke: async (event: SQSEvent) => {
        const answer = await handler(event, lambdaContext());
        return isDoomed
          ? { outcome: 'crash', reason: 'on purpose' }
          : { outcome: 'result', payload: JSON.stringify(answer) };
      },
    },
  );
  onTestFinished(async () => {
    source.stop();
    await source.ended;
  });
  return {
    ...{ done, keys, queue },
    /** Finishes what comes next and dies each time before it says so. */
    doom: (whether: boolean) => {
      isDoomed = whether;
    },
  };
}

/** Brings what was finished into the dead-letter queue and back. */
async function buryAndRedrive(
  queue: LocalQueue,
  doom: (whether: boolean) => void,
  send: () => Promise<unknown>,
) {
  const dead = queues.queue('dead.fifo');
  doom(true);
  await send();
  await queue.drained();
  expect(dead.messages).toHaveLength(1);
  doom(false);
  queue.forgetDeduplicationIds();
  expect(dead.redrive()).toBe(1);
  await queue.drained();
}

const entry = (more: Partial<Message> = {}): Message => ({
  ...{ destination: 'ledger', body: { amount: 7 }, groupId: randomUUID(), keyInBody: true },
  ...more,
});

describe('a message from the outbox, under `key: messageKey`', () => {
  const relay = () =>
    relayOutbox({
      destinations: {
        ledger: { queueUrl: queues.queue('ledger.fifo').url },
        events: { topicArn: topicArn('events.fifo') },
      },
      clients: { sqs: queues.client, sns },
    });

  it('is one operation through a pipe, through a relay, redriven, and sent anew by hand', async () => {
    const { stage, streamArn } = await openOutbox();
    const { done, keys, queue, doom } = consume('ledger.fifo', { key: messageKey });
    const message = entry();
    const Records = await stage(message);
    const staged = Records.find(({ dynamodb: image }) => image?.NewImage?.body)?.dynamodb?.NewImage;

    const path = (name: string) => `$.dynamodb.NewImage.${name}.S`;
    const pipe = startPipe(
      'ledger',
      {
        ...{ stream: 'outbox', queue: 'ledger.fifo', inputTemplate: `<${path('body')}>` },
        ...{ messageGroupId: path('groupId'), messageDeduplicationId: path('deduplicationId') },
        filters: [{ eventName: ['INSERT'], dynamodb: { NewImage: { destination: { S: ['ledger'] } } } }],
      },
      {
        ...{ client: streams, streamArn, sqs: queues.client, queueUrl: queue.url },
        onError: (text) => expect.unreachable(text),
      },
    );
    await pipe.drained();
    pipe.stop();
    await pipe.ended;
    await queue.drained();
    expect(done).toEqual([`{"idempotencyKey":"${staged?.deduplicationId?.S}","amount":7}`]);
    expect(keys).toEqual([`${message.groupId}#${staged?.deduplicationId?.S}`]);

    queue.forgetDeduplicationIds();
    await buryAndRedrive(queue, doom, () => relay()({ Records }));
    queue.forgetDeduplicationIds();
    await queues.client.send(
      new SendMessageCommand({
        ...{ QueueUrl: queue.url, MessageBody: staged?.body?.S },
        ...{ MessageGroupId: staged?.groupId?.S, MessageDeduplicationId: randomUUID() },
      }),
    );
    await queue.drained();
    expect(done).toHaveLength(1);
  });

  it('needs no key in its body where a relay publishes it: a text, redriven after it was done', async () => {
    const { stage } = await openOutbox();
    const { done, queue, doom } = consume('ledger.fifo', { key: messageKey });
    const Records = await stage(entry({ body: 'a text', keyInBody: false }));
    await buryAndRedrive(queue, doom, () => relay()({ Records }));
    expect(done).toEqual(['a text']);
  });

  it('is another operation after a redrive by the ids of the queue, which is why the key is there', async () => {
    const { stage } = await openOutbox();
    const { done, queue, doom } = consume('ledger.fifo', {});
    const Records = await stage(entry({ body: 'twice', keyInBody: false }));
    await buryAndRedrive(queue, doom, () => relay()({ Records }));
    expect(done).toEqual(['twice', 'twice']);
  });

  it('is the same operation as by the ids of the queue, so a consumer may change over at any time', async () => {
    const { stage } = await openOutbox();
    const store = memoryStore();
    const namespace = 'consumer';
    const Records = await stage(entry());
    const before = consume('ledger.fifo', { store, namespace });
    await relay()({ Records });
    await before.queue.drained();
    before.queue.forgetDeduplicationIds();
    const seen: string[] = [];
    const after = idempotent(
      eachRecord<SQSRecord>(async ({ body }) => void seen.push(body)),
      { store, namespace, key: messageKey },
    );
    const [groupId = ''] = before.keys[0]?.split('#') ?? [];
    const record = fifoMessage('m-2', groupId, { body: before.done[0], deduplicationId: 'replaced' });
    const { arn: eventSourceARN } = before.queue;
    expect(failedIn(await after(sqsEvent({ ...record, eventSourceARN }), lambdaContext()))).toEqual([]);
    expect(seen).toEqual([]);
  });

  it('is known by its key behind a topic, raw and in an envelope', async () => {
    const { stage } = await openOutbox();
    const Records = await stage(entry({ destination: 'events', keyInBody: false, deduplicationId: 'id-1' }));
    const consumers = ['raw.fifo', 'wrapped.fifo'].map((name) => consume(name, { key: messageKey }));
    expect(await relay()({ Records })).toEqual({ batchItemFailures: [] });
    for (const { keys, queue } of consumers) {
      await queue.drained();
      expect(keys).toEqual([expect.stringMatching(/#id-1$/)]);
    }
  });

  it('is one operation when it is redriven, as is one of sendOnce', async () => {
    const { done, queue, doom } = consume('ledger.fifo', { key: messageKey });
    const message = { QueueUrl: queue.url, MessageGroupId: randomUUID(), MessageBody: 'sent' };
    await buryAndRedrive(queue, doom, () => sendOnce(queues.client, message, ['sent', randomUUID()]));
    expect(done).toEqual(['sent']);
  });
});

describe('messageKey()', () => {
  const attribute = (stringValue: string) => ({
    ...{ idempotencyKey: { stringValue, dataType: 'String' } },
  });
  const withAttribute = (record: SQSRecord, key: string): SQSRecord => ({
    ...record,
    messageAttributes: attribute(key) as SQSRecord['messageAttributes'],
  });

  it('is group and key in a FIFO queue, the key alone elsewhere', () => {
    expect(messageKey(withAttribute(fifoMessage('m', 'g'), 'k'))).toEqual(['g', 'k']);
    expect(messageKey(withAttribute(sqsMessage('m'), 'k'))).toEqual(['k']);
    expect(messageKey(fifoMessage('m', 'g', { body: { idempotencyKey: 'k' } }))).toEqual(['g', 'k']);
    expect(messageKey(snsNotification('1', { idempotencyKey: 'k' }))).toEqual(['k']);
    const event = { id: '1', source: 's', 'detail-type': 'd', detail: { idempotencyKey: 'k' } };
    expect(messageKey(event)).toEqual(['k']);
    expect(messageKey(sqsMessage('m', event))).toEqual(['k']);
  });

  it.each([
    ['no key', {}],
    ['a body that is no JSON', 'idempotencyKey'],
    ['a key that is no text', { idempotencyKey: 7 }],
    ['a blank key', { idempotencyKey: ' ' }],
    ['a key deeper down', { more: { idempotencyKey: 'k' } }],
    ['a list', [{ idempotencyKey: 'k' }]],
    ['null', null],
  ])('finds nothing in a message with %s', (_, body) => {
    expect(messageKey(fifoMessage('m', 'g', { body }))).toBeUndefined();
  });

  it('finds nothing that an object merely inherits', () => {
    const messageAttributes = Object.create(attribute('k'));
    expect(messageKey({ ...fifoMessage('m', 'g'), messageAttributes })).toBeUndefined();
    for (const value of [undefined, null, 'text', 7, [], { Sns: {} }, { Records: [] }]) {
      expect(messageKey(value)).toBeUndefined();
    }
  });

  it('reads 1 MB of nested envelopes in one go', () => {
    let body = 'x';
    while (body.length < 1_000_000) body = JSON.stringify({ Type: 'Notification', Message: body });
    const deep = `{"idempotencyKey":${'['.repeat(1_000_000)}`;
    for (const text of [body, deep, `{"a":"${'idempotencyKey'.repeat(70_000)}"}`]) {
      expect(messageKey(sqsMessage('m', text))).toBeUndefined();
    }
  });

  it('fails a record that carries no key, and says what to do', async () => {
    const handler = idempotent(
      eachRecord<SQSRecord>(async () => {}),
      { store: memoryStore(), key: messageKey },
    );
    expect(failedIn(await handler(sqsEvent(fifoMessage('m', 'g')), lambdaContext()))).toEqual(['m']);
    expect(vi.mocked(console.error).mock.calls.flat().join()).toContain('MISSING_KEY');
  });
});

it('messageKey goes with a handler of one record whose type nobody names', async () => {
  const done: string[] = [];
  const handler = idempotent(
    eachRecord(async (record) => void done.push(record.body)),
    { key: messageKey, store: memoryStore() },
  );
  const record = fifoMessage('m', 'g', { body: { idempotencyKey: 'k' } });
  expect(failedIn(await handler(sqsEvent(record)))).toEqual([]);
  expect(done).toEqual([record.body]);
});

describe('`keyInBody`', () => {
  const stage = (message: Message) =>
    idempotent(
      async (_: string, context: Context) =>
        operation(context).commit({ result: 'staged', messages: [message] }),
      { store: memoryStore(), namespace: 'outbox', key: (id) => id, destinations: ['ledger'] },
    )('1');

  it.each<[string, Partial<Message>, string]>([
    ['a text', { body: '{"amount":7}' }, 'no object'],
    ['a list', { body: [7] }, 'no object'],
    ['a number', { body: 7 }, 'no object'],
    ['a key of its own', { body: { idempotencyKey: 'mine' } }, "'idempotencyKey' in its body already"],
    ['what is no boolean', { keyInBody: 'yes' as never }, 'keyInBody that is a string'],
  ])('is refused with %s', async (_, more, says) => {
    expect(await failureOf(stage(entry(more)))).toMatchObject({
      ...{ code: 'BAD_WRITES', message: expect.stringContaining(says) },
    });
  });
});
