import type { KinesisStreamRecord, SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda';
import { describe, expect, it, vi } from 'vitest';
import { storeUnavailable } from '../../lib/errors.ts';
import { dynamoStore, eachRecord, freshRecords, operation } from '../../lib/index.ts';
import { failedIn, kinesisEvent, kinesisRecord, sqsEvent, sqsMessage } from '../support/batch-events.ts';
import { doors } from '../support/doors.ts';
import { lambdaContext } from '../support/invocation.ts';
import { dynamoBatchBench } from './bench.ts';

const bench = dynamoBatchBench();
/** Numbers from `first` to `last`. */
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);

describe.each(doors)('%s: a batch', (_, guard) => {
  describe('when time runs short', () => {
    it('starts nothing more, reports the rest and gives its claims up', async () => {
      let remainingMs = 30_000;
      const context = lambdaContext(() => remainingMs);
      const messages = range(1, 4).map((n) => sqsMessage(`m-${n}`, { id: `${n}` }));
      const slow = eachRecord<SQSRecord>(
        async (record) => {
          await bench.work(record);
          if (bench.runs.length === 2) remainingMs = 900;
        },
        { concurrency: 1, onFailure: () => {} },
      );
      expect(failedIn(await guard(slow, bench.options())(sqsEvent(...messages), context))).toEqual([
        'm-3',
        'm-4',
      ]);
      expect(bench.runs).toEqual(['1', '2']);
      // Another invocation, at once.
      expect(failedIn(await guard(bench.each(), bench.options())(sqsEvent(...messages)))).toEqual([]);
      expect(bench.runs).toEqual(['1', '2', '3', '4']);
    });

    it('gives up the claim of what was not started even in the last moment', async () => {
      let remainingMs = 30_000;
      const messages = range(1, 2).map((n) => kinesisRecord(n));
      const slow = eachRecord<KinesisStreamRecord>(
        async (record) => {
          await bench.work(record);
          remainingMs = 50;
        },
        { onFailure: () => {} },
      );
      const context = lambdaContext(() => remainingMs);
      expect(failedIn(await guard(slow, bench.options())(kinesisEvent(...messages), context))).toEqual(['2']);
      expect(failedIn(await guard(bench.each(), bench.options())(kinesisEvent(messages[1]!)))).toEqual([]);
      expect(bench.runs).toEqual(['1', '2']);
    });

    it('leaves the claim of a record that failed in the last moment to its lease', async () => {
      let remainingMs = 30_000;
      const dying = eachRecord<SQSRecord>(
        async () => {
          remainingMs = 50;
          throw new Error('timeout');
        },
        { onFailure: () => {} },
      );
      const event = sqsEvent(sqsMessage('m-1'));
      await guard(dying, bench.options())(
        event,
        lambdaContext(() => remainingMs),
      );
      expect(failedIn(await guard(bench.each(), bench.options())(event))).toEqual(['m-1']);
      expect(bench.runs).toEqual([]);
    });
  });

  describe('with the option', () => {
    const [one, two] = [sqsMessage('m-1', { id: '1' }), sqsMessage('m-2', { id: '2' })];

    it('`remember` runs again what is not to be remembered, which is no failure', async () => {
      const handler = guard(
        eachRecord<SQSRecord>(async (record) => {
          await bench.work(record);
          return record.messageId === 'm-1';
        }),
        bench.options({ remember: ({ value }) => value === true }),
      );
      expect(failedIn(await handler(sqsEvent(one, two)))).toEqual([]);
      expect(failedIn(await handler(sqsEvent(one, two)))).toEqual([]);
      expect(bench.runs).toEqual(['1', '2', '2']);
    });

    it('`required: false` runs records without a key unguarded, every time', async () => {
      const guarded: boolean[] = [];
      const handler = guard(
        eachRecord<SQSRecord>(async (record, op) => {
          guarded.push(op.guarded);
          await bench.work(record);
        }),
        bench.options({
          required: false,
          key: ({ messageId }: SQSRecord) => (messageId === 'm-1' ? 'k' : undefined),
        }),
      );
      await handler(sqsEvent(one, two));
      await handler(sqsEvent(one, two));
      expect(bench.runs).toEqual(['1', '2', '2']);
      expect(guarded).toEqual([true, false, false]);
    });

    it("`whenStoreFails: 'run'` runs records without a record, else they are reported", async () => {
      const claim = () => Promise.reject(storeUnavailable(new Error('down')));
      const unreachable = bench.options({ store: { ...dynamoStore(bench.table.store), claim } });
      expect(failedIn(await guard(bench.each(), unreachable)(sqsEvent(one, two)))).toEqual(['m-1', 'm-2']);
      expect(bench.runs).toEqual([]);
      expect(String(vi.mocked(console.error).mock.calls)).toMatch(/m-1, m-2\. STORE_UNAVAILABLE: /);
      const running = guard(bench.each(), { ...unreachable, whenStoreFails: 'run' });
      expect(failedIn(await running(sqsEvent(one, two)))).toEqual([]);
      expect(bench.runs).toEqual(['1', '2']);
    });

    it('`IDEMPOTENCY_DISABLED` lets records commit what they write, without a record', async () => {
      vi.stubEnv('IDEMPOTENCY_DISABLED', 'true');
      vi.spyOn(console, 'warn').mockImplementation(() => {});
      const pk = `written-${bench.namespace}`;
      const count = {
        TableName: bench.table.tableName,
        Key: { pk, sk: 'count' },
        UpdateExpression: 'ADD n :one',
        ExpressionAttributeValues: { ':one': 1 },
      };
      try {
        const handler = guard(
          eachRecord<SQSRecord>((_, op) => op.commit({ result: 'counted', writes: [{ Update: count }] })),
          bench.options(),
        );
        expect(failedIn(await handler(sqsEvent(one)))).toEqual([]);
        expect(failedIn(await handler(sqsEvent(one)))).toEqual([]);
        const written = (await bench.table.dump()).filter((item) => item.pk?.S?.includes(bench.namespace));
        expect(written).toEqual([{ pk: { S: pk }, sk: { S: 'count' }, n: { N: '2' } }]);
      } finally {
        vi.unstubAllEnvs();
      }
    });

    it('`IDEMPOTENCY_DISABLED` runs all of it, with an operation for each record', async () => {
      vi.stubEnv('IDEMPOTENCY_DISABLED', 'true');
      vi.spyOn(console, 'warn').mockImplementation(() => {});
      try {
        const handler = guard(bench.each(), bench.options());
        expect(failedIn(await handler(sqsEvent(one, two)))).toEqual([]);
        expect(failedIn(await handler(sqsEvent(one, two)))).toEqual([]);
        expect(bench.runs).toEqual(['1', '2', '1', '2']);
        const plain = guard(
          freshRecords(async ({ Records }: SQSEvent, context: unknown) => {
            const [first, second] = Records.map((record) => operation(context, record));
            expect([first?.guarded, second?.guarded]).toEqual([false, false]);
            expect(first?.token('charge')).not.toBe(second?.token('charge'));
            expect(first?.token('charge')).toBe(operation(context, { ...one }).token('charge'));
            return { batchItemFailures: [] } satisfies SQSBatchResponse;
          }),
          bench.options(),
        );
        expect(failedIn(await plain(sqsEvent(one, two)))).toEqual([]);
      } finally {
        vi.unstubAllEnvs();
      }
    });
  });
});
