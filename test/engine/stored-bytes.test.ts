import { Buffer } from 'node:buffer';
import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import { decode, encode } from '../../lib/engine/codec.ts';

const options = { operation: 'orders#1', maxBytes: 1_000_000 };

async function encoded(value: unknown): Promise<Uint8Array> {
  const made = await encode(value, options);
  if (made.kind !== 'bytes') throw new Error(`It is not stored: ${made.reason} ${made.detail}`);
  return made.bytes;
}

const decoded = async (bytes: Uint8Array): Promise<unknown> => decode(bytes, options);
const tagged = (table: unknown): Uint8Array =>
  Buffer.from(`\u0004${typeof table === 'string' ? table : JSON.stringify(table)}`);

/** What decoding makes of `bytes`: an error tells its kind, and nothing of what was read. */
async function outcome(bytes: Uint8Array): Promise<unknown> {
  try {
    return await decoded(bytes);
  } catch (error) {
    expect((error as Error).message).toMatch(/^(?:Unknown format|The bytes do not decode \(\w+\))\.$/);
    return error;
  }
}

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

describe('stored bytes', () => {
  const names = Object.getOwnPropertyNames(Object.prototype);
  afterEach(() => expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(names));

  it('are plain JSON behind one byte for what JSON can hold', async () => {
    await fc.assert(
      fc.asyncProperty(fc.json({ noUnicodeString: false }), async (text) => {
        fc.pre(Buffer.byteLength(text) < 600 && !text.includes('-0'));
        const value: unknown = JSON.parse(text);
        expect(Buffer.from(await encoded(value)).toString()).toBe(`\0${JSON.stringify(value)}`);
      }),
    );
  });

  it('are made and read at once where there is no seal', () => {
    for (const value of [{ a: 1 }, { a: 1n }, 'a'.repeat(5_000), () => 1]) {
      expect(encode(value, options)).not.toBeInstanceOf(Promise);
    }
    const { bytes } = encode({ at: new Date(0) }, options) as { bytes: Uint8Array };
    expect(decode(bytes, options)).toStrictEqual({ at: new Date(0) });
  });

  it('are shown to seal in memory of their own, which holds nothing else', async () => {
    for (const value of [{ a: 1 }, { a: 1n }, 'a'.repeat(5_000)]) {
      const shown: Uint8Array[] = [];
      const seal = {
        seal: async (plain: Uint8Array) => {
          shown.push(plain);
          return plain;
        },
        open: async (bytes: Uint8Array) => bytes,
      };
      await encode(value, { ...options, seal });
      expect(shown.map(({ buffer }) => buffer.byteLength)).toEqual(shown.map(({ byteLength }) => byteLength));
      expect(shown).toHaveLength(1);
    }
  });

  it.each<[string, unknown]>([
    ['numbers as objects', [Object(1), Object(-0), Object('a'), Object(true), Object(2n)]],
    ['an address', new URL('https://example.com/a?b=c#d')],
    ['parameters of an address', new URLSearchParams('a=1&a=2')],
    ['a pattern', /a"b\/(?<c>.)/giu],
    ['integers of any size', [-(2n ** 200n), -1n, 0n, 255n, 10n ** 300n]],
    ['every kind of numbers', [new Int8Array([-1]), new Uint8ClampedArray([255]), new Float32Array([0.5])]],
    ['members named __proto__ beside a date', [JSON.parse('{"__proto__":{"a":1},"b":2}'), new Date(0)]],
    ['__proto__ without a prototype', Object.assign(Object.create(null), JSON.parse('{"__proto__":1}'))],
    ['an array with members', Object.assign(new Array(3), { 1: 'a', total: new Date(0) })],
    ['a long array without items', new Array(2 ** 32 - 1)],
    ['an empty array with a member', Object.assign([], { a: 1 })],
    ['places that look like tags', [['n', 'ff'], ['-0'], ['undefined'], [1], [[1]], { n: [1] }, 1n]],
    ['maps in maps', new Map([[new Map([[1, undefined]]), new Set([new Set([[]])])]])],
  ])('give back %s', async (_, value) => {
    const back = await decoded(await encoded(value));
    expect(back).toStrictEqual(value);
    expect(Object.getPrototypeOf(back)).toBe(Object.getPrototypeOf(value));
  });

  it('keep what is one object one object, in every kind that holds others', async () => {
    const shared = { at: new Date(0) };
    const whole: unknown[] = [
      shared,
      new Map([[shared, new Set([shared])]]),
      Object.assign([shared], { shared }),
    ];
    whole.push(whole);
    const [first, map, list, self] = (await decoded(await encoded(whole))) as [
      object,
      Map<object, Set<object>>,
      object[] & { shared: object },
      unknown,
    ];
    expect(first).toEqual(shared);
    expect([...map.keys()]).toEqual([first]);
    expect([...map.keys()][0]).toBe(first);
    expect(map.get(first)?.has(first)).toBe(true);
    expect(list[0]).toBe(first);
    expect(list.shared).toBe(first);
    expect((self as unknown[])[0]).toBe(first);
  });

  it('keep an array with members that leads back to itself', async () => {
    const inner: unknown[] & { up?: unknown } = [1];
    const knot = Object.assign([inner], { first: inner });
    inner.up = knot;
    const back = (await decoded(await encoded(knot))) as typeof knot;
    expect(back).toStrictEqual(knot);
    expect(back.first).toBe(back[0]);
    expect(back[0]?.up).toBe(back);
  });

  it('are read at any depth without a deep stack', async () => {
    const depth = 200_000;
    const table: unknown[] = [[1]];
    for (let number = 1; number < depth; number++) table.push([[[number + 1]]]);
    table.push(['Map', 'end', ['n', '1']]);
    let value = await decoded(tagged(table));
    for (let level = 1; level < depth; level++) [value] = value as unknown[];
    expect(value).toEqual(new Map([['end', 1n]]));
  });

  it('keep a value that is nested deeper than JSON could be written', async () => {
    const depth = 100_000;
    let value: unknown = 1n;
    for (let level = 0; level < depth; level++) value = [value];
    let back = await decoded(await encoded(value));
    for (let level = 0; level < depth; level++) [back] = back as unknown[];
    expect(back).toBe(1n);
  });

  it('of a value whose deepest part cannot be stored are told with a short place', async () => {
    let value: unknown = () => {};
    for (let level = 0; level < 100_000; level++) value = [value];
    const { detail } = (await encode(value, options)) as { readonly detail: string };
    expect(detail).toMatch(/^\$\[0\].*…\[0\].*\[0\] is a function$/);
    expect(detail.length).toBeLessThanOrEqual(300);
  });

  it.each<[string, unknown]>([
    ['an object that is not there', [[3]]],
    ['the place of the value itself', [[0]]],
    ['a part of an object', [[1.5], {}]],
    ['a name where a number stands', [['length'], {}]],
    ['an empty place', [[]]],
    ['an object in a place', [{}, {}]],
    ['a nested place', [[[1]], {}]],
    ['a word that is no number', [['0x1']]],
    ['digits that are none', [['n', '1_0']]],
    ['digits that are missing', [['n']]],
    ['an unknown kind', [[1], ['Function', 'return 1']]],
    ['a kind by a name of every object', [[1], ['constructor', 'return 1']]],
    ['a kind that is the prototype', [[1], ['__proto__', {}]]],
    ['an entry that is no object', [[1], 7]],
    ['an entry that is null', [[1], null]],
    ['an empty entry', [[1], []]],
    ['a pattern that is none', [[1], ['RegExp', '(']]],
    ['flags that are none', [[1], ['RegExp', 'a', 'zz']]],
    ['an address that is none', [[1], ['URL', 'nowhere']]],
    ['bytes that do not fill numbers', [[1], ['Float64Array', 'AAAA']]],
    ['bytes that are a number', [[1], ['Buffer', 100_000_000]]],
    ['a length below zero', [[1], ['Array', -1, {}]]],
    ['a length beyond all arrays', [[1], ['Array', 2 ** 32, {}]]],
    ['a length that is set again', [[1], ['Array', 1, { length: 30_000_000 }]]],
    ['no table', 'null'],
    ['no JSON', '[[1],'],
  ])('are refused where they have %s', async (_, table) => {
    expect(await outcome(tagged(table))).toBeInstanceOf(Error);
  });

  it('pollute no prototype, whatever they name', async () => {
    for (const table of [
      '[[1],{"__proto__":{"polluted":true},"constructor":{"prototype":{"polluted":true}}}]',
      '[[1],{"__proto__":[2]},{"polluted":true}]',
      '[[1],["null",{"__proto__":[2]}],{"polluted":true}]',
      '[[1],["Array",1,{"__proto__":[2]}],{"polluted":true}]',
      '[[1],["Map","__proto__",[2]],{"polluted":true}]',
    ]) {
      const value = await outcome(tagged(table));
      expect((value as { polluted?: boolean }).polluted).toBeUndefined();
      expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
    }
  });

  it('take no memory for what they only claim to be', async () => {
    const before = process.memoryUsage().heapUsed;
    const table: unknown[] = [[1]];
    for (let count = 0; count < 1_000; count++) table.push(['Array', 30_000_000 + count, { 0: [1] }]);
    const value = await decoded(tagged(table));
    expect(process.memoryUsage().heapUsed - before).toBeLessThan(100_000_000);
    expect(value).toHaveLength(30_000_000);
  });

  it('that would unpack to more than an answer can be are refused', async () => {
    const bomb = Buffer.concat([Buffer.from([2]), deflateRawSync(Buffer.alloc(17_000_000, ' '))]);
    expect(await outcome(bomb)).toMatchObject({ message: expect.stringContaining('RangeError') });
  });

  it('of another version of the format are refused, not read as something else', async () => {
    for (const head of [1, 3, 5, 8, 128]) {
      expect(await outcome(Buffer.from([head, ...Buffer.from('[[1]]')]))).toMatchObject({
        message: 'Unknown format.',
      });
    }
  });

  it('that were changed anywhere give a value or an error that tells nothing, and harm nothing', async () => {
    const damage = fc.array(fc.record({ at: fc.nat(), byte: fc.nat({ max: 255 }), cut: fc.boolean() }), {
      minLength: 1,
      maxLength: 4,
    });
    await fc.assert(
      fc.asyncProperty(anything, damage, async (value, damages) => {
        let bytes = Buffer.from(await encoded([value, 1n]));
        for (const { at, byte, cut } of damages) {
          const place = 1 + (at % (bytes.length - 1));
          bytes = cut
            ? Buffer.concat([bytes.subarray(0, place), bytes.subarray(place + 1)])
            : Buffer.from(bytes.fill(byte, place, place + 1));
          if (bytes.length < 2) break;
        }
        await outcome(bytes);
        expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(names);
      }),
      { numRuns: 1_000 },
    );
  });

  it('come back equal however deep data of every kind is mixed', async () => {
    await fc.assert(
      fc.asyncProperty(anything, async (value) => {
        expect(await decoded(await encoded(value))).toStrictEqual(value);
      }),
      { numRuns: 1_000 },
    );
  });
});
