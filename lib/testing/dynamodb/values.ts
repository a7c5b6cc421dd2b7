/** Attribute values and items: what is valid, equal, less, and how large. */
import { invalid } from './errors.ts';
import { addNumbers, canonicalNumber, compareNumbers, sizeOfNumber } from './numbers.ts';
import type { Item, Value } from './value.ts';

export type { Item, Value } from './value.ts';

export type Type = 'S' | 'N' | 'B' | 'BOOL' | 'NULL' | 'M' | 'L' | 'SS' | 'NS' | 'BS';

export const types: readonly Type[] = ['S', 'N', 'B', 'BOOL', 'NULL', 'M', 'L', 'SS', 'NS', 'BS'];

/** A value within an item is on the first level, and on one more in each list or map around it. */
const maxDepth = 32;
/** Names and values of one item. */
export const maxItemBytes = 400 * 1024;

export const typeOf = (value: Value): Type => Object.keys(value)[0] as Type;
/** What is in the value, whatever its type. */
export const contentOf = (value: Value): unknown => Object.values(value)[0];

const bytesOf = (text: string): number => Buffer.byteLength(text);
const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString('latin1');

/**
 * A copy of a caller's value, as DynamoDB would store it: numbers in their canonical form.
 *
 * @throws `ValidationException`
 */
export function readValue(given: unknown, depth = 0): Value {
  if (depth >= maxDepth) throw invalid('Nesting Levels have exceeded supported limits');
  const entries = Object.entries((given ?? {}) as object).filter(([, content]) => content !== undefined);
  const [type, content] = entries[0] ?? [];
  if (entries.length !== 1) {
    throw invalid('Supplied AttributeValue has more than one datatypes set, must contain exactly one');
  }
  switch (type) {
    case 'S':
      return { S: wellFormed(content) };
    case 'N':
      return { N: canonicalNumber(String(content)) };
    case 'B':
      return { B: Uint8Array.from(content as Uint8Array) };
    case 'BOOL':
      return { BOOL: content === true };
    case 'NULL':
      if (content !== true) throw invalid('Null attribute value types must have the value of true');
      return { NULL: true };
    case 'M':
      return { M: readItem(content, depth + 1) };
    case 'L':
      return { L: (content as unknown[]).map((one) => readValue(one, depth + 1)) };
    case 'SS':
      return { SS: readSet((content as string[]).map(wellFormed), (one) => one) };
    case 'NS':
      return { NS: readSet((content as string[]).map(canonicalNumber), (one) => one) };
    case 'BS':
      return {
        BS: readSet(
          (content as Uint8Array[]).map((one) => Uint8Array.from(one)),
          textOf,
        ),
      };
    default:
      throw invalid('Supplied AttributeValue is empty, must contain exactly one of the supported datatypes');
  }
}

/** What the SDK's encoder makes of half a surrogate pair. */
const wellFormed = (text: unknown): string => String(text).toWellFormed();

function readSet<T>(members: readonly T[], keyOf: (member: T) => string): T[] {
  if (members.length === 0) throw invalid('An set may not be empty');
  if (new Set(members.map(keyOf)).size !== members.length) {
    throw invalid('Input collection contains duplicates');
  }
  return sortedSet(members, keyOf);
}

/** A set has no order; here each has one, so that equal tables look equal. */
const sortedSet = <T>(members: readonly T[], keyOf: (member: T) => string): T[] =>
  [...members].sort((one, other) => (keyOf(one) < keyOf(other) ? -1 : 1));

export function readItem(given: unknown, depth = 0): Item {
  const item: Record<string, Value> = Object.create(null);
  for (const [name, value] of Object.entries((given ?? {}) as object)) {
    if (value === undefined) continue;
    if (name === '') throw invalid('Empty attribute name');
    item[name] = readValue(value, depth);
  }
  return item;
}

const lengthsOf = (values: readonly Value[]): number =>
  values.reduce((sum, value) => sum + 1 + sizeOfValue(value), 0);

/** @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html */
export function sizeOfValue(value: Value): number {
  if ('S' in value) return bytesOf(value.S);
  if ('N' in value) return sizeOfNumber(value.N);
  if ('B' in value) return value.B.length;
  if ('M' in value) return 3 + sizeOfItem(value.M) + Object.keys(value.M).length;
  if ('L' in value) return 3 + lengthsOf(value.L);
  if ('SS' in value) return value.SS.reduce((sum, one) => sum + bytesOf(one), 0);
  if ('NS' in value) return value.NS.reduce((sum, one) => sum + sizeOfNumber(one), 0);
  if ('BS' in value) return value.BS.reduce((sum, one) => sum + one.length, 0);
  return 1;
}

export const sizeOfItem = (item: Item): number =>
  Object.entries(item).reduce((sum, [name, value]) => sum + bytesOf(name) + sizeOfValue(value), 0);

/** Text that is the same for equal values and no others. Nothing is quoted twice: its length is linear in any depth. */
export function textOfValue(value: Value): string {
  if ('B' in value) return `B${JSON.stringify(textOf(value.B))}`;
  if ('BS' in value) return `BS${JSON.stringify(value.BS.map(textOf))}`;
  if ('L' in value) return `[${value.L.map(textOfValue).join()}]`;
  if ('M' in value) return textOfItem(value.M);
  return typeOf(value) + JSON.stringify(contentOf(value));
}

export function textOfItem(item: Item): string {
  const names = Object.keys(item).sort();
  return `{${names.map((name) => `${JSON.stringify(name)}:${textOfValue(item[name] as Value)}`).join()}}`;
}

export const isEqual = (one: Value, other: Value): boolean => textOfValue(one) === textOfValue(other);

/** Types that have an order. */
export const ordered: readonly Type[] = ['S', 'N', 'B'];

/** Below, at or above zero; `undefined` for values that have no order between them. Texts are compared by their bytes. */
export function compare(one: Value, other: Value): number | undefined {
  if ('N' in one && 'N' in other) return compareNumbers(one.N, other.N);
  if ('S' in one && 'S' in other) return Buffer.compare(Buffer.from(one.S), Buffer.from(other.S));
  if ('B' in one && 'B' in other) return Buffer.compare(one.B, other.B);
  return undefined;
}

/** What `size()` says, of a text its characters; `undefined` where a type has none. */
export function sizeFunction(value: Value): number | undefined {
  if ('S' in value) return value.S.length;
  if ('B' in value) return value.B.length;
  if ('M' in value) return Object.keys(value.M).length;
  const content = contentOf(value);
  return Array.isArray(content) ? content.length : undefined;
}

export function beginsWith(value: Value, prefix: Value): boolean {
  if ('S' in value && 'S' in prefix) return value.S.startsWith(prefix.S);
  if ('B' in value && 'B' in prefix) return textOf(value.B).startsWith(textOf(prefix.B));
  return false;
}

export function contains(value: Value, part: Value): boolean {
  if ('S' in value && 'S' in part) return value.S.includes(part.S);
  if ('B' in value && 'B' in part) return textOf(value.B).includes(textOf(part.B));
  if ('L' in value) return value.L.some((one) => isEqual(one, part));
  if ('SS' in value) return 'S' in part && value.SS.includes(part.S);
  if ('NS' in value) return 'N' in part && value.NS.includes(part.N);
  if ('BS' in value) return 'B' in part && value.BS.map(textOf).includes(textOf(part.B));
  return false;
}

export const isSet = (value: Value): boolean => ['SS', 'NS', 'BS'].includes(typeOf(value));

const byText = <T>(members: readonly T[]): Map<string, T> =>
  new Map(members.map((member) => [member instanceof Uint8Array ? textOf(member) : String(member), member]));

/** Members of either set, of one type. */
function unite<T>(one: readonly T[], other: readonly T[]): T[] {
  const inOrder = sortedSet([...byText([...one, ...other])], ([text]) => text);
  return inOrder.map(([, member]) => member);
}

/** Members of `one` that `other` has not; `undefined` where none is left. */
function subtract<T>(one: readonly T[], other: readonly T[]): T[] | undefined {
  const gone = byText(other);
  const left = [...byText(one)].filter(([text]) => !gone.has(text)).map(([, member]) => member);
  return left.length > 0 ? left : undefined;
}

/** Both are sets of one type. */
export function union(one: Value, other: Value): Value {
  if ('SS' in one && 'SS' in other) return { SS: unite(one.SS, other.SS) };
  if ('NS' in one && 'NS' in other) return { NS: unite(one.NS, other.NS) };
  if ('BS' in one && 'BS' in other) return { BS: unite(one.BS, other.BS) };
  return one;
}

/** Both are sets of one type. `undefined` where nothing is left. */
export function difference(one: Value, other: Value): Value | undefined {
  if ('SS' in one && 'SS' in other) {
    const SS = subtract(one.SS, other.SS);
    return SS && { SS };
  }
  if ('NS' in one && 'NS' in other) {
    const NS = subtract(one.NS, other.NS);
    return NS && { NS };
  }
  if ('BS' in one && 'BS' in other) {
    const BS = subtract(one.BS, other.BS);
    return BS && { BS };
  }
  return one;
}

export const sum = (one: string, other: string, sign: 1 | -1): Value => ({ N: addNumbers(one, other, sign) });

function copyValue(value: Value): Value {
  if ('M' in value) return { M: copyItem(value.M) };
  if ('L' in value) return { L: value.L.map(copyValue) };
  if ('B' in value) return { B: Uint8Array.from(value.B) };
  if ('BS' in value) return { BS: value.BS.map((one) => Uint8Array.from(one)) };
  if ('SS' in value) return { SS: [...value.SS] };
  if ('NS' in value) return { NS: [...value.NS] };
  return { ...value };
}

/** A plain object of its own, for whoever asked. */
export const copyItem = (item: Item): Item =>
  Object.fromEntries(Object.entries(item).map(([name, value]) => [name, copyValue(value)]));
