import middy7 from '@middy/core';
import type { Context } from 'aws-lambda';
import middy6 from 'middy6';
import { beforeEach, describe, expect, test } from 'vitest';
import { idempotent, type Operation, operation } from '../../lib/index.ts';
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
const mail = (more: object = {}) => ({ destination: 'mail', body: { to: 'ann' }, groupId: 'ann', ...more });
const http = { key: undefined as never };

describe('a lost answer to a commit', () => {
  for (const lost of [1, sdkAttempts + 1]) {
    test(`(${lost} times) leaves one application, under one token`, async () => {
      bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-after', times: lost });
      const handler = bench.guard((op) =>
        op.commit({ result: 'done', writes: [bench.count(item)], messages: [mail()] }),
      );
      expect(await handler({ id: bench.id })).toBe('done');
      expect(await handler({ id: bench.id })).toBe('done');
      expect(await times()).toBe(1);
      expect(await bench.messages()).toHaveLength(1);
      expect(new Set(bench.transactions().map(({ body }) => JSON.stringify(body))).size).toBe(1);
      expect(bench.transactions()).toHaveLength(lost + 1);
    });
  }

  test('without writes is recognised by the record', async () => {
    bench.proxy.inject({ operation: 'UpdateItem', fault: 'drop-after', times: sdkAttempts + 1 });
    const resolved: string[] = [];
    const handler = bench.guard(async (op) => {
      resolved.push(await op.commit({ result: 'done' }));
      return 'done';
    });
    expect(await handler({ id: bench.id })).toBe('done');
    expect(resolved).toEqual(['done']);
    expect(bench.seen.types()).toEqual(['claim', 'complete']);
  });

  for (const [what, fault, runsAgain] of [
    ['applied', 'drop-after', 1],
    ['not applied', down, 2],
  ] as const) {
    test(`to the end is OUTCOME_UNKNOWN; the same key finds out that it was ${what}`, async () => {
      bench.proxy.inject({ operation: 'TransactWriteItems', fault, times: Infinity });
      let runs = 0;
      const handler = bench.guard(async (op) => {
        runs++;
        try {
          return await op.commit({ result: `by ${runs}`, writes: [bench.count(item)] });
        } catch (error) {
          // So that neither the release nor a read can tell.
          if (runs === 1) bench.proxy.inject({ fault: down, times: Infinity });
          throw error;
        }
      });
      expect(await failureOf(handler({ id: bench.id }))).toMatchObject({
        code: 'OUTCOME_UNKNOWN',
        effect: 'possible',
      });
      bench.proxy.reset();
      bench.clock.advance(61_000);
      expect(await handler({ id: bench.id })).toBe(`by ${runsAgain}`);
      expect(runs).toBe(runsAgain);
      expect(await times()).toBe(1);
    });
  }

  test('to the end is the answer all the same, where the release finds it applied', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-after', times: Infinity });
    const handler = bench.guard((op) => op.commit({ result: 'done', writes: [bench.count(item)] }));
    expect(await handler({ id: bench.id })).toBe('done');
    expect(bench.seen.types()).toEqual(['claim', 'complete']);
  });

  test('without writes, to the end, is OUTCOME_UNKNOWN as well', async () => {
    bench.proxy.inject({ operation: 'UpdateItem', fault: down, times: Infinity });
    const handler = bench.guard((op) => op.commit({ result: 'done' }));
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  });

  test('is another thing than a missing permission: then nothing was written', async () => {
    const fault = { status: 400, type: 'AccessDeniedException', message: 'no dynamodb:ConditionCheckItem' };
    bench.proxy.inject({ operation: 'TransactWriteItems', fault });
    const handler = bench.guard((op) => op.commit({ result: 'done', writes: [bench.count(item)] }));
    const error = await failureOf(handler({ id: bench.id }));
    expect(error).toMatchObject({ code: 'STORE_MISCONFIGURED' });
    expect(error.message).toContain('no dynamodb:ConditionCheckItem');
    // The permission may be missing on either.
    expect(error.message).toContain(`on ${bench.table.tableName}, ${bench.own.tableName}.`);
  });
});

describe('an overtaken commit', () => {
  /** The doors of a guard, with a handler that is given its operation. */
  const doors = {
    wrapper: (work: (op: Operation) => unknown, more: object) =>
      idempotent(async (_: unknown, context) => work(operation(context)), bench.options<unknown>(more)),
    'Middy 6': (work: (op: Operation) => unknown, more: object) =>
      middy6()
        .use(idempotent(bench.options<unknown>(more)))
        .handler(async (_: unknown, context: Context) => work(operation(context))),
    'Middy 7': (work: (op: Operation) => unknown, more: object) =>
      middy7()
        .use(idempotent(bench.options<unknown>(more)))
        .handler(async (_: unknown, context: Context) => work(operation(context))),
  };

  for (const [door, guard] of Object.entries(doors)) {
    /** Attempt 1 outlives its lease without knowing, and commits after attempt 2 has begun or ended. */
    const overtaken = async (event: unknown, ends: boolean) => {
      const started = deferred();
      const goOn = deferred();
      const more = 'id' in (event as object) ? {} : http;
      const result = (by: number) =>
        'id' in (event as object) ? `by ${by}` : { statusCode: 201, body: `by ${by}` };
      const handler = guard(
        async (op) => {
          started.resolve();
          await goOn.promise;
          return op.commit({ result: result(1), writes: [bench.count(item)] });
        },
        { ...more, lease: { seconds: 3_600 } },
      ) as HttpCall;
      const first = handler(event, lambdaContext(60_000));
      first.catch(() => {});
      await started.promise;
      bench.clock.advance(3_600_000);
      const second = deferred();
      const next = guard(async (op) => {
        await second.promise;
        return op.commit({ result: result(2), writes: [bench.count(item)] });
      }, more) as HttpCall;
      const call = next(event, lambdaContext(60_000));
      await expect.poll(async () => (await bench.claim())?.attempt?.N).toBe('2');
      if (ends) {
        second.resolve();
        await call;
      }
      bench.clock.advance(-3_600_000);
      goOn.resolve();
      const outcome = await first.then(
        (value: unknown) => value,
        (error: { code: string }) => error.code,
      );
      second.resolve();
      await call;
      expect(await times()).toBe(1);
      return outcome;
    };

    test(`(${door}) writes nothing; its caller gets the answer of the attempt that completed`, async () => {
      expect(await overtaken({ id: bench.id }, true)).toBe('by 2');
    });

    test(`(${door}) writes nothing; while the other runs its caller is told OVERTAKEN`, async () => {
      expect(await overtaken({ id: bench.id }, false)).toBe('OVERTAKEN');
    });

    test(`(${door}) over HTTP gets that answer as a replay, or 409`, async () => {
      expect(await overtaken(paymentEvent({ key: bench.id }), true)).toMatchObject({
        statusCode: 201,
        body: 'by 2',
        headers: { 'Idempotent-Replayed': 'true' },
      });
    });

    test(`(${door}) over HTTP is a 409 while the other runs`, async () => {
      expect(await overtaken(paymentEvent({ key: bench.id }), false)).toMatchObject({
        statusCode: 409,
        headers: { 'Retry-After': expect.any(String) },
      });
    });
  }
});
