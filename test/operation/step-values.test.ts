import { describe, expect, test } from 'vitest';
import type { Operation, Seal } from '../../lib/index.ts';
import { deferred, incompressible } from '../support/hands.ts';
import type { HttpCall } from '../support/http-events.ts';
import { paymentEvent } from '../support/http-events.ts';
import { failureOf, sdkAttempts, workbench } from '../support/work.ts';

const bench = workbench();
const down = { status: 500, type: 'InternalServerError' };

describe('the value of a step', () => {
  async function recalled(value: unknown, seal?: Seal): Promise<unknown> {
    const store = bench.store(seal && { seal });
    await bench.crash((op) => op.step('value', () => value), { store });
    let recall: unknown;
    await bench.guard(
      async (op) => {
        recall = await op.step('value', () => {
          throw new Error('It must not run again.');
        });
      },
      { store },
    )({ id: bench.id });
    return recall;
  }

  for (const [what, value] of Object.entries<unknown>({
    undefined: undefined,
    null: null,
    'a date': new Date(1e12),
    'a map and a set': new Map<unknown, unknown>([['a', new Set([1n, -0])]]),
    'an object with undefined in it': { a: undefined, b: [undefined, Number.NaN] },
    bytes: Buffer.from('bytes'),
    'a string of 300 KB': incompressible(300_000),
  })) {
    test(`that is ${what} comes back equal`, async () => {
      expect(await recalled(value)).toStrictEqual(value);
    });
  }

  test('comes back as a copy: what one attempt does to it reaches no other', async () => {
    await bench.crash(async (op) => {
      (await op.step('value', () => ({ list: [1] }))).list.push(2);
    });
    const again = bench.guard((op) => op.step('value', () => ({ list: [0] })));
    expect(await again({ id: bench.id })).toEqual({ list: [1] });
  });

  for (const [what, value] of Object.entries<unknown>({
    'too large': incompressible(600_000),
    'not serialisable': () => 'a function',
  })) {
    test(`that is ${what} is used by its own attempt, and lost to later ones, which do not run it`, async () => {
      let effects = 0;
      const work = (op: Operation) =>
        op.step('value', () => {
          effects++;
          return value;
        });
      await bench.crash(async (op) => expect(await work(op)).toBe(value));
      const again = bench.guard(work);
      for (const _ of [2, 3]) {
        expect(await failureOf(again({ id: bench.id }))).toMatchObject({
          code: 'RESULT_UNAVAILABLE',
          effect: 'possible',
        });
      }
      expect(effects).toBe(1);
    });
  }

  test('is sealed, with the operation as its context', async () => {
    const contexts: unknown[] = [];
    const flip = (bytes: Uint8Array) => bytes.map((byte) => byte ^ 0xff);
    const seal: Seal = {
      seal: (plain, context) => {
        contexts.push(context);
        return flip(plain);
      },
      open: (sealed) => flip(sealed),
    };
    expect(await recalled({ card: '4242' }, seal)).toEqual({ card: '4242' });
    const step = (await bench.records()).find((item) => item.sk?.S?.endsWith('#step#value'));
    expect(Buffer.from(step?.value?.B ?? '').toString()).not.toContain('4242');
    expect(contexts[0]).toEqual({ operation: step?.pk?.S });
  });
});

describe('a step is refused', () => {
  const refusedName = async (...names: unknown[]): Promise<string> => {
    const handler = bench.guard(async (op) => {
      for (const name of names) await op.step(name as string, () => 1);
    });
    const error = await failureOf(handler({ id: bench.id }));
    expect(error).toMatchObject({ code: 'BAD_STEP' });
    return error.message;
  };

  test('under a name that was used before in this attempt', async () => {
    expect(await refusedName('charge', 'charge')).toMatch(
      /^The name that step\(\) was given was used before in this attempt/,
    );
  });

  test("under the name 'commit'", async () => {
    expect(await refusedName('commit')).toContain('reserved');
  });

  for (const name of ['', '  ', 'x'.repeat(256), 7, undefined]) {
    test(`under the name ${String(name).slice(0, 10) || 'of no characters'}`, async () => {
      expect(await refusedName(name)).toContain('1 to 255');
    });
  }

  test('once the handler has returned', async () => {
    const returned = deferred();
    const late = deferred<unknown>();
    await bench.guard((op) => {
      void returned.promise.then(() => op.step('late', () => 1)).catch(late.resolve);
      return 'done';
    })({ id: bench.id });
    returned.resolve();
    expect(await late.promise).toMatchObject({ code: 'NOT_GUARDED' });
  });

  test('once the lease is over, though nobody has taken over', async () => {
    let ran = false;
    const handler = bench.guard(async (op) => {
      bench.clock.advance(61_000);
      await op.step('late', () => {
        ran = true;
      });
    });
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'OVERTAKEN' });
    expect(ran).toBe(false);
  });

  test('when the lease ends while its start is recorded', async () => {
    let ran = false;
    const handler = bench.guard((op) => {
      const step = op.step(
        'mail',
        () => {
          ran = true;
        },
        { atMostOnce: true },
      );
      bench.clock.advance(61_000);
      return step;
    });
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'OVERTAKEN' });
    expect(ran).toBe(false);
  });
});

describe('the record of a step', () => {
  test('that cannot be written costs nothing but a repeat after a crash', async () => {
    bench.proxy.inject({
      operation: 'PutItem',
      match: ({ body }) => body.Item.sk.S.includes('#step#'),
      fault: down,
      times: Infinity,
    });
    const handler = bench.guard((op) => op.step('charge', () => 'charged'));
    expect(await handler({ id: bench.id })).toBe('charged');
    expect(bench.seen.seen).toContainEqual(
      expect.objectContaining({ type: 'step', outcome: 'unrecorded', name: 'charge' }),
    );
  });

  test('whose answer is lost is recognised', async () => {
    bench.proxy.inject({ operation: 'PutItem', skip: 1, fault: 'drop-after', times: sdkAttempts + 1 });
    const handler = bench.guard((op) => op.step('charge', () => 'charged'));
    expect(await handler({ id: bench.id })).toBe('charged');
    expect(bench.seen.types()).toEqual(['claim', 'step', 'complete']);
  });

  test('that cannot be read stops the attempt, which over HTTP is a 503', async () => {
    await bench.crash((op) => op.step('charge', () => 'charged'), {
      key: () => bench.id,
      fingerprint: false,
      namespace: 'orders',
    });
    bench.proxy.inject({ operation: 'Query', fault: down, times: Infinity });
    let ran = false;
    const handler = bench.guard(
      (op) =>
        op.step('charge', () => {
          ran = true;
        }),
      { key: () => bench.id, fingerprint: false },
    ) as HttpCall<unknown>;
    const answer = await handler(paymentEvent({ key: 'k' }));
    expect(answer).toMatchObject({ statusCode: 503, headers: { 'Retry-After': '1' } });
    expect(ran).toBe(false);
  });
});
