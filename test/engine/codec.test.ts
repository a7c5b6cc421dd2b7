import { Buffer } from 'node:buffer';
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { inspect } from 'node:util';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { type IdempotentOptions, idempotent, type Seal } from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { incompressible, observer } from '../support/hands.ts';
import { recordingStore } from '../support/recording-store.ts';

/** A handler that answers `value`, guarded; every call is a repeat of the first. */
function answering<T>(value: T, options: IdempotentOptions<unknown> = {}) {
  const handler = vi.fn(async (_event: unknown) => value);
  return { handler, call: idempotent(handler, { store: recordingStore(), key: () => 'k', ...options }) };
}

async function replayOf<T>(value: T): Promise<T> {
  const { handler, call } = answering(value);
  await call({});
  const repeated = await call({});
  expect(handler).toHaveBeenCalledTimes(1);
  return repeated as T;
}

async function storedBytes(value: unknown): Promise<Buffer> {
  const store = recordingStore();
  await answering(value, { store }).call({});
  return store.answerBytes();
}

describe('a replayed answer', () => {
  const anything = fc.anything({
    withBigInt: true,
    withDate: true,
    withMap: true,
    withSet: true,
    withTypedArray: true,
    withSparseArray: true,
    withNullPrototype: true,
    withBoxedValues: true,
    withUnicodeString: true,
  });

  it('equals the first one, for any JSON', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue({ noUnicodeString: false }), async (value) => {
        expect(await replayOf(value)).toStrictEqual(value);
      }),
      { numRuns: 300 },
    );
  });

  it('equals the first one, for any data that JavaScript has', async () => {
    await fc.assert(
      fc.asyncProperty(anything, async (value) => {
        expect(await replayOf(value)).toStrictEqual(value);
      }),
      { numRuns: 500 },
    );
  });

  it.each<[string, unknown]>([
    ['undefined', undefined],
    ['null', null],
    ['NaN', Number.NaN],
    ['minus zero', -0],
    ['minus infinity', Number.NEGATIVE_INFINITY],
    ['an integer of any size', 2n ** 70n],
    ['an empty text', ''],
    ['a lone surrogate', '\ud800'],
    ['a lone surrogate next to a date', ['a\udfffb', new Date(0)]],
    ['separators and markup', ['\u2028</script>', new Date(0)]],
    ['an undefined member', { a: undefined, b: 1 }],
    ['a date', { at: new Date(1_700_000_000_123) }],
    ['an invalid date', new Date(Number.NaN)],
    ['a map', new Map<unknown, unknown>([[{ a: 1 }, new Set([1, '1', 1n])]])],
    ['a sparse array', Object.assign(new Array(5), { 1: undefined, 3: 'x' })],
    ['a very sparse array', Object.assign(new Array(1_000_000), { 999998: 'x' })],
    ['an object without prototype', Object.assign(Object.create(null), { a: 1 })],
    ['a member named __proto__', JSON.parse('{"__proto__":{"polluted":true},"b":[{"__proto__":1}]}')],
    ['members named like methods', { constructor: 1, toString: 2, hasOwnProperty: 3, toJSON: 4 }],
    ['arrays that look like tags', [['Date', '1970'], ['Buffer', 0], [-1], ['BigInt', '1'], 1n]],
    ['bytes', new Uint8Array([0, 255, 128])],
    ['no bytes', new Uint8Array()],
    ['floats', new Float64Array([Number.NaN, -0, 1e300])],
    ['big integers in an array', new BigInt64Array([-1n, 2n ** 62n])],
    ['a buffer', Buffer.from([0, 255, 128])],
    ['an empty buffer', Buffer.alloc(0)],
    ['buffers among data', { files: new Map([['a', Buffer.from('é')]]), last: Buffer.from('x') }],
    ['an array buffer', new Uint8Array([1, 2]).buffer],
    ['a view of data', new DataView(new Uint8Array([1, 2, 3]).buffer)],
    ['JSON nested deeply', nested(500)],
  ])('equals the first one: %s', async (_, value) => {
    expect(await replayOf(value)).toStrictEqual(value);
  });

  it('is a Buffer where the first one was', async () => {
    const buffer = Buffer.from('größer');
    const repeated = await replayOf({ buffer });
    expect(Buffer.isBuffer(repeated.buffer)).toBe(true);
    expect(repeated.buffer.toString()).toBe('größer');
  });

  it('has the cycles and shared references of the first one', async () => {
    interface Node {
      readonly children: Node[];
      parent?: Node;
      readonly created: Date;
    }
    const root: Node = { children: [], created: new Date(1) };
    root.children.push({ children: [], parent: root, created: root.created });
    const repeated = await replayOf(root);
    expect(repeated.children[0]?.parent).toBe(repeated);
    expect(repeated.children[0]?.created).toBe(repeated.created);
    expect(repeated).not.toBe(root);
  });

  it('holds a plain object once that the first one held in two places', async () => {
    const line = { sku: 'a' };
    const repeated = await replayOf({ first: line, last: line });
    expect(repeated.last).toBe(repeated.first);
  });

  it('is not slowed down by references that are shared many times over', async () => {
    let shared: unknown = { leaf: true };
    for (let level = 0; level < 60; level++) shared = [shared, shared];
    const repeated = (await replayOf(shared)) as unknown[][];
    expect(repeated[0]).toBe(repeated[1]);
  });

  it('does not pollute prototypes', async () => {
    await replayOf(JSON.parse('{"__proto__":{"polluted":true}}'));
    expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
  });

  it('holds the window of a larger buffer, and no byte around it', async () => {
    const around = Buffer.from('secret-before|seen|secret-after');
    const views = [
      around.subarray(14, 18),
      new Uint8Array(around.buffer, around.byteOffset + 14, 4),
      new DataView(around.buffer, around.byteOffset + 14, 4),
    ];
    for (const view of views) {
      const repeated = await replayOf({ view, more: new Date(0) });
      expect(repeated.view).toStrictEqual(view);
      const stored = (await storedBytes({ view, more: new Date(0) })).toString('latin1');
      expect(stored).toContain(Buffer.from('seen').toString('base64'));
      expect(stored.length).toBeLessThan(200);
    }
  });
});

describe('an answer is a copy', () => {
  it('of its own for every caller', async () => {
    for (const more of [{}, { at: new Date(0) }]) {
      const kept = { list: [1], ...more };
      const { call } = answering(kept);

      const first = await call({});
      first.list.push(2);
      kept.list.push(3);
      const second = await call({});
      expect(second).toStrictEqual({ list: [1], ...more });
      second.list.push(4);
      expect(await call({})).toStrictEqual({ list: [1], ...more });
    }
  });

  it('of what the handler returned, not of what it changed later', async () => {
    const bytes = new Uint8Array([1, 2, 3]);
    const { call } = answering(bytes);
    await call({});
    bytes.fill(0);
    expect(await call({})).toStrictEqual(new Uint8Array([1, 2, 3]));
  });
});

describe('a stored answer', () => {
  it('is compressed where that saves write units', async () => {
    const order = {
      id: 'order-1',
      items: Array.from({ length: 150 }, (_, id) => ({ id, name: `Item ${id}`, price: 9.99 })),
    };
    expect(JSON.stringify(order).length).toBeGreaterThan(6_000);
    expect((await storedBytes(order)).length).toBeLessThan(1_500);
    expect(await replayOf(order)).toStrictEqual(order);

    const dated = { ...order, at: new Date(0) };
    expect((await storedBytes(dated)).length).toBeLessThan(3_000);
    expect(await replayOf(dated)).toStrictEqual(dated);
  });

  it('is left as it is where compression saves nothing', async () => {
    const small = { text: 'a'.repeat(300) };
    expect((await storedBytes(small)).toString()).toContain(JSON.stringify(small));

    // It shrinks by a fifth, and takes two write units either way.
    const dense = { text: incompressible(1_500) };
    expect((await storedBytes(dense)).toString()).toContain(JSON.stringify(dense));

    const random = randomBytes(6_000).toString('base64');
    expect((await storedBytes(random)).length).toBeLessThanOrEqual(random.length + 3);
  });

  it('never takes more write units than its JSON does', async () => {
    const units = (bytes: number) => Math.ceil((bytes + 400) / 1_024);
    const sizes = fc.record({ dense: fc.nat({ max: 3_000 }), loose: fc.nat({ max: 3_000 }) });
    await fc.assert(
      fc.asyncProperty(sizes, async ({ dense, loose }) => {
        const value = [incompressible(dense), ' '.repeat(loose)];
        const stored = await storedBytes(value);
        expect(units(stored.length)).toBeLessThanOrEqual(units(Buffer.byteLength(JSON.stringify(value)) + 1));
        expect(await replayOf(value)).toStrictEqual(value);
      }),
    );
  });
});

describe('a seal', () => {
  it('keeps answers from being read in the store, and lets them be replayed', async () => {
    const store = recordingStore({ seal: aesSeal() });
    const { call, handler } = answering({ card: '4111-1111', at: new Date(0) }, { store });

    await call({});
    expect((await store.answerBytes()).toString('latin1')).not.toContain('4111');
    expect(await call({})).toStrictEqual({ card: '4111-1111', at: new Date(0) });
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('is given the compressed answer', async () => {
    const sealed: number[] = [];
    const store = recordingStore({
      seal: {
        seal: (plain) => {
          sealed.push(plain.length);
          return plain;
        },
        open: (bytes) => bytes,
      },
    });
    await answering('a'.repeat(50_000), { store }).call({});
    expect(sealed).toEqual([expect.any(Number)]);
    expect(sealed[0]).toBeLessThan(1_000);
  });

  it('binds an answer to its operation', async () => {
    const store = recordingStore({ seal: aesSeal() });
    const handler = vi.fn(async (event: { id: string }) => `the secret of ${event.id}`);
    const options = { store, key: (event: { id: string }) => event.id };
    const call = idempotent(handler, options);
    await call({ id: 'a' });
    await call({ id: 'b' });

    const [a, b] = await store.records();
    const swapped: Store = {
      ...store,
      claim: async (claim) => {
        const written = await store.claim(claim);
        if (written.outcome !== 'stopped' || written.found === undefined) return written;
        return {
          outcome: 'stopped',
          found: { ...written.found, answer: (claim.pk === a?.pk ? b : a)?.answer },
        };
      },
    };
    const error: unknown = await idempotent(handler, { ...options, store: swapped })({ id: 'a' }).catch(
      (reason: unknown) => reason,
    );
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(inspect(error, { depth: 10 })).not.toContain('the secret');
    expect(handler).toHaveBeenCalledTimes(2);
  });

  it('is told the partition key of the operation, both ways', async () => {
    const contexts: unknown[] = [];
    const store = recordingStore({
      seal: {
        seal: (plain, context) => {
          contexts.push(context);
          return plain;
        },
        open: async (sealed, context) => {
          contexts.push(context);
          return sealed;
        },
      },
    });
    const { call } = answering('a', { store });
    await call({});
    await call({});
    const [operation] = store.operations;
    expect(contexts).toEqual([{ operation }, { operation }]);
  });

  it('that fails leaves the operation completed without its answer', async () => {
    const { seen, observe } = observer();
    const store = recordingStore({
      seal: { seal: () => Promise.reject(new Error('no such key')), open: (bytes) => bytes },
    });
    const { call, handler } = answering({ card: '4111-1111' }, { store, observe });

    expect(await call({})).toEqual({ card: '4111-1111' });
    await expect(call({})).rejects.toMatchObject({
      code: 'RESULT_UNAVAILABLE',
      message: expect.stringContaining('it could not be encrypted'),
    });
    expect(handler).toHaveBeenCalledTimes(1);
    expect(seen).toContainEqual(
      expect.objectContaining({
        type: 'complete',
        unavailable: 'not-sealed',
        cause: new Error('no such key'),
      }),
    );
  });

  it('that cannot be opened now may be tried again', async () => {
    let isOpen = false;
    const store = recordingStore({
      seal: {
        seal: (plain) => plain,
        open: (sealed) => {
          if (!isOpen) throw new Error('throttled');
          return sealed;
        },
      },
    });
    const { call, handler } = answering('done', { store, whenStoreFails: 'run' });

    await call({});
    await expect(call({})).rejects.toMatchObject({
      code: 'STORE_UNAVAILABLE',
      retryAfterSeconds: expect.any(Number),
      cause: new Error('throttled'),
    });
    isOpen = true;
    expect(await call({})).toBe('done');
    expect(handler).toHaveBeenCalledTimes(1);
  });
});

describe('an answer that cannot be stored', () => {
  class Money {
    readonly amount = 5;
  }
  it.each<[string, () => unknown]>([
    ['a function', () => () => 'secret'],
    ['a member that is a function', () => ({ id: 'secret', close: () => {} })],
    ['a symbol', () => Symbol('secret')],
    ['a member that is named by a symbol', () => ({ [Symbol('s')]: 'secret' })],
    ['an instance', () => ({ total: new Money() })],
    ['a promise in it', () => ({ id: 'secret', later: Promise.resolve(1) })],
    ['a readable stream', () => Readable.from(['secret'])],
    ['a web stream', () => new ReadableStream()],
    ['an error', () => new Error('secret')],
    ['a generator', () => (function* () {})()],
    [
      'a getter that throws',
      () => ({
        get total() {
          throw new Error('not now');
        },
      }),
    ],
  ])('reaches the first caller and is never made again: %s', async (_, make) => {
    const { seen, observe } = observer();
    const answer = make();
    const { call, handler } = answering(answer, { observe });

    expect(await call({})).toBe(answer);
    await expect(call({})).rejects.toMatchObject({
      code: 'RESULT_UNAVAILABLE',
      effect: 'none',
      message: expect.stringMatching(
        /^The operation was completed and is not done again, but its answer is not available: it could not be serialised \(\$.*: return plain data\)\.$/,
      ),
      record: { status: 'COMPLETED', attempt: 1 },
    });
    expect(handler).toHaveBeenCalledTimes(1);
    const completed = seen.filter(({ type }) => type === 'complete');
    expect(completed).toEqual([expect.objectContaining({ unavailable: 'unserialisable', answerBytes: 0 })]);
  });

  it('tells the observer why, without the answer', async () => {
    const { seen, observe } = observer();
    await answering({ card: '4111-1111', list: [{ close: () => {} }] }, { observe }).call({});
    const completed = seen.find(({ type }) => type === 'complete');
    expect(completed).toMatchObject({ cause: expect.any(Error) });
    expect(inspect(completed, { depth: 10, showHidden: true })).not.toContain('4111');
  });

  it('is one that is larger than the store takes', async () => {
    const { seen, observe } = observer();
    const store = recordingStore({ maxAnswerBytes: 1_000 });
    const { call, handler } = answering(incompressible(1_500), { store, observe });

    expect(await call({})).toBe(incompressible(1_500));
    await expect(call({})).rejects.toMatchObject({
      code: 'RESULT_UNAVAILABLE',
      message: expect.stringContaining('it was too large to store'),
    });
    expect(handler).toHaveBeenCalledTimes(1);
    expect(seen).toContainEqual(
      expect.objectContaining({ type: 'complete', unavailable: 'too-large', answerBytes: 0 }),
    );
  });

  it('is judged by its size as stored: compressed, and sealed', async () => {
    const plain = recordingStore({ maxAnswerBytes: 1_000 });
    const { call } = answering('a'.repeat(50_000), { store: plain });
    await call({});
    expect(await call({})).toBe('a'.repeat(50_000));

    const bulky = recordingStore({
      maxAnswerBytes: 1_000,
      seal: { seal: (bytes) => Buffer.concat([bytes, Buffer.alloc(1_000)]), open: (bytes) => bytes },
    });
    const sealed = answering('small', { store: bulky });
    await sealed.call({});
    await expect(sealed.call({})).rejects.toMatchObject({ code: 'RESULT_UNAVAILABLE' });
  });
});

describe('an answer that cannot be read back', () => {
  const long = { text: 'a'.repeat(20_000) };
  it.each<[string, (bytes: Buffer) => Uint8Array]>([
    ['is empty', () => Buffer.alloc(0)],
    ['is cut', (bytes) => bytes.subarray(0, bytes.length - 2)],
    ['has lost its beginning', (bytes) => bytes.subarray(1)],
    [
      'is of a format that is not known yet',
      (bytes) => Buffer.from([(bytes[0] ?? 0) | 8, ...bytes.subarray(1)]),
    ],
    [
      'has a byte too many',
      (bytes) => Buffer.concat([bytes.subarray(0, 1), Buffer.from('x'), bytes.subarray(1)]),
    ],
    ['is noise', (bytes) => randomBytes(bytes.length).fill(3, 0, 1)],
  ])('is refused where it %s', async (_, damage) => {
    for (const value of ['4111-1111', { card: '4111-1111' }, { card: '4111-1111', at: new Date(0) }, long]) {
      const store = recordingStore();
      const { handler, call } = answering(value, { store });
      await call({});
      const damaged: Store = {
        ...store,
        claim: async (claim) => {
          const written = await store.claim(claim);
          if (written.outcome !== 'stopped' || written.found === undefined) return written;
          const bytes = damage(await store.answerBytes());
          return { outcome: 'stopped', found: { ...written.found, answer: { kind: 'inline', bytes } } };
        },
      };

      const repeat = answering(value, { store: damaged, namespace: 'memory' });
      const error: unknown = await repeat.call({}).catch((reason: unknown) => reason);
      expect(error).toMatchObject({
        code: 'RESULT_UNAVAILABLE',
        message: expect.stringContaining('it cannot be read back'),
      });
      expect(inspect(error, { depth: 10 })).not.toContain('4111');
      expect(handler).toHaveBeenCalledTimes(1);
      expect(repeat.handler).not.toHaveBeenCalled();
    }
  });
});

function aesSeal(): Seal {
  const key = randomBytes(32);
  return {
    seal(plain, { operation }) {
      const iv = randomBytes(12);
      const cipher = createCipheriv('aes-256-gcm', key, iv).setAAD(Buffer.from(operation));
      return Buffer.concat([iv, cipher.update(plain), cipher.final(), cipher.getAuthTag()]);
    },
    open(sealed, { operation }) {
      const decipher = createDecipheriv('aes-256-gcm', key, sealed.subarray(0, 12))
        .setAAD(Buffer.from(operation))
        .setAuthTag(sealed.subarray(-16));
      return Buffer.concat([decipher.update(sealed.subarray(12, -16)), decipher.final()]);
    },
  };
}

function nested(depth: number): unknown {
  let value: unknown = 'core';
  for (let level = 0; level < depth; level++) value = level % 2 ? [value] : { value };
  return value;
}
