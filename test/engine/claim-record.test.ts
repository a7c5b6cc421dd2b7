import { DeleteItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { describe, expect, test } from 'vitest';
import { dynamoStore, type Seal } from '../../lib/index.ts';
import { incompressible, observer } from '../support/hands.ts';
import { codeOf, guard, type Order, protocolBench } from './protocol-bench.ts';

const bench = protocolBench();
const { options, items, claimItem, traced } = bench;

describe('the record of an operation', () => {
  test('holds neither key nor payload nor tenant in clear', async () => {
    const secret = `secret-${bench.id}`;
    const handler = guard(
      async (order) => ({ paid: order.id.length }),
      options({ tenant: () => `tenant-${secret}` }),
    );
    await handler({ id: secret, card: `card-${secret}` } as Order);
    expect(JSON.stringify(await bench.table.dump())).not.toContain(secret);
  });

  test('holds key and input where `keep` says so', async () => {
    await guard(async () => 1, options({ keep: { key: true, input: true } }))({ id: bench.id, amount: 7 });
    const item = await claimItem();
    expect(item?.key).toEqual({ S: bench.id });
    expect(Buffer.from(item?.input?.B ?? []).toString()).toContain(`"id":"${bench.id}","amount":7`);
  });

  test('has exactly the documented attributes', async () => {
    await guard(async () => 'x', traced())({ id: bench.id });
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
    bench.clock.advance(1);
    await guard(async () => 'x', traced({ ttlSeconds: 60 }))({ id: bench.id });
    const item = await claimItem();
    expect(item?.endsAt).toEqual({ N: String(bench.clock.now() + 60_000) });
    expect(item?.expiresAt).toEqual({ N: String(Math.ceil((bench.clock.now() + 60_000) / 1000) + 86_400) });
  });

  test('of chunks expires with its claim, and a later window does not read it', async () => {
    const handler = guard(
      async (order: Order) => incompressible(5_000) + order.id,
      traced({ ttlSeconds: 60 }),
    );
    await handler({ id: bench.id });
    const stored = await items();
    expect(stored.map((item) => item.expiresAt)).toEqual([stored[0]?.expiresAt, stored[0]?.expiresAt]);
    const oldChunk = stored.find((item) => item.sk?.S?.includes('#result#'));
    bench.clock.advance(60_000);
    await handler({ id: bench.id });
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
    const store = dynamoStore({ ...bench.table.store, clock: bench.clock, seal });
    const handler = guard(async () => ({ card: 'secret-4242' }), traced({ store }));
    await handler({ id: bench.id });
    const item = await claimItem();
    expect(sealed).toEqual([item?.pk?.S]);
    expect(Buffer.from(item?.data?.B ?? []).toString('latin1')).not.toContain('secret');
    expect(await handler({ id: bench.id })).toEqual({ card: 'secret-4242' });
  });
});

describe('answers that are large or cannot be kept', () => {
  test.each([4_000, 4_097, 400_000, 990_000])('replays %i incompressible characters', async (size) => {
    const answer = incompressible(size);
    const handler = guard(async () => answer, options());
    await handler({ id: bench.id });
    expect((await handler({ id: bench.id })) === answer).toBe(true);
  });

  test('completes an answer over 1 MB without it, and a repeat does not run', async () => {
    let runs = 0;
    const { observe, seen } = observer();
    const handler = guard(async () => incompressible(1_400_000) + ++runs, options({ observe }));
    await handler({ id: bench.id });
    expect(seen.at(-1)).toMatchObject({ type: 'complete', unavailable: 'too-large', answerBytes: 0 });
    const error = await handler({ id: bench.id }).catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      code: 'RESULT_UNAVAILABLE',
      effect: 'none',
      record: { status: 'COMPLETED' },
    });
    expect(runs).toBe(1);
  });

  test('says RESULT_UNAVAILABLE where a chunk is gone', async () => {
    const handler = guard(async () => incompressible(500_000), traced());
    await handler({ id: bench.id });
    const chunk = (await items()).find((item) => item.sk?.S?.endsWith('#0002'));
    await bench.table.client.send(
      new DeleteItemCommand({ TableName: bench.table.tableName, Key: { pk: chunk!.pk!, sk: chunk!.sk! } }),
    );
    await expect(handler({ id: bench.id })).rejects.toMatchObject({
      code: 'RESULT_UNAVAILABLE',
      message: expect.stringContaining('a part of it is gone'),
    });
  });

  test('says RESULT_UNAVAILABLE where the stored bytes are not what was written', async () => {
    const handler = guard(async () => 'fine', traced());
    await handler({ id: bench.id });
    const item = await claimItem();
    await bench.table.client.send(
      new PutItemCommand({
        TableName: bench.table.tableName,
        Item: { ...item!, data: { B: Uint8Array.of(9, 9) } },
      }),
    );
    expect(await codeOf(handler({ id: bench.id }))).toBe('RESULT_UNAVAILABLE');
  });
});
