import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { idempotent, wholePayload } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { restEvent } from '../support/http-events.ts';

/** The print of a payload of a direct invocation. */
const print = (value: unknown): string => wholePayload([value]);
/** The print of a JSON body, as a client wrote it. */
const printOf = (body: string): string =>
  wholePayload(restEvent({ headers: [['Content-Type', 'application/json']], body }));

type Json = string | number | boolean | null | Json[] | { [name: string]: Json };
const json = fc.jsonValue({ maxDepth: 4 }) as fc.Arbitrary<Json>;

describe('the print of a JSON body', () => {
  it('is the same however a client spells the payload', () => {
    fc.assert(
      fc.property(json, fc.gen(), fc.gen(), (value, one, another) => {
        expect(printOf(spelling(value, another))).toBe(printOf(spelling(value, one)));
      }),
      { numRuns: 300 },
    );
  });

  it('reads names that are written with escapes alike, whatever was read before', () => {
    const print = printOf('{"list":1,"b":2}');
    // V8 compares the next document's name, escapes and all, with this one's.
    printOf('{"list":1,"\\\\":2}');
    expect(printOf('{"list":1,"\\u0062":2}')).toBe(print);
  });

  it('is that of the parsed payload', () => {
    fc.assert(
      fc.property(json, fc.gen(), (value, choices) => {
        const parsed = JSON.parse(spelling(value, choices)) as unknown;
        const body = { ...restEvent({ headers: [['Content-Type', 'application/json']] }), body: parsed };
        // A body of null, or an unparsed string, is no parsed body.
        fc.pre(typeof value === 'object' && value !== null);
        expect(wholePayload(body)).toBe(printOf(JSON.stringify(value)));
      }),
    );
  });

  it('is another one after any single change', () => {
    fc.assert(
      fc.property(json, fc.nat(), fc.gen(), (value, pick, choices) => {
        const changed = changes(value);
        const other = changed[pick % changed.length] as Json;
        expect(printOf(spelling(other, choices))).not.toBe(printOf(JSON.stringify(value)));
      }),
      { numRuns: 1_000 },
    );
  });

  it.each([
    ['1', '1.0'],
    ['1', '1e0'],
    ['1', '10E-1'],
    ['1', '0.01e+2'],
    ['1', '1.00000000000000000000'],
    ['0', '-0'],
    ['0', '0.0'],
    ['0', '-0.000e7'],
    ['0.1', '0.10'],
    ['1e400', '10e399'],
    ['-1e-400', '-0.1e-399'],
    ['12345678901234567891', '1.2345678901234567891e19'],
    ['12345678901234567891', '12345678901234567891.0'],
    ['100000000000000000000000', '1e23'],
    ['"é"', '"\\u00e9"'],
    ['"😀"', '"\\ud83d\\uDE00"'],
    ['"a/b"', '"a\\/b"'],
    ['"\\n"', '"\\u000A"'],
    ['{"a":1}', '{"\\u0061":1}'],
    ['{"a":1}', '\r\n{ "a"\t: 1 }\n'],
    ['{"a":{"b":1,"c":2},"d":3}', '{"d":3,"a":{"c":2,"b":1}}'],
    ['{"10":1,"9":2,"a":3}', '{"a":3,"9":2,"10":1}'],
    ['{"__proto__":{"a":1},"b":2}', '{"b":2,"__proto__":{"a":1}}'],
    ['{"c":1,"b":{"d":2,"a":1}}', '{"b":{"a":10E-1,"d":2},"c":1}'],
    ['{"10":1,"9":2,"a":1}', '{"a":10E-1,"9":2,"10":1}'],
    ['{"__proto__":1,"b":2}', '{"b":20E-1,"__proto__":1}'],
    ['{"\\ud800":1,"b":2}', '{"b":20E-1,"\\uD800":1}'],
  ])('takes %s for %s', (left, right) => {
    expect(printOf(left)).toBe(printOf(right));
  });

  it.each([
    ['1', '"1"'],
    ['1', 'true'],
    ['0', 'false'],
    ['0', 'null'],
    ['0', '""'],
    ['null', '"null"'],
    ['[]', '{}'],
    ['[]', '[null]'],
    ['[1,2]', '[2,1]'],
    ['[1,23]', '[12,3]'],
    ['["a,b"]', '["a","b"]'],
    ['[[1],2]', '[[1,2]]'],
    ['{"a":1}', '{"A":1}'],
    ['{"a":null}', '{}'],
    ['{"a":"1,b"}', '{"a":"1","b":""}'],
    ['{"a":{"b":1}}', '{"a":{},"b":1}'],
    ['{"__proto__":{"a":1}}', '{}'],
    ['"a"', '"a "'],
    ['"é"', '"e\\u0301"'],
    ['"\\ud800"', '"\\udbff"'],
    ['"\\ud800"', '"\\\\ud800"'],
    ['"\\ud800"', '"\\ufffd"'],
    ['0.1', '0.10000000000000000001'],
    ['9007199254740992', '9007199254740993'],
    ['12345678901234567890', '12345678901234567891'],
    ['1e400', '1e401'],
    ['1e400', '-1e400'],
    ['1e400', '"1e400"'],
    ['1e400', 'null'],
    ['1e-400', '0'],
    ['1e-400', '-1e-400'],
    ['100000000000000000000000', '99999999999999991611392'],
  ])('tells %s from %s', (left, right) => {
    expect(printOf(left)).not.toBe(printOf(right));
  });

  it('compares numbers of any length by their exact value', () => {
    const written = fc.record({
      sign: fc.constantFrom('', '-'),
      whole: fc.bigInt({ min: 0n, max: 10n ** 24n }).map(String),
      fraction: fc.stringMatching(/^\d{0,22}$/),
      exponent: fc.integer({ min: -30, max: 30 }),
    });
    const text = ({ sign, whole, fraction, exponent }: Written): string =>
      `${sign}${whole}${fraction && `.${fraction}`}e${exponent}`;
    const scaled = ({ sign, whole, fraction, exponent }: Written): bigint =>
      BigInt(`${sign}${whole}${fraction}`) * 10n ** BigInt(60 + exponent - fraction.length);

    fc.assert(
      fc.property(written, written, (left, right) => {
        expect(printOf(text(left)) === printOf(text(right))).toBe(scaled(left) === scaled(right));
      }),
    );
    fc.assert(
      fc.property(written, fc.integer({ min: -5, max: 5 }), (number, shift) => {
        const shifted = { ...number, fraction: `${number.fraction}00`, exponent: number.exponent };
        const neighbour = { ...number, fraction: `${number.fraction}${Math.abs(shift)}` };
        expect(printOf(text(shifted))).toBe(printOf(text(number)));
        expect(printOf(text(neighbour)) === printOf(text(number))).toBe(shift === 0);
      }),
    );
  });

  it('exists for a body that is nested deeper than the stack', () => {
    const nested = (depth: number, inner = '') => `${'['.repeat(depth)}${inner}${']'.repeat(depth)}`;
    expect(printOf(nested(200_000))).toBe(printOf(nested(200_000)));
    expect(printOf(nested(200_000))).not.toBe(printOf(nested(200_001)));
    expect(printOf(nested(200_000, '12345678901234567890'))).not.toBe(
      printOf(nested(200_000, '12345678901234567891')),
    );
  });
});

describe('the print of any payload', () => {
  class Price {
    readonly amount = 1;
  }
  const shared = { a: 1 };

  it.each<[string, unknown, unknown]>([
    ['members in another order', { a: 1, b: [{ c: 1, d: 2 }] }, { b: [{ d: 2, c: 1 }], a: 1 }],
    ['a member that is undefined and none', { a: 1, b: undefined }, { a: 1 }],
    ['zero and minus zero', 0, -0],
    ['a hole and undefined', Object.assign(new Array(2), { 1: 1 }), [undefined, 1]],
    ['one object twice and two equal ones', [shared, { b: shared }], [{ a: 1 }, { b: { a: 1 } }]],
    ['no prototype and the usual one', Object.assign(Object.create(null), { a: 1 }), { a: 1 }],
    ['equal dates', new Date(5), new Date(5)],
    ['equal maps', new Map([['a', { b: 1 }]]), new Map([['a', { b: 1 }]])],
    ['equal sets', new Set([1, 'a']), new Set([1, 'a'])],
    ['equal bytes', new Uint8Array([1, 2]), new Uint8Array([0, 1, 2]).subarray(1)],
    ['equal integers', 12345678901234567891n, 12345678901234567891n],
    ['equal instances', new Price(), new Price()],
  ])('is the same for %s', (_, left, right) => {
    expect(print(left)).toBe(print(right));
  });

  it('tells values from all their look-alikes', () => {
    const bytes = [1, 2, 3, 4];
    const payloads: readonly unknown[] = [
      ...['', '0', '1', 'null', 'undefined', 'true', 'NaN', 'Infinity', '[]', '{}', '[object Object]'],
      ...[0, 1, Number.NaN, Infinity, -Infinity, 1e-7, true, false, null, undefined],
      ...[0n, 1n, -1n, 'BigInt(1)', '1n', 2n ** 64n],
      ...[[], [[]], [undefined], [undefined, undefined], [null], [0], [''], {}, { 0: 0 }, [{}]],
      ...[new Date(1), new Date(2), new Date(Number.NaN), 'Date(1)', new Date(1).toISOString(), { Date: 1 }],
      ...[new Map(), new Map([[1, 2]]), new Map([[2, 1]]), new Map([['1', 2]]), [[1, 2]], { 1: 2 }],
      ...[new Map([[undefined, undefined]]), new Set(), new Set([1]), new Set([[1, 2]]), 'Map[]', 'Set[]'],
      ...[new Uint8Array(), new Uint8Array(bytes), new Uint8Array([4, 3, 2, 1]), new Int8Array(bytes)],
      ...[Buffer.from(bytes), new Uint8Array(bytes).buffer, new Uint8Array([4, 3, 2, 1]).buffer],
      ...[new DataView(new Uint8Array(bytes).buffer), new Uint32Array([67_305_985]), bytes],
      ...[{ ...bytes }, { type: 'Buffer', data: bytes }, 'AQIDBA=='],
      ...[{ a: 1, b: 2 }, { a: 1 }, { a: { b: 1 } }, { 'a":1,"b': 2 }, ['a', 1], 'a'],
    ];

    const alike = new Map<string, unknown[]>();
    for (const payload of payloads)
      alike.set(print(payload), [...(alike.get(print(payload)) ?? []), payload]);
    expect([...alike.values()].filter((group) => group.length > 1)).toEqual([]);
  });

  it('differs for arrays that differ in their length only', () => {
    expect(print(new Array(1))).not.toBe(print([]));
    expect(print(new Array(2))).not.toBe(print(new Array(1)));
  });

  it('is fixed-size text', () => {
    expect(print('x'.repeat(1_000_000))).toMatch(/^[A-Za-z0-9_-]{43}$/);
  });
});

describe('a payload that cannot be printed', () => {
  class Secret {
    readonly #amount: number;
    constructor(amount: number) {
      this.#amount = amount;
    }
    get amount() {
      return this.#amount;
    }
  }

  it.each<[string, unknown]>([
    ['a function', () => {}],
    ['a symbol', Symbol('s')],
    ['a Promise', Promise.resolve(1)],
    ['an Error', new Error('one')],
    ['a RegExp', /one/],
    ['a WeakMap', new WeakMap()],
    ['a Secret', new Secret(1)],
    ['URLSearchParams', new URLSearchParams('a=1')],
  ])('is refused where it holds %s, whose content cannot be seen', (_, value) => {
    expect(() => print({ value })).toThrow(expect.objectContaining({ code: 'BAD_PAYLOAD' }));
    expect(() => wholePayload(value)).toThrow(expect.objectContaining({ code: 'BAD_PAYLOAD' }));
  });

  it('is refused where it holds a cycle', () => {
    const object: Record<string, unknown> = {};
    object.self = { object };
    const array: unknown[] = [];
    array.push([array]);
    const map = new Map<string, unknown>();
    map.set('map', map);
    const set = new Set<unknown>();
    set.add([set]);
    const own = { toJSON: (): unknown => own };

    for (const cyclic of [object, array, map, set, own]) {
      expect(() => print(cyclic)).toThrow(
        expect.objectContaining({ code: 'BAD_PAYLOAD', message: expect.stringContaining('a cycle') }),
      );
    }
  });

  it('is refused where it is nested beyond reason', () => {
    let nested: unknown = 1;
    for (let depth = 0; depth < 50_000; depth++) nested = [nested];
    expect(() => print(nested)).toThrow(expect.objectContaining({ code: 'BAD_PAYLOAD' }));
  });

  it('is refused before the handler runs, with the way out', async () => {
    const handler = vi.fn();
    const guarded = idempotent(handler, { store: memoryStore(), key: () => 'k' });

    await expect(guarded({ callback: () => {} })).rejects.toThrow(
      'The payload cannot be fingerprinted: it holds a function. Give `fingerprint` a function that returns the plain data that matters, or `fingerprint: false`.',
    );
    expect(handler).not.toHaveBeenCalled();

    const lenient = idempotent(handler, {
      store: memoryStore(),
      key: () => 'k',
      fingerprint: (event: { id: number }) => event.id,
    });
    await lenient({ id: 1, callback: () => {} } as { id: number });
    expect(handler).toHaveBeenCalledTimes(1);
  });
});

interface Written {
  readonly sign: string;
  readonly whole: string;
  readonly fraction: string;
  readonly exponent: number;
}

/** A JSON text of `value` with every freedom that JSON gives taken at random. */
function spelling(value: Json, choices: fc.GeneratorValue): string {
  const blank = () => choices(fc.constantFrom, '', '', ' ', '\n', '\t  ', '\r\n');
  const write = (one: Json): string => `${blank()}${body(one)}${blank()}`;
  const body = (one: Json): string => {
    if (typeof one === 'string') return text(one);
    if (typeof one === 'number') return number(one);
    if (one === null || typeof one === 'boolean') return String(one);
    if (Array.isArray(one)) return `[${one.map(write).join(',') || blank()}]`;
    const entries = Object.entries(one);
    const shuffled = choices(fc.shuffledSubarray, entries, { minLength: entries.length });
    return `{${shuffled.map(([name, member]) => `${blank()}${text(name)}${blank()}:${write(member)}`).join(',') || blank()}}`;
  };
  const text = (one: string): string => {
    const units = Array.from({ length: one.length }, (_, at) => {
      const hex = one.charCodeAt(at).toString(16).padStart(4, '0');
      return `\\u${choices(fc.boolean) ? hex : hex.toUpperCase()}`;
    });
    return choices(fc.boolean) ? JSON.stringify(one) : `"${units.join('')}"`;
  };
  const number = (one: number): string => {
    const plain = JSON.stringify(one);
    const exponential = one.toExponential();
    const more = /^-?\d+$/.test(plain) ? `${plain}.000` : plain;
    return choices(fc.constantFrom, plain, more, exponential, exponential.replace('e', 'E'));
  };
  return write(value);
}

/** All payloads that differ from `value` in one place. */
function changes(value: Json): Json[] {
  if (value === null) return [false, 'null', 0, [], {}];
  if (typeof value === 'string') return [`${value} `, `${value}\u0000`, [value], JSON.stringify(value), null];
  if (typeof value === 'boolean') return [!value, String(value), Number(value), null];
  if (typeof value === 'number') {
    const neighbour = value === 0 ? Number.MIN_VALUE : value * (1 + Number.EPSILON * 2);
    const near = neighbour === value || !Number.isFinite(neighbour) ? 0.5 : neighbour;
    return [near, String(value), [value], null, ...(value === 0 ? [] : [-value])];
  }
  if (Array.isArray(value)) {
    return [
      [...value, null],
      [value],
      { ...value },
      ...(value.length > 0 ? [value.slice(1)] : []),
      ...value.flatMap((item, at) => changes(item).map((other) => value.with(at, other))),
      ...value.slice(1).flatMap((item, at) => {
        const swapped = value.with(at, item).with(at + 1, value[at] as Json);
        return JSON.stringify(swapped) === JSON.stringify(value) ? [] : [swapped];
      }),
    ];
  }
  const entries = Object.entries(value);
  const free = (name: string): string => (Object.hasOwn(value, name) ? free(`${name}x`) : name);
  return [
    Object.fromEntries([...entries, [free('new'), null]]),
    [value],
    entries as Json[],
    ...entries.flatMap(([name, member], at): Json[] => [
      Object.fromEntries(entries.toSpliced(at, 1)),
      Object.fromEntries(entries.toSpliced(at, 1, [free(`${name}x`), member])),
      ...changes(member).map((other) => Object.fromEntries(entries.toSpliced(at, 1, [name, other]))),
    ]),
  ];
}
