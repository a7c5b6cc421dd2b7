import { describe, expect, test } from 'vitest';
import type { Operation } from '../../lib/index.ts';
import { deferred, turn } from '../support/hands.ts';
import { invocationOf } from '../support/invocation.ts';
import { failureOf, workbench } from '../support/work.ts';

const bench = workbench();

describe('an operation that crashed', () => {
  const names = ['reserve', 'charge', 'ship', 'notify'];

  for (const [reached, name] of [undefined, ...names].entries()) {
    test(`after ${name ?? 'nothing'} is resumed there: nothing that was recorded runs again`, async () => {
      const ran: string[] = [];
      const work = async (op: Operation, until: number) => {
        const values: string[] = [];
        for (const step of names.slice(0, until)) {
          values.push(
            await op.step(step, async () => {
              ran.push(step);
              return `${step} by ${op.attempt}`;
            }),
          );
        }
        return values;
      };
      await bench.crash((op) => work(op, reached));
      const values = await bench.guard((op) => work(op, names.length))({ id: bench.id });
      expect(ran).toEqual(names);
      expect(values).toEqual(names.map((step, at) => `${step} by ${at < reached ? 1 : 2}`));
    });
  }

  test('in a step repeats it, with the same token', async () => {
    const tokens: string[] = [];
    const started = deferred();
    void bench.guard((op) =>
      op.step('charge', ({ token }) => {
        tokens.push(token);
        started.resolve();
        return new Promise<never>(() => {});
      }),
    )({ id: bench.id });
    await started.promise;
    bench.clock.advance(61_000);
    await bench.guard((op) => op.step('charge', ({ token }) => tokens.push(token)))({ id: bench.id });
    expect(tokens).toHaveLength(2);
    expect(tokens[0]).toBe(tokens[1]);
  });

  test('three times is still one operation', async () => {
    let effects = 0;
    for (const name of ['a', 'b', 'c']) {
      await bench.crash(async (op) => {
        for (const step of ['a', 'b', 'c'].slice(0, ['a', 'b', 'c'].indexOf(name) + 1)) {
          await op.step(step, () => ++effects);
        }
      });
    }
    const last = bench.guard(async (op) => [op.attempt, await op.step('c', () => ++effects)]);
    expect(await last({ id: bench.id })).toEqual([4, 3]);
    expect(effects).toBe(3);
  });

  test('leaves what it recorded to its window: a key used again later starts anew', async () => {
    await bench.crash((op) => op.step('charge', () => 'first window'));
    bench.clock.advance(86_400_000);
    const again = bench.guard((op) => op.step('charge', () => 'second window'));
    expect(await again({ id: bench.id })).toBe('second window');
  });
});

describe('of two attempts on one step,', () => {
  /** Attempt 1 is overtaken while its step runs; the handle lets it go on. */
  async function overtakenInStep() {
    const started = deferred();
    const goOn = deferred();
    const wentOn: string[] = [];
    const first = bench.guard(async (op) => {
      const value = await op.step('charge', async () => {
        started.resolve();
        await goOn.promise;
        return 'by 1';
      });
      wentOn.push(value);
      return value;
    })({ id: bench.id });
    first.catch(() => {});
    await started.promise;
    bench.clock.advance(61_000);
    return { first, goOn, wentOn };
  }

  test('the later one finishes first: the earlier one gets its answer', async () => {
    const { first, goOn } = await overtakenInStep();
    expect(await bench.guard((op) => op.step('charge', () => 'by 2'))({ id: bench.id })).toBe('by 2');
    goOn.resolve();
    expect(await first).toBe('by 2');
  });

  test('the later one has recorded the step and goes on: the earlier one is OVERTAKEN', async () => {
    const { first, goOn, wentOn } = await overtakenInStep();
    const recorded = deferred();
    const finish = deferred();
    const second = bench.guard(async (op) => {
      const value = await op.step('charge', () => 'by 2');
      recorded.resolve();
      await finish.promise;
      return value;
    })({ id: bench.id });
    await recorded.promise;
    goOn.resolve();
    expect(await failureOf(first)).toMatchObject({ code: 'OVERTAKEN', effect: 'possible' });
    expect(wentOn).toEqual([]);
    finish.resolve();
    expect(await second).toBe('by 2');
  });

  test('the earlier one finishes first: the later one returns what was recorded, though it ran', async () => {
    const { first, goOn } = await overtakenInStep();
    const inStep = deferred();
    const finish = deferred();
    const second = bench.guard((op) =>
      op.step('charge', async () => {
        inStep.resolve();
        await finish.promise;
        return 'by 2';
      }),
    )({ id: bench.id });
    await inStep.promise;
    goOn.resolve();
    expect(await failureOf(first)).toMatchObject({ code: 'OVERTAKEN' });
    finish.resolve();
    expect(await second).toBe('by 1');
  });
});

describe('the end of an attempt', () => {
  test('waits for a step that is still running when a sibling fails, and then releases', async () => {
    const slow = deferred();
    const handler = bench.guard((op) =>
      Promise.all([
        op.step('slow', async () => {
          await slow.promise;
          return 'slow';
        }),
        op.step('failing', () => Promise.reject(new Error('failed'))),
      ]),
    );
    let isOver = false;
    const call = failureOf(handler({ id: bench.id })).finally(() => {
      isOver = true;
    });
    await expect.poll(() => bench.sent().length).toBe(1);
    await turn();
    expect(isOver).toBe(false);
    slow.resolve();
    expect(await call).toMatchObject({ message: 'failed' });
    expect(bench.seen.types()).toEqual(['claim', 'step', 'release']);
    expect(await bench.guard((op) => op.step('slow', () => 'again'))({ id: bench.id })).toBe('slow');
  });

  test('does not release under a step that does not end in time', async () => {
    const invocation = invocationOf(1_200);
    const handler = bench.guard((op) =>
      Promise.all([
        op.step('endless', () => new Promise<never>(() => {})),
        op.step('failing', () => Promise.reject(new Error('failed'))),
      ]),
    );
    await expect(handler({ id: bench.id }, invocation.context)).rejects.toThrow('failed');
    expect(invocation.isOver()).toBe(false);
    expect(bench.seen.types()).toEqual(['claim', 'abandon']);
    expect((await bench.claim())?.leaseUntil?.N).not.toBe('0');
    expect(await failureOf(bench.guard(() => 1)({ id: bench.id }))).toMatchObject({ code: 'IN_PROGRESS' });
  });

  test('lets a branch that goes on begin nothing more', async () => {
    const slow = deferred();
    const later: unknown[] = [];
    const handler = bench.guard(async (op) => {
      const branch = async () => {
        await op.step('first', () => slow.promise);
        await op.step('second', () => later.push('ran')).catch((error) => later.push(error.code));
      };
      await Promise.all([branch(), op.step('failing', () => Promise.reject(new Error('failed')))]);
    });
    const call = failureOf(handler({ id: bench.id }));
    await expect.poll(() => bench.sent().length).toBe(1);
    slow.resolve();
    await call;
    expect(later).toEqual(['NOT_GUARDED']);
  });

  test('of which the handler has returned waits for a step that it did not await', async () => {
    const slow = deferred();
    const handler = bench.guard((op) => {
      void op.step('floating', () => slow.promise);
      return 'done';
    });
    const call = handler({ id: bench.id });
    await expect.poll(() => bench.sent()).toEqual(['PutItem 200']);
    slow.resolve();
    expect(await call).toBe('done');
    expect(bench.seen.types()).toEqual(['claim', 'step', 'complete']);
  });

  test('is not kept from its answer by a step that never ends', async () => {
    const invocation = invocationOf(1_200);
    const handler = bench.guard((op) => {
      void op.step('endless', () => new Promise<never>(() => {}));
      return 'done';
    });
    expect(await handler({ id: bench.id }, invocation.context)).toBe('done');
    expect(bench.seen.types()).toEqual(['claim', 'complete']);
  });
});
