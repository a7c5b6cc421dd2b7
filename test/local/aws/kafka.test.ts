import type { MSKEvent } from 'aws-lambda';
import { Kafka, logLevel, type Producer } from 'kafkajs';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import type { EventSource } from '../../../local/aws/event-source.ts';
import { type KafkaBrokers, startKafka } from '../../../local/aws/kafka.ts';
import { startKafkaEventSource } from '../../../local/aws/kafka-event-source.ts';
import type { Invocation } from '../../../local/aws/lambda.ts';

let brokers: KafkaBrokers;
let producer: Producer;
const sources: EventSource[] = [];

beforeAll(async () => {
  brokers = await startKafka();
  const kafka = new Kafka({ brokers: [...brokers.bootstrapServers], logLevel: logLevel.NOTHING });
  producer = kafka.producer();
  await producer.connect();
}, 60_000);

afterAll(async () => {
  await producer?.disconnect();
  await stopAll();
  await brokers?.stop();
});

async function stopAll(): Promise<void> {
  const running = sources.splice(0);
  for (const source of running) source.stop();
  await Promise.all(running.map(({ ended }) => ended));
}

const partitions = [0, 1, 2, 3];

/** Twenty messages in each partition: `<partition>:<number>`. */
async function produce(topic: string, from = 0): Promise<void> {
  for (const partition of partitions) {
    const messages = Array.from({ length: 20 }, (_, number) => ({
      partition,
      key: `till-${partition}`,
      value: `${partition}:${from + number}`,
      headers: { trace: 'abc' },
    }));
    await producer.send({ topic, messages });
  }
}

const valuesIn = ({ records }: MSKEvent): string[] =>
  Object.values(records).flatMap((list) => list.map(({ value }) => Buffer.from(value, 'base64').toString()));

const done: Invocation = { outcome: 'result', payload: 'null' };
const failed: Invocation = { outcome: 'error', errorType: 'Error', errorMessage: 'on purpose' };

/** A member of a group, with what its function was invoked with. */
function member(topic: string, consumerGroupId: string, invoke: (event: MSKEvent) => Promise<Invocation>) {
  const events: MSKEvent[] = [];
  const dealt: (readonly number[])[] = [];
  const source = startKafkaEventSource(
    { topic, consumerGroupId, batchSize: 8 },
    {
      bootstrapServers: brokers.bootstrapServers,
      invoke: (event) => {
        events.push(event);
        return invoke(event);
      },
      onPartitions: (dealtOut) => dealt.push(dealtOut),
    },
  );
  sources.push(source);
  return { source, events, dealt, values: () => events.flatMap(valuesIn) };
}

// A rebalance waits for seconds.
vi.setConfig({ testTimeout: 60_000 });

const until = (isSo: () => boolean): Promise<void> => expect.poll(isSo, { timeout: 30_000 }).toBe(true);

test('gives a function the records of a partition in order, in the form of MSK', async () => {
  await produce('shape');
  const { values, events } = member('shape', 'shape', async () => done);
  await until(() => values().length === 80);
  for (const partition of partitions) {
    const own = values().filter((value) => value.startsWith(`${partition}:`));
    expect(own).toEqual(Array.from({ length: 20 }, (_, number) => `${partition}:${number}`));
  }
  const event = events.find(({ records }) => records['shape-2'] !== undefined);
  expect(event).toMatchObject({
    eventSource: 'aws:kafka',
    eventSourceArn: expect.stringMatching(/^arn:aws:kafka:/),
  });
  expect(event?.records['shape-2']).toHaveLength(8);
  expect(event?.records['shape-2']?.[0]).toEqual({
    topic: 'shape',
    partition: 2,
    offset: 0,
    timestamp: expect.any(Number),
    timestampType: 'CREATE_TIME',
    key: Buffer.from('till-2').toString('base64'),
    value: Buffer.from('2:0').toString('base64'),
    headers: [{ trace: [...Buffer.from('abc')] }],
  });
  await stopAll();
});

test('sends a batch again whose invocation failed, and nothing of its partition before it', async () => {
  await produce('failing');
  let failures = 2;
  const { values } = member('failing', 'failing', async (event) =>
    valuesIn(event).includes('1:8') && failures-- > 0 ? failed : done,
  );
  await until(() => values().length === 80 + 2 * 8);
  const second = Array.from({ length: 8 }, (_, number) => `1:${8 + number}`);
  expect(values().filter((value) => value.startsWith('1:'))).toEqual([
    ...Array.from({ length: 8 }, (_, number) => `1:${number}`),
    ...[...second, ...second, ...second],
    ...Array.from({ length: 4 }, (_, number) => `1:${16 + number}`),
  ]);
  await stopAll();
});

test('goes on where the group has committed, and not before', async () => {
  await produce('again');
  const first = member('again', 'again', async () => done);
  await until(() => first.values().length === 80);
  await stopAll();
  await produce('again', 20);
  const second = member('again', 'again', async () => done);
  await until(() => second.values().length >= 80);
  expect(second.values().filter((value) => Number(value.split(':')[1]) < 20)).toEqual([]);
  await stopAll();
});

test('repeats a batch for the partition’s next owner, when it is dealt out anew under way', async () => {
  await produce('dealt');
  let release: (invocation: Invocation) => void = () => {};
  const held = new Promise<Invocation>((resolve) => {
    release = resolve;
  });
  const slow = member('dealt', 'dealt', () => held);
  await until(() => slow.events.length === 4);
  const newcomer = member('dealt', 'dealt', async () => done);
  // Kafka waits for the old owner to come back before it deals out partitions.
  await until(() => newcomer.dealt.length > 0 || slow.dealt.length > 1);
  release(done);
  await until(() => new Set([...slow.values(), ...newcomer.values()]).size === 80);
  const counted = new Map<string, number>();
  for (const value of [...slow.values(), ...newcomer.values()]) {
    counted.set(value, (counted.get(value) ?? 0) + 1);
  }
  expect([...counted.values()].some((times) => times > 1)).toBe(true);
  expect(newcomer.dealt.flat().length).toBeGreaterThan(0);
  await stopAll();
});
