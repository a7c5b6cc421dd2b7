import { beforeEach, describe, expect, test } from 'vitest';
import type { Store } from '../../lib/store.ts';
import { completed } from '../../lib/store.ts';
import { deferred } from '../support/hands.ts';
import type { HttpCall } from '../support/http-events.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { failureOf, sdkAttempts, workbench } from '../support/work.ts';

const bench = workbench();
/** A handler's own item, of this test only. */
let item: string;
beforeEach(() => {
  item = `item-${bench.id}`;
});

const down = { status: 500, type: 'InternalServerError' };
const times = async () => (await bench.read(item))?.times;
const bodies = () => new Set(bench.transactions().map(({ body }) => JSON.stringify(body)));

describe('a lost answer to a transaction', () => {
  for (const lost of [1, sdkAttempts, sdkAttempts + 1]) {
    test(`(${lost} times) leaves one application: the same request is sent again, byte by byte`, async () => {
      bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-after', times: lost });
      const handler = bench.guard((op) =>
        op.transaction('reserve', {
          writes: [bench.count(item)],
          messages: [{ destination: 'mail', body: 'm', groupId: 'g' }],
          value: 'reserved',
        }),
      );
      expect(await handler({ id: bench.id })).toBe('reserved');
      expect(await times()).toBe(1);
      expect(bench.transactions()).toHaveLength(lost + 1);
      expect(bodies().size).toBe(1);
      const token = bench.transactions()[0]?.body.ClientRequestToken;
      expect(token.length).toBeLessThanOrEqual(36);
    });
  }

  test('is recognised by the record of the step where the token is forgotten', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-after', times: sdkAttempts });
    const store = completed(bench.store());
    const forgetful: Store = {
      ...store,
      transactions: {
        async build(request) {
          const first = await store.transactions.build(request);
          // As DynamoDB is ten minutes later: the same request is judged anew.
          const later = await store.transactions.build({ ...request, token: 'another' });
          let sendings = 0;
          return { send: () => (++sendings === 1 ? first : later).send() };
        },
      },
    };
    const handler = bench.guard(
      (op) => op.transaction('reserve', { writes: [bench.count(item)], value: 'reserved' }),
      { store: forgetful },
    );
    expect(await handler({ id: bench.id })).toBe('reserved');
    expect(bench.transactions().at(-1)?.status).toBe(400);
    expect(await times()).toBe(1);
  });
});

describe('a transaction that never arrived', () => {
  test('is sent again', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-before', times: sdkAttempts + 2 });
    const handler = bench.guard((op) => op.transaction('reserve', { writes: [bench.count(item)] }));
    await handler({ id: bench.id });
    expect(await times()).toBe(1);
    expect(bodies().size).toBe(1);
  });
});

describe('a transaction whose outcome stays unknown', () => {
  const applied = { operation: 'TransactWriteItems', fault: 'drop-after', times: Infinity } as const;
  const notApplied = { operation: 'TransactWriteItems', fault: down, times: Infinity } as const;

  test('is OUTCOME_UNKNOWN, never success, and nothing further may begin', async () => {
    bench.proxy.inject(applied);
    const codes: string[] = [];
    const handler = bench.guard(async (op) => {
      const tried = async (work: () => unknown) => {
        try {
          await work();
          codes.push('none');
        } catch (error) {
          codes.push((error as { code: string }).code);
        }
      };
      await tried(() => op.transaction('reserve', { writes: [bench.count(item)] }));
      await tried(() => op.step('step', () => 1));
      await tried(() => op.transaction('other', { writes: [bench.count(item)] }));
      await tried(() => op.commit({ result: 1 }));
      await tried(() => op.token('token'));
      throw new Error('gives up');
    });
    await expect(handler({ id: bench.id })).rejects.toThrow('gives up');
    expect(codes).toEqual(Array(5).fill('OUTCOME_UNKNOWN'));
  });

  test('is found out with the same key: applied is recalled', async () => {
    bench.proxy.inject(applied);
    const handler = bench.guard((op) =>
      op.transaction('reserve', { writes: [bench.count(item)], value: `by ${op.attempt}` }),
    );
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({
      code: 'OUTCOME_UNKNOWN',
      effect: 'possible',
      retryAfterSeconds: 1,
    });
    bench.proxy.reset();
    expect(await handler({ id: bench.id })).toBe('by 1');
    expect(await times()).toBe(1);
  });

  test('is found out with the same key: not applied runs', async () => {
    bench.proxy.inject(notApplied);
    const handler = bench.guard((op) =>
      op.transaction('reserve', { writes: [bench.count(item)], value: `by ${op.attempt}` }),
    );
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    bench.proxy.reset();
    expect(await handler({ id: bench.id })).toBe('by 2');
    expect(await times()).toBe(1);
  });

  test('is a 503 with Retry-After over HTTP', async () => {
    bench.proxy.inject(notApplied);
    const handler = bench.guard((op) => op.transaction('reserve', { writes: [bench.count(item)] }), {
      key: undefined as never,
    }) as HttpCall;
    const answer = await handler(paymentEvent({ key: bench.id }));
    expect(answer).toMatchObject({ statusCode: 503, headers: { 'Retry-After': '1' } });
    expect(JSON.parse(answer.body ?? '')).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  });

  test('is not applied where it arrives after the next attempt has begun', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: { delayMs: 3_000 }, times: Infinity });
    const client = { maxAttempts: 1, requestHandler: { requestTimeout: 100, throwOnRequestTimeout: true } };
    const deadline = Date.now() + 700;
    const handler = bench.guard(
      (op) => op.transaction('reserve', { writes: [bench.count(item)], value: `by ${op.attempt}` }),
      { store: bench.store({ client }) },
    );
    const error = await failureOf(
      handler(
        { id: bench.id },
        lambdaContext(() => deadline - Date.now()),
      ),
    );
    expect(error).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    const late = bench.transactions();
    bench.clock.advance(61_000);
    // What comes later is not delayed.
    const next = bench.guard(async (op) => {
      await expect.poll(() => late.every(({ endedAtMs }) => endedAtMs !== undefined)).toBe(true);
      return op.attempt;
    });
    expect(await next({ id: bench.id })).toBe(2);
    expect(new Set(late.map(({ status }) => status))).toEqual(new Set([400]));
    expect(await times()).toBeUndefined();
  });
});

describe('a rejected transaction after a sending that was not answered', () => {
  test('is in doubt: the first one may arrive when the conditions hold', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-before' });
    await bench.write(item, { left: 0 });
    const handler = bench.guard((op) =>
      op.transaction('reserve', {
        writes: [bench.count(item, { ConditionExpression: 'times > :one' })],
      }),
    );
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'COMMIT_REJECTED' });
  });
});

describe('a transaction whose token was used for another request', () => {
  const mismatch = { status: 400, type: 'IdempotentParameterMismatchException' };

  test('reads the claim: still ours is an unknown outcome, without sending again', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: mismatch, times: Infinity });
    const handler = bench.guard((op) => op.transaction('reserve', { writes: [bench.count(item)] }));
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
    expect(bench.sent().slice(1)).toEqual(['TransactWriteItems 400', 'GetItem 200', 'UpdateItem 200']);
  });

  test('reads the claim: overtaken is OVERTAKEN', async () => {
    const paused = deferred();
    const started = deferred();
    const first = bench.guard(
      async (op) => {
        started.resolve();
        await paused.promise;
        await op.transaction('reserve', { writes: [bench.count(item)] });
      },
      { lease: { seconds: 3_600 } },
    )({ id: bench.id });
    await started.promise;
    const { pk, owner } = (await bench.claim()) ?? {};
    await bench.store().takeOver({
      pk: pk?.S ?? '',
      previousOwner: owner?.S ?? '',
      owner: 'another',
      attempt: 2,
      leaseUntilMs: bench.clock.now() + 60_000,
    });
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: mismatch, times: Infinity });
    paused.resolve();
    expect(await failureOf(first)).toMatchObject({ code: 'OVERTAKEN' });
  });

  test('reads the claim: what cannot be read is unknown', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: mismatch, times: Infinity });
    bench.proxy.inject({ operation: 'GetItem', fault: down, times: Infinity });
    const handler = bench.guard((op) => op.transaction('reserve', { writes: [bench.count(item)] }));
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  });
});

describe('a transaction of an overtaken attempt', () => {
  test('writes nothing, and its caller is told', async () => {
    const started = deferred();
    const goOn = deferred();
    const first = bench.guard(
      async (op) => {
        started.resolve();
        await goOn.promise;
        return op.transaction('reserve', { writes: [bench.count(item)] });
      },
      { lease: { seconds: 3_600 } },
    )({ id: bench.id });
    await started.promise;
    // Its clock is an hour behind: it does not know that its lease is over.
    bench.clock.advance(3_600_000);
    const second = deferred();
    const call = bench.guard(() => second.promise)({ id: bench.id });
    await expect.poll(async () => (await bench.claim())?.attempt?.N).toBe('2');
    bench.clock.advance(-3_600_000);
    goOn.resolve();
    expect(await failureOf(first)).toMatchObject({ code: 'OVERTAKEN', effect: 'possible' });
    expect(bench.sent()).toContain('TransactWriteItems 400');
    expect(await times()).toBeUndefined();
    second.resolve();
    await call;
  });
});
