import { randomUUID } from 'node:crypto';
import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { beforeEach, describe, expect, it } from 'vitest';
import type { DynamoStore, IdempotentOptions, LaneOperation } from '../../lib/index.ts';
import {
  completed,
  type PositionedStore,
  positionedStore,
  type Store,
  type Transacted,
} from '../../lib/store.ts';
import { failedIn } from '../support/batch-events.ts';
import { type Call, doors } from '../support/doors.ts';
import { deferred } from '../support/hands.ts';
import { lambdaContext } from '../support/invocation.ts';
import { sdkAttempts, workbench } from '../support/work.ts';
import { type Given, idsOf, keyed, kinesisEvent, lanesBench, type Work } from './lanes-bench.ts';

const bench = workbench();
const lanes = lanesBench();
let options: IdempotentOptions;
beforeEach(() => {
  options = lanes.observed({ store: bench.store(), destinations: ['mail'] });
});

const [, , [, wrap]] = doors as [never, never, (typeof doors)[number]];
const guarded = (work: Work, more: IdempotentOptions = {}, stopBeforeDeadlineMs = 1_000): Call =>
  wrap(lanes.eachPartition(work, { stopBeforeDeadlineMs }), { ...options, ...more });
const batch = (...at: number[]) => kinesisEvent(...at.map((n) => keyed('a', n)));
const context = lambdaContext(30_000);

/** An effect of each record, which counts how often it was applied. */
const counts = (records: readonly Given[]) =>
  idsOf(records).map((id) => bench.count(`${options.namespace} ${id}`));
const timesOf = async (...ids: string[]) =>
  Promise.all(ids.map(async (id) => (await bench.read(`${options.namespace} ${id}`))?.times ?? 0));

/** An invocation that gets as far as `work` and is never heard of again. Its lease is not over yet. */
async function crash(event: object, work: (records: readonly Given[], op: LaneOperation) => unknown) {
  const arrived = deferred();
  void guarded(async (records, op) => {
    await work(records, op);
    arrived.resolve();
    return new Promise<never>(() => {});
  })(event, context);
  await arrived.promise;
}

/** Everything in the table of this test's namespace. */
const items = async (): Promise<Record<string, AttributeValue>[]> =>
  (await bench.table.dump()).filter((item) => item.pk?.S?.startsWith(`${options.namespace}#`));

describe('a lane whose invocation has crashed', () => {
  it('is busy until its lease is over, and then taken over', async () => {
    await crash(batch(1, 2), () => {});
    const handler = guarded(() => {});
    expect(failedIn(await handler(batch(1, 2), context))).toEqual(['1']);
    expect(lanes.failures).toMatchObject([{ error: { code: 'IN_PROGRESS' } }]);
    bench.clock.advance(61_000);
    expect(failedIn(await handler(batch(1, 2), context))).toEqual([]);
    expect(lanes.types()).toEqual(['claim', 'busy', 'takeover', 'complete', 'position']);
  });

  it('is taken over at once by a handler that claims at its commit, once the lease is over', async () => {
    await crash(batch(1, 2), (records, op) =>
      op.commit({ writes: counts(records.slice(0, 1)), upTo: records[0] }),
    );
    bench.clock.advance(61_000);
    const handler = guarded((records, op) => op.commit({ writes: counts(records) }), { claim: 'at-commit' });
    expect(failedIn(await handler(batch(1, 2), context))).toEqual([]);
    expect(await timesOf('a1', 'a2')).toEqual([1, 1]);
  });

  it('repeats no step, however its batch is cut, until all that it was given is done', async () => {
    const charged: string[] = [];
    const tokens = new Set<string>();
    const charge = async (records: readonly Given[], op: LaneOperation, upTo = records.length) => {
      for (const id of idsOf(records).slice(0, upTo)) {
        await op.step(`charge-${id}`, ({ token }) => {
          charged.push(id);
          tokens.add(token);
        });
      }
    };
    await crash(batch(1, 2, 3, 4), (records, op) => charge(records, op, 3));
    bench.clock.advance(61_000);
    const handler = guarded((records, op) => charge(records, op));
    // Bisected.
    expect(failedIn(await handler(batch(1, 2), context))).toEqual([]);
    expect(failedIn(await handler(batch(3, 4), context))).toEqual([]);
    expect(charged).toEqual(['a1', 'a2', 'a3', 'a4']);
    expect(failedIn(await handler(batch(5), context))).toEqual([]);
    expect(charged).toEqual(['a1', 'a2', 'a3', 'a4', 'a5']);
    const claims = lanes.events.filter(({ type }) => type === 'claim' || type === 'takeover');
    expect(claims.map((event) => [event.type, 'attempt' in event && event.attempt])).toEqual([
      ['claim', 1],
      ['takeover', 2],
      ['takeover', 3],
      ['claim', 1],
    ]);
  });

  it('has the same tokens after a failure, and others in its next window', async () => {
    const tokens: string[] = [];
    let isFailing = true;
    const handler = guarded((_, op) => {
      tokens.push(op.token('mail'));
      if (isFailing) throw new Error('down');
    });
    expect(failedIn(await handler(batch(1, 2), context))).toEqual(['1']);
    isFailing = false;
    await handler(batch(1), context);
    await handler(batch(2), context);
    await handler(batch(3), context);
    expect(tokens[1]).toBe(tokens[0]);
    expect(tokens[2]).toBe(tokens[0]);
    expect(tokens[3]).not.toBe(tokens[0]);
  });
});

describe('an invocation that outlives the lease of its lane', () => {
  async function overtaken(work: Work) {
    const [started, end] = [deferred(), deferred()];
    const slow = guarded(async (records, op, ctx) => {
      started.resolve();
      await end.promise;
      return work(records, op, ctx);
    })(batch(1, 2), context);
    await started.promise;
    bench.clock.advance(61_000);
    return {
      async resume() {
        end.resolve();
        return failedIn(await slow);
      },
    };
  }

  it.each<[string, Work]>([
    ['cannot commit what another has done', (records, op) => op.commit({ writes: counts(records) })],
    [
      'cannot commit a part of what another has done',
      (records, op) => op.commit({ writes: counts(records), upTo: records[0] }),
    ],
  ])('%s', async (_, work) => {
    const slow = await overtaken(work);
    const handler = guarded((records, op) => op.commit({ writes: counts(records) }));
    expect(failedIn(await handler(batch(1, 2), context))).toEqual([]);
    expect(await slow.resume()).toEqual(['1']);
    expect(lanes.failures).toMatchObject([{ error: { code: 'OVERTAKEN', effect: 'possible' }, records: 2 }]);
    expect(await timesOf('a1', 'a2')).toEqual([1, 1]);
    expect(failedIn(await handler(batch(1, 2, 3), context))).toEqual([]);
    expect(await timesOf('a1', 'a2', 'a3')).toEqual([1, 1, 1]);
  });

  it('returns in vain where another has done all of it', async () => {
    const slow = await overtaken(() => {});
    expect(failedIn(await guarded(() => {})(batch(1, 2), context))).toEqual([]);
    expect(await slow.resume()).toEqual([]);
    expect(lanes.types().slice(-2)).toEqual(['overtaken', 'position']);
  });

  it('cannot return where another has done a part of it without a claim', async () => {
    const slow = await overtaken(() => {});
    const handler = guarded((records, op) => op.commit({ writes: counts(records) }), { claim: 'at-commit' });
    expect(failedIn(await handler(batch(1), context))).toEqual([]);
    expect(await slow.resume()).toEqual(['1']);
    expect(lanes.failures).toMatchObject([{ error: { code: 'OVERTAKEN' } }]);
    expect(failedIn(await handler(batch(1, 2), context))).toEqual([]);
    expect(await timesOf('a1', 'a2')).toEqual([1, 1]);
  });
});

describe.each<[string, IdempotentOptions]>([
  ['under a claim', {}],
  ['without a claim', { claim: 'at-commit' }],
])('a commit %s', (_, level) => {
  const committing: Work = async (records, op) => {
    for (const record of records) {
      await op.commit({
        writes: counts([record]),
        messages: [{ destination: 'mail', body: record.payload, groupId: 'g' }],
        upTo: record,
      });
    }
  };

  /** An invocation whose transactions take effect, and which never hears an answer to them. */
  async function deaf(work: Work) {
    const client = { maxAttempts: 1, requestHandler: { requestTimeout: 300 } };
    const store = bench.store({ client });
    bench.proxy.inject({
      operation: 'TransactWriteItems',
      fault: 'drop-after',
      times: Number.POSITIVE_INFINITY,
    });
    const running = guarded(work, { ...level, store }, 0)(batch(1, 2), lambdaContext(800));
    const advancing = setInterval(() => bench.clock.advance(100), 20);
    try {
      return await running;
    } finally {
      clearInterval(advancing);
    }
  }

  it.each([1, sdkAttempts, sdkAttempts + 1])(
    'is applied once where its answer is lost %i times',
    async (lost) => {
      bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-after', times: lost });
      const handler = guarded(committing, level);
      expect(failedIn(await handler(batch(1, 2), context))).toEqual([]);
      expect(await timesOf('a1', 'a2')).toEqual([1, 1]);
      expect(failedIn(await handler(batch(1, 2), context))).toEqual([]);
      expect(await timesOf('a1', 'a2')).toEqual([1, 1]);
    },
  );

  it('is found to be applied where its token was forgotten', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-after', times: sdkAttempts });
    const handler = guarded(committing, { ...level, store: forgetful(bench.store()) });
    expect(failedIn(await handler(batch(1, 2), context))).toEqual([]);
    expect(await timesOf('a1', 'a2')).toEqual([1, 1]);
  });

  it('of which nobody knows is found out by the next delivery', async () => {
    expect(failedIn(await deaf(committing))).toEqual(['1']);
    expect(lanes.failures).toMatchObject([{ error: { code: 'OUTCOME_UNKNOWN', effect: 'possible' } }]);
    bench.proxy.reset();
    bench.clock.advance(61_000);
    expect(failedIn(await guarded(committing, level)(batch(1, 2), context))).toEqual([]);
    expect(await timesOf('a1', 'a2')).toEqual([1, 1]);
  });

  it('after one of which nobody knows begins nothing more', async () => {
    const codes: string[] = [];
    const call = deaf(async (records, op) => {
      for (const upTo of records) {
        await op.commit({ writes: counts([upTo]), upTo }).catch(({ code }) => codes.push(code));
      }
    });
    expect(failedIn(await call)).toEqual(['1']);
    expect(codes).toEqual(['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN']);
    expect(new Set(bench.transactions().map(({ body }) => body.ClientRequestToken)).size).toBe(1);
    expect(lanes.failures).toMatchObject([{ error: { code: 'NOT_COMMITTED', effect: 'possible' } }]);
  });

  it('stages each message once, and leaves one item for the lane', async () => {
    await guarded(committing, level)(batch(1, 2, 3), context);
    await guarded(committing, level)(batch(3, 4), context);
    const all = await items();
    expect(all.filter((item) => item.destination)).toHaveLength(4);
    const [position, ...others] = all.filter((item) => !item.destination);
    expect(others).toEqual([]);
    expect(position).toMatchObject({
      sk: { S: 'position' },
      position: { S: '001:4' },
      status: { S: 'COMPLETED' },
    });
    const thirtyOneDays = 31 * 86_400;
    expect(Number(position?.expiresAt?.N)).toBe(Math.ceil(bench.clock.now() / 1_000) + thirtyOneDays);
  });
});

/** As DynamoDB is ten minutes later: the same transaction, sent again, is judged anew. */
const forgetful = (store: DynamoStore): Store => ({
  ...store,
  positioned(place) {
    const view = completed(positionedStore(store, place) as PositionedStore);
    const { transactions } = view;
    return {
      ...view,
      transactions: {
        async build(request) {
          const first = await transactions?.build(request);
          const later = await transactions?.build({ ...request, token: randomUUID() });
          let sendings = 0;
          return { send: () => (++sendings === 1 ? first : later)?.send() as Promise<Transacted> };
        },
      },
    };
  },
});

describe('a lane under a claim', () => {
  it.each([
    ['the claim', 'claim'],
    ['the completion', 'completion'],
  ])('is done once where the answer to %s is lost', async (_, which) => {
    const isCompletion = (expression: string) => /position/.test(expression) === (which === 'completion');
    bench.proxy.inject({
      operation: 'UpdateItem',
      match: ({ body }) =>
        isCompletion(String(Object.values(body.ExpressionAttributeNames)) && body.UpdateExpression),
      fault: 'drop-after',
    });
    const handler = guarded(() => {});
    expect(failedIn(await handler(batch(1, 2), context))).toEqual([]);
    expect(failedIn(await handler(batch(1, 2, 3), context))).toEqual([]);
    expect(lanes.given).toEqual([['a1', 'a2'], ['a3']]);
  });

  it.each([
    ['thirty days', {}, undefined, 30],
    ['as long as the guard says, if longer', { ttlSeconds: 100 * 86_400 }, undefined, 100],
    ['as long as it says itself', { ttlSeconds: 100 * 86_400 }, 7 * 86_400, 7],
  ])('keeps its position for %s', async (_, more, forgetAfterSeconds, days) => {
    const handler = lanes.eachPartition(() => {}, { ...(forgetAfterSeconds && { forgetAfterSeconds }) });
    await wrap(handler, { ...options, ...more })(batch(1), context);
    const [{ expiresAt } = {}] = await items();
    // Nothing decides by it, and it is a day later.
    expect(Number(expiresAt?.N)).toBe(Math.ceil(bench.clock.now() / 1_000) + (days + 1) * 86_400);
  });

  it('has its answer, and its records, nowhere in the table', async () => {
    await guarded(() => ({ secret: 'answer' }))(kinesisEvent(keyed('ann@example.com', 1)), context);
    const text = JSON.stringify(await items());
    expect(text).not.toMatch(/secret|answer|ann@example\.com/);
  });

  it('costs two writes for a batch, and one refused write for a batch that is done', async () => {
    const handler = guarded(() => {});
    await handler(batch(...Array.from({ length: 100 }, (__, at) => at)), context);
    expect(bench.sent()).toEqual(['UpdateItem 200', 'UpdateItem 200']);
    bench.proxy.reset();
    await handler(batch(1, 2, 3), context);
    expect(bench.sent()).toEqual(['UpdateItem 400']);
  });

  it('gives its claim back where nothing was begun, so that the next delivery starts at once', async () => {
    let isFailing = true;
    const handler = guarded(() => {
      if (isFailing) throw new Error('down');
    });
    expect(failedIn(await handler(batch(1), context))).toEqual(['1']);
    isFailing = false;
    expect(failedIn(await handler(batch(1), context))).toEqual([]);
    expect(lanes.types()).toEqual(['claim', 'release', 'claim', 'complete', 'position']);
  });
});
