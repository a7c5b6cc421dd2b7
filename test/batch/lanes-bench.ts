import { randomUUID } from 'node:crypto';
import type { Context, KinesisStreamEvent, KinesisStreamRecord } from 'aws-lambda';
import { afterEach, beforeEach, vi } from 'vitest';
import {
  type EachPartitionOptions,
  eachPartition,
  type IdempotencyEvent,
  type IdempotentOptions,
  type LaneOperation,
  type StreamRecord,
} from '../../lib/index.ts';
import { kinesisEvent as makeKinesisEvent } from '../../lib/testing.ts';

/** A record `at` a sequence number, of the lane that its partition key names. */
export const keyed = (partitionKey: string, at: number | string, shard = 0): KinesisStreamRecord => {
  const shardId = `shardId-00000000000${shard}`;
  const sequenceNumber = String(at);
  const data = { id: `${partitionKey}${at}` };
  const [record] = makeKinesisEvent({
    data,
    partitionKey,
    shardId,
    sequenceNumber,
    stream: 'orders',
  }).Records;
  return record as KinesisStreamRecord;
};

export const kinesisEvent = (...Records: KinesisStreamRecord[]): KinesisStreamEvent => ({ Records });

/** What a handler of lanes is given, whichever service sends it. */
export interface Given {
  readonly payload: { readonly id: string };
}
type Records = readonly Given[];
export type Work = (records: Records, operation: LaneOperation, context: Context) => unknown;

export const idsOf = (records: Records): string[] => records.map(({ payload }) => payload.id);

/** Handlers of lanes that write down what they were given. To be called at the top of a test file. */
export function lanesBench() {
  const bench = {
    /** The ids of what each call of a handler was given. */
    given: [] as string[][],
    events: [] as IdempotencyEvent[],
    /** What `onFailure` was told. */
    failures: [] as { readonly error: unknown; readonly records: number }[],

    eachPartition: (work: Work = () => {}, more: EachPartitionOptions<StreamRecord, never> = {}) =>
      eachPartition<StreamRecord, never>(
        (records, operation, context) => {
          bench.given.push(idsOf(records as unknown as Records));
          return work(records as unknown as Records, operation as LaneOperation, context);
        },
        {
          onFailure: (error, records) => void bench.failures.push({ error, records: records.length }),
          ...more,
        },
      ),

    /** Options that observe, in a namespace of their own. */
    observed: (more: IdempotentOptions = {}): IdempotentOptions => ({
      namespace: `lanes-${randomUUID()}`,
      observe: (event) => void bench.events.push(event),
      ...more,
    }),

    types: (): string[] => bench.events.map(({ type }) => type),
  };
  beforeEach(() => {
    Object.assign(bench, { given: [], events: [], failures: [] });
    vi.spyOn(console, 'error').mockImplementation(() => {});
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });
  return bench;
}
