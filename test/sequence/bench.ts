import type { Context } from 'aws-lambda';
import { afterEach, beforeEach, vi } from 'vitest';
import {
  IdempotencyError,
  type IdempotencyErrorCode,
  numbered,
  type SequencedOptions,
} from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { type ManualClock, manualClock, memoryStore } from '../../lib/testing.ts';
import { observer } from '../support/hands.ts';

/** A sale as a till sends it. */
export interface Sale {
  readonly till?: string;
  readonly epoch?: number;
  readonly number: number;
  readonly amount?: number;
}

export const placeOf = ({ till = 'till-7', epoch = 0, number }: Sale) => ({ producer: till, epoch, number });

/** The stores that a numbered guard works on. */
export const stores: readonly (readonly [string, () => (clock: ManualClock) => Store])[] = [
  ['memory', () => (clock) => memoryStore({ clock })],
];

/** For each test a store with a clock that stands still, and an observer. To be called inside of a `describe`. */
export function numberedBench(storesOf: () => (clock: ManualClock) => Store) {
  const makeStore = storesOf();
  let tests = 0;
  const bench = {
    clock: undefined as unknown as ManualClock,
    store: undefined as unknown as Store,
    seen: observer(),
    /** A producer that no other test has. */
    namespace: '',

    options: (more: Partial<SequencedOptions> = {}): SequencedOptions => ({
      store: bench.store,
      namespace: bench.namespace,
      sequence: numbered(placeOf),
      observe: bench.seen.observe,
      ...more,
    }),
  };

  beforeEach(() => {
    bench.clock = manualClock();
    bench.store = makeStore(bench.clock);
    bench.seen = observer();
    bench.namespace = `tills-${++tests}`;
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
  });
  return bench;
}

/** A handler that counts the sales that it has booked, by their numbers. */
export function bookings() {
  const booked: number[] = [];
  return {
    booked,
    book: async ({ number, amount = 0 }: Sale, _?: Context) => {
      booked.push(number);
      return { number, amount, run: booked.length };
    },
  };
}

/** The code of the error that a call ends with. @throws Error where it ends otherwise */
export async function codeOf(call: Promise<unknown>): Promise<IdempotencyErrorCode> {
  return (await errorOf(call)).code;
}

export async function errorOf(call: Promise<unknown>): Promise<IdempotencyError> {
  try {
    await call;
  } catch (error) {
    if (IdempotencyError.is(error)) return error;
    throw error;
  }
  throw new Error('The call was answered.');
}
