import { Buffer } from 'node:buffer';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { parse, stringify } from 'devalue';
import { IdempotencyError } from '../errors.ts';
import type { Seal, Unavailable } from '../store/index.ts';
import { isFunction } from '../validate.ts';
import { bounded } from './bounded.ts';
import { problemIn } from './storable.ts';

/**
 * An answer's way into a record and back: serialise, compress, seal. The first byte says how:
 *
 * | bit | set | clear |
 * |---|---|---|
 * | 0 | devalue | JSON |
 * | 1 | raw deflate | as it is |
 */
const format = { devalue: 1, deflate: 2 } as const;

/** A write unit is 1 KB of item; the claim's other attributes take about this much of the first. */
const writeUnitBytes = 1024;
const claimOverheadBytes = 400;

/**
 * The most that is compressed, and so the most that is unpacked: a record that somebody else has written may claim to be any
 * size. Lambda answers with 6 MB at most.
 */
const maxUnpackedBytes = 16_000_000;

export type Encoded =
  /** `plain` is what `seal` was given: equal for equal values, which sealed bytes are not. */
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array; readonly plain: Uint8Array }
  /** `plain` is absent for what cannot be serialised. */
  | ({
      readonly kind: 'unavailable';
      readonly cause?: unknown;
      readonly plain?: Uint8Array;
    } & Unavailable);

/** What a record carries of it. */
export const answerIn = (encoded: Encoded): Uint8Array | Unavailable => {
  if (encoded.kind === 'bytes') return encoded.bytes;
  const { reason, detail } = encoded;
  return { reason, ...(detail !== undefined && { detail }) };
};

interface CodecOptions {
  readonly operation: string;
  readonly maxBytes: number;
  readonly seal?: Seal | undefined;
  /** How long `seal` may take, for the work is done when its answer is sealed. @default for ever */
  readonly sealTimeMs?: number;
}

/** Encodes a snapshot of `value`. Never throws: what cannot be kept is said to be unavailable, with the reason. */
export async function encode(value: unknown, options: CodecOptions): Promise<Encoded> {
  const serialised = serialise(value);
  if (serialised.kind === 'problem') {
    const { detail } = serialised;
    return { kind: 'unavailable', reason: 'unserialisable', detail, cause: new TypeError(detail) };
  }
  const plain = compress(serialised.bytes);
  let bytes = plain;
  if (options.seal) {
    try {
      bytes = await sealed(options.seal, bytes, options);
    } catch (cause) {
      return { kind: 'unavailable', reason: 'not-sealed', cause, plain };
    }
  }
  if (bytes.length <= options.maxBytes) return { kind: 'bytes', bytes, plain };
  const detail = `${bytes.length} bytes as stored, and ${options.maxBytes} is the most`;
  return { kind: 'unavailable', reason: 'too-large', detail, plain };
}

/**
 * Decodes what {@link encode} made; every call makes a copy of its own.
 *
 * @throws `STORE_UNAVAILABLE` where `seal.open` fails, for that may pass; anything else means that the bytes are not
 * what was written.
 */
export async function decode(
  bytes: Uint8Array,
  { operation, seal }: Pick<CodecOptions, 'operation' | 'seal'>,
): Promise<unknown> {
  const plain = seal ? await open(seal, bytes, operation) : bytes;
  const [head] = plain;
  if (head === undefined || head & ~(format.devalue | format.deflate)) throw new Error('Unknown format.');
  const body = plain.subarray(1);
  try {
    const text = Buffer.from(head & format.deflate ? unpacked(body) : body).toString('utf8');
    return head & format.devalue ? parse(text, revivers) : JSON.parse(text);
  } catch (error) {
    // Its message quotes what could not be read, and that is somebody's answer.
    throw new Error(`The bytes do not decode (${(error as Error).name}).`);
  }
}

async function sealed(
  seal: Seal,
  plain: Uint8Array,
  { operation, sealTimeMs = Number.POSITIVE_INFINITY }: CodecOptions,
): Promise<Uint8Array> {
  const work = (async () => seal.seal(plain, { operation }))();
  return bounded(
    work,
    sealTimeMs,
    () => new Error(`seal() did not answer within ${Math.round(sealTimeMs)} ms.`),
  );
}

async function open(seal: Seal, bytes: Uint8Array, operation: string): Promise<Uint8Array> {
  try {
    return await seal.open(bytes, { operation });
  } catch (cause) {
    throw new IdempotencyError(
      'STORE_UNAVAILABLE',
      'The answer to this idempotency key cannot be decrypted at the moment. The operation was completed earlier and has not been done again; try again.',
      { cause, retryAfterSeconds: 1 },
    );
  }
}

type Serialised =
  | { readonly kind: 'bytes'; readonly bytes: Uint8Array }
  /** Where in the value it is that cannot be stored, and what. */
  | { readonly kind: 'problem'; readonly detail: string };

/** Never throws, and keeps what was thrown to itself: that may quote the value. */
function serialise(value: unknown): Serialised {
  try {
    if (survivesJson(value, new Set())) {
      return { kind: 'bytes', bytes: withHead(0, Buffer.from(JSON.stringify(value))) };
    }
  } catch {
    // A getter that throws, or nesting beyond the stack: told below, with its place.
  }
  try {
    const detail = problemIn(value);
    if (detail !== undefined) return { kind: 'problem', detail };
    const text = stringify(value, reducers);
    // Around an array with members of its own devalue writes a cycle that it does not read.
    if (text.includes('["Members"')) parse(text, revivers);
    return { kind: 'bytes', bytes: withHead(format.devalue, Buffer.from(text)) };
  } catch {
    return { kind: 'problem', detail: '$ holds a cycle, is nested too deeply, or changes while it is read' };
  }
}

const unpacked = (body: Uint8Array): Buffer => inflateRawSync(body, { maxOutputLength: maxUnpackedBytes });

function compress(plain: Uint8Array): Uint8Array {
  if (units(plain.length) === 1 || plain.length > maxUnpackedBytes) return plain;
  const packed = deflateRawSync(plain.subarray(1));
  return units(packed.length) < units(plain.length)
    ? withHead((plain[0] ?? 0) | format.deflate, packed)
    : plain;
}

const units = (bytes: number): number => Math.ceil((claimOverheadBytes + bytes) / writeUnitBytes);

function withHead(head: number, body: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(body.length + 1);
  bytes[0] = head;
  bytes.set(body, 1);
  return bytes;
}

/**
 * Whether `JSON.parse(JSON.stringify(value))` equals `value`. Objects that are met twice, in a cycle or side by side, are
 * left to devalue, which knows references.
 */
function survivesJson(value: unknown, met: Set<object>): boolean {
  switch (typeof value) {
    case 'string':
    case 'boolean':
      return true;
    case 'number':
      return Number.isFinite(value) && !Object.is(value, -0);
    case 'object':
      break;
    default:
      return false;
  }
  if (value === null) return true;
  if (met.has(value) || isFunction((value as { toJSON?: unknown }).toJSON)) return false;
  met.add(value);
  if (Array.isArray(value)) {
    if (Object.getPrototypeOf(value) !== Array.prototype || hasMembers(value)) return false;
    // Unlike `every`, this does not skip holes.
    for (const item of value) if (!survivesJson(item, met)) return false;
    return true;
  }
  if (Object.getPrototypeOf(value) !== Object.prototype) return false;
  if (Object.getOwnPropertySymbols(value).length > 0) return false;
  for (const member of Object.values(value)) {
    if (!survivesJson(member, met)) return false;
  }
  return true;
}

/** Whether an array has members beside its items. `Object.keys` gives those last. */
const hasMembers = (items: readonly unknown[]): boolean => {
  const last = Object.keys(items).at(-1);
  return last !== undefined && !isIndex(last);
};

/** Of an array: its own names that are canonical numbers are items. */
const isIndex = (name: string): boolean => String(Number(name) >>> 0) === name && name !== '4294967295';

type View = NodeJS.ArrayBufferView;

/** A view of a part of its buffer. The rest may be anybody's: small Buffers share one pool. */
const isWindow = (value: unknown): value is View =>
  ArrayBuffer.isView(value) && value.byteLength !== value.buffer.byteLength;

const copyOf = (view: View): View =>
  view instanceof DataView
    ? new DataView(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength))
    : view.slice();

// devalue knows typed arrays, but would hand a Buffer back as a plain Uint8Array, whose toString differs, and would store
// the whole buffer behind a window. Of an array it would store nothing but the items. A reducer's answer must be truthy, so
// it travels in an array: an empty Buffer has an empty text.
const reducers = {
  Buffer: (value: unknown) => Buffer.isBuffer(value) && [value.toString('base64')],
  Window: (value: unknown) => isWindow(value) && [copyOf(value)],
  Members: (value: unknown) => Array.isArray(value) && hasMembers(value) && [value.slice(), membersOf(value)],
};
const revivers = {
  Buffer: ([base64]: [string]) => Buffer.from(base64, 'base64'),
  Window: ([view]: [View]) => view,
  Members: ([items, members]: [unknown[], object]) => Object.assign(items, members),
};

const membersOf = (items: readonly unknown[]): object =>
  Object.fromEntries(Object.entries(items).filter(([name]) => !isIndex(name)));
