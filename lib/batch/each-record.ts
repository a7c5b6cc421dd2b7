// biome-ignore-all lint/suspicious/noExplicitAny: a payload has whatever type its handler or schema gives it
import type {
  Context,
  DynamoDBBatchResponse,
  DynamoDBStreamEvent,
  KinesisStreamBatchResponse,
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

import { IdempotencyError, show } from '../errors.ts';
import { asBatch, type SourceRecord } from '../events/index.ts';
import type { Operation } from '../operation/index.ts';
import { complete, isFunction, type Rules } from '../validate.ts';
import { batchRules } from './batch-rules.ts';
import { lanesOf } from './lanes.ts';
import { Pass, type PassSettings, type RecordHandler } from './pass.ts';
import type { Schema } from './payload.ts';
import { take } from './take.ts';

export type { SourceRecord } from '../events/index.ts';
export type { Schema } from './payload.ts';

/** The event in which a service sends such records. */
export type EventOf<Record> = Record extends SQSRecord
  ? SQSEvent
  : Record extends KinesisStreamRecord
    ? KinesisStreamEvent
    : Record extends MSKRecord
      ? MSKEvent | SelfManagedKafkaEvent
      : Record extends SNSEventRecord
        ? SNSEvent
        : Record extends S3EventRecord
          ? S3Event
          : DynamoDBStreamEvent;

/** What the batch handler returns to the service. A service without partial failures is told of them by an error. */
export type BatchAnswer<Record> = Record extends SQSRecord
  ? SQSBatchResponse
  : Record extends KinesisStreamRecord
    ? KinesisStreamBatchResponse
    : Record extends MSKRecord | SNSEventRecord | S3EventRecord
      ? undefined
      : DynamoDBBatchResponse;

/** A record together with its parsed payload. */
export type WithPayload<Record, Payload> = Record & {
  /**
   * What was sent. SQS: the JSON in the body. SNS: in the message. Kinesis: in the data. Kafka: in the value.
   * DynamoDB Streams: the record's `dynamodb`. S3: its `s3`. With a `schema`, what the schema made of it.
   *
   * @throws `BAD_PAYLOAD` when it is first read, if it is not JSON
   */
  readonly payload: Payload;
};

/** Options of {@link eachRecord}. Each has a default. */
export interface EachRecordOptions<Record extends SourceRecord = SQSRecord, Payload = unknown> {
  /**
   * Checks the payload of each record before the handler is called, and may transform it. A record whose payload does not
   * fit fails with `BAD_PAYLOAD`.
   *
   * @default none
   */
  readonly schema?: Schema<Payload>;
  /**
   * How many records are processed at once; 1 and up. Of a FIFO group, shard or partition it is always one.
   *
   * @default 10
   */
  readonly concurrency?: number;
  /**
   * The time to keep free before the invocation's deadline, in milliseconds, 0 to 900 000. A record is not started if this,
   * plus the time of the slowest record so far, is more than what is left. It is reported, and is delivered again.
   *
   * @default 1000
   */
  readonly stopBeforeDeadlineMs?: number;
  /**
   * Is told each record that failed, and why. A partial batch response has no room for the reason.
   *
   * @default `console.error`
   */
  readonly onFailure?: (error: unknown, record: Record) => unknown;
}

/**
 * Makes a batch handler of a handler for one record. Services: SQS, Kinesis, DynamoDB Streams, Kafka, SNS and S3.
 *
 * Records of one FIFO group, shard or partition are processed in order. Each starts when the one before it is recorded as
 * done, and none starts after one that failed. Other records are processed at the same time, up to `concurrency`.
 *
 * The answer reports the records that failed or were not started, as `batchItemFailures`. Switch `ReportBatchItemFailures`
 * on in the event source mapping. For SNS, S3 and Kafka it throws an error instead, when all other records are done.
 *
 * `eachRecord` alone guards nothing. Inside a guard, `idempotent(eachRecord(…))` or
 * `middy().use(idempotent()).handler(eachRecord(…))`, it skips records that were completed before, and settles each record
 * as soon as it is done.
 *
 * @example
 * export const handler = idempotent(eachRecord<SQSRecord>(async (record, operation) => { … }));
 *
 * @throws `BAD_OPTION` at once
 * @throws `UNSUPPORTED` from a call with an event that is no batch
 */
export function eachRecord<Record extends SourceRecord = SQSRecord, Payload = any>(
  handler: (record: WithPayload<Record, Payload>, operation: Operation, context: Context) => unknown,
  options: EachRecordOptions<Record, Payload> = {},
): (event: EventOf<Record>, context: Context) => Promise<BatchAnswer<Record>> {
  if (!isFunction(handler)) {
    throw new IdempotencyError(
      'BAD_OPTION',
      `Expected a handler for one record, got ${show(handler)}. Call eachRecord(async (record, operation) => { … }).`,
    );
  }
  const settings: PassSettings = complete(options as EachRecordOptions<any, any>, rules);
  return async (event, context) => {
    const taken = await take('eachRecord', event, context);
    const batch = taken?.guarded.batch ?? asBatch(event);
    if (batch !== undefined) {
      const { guarded, records = batch.records } = taken ?? {};
      const pass = new Pass(batch, guarded, context, handler as RecordHandler, settings);
      const lanes = lanesOf(records, guarded && ((record) => guarded.placeOf(record)));
      return (await pass.go(lanes)) as BatchAnswer<Record>;
    }
    // A middleware has removed all records.
    if ((event as { Records?: unknown[] } | null)?.Records?.length === 0) {
      return { batchItemFailures: [] } as unknown as BatchAnswer<Record>;
    }
    throw new IdempotencyError('UNSUPPORTED', noBatch);
  };
}

const noBatch =
  'eachRecord() was given an event that is no batch of SQS, Kinesis, DynamoDB Streams, Kafka, SNS or S3 records. Handle it with a handler of its own.';

const rules = {
  ...batchRules,
  onFailure: { expected: 'a function', isFine: isFunction, fallback: logFailure },
} satisfies Rules<EachRecordOptions>;

function logFailure(error: unknown): void {
  console.error('[idemkit] A record failed and will be delivered again:', error);
}
