import { IdempotencyError } from '../errors.ts';
import { sha256 } from '../hash.ts';
import { isPlain } from '../validate.ts';

/**
 * The canonical text of a value: equal for two payloads of the same meaning, different for any others. Object keys are
 * sorted, members that are `undefined` are left out, arrays keep their order, numbers count by value (`1.0` = `1`).
 *
 * What JSON knows is written as JSON. All else begins with a bare word, as in `Date(0)`, which JSON never does. So a `Date`
 * differs from an object that looks like one.
 *
 * @throws `BAD_PAYLOAD` for a cycle, for more than 1,000 levels of nesting, and for values that hide their content: a
 * function, a symbol, a `Promise`, an instance without own members
 */
export function canonicalText(value: unknown): string {
  const sorted = sortedCopy(value, []);
  return sorted === notPlain ? write(value, new Set()) : JSON.stringify(sorted);
}

/** The canonical text of the pairs of a query or a form. Sorted by name; pairs of one name keep their order. */
export function canonicalPairs(pairs: [string, string][]): string {
  if (pairs.length === 0) return '[]';
  return JSON.stringify(pairs.sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0)));
}

/** Stands for a value that holds more than plain JSON data, or names that an object does not keep in their order. */
const notPlain = Symbol();

/**
 * A copy of `value` whose members are sorted by name, for `JSON.stringify` writes such a copy several times faster than
 * {@link write} does.
 *
 * @param ancestors the objects that contain `value`: one list for all levels, because copies of it would be too slow
 */
function sortedCopy(value: unknown, ancestors: object[]): unknown {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return value;
    case 'number':
      return Number.isFinite(value) ? value : notPlain;
    case 'object':
      break;
    default:
      return notPlain;
  }
  if (value === null) return null;
  if (ancestors.length >= maxDepth || ancestors.includes(value)) return notPlain;
  ancestors.push(value);
  const copy = Array.isArray(value) ? copyOfArray(value, ancestors) : copyOfObject(value, ancestors);
  ancestors.pop();
  return copy;
}

function copyOfArray(value: readonly unknown[], ancestors: object[]): unknown {
  const copy: unknown[] = [];
  // `map` would skip holes.
  for (const item of value) {
    const sorted = sortedCopy(item, ancestors);
    if (sorted === notPlain) return notPlain;
    copy.push(sorted);
  }
  return copy;
}

function copyOfObject(value: object, ancestors: object[]): unknown {
  const prototype: unknown = Object.getPrototypeOf(value);
  if ((prototype !== Object.prototype && prototype !== null) || 'toJSON' in value) return notPlain;
  const copy: Record<string, unknown> = {};
  for (const name of sortedNames(value)) {
    const member = (value as Record<string, unknown>)[name];
    if (member === undefined) continue;
    const sorted = isOutOfOrder(name) ? notPlain : sortedCopy(member, ancestors);
    if (sorted === notPlain) return notPlain;
    copy[name] = sorted;
  }
  return copy;
}

/** Whether an object would not keep `name` in its place: whole numbers come first, and this one is no member. */
const isOutOfOrder = (name: string): boolean => isDigit(name.charCodeAt(0)) || name === '__proto__';

export const isDigit = (code: number): boolean => code >= 0x30 && code <= 0x39;

function sortedNames(value: object): string[] {
  const names = Object.keys(value);
  if (names.length > fewNames) return names.sort();
  // By insertion, which for a few names takes a fraction of what `sort` does.
  for (let index = 1; index < names.length; index++) {
    const name = names[index] as string;
    let at = index;
    for (; at > 0 && (names[at - 1] as string) > name; at--) names[at] = names[at - 1] as string;
    names[at] = name;
  }
  return names;
}

const fewNames = 16;

/** @param ancestors the objects that contain `value`: one set for all levels, because copies of it would be too slow */
function write(value: unknown, ancestors: Set<object>): string {
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
  if (value instanceof Date) return `Date(${value.getTime()})`;
  if (ArrayBuffer.isView(value)) {
    const bytes = new Uint8Array(value.buffer, value.byteOffset, value.byteLength);
    return `${value.constructor.name}(${sha256(bytes)})`;
  }
  if (value instanceof ArrayBuffer) return `ArrayBuffer(${sha256(new Uint8Array(value))})`;
  if (ancestors.has(value)) throw unprintable('a cycle');
  if (ancestors.size >= maxDepth) throw tooDeep();
  ancestors.add(value);
  const text = writeObject(value, ancestors);
  ancestors.delete(value);
  return text;
}

function writeObject(value: object, ancestors: Set<object>): string {
  if (Array.isArray(value)) {
    let items = '';
    // `map` would skip holes.
    for (const item of value) {
      if (items !== '') items += ',';
      items += write(item, ancestors);
    }
    return `[${items}]`;
  }
  if (value instanceof Map) return `Map${write([...value], ancestors)}`;
  if (value instanceof Set) return `Set${write([...value], ancestors)}`;
  if ('toJSON' in value && typeof value.toJSON === 'function') return write(value.toJSON(), ancestors);
  const entries = Object.entries(value);
  // A Promise, a RegExp or an instance with private fields shows nothing: two different ones would look alike.
  if (entries.length === 0 && !isPlain(value)) {
    throw unprintable(`an instance of ${value.constructor.name}, which shows nothing of its content`);
  }
  const names: string[] = [];
  const texts: string[] = [];
  for (const [name, member] of entries) {
    if (member === undefined) continue;
    names.push(name);
    texts.push(`${JSON.stringify(name)}:${write(member, ancestors)}`);
  }
  return objectText(names, texts);
}

/**
 * The text of an object, whose members are those from `first` to before `end`. If several have one name, the last one counts,
 * as for `JSON.parse`.
 *
 * @param texts of the members, each with its name
 */
export function objectText(names: string[], texts: string[], first = 0, end: number = names.length): string {
  sortByName(names, texts, first, end);
  // V8 appends without a copy. A copy at each level of nesting would make the whole quadratic.
  let all = '';
  for (let index = first; index < end; index++) {
    if (index + 1 < end && names[index + 1] === names[index]) continue;
    all += all === '' ? '{' : ',';
    all += texts[index];
  }
  return all === '' ? '{}' : `${all}}`;
}

function sortByName(names: string[], texts: string[], first: number, end: number): void {
  if (end - first > fewNames) {
    const members: [string, string][] = [];
    for (let index = first; index < end; index++) members.push([names[index] ?? '', texts[index] ?? '']);
    members.sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0));
    for (const [index, [name, text]] of members.entries()) {
      names[first + index] = name;
      texts[first + index] = text;
    }
    return;
  }
  // By insertion, which for a few names takes a fraction of what `sort` does.
  for (let index = first + 1; index < end; index++) {
    const name = names[index] as string;
    const text = texts[index] as string;
    let at = index;
    for (; at > first && (names[at - 1] as string) > name; at--) {
      names[at] = names[at - 1] as string;
      texts[at] = texts[at - 1] as string;
    }
    names[at] = name;
    texts[at] = text;
  }
}

/** Deeper than any data is, and not too deep for the stack. */
export const maxDepth = 1_000;

export const tooDeep = (): IdempotencyError => unprintable(`more than ${maxDepth} levels of nesting`);

function unprintable(what: string): IdempotencyError {
  return new IdempotencyError(
    'BAD_PAYLOAD',
    `The payload cannot be fingerprinted: it holds ${what}. Give \`fingerprint\` a function that returns the plain data that matters, or \`fingerprint: false\`.`,
  );
}
