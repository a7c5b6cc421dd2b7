import fc from 'fast-check';
import { parseItem } from 'structured-headers';
import { describe, expect, test } from 'vitest';
import { keyFromHeader, maxKeyLength } from '../../lib/events/key-syntax.ts';
import { IdempotencyError, idempotent } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { cpuMs } from '../support/cpu.ts';
import { paymentEvent } from '../support/http-events.ts';

/** The key that a header's text holds, `undefined` where it is refused. */
function keyOf(text: string, syntax: 'lenient' | 'strict' = 'strict'): string | undefined {
  try {
    return keyFromHeader([text], 'Idempotency-Key', syntax);
  } catch (error) {
    if (IdempotencyError.is(error, 'BAD_KEY')) return undefined;
    throw error;
  }
}

describe('a strict key', () => {
  // RFC 9651, sections 3.3 and 4.2: what parses as an Item of which the value is a String.
  test.each([
    ['"8e03978e-40d5-43dd-bc93-6894a57f9324"', '8e03978e-40d5-43dd-bc93-6894a57f9324'],
    ['"hello world"', 'hello world'],
    ['  "foo bar"   ', 'foo bar'],
    ['"b\\"a\\\\r"', 'b"a\\r'],
    ['"\'"', "'"],
    ['"a";b', 'a'],
    ['"a"; b; c=1', 'a'],
    ['"a";b=?0;c=tok/en:x;d=:aGVsbG8=:;e=-1.5;f=@1659578233;g="x;y";h=%"caf%c3%a9"', 'a'],
    ['"a";*k-1_.*=*x', 'a'],
  ])('is read from %s', (text, key) => {
    expect(keyOf(text)).toBe(key);
  });

  test.each([
    ['an Integer', '42'],
    ['a Decimal', '4.5'],
    ['a Token', 'foo'],
    ['a Byte Sequence', ':aGVsbG8=:'],
    ['a Boolean', '?1'],
    ['a Date', '@1659578233'],
    ['a Display String', '%"foo"'],
    ['an Inner List', '("a")'],
    ['a List', '"a", "b"'],
    ['single quotes', "'foo'"],
    ['no closing quote', '"foo'],
    ['no opening quote', 'foo"'],
    ['something after the String', '"foo" bar'],
    ['a blank before a parameter', '"a" ;b'],
    ['a parameter without a name', '"a";'],
    ['a parameter in upper case', '"a";B=1'],
    ['a parameter with an Inner List', '"a";b=(1)'],
    ['an escape of another character', '"a\\b"'],
    ['an escape at the end', '"a\\'],
    ['a tab inside', '"a\tb"'],
    ['a line break inside', '"a\nb"'],
    ['DEL inside', '"a\x7f"'],
    ['a character outside ASCII', '"é"'],
    ['nothing', '""'],
    ['blanks only', '"   "'],
  ])('is not %s', (_, text) => {
    expect(keyOf(text)).toBeUndefined();
  });

  test('is read as an independent parser of RFC 9651 reads it', () => {
    // Mostly of characters that mean something, so that many samples are nearly right.
    const piece = fc.constantFrom(
      '"',
      '\\',
      ';',
      '=',
      ' ',
      ',',
      'a',
      'B',
      '1',
      '-',
      '.',
      '*',
      '?',
      ':',
      '@',
      '%',
      '(',
      ')',
      'é',
      '\x00',
      'k=v',
      ';k',
      '"a"',
    );
    const text = fc.array(piece, { maxLength: 12 }).map((pieces) => pieces.join(''));
    const almost = text.map((tail) => `"key"${tail}`);
    fc.assert(
      fc.property(fc.oneof(text, almost), (sample) => {
        expect([sample, keyOf(sample)]).toEqual([sample, stringItem(sample)]);
      }),
      { numRuns: 20_000 },
    );
  });

  function stringItem(text: string): string | undefined {
    try {
      const [value] = parseItem(text);
      return typeof value === 'string' && value.trim() !== '' ? value : undefined;
    } catch {
      return undefined;
    }
  }
});

describe('a lenient key', () => {
  test('is a bare one or the same one in quotes', () => {
    expect(keyOf('key-1', 'lenient')).toBe('key-1');
    expect(keyOf('"key-1"', 'lenient')).toBe('key-1');
    expect(keyOf('"key-1";v=2', 'lenient')).toBe('key-1');
  });

  test('is any quoted key that is printable', () => {
    fc.assert(
      fc.property(
        fc
          .string({ unit: 'grapheme-ascii', minLength: 1, maxLength: maxKeyLength })
          .filter((key) => key.trim() !== ''),
        (key) => {
          const quoted = `"${key.replace(/["\\]/g, '\\$&')}"`;
          expect(keyOf(quoted, 'lenient')).toBe(key);
          expect(keyOf(quoted, 'strict')).toBe(key);
        },
      ),
    );
  });

  test.each(['a b', 'a,b', 'a"b', '"a', 'é', 'a\x00', '', '   '])('is not %j', (text) => {
    expect(keyOf(text, 'lenient')).toBeUndefined();
  });

  test('has at most 255 characters, without its quotes and escapes', () => {
    expect(keyOf('k'.repeat(255), 'lenient')).toHaveLength(255);
    expect(keyOf('k'.repeat(256), 'lenient')).toBeUndefined();
    expect(keyOf(`"${'\\"'.repeat(255)}"`, 'strict')).toHaveLength(255);
    expect(keyOf(`"${'\\"'.repeat(256)}"`, 'strict')).toBeUndefined();
  });

  test('is read in time linear in its length', () => {
    const work = (): void => {
      keyOf(`"a"${';a'.repeat(20_000)}!`, 'lenient');
      keyOf(`"a"${'; '.repeat(20_000)}`, 'lenient');
      keyOf(`"${'\\"'.repeat(20_000)}`, 'lenient');
    };
    expect(cpuMs(work)).toBeLessThan(1_000);
  });
});

describe('http.keySyntax', () => {
  test('strict refuses a bare key with 400', async () => {
    let runs = 0;
    const handler = idempotent(
      async (_: unknown) => {
        runs++;
        return { statusCode: 200 };
      },
      { store: memoryStore(), http: { keySyntax: 'strict' } },
    );
    expect(await handler(paymentEvent({ key: 'key-1' }))).toMatchObject({ statusCode: 400 });
    expect(await handler(paymentEvent({ key: '"key-1"' }))).toMatchObject({ statusCode: 200 });
    expect(runs).toBe(1);
  });
});
