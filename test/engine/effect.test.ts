import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type HttpResponse, IdempotencyError, idempotent, type Operation } from '../../lib/index.ts';
import { incompressible } from '../support/hands.ts';
import { paymentEvent } from '../support/http-events.ts';
import { failureOf, sdkAttempts, workbench } from '../support/work.ts';

const bench = workbench();
const item = () => `own#${bench.id}`;
const denied = { status: 400, type: 'AccessDeniedException' };
const unlessNew = { ConditionExpression: 'attribute_not_exists(pk)' };

beforeEach(() => {
  // That an answer could not be recorded is told, and here it is meant.
  vi.spyOn(console, 'error').mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

describe('an overtaken attempt whose successor left no answer', () => {
  const overtaken = () => {
    const own = { charges: 0 };
    const notStorable = { statusCode: 201, close: () => {} };
    const guarded = (handler: () => unknown) => idempotent(async (_: unknown) => handler(), bench.options());
    const successor = guarded(() => {
      own.charges++;
      return notStorable;
    });
    const call = (event: object) =>
      guarded(async () => {
        own.charges++;
        bench.clock.advance(61_000);
        await successor(event);
        return { statusCode: 201 };
      })(event);
    return { own, call };
  };

  it('says that it may have done the work, and not that nothing was done again', async () => {
    const { own, call } = overtaken();
    const error = await failureOf(call({ id: bench.id }));
    expect(own.charges).toBe(2);
    expect(error).toMatchObject({ code: 'RESULT_UNAVAILABLE', effect: 'possible' });
    expect(error.message).not.toContain('not been done');
    expect(error.record).toMatchObject({ status: 'COMPLETED', attempt: 2 });
  });

  it('says so over HTTP', async () => {
    const { call } = overtaken();
    const answer = (await call({ ...paymentEvent({ key: bench.id }), id: bench.id })) as HttpResponse;
    expect(answer.statusCode).toBe(410);
    expect(answer.body).toContain('may have happened');
    expect(answer.body).not.toContain('not been done');
  });
});

describe('an overtaken attempt whose successor has left an answer that cannot be fetched', () => {
  it('may have done the work: it says so, and to try again', async () => {
    const successor = bench.guard(() => incompressible(9_000));
    const first = bench.guard(async () => {
      bench.clock.advance(61_000);
      await successor({ id: bench.id });
      bench.proxy.inject({
        ...{ operation: 'Query', times: Infinity, fault: { status: 500, type: 'InternalServerError' } },
      });
      return 'mine';
    });
    const error = await failureOf(first({ id: bench.id }));
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', effect: 'possible', retryAfterSeconds: 1 });
    expect(error.message).toContain('may have happened');
    expect(error.message).not.toMatch(/nothing has been done/i);
    expect(error.cause).toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });
});

describe('after a finished step', () => {
  const failures: Record<string, (op: Operation) => Promise<unknown>> = {
    BAD_WRITES: (op) =>
      op.commit({ result: 1, messages: [{ destination: 'nowhere', body: 'b', groupId: 'g' }] }),
    BAD_STEP: (op) => op.step('charge', () => 1),
    COMMIT_REJECTED: async (op) => {
      await bench.write(item(), { is: 'taken' });
      return op.commit({ result: 1, writes: [bench.count(item(), unlessNew)] });
    },
    STORE_MISCONFIGURED: async (op) => {
      bench.proxy.inject({ operation: 'TransactWriteItems', fault: denied, times: Infinity });
      return op.commit({ result: 1, writes: [bench.count(item())] });
    },
  };

  it.each(Object.entries(failures))('%s says that something may have been done', async (code, fail) => {
    let inHand: unknown;
    const handler = bench.guard(async (op) => {
      await op.step('charge', () => 'charged');
      return fail(op).catch((error) => {
        inHand = error;
        throw error;
      });
    });
    const error = await failureOf(handler({ id: bench.id }));
    expect(error).toMatchObject({ code, effect: 'possible' });
    expect(error).toBe(inHand);
    expect(error.stack).toContain(error.message);
  });

  it('a rejected commit still holds the items that its conditions met', async () => {
    await bench.write(item(), { is: 'taken' });
    const handler = bench.guard(async (op) => {
      await op.step('charge', () => 'charged');
      return op.commit({ result: 1, writes: [bench.count(item(), unlessNew)] });
    });
    const { rejections } = await failureOf(handler({ id: bench.id }));
    expect(rejections).toMatchObject([{ index: 0, item: { is: 'taken' } }]);
  });
});

describe.each(['eager', 'at-commit'] as const)(
  'a commit whose answer was lost, with `claim: %o`,',
  (claim) => {
    /** The commit's request: the one that completes. */
    const commitsBy = { eager: 'UpdateItem', 'at-commit': 'PutItem' }[claim];
    const attempts = { 'the guard': sdkAttempts, 'the SDK': 1 };

    it.each(Object.entries(attempts))(
      'and that %s repeats in vain, is answered with what every repeat is answered with',
      async (_, lost) => {
        let runs = 0;
        const handler = bench.guard((op) => op.commit({ result: ++runs }), { claim });
        bench.proxy.inject({ operation: commitsBy, fault: 'drop-after', times: lost });
        bench.proxy.inject({ operation: commitsBy, fault: denied, times: Infinity });
        expect(await handler({ id: bench.id })).toBe(1);
        bench.proxy.reset();
        expect(await handler({ id: bench.id })).toBe(1);
        expect(bench.seen.types()).toContain('replay');
      },
    );

    it.each(Object.entries(attempts))('may have been applied, when %s cannot find out', async (_, lost) => {
      const handler = bench.guard((op) => op.commit({ result: 1 }), { claim });
      bench.proxy.inject({ operation: commitsBy, fault: 'drop-after', times: lost });
      bench.proxy.inject({ operation: commitsBy, fault: denied, times: Infinity });
      bench.proxy.inject({ operation: 'GetItem', fault: denied, times: Infinity });
      const error = await failureOf(handler({ id: bench.id }));
      expect(error).toMatchObject({ code: 'OUTCOME_UNKNOWN', effect: 'possible' });
    });

    it.each([
      ['AccessDeniedException', {}],
      ['ResourceNotFoundException', {}],
      [
        'TransactionCanceledException',
        { CancellationReasons: [{ Code: 'None' }, { Code: 'ValidationError', Message: 'No.' }] },
      ],
    ])('with writes, and that the SDK repeats as %s, may have been applied', async (type, fields) => {
      const handler = bench.guard((op) => op.commit({ result: 1, writes: [bench.count(item())] }), { claim });
      const refused = { status: 400, type, fields };
      bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-after' });
      bench.proxy.inject({ operation: 'TransactWriteItems', fault: refused, times: Infinity });
      expect(await handler({ id: bench.id })).toBe(1);
      expect(await bench.read(item())).toMatchObject({ times: 1 });
      bench.proxy.reset();
      expect(await handler({ id: bench.id })).toBe(1);
    });

    it('by a refusal that came first has not been applied, and says the reason', async () => {
      const handler = bench.guard((op) => op.commit({ result: 1, writes: [bench.count(item())] }), { claim });
      bench.proxy.inject({ operation: 'TransactWriteItems', fault: denied, times: Infinity });
      const error = await failureOf(handler({ id: bench.id }));
      expect(error).toMatchObject({
        code: 'STORE_MISCONFIGURED',
        effect: claim === 'eager' ? 'possible' : 'none',
      });
      expect(IdempotencyError.is(error) && error.message).toContain('ConditionCheckItem');
    });
  },
);
