import type { IdempotencyEvent } from '../../lib/index.ts';

/** A promise that the test settles. */
export interface Deferred<T = void> {
  readonly promise: Promise<T>;
  resolve(value: T): void;
  reject(error: unknown): void;
}

export function deferred<T = void>(): Deferred<T> {
  let resolve!: (value: T) => void;
  let reject!: (error: unknown) => void;
  const promise = new Promise<T>((yes, no) => {
    resolve = yes;
    reject = no;
  });
  return { promise, resolve, reject };
}

/** An observer that keeps what it saw. */
export function observer(): {
  seen: IdempotencyEvent[];
  types(): string[];
  observe(e: IdempotencyEvent): void;
} {
  const seen: IdempotencyEvent[] = [];
  return {
    seen,
    types: () => seen.map(({ type }) => type),
    observe: (event) => {
      seen.push(event);
    },
  };
}

/** Lets everything run that does not wait for I/O. */
export const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

/** Text that compression gains little on; the same for the same size. */
export function incompressible(size: number): string {
  let state = size;
  const characters: string[] = [];
  for (let i = 0; i < size; i++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    characters.push(String.fromCharCode(33 + ((state >>> 24) % 94)));
  }
  return characters.join('');
}
