import { describe, expect, it } from 'vitest';
import { wholePayload } from '../../lib/index.ts';
import { cpuMs } from '../support/cpu.ts';
import { httpApiEvent } from '../support/http-events.ts';

/** The most that Lambda takes. */
const maxLength = 6_000_000;

const filled = (piece: string, length = maxLength): string =>
  piece.repeat(Math.floor(length / piece.length)).slice(0, length);
const array = (item: string): string => `[${filled(`${item},`)}1]`;
const nested = (opening: string, inner: string, closing: string, depth: number): string =>
  `${opening.repeat(depth)}${inner}${closing.repeat(depth)}`;
const print = (body: string, contentType = 'application/json'): string =>
  wholePayload(httpApiEvent({ headers: [['Content-Type', contentType]], body }));

describe('a JSON body of 6 MB', () => {
  it.each<[string, () => string]>([
    ['short numbers', () => array('1')],
    ['short numbers after one that a double cannot carry', () => `[1e400,${array('1').slice(1)}`],
    ['numbers with exponents', () => array('1e5')],
    ['zeros with exponents', () => array('0e-9')],
    ['numbers that a double cannot carry', () => array('12345678901234567891')],
    ['numbers with exponents that no double has', () => array('1e99999')],
    ['one number with zeros inside', () => `1${filled('0')}1`],
    ['one number with zeros at its end', () => `1${filled('0')}`],
    ['one number with zeros after its point', () => `0.${filled('0')}1`],
    ['one exponent', () => `1e${filled('9')}`],
    ['one negative exponent of zeros', () => `1e-${filled('0')}1`],
    ['empty strings', () => array('""')],
    ['one string', () => `"${filled('a')}"`],
    ['one string of escaped letters', () => `"${filled('\\u0061')}"`],
    ['one string of backslashes', () => `"${filled('\\\\')}"`],
    ['one string of quotes', () => `"${filled('\\"')}"`],
    ['strings of one backslash', () => array('"\\\\"')],
    ['one string of control characters', () => `"${filled('\\u0001')}"`],
    ['half surrogate pairs', () => array('"\ud800"')],
    ['empty arrays', () => array('[]')],
    ['small objects', () => array('{"a":1}')],
    ['one object of many members', () => `{${manyMembers('"n#":1')}}`],
    ['one object of many members with escaped names', () => `{${manyMembers('"\\u006e#":1')}}`],
    ['one object of one member many times', () => `{${filled('"a":1,')}"a":1}`],
    ['one object of one large member many times', () => `{${filled(`"a":"${'x'.repeat(10_000)}",`)}"a":1}`],
    ['arrays that are nested', () => array(nested('[', '1', ']', 900))],
    ['objects that are nested', () => array(nested('{"a":', '1', '}', 900))],
    ['one string, deep inside arrays', () => nested('[', `"${filled('a')}"`, ']', 990)],
    ['one string, deep inside objects', () => nested('{"b":2,"a":', `"${filled('a')}"`, '}', 990)],
    ['short numbers, deep inside objects', () => nested('{"a":', array('1'), '}', 990)],
    ['arrays that are nested beyond reason', () => nested('[', '', ']', maxLength / 2)],
    ['an array that never ends', () => filled('[')],
    ['a string that never ends', () => `"${filled('\\"')}`],
    ['blanks', () => filled(' ')],
  ])('costs a small multiple of what parsing it does, for %s', (_, make) => {
    const body = make();
    const parsing = cpuMs(() => {
      try {
        JSON.parse(body);
      } catch {
        // Then it is compared by its bytes.
      }
    });
    // What a collection of garbage happens to cost, at whichever of the two.
    expect(cpuMs(() => print(body))).toBeLessThan(30 * parsing + 500);
  });

  it('costs as little where another middleware has parsed it', () => {
    for (const text of [
      nested('[', `"${filled('a')}"`, ']', 990),
      array(nested('{"a":', '1', '}', 900)),
      `{${manyMembers('"n#":1')}}`,
    ]) {
      const body = JSON.parse(text) as unknown;
      const event = httpApiEvent({ body });
      const writing = cpuMs(() => JSON.stringify(body));
      expect(cpuMs(() => wholePayload(event))).toBeLessThan(30 * writing + 500);
    }
  });
});

describe('numbers of any size', () => {
  const long = filled('123456789', 100_000);
  it.each([
    [`1${filled('0', 100_000)}`, `1e${100_000}`],
    [`0.${filled('0', 99_999)}1`, '1E-100000'],
    [`${long}.0`, long],
    ['1e400000', '10e399999'],
    ['1e00000000000000000000400', '1e400'],
    ['0e99999999999999999999', '0'],
  ])('are compared by their value (%#)', (left, right) => {
    expect(print(left)).toBe(print(right));
  });

  it.each([
    [`${long}1`, `${long}2`],
    [`1${filled('0', 100_000)}1`, `1${filled('0', 100_000)}2`],
    ['1e99999999999999999998', '1e99999999999999999999'],
    ['1e99999999999999999999', '-1e99999999999999999999'],
    ['1e99999999999999999999', '1e-99999999999999999999'],
    ['1e99999999999999999999', '"1e99999999999999999999"'],
    ['1e99999999999999999999', '1e400'],
    ['1e9007199254740991', '10e9007199254740991'],
    ['1e9007199254740991', '1.0e9007199254740992'],
    ['1.00001e9007199254740993', '1.00001e9007199254740992'],
    ['1e-9007199254740991', '0.1e-9007199254740991'],
  ])('are told apart (%#)', (left, right) => {
    expect(print(left)).not.toBe(print(right));
  });
});

/** @param pattern has `#` where members differ */
function manyMembers(pattern: string): string {
  const count = Math.floor(maxLength / (pattern.length + 6));
  // In no order, as an attacker would have it.
  return Array.from({ length: count }, (_, index) =>
    pattern.replace('#', String((index * 7_919) % count)),
  ).join();
}
