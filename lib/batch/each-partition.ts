// biome-ignore-all lint/suspicious/noExplicitAny: a payload has whatever type its handler or schema gives it
import type { Context, DynamoDBRecord, KinesisStreamRecord, MSKRecord } from 'aws-lambda';
import { IdempotencyError, show } from '../errors.ts';
import { asBatch } from '../events/index.ts';
import type { LaneOperation } from '../operation/index.ts';
import { defaultForgetAfterSeconds } from '../record.ts';
import { complete, isFunction, lifetimeInSeconds, type Rules } from '../validate.ts';
import { type ArrivedBatch, arrivedIn } from './arrived-batch.ts';
import { batchRules } from './batch-rules.ts';
import type { BatchAnswer, EventOf, WithPayload } from './each-record.ts';
import type { LaneHandler } from './lane-pass.ts';
import { PartitionedBatch, refuseForLanes, UnguardedLanes } from './partitioned-batch.ts';
import type { Schema } from './payload.ts';

/** A record of a service that numbers its records in lanes. */
export type StreamRecord = KinesisStreamRecord | DynamoDBRecord | MSKRecord;

/** Options of {@link eachPartition}. Each has a default. */
export interface EachPartitionOptions<Record extends StreamRecord = KinesisStreamRecord, Payload = unknown> {
  /**
   * Checks the payload of each record before the handler is called, and may transform it. The handler is given the records before
   * the first one that does not fit. That one fails with `BAD_PAYLOAD`, and stops its lane.
   *
   * @default none
   */
  readonly schema?: Schema<Payload>;
  /**
   * How many lanes are processed at once; 1 and up.
   *
   * @default 10
   */
  readonly concurrency?: number;
  /**
   * The time to keep free before the invocation's deadline, in milliseconds, 0 to 900 000. A lane is not started if this, plus the
   * time of the slowest lane so far, is more than what is left. It is reported, and is delivered again.
   *
   * @default 1000
   */
  readonly stopBeforeDeadlineMs?: number;
  /**
   * How long a lane's position is kept after it has moved, in seconds; more than 0, at most ten years. It must be longer than the
   * source keeps its records.
   *
   * @default 30 days, or the guard's `ttlSeconds` where that is longer
   */
  readonly forgetAfterSeconds?: number;
  /**
   * Is told each lane that failed, why, and which of its records come again.
   *
   * @default `console.error`, except for a lane that another invocation is at work on
   */
  readonly onFailure?: (error: unknown, records: readonly Record[]) => unknown;
}

/**
 * Makes a batch handler of a handler for the records of one lane, in their order. Services: Kinesis, DynamoDB Streams and Kafka.
 * A lane is a partition of a topic, a partition key in a shard of a stream, or an item of a table.
 *
 * Inside a guard, the position of each lane is kept in one item. Records at or before it are dropped; the handler is given the
 * rest. `operation.commit({ writes, messages, upTo })` moves the position in one transaction with the work, if it is still the one
 * that was read. A handler that returns without a commit has its position moved then: the lane is claimed before, and nobody else
 * is given it meanwhile. With the guard's option `claim: 'at-commit'` there is no claim, and the handler must commit.
 *
 * The first failure stops its lane, and other lanes go on. The answer reports what comes again, as `batchItemFailures`. Switch
 * `ReportBatchItemFailures` on in the event source mapping. For Kafka it throws an error instead, when all other lanes are done.
 *
 * A record that Lambda gave up on, and that somebody sends to the function later, is behind the position, and would be dropped:
 * guard such a redrive by `eachRecord`.
 *
 * `eachPartition` alone guards nothing.
 *
 * @example
 * export const handler = idempotent(
 *   eachPartition(async (records, operation) => operation.commit({ writes: … })),
 *   { claim: 'at-commit' },
 * );
 *
 * @throws `BAD_OPTION` at once
 * @throws `UNSUPPORTED` from a call with an event of another service, whose records have no lasting order
 */
export function eachPartition<Record extends StreamRecord = KinesisStreamRecord, Payload = any>(
  handler: (
    records: readonly WithPayload<Record, Payload>[],
    operation: LaneOperation<WithPayload<Record, Payload>>,
    context: Context,
  ) => unknown,
  options: EachPartitionOptions<Record, Payload> = {},
): (event: EventOf<Record>, context: Context) => Promise<BatchAnswer<Record>> {
  if (!isFunction(handler)) {
    throw new IdempotencyError(
      'BAD_OPTION',
      `Expected a handler for the records of one lane, got ${show(handler)}. Call eachPartition(async (records, operation) => { … }).`,
    );
  }
  const { forgetAfterSeconds, ...settings } = complete(options as EachPartitionOptions<any, any>, rules);
  const laneHandler = handler as unknown as LaneHandler;
  return async (event, context) => {
    const arrived = arrivedIn(context);
    if (arrived) {
      refuseForLanes(arrived);
      return (await partitioned(arrived, forgetAfterSeconds).go(
        event,
        context,
        laneHandler,
        settings,
      )) as any;
    }
    const batch = asBatch(event);
    if (batch) return (await new UnguardedLanes(batch).go(context, laneHandler, settings)) as any;
    // A middleware has removed all records.
    if ((event as { Records?: unknown[] } | null)?.Records?.length === 0) return { batchItemFailures: [] };
    throw new IdempotencyError('UNSUPPORTED', noBatch);
  };
}

function partitioned(arrived: ArrivedBatch, forgetAfterSeconds: number | undefined): PartitionedBatch {
  const { ttlMs } = arrived.settings;
  const forgetAfterMs =
    forgetAfterSeconds === undefined
      ? Math.max(ttlMs, defaultForgetAfterSeconds * 1000)
      : forgetAfterSeconds * 1000;
  const taken = arrived.taken((batch) => new PartitionedBatch(batch, forgetAfterMs));
  if (taken instanceof PartitionedBatch) return taken;
  throw new IdempotencyError(
    'UNSUPPORTED',
    'This batch is taken by eachRecord() or freshRecords() already. Take it once.',
  );
}

const noBatch =
  'eachPartition() was given an event that is no batch of Kinesis, DynamoDB Streams or Kafka records. Handle it with a handler of its own.';

const rules = {
  ...batchRules,
  forgetAfterSeconds: lifetimeInSeconds,
  onFailure: { expected: 'a function', isFine: isFunction, fallback: logFailure },
} satisfies Rules<EachPartitionOptions>;

function logFailure(error: unknown): void {
  // A lane that another invocation is at work on is no fault. The observer hears of it.
  if (IdempotencyError.is(error, 'IN_PROGRESS')) return;
  console.error('[idemkit] A lane failed, and what is left of it will be delivered again:', error);
}
