/**
 * Makes complete events of SQS, Kinesis, DynamoDB Streams and SNS. Ids are new with every event: to deliver a record again,
 * pass the same event again.
 */
import { Buffer } from 'node:buffer';
import { createHash, randomUUID } from 'node:crypto';
import type {
  DynamoDBRecord,
  DynamoDBStreamEvent,
  KinesisStreamEvent,
  KinesisStreamRecord,
  SNSEvent,
  SNSEventRecord,
  SQSEvent,
  SQSRecord,
} from 'aws-lambda';
import { account, bytesOf, region, textOf } from './event-parts.ts';

/** A message as a sender sends it to SQS. */
export interface SqsMessage {
  /** A string as it is, anything else as JSON. */
  readonly body: unknown;
  /** @default a new one */
  readonly messageId?: string;
  /** The message's group, which makes its queue a FIFO queue. @default none: a standard queue */
  readonly groupId?: string;
  /** @default the body's SHA-256, as with content-based deduplication */
  readonly deduplicationId?: string;
  /** The queue's name. That of a FIFO queue ends with `.fifo`. @default 'queue', or 'queue.fifo' with a `groupId` */
  readonly queue?: string;
}

/** The event of SQS with these messages. */
export function sqsEvent(...messages: readonly SqsMessage[]): SQSEvent {
  return { Records: messages.map(sqsRecord) };
}

function sqsRecord(message: SqsMessage): SQSRecord {
  const { messageId = randomUUID(), groupId } = message;
  const body = textOf(message.body);
  const { deduplicationId = sha256(body), queue = groupId === undefined ? 'queue' : 'queue.fifo' } = message;
  const sentAt = String(Date.now());
  return {
    messageId,
    receiptHandle: `receipt of ${messageId}`,
    body,
    attributes: {
      ApproximateReceiveCount: '1',
      SentTimestamp: sentAt,
      SenderId: account,
      ApproximateFirstReceiveTimestamp: sentAt,
      ...(groupId !== undefined && {
        MessageGroupId: groupId,
        MessageDeduplicationId: deduplicationId,
        SequenceNumber: nextSequenceNumber(),
      }),
    },
    messageAttributes: {},
    md5OfBody: createHash('md5').update(body).digest('hex'),
    eventSource: 'aws:sqs',
    eventSourceARN: `arn:aws:sqs:${region}:${account}:${queue}`,
    awsRegion: region,
  };
}

/** A record as a producer puts it into a Kinesis stream. */
export interface KinesisData {
  /** Bytes or a string as they are, anything else as JSON. */
  readonly data: unknown;
  /** @default 'key' */
  readonly partitionKey?: string;
  /** @default a higher one than any before */
  readonly sequenceNumber?: string;
  /** @default 'shardId-000000000000' */
  readonly shardId?: string;
  /** The stream's name. @default 'stream' */
  readonly stream?: string;
}

/** The event of Kinesis Data Streams with these records. */
export function kinesisEvent(...records: readonly KinesisData[]): KinesisStreamEvent {
  return { Records: records.map(kinesisRecord) };
}

function kinesisRecord(record: KinesisData): KinesisStreamRecord {
  const { partitionKey = 'key', shardId = 'shardId-000000000000', stream = 'stream' } = record;
  const { sequenceNumber = nextSequenceNumber() } = record;
  return {
    awsRegion: region,
    eventID: `${shardId}:${sequenceNumber}`,
    eventName: 'aws:kinesis:record',
    eventSource: 'aws:kinesis',
    eventSourceARN: `arn:aws:kinesis:${region}:${account}:stream/${stream}`,
    eventVersion: '1.0',
    invokeIdentityArn: `arn:aws:iam::${account}:role/function`,
    kinesis: {
      kinesisSchemaVersion: '1.0',
      partitionKey,
      sequenceNumber,
      data: bytesOf(record.data).toString('base64'),
      approximateArrivalTimestamp: Date.now() / 1_000,
    },
  };
}

type Image = NonNullable<NonNullable<DynamoDBRecord['dynamodb']>['Keys']>;

/** A change of an item. Keys and images are written as DynamoDB does: `{ id: { S: 'a' } }`. */
export interface DynamoChange {
  readonly keys: Image;
  readonly newImage?: Image;
  readonly oldImage?: Image;
  /** @default `MODIFY` with both images, `REMOVE` with the old one only, else `INSERT` */
  readonly eventName?: 'INSERT' | 'MODIFY' | 'REMOVE';
  /** @default a new one */
  readonly eventId?: string;
  /** @default a higher one than any before */
  readonly sequenceNumber?: string;
  /** The table's name. @default 'table' */
  readonly table?: string;
}

/** The event of DynamoDB Streams with these changes. */
export function dynamoStreamEvent(...changes: readonly DynamoChange[]): DynamoDBStreamEvent {
  return { Records: changes.map(dynamoRecord) };
}

function dynamoRecord(change: DynamoChange): DynamoDBRecord {
  const { keys, newImage, oldImage, table = 'table' } = change;
  const removed = newImage === undefined ? 'REMOVE' : 'MODIFY';
  const { eventName = oldImage === undefined ? 'INSERT' : removed } = change;
  const { eventId = randomUUID().replaceAll('-', ''), sequenceNumber = nextSequenceNumber() } = change;
  return {
    eventID: eventId,
    eventName,
    eventVersion: '1.1',
    eventSource: 'aws:dynamodb',
    awsRegion: region,
    dynamodb: {
      ApproximateCreationDateTime: Math.floor(Date.now() / 1_000),
      Keys: keys,
      ...(newImage && { NewImage: newImage }),
      ...(oldImage && { OldImage: oldImage }),
      SequenceNumber: sequenceNumber,
      SizeBytes: Buffer.byteLength(JSON.stringify([keys, newImage, oldImage])),
      StreamViewType: 'NEW_AND_OLD_IMAGES',
    },
    eventSourceARN: `arn:aws:dynamodb:${region}:${account}:table/${table}/stream/2026-01-01T00:00:00.000`,
  };
}

/** A notification as a publisher publishes it to SNS. */
export interface SnsNotification {
  /** A string as it is, anything else as JSON. */
  readonly message: unknown;
  readonly subject?: string;
  /** @default a new one */
  readonly messageId?: string;
  /** The topic's name. @default 'topic' */
  readonly topic?: string;
}

/** The event of SNS with these notifications. SNS itself sends one at a time. */
export function snsEvent(...notifications: readonly SnsNotification[]): SNSEvent {
  return { Records: notifications.map(snsRecord) };
}

function snsRecord({ message, subject, messageId, topic = 'topic' }: SnsNotification): SNSEventRecord {
  const TopicArn = `arn:aws:sns:${region}:${account}:${topic}`;
  return {
    EventVersion: '1.0',
    EventSubscriptionArn: `${TopicArn}:${randomUUID()}`,
    EventSource: 'aws:sns',
    Sns: {
      SignatureVersion: '1',
      Timestamp: new Date().toISOString(),
      Signature: 'signature',
      SigningCertUrl: `https://sns.${region}.amazonaws.com/certificate.pem`,
      MessageId: messageId ?? randomUUID(),
      Message: textOf(message),
      MessageAttributes: {},
      Type: 'Notification',
      UnsubscribeUrl: `https://sns.${region}.amazonaws.com/unsubscribe`,
      TopicArn,
      // SNS sends null where there is none.
      Subject: subject ?? (null as unknown as string),
    },
  };
}

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');

let sequence = 0;

/** A sequence number of 56 digits, as Kinesis has them. A double cannot hold it. */
const nextSequenceNumber = (): string =>
  `49${String(Date.now()).padStart(20, '0')}${String(sequence++).padStart(34, '0')}`;
