import type { DynamoDBRecord, KinesisStreamRecord, MSKEvent, MSKRecord } from 'aws-lambda';
import { describe, expect, it } from 'vitest';
import type { SourceRecord } from '../../lib/index.ts';
import { eachRecord, freshRecords } from '../../lib/index.ts';
import {
  failedIn,
  kafkaMessage,
  kinesisEvent,
  kinesisRecord,
  mskEvent,
  s3Event,
  s3Notification,
  selfManagedKafkaEvent,
  snsEvent,
  snsNotification,
  streamEvent,
  streamRecord,
} from '../support/batch-events.ts';
import { doors } from '../support/doors.ts';
import { dynamoBatchBench } from './bench.ts';

const bench = dynamoBatchBench();
/** Numbers from `first` to `last`. */
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);

describe.each(doors)('%s: a batch', (_, guard) => {
  describe.each<[string, (...at: number[]) => object]>([
    ['Kinesis', (...at) => kinesisEvent(...at.map((n) => kinesisRecord(n)))],
    ['DynamoDB Streams', (...at) => streamEvent(...at.map((n) => streamRecord(n)))],
  ])('of %s', (_, event) => {
    const names = (first: number, last: number) => range(first, last).map(String);

    it('stops at the first failure and reports it alone; what comes again runs once, however it is cut', async () => {
      bench.failing = new Set(['10']);
      const handler = guard(bench.each(), bench.options());
      expect(failedIn(await handler(event(...range(7, 13))))).toEqual(['10']);
      expect(bench.runs).toEqual(names(7, 10));
      bench.failing.clear();
      bench.runs = [];
      // From the failure on, bisected, and once more as a whole, and in disorder.
      expect(failedIn(await handler(event(10, 11)))).toEqual([]);
      expect(failedIn(await handler(event(12, 13)))).toEqual([]);
      expect(failedIn(await handler(event(...range(7, 13))))).toEqual([]);
      expect(failedIn(await handler(event(13, 8, 11)))).toEqual([]);
      expect(bench.runs).toEqual(names(10, 13));
    });

    it('stops at a record that is being worked on elsewhere', async () => {
      const elsewhere = await bench.busyWith(guard, event(10));
      const handler = guard(bench.each(), bench.options());
      expect(failedIn(await handler(event(...range(8, 12))))).toEqual(['10']);
      expect(bench.runs).toEqual(['8', '9']);
      await elsewhere.completes();
      expect(failedIn(await handler(event(...range(10, 12))))).toEqual([]);
      expect(bench.runs).toEqual(['8', '9', '11', '12']);
    });

    it('reports the lowest of many failures of a plain handler, and loses nothing behind it', async () => {
      const seen: string[][] = [];
      let failures: string[] = ['11', '10'];
      const handler = guard(
        freshRecords(
          async ({
            Records,
          }: {
            Records: { kinesis?: KinesisStreamRecord['kinesis']; dynamodb?: DynamoDBRecord['dynamodb'] }[];
          }) => {
            seen.push(
              Records.map(({ kinesis, dynamodb }) =>
                String(kinesis?.sequenceNumber ?? dynamodb?.SequenceNumber),
              ),
            );
            return { batchItemFailures: failures.map((itemIdentifier) => ({ itemIdentifier })) };
          },
        ),
        bench.options(),
      );
      expect(failedIn(await handler(event(...range(8, 13))))).toEqual(['10']);
      failures = [];
      expect(failedIn(await handler(event(...range(8, 13))))).toEqual([]);
      expect(seen).toEqual([names(8, 13), names(10, 13)]);
    });

    it('answers a batch of which nothing is fresh without the handler', async () => {
      const handler = guard(bench.each(), bench.options());
      await handler(event(1, 2));
      expect(await handler(event(1, 2))).toEqual({ batchItemFailures: [] });
      expect(bench.runs).toEqual(['1', '2']);
    });
  });

  it('of Kinesis is two effects for a record that its producer sent twice, and one with a key', async () => {
    const sent = kinesisEvent(kinesisRecord(1, { id: 'order-1' }), kinesisRecord(2, { id: 'order-1' }));
    await guard(bench.each(), bench.options())(sent);
    expect(bench.runs).toEqual(['order-1', 'order-1']);
    bench.runs = [];
    const key = ({ kinesis }: KinesisStreamRecord) =>
      JSON.parse(Buffer.from(kinesis.data, 'base64').toString()).id;
    bench.namespace += '-keyed';
    expect(failedIn(await guard(bench.each(), bench.options({ key }))(sent))).toEqual([]);
    expect(bench.runs).toEqual(['order-1']);
  });

  describe.each<[string, (...records: MSKRecord[]) => object]>([
    ['Amazon MSK', mskEvent],
    ['a Kafka of your own', selfManagedKafkaEvent],
  ])('of %s', (_, event) => {
    it('goes by partition and offset, keeps to the order of each, and fails once the rest is settled', async () => {
      bench.failing = new Set(['b1']);
      const [a, b] = [0, 1].map((partition) =>
        range(0, 2).map((n) => kafkaMessage(partition, n, { id: `${'ab'[partition]}${n}` })),
      ) as [MSKRecord[], MSKRecord[]];
      const handler = guard(bench.each(), bench.options());
      await expect(handler(event(...a, ...b))).rejects.toThrow('b1 is down');
      expect(bench.runs.filter((run) => run.startsWith('a'))).toEqual(['a0', 'a1', 'a2']);
      expect(bench.runs.filter((run) => run.startsWith('b'))).toEqual(['b0', 'b1']);
      bench.failing.clear();
      bench.runs = [];
      expect(await handler(event(...a, ...b))).toBeUndefined();
      expect(bench.runs).toEqual(['b1', 'b2']);
      // Only topic, partition and offset tell records apart.
      expect(await handler(event(kafkaMessage(1, 2, { id: 'other' })))).toBeUndefined();
      expect(bench.runs).toEqual(['b1', 'b2']);
    });

    it('fails with the errors of all partitions that failed, and gives a plain handler what is fresh', async () => {
      bench.failing = new Set(['2', 'c0']);
      const records = range(0, 2).map((n) => kafkaMessage(0, n, { id: n }));
      const other = kafkaMessage(2, 0, { id: 'c0' });
      await expect(guard(bench.each(), bench.options())(event(...records, other))).rejects.toMatchObject({
        code: 'BATCH_FAILED',
        message: expect.stringContaining('2 of 4'),
      });
      const seen: object[] = [];
      const handler = guard(
        freshRecords(async ({ records }: MSKEvent) => void seen.push(records)),
        bench.options(),
      );
      await handler(event(...records, kafkaMessage(1, 0, { id: 'b0' })));
      expect(seen).toEqual([{ 'orders-0': [records[2]], 'orders-1': [kafkaMessage(1, 0, { id: 'b0' })] }]);
    });
  });

  describe.each<[string, (...ids: string[]) => object]>([
    ['SNS', (...ids) => snsEvent(...ids.map((id) => snsNotification(id)))],
    ['S3', (...ids) => s3Event(...ids.map((id) => s3Notification(id)))],
  ])('of %s', (_, event) => {
    it('fails with the error of one, or with all of several; what was done is not done again', async () => {
      bench.failing = new Set(['2', '3']);
      const handler = guard(bench.each(), bench.options());
      await expect(handler(event('1', '2', '3'))).rejects.toMatchObject({
        code: 'BATCH_FAILED',
        effect: 'possible',
        cause: { errors: [new Error('2 is down'), new Error('3 is down')] },
      });
      bench.failing.delete('3');
      bench.runs = [];
      await expect(handler(event('1', '2', '3'))).rejects.toThrow('2 is down');
      bench.failing.clear();
      expect(await handler(event('1', '2', '3'))).toBeUndefined();
      expect(bench.runs).toEqual(['2', '3', '2']);
      expect(await handler(event('1', '2', '3'))).toBeUndefined();
      expect(bench.runs).toEqual(['2', '3', '2']);
    });

    it('is refused while one is being worked on elsewhere', async () => {
      const elsewhere = await bench.busyWith(guard, event('2'));
      const handler = guard(bench.each(), bench.options());
      await expect(handler(event('1', '2'))).rejects.toMatchObject({
        ...{ code: 'IN_PROGRESS', effect: 'possible', retryAfterSeconds: expect.any(Number) },
      });
      expect(bench.runs).toEqual(['1']);
      await elsewhere.completes();
      await handler(event('1', '2'));
      expect(bench.runs).toEqual(['1']);
    });

    it('fails, too, with what is no error', async () => {
      const throwing = eachRecord<SourceRecord>(
        async () => {
          throw undefined;
        },
        { onFailure: () => {} },
      );
      await expect(guard(throwing, bench.options())(event('1'))).rejects.toMatchObject({
        code: 'BATCH_FAILED',
      });
    });
  });

  it('of S3 tells one version of an object from the next', async () => {
    const handler = guard(bench.each(), bench.options());
    for (const sequencer of ['01', '02', '01']) await handler(s3Event(s3Notification('a.txt', sequencer)));
    expect(bench.runs).toEqual(['a.txt', 'a.txt']);
  });
});
