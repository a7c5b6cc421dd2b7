/**
 * What other rooms add to every guard of a program that imports them. The guard itself imports none of them, so a bundle
 * without that import has none of their code. Each part is brought when its module is loaded, before any guard is called.
 */
import type { Context } from 'aws-lambda';
import type { Commits } from './ending.ts';
import type { Guard } from './namespace.ts';
import type { Begun } from './run.ts';

interface Parts {
  /** Brought by `operation`, `eachRecord`, `eachPartition` and `freshRecords`. */
  commits?: Commits;
  /** Brought by the same. Puts into a context what `operation` finds there; without it, handlers are given the context as it came. */
  carrying?(context: Context | undefined, what: object): Context;
  /**
   * Brought by `eachRecord`, `eachPartition` and `freshRecords`. Begins a call with a batch; `undefined` for any other event.
   *
   * @param isOff whether the guard is switched off
   */
  beginBatch?: (
    guard: Guard<never>,
    event: unknown,
    context: Context | undefined,
    isOff: boolean,
  ) => Begun | undefined;
}

// On globalThis, so that a guard finds the parts of another copy of the package.
const shared = globalThis as unknown as Record<symbol, Parts | undefined>;
const place = Symbol.for('idemkit.parts');

shared[place] ??= {};
export const parts = shared[place];
