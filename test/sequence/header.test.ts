import fc from 'fast-check';
import { parseDictionary, serializeDictionary } from 'structured-headers';
import { describe, expect, test } from 'vitest';
import { IdempotencyError } from '../../lib/index.ts';
import { numberingIn } from '../../lib/sequence/header.ts';
import { cpuMs } from '../support/cpu.ts';

const till = { producer: 'till-7', epoch: 3, number: 42 };

/** What is wrong with these lines; `undefined` where they are read. */
function refusalOf(...lines: string[]): IdempotencyError | undefined {
  try {
    numberingIn(lines);
    return undefined;
  } catch (error) {
    if (IdempotencyError.is(error, 'BAD_KEY')) return error;
    throw error;
  }
}

describe('the place of a numbered sender', () => {
  test.each([
    ['as the client writes it', ['producer="till-7", epoch=3, number=42']],
    ['in any order', ['number=42,epoch=3,producer="till-7"']],
    ['with blanks around it', ['  producer="till-7" \t,\t epoch=3 , number=42  ']],
    ['with leading zeros', ['producer="till-7", epoch=003, number=000042']],
    ['in lines that were sent apart', ['producer="till-7"', 'epoch=3', 'number=42']],
  ])('is read from a Dictionary %s', (_, lines) => {
    expect(numberingIn(lines)).toEqual(till);
  });

  test('is read with quotes and backslashes in the name of its producer', () => {
    expect(numberingIn(['producer="a \\"b\\" \\\\", epoch=0, number=0'])?.producer).toBe('a "b" \\');
  });

  test('is read up to the largest Integer of RFC 9651', () => {
    const line = 'producer="a", epoch=999999999999999, number=999999999999999';
    expect(numberingIn([line])).toMatchObject({ epoch: 999_999_999_999_999, number: 999_999_999_999_999 });
  });

  test('is not there without the header', () => {
    expect(numberingIn([])).toBeUndefined();
  });

  test.each([
    ['nothing', '', 'holds something else than `producer`, `epoch` and `number`'],
    ['no producer', 'epoch=3, number=42', 'has no member `producer`'],
    ['no epoch', 'producer="a", number=42', 'has no member `epoch`'],
    ['no number', 'producer="a", epoch=3', 'has no member `number`'],
    ['a member twice', 'producer="a", epoch=3, number=1, number=2', 'has the member `number` twice'],
    ['an unknown member', 'producer="a", epoch=3, number=1, secret=1', 'holds something else'],
    ['a comma at its end', 'producer="a", epoch=3, number=1,', 'holds something else'],
    [
      'a Token as producer',
      'producer=secret, epoch=3, number=1',
      'has a `producer` that is no printable ASCII',
    ],
    [
      'a producer outside ASCII',
      'producer="é", epoch=3, number=1',
      'has a `producer` that is no printable ASCII',
    ],
    ['a producer without its end', 'producer="secret', 'has a `producer` that is no printable ASCII'],
    ['a String as number', 'producer="a", epoch=3, number="1"', 'has `number` not as a whole number'],
    ['a negative number', 'producer="a", epoch=3, number=-1', 'has `number` not as a whole number'],
    ['a Decimal', 'producer="a", epoch=3.0, number=1', 'has `epoch` not as a whole number'],
    [
      'sixteen digits',
      'producer="a", epoch=3, number=9007199254740991',
      'has `number` not as a whole number',
    ],
    ['a parameter', 'producer="a";secret, epoch=3, number=1', 'has something behind the value of `producer`'],
    ['two values', 'producer="a", epoch=3 4, number=1', 'has something behind the value of `epoch`'],
    ['an Item', '"secret"', 'holds something else'],
  ])('is refused with %s, and nothing that was sent is shown', (_, line, what) => {
    const refused = refusalOf(line);
    expect(refused?.message).toContain(`The Idempotency-Sequence header ${what}`);
    expect(refused?.message).toContain('Send it as in `producer="till-7", epoch=3, number=42`.');
    expect(refused?.message).not.toContain('secret');
    expect(refused?.effect).toBe('none');
  });

  test('is refused unread where the header is too long, also in many lines', () => {
    const long = `producer="${'a'.repeat(1_024)}", epoch=3, number=1`;
    expect(refusalOf(long)?.message).toContain('has 1054 characters, more than the 1024 that are read');
    expect(refusalOf(...Array.from({ length: 600 }, () => 'a='))?.message).toContain('has 1799 characters');
  });

  test.each(['"', '\\', '\\"', ' ', '\t', ',', '=', 'producer=', 'producer="', 'epoch=', '9', '.', ';a'])(
    'costs no more than a moment when a megabyte of %j is sent',
    (piece) => {
      const many = piece.repeat(1_000_000 / piece.length);
      const inLines = Array.from({ length: 10_000 }, () => piece.repeat(100));
      for (const lines of [[many], inLines, [`producer="a", epoch=${many}`]]) {
        expect(cpuMs(() => refusalOf(...lines))).toBeLessThan(500);
      }
    },
  );

  test('is what another reader of RFC 9651 finds, for whatever is written', () => {
    const ascii = fc.string({
      unit: fc.integer({ min: 0x20, max: 0x7e }).map((at) => String.fromCharCode(at)),
      maxLength: 12,
    });
    const piece = fc.constantFrom(
      'producer',
      'epoch',
      'number',
      '=',
      ',',
      ' ',
      '"',
      '\\',
      '3',
      '42',
      '"a"',
      ';',
      '\t',
      '-',
      '.',
    );
    const written = fc
      .tuple(ascii, fc.nat(), fc.nat())
      .map(([producer, epoch, number]) => textOf({ producer, epoch, number }));
    const anyText = fc
      .tuple(written, fc.nat(), fc.nat(2), fc.array(piece, { maxLength: 3 }))
      .map(([text, at, cut, pieces]) => {
        const from = at % (text.length + 1);
        return text.slice(0, from) + pieces.join('') + text.slice(from + cut);
      });
    let read = 0;
    fc.assert(
      fc.property(anyText, (text) => {
        if (refusalOf(text)) return;
        read++;
        // HTTP itself allows these blanks around a value.
        const theirs = new Map(
          [...parseDictionary(text.replace(/^[\t ]+|[\t ]+$/g, ''))].map(([name, [value, parameters]]) => [
            name,
            [value, parameters?.size],
          ]),
        );
        const found = numberingIn([text])!;
        expect(theirs).toEqual(new Map(Object.entries(found).map(([name, value]) => [name, [value, 0]])));
      }),
      { numRuns: 2_000 },
    );
    expect(read).toBeGreaterThan(200);
    fc.assert(
      fc.property(ascii, fc.nat(), fc.nat(), (producer, epoch, number) => {
        expect(numberingIn([textOf({ producer, epoch, number })])).toEqual({ producer, epoch, number });
      }),
    );
  });
});

/** As another writer of RFC 9651 writes it. */
const textOf = (place: object): string =>
  serializeDictionary(new Map(Object.entries(place).map(([name, value]) => [name, [value, new Map()]])));
