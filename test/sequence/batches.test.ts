import type { SQSRecord } from 'aws-lambda';
import { beforeEach, describe, expect, it, vi } from 'vitest';
import {
  type EachRecordOptions,
  eachRecord,
  freshRecords,
  idempotent,
  numbered,
  operation,
  type SourceRecord,
} from '../../lib/index.ts';
import {
  failedIn,
  fifoMessage,
  kinesisEvent,
  kinesisRecord,
  snsEvent,
  snsNotification,
  sqsEvent,
  sqsMessage,
} from '../support/batch-events.ts';
import { doors } from '../support/doors.ts';
import { deferred, turn } from '../support/hands.ts';
import { lambdaContext } from '../support/invocation.ts';
import { numberedBench, placeOf, type Sale, stores } from './bench.ts';

const ofBody = numbered(({ body }: SQSRecord) => placeOf(JSON.parse(body)));
const name = ({ till = 'a', epoch = 0, number }: Sale) => `${till}${epoch > 0 ? `.${epoch}.` : ''}${number}`;
const read = (text: string): Sale => {
  const [, till = 'a', epoch = '0', number = '0'] = /^([a-z])(?:\.(\d+)\.)?(\d+)/.exec(text) ?? [];
  return { till, epoch: Number(epoch), number: Number(number) };
};
/** Messages whose ids say what they are: `a3` is number 3 of till a, `a.2.3` the same of its epoch 2. */
const standard = (...names: string[]) => sqsEvent(...names.map((id) => sqsMessage(id, read(id))));
const fifo = (group: string, ...names: string[]) =>
  names.map((id) => fifoMessage(id, group, { body: read(id), deduplicationId: id }));

describe.each(
  stores.flatMap(([store, make]) => doors.map(([door, guard]) => [store, door, make, guard] as const)),
)('on %s, under %s, a batch of numbered records', (_, __, makeStore, guard) => {
  const bench = numberedBench(makeStore);
  let runs: string[] = [];
  let failing = new Set<string>();
  const ran = (till: string) => runs.filter((run) => run.startsWith(till));

  beforeEach(() => {
    runs = [];
    failing = new Set();
    vi.spyOn(console, 'error').mockImplementation(() => {});
  });

  const each = (more: EachRecordOptions<SourceRecord, Sale> = {}) =>
    eachRecord<SourceRecord, Sale>(
      async ({ payload }) => {
        runs.push(name(payload));
        await turn();
        if (failing.has(name(payload))) throw new Error('closed');
      },
      { onFailure: () => {}, ...more },
    );
  const guarded = (more = {}) => guard(each(), bench.options({ sequence: ofBody as never, ...more }));

  it('of a standard queue runs each sender in its own order, and the others beside it', async () => {
    const call = guarded();
    expect(failedIn(await call(standard('a2', 'b1', 'a0', 'b0', 'a1', 'c0')))).toEqual([]);
    expect(ran('a')).toEqual(['a0', 'a1', 'a2']);
    expect(ran('b')).toEqual(['b0', 'b1']);
    // Delivered again, nothing runs.
    expect(failedIn(await call(standard('a2', 'a0', 'b1')))).toEqual([]);
    expect(runs).toHaveLength(6);
  });

  it('runs senders at the same time', async () => {
    const all = deferred();
    const call = guard(
      eachRecord<SourceRecord, Sale>(async ({ payload }) => {
        runs.push(name(payload));
        if (runs.length === 3) all.resolve();
        await all.promise;
      }),
      bench.options({ sequence: ofBody as never }),
    );
    expect(failedIn(await call(standard('a1', 'a0', 'b0', 'c0')))).toEqual([]);
    expect(runs.slice(0, 3).sort()).toEqual(['a0', 'b0', 'c0']);
  });

  it('runs one record at a time with a concurrency of 1', async () => {
    const call = guard(each({ concurrency: 1 }), bench.options({ sequence: ofBody as never }));
    await call(standard('a1', 'b0', 'a0'));
    expect(runs).toEqual(['a0', 'a1', 'b0']);
  });

  it('stops a sender at a gap, and takes it up when its predecessor has come', async () => {
    const call = guarded();
    expect(failedIn(await call(standard('a0', 'a3', 'a2', 'b0')))).toEqual(['a3', 'a2']);
    expect(ran('a')).toEqual(['a0']);
    expect(bench.seen.seen.filter(({ type }) => type === 'gap')).toMatchObject([{ expectedNumber: 1 }]);
    expect(console.error).not.toHaveBeenCalled();
    expect(failedIn(await call(standard('a2', 'a3', 'a1')))).toEqual([]);
    expect(ran('a')).toEqual(['a0', 'a1', 'a2', 'a3']);
  });

  it('stops a sender at a failure, and asks the store for nothing behind it', async () => {
    failing = new Set(['a1']);
    const call = guarded();
    expect(failedIn(await call(standard('a0', 'a1', 'a2', 'a.1.0', 'b0')))).toEqual(['a1', 'a2', 'a.1.0']);
    expect(runs.sort()).toEqual(['a0', 'a1', 'b0']);
    expect(bench.seen.types().filter((type) => type === 'claim')).toHaveLength(3);
    failing.clear();
    // The newer epoch would have fenced what had failed.
    expect(failedIn(await call(standard('a.1.0', 'a2', 'a1')))).toEqual([]);
    expect(ran('a').slice(-3)).toEqual(['a1', 'a2', 'a.1.0']);
  });

  it('reports what is fenced, and goes on with the epoch that fenced it', async () => {
    const call = guarded();
    await call(standard('a0', 'a.1.0'));
    expect(failedIn(await call(standard('a1', 'a.1.1', 'a2', 'a.1.2')))).toEqual(['a1', 'a2']);
    expect(ran('a')).toEqual(['a0', 'a.1.0', 'a.1.1', 'a.1.2']);
    expect(console.error).toHaveBeenCalledWith(expect.stringContaining('FENCED'));
  });

  it('runs a number that comes twice once, and both have its fate', async () => {
    const call = guarded();
    failing = new Set(['a1']);
    const twice = sqsEvent(
      ...['a0', 'a0-again', 'a1', 'a1-again', 'a2'].map((id) => sqsMessage(id, read(id))),
    );
    expect(failedIn(await call(twice))).toEqual(['a1', 'a1-again', 'a2']);
    expect(runs).toEqual(['a0', 'a1']);
    failing.clear();
    expect(failedIn(await call(twice))).toEqual([]);
    expect(runs).toEqual(['a0', 'a1', 'a1', 'a2']);
  });

  it('refuses another payload for a number, in one batch and later, and goes on behind it', async () => {
    const call = guarded();
    const other = sqsMessage('other', { ...read('a0'), amount: 9 });
    const [first, next] = standard('a0', 'a1').Records;
    expect(failedIn(await call(sqsEvent(first!, other, next!)))).toEqual(['other']);
    expect(runs).toEqual(['a0', 'a1']);
    expect(failedIn(await call(sqsEvent(other, ...standard('a2').Records)))).toEqual(['other']);
    expect(runs).toEqual(['a0', 'a1', 'a2']);
  });

  it('reports a number that is busy elsewhere, and what follows it', async () => {
    const started = deferred();
    const end = deferred();
    const elsewhere = guard(
      eachRecord(async () => {
        started.resolve();
        await end.promise;
      }),
      bench.options({ sequence: ofBody as never }),
    )(standard('a0'));
    await started.promise;
    const call = guarded();
    expect(failedIn(await call(standard('a1', 'a0', 'b0')))).toEqual(['a1', 'a0']);
    expect(runs).toEqual(['b0']);
    end.resolve();
    await elsewhere;
    expect(failedIn(await call(standard('a1', 'a0')))).toEqual([]);
    expect(runs).toEqual(['b0', 'a1']);
  });

  it('keeps the order of a FIFO group, whoever sent its records', async () => {
    const call = guarded();
    const event = sqsEvent(...fifo('g', 'a0', 'b0', 'a2', 'b1'), ...fifo('h', 'c0'));
    expect(failedIn(await call(event))).toEqual(['a2', 'b1']);
    expect(runs.filter((run) => run !== 'c0')).toEqual(['a0', 'b0']);
    expect(runs).toContain('c0');
    expect(failedIn(await call(sqsEvent(...fifo('g', 'a1', 'a2', 'b1'))))).toEqual([]);
    expect(runs.slice(-3)).toEqual(['a1', 'a2', 'b1']);
  });

  it('stops a FIFO group at what has no place and at what is fenced', async () => {
    const call = guarded();
    const nameless = fifoMessage('nameless', 'g', { body: { till: ' ' }, deduplicationId: 'n' });
    const event = (first: SQSRecord) => sqsEvent(first, ...fifo('g', 'c0'));
    const [fenced] = fifo('g', 'a1');
    expect(failedIn(await call(event(nameless)))).toEqual(['nameless', 'c0']);
    await call(sqsEvent(...fifo('g', 'a0', 'a.1.0')));
    expect(failedIn(await call(event(fenced!)))).toEqual(['a1', 'c0']);
    expect(runs).toEqual(['a0', 'a.1.0']);
  });

  it('runs a number that is in two FIFO groups once, also where all of it comes again', async () => {
    const end = deferred();
    const held = guard(
      eachRecord<SourceRecord, Sale>(async ({ payload }) => {
        runs.push(name(payload));
        await end.promise;
      }),
      bench.options({ sequence: ofBody as never }),
    );
    const twice = [
      ...fifo('g', 'a0'),
      fifoMessage('copy', 'h', { body: read('a0'), deduplicationId: 'copy' }),
      ...fifo('h', 'b0'),
    ];
    const answer = held(sqsEvent(...twice));
    await expect.poll(() => runs).toEqual(['a0']);
    await turn();
    end.resolve();
    // The store decides which one is first. The other is busy, and so is what is behind it.
    expect([['copy', 'b0'], ['a0']]).toContainEqual(failedIn(await answer));
    expect(failedIn(await guarded()(sqsEvent(...twice)))).toEqual([]);
    expect(runs).toEqual(['a0', 'b0']);
  });

  it('of a shard keeps its order, and reports the lowest that failed', async () => {
    const place = numbered(({ kinesis }: { kinesis: { data: string } }) =>
      placeOf(read(Buffer.from(kinesis.data, 'base64').toString())),
    );
    const call = guard(
      eachRecord<SourceRecord>(
        async (record) =>
          void runs.push(
            Buffer.from((record as never as { kinesis: { data: string } }).kinesis.data, 'base64').toString(),
          ),
      ),
      bench.options({ sequence: place as never }),
    );
    const event = (...names: string[]) =>
      kinesisEvent(...names.map((text, at) => kinesisRecord(at + 1, text)));
    expect(failedIn(await call(event('a0', 'b0', 'a2', 'b1')))).toEqual(['3']);
    expect(runs).toEqual(['a0', 'b0']);
    expect(failedIn(await call(event('a0', 'b0', 'a1', 'b1')))).toEqual([]);
    expect(runs).toEqual(['a0', 'b0', 'a1', 'b1']);
  });

  it('of a topic throws what failed, after all others are done', async () => {
    const place = numbered(({ Sns }: { Sns: { Message: string } }) => placeOf(JSON.parse(Sns.Message)));
    const call = guard(each(), bench.options({ sequence: place as never }));
    const event = snsEvent(...['a1', 'b0'].map((id) => snsNotification(id, read(id))));
    await expect(call(event)).rejects.toMatchObject({
      code: 'SEQUENCE_GAP',
      expectedNumber: 0,
      effect: 'possible',
    });
    expect(runs).toEqual(['b0']);
  });

  it('claims nothing that it has no time to start', async () => {
    let remainingMs = 60_000;
    const call = guard(
      eachRecord<SourceRecord, Sale>(async ({ payload }) => {
        runs.push(name(payload));
        remainingMs = 10;
      }),
      bench.options({ sequence: ofBody as never, lease: { seconds: 30 } }),
    );
    expect(
      failedIn(
        await call(
          standard('a1', 'a2', 'a0'),
          lambdaContext(() => remainingMs),
        ),
      ),
    ).toEqual(['a1', 'a2']);
    expect(bench.seen.types().filter((type) => type === 'claim')).toHaveLength(1);
    expect(runs).toEqual(['a0']);
  });

  it.each(['eager', 'at-commit'] as const)('commits each record once, claimed %s', async (claim) => {
    const call = guard(
      eachRecord<SourceRecord, Sale>(
        async ({ payload }, operation) => {
          runs.push(name(payload));
          await operation.commit({
            result: undefined,
            messages: [{ destination: 'ledger', groupId: 'g', body: payload }],
          });
        },
        { onFailure: () => {} },
      ),
      bench.options({ sequence: ofBody as never, claim, destinations: ['ledger'] }),
    );
    expect(failedIn(await call(standard('a1', 'a0', 'a3')))).toEqual(['a3']);
    expect(failedIn(await call(standard('a3', 'a1', 'a2')))).toEqual([]);
    expect(await bench.staged()).toBe(4);
    await call(standard('a.1.0'));
    expect(failedIn(await call(standard('a4', 'a.1.1')))).toEqual(['a4']);
    expect(await bench.staged()).toBe(6);
  });

  it('finds the operation of a record that is in its turn', async () => {
    const call = guard(
      eachRecord<SourceRecord, Sale>(async (record, op, context) => {
        runs.push(operation(context, record).key);
        expect(op.attempt).toBe(1);
      }),
      bench.options({ sequence: ofBody as never }),
    );
    await call(standard('a1', 'a0'));
    expect(runs).toEqual(['a#0#0', 'a#0#1']);
  });

  it('runs what has no number unguarded, where that is allowed', async () => {
    const some = numbered(({ body }: SQSRecord) =>
      body.includes('"b"') ? undefined : placeOf(JSON.parse(body)),
    );
    const call = guard(each(), bench.options({ sequence: some as never, required: false }));
    expect(failedIn(await call(standard('b0', 'a0')))).toEqual([]);
    expect(failedIn(await call(standard('b0', 'a0')))).toEqual([]);
    expect(runs.sort()).toEqual(['a0', 'b0', 'b0']);
  });

  it('runs unguarded while the guard is switched off', async () => {
    vi.stubEnv('IDEMPOTENCY_DISABLED', 'true');
    vi.spyOn(console, 'warn').mockImplementation(() => {});
    const call = guarded();
    expect(failedIn(await call(standard('a5', 'a5')))).toEqual([]);
    expect(runs).toEqual(['a5', 'a5']);
  });

  it('fails as a whole where the guard is set up wrongly', async () => {
    const { numbered: _, ...keysOnly } = bench.store;
    const call = guarded({ store: { ...Object.fromEntries(Object.entries(keysOnly)), id: 'own' } });
    await expect(call(standard('a0', 'b0'))).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    expect(runs).toEqual([]);
  });

  it('is refused to freshRecords, which takes all records at once', async () => {
    const seen: unknown[] = [];
    const call = guard(
      freshRecords(async (event: object) => void seen.push(event)),
      bench.options({ sequence: ofBody as never }),
    );
    const refused = await call(standard('a0')).catch((error: unknown) => error as Error);
    expect(refused).toMatchObject({ code: 'UNSUPPORTED' });
    expect((refused as Error).message).toContain('eachRecord(async (record, operation) => { … })');
    expect(seen).toEqual([]);
  });

  it('is refused by a numbered guard around another guard, which would claim first', async () => {
    const inner = idempotent(each() as never, { store: bench.store, namespace: `${bench.namespace}-inner` });
    const call = guard(inner as never, bench.options({ sequence: ofBody as never }));
    await expect(call(standard('a0'))).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    expect(runs).toEqual([]);
  });

  it('may be in a guard by keys', async () => {
    const inner = idempotent(each() as never, bench.options({ sequence: ofBody as never }) as never);
    const call = guard(inner as never, { store: bench.store, namespace: `${bench.namespace}-outer` });
    expect(failedIn(await call(standard('a1', 'a0', 'a3')))).toEqual(['a3']);
    expect(failedIn(await call(standard('a3', 'a2')))).toEqual([]);
    expect(runs).toEqual(['a0', 'a1', 'a2', 'a3']);
  });
});
