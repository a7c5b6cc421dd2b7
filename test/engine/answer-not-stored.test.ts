import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { dynamoStore, idempotent, operation } from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { memoryStore } from '../../lib/testing.ts';
import { createTable } from '../support/dynamodb.ts';
import { incompressible } from '../support/hands.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';

class Money {
  readonly cents = 4_111;
  toJSON() {
    return '41.11';
  }
}

let warnings: string[];
beforeEach(() => {
  warnings = [];
  vi.spyOn(console, 'warn').mockImplementation((text: string) => void warnings.push(text));
});
afterEach(() => vi.restoreAllMocks());

const refusalOf = async (call: () => Promise<unknown>): Promise<Error & { code: string }> => {
  const outcome = await call().catch((error: unknown) => ({ error }));
  return (outcome as { error: Error & { code: string } }).error;
};

describe('an answer that cannot be stored', () => {
  const paths: readonly [what: string, answer: unknown, path: string][] = [
    ['a class instance', { total: new Money() }, '$.total is a Money'],
    [
      'an instance in a list',
      { orders: [{ total: 1 }, { total: new Money() }] },
      '$.orders[1].total is a Money',
    ],
    ['a function', { id: 1, close: () => {} }, '$.close is a function'],
    ['a symbol', [Symbol('s')], '$[0] is a symbol'],
    ['a promise that was not awaited', { user: Promise.resolve(1) }, '$.user is a promise'],
    ['an error', { cause: new RangeError('secret') }, '$.cause is a RangeError'],
    ['a value in a Map', { rates: new Map([['secret', new Money()]]) }, '$.rates.get(…) is a Money'],
    ['a key of a Map', { rates: new Map([[new Money(), 1]]) }, '$.rates.keys() is a Money'],
    ['a member of a Set', { tags: new Set([() => {}]) }, '$.tags.values() is a function'],
    ['a member of a free name', { 'ann@example.com': { total: new Money() } }, '$[…].total is a Money'],
    [
      'a getter that throws',
      {
        get total() {
          throw new Error('secret');
        },
      },
      '$.total is a getter that throws',
    ],
    [
      'a member named by a symbol',
      { order: { [Symbol('s')]: 1 } },
      '$.order has a member that is named by a symbol',
    ],
    ['an own toJSON', { order: { toJSON: () => 'secret' } }, '$.order has a function toJSON'],
    ['a class of its own around an array', { rows: class Rows extends Array {}.of(1) }, '$.rows is a Rows'],
    ['an anonymous class', new (class {})(), '$ is an instance of a class'],
  ];

  it.each(paths)('is told on the first call with its path: %s', async (_, answer, path) => {
    const call = idempotent(async (_event: unknown) => answer, { store: memoryStore(), key: () => 'k' });
    expect(await call({})).toBe(answer);
    expect(warnings).toEqual([
      `[idemkit] A handler's answer could not be stored: it could not be serialised (${path}: return plain data). Repeats get RESULT_UNAVAILABLE.`,
    ]);
    const refusal = await refusalOf(() => call({}));
    expect(refusal).toMatchObject({ code: 'RESULT_UNAVAILABLE' });
    expect(refusal.message).toContain(`(${path}: return plain data)`);
    expect(refusal.message + warnings).not.toMatch(/secret|4.?111|ann@/);
  });

  it('is told once a guard', async () => {
    const store = memoryStore();
    const answer = async (_event: { id: string }) => new Money();
    const call = idempotent(answer, { store, key: (event: { id: string }) => event.id, namespace: 'first' });
    for (const id of ['a', 'b', 'a']) await call({ id }).catch(() => {});
    expect(warnings).toHaveLength(1);
    const other = idempotent(answer, {
      store,
      key: (event: { id: string }) => event.id,
      namespace: 'second',
    });
    await other({ id: 'a' });
    expect(warnings).toHaveLength(2);
  });

  it('is told with its size where it is too large', async () => {
    const store: Store = { ...memoryStore(), maxAnswerBytes: 1_000 };
    const call = idempotent(async (_event: unknown) => incompressible(2_000), { store, key: () => 'k' });
    await call({});
    expect(warnings[0]).toMatch(
      /too large to store \(\d{4} bytes as stored, and 1000 is the most: keep it elsewhere/,
    );
    expect((await refusalOf(() => call({}))).message).toMatch(
      /\(\d{4} bytes as stored, and 1000 is the most: /,
    );
  });

  it('is told where commit is to store it', async () => {
    const call = idempotent(
      async (_event: unknown, context) => operation(context).commit({ result: { total: new Money() } }),
      { store: memoryStore(), key: () => 'k' },
    );
    await call({});
    expect(warnings).toEqual([expect.stringContaining('($.total is a Money: return plain data)')]);
    expect((await refusalOf(() => call({}))).message).toContain('$.total is a Money');
  });

  it('is no news where it is not to be remembered', async () => {
    const options = { store: memoryStore(), key: () => 'k', remember: () => false };
    const call = idempotent(async (_event: unknown) => new Money(), options);
    await call({});
    await call({});
    expect(warnings).toEqual([]);
  });

  it('says so over HTTP as well', async () => {
    const answer = { statusCode: 200, headers: { etag: Symbol('s') } };
    const call = idempotent(async () => answer, { store: memoryStore() });
    await call(paymentEvent({ key: 'key-1' }));
    const { statusCode, body } = (await call(paymentEvent({ key: 'key-1' }))) as unknown as {
      statusCode: number;
      body: string;
    };
    expect(statusCode).toBe(410);
    expect(JSON.parse(body).detail).toContain('($.headers.etag is a symbol: return plain data)');
  });

  it('keeps its path in the table, for whoever repeats it in another process', async () => {
    const table = await createTable();
    const guarded = () =>
      idempotent(async (_event: unknown) => ({ total: new Money() }), {
        store: dynamoStore(table.store),
        key: () => 'k',
        namespace: 'orders',
      });
    await guarded()({});
    const refusal = await refusalOf(() => guarded()({}));
    expect(refusal).toMatchObject({ code: 'RESULT_UNAVAILABLE' });
    expect(refusal.message).toContain('($.total is a Money: return plain data)');
    expect(JSON.stringify(await table.dump())).toContain('$.total is a Money');
  });

  it('has a path of bounded length', async () => {
    let answer: object = { leaf: () => {} };
    for (let depth = 0; depth < 200; depth++) answer = { [`level${depth}`]: answer };
    const call = idempotent(async (_event: unknown) => answer, { store: memoryStore(), key: () => 'k' });
    await call({});
    expect(warnings[0]?.length).toBeLessThan(600);
    expect(warnings[0]).toContain('.leaf is a function');
  });
});

describe('a value of a step that cannot be stored', () => {
  it('is told on the first call, and to the attempt that misses it', async () => {
    const store = memoryStore();
    let attempts = 0;
    const call = idempotent(
      async (_event: unknown, context) => {
        await operation(context).step('charge-secret', () => ({ total: new Money() }));
        if (++attempts === 1) throw new Error('crash');
      },
      { store, key: () => 'k' },
    );
    await expect(call({}, lambdaContext(30_000))).rejects.toThrow('crash');
    expect(warnings).toEqual([
      "[idemkit] A step's value could not be stored: it could not be serialised ($.total is a Money: return plain data). Repeats get RESULT_UNAVAILABLE.",
    ]);
    const refusal = await refusalOf(() => call({}, lambdaContext(30_000)));
    expect(refusal).toMatchObject({ code: 'RESULT_UNAVAILABLE', effect: 'possible' });
    expect(refusal.message).toContain('($.total is a Money: return plain data)');
  });
});
