import { describe, expect, it } from 'vitest';
import { idempotent, operation, updateVersion } from '../../lib/index.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';
import { lambdaContext } from '../support/invocation.ts';

interface Order {
  readonly id: string;
  readonly cents: number;
}

const putOf = ({ id, cents }: Order) => ({
  Put: {
    TableName: 'orders',
    Item: { id, cents, note: undefined },
    ConditionExpression: 'attribute_not_exists(id)',
  },
});

/** A handler at the committed level, on a memory store. */
function shop(options: Parameters<typeof memoryStore>[0] = {}) {
  const store = memoryStore(options);
  const place = idempotent(
    async (order: Order, context) => {
      const result = { placed: order.id };
      const stock = {
        Update: {
          TableName: 'stock',
          Key: { sku: 'pen' },
          UpdateExpression: 'SET #left = #left - :one',
          ConditionExpression: '#left >= :one',
          ExpressionAttributeNames: { '#left': 'left' },
          ExpressionAttributeValues: { ':one': 1 },
        },
      };
      try {
        return await operation(context).commit({
          result,
          writes: [putOf(order), stock],
          messages: [{ destination: 'ledger', groupId: order.id, body: { placed: order.id } }],
        });
      } catch (error) {
        if ((error as { code?: string }).code !== 'COMMIT_REJECTED') throw error;
        return { rejected: (error as { rejections: unknown }).rejections };
      }
    },
    { store, key: (order) => order.id, destinations: ['ledger'] },
  );
  return { store, place };
}

describe('memoryStore', () => {
  it('lists the writes of a commit, as DynamoDB would keep them, once', async () => {
    const { store, place } = shop();
    expect(await place({ id: 'o-1', cents: 500 })).toEqual({ placed: 'o-1' });
    expect(await place({ id: 'o-1', cents: 500 })).toEqual({ placed: 'o-1' });
    expect(store.writes).toEqual([
      {
        Put: {
          TableName: 'orders',
          Item: { id: 'o-1', cents: 500 },
          ConditionExpression: 'attribute_not_exists(id)',
        },
      },
      expect.objectContaining({
        Update: expect.objectContaining({ Key: { sku: 'pen' }, ExpressionAttributeValues: { ':one': 1 } }),
      }),
    ]);
    expect(store.messages).toMatchObject([{ destination: 'ledger', body: '{"placed":"o-1"}' }]);
  });

  it('takes all four kinds of writes, and those of updateVersion', async () => {
    const store = memoryStore();
    const writes = [
      { Put: { TableName: 't', Item: { id: 1 } } },
      { Delete: { TableName: 't', Key: { id: 2 } } },
      { ConditionCheck: { TableName: 't', Key: { id: 3 }, ConditionExpression: 'attribute_exists(id)' } },
      updateVersion.write({ tableName: 't', key: { id: 4 }, version: 'v1', set: { paid: true } }),
    ];
    const pay = idempotent(
      async (_event: unknown, context) => operation(context).commit({ result: 1, writes }),
      { store, key: () => 'k' },
    );
    await pay({});
    expect(store.writes.map((write) => Object.keys(write))).toEqual([
      ['Put'],
      ['Delete'],
      ['ConditionCheck'],
      ['Update'],
    ]);
  });

  it('lists the writes of a transaction in the middle, once over all attempts', async () => {
    const store = memoryStore();
    let attempts = 0;
    const work = idempotent(
      async (order: Order, context) => {
        const reserved = await operation(context).transaction('reserve', {
          writes: [putOf(order)],
          value: 'r-1',
        });
        if (++attempts === 1) throw new Error('crash');
        return reserved;
      },
      { store, key: (order) => order.id },
    );
    const order = { id: 'o-1', cents: 1 };
    await expect(work(order, lambdaContext(30_000))).rejects.toThrow('crash');
    expect(store.records).toMatchObject([
      { status: 'IN_PROGRESS', attempt: 1, leaseUntilMs: 0, steps: [{ name: 'reserve', status: 'DONE' }] },
    ]);
    expect(await work(order, lambdaContext(30_000))).toBe('r-1');
    expect(store.writes).toHaveLength(1);
    expect(store.records).toMatchObject([{ status: 'COMPLETED', attempt: 2 }]);
  });

  it('plays a condition that fails, for all of the transaction', async () => {
    const { store, place } = shop({
      conditionFails: (write) => write.Update?.TableName === 'stock' && { left: 0 },
    });
    expect(await place({ id: 'o-1', cents: 500 })).toEqual({
      rejected: [{ index: 1, code: 'ConditionalCheckFailed', item: { left: 0 } }],
    });
    expect(store.writes).toEqual([]);
    expect(store.messages).toEqual([]);
    expect(store.records).toMatchObject([{ status: 'COMPLETED' }]);
  });

  it('plays a condition that met no item', async () => {
    const { place } = shop({ conditionFails: (write) => write.Put !== undefined });
    expect(await place({ id: 'o-1', cents: 500 })).toEqual({
      rejected: [{ index: 0, code: 'ConditionalCheckFailed' }],
    });
  });

  it('refuses what DynamoDB would refuse whatever its tables hold', async () => {
    const refused = async (writes: unknown) => {
      const call = idempotent(
        async (_event: unknown, context) => operation(context).commit({ result: 1, writes: writes as [] }),
        { store: memoryStore(), key: () => 'k' },
      );
      return call({}).then(
        () => 'nothing',
        ({ code, message }) => `${code}: ${message}`,
      );
    };
    const put = (id: unknown) => ({ Put: { TableName: 't', Item: { id } } });
    expect(await refused(Array.from({ length: 101 }, (_, id) => put(id)))).toMatch(
      /^BAD_WRITES: A transaction takes at most 100/,
    );
    expect(await refused([put('a'), put('a')])).toMatch(/^BAD_WRITES: Writes 0 and 1 are on the same item/);
    expect(await refused([put(new Date())])).toMatch(
      /Write 0 \(Put\) has a value that DynamoDB cannot hold: Item: id is a Date\.$/,
    );
    expect(await refused([{ Putt: {} }])).toMatch(
      /Write 0 must have one of Put, Update, Delete, ConditionCheck, got an object with none of them\.$/,
    );
    expect(await refused([{ Put: {}, Delete: {} }])).toMatch(/got an object with Put and Delete\.$/);
    expect(await refused([{ Put: 'text' }])).toMatch(/Write 0 \(Put\) must be an object, got a string\.$/);
    expect(await refused([{ Put: { Item: {} } }])).toMatch(
      /Write 0 \(Put\) has no TableName, got undefined\.$/,
    );
    expect(await refused([{ Delete: { TableName: 't' } }])).toMatch(/Write 0 \(Delete\) has no Key\.$/);
  });

  it('keeps a list that the handler cannot change afterwards', async () => {
    const store = memoryStore();
    const item = { id: 'a', tags: ['x'] };
    const call = idempotent(
      async (_event: unknown, context) => {
        await operation(context).commit({ result: 1, writes: [{ Put: { TableName: 't', Item: item } }] });
        item.tags.push('y');
        return 1;
      },
      { store, key: () => 'k' },
    );
    await call({});
    expect(store.writes).toEqual([{ Put: { TableName: 't', Item: { id: 'a', tags: ['x'] } } }]);
  });

  it('shows a record until its TTL is over', async () => {
    const clock = manualClock();
    const { store, place } = shop({ clock });
    await place({ id: 'o-1', cents: 1 });
    expect(store.records).toHaveLength(1);
    clock.advance(3 * 86_400_000);
    expect(store.records).toEqual([]);
  });
});
