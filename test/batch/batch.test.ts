import type { KinesisStreamRecord, SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { storeUnavailable } from '../../lib/errors.ts';
import {
  dynamoStore,
  type EachRecordOptions,
  eachRecord,
  type IdempotentOptions,
  operation,
} from '../../lib/index.ts';
import {
  failedIn,
  fifoMessage,
  kafkaMessage,
  kinesisEvent,
  kinesisRecord,
  mskEvent,
  s3Event,
  s3Notification,
  selfManagedKafkaEvent,
  snsEvent,
  snsNotification,
  sqsEvent,
  sqsMessage,
  streamEvent,
  streamRecord,
} from '../support/batch-events.ts';
import { doors } from '../support/doors.ts';
import { createTable, type TestTable } from '../support/dynamodb.ts';
import { contextWith, turn } from '../support/hands.ts';
import { gate } from '../support/invocation.ts';

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
    const started = gate();
    const end = gate();
    const held = guard(
      eachRecord<any>(
        async () => {
          started.open();
          await end.passed;
        },
        { onFailure: () => {} },
      ),
      options(more),
    )(event);
    await started.passed;
    return {
      async completes() {
        end.open();
        await held;
      },
      async fails() {
        end.fail(new Error('gave up'));
        await held.catch(() => {});
      },
    };
  }

  describe('of a standard queue', () => {
    const messages = ['1', '2', '3', '4'].map((id) => sqsMessage(`m-${id}`, { id }));

    it('reports the messages that failed, and runs only these when they come again', async () => {
      failing = new Set(['2', '4']);
      const handler = guard(each(), options());
      expect(failedIn(await handler(sqsEvent(...messages)))).toEqual(['m-2', 'm-4']);
      expect(runs.sort()).toEqual(['1', '2', '3', '4']);

      failing.clear();
      runs = [];
      expect(failedIn(await handler(sqsEvent(...messages)))).toEqual([]);
      expect(runs.sort()).toEqual(['2', '4']);
      runs = [];
      expect(await handler(sqsEvent(...messages))).toEqual({ batchItemFailures: [] });
      expect(runs).toEqual([]);
    });

    it('runs nothing twice, however later batches are cut', async () => {
      const handler = guard(each(), options());
      await handler(sqsEvent(messages[0]!, messages[1]!));
      await handler(sqsEvent(messages[2]!, messages[1]!, messages[0]!));
      await handler(sqsEvent(messages[3]!, messages[2]!));
      expect(runs).toEqual(['1', '2', '3', '4']);
    });

    it('is one effect for two messages with one business key, and both are acknowledged', async () => {
      const handler = guard(each(), options({ key: payloadId }));
      const twice = sqsEvent(sqsMessage('m-1', { id: 'order-1' }), sqsMessage('m-2', { id: 'order-1' }));
      expect(failedIn(await handler(twice))).toEqual([]);
      expect(runs).toEqual(['order-1']);
    });

    it('reports both of two messages with one business key when the first one fails', async () => {
      failing = new Set(['order-1']);
      const handler = guard(each(), options({ key: payloadId }));
      const twice = sqsEvent(sqsMessage('m-1', { id: 'order-1' }), sqsMessage('m-2', { id: 'order-1' }));
      expect(failedIn(await handler(twice))).toEqual(['m-1', 'm-2']);
      expect(runs).toEqual(['order-1']);
      failing.clear();
      expect(failedIn(await handler(twice))).toEqual([]);
      expect(runs).toEqual(['order-1', 'order-1']);
    });

    it('reports a message with the business key of another, but other contents', async () => {
      const handler = guard(each(), options({ key: payloadId }));
      const first = sqsMessage('m-1', { id: 'order-1', amount: 1 });
      const other = sqsMessage('m-2', { id: 'order-1', amount: 2 });
      expect(failedIn(await handler(sqsEvent(first, other)))).toEqual(['m-2']);
      expect(failedIn(await handler(sqsEvent(other)))).toEqual(['m-2']);
      expect(runs).toEqual(['order-1']);
      const said = vi.mocked(console.error).mock.calls.map(String);
      expect(said).toEqual([
        expect.stringMatching(/m-2\. PAYLOAD_MISMATCH: /),
        expect.stringMatching(/m-2\. PAYLOAD_MISMATCH: /),
      ]);
    });

    it('reports a message that is being worked on elsewhere, and works on the others', async () => {
      const elsewhere = await busyWith(sqsEvent(messages[1]!));
      const handler = guard(each(), options());
      expect(failedIn(await handler(sqsEvent(...messages)))).toEqual(['m-2']);
      expect(runs).toEqual(['1', '3', '4']);
      await elsewhere.completes();
      expect(failedIn(await handler(sqsEvent(...messages)))).toEqual([]);
      expect(runs).toEqual(['1', '3', '4']);
    });

    it('waits for a message that is being worked on elsewhere, if told to', async () => {
      for (const [ending, expected] of [
        ['completes', []],
        ['fails', ['2']],
      ] as const) {
        namespace = `${namespace}-${ending}`;
        runs = [];
        const elsewhere = await busyWith(sqsEvent(messages[1]!));
        const waiting = guard(each(), options({ whenBusy: { waitMs: 10_000 } }))(sqsEvent(messages[1]!));
        await elsewhere[ending]();
        expect(failedIn(await waiting)).toEqual([]);
        expect(runs).toEqual(expected);
      }
    });

    it('does not run what has completed when something else throws', async () => {
      let fails = true;
      const records = each();
      const handler = guard(async (event: SQSEvent, context: any) => {
        const answer = await records(event, context);
        if (fails) throw new Error('flush failed');
        return answer;
      }, options());
      await expect(handler(sqsEvent(...messages))).rejects.toThrow('flush failed');
      expect(runs).toHaveLength(4);
      fails = false;
      expect(failedIn(await handler(sqsEvent(...messages)))).toEqual([]);
      expect(runs).toHaveLength(4);
    });

    it('gives a plain handler only what is fresh, and merges its answer', async () => {
      const seen: string[][] = [];
      let answer: unknown;
      const handler = guard(async (event: SQSEvent) => {
        seen.push(event.Records.map(({ messageId }) => messageId));
        return answer;
      }, options());
      const elsewhere = await busyWith(sqsEvent(messages[0]!));
      answer = { batchItemFailures: [{ itemIdentifier: 'm-3' }], kept: true };
      expect(await handler(sqsEvent(...messages))).toEqual({
        batchItemFailures: [{ itemIdentifier: 'm-1' }, { itemIdentifier: 'm-3' }],
        kept: true,
      });
      await elsewhere.completes();
      answer = undefined;
      expect(await handler(sqsEvent(...messages))).toEqual({ batchItemFailures: [] });
      expect(await handler(sqsEvent(...messages))).toEqual({ batchItemFailures: [] });
      expect(seen).toEqual([['m-2', 'm-3', 'm-4'], ['m-3']]);
    });

    it.each<[string, unknown]>([
      ['an id of another batch', [{ itemIdentifier: 'm-1' }, { itemIdentifier: 'm-9' }]],
      ['an empty id', [{ itemIdentifier: '' }]],
      ['no id', [{}]],
      ['null for an item', [null]],
      ['another name for it', [{ messageId: 'm-1' }]],
      ['a text for the list', 'm-1'],
    ])(
      'takes a plain answer with %s for the failure of all, as Lambda does',
      async (_, batchItemFailures) => {
        const handle = vi.fn(async (): Promise<unknown> => ({ batchItemFailures }));
        const handler = guard(handle, options());
        expect(failedIn(await handler(sqsEvent(...messages)))).toEqual(['m-1', 'm-2', 'm-3', 'm-4']);
        handle.mockResolvedValue({ batchItemFailures: null });
        expect(failedIn(await handler(sqsEvent(...messages)))).toEqual([]);
        expect(handle).toHaveBeenCalledTimes(2);
      },
    );

    it('releases all that a plain handler was given when it throws', async () => {
      const handle = vi.fn(async (_: SQSEvent): Promise<unknown> => undefined);
      handle.mockRejectedValueOnce(new Error('down'));
      const handler = guard(handle, options());
      await expect(handler(sqsEvent(...messages))).rejects.toThrow('down');
      expect(failedIn(await handler(sqsEvent(...messages)))).toEqual([]);
      expect(handle).toHaveBeenCalledTimes(2);
      expect(handle.mock.calls[1]![0].Records).toHaveLength(4);
    });

    it('tells each operation by its record, and that a batch has none of its own', async () => {
      const keys: string[] = [];
      const handler = guard(async (event: SQSEvent, context: unknown) => {
        expect(() => operation(context)).toThrow(/call operation\(context, record\)/);
        for (const record of event.Records) {
          keys.push(operation(context, record).key);
          expect(operation(context, { ...record })).toBe(operation(context, record));
        }
        expect(() => operation(context, sqsMessage('m-9'))).toThrow(
          expect.objectContaining({ code: 'NOT_GUARDED' }),
        );
      }, options());
      await handler(sqsEvent(...messages));
      expect(keys).toEqual(['m-1', 'm-2', 'm-3', 'm-4']);
    });

    it('has a token of its own for each message, the same in the next attempt', async () => {
      const tokens: Record<string, string[]> = {};
      failing = new Set(['1', '2']);
      const handler = guard(
        eachRecord<SQSRecord>(
          async (record, op) => {
            expect(op.guarded).toBe(true);
            tokens[record.messageId] = [...(tokens[record.messageId] ?? []), op.token('charge')];
            await work(record);
          },
          { onFailure: () => {} },
        ),
        options(),
      );
      await handler(sqsEvent(...messages));
      failing.clear();
      await handler(sqsEvent(...messages));
      expect(tokens['m-1']).toHaveLength(2);
      expect(new Set(tokens['m-1']).size).toBe(1);
      expect(new Set(Object.values(tokens).flat()).size).toBe(4);
    });

    it('fails the message whose key cannot be told, not the batch, and quotes nothing of it', async () => {
      const key = (record: SQSRecord) => JSON.parse(record.body).id;
      const handler = guard(each(), options({ key }));
      const secret = 's3cret';
      const bad = [
        sqsMessage('not-json', `{${secret}`),
        sqsMessage('no-key', { card: secret }),
        sqsMessage('blank', { id: ' ', card: secret }),
        sqsMessage('object', { id: { secret } }),
      ];
      const answer = await handler(sqsEvent(bad[0]!, messages[0]!, ...bad.slice(1), messages[1]!));
      expect(failedIn(answer)).toEqual(['not-json', 'no-key', 'blank', 'object']);
      expect(runs).toEqual(['1', '2']);
      const said = vi.mocked(console.error).mock.calls.flat().map(String).join('\n');
      for (const { messageId } of bad) expect(said).toContain(messageId);
      expect(said).not.toContain(secret);
    });

    it('survives a key function that throws what is no error', async () => {
      const key = (record: SQSRecord) => {
        if (record.messageId === 'm-2') throw undefined;
        return record.messageId;
      };
      expect(failedIn(await guard(each(), options({ key }))(sqsEvent(...messages)))).toEqual(['m-2']);
    });

    it('stores no answer of a record', async () => {
      const secret = 'x'.repeat(10_000);
      const handler = guard(
        eachRecord(async () => secret),
        options(),
      );
      await handler(sqsEvent(messages[0]!));
      const items = (await table.dump()).filter(({ pk }) => pk?.S?.startsWith(`${namespace}#`));
      expect(items).toHaveLength(1);
      expect(JSON.stringify(items)).not.toContain('xxxx');
      expect(items[0]?.data?.B?.length).toBeLessThan(20);
    });
  });

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

  describe.each<[string, (...at: number[]) => object]>([
    ['Kinesis', (...at) => kinesisEvent(...at.map((n) => kinesisRecord(n)))],
    ['DynamoDB Streams', (...at) => streamEvent(...at.map((n) => streamRecord(n)))],
  ])('of %s', (_, event) => {
    const names = (first: number, last: number) => range(first, last).map(String);

    it('stops at the first failure and reports it alone; what comes again runs once, however it is cut', async () => {
      failing = new Set(['10']);
      const handler = guard(each(), options());
      expect(failedIn(await handler(event(...range(7, 13))))).toEqual(['10']);
      expect(runs).toEqual(names(7, 10));
      failing.clear();
      runs = [];
      // From the failure on, bisected, and once more as a whole, and in disorder.
      expect(failedIn(await handler(event(10, 11)))).toEqual([]);
      expect(failedIn(await handler(event(12, 13)))).toEqual([]);
      expect(failedIn(await handler(event(...range(7, 13))))).toEqual([]);
      expect(failedIn(await handler(event(13, 8, 11)))).toEqual([]);
      expect(runs).toEqual(names(10, 13));
    });

    it('stops at a record that is being worked on elsewhere', async () => {
      const elsewhere = await busyWith(event(10));
      const handler = guard(each(), options());
      expect(failedIn(await handler(event(...range(8, 12))))).toEqual(['10']);
      expect(runs).toEqual(['8', '9']);
      await elsewhere.completes();
      expect(failedIn(await handler(event(...range(10, 12))))).toEqual([]);
      expect(runs).toEqual(['8', '9', '11', '12']);
    });

    it('reports the lowest of many failures of a plain handler, and loses nothing behind it', async () => {
      const seen: string[][] = [];
      let failures: string[] = ['11', '10'];
      const handler = guard(async ({ Records }: { Records: any[] }) => {
        seen.push(
          Records.map((r) => (r.kinesis ?? r.dynamodb)[r.kinesis ? 'sequenceNumber' : 'SequenceNumber']),
        );
        return { batchItemFailures: failures.map((itemIdentifier) => ({ itemIdentifier })) };
      }, options());
      expect(failedIn(await handler(event(...range(8, 13))))).toEqual(['10']);
      failures = [];
      expect(failedIn(await handler(event(...range(8, 13))))).toEqual([]);
      expect(seen).toEqual([names(8, 13), names(10, 13)]);
    });

    it('answers a batch of which nothing is fresh without the handler', async () => {
      const handler = guard(each(), options());
      await handler(event(1, 2));
      expect(await handler(event(1, 2))).toEqual({ batchItemFailures: [] });
      expect(runs).toEqual(['1', '2']);
    });
  });

  it('of Kinesis is two effects for a record that its producer sent twice, and one with a key', async () => {
    const sent = kinesisEvent(kinesisRecord(1, { id: 'order-1' }), kinesisRecord(2, { id: 'order-1' }));
    await guard(each(), options())(sent);
    expect(runs).toEqual(['order-1', 'order-1']);
    runs = [];
    const key = ({ kinesis }: KinesisStreamRecord) =>
      JSON.parse(Buffer.from(kinesis.data, 'base64').toString()).id;
    namespace += '-keyed';
    expect(failedIn(await guard(each(), options({ key }))(sent))).toEqual([]);
    expect(runs).toEqual(['order-1']);
  });

  describe.each<[string, (...records: any[]) => object]>([
    ['Amazon MSK', mskEvent],
    ['a Kafka of your own', selfManagedKafkaEvent],
  ])('of %s', (_, event) => {
    it('goes by partition and offset, keeps to the order of each, and fails once the rest is settled', async () => {
      failing = new Set(['b1']);
      const [a, b] = [0, 1].map((partition) =>
        range(0, 2).map((n) => kafkaMessage(partition, n, { id: `${'ab'[partition]}${n}` })),
      ) as [any[], any[]];
      const handler = guard(each(), options());
      await expect(handler(event(...a, ...b))).rejects.toThrow('b1 is down');
      expect(runs.filter((run) => run.startsWith('a'))).toEqual(['a0', 'a1', 'a2']);
      expect(runs.filter((run) => run.startsWith('b'))).toEqual(['b0', 'b1']);
      failing.clear();
      runs = [];
      expect(await handler(event(...a, ...b))).toBeUndefined();
      expect(runs).toEqual(['b1', 'b2']);
      // Only topic, partition and offset tell records apart.
      expect(await handler(event(kafkaMessage(1, 2, { id: 'other' })))).toBeUndefined();
      expect(runs).toEqual(['b1', 'b2']);
    });

    it('fails with the errors of all partitions that failed, and gives a plain handler what is fresh', async () => {
      failing = new Set(['2', 'c0']);
      const records = range(0, 2).map((n) => kafkaMessage(0, n, { id: n }));
      const other = kafkaMessage(2, 0, { id: 'c0' });
      await expect(guard(each(), options())(event(...records, other))).rejects.toMatchObject({
        code: 'BATCH_FAILED',
        message: expect.stringContaining('2 of 4'),
      });
      const seen: object[] = [];
      const handler = guard(async ({ records }: any) => void seen.push(records), options());
      await handler(event(...records, kafkaMessage(1, 0, { id: 'b0' })));
      expect(seen).toEqual([{ 'orders-0': [records[2]], 'orders-1': [kafkaMessage(1, 0, { id: 'b0' })] }]);
    });
  });

  describe.each<[string, (...ids: string[]) => object]>([
    ['SNS', (...ids) => snsEvent(...ids.map((id) => snsNotification(id)))],
    ['S3', (...ids) => s3Event(...ids.map((id) => s3Notification(id)))],
  ])('of %s', (_, event) => {
    it('fails with the error of one, or with all of several; what was done is not done again', async () => {
      failing = new Set(['2', '3']);
      const handler = guard(each(), options());
      await expect(handler(event('1', '2', '3'))).rejects.toMatchObject({
        code: 'BATCH_FAILED',
        effect: 'possible',
        cause: { errors: [new Error('2 is down'), new Error('3 is down')] },
      });
      failing.delete('3');
      runs = [];
      await expect(handler(event('1', '2', '3'))).rejects.toThrow('2 is down');
      failing.clear();
      expect(await handler(event('1', '2', '3'))).toBeUndefined();
      expect(runs).toEqual(['2', '3', '2']);
      expect(await handler(event('1', '2', '3'))).toBeUndefined();
      expect(runs).toEqual(['2', '3', '2']);
    });

    it('is refused while one is being worked on elsewhere', async () => {
      const elsewhere = await busyWith(event('2'));
      const handler = guard(each(), options());
      await expect(handler(event('1', '2'))).rejects.toMatchObject({
        ...{ code: 'IN_PROGRESS', effect: 'possible', retryAfterSeconds: expect.any(Number) },
      });
      expect(runs).toEqual(['1']);
      await elsewhere.completes();
      await handler(event('1', '2'));
      expect(runs).toEqual(['1']);
    });

    it('fails, too, with what is no error', async () => {
      const throwing = eachRecord<any>(
        async () => {
          throw undefined;
        },
        { onFailure: () => {} },
      );
      await expect(guard(throwing, options())(event('1'))).rejects.toMatchObject({ code: 'BATCH_FAILED' });
    });
  });

  it('of S3 tells one version of an object from the next', async () => {
    const handler = guard(each(), options());
    for (const sequencer of ['01', '02', '01']) await handler(s3Event(s3Notification('a.txt', sequencer)));
    expect(runs).toEqual(['a.txt', 'a.txt']);
  });

  describe('when time runs short', () => {
    it('starts nothing more, reports the rest and gives its claims up', async () => {
      let remainingMs = 30_000;
      const context = contextWith(() => remainingMs);
      const messages = range(1, 4).map((n) => sqsMessage(`m-${n}`, { id: `${n}` }));
      const slow = eachRecord<SQSRecord>(
        async (record) => {
          await work(record);
          if (runs.length === 2) remainingMs = 900;
        },
        { concurrency: 1, onFailure: () => {} },
      );
      expect(failedIn(await guard(slow, options())(sqsEvent(...messages), context))).toEqual(['m-3', 'm-4']);
      expect(runs).toEqual(['1', '2']);
      // Another invocation, at once.
      expect(failedIn(await guard(each(), options())(sqsEvent(...messages)))).toEqual([]);
      expect(runs).toEqual(['1', '2', '3', '4']);
    });

    it('gives up the claim of what was not started even in the last moment', async () => {
      let remainingMs = 30_000;
      const messages = range(1, 2).map((n) => kinesisRecord(n));
      const slow = eachRecord<KinesisStreamRecord>(
        async (record) => {
          await work(record);
          remainingMs = 50;
        },
        { onFailure: () => {} },
      );
      const context = contextWith(() => remainingMs);
      expect(failedIn(await guard(slow, options())(kinesisEvent(...messages), context))).toEqual(['2']);
      expect(failedIn(await guard(each(), options())(kinesisEvent(messages[1]!)))).toEqual([]);
      expect(runs).toEqual(['1', '2']);
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
      await guard(dying, options())(
        event,
        contextWith(() => remainingMs),
      );
      expect(failedIn(await guard(each(), options())(event))).toEqual(['m-1']);
      expect(runs).toEqual([]);
    });
  });

  describe('with the option', () => {
    const [one, two] = [sqsMessage('m-1', { id: '1' }), sqsMessage('m-2', { id: '2' })];

    it('`remember` runs again what is not to be remembered, which is no failure', async () => {
      const handler = guard(
        eachRecord<SQSRecord>(async (record) => {
          await work(record);
          return record.messageId === 'm-1';
        }),
        options({ remember: ({ value }) => value === true }),
      );
      expect(failedIn(await handler(sqsEvent(one, two)))).toEqual([]);
      expect(failedIn(await handler(sqsEvent(one, two)))).toEqual([]);
      expect(runs).toEqual(['1', '2', '2']);
    });

    it('`required: false` runs records without a key unguarded, every time', async () => {
      const guarded: boolean[] = [];
      const handler = guard(
        eachRecord<SQSRecord>(async (record, op) => {
          guarded.push(op.guarded);
          await work(record);
        }),
        options({
          required: false,
          key: ({ messageId }: SQSRecord) => (messageId === 'm-1' ? 'k' : undefined),
        }),
      );
      await handler(sqsEvent(one, two));
      await handler(sqsEvent(one, two));
      expect(runs).toEqual(['1', '2', '2']);
      expect(guarded).toEqual([true, false, false]);
    });

    it("`whenStoreFails: 'run'` runs records without a record, else they are reported", async () => {
      const claim = () => Promise.reject(storeUnavailable(new Error('down')));
      const unreachable = options({ store: { ...dynamoStore(table.store), claim } });
      expect(failedIn(await guard(each(), unreachable)(sqsEvent(one, two)))).toEqual(['m-1', 'm-2']);
      expect(runs).toEqual([]);
      expect(String(vi.mocked(console.error).mock.calls)).toMatch(/m-1, m-2\. STORE_UNAVAILABLE: /);
      const running = guard(each(), { ...unreachable, whenStoreFails: 'run' });
      expect(failedIn(await running(sqsEvent(one, two)))).toEqual([]);
      expect(runs).toEqual(['1', '2']);
    });

    it('`IDEMPOTENCY_DISABLED` lets records commit what they write, without a record', async () => {
      vi.stubEnv('IDEMPOTENCY_DISABLED', 'true');
      vi.spyOn(console, 'warn').mockImplementation(() => {});
      const pk = `written-${namespace}`;
      const count = {
        TableName: table.tableName,
        Key: { pk, sk: 'count' },
        UpdateExpression: 'ADD n :one',
        ExpressionAttributeValues: { ':one': 1 },
      };
      try {
        const handler = guard(
          eachRecord<SQSRecord>((_, op) => op.commit({ result: 'counted', writes: [{ Update: count }] })),
          options(),
        );
        expect(failedIn(await handler(sqsEvent(one)))).toEqual([]);
        expect(failedIn(await handler(sqsEvent(one)))).toEqual([]);
        const written = (await table.dump()).filter((item) => item.pk?.S?.includes(namespace));
        expect(written).toEqual([{ pk: { S: pk }, sk: { S: 'count' }, n: { N: '2' } }]);
      } finally {
        vi.unstubAllEnvs();
      }
    });

    it('`IDEMPOTENCY_DISABLED` runs all of it, with an operation for each record', async () => {
      vi.stubEnv('IDEMPOTENCY_DISABLED', 'true');
      vi.spyOn(console, 'warn').mockImplementation(() => {});
      try {
        const handler = guard(each(), options());
        expect(failedIn(await handler(sqsEvent(one, two)))).toEqual([]);
        expect(failedIn(await handler(sqsEvent(one, two)))).toEqual([]);
        expect(runs).toEqual(['1', '2', '1', '2']);
        const plain = guard(async ({ Records }: SQSEvent, context: unknown) => {
          const [first, second] = Records.map((record) => operation(context, record));
          expect([first?.guarded, second?.guarded]).toEqual([false, false]);
          expect(first?.token('charge')).not.toBe(second?.token('charge'));
          expect(first?.token('charge')).toBe(operation(context, { ...one }).token('charge'));
          return { batchItemFailures: [] } satisfies SQSBatchResponse;
        }, options());
        expect(failedIn(await plain(sqsEvent(one, two)))).toEqual([]);
      } finally {
        vi.unstubAllEnvs();
      }
    });
  });
});
