/** Puts into a context what `operation()` finds there. */
import type { Context } from 'aws-lambda';
import type { Execution } from './execution.ts';
import type { Settings } from './settings.ts';

export type Carried =
  | { readonly kind: 'guarded'; readonly execution: Execution }
  /** `operation` is made on demand, once. */
  | { readonly kind: 'unguarded'; readonly settings: Settings; operation?: object }
  | { readonly kind: 'batch'; readonly batch: CarriedBatch };

export interface CarriedBatch {
  /** Lets a guard inside read the records, which it is to guard. */
  open(): void;
  operationOf(record: unknown): object | undefined;
}

const carried = Symbol.for('idemkit.guarded');

/** What the guard put into `context`; `undefined` where none has seen it. */
export const carriedBy = (context: unknown): Carried | undefined =>
  (context as { readonly [carried]?: () => Carried } | null | undefined)?.[carried]?.();

/**
 * A copy of `context` that carries `what`. The original stays as it is, because nested guards and concurrent calls may share it.
 */
export function carrying(context: Context | undefined, what: Carried): Context {
  const from = context ?? {};
  const copy = isOfClass(from) ? viewOf(from) : copyOf(from);
  // A function, so that a logged context shows no key.
  Object.defineProperty(copy, carried, { value: () => what, configurable: true, writable: true });
  return copy as Context;
}

const isRoot = (prototype: object | null): boolean =>
  prototype === null || Object.getPrototypeOf(prototype) === null;

const isOfClass = (value: object): boolean => !isRoot(Object.getPrototypeOf(value));

/** The only member of Lambda's context that is an accessor. */
const waits = 'callbackWaitsForEmptyEventLoop';

const original = Symbol('idemkit.original');

/** One for all copies: V8 is slow with objects that have accessors of their own. */
const waitsOfOriginal: PropertyDescriptor & ThisType<{ readonly [original]: Context }> = {
  configurable: true,
  enumerable: true,
  get() {
    return this[original][waits];
  },
  set(value) {
    this[original][waits] = value;
  },
};

function copyOf(from: object): object {
  if (!Object.getOwnPropertyDescriptor(from, waits)?.get) return { ...from };
  // Spreading an object with accessors of its own would take three times as long.
  const members = from as Record<string | symbol, unknown>;
  const copy: Record<string | symbol, unknown> = {};
  Object.defineProperty(copy, original, { value: from });
  for (const name of Object.keys(members)) {
    if (name === waits) Object.defineProperty(copy, waits, waitsOfOriginal);
    else copy[name] = members[name];
  }
  for (const name of Object.getOwnPropertySymbols(members)) {
    if (Object.prototype.propertyIsEnumerable.call(members, name)) copy[name] = members[name];
  }
  return copy;
}

/** Reads, sets and calls the original's members. Methods of a class may need private fields, which no copy has. */
function viewOf(from: object): object {
  const view = Object.create(Object.getPrototypeOf(from));
  for (let owner = from; !isRoot(owner); owner = Object.getPrototypeOf(owner)) {
    for (const name of Reflect.ownKeys(owner)) {
      if (name === 'constructor' || Object.hasOwn(view, name)) continue;
      const { value, enumerable } = Object.getOwnPropertyDescriptor(owner, name) ?? {};
      const method =
        owner !== from && typeof value === 'function'
          ? (...args: unknown[]) => Reflect.apply(value, from, args)
          : undefined;
      Object.defineProperty(view, name, {
        get: () => {
          const current: unknown = Reflect.get(from, name);
          // A method that was set later is handed out as it is.
          return current === value && method ? method : current;
        },
        set: (next) => Reflect.set(from, name, next),
        configurable: true,
        enumerable: enumerable ?? false,
      });
    }
  }
  return view;
}
