import { describe, expect, test } from 'vitest';
import { IdempotencyError, operation } from '../../lib/index.ts';
import { deferred, turn } from '../support/hands.ts';
import type { HttpCall } from '../support/http-events.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { failureOf, sdkAttempts, workbench } from '../support/work.ts';

const bench = workbench();
const down = { status: 500, type: 'InternalServerError' };

describe('a step', () => {
  test('returns what its function returned', async () => {
    const handler = bench.guard((op) => op.step('charge', async () => ({ charge: 'ch_1' })));
    expect(await handler({ id: bench.id })).toEqual({ charge: 'ch_1' });
  });

  test('takes a function that is not async', async () => {
    const handler = bench.guard((op) => op.step('charge', () => 7));
    expect(await handler({ id: bench.id })).toBe(7);
  });

  test('costs one write, and a takeover one query for all steps', async () => {
    await bench.crash(async (op) => {
      await op.step('a', () => 1);
      await op.step('b', () => 2);
    });
    expect(bench.sent()).toEqual(['PutItem 200', 'PutItem 200', 'PutItem 200']);
    bench.proxy.reset();
    const sums = bench.guard(async (op) => {
      const [a, b] = await Promise.all([op.step('a', () => 10), op.step('b', () => 20)]);
      return a + b + (await op.step('c', () => 3));
    });
    expect(await sums({ id: bench.id })).toBe(6);
    expect(bench.sent()).toEqual([
      'PutItem 400',
      'UpdateItem 200',
      'Query 200',
      'PutItem 200',
      'UpdateItem 200',
    ]);
  });

  test('asks the table for nothing in a takeover that has no steps', async () => {
    await bench.crash(() => {});
    bench.proxy.reset();
    await bench.guard(() => 'done')({ id: bench.id });
    expect(bench.sent()).toEqual(['PutItem 400', 'UpdateItem 200', 'UpdateItem 200']);
  });

  test('reports to the observer, by its name', async () => {
    await bench.guard((op) => op.step('charge', () => 1))({ id: bench.id });
    expect(bench.seen.seen[1]).toMatchObject({
      type: 'step',
      name: 'charge',
      outcome: 'recorded',
      attempt: 1,
    });
  });
});

describe('the token of a step', () => {
  test('is the same in every attempt, for each name another one, and in a step of that name', async () => {
    let first: string[] = [];
    await bench.crash(async (op) => {
      first = [op.token('charge'), op.token('refund')];
    });
    const second = await bench.guard(async (op) => [
      op.token('charge'),
      op.token('refund'),
      await op.step('charge', ({ token }) => token),
    ])({ id: bench.id });
    expect(second).toEqual([...first, first[0]]);
    expect(first[0]).not.toBe(first[1]);
    expect(first[0]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  });

  test('is another one in the next window, and for another key', async () => {
    const handler = bench.guard((op) => op.token('charge'));
    const first = await handler({ id: bench.id });
    bench.clock.advance(86_400_001);
    const later = await handler({ id: bench.id });
    const other = await handler({ id: `${bench.id}-other` });
    expect(new Set([first, later, other]).size).toBe(3);
  });
});

describe('a step that must not be repeated', () => {
  test('is run once and remembered', async () => {
    let mails = 0;
    await bench.crash((op) => op.step('mail', () => ++mails, { atMostOnce: true }));
    const again = bench.guard((op) => op.step('mail', () => ++mails, { atMostOnce: true }));
    expect(await again({ id: bench.id })).toBe(1);
    expect(mails).toBe(1);
  });

  test('is recorded before it begins', async () => {
    const order: string[] = [];
    await bench.guard((op) =>
      op.step(
        'mail',
        async () => order.push(...(await bench.records()).map((item) => item.status?.S ?? '')),
        {
          atMostOnce: true,
        },
      ),
    )({ id: bench.id });
    expect(order).toEqual(['IN_PROGRESS', 'STARTED']);
    expect((await bench.records())[1]?.status?.S).toBe('DONE');
  });

  test('ends as INDETERMINATE when it was interrupted, in every later attempt', async () => {
    let mails = 0;
    const started = deferred();
    void bench.guard((op) =>
      op.step(
        'mail',
        () => {
          mails++;
          started.resolve();
          return new Promise<never>(() => {});
        },
        { atMostOnce: true },
      ),
    )({ id: bench.id });
    await started.promise;
    bench.clock.advance(61_000);
    const again = bench.guard((op) => op.step('mail', () => ++mails, { atMostOnce: true }));
    for (const attempt of [2, 3]) {
      const error = await failureOf(again({ id: bench.id }));
      expect(error).toMatchObject({ code: 'INDETERMINATE', effect: 'possible' });
      expect(error.message).not.toContain('mail');
      expect((error as IdempotencyError).step).toBe('mail');
      expect(Object.keys(error)).not.toContain('step');
      expect((await bench.claim())?.attempt?.N).toBe(String(attempt));
    }
    expect(mails).toBe(1);
  });

  test('ends as INDETERMINATE when its function failed: nobody knows what it did', async () => {
    const failing = bench.guard((op) =>
      op.step('mail', () => Promise.reject(new Error('timeout')), { atMostOnce: true }),
    );
    await expect(failing({ id: bench.id })).rejects.toThrow('timeout');
    expect(await failureOf(failing({ id: bench.id }))).toMatchObject({ code: 'INDETERMINATE' });
  });

  test('begins once though the answers to its start and its end are lost', async () => {
    let mails = 0;
    bench.proxy.inject({ operation: 'PutItem', skip: 1, fault: 'drop-after', times: sdkAttempts + 1 });
    bench.proxy.inject({
      operation: 'UpdateItem',
      match: ({ body }) => ':started' in body.ExpressionAttributeValues,
      fault: 'drop-after',
      times: sdkAttempts + 1,
    });
    const handler = bench.guard((op) => op.step('mail', () => ++mails, { atMostOnce: true }));
    expect(await handler({ id: bench.id })).toBe(1);
    expect(mails).toBe(1);
    expect(bench.seen.seen).toContainEqual(expect.objectContaining({ type: 'step', outcome: 'recorded' }));
  });

  test('does not begin when its start cannot be recorded', async () => {
    let mails = 0;
    bench.proxy.inject({ operation: 'PutItem', skip: 1, fault: down, times: Infinity });
    const handler = bench.guard((op) => op.step('mail', () => ++mails, { atMostOnce: true }));
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({
      code: 'STORE_UNAVAILABLE',
      effect: 'possible',
    });
    expect(mails).toBe(0);
  });
});

describe('a step that fails', () => {
  test('fails the handler with its own error, and the next attempt runs it again', async () => {
    let tries = 0;
    const handler = bench.guard((op) =>
      op.step('charge', () => {
        if (++tries === 1) throw new Error('declined');
        return tries;
      }),
    );
    await expect(handler({ id: bench.id })).rejects.toThrow('declined');
    expect(await handler({ id: bench.id })).toBe(2);
  });

  test('with the error of another guard is not answered for', async () => {
    const foreign = new IdempotencyError('OVERTAKEN', 'Of another operation.', { effect: 'possible' });
    const handler = bench.guard(
      (op) =>
        op.step('inner', () => {
          throw foreign;
        }),
      { key: undefined as never },
    ) as HttpCall;
    expect(await failureOf(handler(paymentEvent({ key: bench.id })))).toBe(foreign);
  });

  test('fails nothing when the handler catches it', async () => {
    const handler = bench.guard(async (op) => {
      await op.step('optional', () => Promise.reject(new Error('no'))).catch(() => {});
      return op.step('other', () => 'done');
    });
    expect(await handler({ id: bench.id })).toBe('done');
  });

  test('that nobody awaits leaves the process alive and the answer as it is', async () => {
    const handler = bench.guard((op) => {
      void op.step('floating', () => Promise.reject(new Error('unheard')));
      return 'done';
    });
    expect(await handler({ id: bench.id })).toBe('done');
    await turn();
  });
});

describe('where nothing guards the call,', () => {
  test('a step runs, with a token of its own for each call', async () => {
    const handler = bench.guard((op) => op.step('charge', ({ token }) => [op.guarded, token]), {
      key: undefined as never,
    }) as HttpCall<unknown[]>;
    const [first, second] = [
      await handler(paymentEvent({ key: 'k', method: 'GET' })),
      await handler(paymentEvent({ key: 'k', method: 'GET' })),
    ];
    expect(first[0]).toBe(false);
    expect(first[1]).toMatch(/^[0-9a-f-]{36}$/);
    expect(first[1]).not.toBe(second[1]);
    expect(bench.sent()).toEqual([]);
  });

  test('outside of any guard there is no operation', () => {
    expect(() => operation(lambdaContext(1_000))).toThrow(expect.objectContaining({ code: 'NOT_GUARDED' }));
  });
});
