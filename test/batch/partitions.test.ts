import type { KinesisStreamRecord } from 'aws-lambda';
import { beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  dynamoStore,
  type IdempotencyError,
  type IdempotentOptions,
  type LaneOperation,
} from '../../lib/index.ts';
import { failedIn } from '../support/batch-events.ts';
import { doors } from '../support/doors.ts';
import { countRequests, createTable, type TestTable } from '../support/dynamodb.ts';
import { deferred } from '../support/hands.ts';
import { lambdaContext } from '../support/invocation.ts';
import { type Given, idsOf, keyed, kinesisEvent, lanesBench, type Work } from './lanes-bench.ts';

const bench = lanesBench();
let table: TestTable;
let options: IdempotentOptions;
beforeAll(async () => {
  table = await createTable();
});
beforeEach(() => {
  options = bench.observed({ store: dynamoStore(table.store) });
});

const lane = (key: string, ...at: number[]): KinesisStreamRecord[] => at.map((n) => keyed(key, n));

/** Writes each record's id into the table, which fails where it is there already. */
const writesOf = (records: readonly Given[]) =>
  idsOf(records).map((id) => ({
    Put: {
      TableName: table.store.tableName,
      Item: { pk: `effect ${options.namespace} ${id}`, sk: 'effect' },
      ConditionExpression: 'attribute_not_exists(pk)',
    },
  }));

const levels: readonly (readonly [string, Partial<IdempotentOptions>, Work])[] = [
  ['guarded', {}, () => {}],
  ['committed under a claim', {}, (records, op) => op.commit({ writes: writesOf(records) })],
  [
    'committed without a claim',
    { claim: 'at-commit' },
    (records, op) => op.commit({ writes: writesOf(records) }),
  ],
];

describe.each(doors)('%s: eachPartition()', (_, guard) => {
  describe.each(levels)('%s', (_, level, work) => {
    const guarded = (around: Work = work, more = {}) =>
      guard(bench.eachPartition(around, more), { ...options, ...level });

    it('gives the handler each lane at once, in its order, and nothing again', async () => {
      const handler = guarded();
      const event = kinesisEvent(keyed('a', 9), keyed('b', 5), keyed('a', 10), keyed('b', 6));
      expect(failedIn(await handler(event))).toEqual([]);
      expect(bench.given.sort()).toEqual([
        ['a9', 'a10'],
        ['b5', 'b6'],
      ]);
      bench.given = [];
      expect(failedIn(await handler(event))).toEqual([]);
      expect(bench.given).toEqual([]);
    });

    it('drops what is at or behind the position of a batch that overlaps the last one', async () => {
      const handler = guarded();
      await handler(kinesisEvent(...lane('a', 8, 9, 10)));
      expect(failedIn(await handler(kinesisEvent(...lane('a', 9, 10, 11, 12))))).toEqual([]);
      expect(failedIn(await handler(kinesisEvent(...lane('a', 8, 9))))).toEqual([]);
      expect(bench.given).toEqual([
        ['a8', 'a9', 'a10'],
        ['a11', 'a12'],
      ]);
      const positions = bench.events.filter((event) => event.type === 'position');
      expect(positions.map(({ moved, dropped }) => [moved, dropped])).toEqual([
        [3, 0],
        [2, 2],
        [0, 2],
      ]);
    });

    it('compares sequence numbers of 56 digits and more as numbers', async () => {
      const nines = '9'.repeat(56);
      const handler = guarded();
      const [low, middle, high] = [nines, `1${'0'.repeat(56)}`, `1${'0'.repeat(55)}1`];
      await handler(kinesisEvent(keyed('a', low), keyed('a', middle)));
      await handler(kinesisEvent(keyed('a', low), keyed('a', middle), keyed('a', high)));
      expect(bench.given).toEqual([[`a${low}`, `a${middle}`], [`a${high}`]]);
    });

    it('stops a lane at its first failure, lets the others go on, and reports the lowest', async () => {
      let isFailing = true;
      const handler = guarded((records, op, context) => {
        if (isFailing && idsOf(records).includes('b7')) throw new Error('b7 is down');
        return work(records, op, context);
      });
      const event = kinesisEvent(keyed('a', 5), keyed('b', 6), keyed('b', 7), keyed('a', 8), keyed('c', 9));
      expect(failedIn(await handler(event))).toEqual(['6']);
      expect(bench.failures).toMatchObject([{ error: { message: 'b7 is down' }, records: 2 }]);
      isFailing = false;
      bench.given = [];
      // Lambda delivers everything from the lowest failure on.
      expect(failedIn(await handler(kinesisEvent(...event.Records.slice(1))))).toEqual([]);
      expect(bench.given).toEqual([['b6', 'b7']]);
    });

    it('runs what comes again once, however it is cut', async () => {
      let isFailing = true;
      const handler = guarded((records, op, context) => {
        if (isFailing) throw new Error('down');
        return work(records, op, context);
      });
      expect(failedIn(await handler(kinesisEvent(...lane('a', 1, 2, 3, 4))))).toEqual(['1']);
      isFailing = false;
      bench.given = [];
      expect(failedIn(await handler(kinesisEvent(...lane('a', 1, 2))))).toEqual([]);
      expect(failedIn(await handler(kinesisEvent(...lane('a', 3, 4))))).toEqual([]);
      expect(failedIn(await handler(kinesisEvent(...lane('a', 1, 2, 3, 4))))).toEqual([]);
      expect(bench.given).toEqual([
        ['a1', 'a2'],
        ['a3', 'a4'],
      ]);
    });

    it('starts no lane once time is short, and reports those that did not start', async () => {
      let remainingMs = 10_000;
      const handler = guarded(
        async (records, op, context) => {
          await work(records, op, context);
          remainingMs = 500;
        },
        { concurrency: 1 },
      );
      const event = kinesisEvent(keyed('a', 1), keyed('b', 2), keyed('c', 3));
      expect(
        failedIn(
          await handler(
            event,
            lambdaContext(() => remainingMs),
          ),
        ),
      ).toEqual(['2']);
      expect(bench.given).toEqual([['a1']]);
      expect(failedIn(await handler(event))).toEqual([]);
      expect(bench.given).toEqual([['a1'], ['b2'], ['c3']]);
    });

    it('runs as many lanes at once as it is told', async () => {
      let running = 0;
      let most = 0;
      const two = deferred();
      const handler = guarded(
        async (records, op, context) => {
          most = Math.max(most, ++running);
          if (running === 2) two.resolve();
          await two.promise;
          await work(records, op, context);
          running--;
        },
        { concurrency: 2 },
      );
      await handler(kinesisEvent(...['a', 'b', 'c', 'd'].map((key, at) => keyed(key, at))));
      expect(most).toBe(2);
      expect(bench.given).toHaveLength(4);
    });

    it('gives the records before a payload that does not fit, and stops there', async () => {
      const fits = {
        '~standard': {
          version: 1 as const,
          vendor: 'test',
          validate: (value: unknown) =>
            (value as { id: string }).id === 'a3'
              ? { issues: [{ message: 'no' }] }
              : { value: value as never },
        },
      };
      const handler = guarded(work, { schema: fits });
      expect(failedIn(await handler(kinesisEvent(...lane('a', 1, 2, 3, 4))))).toEqual(['3']);
      expect(failedIn(await handler(kinesisEvent(...lane('a', 3, 4))))).toEqual(['3']);
      expect(bench.given).toEqual([['a1', 'a2']]);
      expect(bench.failures).toMatchObject([
        { error: { code: 'BAD_PAYLOAD' }, records: 2 },
        { error: { code: 'BAD_PAYLOAD' }, records: 2 },
      ]);
    });

    it('keeps lanes of other shards, streams and namespaces apart', async () => {
      const handler = guarded();
      await handler(kinesisEvent(keyed('a', 5)));
      // A record with an explicit hash key lies in another shard, and may have a lower number.
      await handler(kinesisEvent(keyed('a', 4, 1)));
      const other = {
        ...keyed('a', 3),
        eventSourceARN: 'arn:aws:kinesis:eu-west-1:123456789012:stream/other',
      };
      await handler(kinesisEvent(other));
      const elsewhere = guard(bench.eachPartition(), {
        ...options,
        ...level,
        claim: 'eager',
        namespace: `${options.namespace}-else`,
      });
      await elsewhere(kinesisEvent(keyed('a', 2)));
      expect(bench.given).toEqual([['a5'], ['a4'], ['a3'], ['a2']]);
    });
  });

  it('reports a lane that another invocation has claimed, and runs what is left of it later', async () => {
    const [started, end] = [deferred(), deferred()];
    const slow = guard(
      bench.eachPartition(async () => {
        started.resolve();
        await end.promise;
      }),
      options,
    )(kinesisEvent(...lane('a', 1, 2)));
    await started.promise;
    const both = kinesisEvent(...lane('a', 1, 2, 3), keyed('b', 4));
    for (const claim of ['eager', 'at-commit'] as const) {
      const handler = guard(
        bench.eachPartition((_, op) => op.commit()),
        { ...options, claim },
      );
      expect(failedIn(await handler(both))).toEqual(['1']);
    }
    expect(bench.failures.map(({ error }) => (error as IdempotencyError).code)).toEqual([
      'IN_PROGRESS',
      'IN_PROGRESS',
    ]);
    end.resolve();
    expect(failedIn(await slow)).toEqual([]);
    await guard(bench.eachPartition(), options)(both);
    expect(bench.given).toEqual([['a1', 'a2'], ['b4'], ['a3']]);
  });
});

describe('eachPartition() with commits', () => {
  const [, , [, wrap]] = doors as [never, never, (typeof doors)[number]];
  const atCommit = (work: Work) => wrap(bench.eachPartition(work), { ...options, claim: 'at-commit' });
  const eager = (work: Work) => wrap(bench.eachPartition(work), options);

  it.each([
    ['without a claim', atCommit],
    ['under a claim', eager],
  ])('%s moves the position part by part', async (_, guarded) => {
    let isFailing = true;
    const handler = guarded(async (records, op) => {
      for (let from = 0; from < records.length; from += 2) {
        const part = records.slice(from, from + 2);
        if (isFailing && from === 4) throw new Error('down');
        expect(await op.commit({ writes: writesOf(part), upTo: part.at(-1), result: from })).toBe(from);
      }
    });
    expect(failedIn(await handler(kinesisEvent(...lane('a', 1, 2, 3, 4, 5))))).toEqual(['5']);
    expect(bench.failures).toMatchObject([{ error: { message: 'down' }, records: 1 }]);
    isFailing = false;
    expect(failedIn(await handler(kinesisEvent(...lane('a', 1, 2, 3, 4, 5))))).toEqual([]);
    expect(bench.given).toEqual([['a1', 'a2', 'a3', 'a4', 'a5'], ['a5']]);
  });

  it.each([
    ['without a claim', atCommit],
    ['under a claim', eager],
  ])('%s delivers again what a handler has left out of its commits', async (_, guarded) => {
    let upTo = 1;
    const handler = guarded((records, op) => op.commit({ upTo: records[upTo] }));
    expect(failedIn(await handler(kinesisEvent(...lane('a', 1, 2, 3))))).toEqual(['3']);
    expect(bench.failures).toMatchObject([
      { error: { code: 'NOT_COMMITTED', effect: 'possible' }, records: 1 },
    ]);
    upTo = 0;
    expect(failedIn(await handler(kinesisEvent(...lane('a', 1, 2, 3))))).toEqual([]);
    expect(bench.given).toEqual([['a1', 'a2', 'a3'], ['a3']]);
  });

  it('under a claim takes nothing for done that was tried in vain', async () => {
    const taken = writesOf([{ payload: { id: 'tried' } }]);
    await eager((_, op) => op.commit({ writes: taken }))(kinesisEvent(keyed('b', 1)));
    const handler = eager(async (_, op) => void (await op.commit({ writes: taken }).catch(() => {})));
    expect(failedIn(await handler(kinesisEvent(...lane('a', 1, 2))))).toEqual(['1']);
    expect(bench.failures).toMatchObject([{ error: { code: 'NOT_COMMITTED' }, records: 2 }]);
  });

  it('without a claim needs a commit', async () => {
    const handler = atCommit(() => 'done');
    expect(failedIn(await handler(kinesisEvent(keyed('a', 1))))).toEqual(['1']);
    expect(bench.failures).toMatchObject([{ error: { code: 'NOT_COMMITTED' } }]);
  });

  it('without a claim has no steps', async () => {
    const handler = atCommit((_, op) => op.step('charge', () => {}));
    expect(failedIn(await handler(kinesisEvent(keyed('a', 1))))).toEqual(['1']);
    expect(bench.failures).toMatchObject([{ error: { code: 'BAD_STEP' } }]);
  });

  it('lets one of two invocations commit that read the same position', async () => {
    const [started, end] = [deferred(), deferred()];
    let isFirst = true;
    const handler = atCommit(async (records, op) => {
      if (isFirst) {
        isFirst = false;
        started.resolve();
        await end.promise;
      }
      await op.commit({ writes: writesOf(records) });
    });
    const slow = handler(kinesisEvent(...lane('a', 1, 2)));
    await started.promise;
    expect(failedIn(await handler(kinesisEvent(...lane('a', 1))))).toEqual([]);
    end.resolve();
    expect(failedIn(await slow)).toEqual(['1']);
    expect(bench.failures).toMatchObject([{ error: { code: 'OVERTAKEN', effect: 'none' }, records: 2 }]);
    expect(bench.types()).toContain('overtaken');
    expect(failedIn(await handler(kinesisEvent(...lane('a', 1, 2))))).toEqual([]);
    expect(bench.given).toEqual([['a1', 'a2'], ['a1'], ['a2']]);
  });

  it('writes nothing where a condition fails, and can commit something else', async () => {
    const handler = atCommit(async (records, op) => {
      await op
        .commit({ writes: [...writesOf(records), ...writesOf([{ payload: { id: 'taken' } }])] })
        .catch(async (error) => {
          expect(error).toMatchObject({ code: 'COMMIT_REJECTED', effect: 'none' });
          await op.commit({ writes: writesOf(records) });
        });
    });
    expect(failedIn(await handler(kinesisEvent(keyed('a', 1))))).toEqual([]);
    expect(failedIn(await handler(kinesisEvent(keyed('a', 2))))).toEqual([]);
    expect(bench.given).toEqual([['a1'], ['a2']]);
  });

  it.each([
    ['without a claim', atCommit],
    ['under a claim', eager],
  ])('%s moves no position for a commit with a member that is mistyped', async (_, guarded) => {
    const errors: unknown[] = [];
    const mistyped = { write: [] } as object;
    const handler = guarded(async (_, op) => {
      await op.commit(mistyped).catch((error) => errors.push(error));
    });
    const batch = kinesisEvent(keyed('a', 1));
    expect(failedIn(await handler(batch))).toHaveLength(1);
    expect(errors).toMatchObject([{ code: 'BAD_WRITES', message: expect.stringContaining('`.write`') }]);
  });

  it.each([
    ['without a claim', atCommit],
    ['under a claim', eager],
  ])('%s refuses what is no record of the handler, and a part that is done', async (_, guarded) => {
    const seen: unknown[] = [];
    const handler = guarded(async (records, op) => {
      await op.commit({ upTo: { ...records[0] } }).catch((error) => seen.push(error));
      await op.commit({ upTo: records[9] }).catch((error) => seen.push(error));
      await op.commit({ upTo: records[1] });
      await op.commit({ upTo: records[0] }).catch((error) => seen.push(error));
      await op.commit();
      await op.commit().catch((error) => seen.push(error));
    });
    expect(failedIn(await handler(kinesisEvent(...lane('a', 1, 2, 3))))).toEqual([]);
    expect(seen).toMatchObject([
      { code: 'BAD_WRITES' },
      {
        code: 'BAD_WRITES',
        message: expect.stringContaining('got undefined'),
        effect: _ === 'under a claim' ? 'possible' : 'none',
      },
      { code: 'BAD_STEP', effect: 'possible' },
      { code: 'BAD_STEP', effect: 'possible' },
    ]);
  });

  it('stages the messages of every part once', async () => {
    const namespace = `lanes-messages-${Date.now()}`;
    const handler = wrap(
      bench.eachPartition(async (records, op: LaneOperation) => {
        for (const record of records) {
          await op.commit({
            messages: [{ destination: 'mail', body: record.payload, groupId: 'g' }],
            upTo: record,
          });
        }
      }),
      { ...options, namespace, claim: 'at-commit', destinations: ['mail'] },
    );
    const event = kinesisEvent(...lane('a', 1, 2, 3));
    await handler(event);
    expect(failedIn(await handler(event))).toEqual([]);
    const items = await table.dump();
    const staged = items.filter((item) => item.pk?.S?.startsWith(namespace) && item.destination);
    expect(staged.map(({ body }) => body?.S).sort()).toEqual(['{"id":"a1"}', '{"id":"a2"}', '{"id":"a3"}']);
  });

  it('costs a read and a transaction for a lane of a batch, and nothing but a read for one that is done', async () => {
    const counted = countRequests(table.client);
    const handler = atCommit((records, op) => op.commit({ writes: writesOf(records) }));
    const event = kinesisEvent(...Array.from({ length: 50 }, (_, at) => keyed('a', at)));
    counted.length = 0;
    await handler(event);
    expect(counted).toEqual(['GetItem', 'TransactWriteItems']);
    counted.length = 0;
    await handler(event);
    expect(counted).toEqual(['GetItem']);
  });
});
