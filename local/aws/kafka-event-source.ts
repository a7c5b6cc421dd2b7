import type { MSKEvent, MSKRecord } from 'aws-lambda';
import { type Consumer, type EachBatchPayload, Kafka, type KafkaMessage, logLevel } from 'kafkajs';
import { accountId, region } from './account.ts';
import { type EventSource, pause, repeatUntil } from './event-source.ts';
import type { Invocation } from './lambda.ts';

/** An event source mapping of a topic, with the names of Lambda. Begins at `TRIM_HORIZON`. */
export interface KafkaEventSourceDescription {
  readonly topic: string;
  /** Sources of one group share the topic's partitions, and Kafka deals them out anew when one comes or goes. */
  readonly consumerGroupId: string;
  /** The most records that one event has. @default 100 */
  readonly batchSize?: number;
}

export interface KafkaEventSourceOptions {
  readonly bootstrapServers: readonly string[];
  readonly invoke: (event: MSKEvent) => Promise<Invocation>;
  /** Told which partitions this source has, each time that they are dealt out. */
  readonly onPartitions?: (partitions: readonly number[]) => void;
}

/**
 * Polls a topic for a function, as Lambda does: partition by partition in order. An offset is committed once the function has
 * succeeded; a batch whose invocation fails is sent again, whole. When partitions are dealt out anew meanwhile, the commit is
 * refused, and the partition's next owner sends the same records again.
 *
 * @see https://docs.aws.amazon.com/lambda/latest/dg/with-kafka.html
 */
export function startKafkaEventSource(
  { topic, consumerGroupId, batchSize = 100 }: KafkaEventSourceDescription,
  { bootstrapServers, invoke, onPartitions }: KafkaEventSourceOptions,
): EventSource {
  const stopping = new AbortController();
  const { signal } = stopping;
  const kafka = new Kafka({ brokers: [...bootstrapServers], logLevel: logLevel.NOTHING });

  /** One member of the group, until it is stopped or its client gives up; then another one takes its place. */
  async function consume(): Promise<void> {
    const consumer = kafka.consumer({
      groupId: consumerGroupId,
      sessionTimeout: 6_000,
      heartbeatInterval: 500,
      // A consumer leaves its group when its last fetch has ended.
      maxWaitTimeInMs: 250,
    });
    const crashed = new Promise<void>((resolve) => {
      consumer.on(consumer.events.CRASH, ({ payload }) => {
        if (!payload.restart) resolve();
      });
    });
    consumer.on(consumer.events.GROUP_JOIN, ({ payload }) =>
      onPartitions?.(payload.memberAssignment[topic] ?? []),
    );
    try {
      await consumer.connect();
      await consumer.subscribe({ topic, fromBeginning: true });
      await consumer.run({
        autoCommit: false,
        partitionsConsumedConcurrently: 4,
        eachBatch: (payload) => handle(consumer, payload),
      });
      await Promise.race([crashed, aborted(signal)]);
    } finally {
      await consumer.disconnect();
    }
  }

  async function handle(
    consumer: Consumer,
    { batch, heartbeat, isRunning, isStale }: EachBatchPayload,
  ): Promise<void> {
    const { partition, messages } = batch;
    for (let at = 0; at < messages.length; at += batchSize) {
      const part = messages.slice(at, at + batchSize);
      const records = part.map((message) => recordOf(topic, partition, message));
      const event = eventOf(bootstrapServers, `${topic}-${partition}`, records);
      if (!(await deliver(event, heartbeat))) return;
      if (!isRunning() || isStale()) return;
      const last = part.at(-1)?.offset ?? '0';
      await consumer.commitOffsets([{ topic, partition, offset: `${BigInt(last) + 1n}` }]);
    }
  }

  /** Whether the function has succeeded; else the source was stopped meanwhile. */
  async function deliver(event: MSKEvent, heartbeat: () => Promise<void>): Promise<boolean> {
    while (!signal.aborted) {
      const alive = setInterval(() => void heartbeat().catch(() => {}), 500);
      const { outcome } = await invoke(event).finally(() => clearInterval(alive));
      if (outcome === 'result') return !signal.aborted;
      await pause(50, signal);
      // Rejects where the partitions are dealt out anew.
      await heartbeat();
    }
    return false;
  }

  return {
    stop: () => stopping.abort(),
    ended: repeatUntil(signal, `event source of ${topic}`, consume),
  };
}

const aborted = (signal: AbortSignal): Promise<void> =>
  new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => resolve(), { once: true });
  });

const eventOf = (bootstrapServers: readonly string[], partition: string, records: MSKRecord[]): MSKEvent => ({
  eventSource: 'aws:kafka',
  eventSourceArn: `arn:aws:kafka:${region}:${accountId}:cluster/local/00000000-0000-0000-0000-000000000000-1`,
  bootstrapServers: bootstrapServers.join(','),
  records: { [partition]: records },
});

const recordOf = (topic: string, partition: number, message: KafkaMessage): MSKRecord => ({
  topic,
  partition,
  offset: Number(message.offset),
  timestamp: Number(message.timestamp),
  timestampType: 'CREATE_TIME',
  key: message.key?.toString('base64') ?? '',
  value: message.value?.toString('base64') ?? '',
  headers: Object.entries(message.headers ?? {}).flatMap(([name, values]) =>
    [values ?? []].flat().map((value) => ({ [name]: [...Buffer.from(value)] })),
  ),
});
