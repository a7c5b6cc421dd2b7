import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import type { Context } from 'aws-lambda';
import { beforeAll, beforeEach } from 'vitest';
import { dynamoStore, IdempotencyError, type IdempotentOptions, idempotent } from '../../lib/index.ts';
import { type ManualClock, manualClock } from '../../lib/testing.ts';
import type { Order } from '../support/call-bench.ts';
import { createTable, type TestTable } from '../support/dynamodb.ts';
import { deferred } from '../support/hands.ts';

export type { Order };

/** `idempotent` for handlers of orders, also for those that do not look at theirs. */
export const guard = <Result>(
  handler: (order: Order, context: Context) => Result,
  options: IdempotentOptions<Order>,
) => idempotent(handler, options);

/** A handler that never comes back, as when its sandbox is killed. */
export const crash = () => new Promise<never>(() => {});

export async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (IdempotencyError.is(error)) return error.code;
    throw error;
  }
  return 'none';
}

/** A table on DynamoDB, and for each test a clock and a key of its own. To be called at the top of a test file. */
export function protocolBench() {
  let sequence = 0;
  const bench = {
    table: undefined as unknown as TestTable,
    clock: undefined as unknown as ManualClock,
    /** A key that no other test uses. */
    id: '',

    options: (more: IdempotentOptions<Order> = {}): IdempotentOptions<Order> => ({
      store: dynamoStore({ ...bench.table.store, clock: bench.clock }),
      namespace: 'orders',
      key: (order) => order.id,
      ...more,
    }),

    /** Options that let `items` find the record. */
    traced: (more: IdempotentOptions<Order> = {}): IdempotentOptions<Order> =>
      bench.options({ keep: { key: true }, ...more }),

    /** The items of this test's operation: the only ones younger than the test. */
    async items(): Promise<Record<string, AttributeValue>[]> {
      const all = await bench.table.dump();
      const claim = all.find((item) => item.key?.S === bench.id);
      return all.filter((item) => item.pk?.S === claim?.pk?.S);
    },

    claimItem: async () => (await bench.items()).find((item) => item.sk?.S === 'claim'),

    /** An attempt that has claimed, runs, and is never heard of again. */
    async crashed(order: Order, more: IdempotentOptions<Order> = {}): Promise<void> {
      const started = deferred();
      void guard(() => {
        started.resolve();
        return crash();
      }, bench.traced(more))(order);
      await started.promise;
    },
  };

  beforeAll(async () => {
    bench.table = await createTable();
  });
  beforeEach(() => {
    bench.clock = manualClock();
    bench.id = `order-${++sequence}`;
  });
  return bench;
}
