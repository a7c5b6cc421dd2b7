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

const region = 'eu-west-1';
const account = '111122223333';

const asText = (body: unknown): string => (typeof body === 'string' ? body : JSON.stringify(body));
const base64 = (body: unknown): string => Buffer.from(asText(body)).toString('base64');
const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

/** A message of a standard queue. */
export function sqsMessage(messageId: string, body: unknown = { id: messageId }): SQSRecord {
  return {
    messageId,
    receiptHandle: `receipt-${messageId}`,
    body: asText(body),
    attributes: {
      ApproximateReceiveCount: '1',
      SentTimestamp: '1767225600000',
      SenderId: account,
      ApproximateFirstReceiveTimestamp: '1767225600001',
    },
    messageAttributes: {},
    md5OfBody: '00000000000000000000000000000000',
    eventSource: 'aws:sqs',
    eventSourceARN: `arn:aws:sqs:${region}:${account}:orders`,
    awsRegion: region,
  };
}

/** A message of a FIFO queue; without `deduplicationId` the id is made of the content. */
export function fifoMessage(
  messageId: string,
  MessageGroupId: string,
  { body = { id: messageId } as unknown, deduplicationId = sha256(asText(body)) } = {},
): SQSRecord {
  const message = sqsMessage(messageId, body);
  return {
    ...message,
    eventSourceARN: `${message.eventSourceARN}.fifo`,
    attributes: {
      ...message.attributes,
      MessageGroupId,
      MessageDeduplicationId: deduplicationId,
      SequenceNumber: '18849496460467696128',
    },
  };
}

export const sqsEvent = (...Records: SQSRecord[]): SQSEvent => ({ Records });

/** Ids that are told as failed. */
export const failedIn = (answer: unknown): string[] =>
  (answer as SQSBatchResponse).batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);

/** The sequence numbers are decimal, and the ones after the ninth are a digit longer. */
export const sequenceNumber = (at: number): string => `${at}`;

export function kinesisRecord(at: number, data: unknown = { at }, shard = 0): KinesisStreamRecord {
  const number = sequenceNumber(at);
  const stream = `arn:aws:kinesis:${region}:${account}:stream/orders`;
  return {
    awsRegion: region,
    eventID: `shardId-00000000000${shard}:${number}`,
    eventName: 'aws:kinesis:record',
    eventSource: 'aws:kinesis',
    eventSourceARN: stream,
    eventVersion: '1.0',
    invokeIdentityArn: `arn:aws:iam::${account}:role/orders`,
    kinesis: {
      kinesisSchemaVersion: '1.0',
      partitionKey: 'p',
      sequenceNumber: number,
      data: base64(data),
      approximateArrivalTimestamp: 1_767_225_600,
    },
  };
}

export const kinesisEvent = (...Records: KinesisStreamRecord[]): KinesisStreamEvent => ({ Records });

export function streamRecord(at: number, NewImage = { at: { N: String(at) } }): DynamoDBRecord {
  return {
    eventID: sha256(`event ${at}`).slice(0, 32),
    eventName: 'INSERT',
    eventVersion: '1.1',
    eventSource: 'aws:dynamodb',
    awsRegion: region,
    dynamodb: {
      ApproximateCreationDateTime: 1_767_225_600,
      Keys: { at: { N: String(at) } },
      NewImage,
      SequenceNumber: sequenceNumber(at),
      SizeBytes: 10,
      StreamViewType: 'NEW_AND_OLD_IMAGES',
    },
    eventSourceARN: `arn:aws:dynamodb:${region}:${account}:table/orders/stream/2026-01-01T00:00:00.000`,
  };
}

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

export function snsNotification(MessageId: string, message: unknown = { id: MessageId }): SNSEventRecord {
  const TopicArn = `arn:aws:sns:${region}:${account}:orders`;
  return {
    EventVersion: '1.0',
    EventSubscriptionArn: `${TopicArn}:1`,
    EventSource: 'aws:sns',
    Sns: {
      SignatureVersion: '1',
      Timestamp: '2026-01-01T00:00:00.000Z',
      Signature: '',
      SigningCertUrl: 'https://example.com',
      MessageId,
      Message: asText(message),
      MessageAttributes: {},
      Type: 'Notification',
      UnsubscribeUrl: 'https://example.com',
      TopicArn,
      Subject: '',
    },
  };
}

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
