/** Which lane of a stream a record belongs to, and its place in that lane. */
import type { Context } from 'aws-lambda';
import { IdempotencyError } from '../errors.ts';
import { sha256 } from '../hash.ts';
import { isRecord, kindOf } from '../validate.ts';
import { checkedTenant, type IdentitySettings, namedIn } from './identity.ts';
import { type BatchRecord, shownId } from './records.ts';

/** A record's place in the stream that it comes from. */
export interface StreamPlace {
  /** What names the lane within its stream or topic. */
  readonly parts: readonly string[];
  /** The record's sequence number or offset, as text that compares as numbers do. */
  readonly position: string;
}

/** The lane of a guarded record. */
export interface LaneIdentity extends StreamPlace {
  readonly key: string;
  readonly scope: string;
  /** The partition key of the lane's item: `<namespace>#<base64url(sha256('position', tenant, parts))>`. */
  readonly pk: string;
}

/**
 * @throws `UNSUPPORTED` for a record of a service that does not number its records for good
 * @throws `BAD_KEY` for a record whose number is none
 */
export function streamPlaceOf(record: BatchRecord): StreamPlace {
  const { raw, group } = record;
  const { eventSource, kinesis, dynamodb, topic, partition, offset } = raw as Record<string, unknown>;
  if (eventSource === 'aws:kinesis' && isRecord(kinesis)) {
    // Only within a shard: with an explicit hash key, records of one partition key lie in several, in no order.
    const parts = ['kinesis', String(group), String(kinesis.partitionKey)];
    return { parts, position: positionOf(record, kinesis.sequenceNumber) };
  }
  if (eventSource === 'aws:dynamodb' && isRecord(dynamodb)) {
    const parts = ['dynamodb', itemText(dynamodb.Keys)];
    return { parts, position: positionOf(record, dynamodb.SequenceNumber) };
  }
  if (typeof topic === 'string' && typeof offset === 'number') {
    return { parts: ['kafka', topic, String(partition)], position: positionOf(record, offset) };
  }
  throw new IdempotencyError('UNSUPPORTED', notNumbered);
}

const notNumbered =
  'eachPartition() takes records of Kinesis, DynamoDB Streams and Kafka. A position says that everything before it is done, and SQS, SNS and S3 deliver in no such order: a message that comes after a later one would be dropped unprocessed. Use eachRecord(), which guards each record by its id.';

/** @throws what {@link streamPlaceOf} and the option `tenant` throw, `MISSING_TENANT` */
export function identifyLane(
  settings: IdentitySettings,
  record: BatchRecord,
  context: Context,
): LaneIdentity {
  const { parts, position } = streamPlaceOf(record);
  const tenant = settings.tenant
    ? checkedTenant(settings.tenant(record.raw as never, context))
    : namedIn(record.shape.tenant());
  const { name: namespace } = settings.namespace();
  return {
    parts,
    position,
    key: parts.slice(1).join('#'),
    scope: tenant === undefined ? namespace : `${namespace}#${tenant}`,
    pk: `${namespace}#${sha256(JSON.stringify(['position', tenant ?? null, ...parts]))}`,
  };
}

/** Longer than any service's. */
const maxDigits = 128;

/** Texts of one length compare as numbers do, so the length comes first. */
function positionOf(record: BatchRecord, number: unknown): string {
  const isWhole = typeof number === 'string' || Number.isSafeInteger(number);
  const text = isWhole ? String(number) : '';
  if (!/^\d+$/.test(text) || text.length > maxDigits) {
    throw new IdempotencyError(
      'BAD_KEY',
      `Record ${shownId(record)} has no sequence number or offset of up to ${maxDigits} digits, but ${kindOf(number)}. A lane's position is one. In a test, give the record a number.`,
    );
  }
  const digits = text.replace(/^0+(?=\d)/, '');
  return `${String(digits.length).padStart(3, '0')}:${digits}`;
}

/** The key of an item, marshalled as the service sends it, or unmarshalled by a middleware. */
function itemText(keys: unknown): string {
  const entries = Object.entries(isRecord(keys) ? keys : {}).sort(([one], [other]) => (one < other ? -1 : 1));
  return JSON.stringify(entries.map(([name, value]) => [name, ...typedValue(value)]));
}

function typedValue(value: unknown): [type: string, text: string] {
  if (value instanceof Uint8Array) return ['B', Buffer.from(value).toString('base64')];
  if (!isRecord(value)) return [typeof value === 'string' ? 'S' : 'N', String(value)];
  const [[type, held] = ['', '']] = Object.entries(value);
  return held instanceof Uint8Array ? typedValue(held) : [type, String(held)];
}
