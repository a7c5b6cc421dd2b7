import { describe, expect, test } from 'vitest';
import { IdempotencyError, operation, type Seal } from '../../lib/index.ts';
import { contextWith, deferred, httpEvent, incompressible, turn } from '../support/hands.ts';
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

describe('a crash', () => {
  const names = ['reserve', 'charge', 'ship', 'notify'];

  for (const [reached, name] of [undefined, ...names].entries()) {
    test(`after ${name ?? 'nothing'} is resumed there: nothing that was recorded runs again`, async () => {
      const ran: string[] = [];
      const work = async (op: any, until: number) => {
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

  test('after three crashes is still one operation', async () => {
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

describe('a token', () => {
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

describe('a value', () => {
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
      const work = (op: any) =>
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

describe('two attempts on one step', () => {
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
    ) as any;
    expect(await failureOf(handler(httpEvent(bench.id)))).toBe(foreign);
  });

  test('fails nothing when the handler catches it', async () => {
    const handler = bench.guard(async (op) => {
      await op.step('optional', () => Promise.reject(new Error('no'))).catch(() => {});
      return op.step('other', () => 'done');
    });
    expect(await handler({ id: bench.id })).toBe('done');
  });

  test('unheard leaves the process alive and the answer as it is', async () => {
    const handler = bench.guard((op) => {
      void op.step('floating', () => Promise.reject(new Error('unheard')));
      return 'done';
    });
    expect(await handler({ id: bench.id })).toBe('done');
    await turn();
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
    ) as any;
    const answer = await handler(httpEvent('k'));
    expect(answer).toMatchObject({ statusCode: 503, headers: { 'Retry-After': '1' } });
    expect(ran).toBe(false);
  });
});

describe('unguarded', () => {
  test('a step runs, with a token of its own for each call', async () => {
    const handler = bench.guard((op) => op.step('charge', ({ token }) => [op.guarded, token]), {
      key: undefined as never,
    }) as any;
    const [first, second] = [
      await handler(httpEvent('k', {}, 'GET')),
      await handler(httpEvent('k', {}, 'GET')),
    ];
    expect(first[0]).toBe(false);
    expect(first[1]).toMatch(/^[0-9a-f-]{36}$/);
    expect(first[1]).not.toBe(second[1]);
    expect(bench.sent()).toEqual([]);
  });

  test('outside of any guard there is no operation', () => {
    expect(() => operation(contextWith(1_000))).toThrow(expect.objectContaining({ code: 'NOT_GUARDED' }));
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
    const deadline = Date.now() + 1_200;
    const handler = bench.guard((op) =>
      Promise.all([
        op.step('endless', () => new Promise<never>(() => {})),
        op.step('failing', () => Promise.reject(new Error('failed'))),
      ]),
    );
    const context = contextWith(() => deadline - Date.now());
    await expect(handler({ id: bench.id }, context)).rejects.toThrow('failed');
    expect(Date.now()).toBeLessThan(deadline);
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
    const deadline = Date.now() + 1_200;
    const handler = bench.guard((op) => {
      void op.step('endless', () => new Promise<never>(() => {}));
      return 'done';
    });
    expect(
      await handler(
        { id: bench.id },
        contextWith(() => deadline - Date.now()),
      ),
    ).toBe('done');
    expect(bench.seen.types()).toEqual(['claim', 'complete']);
  });
});
