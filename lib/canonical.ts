import { hash } from 'node:crypto';
import { IdempotencyError } from './errors.ts';
import { isPlain } from './validate.ts';

/**
 * A text that is the same for payloads of the same meaning and differs for any other: object keys sorted,
 * members that are `undefined` left out, array order kept, numbers by value (`1.0` = `1`).
 *
 * Everything JSON knows is written as JSON; the rest begins with a bare word, which JSON never does, so a
 * `Date` cannot be mistaken for an object that looks like one.
 *
 * @throws `BAD_PAYLOAD` for a cycle, for nesting beyond reason, and for what shows nothing of its content: a function, a
 * symbol, a `Promise`, an instance without own members.
 */
export function canonicalText(value: unknown): string {
  return write(value, []);
}

/**
 * The canonical text of a JSON document. Numbers that a double cannot carry (`12345678901234567891`) are
 * compared digit by digit instead of being rounded into their neighbour's.
 *
 * @throws `SyntaxError` where `text` is not JSON.
 */
export function canonicalJson(text: string): string {
  return canonicalText(mayRound.test(text) ? JSON.parse(text, keepExactNumbers) : JSON.parse(text));
}

/** The canonical text of name-value pairs (a query, a form): by name; order counts among equal names only. */
export function canonicalPairs(pairs: Iterable<readonly [string, string]>): string {
  return JSON.stringify([...pairs].sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0)));
}

/** SHA-256, base64url: 43 characters. */
export function sha256(text: string | Uint8Array): string {
  return hash('sha256', text, 'base64url');
}

/** SHA-256 as AWS writes it: 64 hexadecimal digits. */
export const hexSha256 = (text: string): string => hash('sha256', text, 'hex');

function write(value: unknown, ancestors: object[]): string {
  switch (typeof value) {
    case 'string':
      return JSON.stringify(value);
    case 'number':
      return String(value);
    case 'bigint':
      return `BigInt(${value})`;
    case 'boolean':
    case 'undefined':
      return String(value);
    case 'object':
      break;
    default:
      throw unprintable(`a ${typeof value}`);
  }
  if (value === null) return 'null';
  if (value instanceof ExactNumber) return value.text;
  if (value instanceof Date) return `Date(${value.getTime()})`;
  if (ArrayBuffer.isView(value)) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return `${value.constructor.name}(${sha256(bytes)})`;
  }
  if (value instanceof ArrayBuffer) return `ArrayBuffer(${sha256(new Uint8Array(value))})`;
  if (ancestors.includes(value)) throw unprintable('a cycle');
  if (ancestors.length >= maxDepth) throw unprintable(`more than ${maxDepth} levels of nesting`);
  const path = [...ancestors, value];
  // Unlike `map`, this does not skip holes.
  if (Array.isArray(value)) return `[${Array.from(value, (item) => write(item, path)).join()}]`;
  if (value instanceof Map) return `Map${write([...value], path)}`;
  if (value instanceof Set) return `Set${write([...value], path)}`;
  if ('toJSON' in value && typeof value.toJSON === 'function') return write(value.toJSON(), path);
  const entries = Object.entries(value).sort(byName);
  // Two of these would look alike whatever is in them: a Promise, a RegExp, an instance with private fields.
  if (entries.length === 0 && !isPlain(value)) {
    throw unprintable(`an instance of ${value.constructor.name}, which shows nothing of its content`);
  }
  const members: string[] = [];
  for (const [name, member] of entries) {
    if (member !== undefined) members.push(`${JSON.stringify(name)}:${write(member, path)}`);
  }
  return `{${members.join()}}`;
}

/** Shallow enough for the stack, deeper than data is. */
const maxDepth = 1_000;

const byName = ([left]: [string, unknown], [right]: [string, unknown]): number => (left < right ? -1 : 1);

function unprintable(what: string): IdempotencyError {
  return new IdempotencyError(
    'BAD_PAYLOAD',
    `The payload cannot be fingerprinted: it holds ${what}. Give \`fingerprint\` a function that returns the plain data that matters, or \`fingerprint: false\`.`,
  );
}

/** A number as written, where a double would have changed it. */
class ExactNumber {
  readonly text: string;
  constructor(text: string) {
    this.text = text;
  }
}

/** Sixteen digits or more, or an exponent: what fits in neither is exact as a double. */
const mayRound = /\d[\d.]{15,}|\d[eE]/;

function keepExactNumbers(_key: string, value: unknown, { source }: { source?: string } = {}): unknown {
  if (typeof value !== 'number' || source === undefined) return value;
  const written = decimal(source);
  return Number.isFinite(value) && decimal(String(value)) === written ? value : new ExactNumber(written);
}

/** `-12.50e3` → `-125e2`: sign, digits without zeros at either end, power of ten. */
function decimal(source: string): string {
  const [, sign = '', whole = '', fraction = '', exponent = '0'] =
    /^(-?)(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(source) ?? [];
  const digits = (whole + fraction).replace(/^0+/, '');
  const significant = digits.replace(/0+$/, '');
  if (significant === '') return '0';
  const power = BigInt(exponent) - BigInt(fraction.length) + BigInt(digits.length - significant.length);
  return `${sign}${significant}e${power}`;
}
