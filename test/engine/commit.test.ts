import middy7 from '@middy/core';
import middy6 from 'middy6';
import { beforeEach, describe, expect, test } from 'vitest';
import {
  eachRecord,
  idempotent,
  memoryStore,
  type Operation,
  operation,
  type Seal,
} from '../../lib/index.ts';
import { contextWith, deferred, httpEvent, incompressible } from '../support/hands.ts';
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

describe('a commit', () => {
  test('returns its result, and a repeat gets it', async () => {
    let runs = 0;
    const handler = bench.guard((op) =>
      op.commit({ result: { run: ++runs }, writes: [bench.count(item)], messages: [mail()] }),
    );
    expect(await handler({ id: bench.id })).toEqual({ run: 1 });
    expect(await handler({ id: bench.id })).toEqual({ run: 1 });
    expect(await times()).toBe(1);
    expect(bench.sent()).toEqual(['PutItem 200', 'TransactWriteItems 200', 'PutItem 400']);
    expect(bench.seen.types()).toEqual(['claim', 'complete', 'replay']);
  });

  test('without writes and messages is a plain update', async () => {
    const handler = bench.guard((op) => op.commit({ result: 'done' }));
    expect(await handler({ id: bench.id })).toBe('done');
    expect(await handler({ id: bench.id })).toBe('done');
    expect(bench.sent()).toEqual(['PutItem 200', 'UpdateItem 200', 'PutItem 400']);
  });

  for (const [what, size] of Object.entries({ '8 KB': 8_000, '600 KB': 600_000 })) {
    test(`keeps a result of ${what}, in chunks`, async () => {
      const result = incompressible(size);
      const handler = bench.guard((op) => op.commit({ result, writes: [bench.count(item)] }));
      expect((await handler({ id: bench.id })) === result).toBe(true);
      expect((await handler({ id: bench.id })) === result).toBe(true);
      expect(await times()).toBe(1);
    });
  }

  test('with a result that cannot be stored is applied all the same, and not repeated', async () => {
    for (const [at, result] of [() => 1, incompressible(1_300_000)].entries()) {
      const handler = bench.guard((op) => op.commit({ result, writes: [bench.count(item)] }));
      const order = { id: `${bench.id}-${at}` };
      expect(await handler(order)).toBe(result);
      expect(await failureOf(handler(order))).toMatchObject({ code: 'RESULT_UNAVAILABLE' });
    }
    expect(await times()).toBe(2);
  });

  test('is remembered, whatever `remember` says', async () => {
    const handler = bench.guard((op) => op.commit({ result: 'done', writes: [bench.count(item)] }), {
      remember: () => false,
    });
    await handler({ id: bench.id });
    expect(await handler({ id: bench.id })).toBe('done');
    expect(await times()).toBe(1);
  });

  test('follows steps, whose writes it knows', async () => {
    const handler = bench.guard(async (op) => {
      const charge = await op.step('charge', () => 'ch_1');
      return op.commit({ result: { charge }, writes: [bench.count(item)] });
    });
    expect(await handler({ id: bench.id })).toEqual({ charge: 'ch_1' });
    expect(bench.sent()).toEqual(['PutItem 200', 'PutItem 200', 'TransactWriteItems 200']);
  });

  test('is the end after a crash: the next call gets its result', async () => {
    await bench.crash((op) => op.commit({ result: 'by 1', writes: [bench.count(item)] }));
    const again = bench.guard((op) => op.commit({ result: 'by 2', writes: [bench.count(item)] }));
    expect(await again({ id: bench.id })).toBe('by 1');
    expect(await times()).toBe(1);
  });

  test('before which the attempt crashed has had no effect', async () => {
    await bench.crash((op) => op.step('before', () => 1));
    const again = bench.guard((op) => op.commit({ result: 'by 2', writes: [bench.count(item)] }));
    expect(await again({ id: bench.id })).toBe('by 2');
    expect(await times()).toBe(1);
  });

  test('is the answer to every repeat, also when the handler fails after it', async () => {
    const handler = bench.guard(async (op) => {
      await op.commit({ result: 'committed', writes: [bench.count(item)] });
      throw new Error('too late');
    });
    await expect(handler({ id: bench.id })).rejects.toThrow('too late');
    expect(await handler({ id: bench.id })).toBe('committed');
    expect(await times()).toBe(1);
    expect(bench.seen.types()).toEqual(['claim', 'complete', 'replay']);
  });

  test('answers a waiting duplicate at once', async () => {
    const goOn = deferred();
    const committed = deferred();
    const first = bench.guard(async (op) => {
      await op.commit({ result: 'committed', writes: [bench.count(item)] });
      committed.resolve();
      await goOn.promise;
      return 'committed';
    })({ id: bench.id });
    await committed.promise;
    expect(await bench.guard(() => 'not run')({ id: bench.id })).toBe('committed');
    goOn.resolve();
    expect(await first).toBe('committed');
  });

  test('seals its result, and does not seal again to compare', async () => {
    let seals = 0;
    const flip = (bytes: Uint8Array) => bytes.map((byte) => byte ^ 0xff);
    const seal: Seal = {
      seal: (plain) => {
        seals++;
        return flip(plain);
      },
      open: flip,
    };
    const handler = bench.guard((op) => op.commit({ result: 'secret', messages: [mail()] }), {
      store: bench.store({ seal }),
    });
    expect(await handler({ id: bench.id })).toBe('secret');
    expect(seals).toBe(2);
    expect(await handler({ id: bench.id })).toBe('secret');
    const body = (await bench.messages())[0]?.body?.B;
    expect(Buffer.from(flip(body ?? new Uint8Array())).toString()).toBe('{"to":"ann"}');
  });
});

describe('after a commit', () => {
  test('nothing can be begun', async () => {
    const codes: string[] = [];
    const handler = bench.guard(async (op) => {
      const result = await op.commit({ result: 'done' });
      for (const work of [
        () => op.step('late', () => 1),
        () => op.transaction('late', { writes: [bench.count(item)] }),
        () => op.commit({ result: 2 }),
        async () => op.token('late'),
      ]) {
        codes.push((await failureOf(work())).code);
      }
      return result;
    });
    expect(await handler({ id: bench.id })).toBe('done');
    expect(codes).toEqual(Array(4).fill('BAD_STEP'));
  });

  test('another result is an error: its caller would get what no repeat gets', async () => {
    const handler = bench.guard(async (op) => {
      await op.commit({ result: { a: 1 }, writes: [bench.count(item)] });
      return { a: 2 } as unknown;
    });
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({
      code: 'RESULT_DIFFERS',
      effect: 'possible',
    });
    expect(await handler({ id: bench.id })).toEqual({ a: 1 });
    expect(await times()).toBe(1);
  });

  test('nothing at all is another result', async () => {
    const handler = bench.guard(async (op) => {
      await op.commit({ result: { a: 1 } });
    });
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'RESULT_DIFFERS' });
  });

  test('the same result as another object is the same', async () => {
    const at = new Date(1e12);
    const handler = bench.guard(async (op) => {
      await op.commit({ result: { at, list: [1, undefined] } });
      return { at: new Date(1e12), list: [1, undefined] };
    });
    expect(await handler({ id: bench.id })).toEqual({ at, list: [1, undefined] });
  });

  test('a result that is changed by the handler is another one', async () => {
    const handler = bench.guard(async (op) => {
      const result = await op.commit({ result: { list: [1] } });
      result.list.push(2);
      return result;
    });
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'RESULT_DIFFERS' });
  });
});

describe('a commit while something is still running', () => {
  test('is refused: an interrupted step would be repeated by nobody', async () => {
    const slow = deferred<string>();
    const handler = bench.guard(async (op) => {
      const step = op.step('slow', () => slow.promise);
      expect(await failureOf(op.commit({ result: 1, writes: [bench.count(item)] }))).toMatchObject({
        code: 'BAD_STEP',
      });
      slow.resolve('charged');
      return op.commit({ result: await step });
    });
    expect(await handler({ id: bench.id })).toBe('charged');
    expect(await times()).toBeUndefined();
  });

  test('is refused beside another commit', async () => {
    const handler = bench.guard(async (op) => {
      const first = op.commit({ result: 'first', writes: [bench.count(item)] });
      expect(await failureOf(op.commit({ result: 'second', writes: [bench.count(item)] }))).toMatchObject({
        code: 'BAD_STEP',
      });
      return first;
    });
    expect(await handler({ id: bench.id })).toBe('first');
    expect(await times()).toBe(1);
  });

  test('that nobody awaits is waited for before the answer', async () => {
    const handler = bench.guard((op) => {
      void op.commit({ result: 'done', writes: [bench.count(item)] });
      return 'done';
    });
    expect(await handler({ id: bench.id })).toBe('done');
    expect(bench.sent()).toEqual(['PutItem 200', 'TransactWriteItems 200']);
  });
});

describe('messages', () => {
  test('are staged by the commit, exactly those and in their order', async () => {
    const messages = Array.from({ length: 12 }, (_, index) => mail({ body: `number ${index}` }));
    await bench.guard(async (op) => {
      await op.transaction('first', { messages: [mail({ body: 'first' })] });
      return op.commit({ result: 1, messages });
    })({ id: bench.id });
    const staged = await bench.messages();
    expect(staged.map((one) => one.sk?.S?.replace(/^[^#]*/, ''))).toEqual([
      ...messages.map((_, index) => `#outbox#commit#${String(index + 1).padStart(4, '0')}`),
      '#outbox#first#0001',
    ]);
    expect(staged.map((one) => one.body?.S)).toEqual([...messages.map(({ body }) => body), 'first']);
    const keys = ['pk', 'sk', 'destination', 'body', 'groupId', 'deduplicationId', 'expiresAt'];
    expect(Object.keys(staged[0] ?? {}).sort()).toEqual(keys.sort());
    const weekSeconds = bench.clock.now() / 1000 + 7 * 86_400;
    expect(Number(staged[0]?.expiresAt?.N)).toBeGreaterThanOrEqual(weekSeconds);
  });

  test('of a handler that fails before its commit are not there', async () => {
    const handler = bench.guard(async (op) => {
      const work = { result: 1, messages: [mail()] };
      if (op.attempt === 1) throw new Error('failed');
      return op.commit(work);
    });
    await expect(handler({ id: bench.id })).rejects.toThrow('failed');
    expect(await bench.messages()).toEqual([]);
  });

  test('have deduplication ids by name, position and window; the same in every attempt', async () => {
    const ids = async () => (await bench.messages()).map((one) => one.deduplicationId?.S);
    const work = async (op: Operation) => {
      await op.transaction('first', { messages: [mail(), mail()] });
      await op.transaction('second', { messages: [mail()] });
    };
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: down, times: Infinity });
    await failureOf(bench.guard(work)({ id: bench.id }));
    const unsent = bench.transactions()[0]?.body.TransactItems.slice(2);
    bench.proxy.reset();
    await bench.guard(work)({ id: bench.id });
    const first = await ids();
    expect(new Set(first).size).toBe(3);
    expect(unsent.map(({ Put }: any) => Put.Item.deduplicationId.S)).toEqual(first.slice(0, 2));
    bench.clock.advance(86_400_001);
    await bench.guard(work)({ id: bench.id });
    expect(new Set(await ids()).size).toBe(6);
    expect(first.every((one) => /^[0-9a-f]{64}$/.test(one ?? ''))).toBe(true);
  });

  test('may bring their own deduplication id', async () => {
    const messages = [mail({ deduplicationId: 'order-1' })];
    await bench.guard((op) => op.commit({ result: 1, messages }))({ id: bench.id });
    expect((await bench.messages())[0]?.deduplicationId?.S).toBe('order-1');
  });

  for (const [what, message, says] of [
    ['an unknown destination', mail({ destination: 'fax' }), 'none of the destinations mail, ledger'],
    ['a body of 255 KB and a byte', mail({ body: 'x'.repeat(261_121) }), '261121 bytes'],
    ['no body', mail({ body: undefined }), 'has no body'],
    ['a body with a BigInt', mail({ body: { cents: 1n } }), 'JSON cannot carry'],
    ['an empty body', mail({ body: '' }), 'has no body'],
    ['a text with a control character', mail({ body: 'a\u0000b' }), 'the character \\u0000'],
    ['a text with half a surrogate pair', mail({ body: '\ud83d' }), 'the character \\ud83d'],
    ['a group id with a space', mail({ groupId: 'a b' }), 'groupId that is a string of 3 characters;'],
    ['a group id of 129 characters', mail({ groupId: 'x'.repeat(129) }), 'groupId'],
    ['no group id', mail({ groupId: undefined }), 'groupId that is undefined;'],
    [
      'a deduplication id with an umlaut',
      mail({ deduplicationId: 'ä' }),
      'deduplicationId that is a string of 1 characters;',
    ],
    ['no object', 'message', 'Message 1 is a string and not an object'],
  ] as const) {
    test(`with ${what} are refused at the commit, with nothing written`, async () => {
      const handler = bench.guard((op) =>
        op.commit({ result: 1, writes: [bench.count(item)], messages: [mail(), message as never] }),
      );
      const error = await failureOf(handler({ id: bench.id }));
      expect(error).toMatchObject({ code: 'BAD_WRITES', effect: 'possible' });
      expect(error.message).toContain(says);
      expect(bench.transactions()).toEqual([]);
      expect(await times()).toBeUndefined();
    });
  }

  test('need a destination that somebody named', async () => {
    const handler = bench.guard((op) => op.commit({ result: 1, messages: [mail()] }), { destinations: [] });
    const { message } = await failureOf(handler({ id: bench.id }));
    expect(message).toContain('IDEMPOTENCY_DESTINATIONS');
  });

  test('are at hand in a test on the memory store', async () => {
    const store = memoryStore({ clock: bench.clock });
    await bench.guard((op) => op.commit({ result: 1, messages: [mail()] }), { store })({ id: bench.id });
    expect(store.messages).toMatchObject([{ destination: 'mail', body: '{"to":"ann"}', name: 'commit' }]);
  });
});

describe('a commit that is rejected', () => {
  const enough = { ConditionExpression: 'balance >= :one' };
  const charge = (op: Operation) =>
    op.commit({
      result: { statusCode: 201, body: 'charged' },
      writes: [bench.count(`${item}-log`), bench.count(item, enough)],
    });

  test('shows which writes and what they met, and the answer to that is remembered', async () => {
    await bench.write(item, { balance: 0 });
    let runs = 0;
    const handler = bench.guard(async (op) => {
      runs++;
      try {
        return await charge(op);
      } catch (error) {
        const { code, rejections } = error as { code: string; rejections: any[] };
        return { statusCode: 402, body: JSON.stringify([code, rejections]) };
      }
    }, http) as any;
    const first = await handler(httpEvent(bench.id));
    expect(first.statusCode).toBe(402);
    expect(JSON.parse(first.body)).toEqual([
      'COMMIT_REJECTED',
      [
        {
          index: 1,
          code: 'ConditionalCheckFailed',
          item: { pk: item, sk: 'own', balance: 0 },
        },
      ],
    ]);
    expect(await bench.read(`${item}-log`)).toBeUndefined();
    await bench.write(item, { balance: 5 });
    const repeat = await handler(httpEvent(bench.id));
    expect(repeat).toMatchObject({ statusCode: 402, body: first.body });
    expect(repeat.headers).toMatchObject({ 'Idempotent-Replayed': 'true' });
    expect(runs).toBe(1);
  });

  test('and not caught releases: the next attempt may succeed', async () => {
    await bench.write(item, { balance: 0 });
    const handler = bench.guard(charge);
    expect(await failureOf(handler({ id: bench.id }))).toMatchObject({ code: 'COMMIT_REJECTED' });
    expect(bench.seen.types()).toEqual(['claim', 'release']);
    await bench.write(item, { balance: 5 });
    expect(await handler({ id: bench.id })).toMatchObject({ body: 'charged' });
  });

  test('may be followed by another commit', async () => {
    await bench.write(item, { balance: 0 });
    const handler = bench.guard(async (op) => {
      await charge(op).catch(() => {});
      return op.commit({ result: 'declined', writes: [bench.count(`${item}-declined`)] });
    });
    expect(await handler({ id: bench.id })).toBe('declined');
    expect(await handler({ id: bench.id })).toBe('declined');
    expect(await bench.read(item)).toMatchObject({ balance: 0 });
    expect(await bench.read(`${item}-declined`)).toMatchObject({ times: 1 });
    const [first, second] = bench.transactions();
    expect(first?.body.ClientRequestToken).not.toBe(second?.body.ClientRequestToken);
  });
});

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

  test('that a permission is missing is no doubt: nothing was written', async () => {
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
      idempotent(async (_: unknown, context) => work(operation(context)), bench.options<any>(more)),
    'Middy 6': (work: (op: Operation) => unknown, more: object) =>
      middy6()
        .use(idempotent(bench.options<any>(more)))
        .handler(async (_: unknown, context: any) => work(operation(context))),
    'Middy 7': (work: (op: Operation) => unknown, more: object) =>
      middy7()
        .use(idempotent(bench.options<any>(more)))
        .handler(async (_: unknown, context: any) => work(operation(context))),
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
      ) as any;
      const first = handler(event, contextWith(60_000));
      first.catch(() => {});
      await started.promise;
      bench.clock.advance(3_600_000);
      const second = deferred();
      const next = guard(async (op) => {
        await second.promise;
        return op.commit({ result: result(2), writes: [bench.count(item)] });
      }, more) as any;
      const call = next(event, contextWith(60_000));
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
      expect(await overtaken(httpEvent(bench.id), true)).toMatchObject({
        statusCode: 201,
        body: 'by 2',
        headers: { 'Idempotent-Replayed': 'true' },
      });
    });

    test(`(${door}) over HTTP is a 409 while the other runs`, async () => {
      expect(await overtaken(httpEvent(bench.id), false)).toMatchObject({
        statusCode: 409,
        headers: { 'Retry-After': expect.any(String) },
      });
    });
  }
});

describe('a commit over HTTP', () => {
  for (const [version, middy] of Object.entries({ 6: middy6, 7: middy7 })) {
    test(`(Middy ${version}) keeps the final answer, with what other middlewares added`, async () => {
      const handler = (middy as any)()
        .use(idempotent(bench.options<any>(http)))
        .use({
          after: (request: any) => {
            request.response.headers = { ...request.response.headers, 'X-Added': 'yes', Date: 'now' };
          },
        })
        .handler((_: unknown, context: any) =>
          operation(context).commit({
            result: { statusCode: 201, headers: {}, body: 'done' },
            writes: [bench.count(item)],
          }),
        );
      const first = await handler(httpEvent(bench.id), contextWith(60_000));
      const repeat = await handler(httpEvent(bench.id), contextWith(60_000));
      expect(first.headers).toMatchObject({ 'X-Added': 'yes' });
      expect(repeat).toMatchObject({ statusCode: 201, body: 'done', headers: { 'X-Added': 'yes' } });
      expect(bench.sent()).toEqual([
        'PutItem 200',
        'TransactWriteItems 200',
        'UpdateItem 200',
        'PutItem 400',
      ]);
      expect(await times()).toBe(1);
    });
  }

  const committing = (answer: (committed: object) => unknown, more: object = {}) =>
    bench.guard(
      async (op) => {
        const committed = await op.commit({
          result: { statusCode: 201, body: 'committed' },
          writes: [bench.count(item)],
        });
        return answer(committed);
      },
      { ...http, ...more },
    ) as any;

  test('that is answered as committed costs no more than the commit', async () => {
    const handler = committing((committed) => committed);
    await handler(httpEvent(bench.id));
    expect(bench.sent()).toEqual(['PutItem 200', 'TransactWriteItems 200']);
  });

  test('gives a duplicate in between its own answer', async () => {
    const between = deferred<any>();
    const handler = committing(async (committed) => {
      between.resolve(await bench.guard(() => 'not run', http)(httpEvent(bench.id)));
      return { ...committed, headers: { 'X-Late': '1' } };
    });
    await handler(httpEvent(bench.id));
    expect(await between.promise).toMatchObject({ statusCode: 201, body: 'committed' });
    expect((await between.promise).headers).not.toHaveProperty('X-Late');
    expect((await handler(httpEvent(bench.id))).headers).toMatchObject({ 'X-Late': '1' });
  });

  test('is not replaced by an answer that is not to be remembered', async () => {
    const handler = committing(() => ({ statusCode: 503, body: 'overloaded' }));
    expect(await handler(httpEvent(bench.id))).toMatchObject({ statusCode: 503 });
    expect(await handler(httpEvent(bench.id))).toMatchObject({ statusCode: 201, body: 'committed' });
    expect(await times()).toBe(1);
  });

  test('is not replaced by an answer that cannot be kept', async () => {
    const handler = committing((committed) => ({ ...committed, body: () => 'a stream' }));
    await handler(httpEvent(bench.id));
    expect(await handler(httpEvent(bench.id))).toMatchObject({ body: 'committed' });
  });

  test('is what repeats get when the final answer cannot be stored', async () => {
    bench.proxy.inject({ operation: 'UpdateItem', fault: down, times: Infinity });
    const handler = committing((committed) => ({ ...committed, headers: { 'X-Late': '1' } }));
    expect((await handler(httpEvent(bench.id))).headers).toEqual({ 'X-Late': '1' });
    expect(bench.seen.types()).toEqual(['claim', 'unrecorded']);
    expect(await handler(httpEvent(bench.id))).toMatchObject({ statusCode: 201, body: 'committed' });
  });

  test('leaves the window where the commit put it, also in a cache', async () => {
    const handler = committing(
      (committed) => {
        bench.clock.advance(10_000);
        return { ...committed, headers: { 'X-Late': '1' } };
      },
      { ttlSeconds: 100, cache: { maxItems: 10 } },
    );
    await handler(httpEvent(bench.id));
    bench.clock.advance(89_000);
    await handler(httpEvent(bench.id));
    expect(await times()).toBe(1);
    bench.clock.advance(1_001);
    await handler(httpEvent(bench.id));
    expect(await times()).toBe(2);
  });
});

describe('without a record', () => {
  for (const [what, call] of Object.entries({
    'a GET': () => unguarded(http)(httpEvent('k', {}, 'GET')),
    'an event without a key': () => unguarded({ ...http, required: false })(httpEvent(undefined)),
    'a call whose store failed to claim': () => {
      bench.proxy.inject({ operation: 'PutItem', fault: down, times: Infinity });
      return unguarded({ whenStoreFails: 'run' })({ id: bench.id });
    },
  })) {
    test(`${what} commits its writes and messages`, async () => {
      expect(await call()).toBe('done');
      expect(await times()).toBe(1);
      const transaction = bench.transactions()[0];
      expect(transaction?.body.TransactItems).toHaveLength(2);
      const staged = (await bench.table.dump()).filter(({ body }) => body?.S === bench.id);
      expect(staged).toHaveLength(1);
    });
  }

  const unguarded = (more: object) =>
    bench.guard(
      (op) =>
        op.commit({
          result: 'done',
          writes: [bench.count(item)],
          messages: [mail({ body: bench.id })],
        }),
      more,
    ) as any;

  test('a commit of nothing sends nothing', async () => {
    const handler = bench.guard((op) => op.commit({ result: 'done' }), http) as any;
    expect(await handler(httpEvent('k', {}, 'GET'))).toBe('done');
    expect(bench.sent()).toEqual([]);
  });

  test('a rejection, an unknown outcome and bad writes are told as they are', async () => {
    const call = (writes: any[]) =>
      failureOf(
        (bench.guard((op) => op.commit({ result: 1, writes }), http) as any)(httpEvent('k', {}, 'GET')),
      );
    const rejection = await call([bench.count(item, { ConditionExpression: 'attribute_exists(pk)' })]);
    expect(rejection).toMatchObject({ code: 'COMMIT_REJECTED', rejections: [{ index: 0 }] });
    expect(await call([{ Put: {} }])).toMatchObject({ code: 'BAD_WRITES' });
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: down, times: Infinity });
    expect(await call([bench.count(item)])).toMatchObject({ code: 'OUTCOME_UNKNOWN' });
  });

  test('a commit is refused where there is no guard, for there is no store', async () => {
    const handler = eachRecord(async (_record: any, op) => {
      await op.commit({ result: 1, writes: [bench.count(item)] });
    });
    const answer = await handler({ Records: [sqsRecord('m1')] } as any, contextWith(60_000));
    expect(answer).toEqual({ batchItemFailures: [{ itemIdentifier: 'm1' }] });
  });
});

const sqsRecord = (messageId: string, body = messageId) => ({
  ...{ messageId, body, eventSource: 'aws:sqs', eventSourceARN: 'arn:aws:sqs:eu-west-1:1:orders' },
  ...{ receiptHandle: 'r', attributes: {}, messageAttributes: {}, md5OfBody: '', awsRegion: 'eu-west-1' },
});

describe('a commit for each record of a batch', () => {
  test('is applied once, over redeliveries and beside failures', async () => {
    let fails = true;
    const handler = idempotent(
      eachRecord(async (record: any, op) => {
        if (record.body === 'm2' && fails) throw new Error('failed');
        await op.commit({
          result: undefined,
          writes: [bench.count(`${item}-${record.body}`)],
          messages: [mail({ body: record.body })],
        });
      }),
      { ...bench.options<any>(), key: undefined as never },
    ) as any;
    const event = { Records: [sqsRecord('m1'), sqsRecord('m2'), sqsRecord('m3')] };
    expect(await handler(event, contextWith(60_000))).toEqual({
      batchItemFailures: [{ itemIdentifier: 'm2' }],
    });
    fails = false;
    expect(await handler(event, contextWith(60_000))).toEqual({ batchItemFailures: [] });
    for (const body of ['m1', 'm2', 'm3']) {
      expect(await bench.read(`${item}-${body}`)).toMatchObject({ times: 1 });
    }
  });

  test('may return what it likes: nobody waits for an answer', async () => {
    const handler = idempotent(
      eachRecord(async (_record: any, op) => {
        await op.commit({ result: 'committed', writes: [bench.count(item)] });
        return 'something else' as never;
      }),
      { ...bench.options<any>(), key: undefined as never },
    ) as any;
    const event = { Records: [sqsRecord(bench.id)] };
    expect(await handler(event, contextWith(60_000))).toEqual({ batchItemFailures: [] });
    expect(bench.sent()).toEqual(['PutItem 200', 'TransactWriteItems 200']);
  });
});
