import type { Context } from 'aws-lambda';
import { describe, expect, it } from 'vitest';
import { eachPartition, eachRecord, idempotent, numbered, operation } from '../../lib/index.ts';
import {
  assertIdempotent,
  type ExploredWorld,
  explore,
  type IdempotencyMatchers,
  idempotencyMatchers,
  kinesisEvent,
  sqsEvent,
} from '../../lib/testing.ts';

declare module 'vitest' {
  interface Matchers<R, T> extends IdempotencyMatchers {}
}
expect.extend(idempotencyMatchers);

interface Order {
  readonly id: string;
}
const event: Order = { id: 'o-1' };

const charging = (charge: (world: ExploredWorld, token: string) => Promise<void>) => (world: ExploredWorld) =>
  idempotent(
    async (order: Order, context) => {
      await operation(context).step('charge', ({ token }) => charge(world, token));
      return { paid: order.id };
    },
    { store: world.store, key: (order) => order.id },
  );
const withToken = charging(({ effect }, token) => effect('charge', token));
const withoutToken = charging(({ effect }) => effect('charge'));

const update = (left: string) => ({
  Update: {
    TableName: 'stock',
    Key: { sku: 'pen' },
    UpdateExpression: `SET #left = ${left}`,
    ConditionExpression: '#left > :zero',
    ExpressionAttributeNames: { '#left': 'left' },
    ExpressionAttributeValues: { ':zero': 0, ':one': 1 },
  },
});
const tables = { stock: { key: 'sku', items: [{ sku: 'pen', left: 2 }] } };

describe('explore', () => {
  it('finds that an effect whose service honours the token happens once', async () => {
    const report = await explore(withToken, event);
    expect(report.effects).toEqual([{ name: 'charge', expected: 1, most: 1, least: 1, verdict: 'as-once' }]);
    expect(report).toMatchObject({ isIdempotent: true, isComplete: true });
    // Five points in two clean deliveries, each with six faults, and the clean run.
    expect(report.schedules).toBe(1 + 5 * 6);
  });

  it('plays the faults of a numbered sender as those of a key', async () => {
    const charge = (hasToken: boolean) => (world: ExploredWorld) =>
      idempotent(
        async (sale: { number: number }, context: Context) => {
          await operation(context).step('charge', ({ token }) =>
            world.effect('charge', hasToken ? token : undefined),
          );
          return { sold: sale.number };
        },
        {
          store: world.store,
          sequence: numbered(({ number }: { number: number }) => ({ producer: 'till-7', epoch: 1, number })),
        },
      );
    const report = await explore(charge(true), { number: 0 });
    expect(report.effects).toEqual([{ name: 'charge', expected: 1, most: 1, least: 1, verdict: 'as-once' }]);
    // As many points as with a key.
    expect(report).toMatchObject({ isIdempotent: true, isComplete: true, schedules: 1 + 5 * 6 });
    expect(await explore(charge(false), { number: 0 })).toMatchObject({ isIdempotent: false });
  });

  it('shows the schedule that repeats an effect without a token, and advises to send one', async () => {
    const report = await explore(withoutToken, event);
    expect(report.isIdempotent).toBe(false);
    const [charge] = report.effects;
    expect(charge).toMatchObject({ verdict: 'repeated', expected: 1, most: 2 });
    expect(String(report)).toContain("Send the step's token");
    expect(String(report)).toContain('effect charge, and crashes before it has the answer');
    expect(String(report)).toMatch(/charge: 2 instead of 1\n +0 ms +#1 +the event is delivered/);
  });

  it('advises a step for an effect that is in none', async () => {
    const report = await explore(
      ({ store, effect }) =>
        idempotent(async (_: Order) => effect('mail'), { store, key: (order) => order.id }),
      event,
    );
    expect(report.effects).toMatchObject([{ verdict: 'repeated' }]);
    expect(String(report)).toContain('Put it into a step');
  });

  it('finds an effect that is left out where only the first attempt has it', async () => {
    const swallowing = ({ store, effect }: ExploredWorld) =>
      idempotent(
        async (_: Order, context) => {
          if (operation(context).attempt === 1) await effect('charge', operation(context).token('charge'));
        },
        { store, key: (order) => order.id },
      );
    const report = await explore(swallowing, event);
    expect(report.effects).toMatchObject([{ verdict: 'missing', least: 0 }]);
    const allowed = await explore(swallowing, event, { mayBeMissing: ['charge'] });
    expect(allowed.isIdempotent).toBe(true);
  });

  it('counts effects that the test counts itself', async () => {
    let mails = 0;
    const report = await explore(
      ({ store }) => idempotent(async (_: Order) => ++mails, { store, key: (order) => order.id }),
      event,
      { effects: { mail: () => mails } },
    );
    expect(report.effects).toMatchObject([{ name: 'mail', expected: 1, most: 2, verdict: 'repeated' }]);
  });

  it('applies the writes of a commit to tables, once in every schedule', async () => {
    const left = new Set<unknown>();
    const report = await explore(
      ({ store, tables: own }) =>
        idempotent(
          async (order: Order, context) => {
            const result = await operation(context).commit({
              result: { placed: order.id },
              writes: [update('#left - :one')],
              messages: [{ destination: 'ledger', groupId: 'g', body: order }],
            });
            left.add(own.get('stock', { sku: 'pen' })?.left);
            return result;
          },
          { store, key: (order) => order.id, destinations: ['ledger'] },
        ),
      event,
      { tables },
    );
    expect(String(report)).toContain('write to stock');
    expect(report.effects.map(({ name, verdict }) => [name, verdict])).toEqual([
      ['message to ledger', 'as-once'],
      ['write to stock', 'as-once'],
    ]);
    expect([...left]).toEqual([1]);
  });

  it.each(['eager', 'at-commit'] as const)('explores the lanes of a stream (%s)', async (claim) => {
    const quiet = { onFailure: () => {} };
    const book = (isGuarded: boolean) => (world: ExploredWorld) => {
      const handler = eachPartition(async (records, op) => {
        for (const upTo of records) {
          const Item = { id: upTo.kinesis.sequenceNumber };
          await op.commit({ writes: [{ Put: { TableName: 'ledger', Item } }], upTo });
          if (!isGuarded) await world.effect(`mail ${Item.id}`);
        }
      }, quiet);
      return idempotent(handler, { store: world.store, claim });
    };
    const stream = kinesisEvent(
      { data: 1, partitionKey: 'a', sequenceNumber: '1' },
      { data: 2, partitionKey: 'a', sequenceNumber: '2' },
    );
    const report = await explore(book(true), stream);
    expect(report, String(report)).toMatchObject({ isIdempotent: true, isComplete: true });
    expect(report.schedules).toBeGreaterThan(10);
    expect((await explore(book(false), stream)).isIdempotent).toBe(false);
  });

  it('explores the records of a batch', async () => {
    const batch = (world: ExploredWorld) =>
      idempotent(
        eachRecord(async ({ payload }, record) => {
          const { order } = payload as { order: string };
          await record.step('book', ({ token }) => world.effect(`book ${order}`, token));
        }),
        { store: world.store },
      );
    const report = await explore(batch, sqsEvent({ body: { order: 'a' } }, { body: { order: 'b' } }));
    expect(report.effects).toMatchObject([
      { name: 'book a', verdict: 'as-once' },
      { name: 'book b', verdict: 'as-once' },
    ]);
  });

  it('finds with two faults that ten steps are as one clean call, within seconds', {
    timeout: 60_000,
  }, async () => {
    const steps = (count: number) => (world: ExploredWorld) =>
      idempotent(
        async (_: Order, context) => {
          for (let number = 1; number <= count; number++) {
            await operation(context).step(`s${number}`, ({ token }) => world.effect(`e${number}`, token));
          }
        },
        { store: world.store, key: (order) => order.id },
      );
    expect((await explore(steps(10), event)).isIdempotent).toBe(true);
    const pairs = await explore(steps(1), event, { faults: 2 });
    expect(pairs).toMatchObject({ isIdempotent: true, isComplete: true });
    expect(await explore(steps(1), event, { faults: 2, maxSchedules: 50 })).toMatchObject({
      isComplete: false,
    });
  });

  it('says that a handler without a guard asks the store for nothing', async () => {
    await expect(
      explore(
        ({ effect }) =>
          () =>
            effect('charge'),
        event,
      ),
    ).rejects.toMatchObject({
      code: 'NOT_GUARDED',
    });
  });

  it('names effects that it never sees', async () => {
    const quiet = ({ store }: ExploredWorld) =>
      idempotent(async (_: Order) => 1, { store, key: (order) => order.id });
    await expect(explore(quiet, event)).rejects.toThrow('did not have an effect');
    await expect(explore(quiet, event, { effects: { mail: () => 0 } })).rejects.toThrow(
      'these effects: mail',
    );
  });

  it('refuses a handler that does something else each time', async () => {
    let runs = 0;
    const moody = ({ store, effect }: ExploredWorld) =>
      idempotent(async (_: Order) => effect(`e${runs++}`), { store, key: (order) => order.id });
    await expect(explore(moody, event)).rejects.toThrow("differ at point 2: 'effect e0' and 'effect e1'");
  });

  it('refuses options that it does not know', async () => {
    await expect(explore(withToken, event, { fault: 2 } as never)).rejects.toThrow('Did you mean `faults`?');
  });
});

it('toBeIdempotent passes and fails as explore finds', async () => {
  await expect(withToken).toBeIdempotent(event);
  await expect(withoutToken).not.toBeIdempotent(event);
  await expect(expect(withoutToken).toBeIdempotent(event)).rejects.toThrow('charge: 2 instead of 1');
});

it('assertIdempotent resolves to the report, or throws it', async () => {
  expect((await assertIdempotent(withToken, event)).isIdempotent).toBe(true);
  await expect(assertIdempotent(withoutToken, event)).rejects.toThrow('charge: 2 instead of 1');
});
