import type { Context } from 'aws-lambda';
import { afterEach, beforeAll, beforeEach, vi } from 'vitest';
import {
  dynamoStore,
  IdempotencyError,
  type IdempotencyErrorCode,
  numbered,
  type SequencedOptions,
} from '../../lib/index.ts';
import { outboxMark } from '../../lib/record.ts';
import type { Store } from '../../lib/store.ts';
import { type ManualClock, type MemoryStore, manualClock, memoryStore } from '../../lib/testing.ts';
import { createTable, type TestTable } from '../support/dynamodb.ts';
import { observer } from '../support/hands.ts';

/** A sale as a till sends it. */
export interface Sale {
  readonly till?: string;
  readonly epoch?: number;
  readonly number: number;
  readonly amount?: number;
}

export const placeOf = ({ till = 'till-7', epoch = 0, number }: Sale) => ({ producer: till, epoch, number });

/** Makes a store for each test. */
interface StoreMaker {
  make(clock: ManualClock): Store;
  /** How many messages the operations of a namespace have staged. */
  staged(store: Store, namespace: string): Promise<number>;
}

/** Gets what stores need before the tests begin. */
type StoresOf = () => StoreMaker;

const memoryStores = (): StoreMaker => ({
  make: (clock) => memoryStore({ clock }),
  staged: async (store) => (store as MemoryStore).messages.length,
});

function tableStores(): StoreMaker {
  let table: TestTable;
  beforeAll(async () => {
    table = await createTable();
  });
  return {
    make: (clock) => dynamoStore({ ...table.store, clock }),
    async staged(_, namespace) {
      const items = await table.dump();
      return items.filter(({ pk, sk }) => pk?.S?.startsWith(`${namespace}#`) && outboxMark.test(sk?.S ?? ''))
        .length;
    },
  };
}

/** The stores that a numbered guard works on. */
export const stores: readonly (readonly [string, StoresOf])[] = [
  ['memory', memoryStores],
  ['DynamoDB', tableStores],
];

let benches = 0;

/** For each test a store with a clock that stands still, and an observer. To be called inside of a `describe`. */
export function numberedBench(storesOf: StoresOf) {
  const stores = storesOf();
  const number = ++benches;
  let tests = 0;
  const bench = {
    clock: undefined as unknown as ManualClock,
    store: undefined as unknown as Store,
    seen: observer(),
    /** One that no other test has. */
    namespace: '',

    options: (more: Partial<SequencedOptions> = {}): SequencedOptions => ({
      store: bench.store,
      namespace: bench.namespace,
      sequence: numbered(placeOf),
      observe: bench.seen.observe,
      ...more,
    }),

    /** How many messages have been staged. */
    staged: () => stores.staged(bench.store, bench.namespace),
  };

  beforeEach(() => {
    bench.clock = manualClock();
    bench.store = stores.make(bench.clock);
    bench.seen = observer();
    bench.namespace = `tills-${number}-${++tests}`;
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
