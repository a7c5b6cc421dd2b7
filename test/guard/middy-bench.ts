import middy7 from '@middy/core';
import middy6 from 'middy6';
import { afterEach, beforeEach, vi } from 'vitest';
import { type IdempotencyEvent, type IdempotentOptions, idempotent } from '../../lib/index.ts';
import type { Order } from '../support/call-bench.ts';
import { type RecordingStore, recordingStore } from '../support/recording-store.ts';

export const versions: [string, typeof middy7][] = [
  ['Middy 6', middy6 as unknown as typeof middy7],
  ['Middy 7', middy7],
];

/** For each test a store in memory, an observer, and a handler that counts. To be called at the top of a `describe`. */
export function middyBench() {
  const bench = {
    store: undefined as unknown as RecordingStore,
    seen: [] as IdempotencyEvent[],
    runs: 0,

    guard: (options: IdempotentOptions = {}) =>
      idempotent({
        store: bench.store,
        key: (event: Order) => event.id,
        observe: (event) => bench.seen.push(event),
        ...options,
      }),

    httpGuard: (options: IdempotentOptions = {}) => idempotent({ store: bench.store, ...options }),

    /** A handler that counts and answers with the count. */
    async count(): Promise<number> {
      bench.runs++;
      return bench.runs;
    },

    occurrences: () => bench.seen.map(({ type }) => type),
  };

  beforeEach(() => {
    bench.store = recordingStore();
    bench.seen = [];
    bench.runs = 0;
  });
  afterEach(() => {
    vi.unstubAllGlobals();
  });
  return bench;
}
