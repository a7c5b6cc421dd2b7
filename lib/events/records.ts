/** Batches: which records there are, in which groups they are processed, and how their service is told of failures. */
import { IdempotencyError } from '../errors.ts';
import { isRecord } from '../validate.ts';
import { type IdentitySettings, madeByHand } from './identity.ts';
import {
  type Fields,
  groupOfSqs,
  isKafkaBatch,
  missingIn,
  type ServiceName,
  type Shape,
  s3Key,
  serviceNamed,
  serviceOf,
  shapeOfRecord,
  sourceOf,
  sourceOfFirst,
} from './services.ts';

/** One record of a batch, whichever service sent it. */
export interface BatchRecord {
  /** The record as the service sent it. */
  readonly raw: object;
  /** What it tells of its identity. */
  readonly shape: Shape;
  /** Its name within the batch, which is its `itemIdentifier` in a partial batch response. */
  readonly id: string;
  /** Records of one group are processed in order, one after the other; `undefined` for a record without order. */
  readonly group: string | undefined;
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

/** How a service delivers records. */
interface Delivery {
  readonly report: Batch['report'];
  idOf(raw: Fields): string;
  groupOf(raw: Fields): string | undefined;
  bodyOf(raw: Fields, id: string): unknown;
}

const inNoGroup = (): undefined => undefined;

const deliveries: Readonly<Record<ServiceName, Delivery>> = {
  sqs: {
    report: 'each',
    idOf: ({ messageId }) => messageId,
    groupOf: groupOfSqs,
    bodyOf: ({ body }, id) => parse(body, id),
  },
  kinesis: {
    report: 'lowest',
    idOf: ({ kinesis }) => kinesis.sequenceNumber,
    // `shardId-000000000006:49590338271490256608559692538361571095921575989136588898`
    groupOf: ({ eventID }) => String(eventID).split(':')[0],
    bodyOf: ({ kinesis }, id) => parse(decoded(kinesis?.data), id),
  },
  dynamodb: {
    report: 'lowest',
    idOf: ({ dynamodb }) => dynamodb.SequenceNumber,
    // All records of a batch come from one shard, which the event does not name.
    groupOf: ({ eventSourceARN }) => eventSourceARN,
    bodyOf: ({ dynamodb }) => dynamodb,
  },
  sns: {
    report: 'throw',
    idOf: ({ Sns }) => Sns.MessageId,
    groupOf: inNoGroup,
    bodyOf: ({ Sns }, id) => parse(Sns?.Message, id),
  },
  s3: {
    report: 'throw',
    idOf: (raw) => JSON.stringify([raw.s3.bucket.name, ...s3Key(raw)]),
    groupOf: inNoGroup,
    bodyOf: ({ s3 }) => s3,
  },
  kafka: {
    report: 'throw',
    idOf: ({ topic, partition, offset }) => `${topic}-${partition}-${offset}`,
    groupOf: ({ topic, partition }) => `${topic}-${partition}`,
    bodyOf: ({ value }, id) => parse(decoded(value), id),
  },
};

/** `undefined` for any event that is no batch of a known service. */
export function asBatch(event: unknown): Batch | undefined {
  const name = serviceNamed(sourceOfFirst(event));
  if (name !== undefined && whyNoBatch(event) === undefined) return listBatch(event as Fields, name);
  return isKafkaBatch(event) ? kafkaBatch(event) : undefined;
}

/**
 * Refuses an event with `Records` that no service sends: tests make such events by hand.
 *
 * @throws `UNSUPPORTED`; `MISSING_KEY` where nothing says which service it is of, and nothing else names the operation
 */
export function refuseIncomplete(
  { key, required }: Pick<IdentitySettings, 'key' | 'required'>,
  event: unknown,
): void {
  const lack = whyNoBatch(event);
  const isNamed = typeof sourceOfFirst(event) === 'string';
  if (lack === undefined || (!isNamed && (key || !required))) return;
  throw new IdempotencyError(
    isNamed ? 'UNSUPPORTED' : 'MISSING_KEY',
    isNamed
      ? `This event is no batch that a service sends: ${lack}. \`idemkit/testing\` makes whole ones (sqsEvent, …).`
      : madeByHand(lack),
  );
}

/** Why an event with `Records` is no batch; `undefined` where it is one, has no records, or is of an unknown service. */
function whyNoBatch(event: unknown): string | undefined {
  if (!isRecord(event) || !Array.isArray(event.Records) || event.Records.length === 0) return undefined;
  const source = sourceOfFirst(event);
  if (source === undefined) return '`Records[0]` has no `eventSource`';
  const name = serviceNamed(source);
  if (name === undefined) return undefined;
  for (const [index, record] of event.Records.entries()) {
    if (sourceOf(record) !== source) {
      return `\`Records[${index}]\` is not from ${source} as \`Records[0]\` is`;
    }
    const missing = missingIn(record, name);
    if (missing !== undefined) return `\`Records[${index}]\` is from ${source}, but has no \`${missing}\``;
  }
  return undefined;
}

/** The records of an event as they are; `undefined` where it has neither `Records` nor `records`. */
export function rawsIn(event: unknown): unknown[] | undefined {
  const { Records, records } = (event ?? {}) as Fields;
  if (Array.isArray(Records)) return Records;
  return isRecord(records) ? Object.values(records).flat() : undefined;
}

/** A single record, recognised by its shape; `undefined` for anything else. */
export function asRecord(raw: unknown): BatchRecord | undefined {
  const name = serviceOf(raw);
  return name && recordOf(raw as Fields, name);
}

function recordOf(raw: Fields, name: ServiceName, from?: Pick<Shape, 'tenant'>): BatchRecord {
  const { idOf, groupOf, bodyOf } = deliveries[name];
  const id = idOf(raw);
  const shape = { ...(shapeOfRecord(raw) as Shape), ...from };
  return { raw, shape, id, group: groupOf(raw), body: () => bodyOf(raw, id) };
}

const listBatch = (event: Fields, name: ServiceName): Batch => ({
  event,
  records: event.Records.map((raw: Fields) => recordOf(raw, name)),
  report: deliveries[name].report,
  only: (given, records) => ({ ...given, Records: records.map(({ raw }) => raw) }),
});

function kafkaBatch(event: Fields): Batch {
  const source: unknown = event.eventSourceArn ?? event.bootstrapServers;
  const tenant = () => (typeof source === 'string' ? source : undefined);
  return {
    event,
    records: Object.values<Fields[]>(event.records).flatMap((list) =>
      list.map((raw) => recordOf(raw, 'kafka', { tenant })),
    ),
    report: deliveries.kafka.report,
    only(given: Fields, records) {
      const wanted = new Set<unknown>(records.map(({ raw }) => raw));
      const left = Object.entries<unknown[]>(given.records)
        .map(([name, list]) => [name, list.filter((raw) => wanted.has(raw))] as const)
        .filter(([, list]) => list.length > 0);
      return { ...given, records: Object.fromEntries(left) };
    },
  };
}

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
