import { beforeEach, describe, expect, test } from 'vitest';
import type { Operation, Seal } from '../../lib/index.ts';
import { deferred, incompressible } from '../support/hands.ts';
import type { HttpCall } from '../support/http-events.ts';
import { paymentEvent } from '../support/http-events.ts';
import { failureOf, workbench } from '../support/work.ts';

const bench = workbench();
/** A handler's own item, of this test only. */
let item: string;
beforeEach(() => {
  item = `item-${bench.id}`;
});

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

describe('after a commit,', () => {
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
        const { code, rejections } = error as { code: string; rejections: unknown[] };
        return { statusCode: 402, body: JSON.stringify([code, rejections]) };
      }
    }, http) as HttpCall;
    const first = await handler(paymentEvent({ key: bench.id }));
    expect(first.statusCode).toBe(402);
    expect(JSON.parse(first.body ?? '')).toEqual([
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
    const repeat = await handler(paymentEvent({ key: bench.id }));
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
