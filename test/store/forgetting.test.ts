import { expect, test } from 'vitest';
import { idempotent, operation } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';

const charging = (store: ReturnType<typeof memoryStore>) =>
  idempotent(
    async ({ key }: { key: string }, context) => {
      const op = operation(context);
      await op.step('reserve', () => key);
      return op.commit({ result: key, writes: [{ Put: { TableName: 'charges', Item: { key } } }] });
    },
    { store, namespace: 'forgetting', key: ({ key }) => key },
  );

test('a store in memory forgets one operation with its steps, and no other', async () => {
  const store = memoryStore();
  const charge = charging(store);
  await charge({ key: 'a' });
  await charge({ key: 'b' });
  const [first, second] = store.records;
  expect(first?.steps).toHaveLength(1);
  store.forget(first!.pk);
  expect(store.records).toEqual([second]);
  expect(await store.steps.read(first!)).toEqual([]);
  await charge({ key: 'a' });
  await charge({ key: 'b' });
  expect(store.writes).toHaveLength(3);
});

test('a store in memory that keeps no history applies writes all the same', async () => {
  const applied: unknown[] = [];
  const store = memoryStore({
    keepsHistory: false,
    tables: { prepare: (writes) => ({ rejections: [], apply: () => applied.push(...writes) }) },
  });
  await charging(store)({ key: 'a' });
  expect(applied).toHaveLength(1);
  expect({ writes: store.writes, messages: store.messages }).toEqual({ writes: [], messages: [] });
});
