import { expect, it } from 'vitest';
import { idempotent, operation, type TransactWrite } from '../../lib/index.ts';
import { memoryStore, memoryTables } from '../../lib/testing.ts';

const made = () => memoryTables({ stock: { key: 'sku', items: [{ sku: 'pen', left: 1 }] } });

const committing = (tables: ReturnType<typeof made>) =>
  idempotent(
    async (writes: readonly TransactWrite[], context) =>
      operation(context).commit({ result: 'done', writes: [...writes] }),
    { store: memoryStore({ tables }), key: (writes) => JSON.stringify(writes) },
  );

const sell = {
  Update: {
    TableName: 'stock',
    Key: { sku: 'pen' },
    UpdateExpression: 'SET #left = #left - :one',
    ConditionExpression: '#left >= :one',
    ExpressionAttributeNames: { '#left': 'left' },
    ExpressionAttributeValues: { ':one': 1 },
  },
};
const put = (sku: string): TransactWrite => ({
  Put: { TableName: 'stock', Item: { sku }, ConditionExpression: 'attribute_not_exists(sku)' },
});

it('applies puts, updates and deletes, and checks conditions', async () => {
  const tables = made();
  const commit = committing(tables);
  await commit([put('ink'), sell]);
  expect(tables.items('stock')).toEqual([{ sku: 'ink' }, { sku: 'pen', left: 0 }]);
  const check = { TableName: 'stock', Key: { sku: 'pen' }, ConditionExpression: 'attribute_exists(sku)' };
  await commit([{ ConditionCheck: check }, { Delete: { TableName: 'stock', Key: { sku: 'ink' } } }]);
  expect(tables.get('stock', { sku: 'ink' })).toBeUndefined();
});

it('writes nothing where one condition fails, and shows the item that it met', async () => {
  const tables = made();
  tables.put('stock', { sku: 'pen', left: 0 });
  await expect(committing(tables)([put('ink'), sell])).rejects.toMatchObject({
    code: 'COMMIT_REJECTED',
    rejections: [{ index: 1, code: 'ConditionalCheckFailed', item: { sku: 'pen', left: 0 } }],
  });
  expect(tables.items('stock')).toEqual([{ sku: 'pen', left: 0 }]);
});

it('refuses an expression that DynamoDB refuses, and a table that is not there', async () => {
  const wrong = { Update: { ...sell.Update, UpdateExpression: 'SET #left - :one' } };
  await expect(committing(made())([wrong])).rejects.toMatchObject({ code: 'BAD_WRITES' });
  const elsewhere = { Delete: { TableName: 'orders', Key: { id: 'a' } } };
  await expect(committing(made())([elsewhere])).rejects.toThrow("a table that the test has not: 'orders'");
});

it('refuses a key and an item that the table cannot have', () => {
  const tables = made();
  expect(() => tables.get('stock', { id: 1 })).toThrow('The provided key element does not match the schema');
  expect(() => tables.put('stock', { left: 1 })).toThrow('Missing the key sku');
  expect(() => tables.items('orders')).toThrow("There is no table 'orders'. Known: stock.");
  expect(() => memoryTables({ stock: {} as never })).toThrow("Table 'stock' needs `key`");
});
