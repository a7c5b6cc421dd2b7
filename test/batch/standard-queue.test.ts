import type { SQSEvent, SQSRecord } from 'aws-lambda';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  dynamoStore,
  type EachRecordOptions,
  eachRecord,
  type IdempotentOptions,
  operation,
} from '../../lib/index.ts';
import { failedIn, sqsEvent, sqsMessage } from '../support/batch-events.ts';
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
});
