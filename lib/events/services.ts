/**
 * Which service sent a record, and what the record tells of its identity. How a batch of records is delivered is told by
 * `records.ts`, which a guard without batches does not carry.
 */
import type {
  DynamoDBRecord,
  KinesisStreamRecord,
  MSKRecord,
  S3EventRecord,
  SNSEventRecord,
  SQSRecord,
} from 'aws-lambda';
import { hexSha256 } from '../hash.ts';
import { isRecord } from '../validate.ts';
import { canonicalText } from './canonical.ts';
import type { Key } from './key.ts';

/** A record of a service that invokes Lambda functions with batches. */
export type SourceRecord =
  | SQSRecord
  | KinesisStreamRecord
  | DynamoDBRecord
  | MSKRecord
  | SNSEventRecord
  | S3EventRecord;

/** What an event or a record tells by its shape; `undefined` for what it does not tell. */
export interface Shape {
  /** Whether such an event can change anything. A GET cannot. @default true */
  readonly isGuarded?: boolean;
  /** Whether a repeat with another payload is misuse. It cannot be where the service itself numbers its records. @default true */
  readonly isComparable?: boolean;
  key(): Key;
  tenant(): string | undefined;
  /** The canonical text of what must be equal in a repeat. */
  payload(): string;
}

// biome-ignore lint/suspicious/noExplicitAny: what a service sends is read member by member, each where it is checked
export type Fields = Record<string, any>;

export type ServiceName = 'sqs' | 'kinesis' | 'dynamodb' | 'sns' | 's3' | 'kafka';

/** A service that sends records. */
interface Service {
  /** Paths of the members that its records always have. Whatever lacks one is no record of this service. */
  readonly members: readonly string[];
  shapeOf(raw: Fields): Shape;
}

const services: Readonly<Record<ServiceName, Service>> = {
  sqs: { members: ['messageId', 'body'], shapeOf: sqsShape },
  kinesis: {
    members: ['eventID', 'kinesis.sequenceNumber', 'kinesis.data'],
    shapeOf: (raw) => streamShape(raw, () => String(raw.kinesis.data)),
  },
  dynamodb: {
    members: ['eventID', 'dynamodb.SequenceNumber', 'dynamodb.Keys'],
    shapeOf(raw) {
      const { Keys, NewImage, OldImage } = raw.dynamodb;
      return streamShape(raw, () => canonicalText({ Keys, NewImage, OldImage }));
    },
  },
  sns: {
    members: ['Sns.MessageId', 'Sns.Message'],
    shapeOf: ({ Sns: { MessageId, TopicArn, Message } }) => ({
      key: () => MessageId,
      tenant: () => TopicArn,
      payload: () => canonicalText(Message),
    }),
  },
  s3: {
    members: ['eventName', 's3.bucket.name', 's3.object.key'],
    shapeOf: (raw) => ({
      key: () => s3Key(raw),
      tenant: () => raw.s3.bucket.name,
      payload: () => canonicalText([raw.eventName, raw.s3.bucket.name, raw.s3.object]),
    }),
  },
  kafka: {
    members: ['topic', 'partition', 'offset'],
    shapeOf: ({ topic, partition, offset, key, value }) => ({
      key: () => [topic, partition, offset],
      // Its record does not say which cluster it comes from.
      tenant: () => undefined,
      payload: () => canonicalText([key, value]),
      isComparable: false,
    }),
  },
};

/** The shape of a single record; `undefined` for anything else. */
export function shapeOfRecord(raw: unknown): Shape | undefined {
  const name = serviceOf(raw);
  return name && services[name].shapeOf(raw as Fields);
}

/** The service of a record, recognised by its shape; `undefined` for anything else. */
export function serviceOf(raw: unknown): ServiceName | undefined {
  const name = serviceNamed(sourceOf(raw)) ?? (isKafkaRecord(raw) ? 'kafka' : undefined);
  return name && missingIn(raw, name) === undefined ? name : undefined;
}

/** Whether an event is a batch of a known service, whole or not. */
export const isOfBatches = (event: unknown): boolean =>
  serviceNamed(sourceOfFirst(event)) !== undefined || isKafkaBatch(event);

/** The name that the first of an event's `Records` has for its source. */
export const sourceOfFirst = (event: unknown): unknown =>
  isRecord(event) && Array.isArray(event.Records) ? sourceOf(event.Records[0]) : undefined;

/** SNS writes the name of this member with a capital. */
export const sourceOf = (raw: unknown): unknown =>
  isRecord(raw) ? (raw.eventSource ?? raw.EventSource) : undefined;

export const serviceNamed = (source: unknown): ServiceName | undefined =>
  (typeof source === 'string' ? /^aws:(sqs|kinesis|dynamodb|sns|s3)$/.exec(source)?.[1] : undefined) as
    | ServiceName
    | undefined;

/** The first member of a service's records that `raw` lacks. */
export const missingIn = (raw: unknown, name: ServiceName): string | undefined =>
  services[name].members.find((path) => {
    const found = path
      .split('.')
      .reduce<unknown>(
        (value, member) => (isRecord(value) && Object.hasOwn(value, member) ? value[member] : undefined),
        raw,
      );
    return found === undefined || (found === null && !parsed.test(path));
  });

/** Members that another middleware may have parsed. JSON has `null` too, so theirs counts as there. */
const parsed = /^(body|kinesis\.data|Sns\.Message)$/;

/** Kafka's records do not say which service they are from. */
const isKafkaRecord = (raw: unknown): boolean =>
  isRecord(raw) &&
  typeof raw.topic === 'string' &&
  typeof raw.partition === 'number' &&
  typeof raw.offset === 'number';

export const isKafkaBatch = (event: unknown): event is Fields =>
  isRecord(event) &&
  (event.eventSource === 'aws:kafka' || event.eventSource === 'SelfManagedKafka') &&
  isRecord(event.records) &&
  Object.values(event.records).every((list) => Array.isArray(list) && list.every(isKafkaRecord));

const streamShape = ({ eventID, eventSourceARN }: Fields, payload: () => string): Shape => ({
  key: () => eventID,
  tenant: () => eventSourceARN,
  payload,
  isComparable: false,
});

/** @see https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html */
function sqsShape(raw: Fields): Shape {
  const { messageId, body, eventSourceARN } = raw;
  return {
    key() {
      const group = groupOfSqs(raw);
      const deduplicationId: unknown = raw.attributes?.MessageDeduplicationId;
      // With content-based deduplication the id is the body's SHA-256. A sender may send one text twice on purpose.
      return isFifo(raw) && deduplicationId !== undefined && !isMadeOfContent(deduplicationId, body)
        ? [group, deduplicationId as string]
        : messageId;
    },
    tenant: () => eventSourceARN,
    payload: () => canonicalText(body),
  };
}

const isFifo = ({ eventSourceARN }: Fields): boolean =>
  typeof eventSourceARN === 'string' && eventSourceARN.endsWith('.fifo');

/** The FIFO group of a message of SQS; `undefined` in a standard queue. */
export const groupOfSqs = (raw: Fields): string | undefined =>
  isFifo(raw) ? raw.attributes?.MessageGroupId : undefined;

/** Whether an id may be the body's SHA-256. Where a middleware has parsed the body, its text is gone, and any SHA-256 may be. */
const isMadeOfContent = (deduplicationId: unknown, body: unknown): boolean =>
  typeof body === 'string'
    ? deduplicationId === hexSha256(body)
    : /^[\da-f]{64}$/.test(deduplicationId as string);

/** @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html */
export function s3Key({ eventName, eventTime, responseElements, s3: { object } }: Fields): string[] {
  // Only writes and deletions have a sequencer. Other events, such as tagging, can happen many times to one version.
  const occurrence = isText(object.sequencer)
    ? [object.sequencer]
    : [eventTime, responseElements?.['x-amz-request-id']];
  const version = isText(object.versionId) ? `version ${object.versionId}` : 'no version';
  return [object.key, version, eventName, ...occurrence];
}

const isText = (value: unknown): boolean => typeof value === 'string' && value !== '';
