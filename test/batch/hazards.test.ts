import type { SQSEvent, SQSRecord } from 'aws-lambda';
import { describe, expect, it } from 'vitest';
import { eachRecord, freshRecords, idempotent, operation } from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';
import {
  failedIn,
  fifoMessage,
  kinesisEvent,
  kinesisRecord,
  s3Event,
  s3Notification,
  sqsEvent,
  sqsMessage,
  streamEvent,
  streamRecord,
} from '../support/batch-events.ts';
import { deferred, observer } from '../support/hands.ts';
import { lambdaContext } from '../support/invocation.ts';
import { recordingStore } from '../support/recording-store.ts';
import { batchBench, byRecord } from './bench.ts';

const bench = batchBench(byRecord);
const messages = (count: number, prefix = 'm') =>
  Array.from({ length: count }, (_, at) => sqsMessage(`${prefix}-${at + 1}`));

describe('guards within guards', () => {
  const context = lambdaContext();

  it('settle a record once when its handler processes it as a batch of one', async () => {
    const store = recordingStore();
    bench.failing = new Set(['m-2']);
    const inner = bench.each();
    const outer = eachRecord<SQSRecord>(async (record, _, ctx) => {
      await inner(sqsEvent(record), ctx);
    });
    const handler = idempotent(outer, { store });
    expect(failedIn(await handler(sqsEvent(...messages(3)), context))).toEqual(['m-2']);
    expect(store.calls.filter((verb) => verb === 'complete')).toHaveLength(2);
    expect(store.calls.filter((verb) => verb === 'giveBack')).toHaveLength(1);
    bench.failing.clear();
    expect(failedIn(await handler(sqsEvent(...messages(3)), context))).toEqual([]);
    expect(bench.runs.sort()).toEqual(['m-1', 'm-2', 'm-2', 'm-3']);
  });

  it('report a record that an inner batch has completed and the outer handler gives back', async () => {
    const inner = bench.each();
    const outer = eachRecord<SQSRecord>(
      async (record, _, ctx) => {
        await inner(sqsEvent(record), ctx);
        if (record.messageId === 'm-1') throw new Error('afterwards');
      },
      { onFailure: () => {} },
    );
    const handler = idempotent(outer, { store: memoryStore() });
    expect(failedIn(await handler(sqsEvent(...messages(2)), context))).toEqual(['m-1']);
  });

  it('give the function for one record its own operation', async () => {
    const keys: string[] = [];
    const handleOne = idempotent(async (_: SQSRecord, ctx) => void keys.push(operation(ctx).key), {
      store: memoryStore(),
      namespace: 'one',
      key: ({ messageId }) => `one-${messageId}`,
    });
    const handler = idempotent(
      eachRecord((record, _, ctx) => handleOne(record, ctx)),
      { store: memoryStore(), namespace: 'batch' },
    );
    expect(failedIn(await handler(sqsEvent(...messages(2)), context))).toEqual([]);
    expect(keys.sort()).toEqual(['one-m-1', 'one-m-2']);
  });

  it('both know what was done, around one batch', async () => {
    const store = memoryStore();
    bench.failing = new Set(['m-2']);
    const handler = idempotent(idempotent(bench.each(), { store, namespace: 'inner' }), {
      store,
      namespace: 'outer',
    });
    expect(failedIn(await handler(sqsEvent(...messages(3)), context))).toEqual(['m-2']);
    bench.failing.clear();
    expect(failedIn(await handler(sqsEvent(...messages(3)), context))).toEqual([]);
    expect(bench.runs.sort()).toEqual(['m-1', 'm-2', 'm-2', 'm-3']);
  });

  it('know a record by itself as they know it in a batch', async () => {
    const store = memoryStore();
    await idempotent(bench.each(), { store, namespace: 'n' })(sqsEvent(...messages(1)), context);
    const alone = idempotent(async (record: SQSRecord) => void bench.runs.push(record.messageId), {
      store,
      namespace: 'n',
    });
    await alone(sqsMessage('m-1'), context);
    expect(bench.runs).toEqual(['m-1']);
  });
});

describe('the event of a batch', () => {
  it('is not changed, and may be frozen', async () => {
    const deepFreeze = <T>(value: T): T => {
      if (typeof value === 'object' && value !== null) Object.values(value).forEach(deepFreeze);
      return Object.freeze(value);
    };
    for (const event of [
      sqsEvent(...messages(2)),
      kinesisEvent(kinesisRecord(1), kinesisRecord(2)),
      streamEvent(streamRecord(1)),
      s3Event(s3Notification('a')),
    ]) {
      const before = structuredClone(event);
      const handler = idempotent(bench.each(), { store: memoryStore() });
      await handler(deepFreeze(event), lambdaContext());
      expect(event).toEqual(before);
    }
    expect(bench.runs).toHaveLength(6);
  });

  it('whose records the handler changes is still the operations that it was', async () => {
    const handler = idempotent(
      freshRecords(async ({ Records }: SQSEvent) => {
        bench.runs.push(...Records.map(({ messageId }) => messageId));
        for (const record of Records) Object.assign(record, { messageId: 'x', body: '' });
        Records.length = 0;
      }),
      { store: memoryStore() },
    );
    expect(failedIn(await handler(sqsEvent(...messages(2)), lambdaContext()))).toEqual([]);
    expect(failedIn(await handler(sqsEvent(...messages(2)), lambdaContext()))).toEqual([]);
    expect(bench.runs).toEqual(['m-1', 'm-2']);
  });

  it('that names one message twice is one effect', async () => {
    const handler = idempotent(bench.each(), { store: memoryStore() });
    const [one] = messages(1) as [SQSRecord];
    const again = { ...one, receiptHandle: 'receipt-2' };
    expect(failedIn(await handler(sqsEvent(one, again), lambdaContext()))).toEqual([]);
    bench.failing = new Set(['m-9']);
    const failed = sqsMessage('m-9');
    expect(failedIn(await handler(sqsEvent(failed, { ...failed }), lambdaContext()))).toEqual(['m-9']);
    expect(bench.runs).toEqual(['m-1', 'm-9']);
  });

  it('of a tumbling window is refused, for its state would miss what was done before', async () => {
    const window = { window: { start: '', end: '' }, state: {}, isFinalInvokeForWindow: false };
    const event = { ...kinesisEvent(kinesisRecord(1)), ...window };
    const handler = idempotent(bench.each(), { store: memoryStore() });
    await expect(handler(event, lambdaContext())).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    expect(bench.runs).toEqual([]);
  });
});

describe('a record that was overtaken', () => {
  /** Runs message 1 of a group of two until its lease is over and another invocation has taken it over. */
  async function overtaken(ending: 'completes' | 'runs on') {
    const clock = manualClock();
    const store = memoryStore({ clock });
    const seen = observer();
    const shared = { store, lease: { seconds: 10 }, namespace: 'n', observe: seen.observe };
    const started = [deferred(), deferred()];
    const ends = [deferred(), deferred()];
    let calls = 0;
    const handler = idempotent(
      eachRecord<SQSRecord>(
        async ({ messageId }) => {
          bench.runs.push(messageId);
          if (messageId !== 'm-1') return;
          const call = calls++;
          started[call]!.resolve();
          await ends[call]!.promise;
        },
        { onFailure: () => {} },
      ),
      shared,
    );
    const [one, two] = [fifoMessage('m-1', 'g'), fifoMessage('m-2', 'g')];
    const first = handler(sqsEvent(one, two), lambdaContext());
    await started[0]!.promise;
    clock.advance(10_000);
    const second = handler(sqsEvent(one), lambdaContext());
    await started[1]!.promise;
    if (ending === 'completes') {
      ends[1]!.resolve();
      await second;
    }
    ends[0]!.resolve();
    const answer = failedIn(await first);
    ends[1]!.resolve();
    await second;
    return {
      answer,
      types: seen.types(),
      again: failedIn(await handler(sqsEvent(one, two), lambdaContext())),
    };
  }

  it('is acknowledged where the other attempt has completed', async () => {
    const { answer, types, again } = await overtaken('completes');
    expect(answer).toEqual(expect.not.arrayContaining(['m-1']));
    expect(types).toContain('overtaken');
    expect(again).toEqual([]);
  });

  it('is reported where the other attempt still works on it', async () => {
    const { answer, types, again } = await overtaken('runs on');
    expect(answer).toContain('m-1');
    expect(types).toContain('overtaken');
    expect(again).toEqual([]);
    expect(bench.runs.filter((id) => id === 'm-1')).toHaveLength(2);
  });
});

it('a record that was overtaken under a plain handler is reported, though the handler did not', async () => {
  const plain = memoryStore();
  const store: Store = {
    ...plain,
    async complete(completion) {
      const found = (await plain.read(completion.pk))!;
      return { outcome: 'stopped', found: { ...found, owner: 'another' } };
    },
  };
  const handler = idempotent(
    freshRecords(async (_: SQSEvent, _context) => ({ batchItemFailures: [] })),
    { store },
  );
  expect(failedIn(await handler(sqsEvent(fifoMessage('m-1', 'g')), lambdaContext()))).toEqual(['m-1']);
});

it('an observer is told of every record of a batch', async () => {
  const seen = observer();
  bench.failing = new Set(['m-2']);
  const handler = idempotent(bench.each(), { store: memoryStore(), observe: seen.observe });
  await handler(sqsEvent(...messages(2)), lambdaContext());
  expect(seen.types().sort()).toEqual(['claim', 'claim', 'complete', 'release']);
  await handler(sqsEvent(...messages(1)), lambdaContext());
  expect(seen.types().at(-1)).toBe('replay');
  expect(new Set(seen.seen.map((event) => 'operation' in event && event.operation)).size).toBe(2);
});
