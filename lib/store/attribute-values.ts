/**
 * Plain JavaScript values as DynamoDB's attribute values and back, as `@aws-sdk/util-dynamodb` converts them, without that
 * package. What cannot be converted is named by its place and its kind: its own text may be personal data.
 */
import type { Attributes } from '../errors.ts';
import { isFunction, isPlain, isRecord, kindOf, memberPath } from '../validate.ts';

interface Kinds {
  S: string;
  N: string;
  B: Uint8Array;
  SS: string[];
  NS: string[];
  BS: Uint8Array[];
  M: Record<string, AttributeValue>;
  L: AttributeValue[];
  NULL: boolean;
  BOOL: boolean;
}

type OfKind<Kind extends keyof Kinds> = { [Name in Kind]: Kinds[Name] } & {
  [Name in Exclude<keyof Kinds, Kind> | '$unknown']?: never;
};

/** In the shape of the SDK's own type, which public types must not reach: not every user has the SDK. */
export type AttributeValue = { [Kind in keyof Kinds]: OfKind<Kind> }[keyof Kinds];

/** What a document client calls `marshallOptions`. */
export interface ToStoredOptions {
  readonly convertEmptyValues?: boolean;
  readonly removeUndefinedValues?: boolean;
  readonly convertClassInstanceToMap?: boolean;
  readonly allowImpreciseNumbers?: boolean;
}

/** What a document client calls `unmarshallOptions`. */
export interface FromStoredOptions {
  readonly wrapNumbers?: boolean | ((number: string) => unknown);
}

type Stored = Record<string, AttributeValue>;

/** Says where the value is and what it is, and nothing of what it holds. */
export class UnstorableValue extends TypeError {
  override readonly name = 'UnstorableValue';
}

/** What a message may say of an error of {@link toStored}: one that a getter threw may quote what it was to read. */
export const whyUnstorable = (error: unknown): string =>
  error instanceof UnstorableValue ? error.message : 'reading it threw an error';

/** @throws `UnstorableValue` */
export function toStored(values: object, options: ToStoredOptions = {}): Stored {
  return mapOf(Object.entries(values), '', { removeUndefinedValues: true, ...options }, 0);
}

export function fromStored(stored: Stored, options: FromStoredOptions = {}): Attributes {
  return Object.fromEntries(Object.entries(stored).map(([name, value]) => [name, plain(value, options)]));
}

/** More than the 32 levels that DynamoDB takes: it counts, and this is to stop at a cycle. */
const maxDepth = 64;

function attributeOf(value: unknown, path: string, options: ToStoredOptions, depth: number): AttributeValue {
  const refuse = (what: string) => new UnstorableValue(`${path.replace(/^\./, '')} ${what}`);
  if (depth > maxDepth) throw refuse('is nested too deeply, or is a cycle');
  if (value === undefined)
    throw refuse('is undefined: leave it out, or let the client have removeUndefinedValues');
  if (value === null) return { NULL: true };
  if (isBinary(value)) {
    return isEmptyBinary(value) && options.convertEmptyValues ? { NULL: true } : { B: value as Uint8Array };
  }
  const primitive = value instanceof Object && isBoxed(value) ? value.valueOf() : value;
  switch (typeof primitive) {
    case 'boolean':
      return { BOOL: primitive };
    case 'string':
      return primitive === '' && options.convertEmptyValues ? { NULL: true } : { S: primitive };
    case 'number':
    case 'bigint':
      return { N: numberOf(primitive, refuse, options) };
    case 'object':
      break;
    default:
      throw refuse(`is ${kindOf(value)}`);
  }
  if (isWrappedNumber(value)) return { N: value.value };
  if (Array.isArray(value)) {
    const items: AttributeValue[] = [];
    for (const [index, item] of value.entries()) {
      if (isLeftOut(item, options)) continue;
      items.push(attributeOf(item, `${path}[${index}]`, options, depth + 1));
    }
    return { L: items };
  }
  if (value instanceof Set) return setOf(value, path, refuse, options);
  if (value instanceof Map) return { M: mapOf(value.entries(), path, options, depth) };
  if (isPlain(value) || (isRecord(value) && options.convertClassInstanceToMap)) {
    return { M: mapOf(Object.entries(value), path, options, depth) };
  }
  throw refuse(`is ${kindOf(value)}`);
}

type Refuse = (what: string) => UnstorableValue;

function mapOf(
  entries: Iterable<[unknown, unknown]>,
  path: string,
  options: ToStoredOptions,
  depth: number,
): Stored {
  const pairs: [string, AttributeValue][] = [];
  for (const [key, value] of entries) {
    if (isLeftOut(value, options)) continue;
    const name = String(key);
    pairs.push([name, attributeOf(value, `${path}${memberPath(name)}`, options, depth + 1)]);
  }
  return Object.fromEntries(pairs);
}

/** Functions are no data: an object with methods is stored without them. */
const isLeftOut = (value: unknown, { removeUndefinedValues }: ToStoredOptions): boolean =>
  isFunction(value) || (value === undefined && removeUndefinedValues === true);

function setOf(
  values: ReadonlySet<unknown>,
  path: string,
  refuse: Refuse,
  options: ToStoredOptions,
): AttributeValue {
  const members = [...values].filter((value) => value !== undefined || !options.removeUndefinedValues);
  if (members.length === 0) {
    if (options.convertEmptyValues) return { NULL: true };
    throw refuse('is an empty Set, which DynamoDB does not have');
  }
  const kinds = members.map((member) => {
    if (isBinary(member)) return 'BS';
    if (typeof member === 'number' || typeof member === 'bigint' || isWrappedNumber(member)) return 'NS';
    if (typeof member === 'string') return 'SS';
    throw refuse(`is a Set with ${kindOf(member)} in it; DynamoDB has sets of strings, numbers or bytes`);
  });
  const [kind] = kinds;
  if (kinds.some((one) => one !== kind)) throw refuse('is a Set of values of different types');
  if (kind === 'BS') return { BS: members as Uint8Array[] };
  if (kind === 'SS') return { SS: members as string[] };
  return { NS: members.map((member) => attributeOf(member, path, options, 0).N ?? '') };
}

function numberOf(
  value: number | bigint,
  refuse: Refuse,
  { allowImpreciseNumbers }: ToStoredOptions,
): string {
  if (typeof value === 'bigint') return String(value);
  if (!Number.isFinite(value)) throw refuse(`is ${value}`);
  if (Math.abs(value) > Number.MAX_SAFE_INTEGER && !allowImpreciseNumbers) {
    throw refuse('is a number beyond 2^53 − 1, which may have been rounded: use a BigInt');
  }
  return String(value);
}

function plain(value: AttributeValue, options: FromStoredOptions): unknown {
  if (value.NULL !== undefined) return null;
  if (value.BOOL !== undefined) return Boolean(value.BOOL);
  if (value.N !== undefined) return plainNumber(value.N, options);
  if (value.NS !== undefined) return new Set(value.NS.map((number) => plainNumber(number, options)));
  if (value.SS !== undefined) return new Set(value.SS);
  if (value.BS !== undefined) return new Set(value.BS);
  if (value.L !== undefined) return value.L.map((item) => plain(item, options));
  if (value.M !== undefined) return fromStored(value.M, options);
  return value.S ?? value.B;
}

function plainNumber(text: string, { wrapNumbers }: FromStoredOptions): unknown {
  if (typeof wrapNumbers === 'function') return wrapNumbers(text);
  const number = Number(text);
  return Math.abs(number) > Number.MAX_SAFE_INTEGER && /^[+-]?\d+$/.test(text) ? BigInt(text) : number;
}

interface WrappedNumber {
  readonly value: string;
}

/** lib-dynamodb's `NumberValue`, whichever copy of the package made it. */
const isWrappedNumber = (value: unknown): value is WrappedNumber =>
  isRecord(value) && typeof value.value === 'string' && isFunction(value.toAttributeValue);

const isBoxed = (value: object): boolean =>
  value instanceof Number || value instanceof String || value instanceof Boolean;

const isBinary = (value: unknown): boolean =>
  value instanceof ArrayBuffer || ArrayBuffer.isView(value) || value instanceof Blob;

const isEmptyBinary = (value: unknown): boolean =>
  (value as { byteLength?: number }).byteLength === 0 || (value as { size?: number }).size === 0;
