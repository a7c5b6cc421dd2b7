import { describe, expect, test } from 'vitest';
import { type AtomicWork, idempotent, type Operation, operation } from '../../lib/index.ts';
import { type Store, storeContract } from '../../lib/store.ts';
import { memoryStore } from '../../lib/testing.ts';
import { failureOf } from '../support/work.ts';

type Part = 'steps' | 'transactions';

function storeWithout(...parts: readonly Part[]): Store {
  const store: Record<string, unknown> = { ...memoryStore() };
  for (const part of parts) delete store[part];
  return store as unknown as Store;
}

const guard = (store: Store, work: (op: Operation) => unknown) =>
  idempotent(async (_event: unknown, context) => work(operation(context)), {
    ...{ store, namespace: 'orders', key: () => 'a', destinations: ['ledger'] },
  });

const message = { destination: 'ledger', body: 'b', groupId: 'g' };
const put: AtomicWork = { writes: [{ Put: { TableName: 'orders', Item: { id: 'a' } } }] };

describe('a store without steps', () => {
  test('guards a handler, gives tokens and commits', async () => {
    const store = storeWithout('steps');
    let runs = 0;
    const handler = guard(store, (op) => op.commit({ ...put, result: [op.token('charge').length, ++runs] }));
    expect(await handler({})).toEqual([36, 1]);
    expect(await handler({})).toEqual([36, 1]);
  });

  test.each([
    ['step()', (op: Operation) => op.step('charge', () => expect.unreachable())],
    ['transaction()', (op: Operation) => op.transaction('charge', put)],
  ])('refuses %s by name, before anything of it is done', async (name, work) => {
    const store = storeWithout('steps');
    const error = await failureOf(Promise.resolve(guard(store, work)({})));
    expect(error).toMatchObject({ code: 'UNSUPPORTED', effect: 'possible' });
    expect(error.message).toContain(`${name} needs a store with \`steps\``);
  });
});

describe('a store without transactions', () => {
  test('runs steps, and commits what has neither writes nor messages', async () => {
    const handler = guard(storeWithout('transactions'), async (op) =>
      op.commit({ result: await op.step('charge', () => 'charged') }),
    );
    expect(await handler({})).toBe('charged');
    expect(await handler({})).toBe('charged');
  });

  test.each([
    ['transaction()', (op: Operation) => op.transaction('charge', put)],
    ['commit() with writes or messages', (op: Operation) => op.commit({ ...put, result: 1 })],
    ['commit() with writes or messages', (op: Operation) => op.commit({ messages: [message], result: 1 })],
  ])('refuses %s by name', async (name, work) => {
    const error = await failureOf(Promise.resolve(guard(storeWithout('transactions'), work)({})));
    expect(error).toMatchObject({ code: 'UNSUPPORTED', effect: 'possible' });
    expect(error.message).toContain(`${name} needs a store with \`transactions\``);
  });

  test('refuses a commit with writes that claims, and leaves no claim behind', async () => {
    const store = storeWithout('transactions');
    const handler = idempotent(
      async (_: unknown, context) => operation(context).commit({ ...put, result: 1 }),
      {
        ...{ store, namespace: 'orders', key: () => 'a', claim: 'at-commit' },
      },
    );
    expect(await failureOf(handler({}))).toMatchObject({ code: 'UNSUPPORTED' });
    expect(await guard(store, () => 'ran')({})).toBe('ran');
  });
});

describe('storeContract', () => {
  const failuresOf = async (store: Store, without?: readonly Part[]): Promise<string[]> => {
    const failures: string[] = [];
    for (const { name, run } of storeContract(() => store, without && { without })) {
      await run().catch(() => failures.push(name));
    }
    return failures;
  };

  test.each<[Part[]]>([[['steps']], [['transactions']], [['steps', 'transactions']]])(
    'holds for a store that is said to be without %s',
    async (without) => {
      expect(await failuresOf(storeWithout(...without), without)).toEqual([]);
    },
  );

  test('finds a part that is missing and was not said to be', async () => {
    expect(await failuresOf(storeWithout('steps'))).toContain('has steps');
  });

  test('finds a part that is there and would go untested', async () => {
    expect(await failuresOf(memoryStore(), ['transactions'])).toEqual(['has no transactions']);
  });
});
