import { randomUUID } from 'node:crypto';
import { paginateScan } from '@aws-sdk/client-dynamodb';
import type { MSKEvent } from 'aws-lambda';
import { Kafka, logLevel } from 'kafkajs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { SoldItem } from '../../examples/sales-topic.ts';
import { attribute, environment } from '../../lib/record.ts';
import { queueUrl } from '../../local/aws/account.ts';
import type { EventSource } from '../../local/aws/event-source.ts';
import { type KafkaBrokers, startKafka } from '../../local/aws/kafka.ts';
import { startKafkaEventSource } from '../../local/aws/kafka-event-source.ts';
import type { Invocation } from '../../local/aws/lambda.ts';
import { type Stack, startStack } from '../../local/stack/stack.ts';
import { dynamodbEndpoint } from '../support/dynamodb.ts';

/**
 * Kafka to SQS: a consumer group of two, one of which comes later and one of which leaves, reads a topic for a function that keeps
 * positions, in processes that are killed. What it sends lies in the outbox, and a relay publishes it.
 */
const records = `records-${randomUUID()}`;
const queue = 'ledger.fifo';
let brokers: KafkaBrokers;
let stack: Stack;
const sources: EventSource[] = [];

beforeAll(async () => {
  const table = { [environment.table]: records };
  [brokers, stack] = await Promise.all([
    startKafka(),
    startStack(
      {
        tables: [{ name: records, stream: 'NEW_AND_OLD_IMAGES' }],
        queues: { [queue]: {} },
        functions: {
          topic: {
            entry: 'examples/sales-topic.ts',
            environment: { ...table, [environment.namespace]: 'sales', [environment.destinations]: 'ledger' },
          },
          relay: {
            entry: 'examples/relay.ts',
            environment: { LEDGER_QUEUE_URL: queueUrl(queue) },
            timeoutSeconds: 10,
          },
        },
        eventSources: [
          {
            ...{ stream: records, function: 'relay', reportBatchItemFailures: true },
            filters: [
              {
                eventName: ['INSERT'],
                dynamodb: { NewImage: { [attribute.destination]: { S: ['ledger'] } } },
              },
            ],
          },
        ],
      },
      { dynamodbEndpoint: dynamodbEndpoint() },
    ),
  ]);
}, 120_000);

afterAll(async () => {
  for (const source of sources) source.stop();
  await Promise.all(sources.map(({ ended }) => ended));
  await stack?.stop();
  await brokers?.stop();
});

/** A member of the group. Every fifth invocation is killed, at one of its requests, before it is sent or after it was applied. */
function join(topic: string, delivered: string[], killed: string[]): EventSource {
  let invocations = 0;
  const invoke = async (event: MSKEvent): Promise<Invocation> => {
    delivered.push(...idsIn(event));
    const kill =
      ++invocations % 5 === 0
        ? stack.killAt({
            function: 'topic',
            request: 1 + (invocations % 2),
            when: invocations % 3 === 0 ? 'before' : 'after',
          })
        : undefined;
    const invocation = await stack.function('topic').invoke(event);
    const struck = kill?.disarm();
    if (struck) killed.push(struck.operation);
    return invocation;
  };
  const source = startKafkaEventSource(
    { topic, consumerGroupId: topic, batchSize: 7 },
    { bootstrapServers: brokers.bootstrapServers, invoke },
  );
  sources.push(source);
  return source;
}

const idsIn = ({ records }: MSKEvent): string[] =>
  Object.values(records).flatMap((list) =>
    list.map(({ value }) => (JSON.parse(Buffer.from(value, 'base64').toString()) as SoldItem).id),
  );

/** Sixty sales of four customers, each customer in a partition of its own, in an order that is kept. */
async function produce(topic: string, from: number): Promise<string[]> {
  const kafka = new Kafka({ brokers: [...brokers.bootstrapServers], logLevel: logLevel.NOTHING });
  const producer = kafka.producer();
  await producer.connect();
  const ids: string[] = [];
  for (const partition of [0, 1, 2, 3]) {
    const sales = Array.from({ length: 15 }, (_, number): SoldItem => {
      const id = `${partition}-${from + number}`;
      return { id, customer: `ada-${partition}`, amount: 4_200, currency: 'EUR' };
    });
    ids.push(...sales.map(({ id }) => id));
    await producer.send({
      topic,
      messages: sales.map((sale) => ({ partition, key: sale.customer, value: JSON.stringify(sale) })),
    });
  }
  await producer.disconnect();
  return ids;
}

/** The ids of the sales in the outbox. */
async function staged(): Promise<string[]> {
  const found: string[] = [];
  for await (const { Items = [] } of paginateScan(
    { client: stack.dynamodb },
    { TableName: records, ConsistentRead: true },
  )) {
    for (const item of Items) {
      const body = item[attribute.body]?.S;
      if (body !== undefined) found.push((JSON.parse(body) as SoldItem).id);
    }
  }
  return found;
}

// A rebalance waits for seconds, and there are several.
test('each sale of a topic is one message, in order, over rebalances and kills', {
  timeout: 180_000,
}, async () => {
  const topic = `sales-${randomUUID()}`;
  const delivered: string[] = [];
  const killed: string[] = [];
  const produced = [...(await produce(topic, 0))];
  const first = join(topic, delivered, killed);
  await expect.poll(() => delivered.length, { timeout: 30_000 }).toBeGreaterThan(20);
  join(topic, delivered, killed);
  produced.push(...(await produce(topic, 15)));
  const all = () => new Set(delivered).size === produced.length;
  await expect.poll(async () => (await staged()).length, { timeout: 60_000 }).toBe(produced.length);
  expect(all()).toBe(true);
  first.stop();
  await first.ended;
  produced.push(...(await produce(topic, 30)));
  await expect
    .poll(async () => (await staged()).length, { timeout: 60_000 })
    .toBeGreaterThanOrEqual(produced.length);
  await stack.streamDrained(records);

  expect(delivered.length).toBeGreaterThan(produced.length);
  expect(new Set(killed)).toEqual(new Set(['GetItem', 'TransactWriteItems']));
  expect((await staged()).sort()).toEqual([...produced].sort());
  const published = stack.queue(queue).messages.map(({ body }) => (JSON.parse(body) as SoldItem).id);
  for (const partition of [0, 1, 2, 3]) {
    const own = (ids: readonly string[]) => ids.filter((id) => id.startsWith(`${partition}-`));
    expect(own(published)).toEqual(own(produced));
  }
});
