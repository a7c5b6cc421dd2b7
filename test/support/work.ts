import { randomUUID } from 'node:crypto';
import type { AttributeValue, DynamoDBClientConfig } from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient, GetCommand, PutCommand } from '@aws-sdk/lib-dynamodb';
import type { Context } from 'aws-lambda';
import { afterAll, beforeAll, beforeEach } from 'vitest';
import {
  dynamoStore,
  type IdempotentOptions,
  idempotent,
  type Operation,
  operation,
  type Seal,
  type TransactWrite,
} from '../../lib/index.ts';
import { type ManualClock, manualClock } from '../../lib/testing.ts';
import { type FaultProxy, startFaultProxy } from '../../local/faults/fault-proxy.ts';
import { clientFor, createTable, dynamodbEndpoint, type TestTable } from './dynamodb.ts';
import { deferred, observer } from './hands.ts';

export interface Order {
  readonly id: string;
  readonly amount?: number;
}

/** How often the SDK sends a request of the workbench's. */
export const sdkAttempts = 3;

/**
 * A table for records, one for a handler's own items, a proxy before both, and for each test a clock and a key of its own.
 * To be called at the top of a test file.
 */
export function workbench() {
  const bench = {
    table: undefined as unknown as TestTable,
    own: undefined as unknown as TestTable,
    proxy: undefined as unknown as FaultProxy,
    clock: undefined as unknown as ManualClock,
    /** A key that no other test uses. */
    id: '',
    seen: observer(),

    store(more: { seal?: Seal; client?: DynamoDBClientConfig } = {}) {
      const client = clientFor(bench.proxy.endpoint, { maxAttempts: sdkAttempts, ...more.client });
      const { tableName } = bench.table;
      return dynamoStore({ tableName, client, clock: bench.clock, ...(more.seal && { seal: more.seal }) });
    },

    options: <Event = Order>(more: IdempotentOptions<Event> = {}): IdempotentOptions<Event> => ({
      store: bench.store(),
      namespace: 'orders',
      key: (event) => (event as { id: string }).id,
      destinations: ['mail', 'ledger'],
      observe: bench.seen.observe,
      ...more,
    }),

    /** A guarded handler of orders, given its operation. */
    guard<Result>(
      work: (op: Operation, order: Order) => Promise<Result> | Result,
      more: IdempotentOptions<Order> = {},
    ) {
      return idempotent(
        async (order: Order, context: Context) => work(operation(context), order),
        bench.options(more),
      );
    },

    /** An attempt that gets as far as `work` and is never heard of again. Its lease is over afterwards. */
    async crash(work: (op: Operation) => unknown, more: IdempotentOptions<Order> = {}): Promise<void> {
      const arrived = deferred();
      bench
        .guard(async (op) => {
          try {
            await work(op);
            arrived.resolve();
          } catch (error) {
            arrived.reject(error);
          }
          return new Promise<never>(() => {});
        }, more)({ id: bench.id })
        .catch(arrived.reject);
      await arrived.promise;
      bench.clock.advance(61_000);
    },

    /** The names and statuses of all requests so far. */
    sent: () => bench.proxy.requests.map(({ operation, status }) => `${operation} ${status}`),

    transactions: () => bench.proxy.requests.filter(({ operation }) => operation === 'TransactWriteItems'),

    /** A handler's own item. */
    async read(pk: string): Promise<Record<string, unknown> | undefined> {
      const { Item } = await documents().send(
        new GetCommand({ TableName: bench.own.tableName, Key: { pk, sk: 'own' }, ConsistentRead: true }),
      );
      return Item;
    },

    async write(pk: string, attributes: Record<string, unknown>): Promise<void> {
      await documents().send(
        new PutCommand({ TableName: bench.own.tableName, Item: { pk, sk: 'own', ...attributes } }),
      );
    },

    /** A write that counts how often it was applied. */
    count: (pk: string, more: object = {}): TransactWrite => ({
      Update: {
        TableName: bench.own.tableName,
        Key: { pk, sk: 'own' },
        UpdateExpression: 'ADD times :one',
        ExpressionAttributeValues: { ':one': 1 },
        ...more,
      },
    }),

    /** The records of this test's operation, its claim first. */
    async records(): Promise<Record<string, AttributeValue>[]> {
      const all = await bench.table.dump();
      const mine = [...bench.proxy.requests]
        .map(({ body }) => body.Item?.pk?.S ?? body.Key?.pk?.S ?? body.TransactItems?.[0]?.Put?.Item?.pk?.S)
        .find((pk) => typeof pk === 'string' && pk.startsWith('orders#'));
      return all
        .filter((item) => item.pk?.S === mine)
        .sort((left, right) => Number(right.sk?.S === 'claim') - Number(left.sk?.S === 'claim'));
    },

    claim: async () => (await bench.records()).find((item) => item.sk?.S === 'claim'),

    /** Staged messages, by their sort keys. */
    messages: async () =>
      (await bench.records())
        .filter((item) => item.sk?.S?.includes('#outbox#'))
        .sort((left, right) => (left.sk?.S ?? '').localeCompare(right.sk?.S ?? '')),
  };
  const documents = () => DynamoDBDocumentClient.from(bench.own.client);

  beforeAll(async () => {
    bench.table = await createTable();
    bench.own = await createTable();
    bench.proxy = await startFaultProxy(dynamodbEndpoint());
  });
  afterAll(() => bench.proxy.stop());
  beforeEach(() => {
    bench.proxy.reset();
    bench.clock = manualClock();
    bench.id = randomUUID();
    bench.seen = observer();
  });
  return bench;
}

/** What `work` fails with. @throws Error if it does not */
// biome-ignore lint/suspicious/noExplicitAny: a failure may be anything, and a test reads of it what it expects
export async function failureOf(work: Promise<unknown>): Promise<any> {
  let result: unknown;
  try {
    result = await work;
  } catch (error) {
    return error;
  }
  throw new Error(`Expected a failure, got ${JSON.stringify(result)}.`);
}
