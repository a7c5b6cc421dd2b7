import type { SQSEvent, SQSRecord } from 'aws-lambda';
import { describe, expect, it } from 'vitest';
import { freshRecords } from '../../lib/index.ts';
import { failedIn, fifoMessage, sqsEvent } from '../support/batch-events.ts';
import { doors } from '../support/doors.ts';
import { dynamoBatchBench } from './bench.ts';

const bench = dynamoBatchBench();
/** Numbers from `first` to `last`. */
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);
const payloadId = (record: SQSRecord): string => JSON.parse(record.body).id;

describe.each(doors)('%s: a batch', (_, guard) => {
  describe('of a FIFO queue', () => {
    const a = range(1, 4).map((n) => fifoMessage(`a-${n}`, 'a', { body: { id: `a${n}` } }));
    const b = range(1, 3).map((n) => fifoMessage(`b-${n}`, 'b', { body: { id: `b${n}` } }));
    const mixed = sqsEvent(a[0]!, b[0]!, a[1]!, b[1]!, a[2]!, a[3]!, b[2]!);
    const inGroup = (group: string) => bench.runs.filter((run) => run.startsWith(group));

    it('stops a group at its first failure; others go on, and order holds when it comes again', async () => {
      bench.failing = new Set(['a2']);
      const handler = guard(bench.each(), bench.options());
      expect(failedIn(await handler(mixed))).toEqual(['a-2', 'a-3', 'a-4']);
      expect(inGroup('a')).toEqual(['a1', 'a2']);
      expect(inGroup('b')).toEqual(['b1', 'b2', 'b3']);

      bench.failing = new Set(['a4']);
      bench.runs = [];
      expect(failedIn(await handler(sqsEvent(...a)))).toEqual(['a-4']);
      expect(bench.runs).toEqual(['a2', 'a3', 'a4']);
      bench.failing.clear();
      bench.runs = [];
      expect(failedIn(await handler(sqsEvent(...a)))).toEqual([]);
      expect(bench.runs).toEqual(['a4']);
    });

    it('stops a group at a message that is being worked on elsewhere, and gives its claims up', async () => {
      const elsewhere = await bench.busyWith(guard, sqsEvent(a[1]!));
      const handler = guard(bench.each(), bench.options());
      expect(failedIn(await handler(mixed))).toEqual(['a-2', 'a-3', 'a-4']);
      expect(inGroup('a')).toEqual(['a1']);
      expect(inGroup('b')).toEqual(['b1', 'b2', 'b3']);
      await elsewhere.completes();
      // Not refused as busy: the claims are gone.
      expect(failedIn(await handler(sqsEvent(...a)))).toEqual([]);
      expect(inGroup('a')).toEqual(['a1', 'a3', 'a4']);
    });

    it('gives a plain handler nothing that comes behind a message worked on elsewhere', async () => {
      const elsewhere = await bench.busyWith(guard, sqsEvent(a[1]!));
      const seen: string[] = [];
      const handler = guard(
        freshRecords(async (event: SQSEvent) => {
          seen.push(...event.Records.map(({ messageId }) => messageId));
        }),
        bench.options(),
      );
      expect(failedIn(await handler(mixed))).toEqual(['a-2', 'a-3', 'a-4']);
      expect(seen).toEqual(['a-1', 'b-1', 'b-2', 'b-3']);
      await elsewhere.fails();
    });

    it('stops a group at a message whose key cannot be told', async () => {
      const handler = guard(
        bench.each(),
        bench.options({ key: (r: SQSRecord) => (r.messageId === 'a-2' ? [] : r.messageId) }),
      );
      expect(failedIn(await handler(mixed))).toEqual(['a-2', 'a-3', 'a-4']);
      expect(inGroup('a')).toEqual(['a1']);
    });

    it('keeps to the order of both groups when they share a business key', async () => {
      const key = payloadId;
      bench.failing = new Set(['x']);
      const event = sqsEvent(
        fifoMessage('a-1', 'a', { body: { id: 'x' } }),
        fifoMessage('b-1', 'b', { body: { id: 'x' } }),
        fifoMessage('b-2', 'b', { body: { id: 'y' } }),
      );
      const handler = guard(bench.each(), bench.options({ key }));
      expect(failedIn(await handler(event))).toEqual(['a-1', 'b-1', 'b-2']);
      bench.failing.clear();
      bench.runs = [];
      expect(failedIn(await handler(event))).toEqual(['b-1', 'b-2']);
      expect(bench.runs).toEqual(['x']);
      // Also where all of it comes again, as with Kafka.
      expect(failedIn(await handler(event))).toEqual([]);
      expect(bench.runs).toEqual(['x', 'y']);
    });

    it('knows a message that comes back from the dead-letter queue under a new message id', async () => {
      const handler = guard(bench.each(), bench.options());
      const sent = { body: { id: 'order' }, deduplicationId: 'order-1' };
      await handler(sqsEvent(fifoMessage('m-1', 'a', sent)));
      expect(failedIn(await handler(sqsEvent(fifoMessage('m-2', 'a', sent))))).toEqual([]);
      expect(bench.runs).toEqual(['order']);
      await handler(sqsEvent(fifoMessage('m-3', 'b', sent)));
      expect(bench.runs).toEqual(['order', 'order']);
    });

    it('takes equal contents without an id of their own for two messages', async () => {
      const handler = guard(bench.each(), bench.options());
      await handler(sqsEvent(fifoMessage('m-1', 'a', { body: { id: 'tick' } })));
      await handler(sqsEvent(fifoMessage('m-2', 'a', { body: { id: 'tick' } })));
      await handler(sqsEvent(fifoMessage('m-2', 'a', { body: { id: 'tick' } })));
      expect(bench.runs).toEqual(['tick', 'tick']);
    });
  });
});
