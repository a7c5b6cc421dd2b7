import { NumberValue } from '@aws-sdk/lib-dynamodb';
import { marshall, unmarshall } from '@aws-sdk/util-dynamodb';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fromStored, type ToStoredOptions, toStored } from '../../lib/store/attribute-values.ts';

// util-dynamodb makes a prototype of a member of this name.
const name = fc.string().filter((text) => text !== '__proto__');
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { depthSize: 'small' },
    fc.string(),
    fc.string({ unit: 'binary' }),
    fc.double(),
    fc.integer(),
    fc.bigInt(),
    fc.boolean(),
    fc.constantFrom<unknown>(
      null,
      undefined,
      Number.NaN,
      2 ** 60,
      new Number(5),
      new String(''),
      new Boolean(true),
    ),
    fc.constantFrom<unknown>(() => 1, Symbol('s'), new Date(0), new Set(), new Error('x')),
    fc.uint8Array(),
    fc.uint8Array().map((bytes) => Buffer.from(bytes)),
    fc.float64Array(),
    fc.string().map((text) => ({ big: NumberValue.from('12345678901234567890.5'), text })),
    fc.array(tie('any'), { maxLength: 5 }),
    fc.uniqueArray(fc.oneof(fc.string(), fc.constant(undefined))).map((members) => new Set(members)),
    fc.uniqueArray(fc.integer()).map((members) => new Set(members)),
    fc.uniqueArray(fc.bigInt()).map((members) => new Set(members)),
    fc.dictionary(name, tie('any'), { maxKeys: 5 }),
    fc.array(fc.tuple(name, tie('any')), { maxLength: 4 }).map((entries) => new Map(entries)),
  ),
})).any;

const options = fc.record(
  {
    convertEmptyValues: fc.boolean(),
    removeUndefinedValues: fc.boolean(),
    convertClassInstanceToMap: fc.boolean(),
    allowImpreciseNumbers: fc.boolean(),
  },
  { requiredKeys: [] },
);

const attempt = <T>(work: () => T): { made: T } | 'refused' => {
  try {
    return { made: work() };
  } catch {
    return 'refused';
  }
};

describe('values on their way to DynamoDB', () => {
  it('become what util-dynamodb makes of them, or are refused where it refuses them', () => {
    fc.assert(
      fc.property(fc.dictionary(name, value), options, (item, set) => {
        const theirs = attempt(() =>
          marshall(item, { removeUndefinedValues: true, ...set, convertTopLevelContainer: false }),
        );
        expect(attempt(() => toStored(item, set as ToStoredOptions))).toEqual(theirs);
      }),
      { numRuns: 3_000 },
    );
  });

  it('come back as util-dynamodb gives them', () => {
    fc.assert(
      fc.property(fc.dictionary(name, value), (item) => {
        const stored = attempt(() =>
          toStored(item, { convertEmptyValues: true, allowImpreciseNumbers: true }),
        );
        fc.pre(stored !== 'refused');
        const theirs = attempt(() => unmarshall(stored.made));
        // It reads no number such as 1e+60, of which DynamoDB gives all digits.
        fc.pre(theirs !== 'refused');
        expect(fromStored(stored.made)).toStrictEqual(theirs.made);
      }),
      { numRuns: 1_000 },
    );
  });

  it('come back also where a number is more than a double holds', () => {
    expect(fromStored({ n: { N: '12345678901234567890' }, x: { N: '1.5E+300' } })).toEqual({
      n: 12_345_678_901_234_567_890n,
      x: 1.5e300,
    });
    expect(fromStored({ n: { N: '0.1' } }, { wrapNumbers: (text) => `#${text}` })).toEqual({ n: '#0.1' });
  });

  class Money {
    readonly cents = 'secret';
  }
  const cycle: Record<string, unknown> = {};
  cycle.self = cycle;
  it.each<[object, string]>([
    [{ total: new Money() }, 'total is a Money'],
    [{ lines: [{ total: new Money() }] }, 'lines[0].total is a Money'],
    [{ rates: new Map([['ann@example.com', new Date(0)]]) }, 'rates[…] is a Date'],
    [{ ':total': Symbol('secret') }, ':total is a symbol'],
    [{ total: Number.NaN }, 'total is NaN'],
    [{ total: 2 ** 53 }, 'total is a number beyond 2^53 − 1, which may have been rounded: use a BigInt'],
    [{ tags: new Set() }, 'tags is an empty Set, which DynamoDB does not have'],
    [{ tags: new Set(['secret', 5]) }, 'tags is a Set of values of different types'],
    [
      { tags: new Set([{}]) },
      'tags is a Set with an object in it; DynamoDB has sets of strings, numbers or bytes',
    ],
  ])('are refused with their place and kind, and nothing of what they hold: %#', (item, message) => {
    expect(() => toStored(item)).toThrow(new RegExp(`^${message.replace(/[.[\]^]/g, '\\$&')}$`));
  });

  it('are refused where they are a cycle', () => {
    expect(() => toStored(cycle)).toThrow(/self is nested too deeply, or is a cycle$/);
  });
});
