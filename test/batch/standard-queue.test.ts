import type { Context, SQSEvent, SQSRecord } from 'aws-lambda';
import { describe, expect, it, vi } from 'vitest';
import { eachRecord, freshRecords, operation } from '../../lib/index.ts';
import { failedIn, sqsEvent, sqsMessage } from '../support/batch-events.ts';
import { doors } from '../support/doors.ts';
import { dynamoBatchBench } from './bench.ts';

const bench = dynamoBatchBench();
const payloadId = (record: SQSRecord): string => JSON.parse(record.body).id;

describe.each(doors)('%s: a batch', (_, guard) => {
  describe('of a standard queue', () => {
    const messages = ['1', '2', '3', '4'].map((id) => sqsMessage(`m-${id}`, { id }));

    it('reports the messages that failed, and runs only these when they come again', async () => {
      bench.failing = new Set(['2', '4']);
      const handler = guard(bench.each(), bench.options());
      expect(failedIn(await handler(sqsEvent(...messages)))).toEqual(['m-2', 'm-4']);
      expect(bench.runs.sort()).toEqual(['1', '2', '3', '4']);

      bench.failing.clear();
      bench.runs = [];
      expect(failedIn(await handler(sqsEvent(...messages)))).toEqual([]);
      expect(bench.runs.sort()).toEqual(['2', '4']);
      bench.runs = [];
      expect(await handler(sqsEvent(...messages))).toEqual({ batchItemFailures: [] });
      expect(bench.runs).toEqual([]);
    });

    it('runs nothing twice, however later batches are cut', async () => {
      const handler = guard(bench.each(), bench.options());
      await handler(sqsEvent(messages[0]!, messages[1]!));
      await handler(sqsEvent(messages[2]!, messages[1]!, messages[0]!));
      await handler(sqsEvent(messages[3]!, messages[2]!));
      expect(bench.runs).toEqual(['1', '2', '3', '4']);
    });

    it('is one effect for two messages with one business key, and both are acknowledged', async () => {
      const handler = guard(bench.each(), bench.options({ key: payloadId }));
      const twice = sqsEvent(sqsMessage('m-1', { id: 'order-1' }), sqsMessage('m-2', { id: 'order-1' }));
      expect(failedIn(await handler(twice))).toEqual([]);
      expect(bench.runs).toEqual(['order-1']);
    });

    it('reports both of two messages with one business key when the first one fails', async () => {
      bench.failing = new Set(['order-1']);
      const handler = guard(bench.each(), bench.options({ key: payloadId }));
      const twice = sqsEvent(sqsMessage('m-1', { id: 'order-1' }), sqsMessage('m-2', { id: 'order-1' }));
      expect(failedIn(await handler(twice))).toEqual(['m-1', 'm-2']);
      expect(bench.runs).toEqual(['order-1']);
      bench.failing.clear();
      expect(failedIn(await handler(twice))).toEqual([]);
      expect(bench.runs).toEqual(['order-1', 'order-1']);
    });

    it('reports a message with the business key of another, but other contents', async () => {
      const handler = guard(bench.each(), bench.options({ key: payloadId }));
      const first = sqsMessage('m-1', { id: 'order-1', amount: 1 });
      const other = sqsMessage('m-2', { id: 'order-1', amount: 2 });
      expect(failedIn(await handler(sqsEvent(first, other)))).toEqual(['m-2']);
      expect(failedIn(await handler(sqsEvent(other)))).toEqual(['m-2']);
      expect(bench.runs).toEqual(['order-1']);
      const said = vi.mocked(console.error).mock.calls.map(String);
      expect(said).toEqual([
        expect.stringMatching(/m-2\. PAYLOAD_MISMATCH: /),
        expect.stringMatching(/m-2\. PAYLOAD_MISMATCH: /),
      ]);
    });

    it('reports a message that is being worked on elsewhere, and works on the others', async () => {
      const elsewhere = await bench.busyWith(guard, sqsEvent(messages[1]!));
      const handler = guard(bench.each(), bench.options());
      expect(failedIn(await handler(sqsEvent(...messages)))).toEqual(['m-2']);
      expect(bench.runs).toEqual(['1', '3', '4']);
      await elsewhere.completes();
      expect(failedIn(await handler(sqsEvent(...messages)))).toEqual([]);
      expect(bench.runs).toEqual(['1', '3', '4']);
    });

    it('waits for a message that is being worked on elsewhere, if told to', async () => {
      for (const [ending, expected] of [
        ['completes', []],
        ['fails', ['2']],
      ] as const) {
        bench.namespace = `${bench.namespace}-${ending}`;
        bench.runs = [];
        const elsewhere = await bench.busyWith(guard, sqsEvent(messages[1]!));
        const waiting = guard(
          bench.each(),
          bench.options({ whenBusy: { waitMs: 10_000 } }),
        )(sqsEvent(messages[1]!));
        await elsewhere[ending]();
        expect(failedIn(await waiting)).toEqual([]);
        expect(bench.runs).toEqual(expected);
      }
    });

    it('does not run what has completed when something else throws', async () => {
      let fails = true;
      const records = bench.each();
      const handler = guard(async (event: SQSEvent, context: Context) => {
        const answer = await records(event, context);
        if (fails) throw new Error('flush failed');
        return answer;
      }, bench.options());
      await expect(handler(sqsEvent(...messages))).rejects.toThrow('flush failed');
      expect(bench.runs).toHaveLength(4);
      fails = false;
      expect(failedIn(await handler(sqsEvent(...messages)))).toEqual([]);
      expect(bench.runs).toHaveLength(4);
    });

    it('gives a plain handler only what is fresh, and merges its answer', async () => {
      const seen: string[][] = [];
      let answer: unknown;
      const handler = guard(
        freshRecords(async (event: SQSEvent) => {
          seen.push(event.Records.map(({ messageId }) => messageId));
          return answer;
        }),
        bench.options(),
      );
      const elsewhere = await bench.busyWith(guard, sqsEvent(messages[0]!));
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
        const handler = guard(freshRecords(handle), bench.options());
        expect(failedIn(await handler(sqsEvent(...messages)))).toEqual(['m-1', 'm-2', 'm-3', 'm-4']);
        handle.mockResolvedValue({ batchItemFailures: null });
        expect(failedIn(await handler(sqsEvent(...messages)))).toEqual([]);
        expect(handle).toHaveBeenCalledTimes(2);
      },
    );

    it('releases all that a plain handler was given when it throws', async () => {
      const handle = vi.fn(async (_: SQSEvent): Promise<unknown> => undefined);
      handle.mockRejectedValueOnce(new Error('down'));
      const handler = guard(freshRecords(handle), bench.options());
      await expect(handler(sqsEvent(...messages))).rejects.toThrow('down');
      expect(failedIn(await handler(sqsEvent(...messages)))).toEqual([]);
      expect(handle).toHaveBeenCalledTimes(2);
      expect(handle.mock.calls[1]![0].Records).toHaveLength(4);
    });

    it('tells each operation by its record, and that a batch has none of its own', async () => {
      const keys: string[] = [];
      const handler = guard(
        freshRecords(async (event: SQSEvent, context: unknown) => {
          expect(() => operation(context)).toThrow(/call operation\(context, record\)/);
          for (const record of event.Records) {
            keys.push(operation(context, record).key);
            expect(operation(context, { ...record })).toBe(operation(context, record));
          }
          expect(() => operation(context, sqsMessage('m-9'))).toThrow(
            expect.objectContaining({ code: 'NOT_GUARDED' }),
          );
        }),
        bench.options(),
      );
      await handler(sqsEvent(...messages));
      expect(keys).toEqual(['m-1', 'm-2', 'm-3', 'm-4']);
    });

    it('has a token of its own for each message, the same in the next attempt', async () => {
      const tokens: Record<string, string[]> = {};
      bench.failing = new Set(['1', '2']);
      const handler = guard(
        eachRecord<SQSRecord>(
          async (record, op) => {
            expect(op.guarded).toBe(true);
            tokens[record.messageId] = [...(tokens[record.messageId] ?? []), op.token('charge')];
            await bench.work(record);
          },
          { onFailure: () => {} },
        ),
        bench.options(),
      );
      await handler(sqsEvent(...messages));
      bench.failing.clear();
      await handler(sqsEvent(...messages));
      expect(tokens['m-1']).toHaveLength(2);
      expect(new Set(tokens['m-1']).size).toBe(1);
      expect(new Set(Object.values(tokens).flat()).size).toBe(4);
    });

    it('fails the message whose key cannot be told, not the batch, and quotes nothing of it', async () => {
      const key = (record: SQSRecord) => JSON.parse(record.body).id;
      const handler = guard(bench.each(), bench.options({ key }));
      const secret = 's3cret';
      const bad = [
        sqsMessage('not-json', `{${secret}`),
        sqsMessage('no-key', { card: secret }),
        sqsMessage('blank', { id: ' ', card: secret }),
        sqsMessage('object', { id: { secret } }),
      ];
      const answer = await handler(sqsEvent(bad[0]!, messages[0]!, ...bad.slice(1), messages[1]!));
      expect(failedIn(answer)).toEqual(['not-json', 'no-key', 'blank', 'object']);
      expect(bench.runs).toEqual(['1', '2']);
      const said = vi.mocked(console.error).mock.calls.flat().map(String).join('\n');
      for (const { messageId } of bad) expect(said).toContain(messageId);
      expect(said).not.toContain(secret);
    });

    it('survives a key function that throws what is no error', async () => {
      const key = (record: SQSRecord) => {
        if (record.messageId === 'm-2') throw undefined;
        return record.messageId;
      };
      expect(failedIn(await guard(bench.each(), bench.options({ key }))(sqsEvent(...messages)))).toEqual([
        'm-2',
      ]);
    });

    it('stores no answer of a record', async () => {
      const secret = 'x'.repeat(10_000);
      const handler = guard(
        eachRecord(async () => secret),
        bench.options(),
      );
      await handler(sqsEvent(messages[0]!));
      const items = (await bench.table.dump()).filter(({ pk }) => pk?.S?.startsWith(`${bench.namespace}#`));
      expect(items).toHaveLength(1);
      expect(JSON.stringify(items)).not.toContain('xxxx');
      expect(items[0]?.data?.B?.length).toBeLessThan(20);
    });
  });
});
