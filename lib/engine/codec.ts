import { Buffer } from 'node:buffer';
import { deflateRawSync, inflateRawSync } from 'node:zlib';
import { IdempotencyError } from '../errors.ts';
import type { Seal, Unavailable } from '../store/index.ts';
import { isFunction } from '../validate.ts';
import { bounded } from './bounded.ts';
import { isDense, read, UnstorableAnswer, write } from './tagged.ts';

/**
 * An answer's way into a record and back: serialise, compress, seal. The first byte says how:
 *
 * | bit | set | clear |
 * |---|---|---|
 * | 1 | raw deflate | as it is |
 * | 2 | tagged text, for what JSON cannot hold | JSON |
 */
const format = { deflate: 2, tagged: 4 } as const;

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
  readonly sealTimeMs?: number | undefined;
}

/**
 * Encodes a snapshot of `value`; at once, unless it is sealed. Never throws: what cannot be kept is said to be unavailable,
 * with the reason.
 */
export function encode(value: unknown, options: CodecOptions): Encoded | Promise<Encoded> {
  const serialised = serialise(value);
  if (serialised.kind === 'problem') {
    const { detail } = serialised;
    return { kind: 'unavailable', reason: 'unserialisable', detail, cause: new TypeError(detail) };
  }
  const plain = compress(serialised.bytes);
  if (!options.seal) return fitting(plain, plain, options);
  // In memory of its own: what `seal` might read around it is not ours to show.
  return encodeSealed(options.seal, new Uint8Array(plain), options);
}

async function encodeSealed(seal: Seal, plain: Uint8Array, options: CodecOptions): Promise<Encoded> {
  try {
    return fitting(await sealed(seal, plain, options), plain, options);
  } catch (cause) {
    return { kind: 'unavailable', reason: 'not-sealed', cause, plain };
  }
}

function fitting(bytes: Uint8Array, plain: Uint8Array, { maxBytes }: CodecOptions): Encoded {
  if (bytes.length <= maxBytes) return { kind: 'bytes', bytes, plain };
  const detail = `${bytes.length} bytes as stored, and ${maxBytes} is the most`;
  return { kind: 'unavailable', reason: 'too-large', detail, plain };
}

/**
 * Decodes what {@link encode} made, at once, unless it is sealed; every call makes a copy of its own.
 *
 * @throws `STORE_UNAVAILABLE` where `seal.open` fails, for that may pass; anything else means that the bytes are not
 * what was written.
 */
export function decode(
  bytes: Uint8Array,
  { operation, seal }: Pick<CodecOptions, 'operation' | 'seal'>,
): unknown {
  return seal ? open(seal, bytes, operation).then(decodePlain) : decodePlain(bytes);
}

function decodePlain(plain: Uint8Array): unknown {
  const [head] = plain;
  if (head === undefined || head & ~(format.tagged | format.deflate)) throw new Error('Unknown format.');
  const body = Buffer.from(plain.buffer, plain.byteOffset + 1, plain.byteLength - 1);
  try {
    const text = (head & format.deflate ? unpacked(body) : body).toString();
    return head & format.tagged ? read(text) : JSON.parse(text);
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
      'The operation was completed earlier, but its answer cannot be decrypted at the moment; try again.',
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
    if (survivesJson(value, new Set())) return { kind: 'bytes', bytes: bytesOf(0, JSON.stringify(value)) };
  } catch {
    // A getter that throws, or nesting beyond the stack: told below, with its place.
  }
  try {
    return { kind: 'bytes', bytes: bytesOf(format.tagged, write(value)) };
  } catch (error) {
    const detail = error instanceof UnstorableAnswer ? error.message : '$ changes while it is read';
    return { kind: 'problem', detail };
  }
}

/** The head is a character of one byte. A short text lies in Node's pool, because memory of its own is dear. */
const bytesOf = (head: number, text: string): Uint8Array => Buffer.from(String.fromCharCode(head) + text);

const unpacked = (body: Uint8Array): Buffer => inflateRawSync(body, { maxOutputLength: maxUnpackedBytes });

function compress(plain: Uint8Array): Uint8Array {
  if (units(plain.length) === 1 || plain.length > maxUnpackedBytes) return plain;
  // At zlib's own level: a faster one saves tenths of a millisecond and takes up to a tenth more write units, which cost more.
  const packed = deflateRawSync(plain.subarray(1));
  if (units(packed.length) >= units(plain.length)) return plain;
  const bytes = new Uint8Array(packed.length + 1);
  bytes[0] = (plain[0] ?? 0) | format.deflate;
  bytes.set(packed, 1);
  return bytes;
}

const units = (bytes: number): number => Math.ceil((claimOverheadBytes + bytes) / writeUnitBytes);

/**
 * Whether `JSON.parse(JSON.stringify(value))` equals `value`. Objects that are met twice, in a cycle or side by side, are
 * left to tagged text, which knows references.
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
    if (Object.getPrototypeOf(value) !== Array.prototype || !isDense(value)) return false;
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
