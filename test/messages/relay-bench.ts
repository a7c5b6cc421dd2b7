import { randomUUID } from 'node:crypto';
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { DynamoDBStreamsClient } from '@aws-sdk/client-dynamodb-streams';
import { SNSClient } from '@aws-sdk/client-sns';
import type { Context, DynamoDBRecord, DynamoDBStreamEvent } from 'aws-lambda';
import { afterAll, beforeAll, beforeEach, vi } from 'vitest';
import {
  dynamoStore,
  idempotent,
  type Message,
  type Operation,
  operation,
  type RelayOptions,
  relayOutbox,
  type Seal,
} from '../../lib/index.ts';
import { credentials, region, topicArn } from '../../local/aws/account.ts';
import { createTable, type TableDescription } from '../../local/aws/dynamodb-tables.ts';
import type { Invocation } from '../../local/aws/lambda.ts';
import { type LocalQueues, startQueues } from '../../local/aws/queues.ts';
import { type StreamEventSource, startStreamEventSource } from '../../local/aws/stream-event-source.ts';
import { clientFor, dynamodbEndpoint } from '../support/dynamodb.ts';

interface Clients {
  readonly dynamodb: DynamoDBClient;
  readonly streams: DynamoDBStreamsClient;
}

interface Outbox {
  readonly tableName: string;
  readonly source: StreamEventSource;
  /** Runs `work` in an operation of its own; resolves to what the table's stream then has of it. */
  stage(work: (op: Operation) => Promise<unknown>, seal?: Seal): Promise<DynamoDBRecord[]>;
  close(): Promise<void>;
}

/** A table for records, and a reader of its stream. */
async function openOutboxOn(
  { dynamodb, streams }: Clients,
  { partitionKey = 'pk', sortKey = 'sk', stream = 'NEW_IMAGE' }: Partial<TableDescription> = {},
  invoke?: (event: DynamoDBStreamEvent) => Promise<Invocation>,
): Promise<Outbox> {
  const name = `relay-${randomUUID()}`;
  const table = await createTable(dynamodb, { name, partitionKey, sortKey, stream });
  const seen: DynamoDBRecord[] = [];
  const keep = async ({ Records }: DynamoDBStreamEvent): Promise<Invocation> => {
    seen.push(...Records);
    return { outcome: 'result', payload: 'null' };
  };
  const source = startStreamEventSource(
    { reportBatchItemFailures: true },
    {
      name: 'relay',
      client: streams,
      streamArn: table.streamArn ?? '',
      invoke: invoke ?? keep,
      onDiscard: () => {},
    },
  );
  return {
    tableName: name,
    source,
    async stage(work, seal) {
      const id = randomUUID();
      const store = dynamoStore({
        ...{ tableName: name, client: dynamodb, partitionKey, sortKey: sortKey || 'sk' },
        ...(seal && { seal }),
      });
      const handler = idempotent(async (_: string, context: Context) => work(operation(context)), {
        store,
        namespace: id,
        key: (one) => one,
        destinations: ['mail', 'ledger', 'events', 'bus'],
      });
      await handler(id);
      if (invoke) return [];
      await source.drained();
      return seen.filter(({ dynamodb: { Keys } = {} }) => Keys?.[partitionKey]?.S?.startsWith(`${id}#`));
    },
    async close() {
      source.stop();
      await source.ended;
      await table.remove();
    },
  };
}

export const mail = (body: unknown, groupId: string, more: Partial<Message> = {}): Message => ({
  destination: 'mail',
  body,
  groupId,
  ...more,
});

export const commit =
  (...messages: Message[]) =>
  (op: Operation) =>
    op.commit({ result: 'done', messages });

export const numberOf = (record: DynamoDBRecord | undefined): string =>
  record?.dynamodb?.SequenceNumber ?? '';
export const placeOf = ({ dynamodb: { Keys } = {} }: DynamoDBRecord): string => Keys?.sk?.S ?? '';
export const isMessage = (record: DynamoDBRecord): boolean => placeOf(record).includes('#outbox#');
export const recordOf = (records: readonly DynamoDBRecord[], body: string): DynamoDBRecord | undefined =>
  records.find(({ dynamodb: image }) => image?.NewImage?.body?.S === body);

export const nothingFailed = { batchItemFailures: [] };
export const failedFrom = (record: DynamoDBRecord | undefined) => ({
  batchItemFailures: [{ itemIdentifier: numberOf(record) }],
});

/** Queues, a topic, and an outbox whose stream is read. To be called at the top of a test file. */
export function relayBench() {
  let clients: Clients;
  const bench = {
    queues: undefined as unknown as LocalQueues,
    sns: undefined as unknown as SNSClient,
    outbox: undefined as unknown as Outbox,

    openOutbox: (
      description?: Partial<TableDescription>,
      invoke?: (event: DynamoDBStreamEvent) => Promise<Invocation>,
    ) => openOutboxOn(clients, description, invoke),

    /** A relay to the queues and the topic. */
    relayTo: (more: Partial<RelayOptions> = {}) =>
      relayOutbox({
        destinations: {
          mail: { queueUrl: bench.queues.queue('mail.fifo').url },
          ledger: { queueUrl: bench.queues.queue('ledger.fifo').url },
          events: { topicArn: topicArn('events.fifo') },
        },
        clients: { sqs: bench.queues.client, sns: bench.sns },
        ...more,
      }),

    published: (queue: string, group: string) =>
      bench.queues.queue(queue).messages.filter(({ groupId }) => groupId === group),

    bodies: (group: string, queue = 'mail.fifo') => bench.published(queue, group).map(({ body }) => body),
  };

  beforeAll(async () => {
    clients = {
      dynamodb: clientFor(dynamodbEndpoint()),
      streams: new DynamoDBStreamsClient({ endpoint: dynamodbEndpoint(), region, credentials }),
    };
    bench.queues = await startQueues(
      { 'mail.fifo': {}, 'ledger.fifo': {}, 'audit.fifo': {}, 'crash.fifo': {} },
      { 'events.fifo': { subscriptions: [{ queue: 'audit.fifo', rawMessageDelivery: true }] } },
    );
    bench.sns = new SNSClient({ endpoint: bench.queues.endpoint, region, credentials });
    bench.outbox = await bench.openOutbox();
  });
  afterAll(async () => {
    await bench.outbox?.close();
    await bench.queues?.stop();
    for (const client of [bench.sns, clients?.streams, clients?.dynamodb]) client?.destroy();
  });
  beforeEach(() => {
    vi.spyOn(console, 'error').mockImplementation(() => {});
  });
  return bench;
}
