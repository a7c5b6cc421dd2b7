import { Buffer } from 'node:buffer';
import { isDeepStrictEqual } from 'node:util';
import { decode, encode } from '../../../../lib/engine/index.ts';
import type { Draw } from '../draw.ts';
import { foreign, type Input, readLater, type Target } from '../target.ts';
import { secret } from './valid-events.ts';

interface Codec {
  readonly encode: typeof encode;
  readonly decode: typeof decode;
}

interface Stored {
  /** An answer, as {@link built} makes it. */
  readonly answer: Input;
  /** Places in the stored bytes, and what is done there; none leaves them as they are. */
  readonly damage: readonly (readonly [place: number, what: number])[];
}

const options = { operation: 'operation', maxBytes: 1_000_000 };

/** An answer comes back as it was. Damaged bytes come back as something, or are refused without a word of what they hold. */
export const codecTarget = ({ encode: write, decode: read }: Codec = { encode, decode }): Target => ({
  name: 'stored answers',
  make: (draw) => ({
    answer: drawAnswer(draw, 3),
    damage: draw.isTrue(0.5) ? [] : draw.list(3, () => [draw.between(0, 10_000), draw.between(0, 600)]),
  }),
  async complaint({ answer = null, damage = [] }: Partial<Stored>) {
    const value = built(answer, []);
    const encoded = await write(value, options);
    if (encoded.kind === 'unavailable') return `it cannot keep an answer: ${encoded.detail}`;
    const bytes = damaged(encoded.bytes, damage);
    const found = await readLater(async () => read(bytes, options));
    if (found.kind === 'refused') return `it refuses with ${found.code}`;
    if (damage.length === 0) {
      if (found.kind === 'threw') return foreign(found.error);
      return isDeepStrictEqual(found.value, value) ? undefined : 'an answer comes back as another one';
    }
    if (found.kind === 'value') return undefined;
    const message = String(found.error);
    const isOurs = /^Error: (?:Unknown format\.|The bytes do not decode \(\w+\)\.)$/.test(message);
    return isOurs && !message.includes(secret) ? undefined : foreign(found.error);
  },
});

// V8 takes a name with escapes for another one, in JSON.parse: none is drawn (https://github.com/nodejs/node/issues/63785).
const names = ['a', 'b', 'amount', '0', '10', 'é', '😀', 'constructor', 'toString', 'length', 'n', 'Map'];
const texts = [
  '',
  secret,
  'é',
  '😀',
  '\ud800',
  '\u0000',
  '"',
  '\\',
  '__proto__',
  'undefined',
  'NaN',
  'x'.repeat(2_000),
];

/** What JSON cannot hold, by its word. */
const leaves: Readonly<Record<string, () => unknown>> = {
  undefined: () => undefined,
  NaN: () => Number.NaN,
  Infinity: () => Number.NEGATIVE_INFINITY,
  '-0': () => -0,
  bigint: () => -(2n ** 70n),
  Date: () => new Date(0),
  'no date': () => new Date(Number.NaN),
  RegExp: () => /a\/b/giu,
  URL: () => new URL('https://example.com/?a=%20'),
  Buffer: () => Buffer.from('ab'),
  'empty Buffer': () => Buffer.alloc(0),
  Uint8Array: () => new Uint8Array([1, 2]),
  window: () => new Uint8Array([1, 2, 3, 4]).subarray(1, 3),
  Float64Array: () => new Float64Array([Number.NaN, -0]),
  holes: () => Object.assign(new Array(3), { 1: 1 }),
};

function drawAnswer(draw: Draw, depth: number): Input {
  const kind = draw.between(0, depth > 0 ? 9 : 4);
  if (kind === 0) return draw.pick([null, true, 0, 1.5, -1e300, Number.MAX_SAFE_INTEGER]);
  if (kind <= 2) return draw.pick(texts);
  if (kind <= 4) return { $: draw.pick(Object.keys(leaves)) };
  const parts = draw.list(4, () => drawAnswer(draw, depth - 1));
  if (kind === 5) return parts;
  if (kind === 6) return { $: draw.pick(['Map', 'Set', 'bare', 'array with members']), parts };
  if (kind === 7) return { $: 'again', place: draw.between(0, 5) };
  return { $: 'object', members: parts.map((part) => [draw.pick(names), part]) };
}

/** @param met the objects built so far, any of which may be met again: in itself, too */
function built(part: Input, met: object[]): unknown {
  if (typeof part !== 'object' || part === null) return part;
  if (isList(part)) {
    const list: unknown[] = [];
    met.push(list);
    for (const item of part) list.push(built(item, met));
    return list;
  }
  const {
    $: kind = '',
    parts = [],
    members = [],
    place = 0,
  } = part as {
    readonly $?: string;
    readonly parts?: readonly Input[];
    readonly members?: readonly (readonly [name?: string, member?: Input])[];
    readonly place?: number;
  };
  const leaf = Object.hasOwn(leaves, kind) ? leaves[kind] : undefined;
  if (leaf) return leaf();
  if (kind === 'again') return met[place] ?? null;
  if (kind === 'Map' || kind === 'Set') {
    const made = kind === 'Map' ? new Map() : new Set();
    met.push(made);
    for (const [index, one] of parts.entries()) {
      const item = built(one, met);
      if (made instanceof Map) made.set(index, item);
      else made.add(item);
    }
    return made;
  }
  const made: object = kind === 'bare' ? Object.create(null) : kind === 'array with members' ? [1] : {};
  met.push(made);
  for (const [index, one] of parts.entries()) Object.assign(made, { [`part ${index}`]: built(one, met) });
  for (const [name = 'a', member = null] of members) Object.assign(made, { [name]: built(member, met) });
  return made;
}

const isList = (part: Input): part is readonly Input[] => Array.isArray(part);

function damaged(bytes: Uint8Array, damage: Stored['damage']): Uint8Array {
  let changed = Buffer.from(bytes);
  for (const [place = 0, what = 0] of damage) {
    const at = place % (changed.length + 1);
    if (what < 256)
      changed = Buffer.concat([changed.subarray(0, at), Buffer.from([what]), changed.subarray(at + 1)]);
    else if (what < 400)
      changed = Buffer.concat([changed.subarray(0, at), changed.subarray(at + (what % 9))]);
    else if (what < 500) changed = Buffer.concat([changed.subarray(0, at), changed.subarray(at >> 1)]);
    else
      changed = Buffer.concat([
        changed.subarray(0, at),
        Buffer.from(pieces[what % pieces.length] ?? ''),
        changed.subarray(at),
      ]);
  }
  return changed;
}

const pieces = [
  '[',
  ']',
  '"',
  '{}',
  ',[1]',
  '["n","zz"]',
  '["Array",4294967295,{}]',
  '["Array",-1,{}]',
  '[99]',
  '["Map",1]',
  '["RegExp","(",""]',
  '["URL","a"]',
  '{"__proto__":1}',
  'null',
];
