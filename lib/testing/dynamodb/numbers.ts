/** DynamoDB's numbers: decimal, 38 significant digits, magnitudes from 1e-130 to 9.99…e125, exact in all of that. */
import { invalid } from './errors.ts';

/** `digits` × 10^`exponent`; no trailing zeros in `digits`, and exponent 0 for zero. */
interface Decimal {
  readonly digits: bigint;
  readonly exponent: number;
}

const maxDigits = 38;

function normal(digits: bigint, exponent: number): Decimal {
  if (digits === 0n) return { digits, exponent: 0 };
  const text = String(digits);
  let end = text.length;
  while (text[end - 1] === '0') end--;
  return { digits: BigInt(text.slice(0, end)), exponent: exponent + text.length - end };
}

const lengthOf = (digits: bigint): number => String(digits < 0n ? -digits : digits).length;

function within(number: Decimal): Decimal {
  if (number.digits === 0n) return number;
  const length = lengthOf(number.digits);
  const magnitude = length - 1 + number.exponent;
  if (magnitude > 125) {
    throw invalid('Number overflow. Attempting to store a number with magnitude larger than supported range');
  }
  if (magnitude < -130) {
    throw invalid(
      'Number underflow. Attempting to store a number with magnitude smaller than supported range',
    );
  }
  if (length > maxDigits) throw invalid('Attempting to store more than 38 significant digits in a Number');
  return number;
}

function parse(text: string): Decimal {
  const match = /^([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d{1,6}))?$/.exec(text);
  const [, sign = '', whole = '', fraction = '', exponent = '0'] = match ?? [];
  if (!match || whole + fraction === '') {
    throw invalid(`The parameter cannot be converted to a numeric value: ${text}`);
  }
  const digits = BigInt(whole + fraction);
  return within(normal(sign === '-' ? -digits : digits, Number(exponent) - fraction.length));
}

function print({ digits, exponent }: Decimal): string {
  const sign = digits < 0n ? '-' : '';
  const text = String(digits < 0n ? -digits : digits);
  if (exponent >= 0) return `${sign}${text}${'0'.repeat(exponent)}`;
  const padded = text.padStart(1 - exponent, '0');
  return `${sign}${padded.slice(0, exponent)}.${padded.slice(exponent)}`;
}

/** As DynamoDB stores and returns it: `1.50` is `1.5`, `1e3` is `1000`. @throws `ValidationException` */
export const canonicalNumber = (text: string): string => print(parse(text));

const scaled = (number: Decimal, exponent: number): bigint =>
  number.digits * 10n ** BigInt(number.exponent - exponent);

/** Below, at or above zero as `left` is below, at or above `right`. */
export function compareNumbers(left: string, right: string): number {
  const [one, other] = [parse(left), parse(right)];
  const exponent = Math.min(one.exponent, other.exponent);
  const difference = scaled(one, exponent) - scaled(other, exponent);
  return difference < 0n ? -1 : difference > 0n ? 1 : 0;
}

/** The sum, or with `sign` -1 the difference. @throws `ValidationException` for one that DynamoDB cannot hold */
export function addNumbers(left: string, right: string, sign: 1 | -1 = 1): string {
  const [one, other] = [parse(left), parse(right)];
  const exponent = Math.min(one.exponent, other.exponent);
  const sum = scaled(one, exponent) + BigInt(sign) * scaled(other, exponent);
  return print(within(normal(sum, exponent)));
}

/** What a number counts towards its item's size: two digits a byte, and one more. */
export function sizeOfNumber(text: string): number {
  const { digits } = parse(text);
  return Math.ceil(lengthOf(digits) / 2) + 1 + (digits < 0n ? 1 : 0);
}
