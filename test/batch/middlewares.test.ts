import type { S3Event, SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda';
import { describe, expect, it } from 'vitest';
import type { SourceRecord } from '../../lib/index.ts';
import { eachRecord, freshRecords } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { failedIn, s3Event, s3Notification, sqsEvent, sqsMessage } from '../support/batch-events.ts';
import { doors } from '../support/doors.ts';
import { lambdaContext } from '../support/invocation.ts';
import { batchBench, byRecord, type Named } from './bench.ts';

const bench = batchBench(byRecord);
const fail = () => {
  throw new Error('no');
};
const messages = (count: number, prefix = 'm') =>
  Array.from({ length: count }, (_, at) => sqsMessage(`${prefix}-${at + 1}`));

describe.each(doors)('%s: a middleware inside that', (door, guard) => {
  it('parses and decodes the records in place is no hindrance', async () => {
    const handled: unknown[] = [];
    const normalizer = {
      before: ({ event }: { event: unknown }) => {
        for (const record of (event as SQSEvent & S3Event).Records) {
          if (record.body) record.body = JSON.parse(record.body);
          if (record.s3) record.s3.object.key = decodeURIComponent(record.s3.object.key.replaceAll('+', ' '));
        }
      },
    };
    const store = memoryStore();
    const records = eachRecord<SourceRecord>(
      async (record, op) => {
        expect(op.guarded).toBe(true);
        handled.push('messageId' in record ? record.payload : byRecord(record as Named));
        await bench.work(record);
      },
      { onFailure: () => {} },
    );
    const handler = guard(records, { store }, normalizer);
    await handler(sqsEvent(sqsMessage('m-1', { id: 7 })));
    bench.failing = new Set(['b c.txt']);
    const uploads = () => s3Event(...['a%2B.txt', 'b+c.txt'].map((key) => s3Notification(key)));
    await expect(handler(uploads())).rejects.toThrow('b c.txt is down');
    bench.failing.clear();
    await handler(uploads());
    expect(handled).toEqual([{ id: 7 }, 'a+.txt', 'b c.txt', 'b c.txt']);
  });

  it('copies or takes out records: what it took out is acknowledged, the rest is settled one by one', async () => {
    const filter = {
      before: (request: { event: unknown }) => {
        const event = request.event as SQSEvent;
        request.event = {
          ...event,
          Records: event.Records.filter(({ messageId }: SQSRecord) => messageId !== 'm-2').map(
            (record: SQSRecord) => structuredClone(record),
          ),
        };
      },
    };
    const handler = guard(bench.each(), { store: memoryStore() }, filter);
    bench.failing = new Set(['m-3']);
    expect(failedIn(await handler(sqsEvent(...messages(3))))).toEqual(['m-3']);
    expect(bench.runs).toEqual(['m-1', 'm-3']);
    expect(failedIn(await handler(sqsEvent(...messages(2))))).toEqual([]);
    expect(failedIn(await handler(sqsEvent(sqsMessage('m-2'))))).toEqual([]);
    expect(bench.runs).toEqual(['m-1', 'm-3']);
  });

  it('takes out all records leaves nothing to do', async () => {
    const filter = {
      before: ({ event }: { event: unknown }) => {
        (event as SQSEvent).Records = [];
      },
    };
    expect(await guard(bench.each(), { store: memoryStore() }, filter)(sqsEvent(...messages(2)))).toEqual({
      batchItemFailures: [],
    });
  });

  it('throws after the handler loses no record that failed or was not started', async () => {
    let throws = true;
    const after = {
      after: () => {
        if (throws) throw new Error('after');
      },
    };
    const store = memoryStore();
    let remainingMs = 30_000;
    const records = eachRecord<SQSRecord>(
      async (record) => {
        await bench.work(record);
        remainingMs = 500;
      },
      { concurrency: 1, onFailure: () => {} },
    );
    const context = lambdaContext(() => remainingMs);
    await expect(guard(records, { store }, after)(sqsEvent(...messages(3)), context)).rejects.toThrow(
      'after',
    );
    throws = false;
    expect(
      failedIn(await guard(bench.each(), { store, namespace: 'memory' })(sqsEvent(...messages(3)))),
    ).toEqual([]);
    expect(bench.runs).toEqual(['m-1', 'm-2', 'm-3']);
  });

  it('throws after a plain handler has it repeat what it has reported, at least', async () => {
    let throws = true;
    const after = {
      after: () => {
        if (throws) throw new Error('after');
      },
    };
    const seen: string[] = [];
    const handler = guard(
      freshRecords(async ({ Records }: SQSEvent) => {
        seen.push(...Records.map(({ messageId }) => messageId));
        return throws ? { batchItemFailures: [{ itemIdentifier: 'm-2' }] } : undefined;
      }),
      { store: memoryStore() },
      after,
    );
    await expect(handler(sqsEvent(...messages(2)))).rejects.toThrow('after');
    throws = false;
    expect(failedIn(await handler(sqsEvent(...messages(2))))).toEqual([]);
    expect(seen.filter((id) => id === 'm-2')).toHaveLength(2);
  });

  it.each<[string, (answer: unknown) => object]>([
    ['answers in place of the handler', (answer) => ({ before: () => answer })],
    ['makes an answer of an error', (answer) => ({ before: fail, onError: () => answer })],
    [
      'assigns an answer to an error',
      (answer) => ({
        before: fail,
        onError: (request: { response: unknown }) => {
          request.response = answer;
        },
      }),
    ],
  ])('%s before the handler is called claims nothing, and its answer stands', async (_, inner) => {
    const store = memoryStore();
    const answer = { batchItemFailures: [{ itemIdentifier: 'm-2' }], early: true };
    const answering = guard(
      bench.each(),
      { store, namespace: 'memory' },
      inner(answer),
    )(sqsEvent(...messages(3)));
    // To the wrapper any answer is the handler's, which has not said that it knows of records.
    if (door === 'the wrapper') await expect(answering).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    else expect(await answering).toEqual(answer);
    expect(store.records).toEqual([]);
    expect(
      failedIn(await guard(bench.each(), { store, namespace: 'memory' })(sqsEvent(...messages(3)))),
    ).toEqual([]);
    expect(bench.runs).toEqual(['m-1', 'm-2', 'm-3']);
  });

  it('adds failures to the answer has these records come again', async () => {
    const after = {
      after: ({ response }: { response: unknown }) => {
        (response as SQSBatchResponse).batchItemFailures.push({ itemIdentifier: 'm-1' });
      },
    };
    const handler = guard(bench.each(), { store: memoryStore() }, after);
    bench.failing = new Set(['m-2']);
    expect(failedIn(await handler(sqsEvent(...messages(2))))).toEqual(['m-1', 'm-2']);
  });
});

it.each(doors.slice(0, 2))(
  '%s: a plain handler whose answer is lost repeats only what it reported',
  async (_, guard) => {
    const seen: string[] = [];
    let throws = true;
    const after = {
      after: () => {
        if (throws) throw new Error('after');
      },
    };
    const handler = guard(
      freshRecords(async ({ Records }: SQSEvent) => {
        seen.push(...Records.map(({ messageId }) => messageId));
        return throws ? { batchItemFailures: [{ itemIdentifier: 'm-2' }] } : undefined;
      }),
      { store: memoryStore() },
      after,
    );
    await expect(handler(sqsEvent(...messages(3)))).rejects.toThrow('after');
    throws = false;
    await handler(sqsEvent(...messages(3)));
    expect(seen).toEqual(['m-1', 'm-2', 'm-3', 'm-2']);
  },
);
