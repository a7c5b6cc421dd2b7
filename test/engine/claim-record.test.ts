import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { DeleteItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import type { Context } from 'aws-lambda';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  dynamoStore,
  IdempotencyError,
  type IdempotentOptions,
  idempotent,
  type Seal,
} from '../../lib/index.ts';
import { type ManualClock, manualClock } from '../../lib/testing.ts';
import { createTable, type TestTable } from '../support/dynamodb.ts';
import { incompressible, observer } from '../support/hands.ts';

interface Order {
  readonly id: string;
  readonly amount?: number;
}

let table: TestTable;
let clock: ManualClock;
let sequence = 0;
/** A key that no other test uses. */
let id: string;

beforeAll(async () => {
  table = await createTable();
});

beforeEach(() => {
  clock = manualClock();
  id = `order-${++sequence}`;
});

const options = (more: IdempotentOptions<Order> = {}): IdempotentOptions<Order> => ({
  store: dynamoStore({ ...table.store, clock }),
  namespace: 'orders',
  key: (order) => order.id,
  ...more,
});

/** `idempotent` for handlers of orders, also for those that do not look at theirs. */
const guard = <Result>(
  handler: (order: Order, context: Context) => Result,
  options: IdempotentOptions<Order>,
) => idempotent(handler, options);

/** The items of this test's operation: the only ones younger than the test. */
async function items(): Promise<Record<string, AttributeValue>[]> {
  const all = await table.dump();
  const claim = all.find((item) => item.key?.S === id);
  return all.filter((item) => item.pk?.S === claim?.pk?.S);
}

const claimItem = async () => (await items()).find((item) => item.sk?.S === 'claim');

/** Options that let {@link items} find the record. */
const traced = (more: IdempotentOptions<Order> = {}): IdempotentOptions<Order> =>
  options({ keep: { key: true }, ...more });

async function codeOf(work: Promise<unknown>): Promise<string> {
  try {
    await work;
  } catch (error) {
    if (IdempotencyError.is(error)) return error.code;
    throw error;
  }
  return 'none';
}

describe('the record of an operation', () => {
  test('holds neither key nor payload nor tenant in clear', async () => {
    const secret = `secret-${id}`;
    const handler = guard(
      async (order) => ({ paid: order.id.length }),
      options({ tenant: () => `tenant-${secret}` }),
    );
    await handler({ id: secret, card: `card-${secret}` } as Order);
    expect(JSON.stringify(await table.dump())).not.toContain(secret);
  });

  test('holds key and input where `keep` says so', async () => {
    await guard(async () => 1, options({ keep: { key: true, input: true } }))({ id, amount: 7 });
    const item = await claimItem();
    expect(item?.key).toEqual({ S: id });
    expect(Buffer.from(item?.input?.B ?? []).toString()).toContain(`"id":"${id}","amount":7`);
  });

  test('has exactly the documented attributes', async () => {
    await guard(async () => 'x', traced())({ id });
    const item = await claimItem();
    expect(Object.keys(item ?? {}).sort()).toEqual(
      [
        'attempt',
        'completedAt',
        'createdAt',
        'data',
        'endsAt',
        'expiresAt',
        'fingerprint',
        'key',
        'leaseUntil',
        'owner',
        'pk',
        'sk',
        'status',
        'window',
      ].sort(),
    );
    expect(item?.pk?.S).toMatch(/^orders#[\w-]{43}$/);
  });

  test('expires a day after its window, in whole seconds', async () => {
    clock.advance(1);
    await guard(async () => 'x', traced({ ttlSeconds: 60 }))({ id });
    const item = await claimItem();
    expect(item?.endsAt).toEqual({ N: String(clock.now() + 60_000) });
    expect(item?.expiresAt).toEqual({ N: String(Math.ceil((clock.now() + 60_000) / 1000) + 86_400) });
  });

  test('of chunks expires with its claim, and a later window does not read it', async () => {
    const handler = guard(
      async (order: Order) => incompressible(5_000) + order.id,
      traced({ ttlSeconds: 60 }),
    );
    await handler({ id });
    const stored = await items();
    expect(stored.map((item) => item.expiresAt)).toEqual([stored[0]?.expiresAt, stored[0]?.expiresAt]);
    const oldChunk = stored.find((item) => item.sk?.S?.includes('#result#'));
    clock.advance(60_000);
    await handler({ id });
    const window = (await claimItem())?.window?.S;
    expect(oldChunk?.sk?.S?.startsWith(`${window}#`)).toBe(false);
  });

  test('carries answers that only `seal` can read', async () => {
    const sealed: string[] = [];
    const flip = (bytes: Uint8Array) => bytes.map((byte) => byte ^ 0xff);
    const seal: Seal = {
      seal: (plain, context) => {
        sealed.push(context.operation);
        return flip(plain);
      },
      open: (bytes) => flip(bytes),
    };
    const store = dynamoStore({ ...table.store, clock, seal });
    const handler = guard(async () => ({ card: 'secret-4242' }), traced({ store }));
    await handler({ id });
    const item = await claimItem();
    expect(sealed).toEqual([item?.pk?.S]);
    expect(Buffer.from(item?.data?.B ?? []).toString('latin1')).not.toContain('secret');
    expect(await handler({ id })).toEqual({ card: 'secret-4242' });
  });
});

describe('answers that are large or cannot be kept', () => {
  test.each([4_000, 4_097, 400_000, 990_000])('replays %i incompressible characters', async (size) => {
    const answer = incompressible(size);
    const handler = guard(async () => answer, options());
    await handler({ id });
    expect((await handler({ id })) === answer).toBe(true);
  });

  test('completes an answer over 1 MB without it, and a repeat does not run', async () => {
    let runs = 0;
    const { observe, seen } = observer();
    const handler = guard(async () => incompressible(1_400_000) + ++runs, options({ observe }));
    await handler({ id });
    expect(seen.at(-1)).toMatchObject({ type: 'complete', unavailable: 'too-large', answerBytes: 0 });
    const error = await handler({ id }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'RESULT_UNAVAILABLE',
      effect: 'none',
      record: { status: 'COMPLETED' },
    });
    expect(runs).toBe(1);
  });

  test('says RESULT_UNAVAILABLE where a chunk is gone', async () => {
    const handler = guard(async () => incompressible(500_000), traced());
    await handler({ id });
    const chunk = (await items()).find((item) => item.sk?.S?.endsWith('#0002'));
    await table.client.send(
      new DeleteItemCommand({ TableName: table.tableName, Key: { pk: chunk!.pk!, sk: chunk!.sk! } }),
    );
    await expect(handler({ id })).rejects.toMatchObject({
      code: 'RESULT_UNAVAILABLE',
      message: expect.stringContaining('a part of it is gone'),
    });
  });

  test('says RESULT_UNAVAILABLE where the stored bytes are not what was written', async () => {
    const handler = guard(async () => 'fine', traced());
    await handler({ id });
    const item = await claimItem();
    await table.client.send(
      new PutItemCommand({
        TableName: table.tableName,
        Item: { ...item!, data: { B: Uint8Array.of(9, 9) } },
      }),
    );
    expect(await codeOf(handler({ id }))).toBe('RESULT_UNAVAILABLE');
  });
});
