/** What the first claim of a process tells: a table or a role that could claim, but not complete. */
import { randomUUID } from 'node:crypto';
import { type DynamoDBClient, PutItemCommand, ScanCommand } from '@aws-sdk/client-dynamodb';
import { describe, expect, test, vi } from 'vitest';
import { itemsOf } from '../../lib/dynamo/items.ts';
import {
  dynamoStore,
  eachRecord,
  type IdempotencyError,
  type IdempotentOptions,
  idempotent,
  operation,
} from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { createTable as createAnyTable } from '../../local/aws/dynamodb-tables.ts';
import { startFaultProxy } from '../../local/faults/fault-proxy.ts';
import { sqsEvent, sqsMessage } from '../support/batch-events.ts';
import { doors } from '../support/doors.ts';
import { clientFor, countRequests, createTable, dynamodbEndpoint } from '../support/dynamodb.ts';

const keyed = { namespace: 'orders', key: (order: { id: string }) => order.id } as IdempotentOptions;

/** A table of which this process knows nothing yet. */
async function newTable(description: Partial<Parameters<typeof createAnyTable>[1]> = {}) {
  const client = clientFor(dynamodbEndpoint());
  const tableName = `idemkit-test-${randomUUID()}`;
  await createAnyTable(client, { ...description, name: tableName });
  return { tableName, client };
}

/** The error of a first call, and how often the handler ran. */
async function firstCall(store: Store, door = doors[2]![1]) {
  const handler = vi.fn(async () => 'charged');
  const failure = door(handler, { ...keyed, store })({ id: randomUUID() }).catch((thrown: unknown) => thrown);
  const error = (await failure) as IdempotencyError;
  return { error, runs: handler.mock.calls.length };
}

describe('a table without a sort key', () => {
  for (const [name, door] of doors) {
    test(`is told before the handler runs, with ${name}`, async () => {
      const { error, runs } = await firstCall(dynamoStore(await newTable({ sortKey: false })), door);
      expect(error).toMatchObject({ code: 'STORE_MISCONFIGURED', effect: 'none' });
      expect(error.message).toContain("must be 'pk' and its sort key 'sk', both strings");
      expect(runs).toBe(0);
    });
  }

  test('is told before a record of a batch is processed', async () => {
    const processed = vi.fn();
    const store = dynamoStore(await newTable({ sortKey: false }));
    const handler = idempotent(eachRecord(processed), { namespace: 'orders', store });
    await expect(handler(sqsEvent(sqsMessage('1')) as never)).rejects.toMatchObject({
      code: 'STORE_MISCONFIGURED',
    });
    expect(processed).not.toHaveBeenCalled();
  });

  test('is told by a commit that is to claim, and nothing is written', async () => {
    const own = await createTable();
    for (const [what, work] of [
      ['alone', {}],
      ['with writes', { writes: [{ Put: { TableName: own.tableName, Item: { pk: 'payment', sk: '1' } } }] }],
    ] as const) {
      const { tableName, client } = await newTable({ sortKey: false });
      const handler = idempotent(
        async (_: { id: string }, context) => operation(context).commit({ result: 'charged', ...work }),
        { ...keyed, claim: 'at-commit', store: dynamoStore({ tableName, client }) },
      );
      await expect(handler({ id: '1' }), what).rejects.toMatchObject({ code: 'STORE_MISCONFIGURED' });
    }
    expect(await own.dump()).toEqual([]);
  });

  test('is told as often as it is met', async () => {
    const store = dynamoStore(await newTable({ sortKey: false }));
    for (let call = 0; call < 2; call++) expect((await firstCall(store)).runs).toBe(0);
  });
});

test('the default table of Powertools is told before the handler runs', async () => {
  const table = await newTable({ partitionKey: 'id', sortKey: false, ttlAttribute: 'expiration' });
  for (const names of [{}, { partitionKey: 'id', ttlAttribute: 'expiration' }]) {
    const { error, runs } = await firstCall(dynamoStore({ ...table, ...names }));
    expect(error.code).toBe('STORE_MISCONFIGURED');
    expect(runs).toBe(0);
  }
});

test('a role that may put but not update is told before the handler runs', async () => {
  const { tableName } = await newTable();
  const proxy = await startFaultProxy(dynamodbEndpoint());
  proxy.inject({
    operation: 'UpdateItem',
    fault: { status: 400, type: 'AccessDeniedException', message: 'not authorized: dynamodb:UpdateItem' },
    times: Infinity,
  });
  const { error, runs } = await firstCall(dynamoStore({ tableName, client: clientFor(proxy.endpoint) }));
  await proxy.stop();
  expect(error.code).toBe('STORE_MISCONFIGURED');
  expect(error.message).toContain(`This function may not dynamodb:UpdateItem on table '${tableName}'.`);
  expect(runs).toBe(0);
});

describe('where everything is as it must be', () => {
  test('the first call of a process costs no more requests than any other', async () => {
    const { tableName, client } = await newTable();
    const requests = countRequests(client);
    const handler = idempotent(async () => 'done', { ...keyed, store: dynamoStore({ tableName, client }) });
    await handler({ id: '1' });
    expect(requests.splice(0)).toEqual(['UpdateItem', 'UpdateItem']);
    await handler({ id: '2' });
    expect(requests.splice(0)).toEqual(['PutItem', 'UpdateItem']);
    await idempotent(async () => 'done', { ...keyed, store: dynamoStore({ tableName, client }) })({
      id: '3',
    });
    expect(requests.splice(0)).toEqual(['PutItem', 'UpdateItem']);
  });

  test.each(['pk', 'stale0', 'set0', 'newOwner', 'is-over'])(
    'a TTL attribute of any name is taken by every request: %s',
    async (ttlAttribute) => {
      const names = { partitionKey: 'id', sortKey: 'range', ttlAttribute };
      const { tableName, client } = await newTable(names);
      const store = dynamoStore({ tableName, client, ...names });
      for (const claim of ['eager', 'at-commit'] as const) {
        const handler = idempotent(
          async (_: { id: string }, context) => operation(context).commit({ result: 'charged' }),
          { ...keyed, namespace: claim, claim, store },
        );
        for (const id of ['1', '2', '1']) expect(await handler({ id })).toBe('charged');
      }
    },
  );

  test('a first claim that meets a record replays it', async () => {
    const { tableName, client } = await newTable();
    const clock = { now: () => 1_000, sleep: async () => {} };
    const pk = `orders#${randomUUID()}`;
    const claim = {
      pk,
      owner: 'a',
      nowMs: 1_000,
      leaseUntilMs: 2_000,
      endsAtMs: 9_000,
      fingerprint: 'print',
    };
    const store = dynamoStore({ tableName, client, clock });
    await store.claim(claim);
    expect(await store.claim({ ...claim, owner: 'b' })).toMatchObject({
      outcome: 'stopped',
      found: { owner: 'a' },
    });
  });

  test.each(['claim', 'claimCompleted'] as const)(
    '%s leaves the same item by the first request of a process as by every other',
    async (verb) => {
      const written = async ({ tableName, client }: { tableName: string; client: DynamoDBClient }) => {
        await client.send(new PutItemCommand(endedRecord(tableName)));
        const store = dynamoStore({ tableName, client });
        const claim = {
          ...ended,
          owner: 'new',
          nowMs: 10,
          leaseUntilMs: 20,
          endsAtMs: 30,
          fingerprint: undefined,
        };
        const completion = { ...claim, window: 'new', completedAtMs: 10, answer: Uint8Array.of(7) };
        expect(
          await (verb === 'claim' ? store.claim(claim) : store.claimCompleted(claim, completion)),
        ).toEqual({ outcome: 'applied' });
        return (await client.send(new ScanCommand({ TableName: tableName }))).Items;
      };
      const items = await written(await newTable());
      expect(items).toHaveLength(1);
      expect(items).toEqual(await written(await createTable()));
    },
  );
});

const ended = { pk: 'orders#1', owner: 'old', nowMs: 1, leaseUntilMs: 2, endsAtMs: 2, fingerprint: 'print' };

/** The record of a window that is over, with every attribute that a claim can have. */
const endedRecord = (tableName: string) =>
  itemsOf(tableName, { pk: 'pk', sk: 'sk', ttl: 'expiresAt' }, async () => undefined).completedClaim(
    { ...ended, rawKey: 'key', rawInput: Uint8Array.of(1) },
    { ...ended, window: 'old', completedAtMs: 2, answer: { reason: 'too-large' } },
    { kind: 'chunks', writeId: 'w', count: 2 },
  );
