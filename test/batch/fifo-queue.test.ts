import type { SQSEvent, SQSRecord } from 'aws-lambda';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { dynamoStore, type EachRecordOptions, eachRecord, type IdempotentOptions } from '../../lib/index.ts';
import { failedIn, fifoMessage, sqsEvent } from '../support/batch-events.ts';
import { doors } from '../support/doors.ts';
import { createTable, type TestTable } from '../support/dynamodb.ts';
import { deferred, turn } from '../support/hands.ts';

let table: TestTable;
let namespace: string;
let sequence = 0;
/** What was worked on, in order: of the payload the `id`, or where there is none the record's own. */
let runs: string[];
/** Of these the work fails. */
let failing: Set<string>;

beforeAll(async () => {
  table = await createTable();
});
beforeEach(() => {
  namespace = `batch-${++sequence}`;
  runs = [];
  failing = new Set();
  vi.spyOn(console, 'error').mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

const options = (more: IdempotentOptions = {}): IdempotentOptions => ({
  store: dynamoStore(table.store),
  namespace,
  ...more,
});

const nameOf = (record: any): string => {
  const { id, at, offset } = record.payload;
  return String(id ?? record.dynamodb?.SequenceNumber ?? at ?? offset ?? record.s3?.object.key);
};
const work = async (record: any): Promise<void> => {
  const name = nameOf(record);
  runs.push(name);
  await turn();
  if (failing.has(name)) throw new Error(`${name} is down`);
};
const each = (more: EachRecordOptions<any, any> = {}) =>
  eachRecord<any, any>(work, { onFailure: () => {}, ...more });

/** Numbers from `first` to `last`. */
const range = (first: number, last: number) => Array.from({ length: last - first + 1 }, (_, i) => first + i);
const payloadId = (record: SQSRecord): string => JSON.parse(record.body).id;

describe.each(doors)('%s: a batch', (_, guard) => {
  /** Another invocation that has claimed these records and does not end before it is told to. */
  async function busyWith(event: unknown, more: IdempotentOptions = {}) {
    const started = deferred();
    const end = deferred();
    const held = guard(
      eachRecord<any>(
        async () => {
          started.resolve();
          await end.promise;
        },
        { onFailure: () => {} },
      ),
      options(more),
    )(event);
    await started.promise;
    return {
      async completes() {
        end.resolve();
        await held;
      },
      async fails() {
        end.reject(new Error('gave up'));
        await held.catch(() => {});
      },
    };
  }

  describe('of a FIFO queue', () => {
    const a = range(1, 4).map((n) => fifoMessage(`a-${n}`, 'a', { body: { id: `a${n}` } }));
    const b = range(1, 3).map((n) => fifoMessage(`b-${n}`, 'b', { body: { id: `b${n}` } }));
    const mixed = sqsEvent(a[0]!, b[0]!, a[1]!, b[1]!, a[2]!, a[3]!, b[2]!);
    const inGroup = (group: string) => runs.filter((run) => run.startsWith(group));

    it('stops a group at its first failure; others go on, and order holds when it comes again', async () => {
      failing = new Set(['a2']);
      const handler = guard(each(), options());
      expect(failedIn(await handler(mixed))).toEqual(['a-2', 'a-3', 'a-4']);
      expect(inGroup('a')).toEqual(['a1', 'a2']);
      expect(inGroup('b')).toEqual(['b1', 'b2', 'b3']);

      failing = new Set(['a4']);
      runs = [];
      expect(failedIn(await handler(sqsEvent(...a)))).toEqual(['a-4']);
      expect(runs).toEqual(['a2', 'a3', 'a4']);
      failing.clear();
      runs = [];
      expect(failedIn(await handler(sqsEvent(...a)))).toEqual([]);
      expect(runs).toEqual(['a4']);
    });

    it('stops a group at a message that is being worked on elsewhere, and gives its claims up', async () => {
      const elsewhere = await busyWith(sqsEvent(a[1]!));
      const handler = guard(each(), options());
      expect(failedIn(await handler(mixed))).toEqual(['a-2', 'a-3', 'a-4']);
      expect(inGroup('a')).toEqual(['a1']);
      expect(inGroup('b')).toEqual(['b1', 'b2', 'b3']);
      await elsewhere.completes();
      // Not refused as busy: the claims are gone.
      expect(failedIn(await handler(sqsEvent(...a)))).toEqual([]);
      expect(inGroup('a')).toEqual(['a1', 'a3', 'a4']);
    });

    it('gives a plain handler nothing that comes behind a message worked on elsewhere', async () => {
      const elsewhere = await busyWith(sqsEvent(a[1]!));
      const seen: string[] = [];
      const handler = guard(async (event: SQSEvent) => {
        seen.push(...event.Records.map(({ messageId }) => messageId));
      }, options());
      expect(failedIn(await handler(mixed))).toEqual(['a-2', 'a-3', 'a-4']);
      expect(seen).toEqual(['a-1', 'b-1', 'b-2', 'b-3']);
      await elsewhere.fails();
    });

    it('stops a group at a message whose key cannot be told', async () => {
      const handler = guard(
        each(),
        options({ key: (r: SQSRecord) => (r.messageId === 'a-2' ? [] : r.messageId) }),
      );
      expect(failedIn(await handler(mixed))).toEqual(['a-2', 'a-3', 'a-4']);
      expect(inGroup('a')).toEqual(['a1']);
    });

    it('keeps to the order of both groups when they share a business key', async () => {
      const key = payloadId;
      failing = new Set(['x']);
      const event = sqsEvent(
        fifoMessage('a-1', 'a', { body: { id: 'x' } }),
        fifoMessage('b-1', 'b', { body: { id: 'x' } }),
        fifoMessage('b-2', 'b', { body: { id: 'y' } }),
      );
      const handler = guard(each(), options({ key }));
      expect(failedIn(await handler(event))).toEqual(['a-1', 'b-1', 'b-2']);
      failing.clear();
      runs = [];
      expect(failedIn(await handler(event))).toEqual(['b-1', 'b-2']);
      expect(runs).toEqual(['x']);
      // Also where all of it comes again, as with Kafka.
      expect(failedIn(await handler(event))).toEqual([]);
      expect(runs).toEqual(['x', 'y']);
    });

    it('knows a message that comes back from the dead-letter queue under a new message id', async () => {
      const handler = guard(each(), options());
      const sent = { body: { id: 'order' }, deduplicationId: 'order-1' };
      await handler(sqsEvent(fifoMessage('m-1', 'a', sent)));
      expect(failedIn(await handler(sqsEvent(fifoMessage('m-2', 'a', sent))))).toEqual([]);
      expect(runs).toEqual(['order']);
      await handler(sqsEvent(fifoMessage('m-3', 'b', sent)));
      expect(runs).toEqual(['order', 'order']);
    });

    it('takes equal contents without an id of their own for two messages', async () => {
      const handler = guard(each(), options());
      await handler(sqsEvent(fifoMessage('m-1', 'a', { body: { id: 'tick' } })));
      await handler(sqsEvent(fifoMessage('m-2', 'a', { body: { id: 'tick' } })));
      await handler(sqsEvent(fifoMessage('m-2', 'a', { body: { id: 'tick' } })));
      expect(runs).toEqual(['tick', 'tick']);
    });
  });
});
