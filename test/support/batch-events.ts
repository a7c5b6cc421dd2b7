import { createHash } from 'node:crypto';
import type {
  DynamoDBRecord,
  DynamoDBStreamEvent,
  KinesisStreamEvent,
  KinesisStreamRecord,
  MSKEvent,
  MSKRecord,
  S3Event,
  S3EventRecord,
  SelfManagedKafkaEvent,
  SNSEvent,
  SNSEventRecord,
  SQSBatchResponse,
  SQSEvent,
  SQSRecord,
} from 'aws-lambda';
import * as makers from '../../lib/testing.ts';

const region = 'eu-west-1';
const account = '123456789012';

const asText = (body: unknown): string => (typeof body === 'string' ? body : JSON.stringify(body));
const base64 = (body: unknown): string => Buffer.from(asText(body)).toString('base64');
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

const only = <Item>([item]: readonly Item[]): Item => item as Item;

/** A message of a standard queue. */
export const sqsMessage = (messageId: string, body: unknown = { id: messageId }): SQSRecord =>
  only(makers.sqsEvent({ messageId, body, queue: 'orders' }).Records);

/** A message of a FIFO queue; without `deduplicationId` the id is made of the content. */
export const fifoMessage = (
  messageId: string,
  groupId: string,
  {
    body = { id: messageId } as unknown,
    ...deduplication
  }: { body?: unknown; deduplicationId?: string } = {},
): SQSRecord =>
  only(makers.sqsEvent({ messageId, groupId, body, queue: 'orders.fifo', ...deduplication }).Records);

export const sqsEvent = (...Records: SQSRecord[]): SQSEvent => ({ Records });

/** Ids that are told as failed. */
export const failedIn = (answer: unknown): string[] =>
  (answer as SQSBatchResponse).batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);

/** The sequence numbers are decimal, and the ones after the ninth are a digit longer. */
export const sequenceNumber = (at: number): string => `${at}`;

export const kinesisRecord = (at: number, data: unknown = { at }, shard = 0): KinesisStreamRecord =>
  only(
    makers.kinesisEvent({
      ...{
        data,
        shardId: `shardId-00000000000${shard}`,
        sequenceNumber: sequenceNumber(at),
        stream: 'orders',
      },
    }).Records,
  );

export const kinesisEvent = (...Records: KinesisStreamRecord[]): KinesisStreamEvent => ({ Records });

export const streamRecord = (at: number, newImage = { at: { N: String(at) } }): DynamoDBRecord =>
  only(
    makers.dynamoStreamEvent({
      ...{ keys: { at: { N: String(at) } }, newImage, table: 'orders' },
      ...{ eventId: sha256(`event ${at}`).slice(0, 32), sequenceNumber: sequenceNumber(at) },
    }).Records,
  );

export const streamEvent = (...Records: DynamoDBRecord[]): DynamoDBStreamEvent => ({ Records });

export function kafkaMessage(partition: number, offset: number, value: unknown = { offset }): MSKRecord {
  return {
    topic: 'orders',
    partition,
    offset,
    timestamp: 1_767_225_600_000,
    timestampType: 'CREATE_TIME',
    key: base64('key'),
    value: base64(value),
    headers: [],
  };
}

function byPartition(records: readonly MSKRecord[]): Record<string, MSKRecord[]> {
  const partitions: Record<string, MSKRecord[]> = {};
  for (const record of records) {
    const name = `${record.topic}-${record.partition}`;
    partitions[name] = [...(partitions[name] ?? []), record];
  }
  return partitions;
}

export const mskEvent = (...records: MSKRecord[]): MSKEvent => ({
  eventSource: 'aws:kafka',
  eventSourceArn: `arn:aws:kafka:${region}:${account}:cluster/orders/1`,
  bootstrapServers: 'b-1.orders:9092',
  records: byPartition(records),
});

export const selfManagedKafkaEvent = (...records: MSKRecord[]): SelfManagedKafkaEvent => ({
  eventSource: 'SelfManagedKafka',
  bootstrapServers: 'kafka-1.example.com:9092,kafka-2.example.com:9092',
  records: byPartition(records),
});

export const snsNotification = (messageId: string, message: unknown = { id: messageId }): SNSEventRecord =>
  only(makers.snsEvent({ messageId, message, topic: 'orders' }).Records);

export const snsEvent = (...Records: SNSEventRecord[]): SNSEvent => ({ Records });

export function s3Notification(key: string, sequencer = '0055AED6DCD90281E5'): S3EventRecord {
  return {
    eventVersion: '2.1',
    eventSource: 'aws:s3',
    awsRegion: region,
    eventTime: '2026-01-01T00:00:00.000Z',
    eventName: 'ObjectCreated:Put',
    userIdentity: { principalId: 'A1' },
    requestParameters: { sourceIPAddress: '192.0.2.1' },
    responseElements: { 'x-amz-request-id': '1', 'x-amz-id-2': '2' },
    s3: {
      s3SchemaVersion: '1.0',
      configurationId: 'c',
      bucket: { name: 'orders', ownerIdentity: { principalId: 'A1' }, arn: 'arn:aws:s3:::orders' },
      object: { key, size: 1, eTag: 'e', sequencer },
    },
  };
}

export const s3Event = (...Records: S3EventRecord[]): S3Event => ({ Records });
