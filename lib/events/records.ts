import { Buffer } from 'node:buffer';
import { IdempotencyError } from '../errors.ts';
import { hexSha256 } from '../hash.ts';
import { isRecord } from '../validate.ts';
import { canonicalText } from './canonical.ts';
import type { Key } from './key.ts';

/** One record of a batch, whichever service sent it. */
export interface BatchRecord {
  /** The record as the service sent it. */
  readonly raw: object;
  /** Its name within the batch, which is its `itemIdentifier` in a partial batch response. */
  readonly id: string;
  /** Records of one group are processed in order, one after the other; `undefined` for a record without order. */
  readonly group: string | undefined;
  /** The id that its service gives it. */
  key(): Key;
  /** The queue, stream, topic or bucket that it comes from. */
  tenant(): string | undefined;
  /** The canonical text of what must be equal in a repeat. */
  payload(): string;
  /** Whether a repeat with another payload is misuse. It cannot be where the service itself numbers its records. */
  readonly isComparable: boolean;
  /**
   * What was sent, as `raw` has it now. Where the service carries text or bytes, they are parsed as JSON.
   *
   * @throws `BAD_PAYLOAD` where they are not JSON
   */
  body(): unknown;
}

/** A batch of records of one service. */
export interface Batch {
  readonly event: object;
  readonly records: readonly BatchRecord[];
  /** How the service is told of failures: `each` by its id, the `lowest` sequence number, or `throw` an error for all. */
  readonly report: 'each' | 'lowest' | 'throw';
  /** `event`, with these of its records only. @param event the batch's, or what middlewares have made of it */
  only(event: object, records: readonly BatchRecord[]): object;
}

/** `undefined` for any event that is no batch of a known service. */
export function asBatch(event: unknown): Batch | undefined {
  const candidate = event as { Records?: unknown; records?: unknown } | null | undefined;
  if (typeof candidate !== 'object' || candidate === null) return undefined;
  return asListBatch(candidate) ?? asKafkaBatch(candidate);
}

/** The records of an event as they are; `undefined` where it has neither `Records` nor `records`. */
export function rawsIn(event: unknown): unknown[] | undefined {
  const { Records, records } = (event ?? {}) as Fields;
  if (Array.isArray(Records)) return Records;
  return isRecord(records) ? Object.values(records).flat() : undefined;
}

/** A single record, recognised by its shape; `undefined` for anything else. */
export function asRecord(raw: unknown): BatchRecord | undefined {
  const service = serviceOf(raw) ?? (isKafkaRecord(raw) ? kafka : undefined);
  return service && missingIn(raw, service) === undefined ? service.read(raw as Fields) : undefined;
}

/**
 * Why an event with `Records` is no batch; `undefined` where it is one, has no records, or is of an unknown service.
 * Such events are made by hand, in tests, and lack what the service always sends.
 */
export function whyNoBatch(event: unknown): string | undefined {
  if (!isRecord(event) || !Array.isArray(event.Records) || event.Records.length === 0) return undefined;
  const [first] = event.Records as unknown[];
  const source = isRecord(first) ? sourceOf(first) : undefined;
  if (source === undefined) return '`Records[0]` has no `eventSource`';
  const service = serviceOf(first);
  if (service === undefined) return undefined;
  for (const [index, record] of event.Records.entries()) {
    const missing = serviceOf(record) === service ? missingIn(record, service) : 'eventSource';
    if (missing === undefined) continue;
    return missing === 'eventSource'
      ? `\`Records[${index}]\` is not from ${source} as \`Records[0]\` is`
      : `\`Records[${index}]\` is from ${source}, but has no \`${missing}\``;
  }
  return undefined;
}

// biome-ignore lint/suspicious/noExplicitAny: what a service sends is read member by member, each where it is checked
type Fields = Record<string, any>;

/** A service that sends records. */
interface Service {
  readonly report: Batch['report'];
  /** Paths of the members that its records always have. Whatever lacks one is no record of this service. */
  readonly members: readonly string[];
  read(raw: Fields): BatchRecord;
}

const services: Readonly<Record<string, Service>> = {
  'aws:sqs': { report: 'each', members: ['messageId', 'body'], read: sqsRecord },
  'aws:kinesis': {
    report: 'lowest',
    members: ['eventID', 'kinesis.sequenceNumber', 'kinesis.data'],
    read: kinesisRecord,
  },
  'aws:dynamodb': {
    report: 'lowest',
    members: ['eventID', 'dynamodb.SequenceNumber', 'dynamodb.Keys'],
    read: dynamoRecord,
  },
  'aws:sns': { report: 'throw', members: ['Sns.MessageId', 'Sns.Message'], read: snsRecord },
  'aws:s3': {
    report: 'throw',
    members: ['eventName', 's3.bucket.name', 's3.object.key'],
    read: s3Record,
  },
};

const kafka: Service = {
  report: 'throw',
  members: ['topic', 'partition', 'offset'],
  read: (raw) => kafkaRecord(raw, undefined),
};

const fieldsOf = (value: unknown): Fields => (isRecord(value) ? value : {});

const sourceOf = (raw: Record<string, unknown>): unknown => raw.eventSource ?? raw.EventSource;

function serviceOf(raw: unknown): Service | undefined {
  const source = isRecord(raw) ? sourceOf(raw) : undefined;
  // An event may name anything, `toString` too.
  return typeof source === 'string' && Object.hasOwn(services, source) ? services[source] : undefined;
}

/** The first member of `service`'s records that `raw` lacks. */
const missingIn = (raw: unknown, { members }: Service): string | undefined =>
  members.find((path) => {
    const found = path
      .split('.')
      .reduce<unknown>(
        (value, name) => (isRecord(value) && Object.hasOwn(value, name) ? value[name] : undefined),
        raw,
      );
    return found === undefined || (found === null && !parsed.has(path));
  });

/** Members that another middleware may have parsed. JSON has `null` too, so theirs counts as there. */
const parsed: ReadonlySet<string> = new Set(['body', 'kinesis.data', 'Sns.Message']);

/** Kafka's records do not say which service they are from. */
const isKafkaRecord = (raw: unknown): boolean =>
  isRecord(raw) &&
  typeof raw.topic === 'string' &&
  typeof raw.partition === 'number' &&
  typeof raw.offset === 'number';

const isPartitions = (value: unknown): value is Record<string, Fields[]> =>
  isRecord(value) && Object.values(value).every((list) => Array.isArray(list) && list.every(isKafkaRecord));

function asListBatch(event: Fields): Batch | undefined {
  const { Records } = event;
  const service = Array.isArray(Records) ? serviceOf(Records[0]) : undefined;
  if (service === undefined || whyNoBatch(event) !== undefined) return undefined;
  return {
    event,
    records: Records.map(service.read),
    report: service.report,
    only: (given, records) => ({ ...given, Records: records.map(({ raw }) => raw) }),
  };
}

function asKafkaBatch(event: Fields): Batch | undefined {
  const { eventSource, records: partitions } = event;
  if (eventSource !== 'aws:kafka' && eventSource !== 'SelfManagedKafka') return undefined;
  if (!isPartitions(partitions)) return undefined;
  const source: unknown = event.eventSourceArn ?? event.bootstrapServers;
  const tenant = typeof source === 'string' ? source : undefined;
  return {
    event,
    records: Object.values(partitions).flatMap((list) => list.map((raw) => kafkaRecord(raw, tenant))),
    report: 'throw',
    only(given: Fields, records) {
      const wanted = new Set<unknown>(records.map(({ raw }) => raw));
      const left = Object.entries<unknown[]>(given.records)
        .map(([name, list]) => [name, list.filter((raw) => wanted.has(raw))] as const)
        .filter(([, list]) => list.length > 0);
      return { ...given, records: Object.fromEntries(left) };
    },
  };
}

/** @see https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html */
function sqsRecord(raw: Fields): BatchRecord {
  const { messageId, body = '', attributes, eventSourceARN } = raw;
  const { MessageGroupId: group, MessageDeduplicationId: deduplicationId } = fieldsOf(attributes);
  const isFifo = textIn(eventSourceARN).endsWith('.fifo');
  return {
    raw,
    id: messageId,
    group: isFifo ? group : undefined,
    // With content-based deduplication the id is the body's SHA-256. A sender may send one text twice on purpose.
    key: () =>
      isFifo && deduplicationId !== undefined && !isMadeOfContent(deduplicationId, body)
        ? [group, deduplicationId]
        : messageId,
    tenant: () => eventSourceARN,
    payload: () => canonicalText(body),
    isComparable: true,
    body: () => parse(raw.body, messageId),
  };
}

/** Whether an id may be the body's SHA-256. Where a middleware has parsed the body, its text is gone, and any SHA-256 may be. */
const isMadeOfContent = (deduplicationId: string, body: unknown): boolean =>
  typeof body === 'string' ? deduplicationId === hexSha256(body) : /^[\da-f]{64}$/.test(deduplicationId);

/** @see https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis.html */
function kinesisRecord(raw: Fields): BatchRecord {
  const { eventID = '', eventSourceARN, kinesis = {} } = raw;
  return {
    raw,
    id: kinesis.sequenceNumber,
    // `shardId-000000000006:49590338271490256608559692538361571095921575989136588898`
    group: textIn(eventID).split(':')[0],
    key: () => eventID,
    tenant: () => eventSourceARN,
    payload: () => String(kinesis.data),
    isComparable: false,
    body: () => parse(decoded(raw.kinesis?.data), kinesis.sequenceNumber),
  };
}

/** @see https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html */
function dynamoRecord(raw: Fields): BatchRecord {
  const { eventID, eventSourceARN, dynamodb = {} } = raw;
  const { Keys, NewImage, OldImage } = dynamodb;
  return {
    raw,
    id: dynamodb.SequenceNumber,
    // All records of a batch come from one shard, which the event does not name.
    group: eventSourceARN,
    key: () => eventID,
    tenant: () => eventSourceARN,
    payload: () => canonicalText({ Keys, NewImage, OldImage }),
    isComparable: false,
    body: () => raw.dynamodb,
  };
}

/** @see https://docs.aws.amazon.com/lambda/latest/dg/with-kafka.html */
function kafkaRecord(raw: Fields, tenant: string | undefined): BatchRecord {
  const { topic, partition, offset, value } = raw;
  const id = `${topic}-${partition}-${offset}`;
  return {
    raw,
    id,
    group: `${topic}-${partition}`,
    key: () => [topic, partition, offset],
    tenant: () => tenant,
    payload: () => canonicalText([raw.key, value]),
    isComparable: false,
    body: () => parse(decoded(raw.value), id),
  };
}

/** @see https://docs.aws.amazon.com/lambda/latest/dg/with-sns.html */
function snsRecord(raw: Fields): BatchRecord {
  const { MessageId, TopicArn, Message = '' } = raw.Sns ?? {};
  return {
    raw,
    id: MessageId,
    group: undefined,
    key: () => MessageId,
    tenant: () => TopicArn,
    payload: () => canonicalText(Message),
    isComparable: true,
    body: () => parse(raw.Sns?.Message, MessageId),
  };
}

/** @see https://docs.aws.amazon.com/AmazonS3/latest/userguide/notification-content-structure.html */
function s3Record(raw: Fields): BatchRecord {
  const { eventName, eventTime, responseElements, s3 = {} } = raw;
  const { bucket = {}, object = {} } = s3;
  // Only writes and deletions have a sequencer. Other events, such as tagging, can happen many times to one version.
  const occurrence = isText(object.sequencer)
    ? [object.sequencer]
    : [eventTime, responseElements?.['x-amz-request-id']];
  const version = isText(object.versionId) ? `version ${object.versionId}` : 'no version';
  const key = [object.key, version, eventName, ...occurrence];
  return {
    raw,
    id: JSON.stringify([bucket.name, ...key]),
    group: undefined,
    key: () => key,
    tenant: () => bucket.name,
    payload: () => canonicalText([eventName, bucket.name, object]),
    isComparable: true,
    body: () => raw.s3,
  };
}

const textIn = (value: unknown): string => (typeof value === 'string' ? value : '');

const isText = (value: unknown): boolean => typeof value === 'string' && value !== '';

/** How messages name a record: by its id. The id of an S3 record holds the object's name, so they show its sequencer. */
export const shownId = ({ id, raw }: BatchRecord): string =>
  isRecord(raw) && isRecord(raw.s3) ? `of S3, sequencer ${sequencerOf(raw.s3)}` : id;

function sequencerOf({ object }: Record<string, unknown>): string {
  const sequencer = isRecord(object) ? object.sequencer : undefined;
  return typeof sequencer === 'string' && /^[0-9A-F]{1,64}$/i.test(sequencer) ? sequencer : 'unknown';
}

/** The lowest of some sequence numbers, or none. They are decimal numbers that a double cannot hold. */
export function lowestOf(ids: readonly string[]): string[] {
  const [first, ...others] = ids;
  if (first === undefined) return [];
  return [others.reduce((low, id) => (isBelow(id, low) ? id : low), first)];
}

/** The `batchItemFailures` of a partial batch response. */
export const itemFailures = (ids: readonly string[]) =>
  [...new Set(ids)].map((itemIdentifier) => ({ itemIdentifier }));

export const isBelow = (id: string, other: string): boolean =>
  id.length === other.length ? id < other : id.length < other.length;

const decoded = (data: unknown): unknown =>
  typeof data === 'string' ? Buffer.from(data, 'base64').toString() : data;

function parse(found: unknown, id: string): unknown {
  const text = found === undefined ? '' : found;
  // An inner middleware (Middy's event-normalizer, say) has parsed it already.
  if (typeof text !== 'string') return text;
  try {
    return JSON.parse(text);
  } catch {
    // The parser's own message quotes the text, which may be personal data.
    throw new IdempotencyError(
      'BAD_PAYLOAD',
      `The payload of record ${id} is not JSON. Read the record's own text instead, or let the sender send JSON.`,
    );
  }
}
