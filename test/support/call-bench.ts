import { afterEach, beforeEach, vi } from 'vitest';
import type { IdempotencyEvent, IdempotentOptions } from '../../lib/index.ts';
import { type RecordingStore, recordingStore } from './recording-store.ts';

export interface Order {
  readonly id: string;
  readonly amount?: number;
}

export const order: Order = { id: 'order-1' };

/** For each test a store in memory and an observer, in an environment that says nothing. To be called at the top of a test file. */
export function callBench() {
  const bench = {
    store: undefined as unknown as RecordingStore,
    seen: [] as IdempotencyEvent[],

    /** In a namespace of their own, so that one test may make several guards. */
    options: (more: IdempotentOptions = {}): IdempotentOptions => ({
      store: bench.store,
      namespace: 'orders',
      key: (event: Order) => event.id,
      observe: (event) => bench.seen.push(event),
      ...more,
    }),
  };

  beforeEach(() => {
    bench.store = recordingStore();
    bench.seen = [];
    vi.stubEnv('AWS_LAMBDA_FUNCTION_NAME', undefined);
    vi.stubEnv('IDEMPOTENCY_NAMESPACE', undefined);
    vi.stubEnv('IDEMPOTENCY_DISABLED', undefined);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
    vi.useRealTimers();
  });
  return bench;
}
