/**
 * Text for what JSON cannot hold, and back. The text is JSON, of a table: first the value, then each object in it, once, so
 * that cycles and shared references survive, and depth takes no stack.
 *
 * | place of a value | holds |
 * |---|---|
 * | `3`, `"a"`, `true`, `null` | itself |
 * | `[7]` | object 7 of the table |
 * | `["NaN"]`, `["undefined"]` … | what JSON has no word for |
 * | `["n", "-ff"]` | an integer of any size |
 *
 * | object of the table | is |
 * |---|---|
 * | `{…}` | a plain object, with a place for each member |
 * | `[[…]]` | an array, with a place for each item |
 * | `["Map", …]` | an object of another kind |
 */
import { classOf, isFunction, isPlain, isRecord, isThenable, kindOf, memberPath } from '../validate.ts';

/**
 * Says where in a value something stands that cannot be stored, and what kind of thing it is: `$.total is a Money`. It shows
 * nothing of what that holds, for a log may have it.
 */
export class UnstorableAnswer extends TypeError {
  constructor(detail: string) {
    super(
      detail.length <= maxLength
        ? detail
        : `${detail.slice(0, maxLength / 2)}…${detail.slice(1 - maxLength / 2)}`,
    );
  }
}

const maxLength = 300;

/** From a value to what its place holds. @param at where the value is within the object that holds it */
type Place = (value: unknown, at: string) => unknown;
/** From what a place holds to the value. */
type Read = (place: unknown) => unknown;

/** How objects of a kind are written and read. They are all made before any is filled, for they may hold each other. */
interface Kind {
  /** Whether its objects show members that are not their own: the characters of a string. */
  readonly isBoxed?: boolean;
  readonly write: (value: never, place: Place) => readonly unknown[];
  readonly make: (written: never[], read: Read) => object;
  readonly fill?: (made: never, written: never[], read: Read) => void;
}

const byText = (make: (text: string) => object): Kind => ({
  write: (value: object) => [String(value)],
  make: ([text]: string[]) => make(text as string),
});

const byBytes = (make: (bytes: ArrayBuffer) => object): Kind => ({
  write: (value: ArrayBuffer | NodeJS.ArrayBufferView) => [
    // Only a view's own window: around it, in a buffer that is shared, may lie anybody's bytes.
    (ArrayBuffer.isView(value)
      ? Buffer.from(value.buffer, value.byteOffset, value.byteLength)
      : Buffer.from(value)
    ).toString('base64'),
  ],
  make: ([base64]: string[]) => make(new Uint8Array(Buffer.from(base64 as string, 'base64')).buffer),
});

const boxed: Kind = {
  isBoxed: true,
  write: (value: object, place) => [place(value.valueOf(), '')],
  make: ([place], read) => Object(read(place)) as object,
};

/** A class of the runtime's that TypeScript, or an older runtime, does not know. */
const ofRuntime = (name: string): unknown => (globalThis as unknown as Record<string, unknown>)[name];

const typedArray = (name: string): [string, Kind] => [
  name,
  byBytes((bytes) => new (ofRuntime(name) as typeof Uint8Array)(bytes)),
];

const temporal = (name: string): [string, Kind] => [
  `Temporal.${name}`,
  byText(
    (text) =>
      (ofRuntime('Temporal') as Record<string, { from(text: string): object }>)[name]?.from(text) as object,
  ),
];

/**
 * Every kind beside plain objects and arrays without gaps, by its tag, which is what `Object.prototype.toString` says. `null`
 * is an object without a prototype.
 */
const allKinds = (): Readonly<Record<string, Kind>> => ({
  Number: boxed,
  String: boxed,
  Boolean: boxed,
  BigInt: boxed,
  Date: {
    write: (value: Date) => [value.getTime()],
    make: ([ms]: (number | null)[]) => new Date(ms ?? Number.NaN),
  },
  RegExp: {
    write: (value: RegExp) => [value.source, value.flags],
    make: ([source, flags]: string[]) => new RegExp(source as string, flags),
  },
  URL: byText((text) => new URL(text)),
  URLSearchParams: byText((text) => new URLSearchParams(text)),
  Map: {
    write: (value: Map<unknown, unknown>, place) =>
      [...value].flatMap(([name, member]) => [place(name, '.keys()'), place(member, '.get(…)')]),
    make: () => new Map(),
    fill(made: Map<unknown, unknown>, written, read) {
      for (let i = 0; i < written.length; i += 2) made.set(read(written[i]), read(written[i + 1]));
    },
  },
  Set: {
    write: (value: Set<unknown>, place) => [...value].map((member) => place(member, '.values()')),
    make: () => new Set(),
    fill(made: Set<unknown>, written, read) {
      for (const place of written) made.add(read(place));
    },
  },
  Array: {
    write: (value: unknown[], place) => [value.length, placed(value, place)],
    make: ([length]: number[]) => arrayOfHoles(length as number),
    fill: (made: object, [, members]: object[], read) => define(made, members as object, read),
  },
  null: {
    write: (value: object, place) => [placed(value, place)],
    make: () => Object.create(null) as object,
    fill: (made: object, [members]: object[], read) => define(made, members as object, read),
  },
  ArrayBuffer: byBytes((bytes) => bytes),
  DataView: byBytes((bytes) => new DataView(bytes)),
  Buffer: byBytes((bytes) => Buffer.from(bytes)),
  ...Object.fromEntries(
    'Int8 Uint8 Uint8Clamped Int16 Uint16 Int32 Uint32 BigInt64 BigUint64 Float16 Float32 Float64'
      .split(' ')
      .map((items) => typedArray(`${items}Array`)),
  ),
  ...Object.fromEntries(
    'Duration Instant PlainDate PlainDateTime PlainMonthDay PlainTime PlainYearMonth ZonedDateTime'
      .split(' ')
      .map(temporal),
  ),
});

let kinds: ReadonlyMap<string, Kind> | undefined;
/** They are made for the first value that needs one: most answers are plain JSON. */
const kindOfTag = (tag: string): Kind | undefined => {
  kinds ??= new Map(Object.entries(allKinds()));
  return kinds.get(tag);
};

/** How a place names what JSON has no word for. */
const nameOfUnwritten = (value: unknown): string => (Object.is(value, -0) ? '-0' : String(value));
const unwritten = new Map(
  [undefined, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0].map((value) => [
    nameOfUnwritten(value),
    value,
  ]),
);

/**
 * `value` as text.
 *
 * @throws `UnstorableAnswer`, and what reading `value` throws
 */
export function write(value: unknown): string {
  const found = new Map<object, { readonly number: number; readonly path: string }>();
  const placeAt: Place = (one, path) => {
    switch (typeof one) {
      case 'undefined':
      case 'number':
        return Number.isFinite(one) && !Object.is(one, -0) ? one : [nameOfUnwritten(one)];
      case 'bigint':
        // Unlike decimal digits, these are read in linear time.
        return ['n', one.toString(16)];
      case 'function':
      case 'symbol':
        throw new UnstorableAnswer(
          `${path} is ${one === unreadable ? 'a getter that throws' : `a ${typeof one}`}`,
        );
      case 'object': {
        if (one === null) return one;
        const { number } = found.get(one) ?? { number: found.size + 1 };
        if (number > found.size) found.set(one, { number, path });
        return [number];
      }
      default:
        return one;
    }
  };
  const table: unknown[] = [placeAt(value, '$')];
  // It grows under the loop.
  for (const [object, { path }] of found) {
    refuseUnstorable(object, path);
    table.push(entry(object, (one, at) => placeAt(one, path + at)));
  }
  return JSON.stringify(table);
}

/** Stands for a member whose getter throws. */
const unreadable = Symbol();

/** @throws `UnstorableAnswer` for what would be read back as something else; the members of `value` are not looked at */
function refuseUnstorable(value: object, path: string): void {
  if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) return;
  const tag = tagOf(value);
  const kind = kindOfTag(tag);
  const problem = isThenable(value)
    ? 'is a promise'
    : !(kind ? nameOf(tag) === classOf(value) : isPlain(value))
      ? `is ${kindOf(value)}`
      : tag === 'Array' || !kind
        ? whyMembersAreLost(value)
        : !kind.isBoxed && Object.keys(value).length > 0
          ? `is a ${tag} with members of its own`
          : undefined;
  if (problem !== undefined) throw new UnstorableAnswer(`${path} ${problem}`);
}

function whyMembersAreLost(value: object): string | undefined {
  if (isFunction((value as { toJSON?: unknown }).toJSON)) return 'has a function toJSON';
  const isEnumerable = (name: symbol) => Object.prototype.propertyIsEnumerable.call(value, name);
  return Object.getOwnPropertySymbols(value).some(isEnumerable)
    ? 'has a member that is named by a symbol'
    : undefined;
}

/** `Temporal.Instant`'s class is called `Instant`. */
const nameOf = (tag: string): string => tag.slice(tag.lastIndexOf('.') + 1);

function entry(value: object, place: Place): unknown {
  if (Array.isArray(value) && isDense(value)) {
    return [value.map((_, index) => place(memberOf(value, index), `[${index}]`))];
  }
  const tag = Buffer.isBuffer(value)
    ? 'Buffer'
    : Object.getPrototypeOf(value) === null
      ? 'null'
      : tagOf(value);
  const kind = kindOfTag(tag);
  return kind ? [tag, ...kind.write(value as never, place)] : placed(value, place);
}

/**
 * The value of a text that {@link write} made. Any other text is bounded, too: it takes time and memory by its own length.
 *
 * @throws for a text that no value has
 */
export function read(text: string): unknown {
  const table = JSON.parse(text) as unknown[];
  const made: object[] = [];
  const value: Read = (place) => {
    if (typeof place !== 'object' || place === null) return place;
    const [what, digits] = place as [unknown, string];
    if (typeof what === 'number' && made[what]) return made[what];
    if (what === 'n') return digits[0] === '-' ? -BigInt(`0x${digits.slice(1)}`) : BigInt(`0x${digits}`);
    if (unwritten.has(what as string)) return unwritten.get(what as string);
    throw new TypeError('No place has this.');
  };
  const fillings: (() => void)[] = [];
  for (let number = 1; number < table.length; number++) {
    const [tag, ...written] = [table[number]].flat() as [unknown, ...never[]];
    const kind = kindOfTag(tag as string);
    if (kind) {
      const object = kind.make(written, value);
      made[number] = object;
      fillings.push(() => kind.fill?.(object as never, written, value));
    } else {
      if (!isRecord(tag)) throw new TypeError('No object is of this kind.');
      made[number] = tag;
      fillings.push(() => {
        // JSON.parse has made these members its own: writing one of them, even `__proto__`, reaches no prototype.
        for (const name of Object.keys(tag)) tag[name] = value(tag[name]);
      });
    }
  }
  for (const fill of fillings) fill();
  return value(table[0]);
}

/** Whether an array has neither gaps nor members beside its items. Of its own names, those of items come first. */
export function isDense(items: readonly unknown[]): boolean {
  const names = Object.keys(items);
  return names.length === items.length && (names.length === 0 || names.at(-1) === String(names.length - 1));
}

const tagOf = (value: object): string => Object.prototype.toString.call(value).slice(8, -1);

const placed = (value: object, place: Place): object =>
  Object.fromEntries(
    Object.keys(value).map((name) => {
      const at = Array.isArray(value) && /^\d+$/.test(name) ? `[${name}]` : memberPath(name);
      return [name, place(memberOf(value, name), at)];
    }),
  );

function memberOf(value: object, name: string | number): unknown {
  try {
    return (value as Record<string | number, unknown>)[name];
  } catch {
    return unreadable;
  }
}

/** Assigning would reach a prototype by the name `__proto__`, and an array's `length`. */
function define(made: object, members: object, read: Read): void {
  for (const [name, place] of Object.entries(members)) {
    const value = read(place);
    Object.defineProperty(made, name, { value, configurable: true, enumerable: true, writable: true });
  }
}

/** It takes no memory for its length, which a stored text may claim to be anything. */
function arrayOfHoles(length: number): unknown[] {
  const items: unknown[] = [];
  if (length > 0) items[length - 1] = undefined;
  delete items[length - 1];
  items.length = length;
  return items;
}
