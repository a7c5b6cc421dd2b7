import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  type Message,
  type MessageAttributeValue,
  ReceiveMessageCommand,
  type SQSClient,
} from '@aws-sdk/client-sqs';
import type { SQSEvent, SQSMessageAttribute, SQSRecord } from 'aws-lambda';
import { region } from './account.ts';
import { type EventSource, failedItems, repeatUntil } from './event-source.ts';
import type { Invocation } from './lambda.ts';

/** An event source mapping of a queue, with the names and defaults of Lambda. */
export interface SqsEventSourceDescription {
  readonly queue: string;
  readonly function: string;
  /** 1 to 10; up to 10 000 with a batching window. @default 10 */
  readonly batchSize?: number;
  /** Standard queues only: how long a batch may wait for more. @default 0 */
  readonly maxBatchingWindowSeconds?: number;
  /** Whether the function's `batchItemFailures` count. @default false */
  readonly reportBatchItemFailures?: boolean;
  /** How many batches may be in progress at once. In a FIFO queue a group is in one of them. @default 5 */
  readonly maxConcurrency?: number;
  /**
   * Not in Lambda, which leaves what failed alone: makes it visible again after this time.
   *
   * @default what is left of the visibility timeout
   */
  readonly retryAfterSeconds?: number;
}

/** @throws Error with what Lambda would not accept */
export function checkSqsEventSource(description: SqsEventSourceDescription): void {
  const { queue, batchSize = 10, maxBatchingWindowSeconds = 0, maxConcurrency = 5 } = description;
  const isFifo = queue.endsWith('.fifo');
  const problem =
    isFifo && maxBatchingWindowSeconds > 0
      ? 'a FIFO queue has no batching window'
      : !(Number.isInteger(batchSize) && batchSize >= 1 && batchSize <= 10_000)
        ? `batchSize is a whole number from 1 to 10 000, not ${batchSize}`
        : batchSize > 10 && maxBatchingWindowSeconds < 1
          ? 'a batchSize over 10 needs a standard queue and a maxBatchingWindowSeconds of at least 1'
          : !(Number.isInteger(maxConcurrency) && maxConcurrency >= 1)
            ? `maxConcurrency is a whole number from 1 up, not ${maxConcurrency}`
            : undefined;
  if (problem !== undefined) throw new Error(`Event source '${queue}': ${problem}.`);
}

export interface SqsEventSourceOptions {
  readonly client: SQSClient;
  readonly queueUrl: string;
  readonly queueArn: string;
  readonly invoke: (event: SQSEvent) => Promise<Invocation>;
  /** What `retryAfterSeconds` is done with, where Lambda's own requests need permission. @default `client` */
  readonly retryWith?: { readonly client: SQSClient; readonly queueUrl: string };
}

/**
 * Polls a queue for a function, as Lambda does: deletes the messages that succeeded and leaves those that failed to
 * their visibility timeout. A function that throws, crashes or runs out of time fails its whole batch. Unlike Lambda it
 * does not slow down after errors.
 *
 * @see https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html
 */
export function startSqsEventSource(
  description: SqsEventSourceDescription,
  {
    client,
    queueUrl: QueueUrl,
    queueArn,
    invoke,
    retryWith = { client, queueUrl: QueueUrl },
  }: SqsEventSourceOptions,
): EventSource {
  const { batchSize = 10, maxBatchingWindowSeconds = 0, maxConcurrency = 5 } = description;
  const { reportBatchItemFailures = false, retryAfterSeconds } = description;
  const stopping = new AbortController();
  const { signal } = stopping;

  async function receive(count: number, waitSeconds: number): Promise<Message[]> {
    const { Messages = [] } = await client.send(
      new ReceiveMessageCommand({
        QueueUrl,
        MaxNumberOfMessages: Math.min(count, 10),
        WaitTimeSeconds: waitSeconds,
        MessageSystemAttributeNames: ['All'],
        MessageAttributeNames: ['All'],
      }),
      { abortSignal: signal },
    );
    return Messages;
  }

  async function receiveBatch(): Promise<Message[]> {
    const batch = await receive(batchSize, 20);
    const endsAtMs = Date.now() + maxBatchingWindowSeconds * 1000;
    while (batch.length > 0 && batch.length < batchSize && Date.now() < endsAtMs) {
      batch.push(...(await receive(batchSize - batch.length, (endsAtMs - Date.now()) / 1000)));
    }
    return batch;
  }

  async function handleBatch(): Promise<void> {
    const batch = await receiveBatch();
    if (batch.length === 0) return;
    const records = batch.map((message) => recordOf(message, queueArn));
    const invocation = await invoke({ Records: records });
    if (signal.aborted) return;
    const ids = records.map(({ messageId }) => messageId);
    const failed = new Set(failedItems(invocation, ids, reportBatchItemFailures));
    await remove(records.filter(({ messageId }) => !failed.has(messageId)));
    if (retryAfterSeconds !== undefined) {
      await bringBack(
        records.filter(({ messageId }) => failed.has(messageId)),
        retryAfterSeconds,
      );
    }
  }

  async function remove(records: readonly SQSRecord[]): Promise<void> {
    for (const ten of inTens(records)) {
      const Entries = ten.map(({ receiptHandle }, index) => ({
        Id: `${index}`,
        ReceiptHandle: receiptHandle,
      }));
      await client.send(new DeleteMessageBatchCommand({ QueueUrl, Entries }));
    }
  }

  async function bringBack(records: readonly SQSRecord[], VisibilityTimeout: number): Promise<void> {
    for (const ten of inTens(records)) {
      const Entries = ten.map(({ receiptHandle }, index) => ({
        Id: `${index}`,
        ReceiptHandle: receiptHandle,
        VisibilityTimeout,
      }));
      await retryWith.client.send(
        new ChangeMessageVisibilityBatchCommand({ QueueUrl: retryWith.queueUrl, Entries }),
      );
    }
  }

  const name = `event source of ${description.function}`;
  const pollers = Array.from({ length: maxConcurrency }, () => repeatUntil(signal, name, handleBatch));
  return {
    stop: () => stopping.abort(),
    ended: Promise.all(pollers).then(() => {}),
  };
}

function* inTens<Item>(items: readonly Item[]): Generator<readonly Item[]> {
  for (let at = 0; at < items.length; at += 10) yield items.slice(at, at + 10);
}

function recordOf(message: Message, eventSourceARN: string): SQSRecord {
  const attributes = Object.entries(message.MessageAttributes ?? {});
  return {
    messageId: message.MessageId ?? '',
    receiptHandle: message.ReceiptHandle ?? '',
    body: message.Body ?? '',
    attributes: (message.Attributes ?? {}) as unknown as SQSRecord['attributes'],
    messageAttributes: Object.fromEntries(attributes.map(([name, value]) => [name, attributeOf(value)])),
    ...(message.MD5OfMessageAttributes !== undefined && {
      md5OfMessageAttributes: message.MD5OfMessageAttributes,
    }),
    md5OfBody: message.MD5OfBody ?? '',
    eventSource: 'aws:sqs',
    eventSourceARN,
    awsRegion: region,
  };
}

const attributeOf = ({ DataType, StringValue, BinaryValue }: MessageAttributeValue): SQSMessageAttribute => ({
  ...(StringValue !== undefined && { stringValue: StringValue }),
  ...(BinaryValue !== undefined && { binaryValue: Buffer.from(BinaryValue).toString('base64') }),
  stringListValues: [],
  binaryListValues: [],
  dataType: DataType as SQSMessageAttribute['dataType'],
});
