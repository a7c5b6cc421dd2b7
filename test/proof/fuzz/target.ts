import { IdempotencyError, type IdempotencyErrorCode } from '../../../lib/errors.ts';
import type { Draw } from './draw.ts';

/** Plain data, which can be printed, and be made smaller part by part. */
export type Input = null | boolean | number | string | readonly Input[] | { readonly [name: string]: Input };

/** A reader of a caller's bytes, and what must hold for everything that it reads. */
export interface Target {
  readonly name: string;
  make(draw: Draw): Input;
  /**
   * What is wrong with how `input` was read; `undefined` where nothing is. It judges whatever a smaller input has left of what
   * `make` makes, and finds nothing in an input that it cannot use.
   */
  complaint(input: never): string | undefined | Promise<string | undefined>;
}

export type Read<T> =
  | { readonly kind: 'value'; readonly value: T }
  | { readonly kind: 'refused'; readonly code: IdempotencyErrorCode; readonly message: string }
  | { readonly kind: 'threw'; readonly error: unknown };

export function read<T>(reader: () => T): Read<T> {
  try {
    return { kind: 'value', value: reader() };
  } catch (error) {
    return ofThrown(error);
  }
}

export async function readLater<T>(reader: () => Promise<T>): Promise<Read<T>> {
  try {
    return { kind: 'value', value: await reader() };
  } catch (error) {
    return ofThrown(error);
  }
}

function ofThrown(error: unknown): Exclude<Read<never>, { kind: 'value' }> {
  return IdempotencyError.is(error)
    ? { kind: 'refused', code: error.code, message: error.message }
    : { kind: 'threw', error };
}

/** An error that is none of ours. */
export const foreign = (error: unknown): string =>
  `it throws what is none of ours: ${(error as Error | undefined)?.stack?.split('\n').slice(0, 3).join(' ') ?? String(error)}`;
