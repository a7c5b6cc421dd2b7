import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb';
import { beforeAll, describe, expect, test } from 'vitest';
import { dynamoStore } from '../../lib/index.ts';
import { type Store, storeContract } from '../../lib/store.ts';
import { memoryStore } from '../../lib/testing.ts';
import { createTable, type TestTable } from '../support/dynamodb.ts';
import { wholeStore } from '../support/whole-store.ts';

function keepsTheContract(createStore: () => Store): void {
  for (const { name, run } of storeContract(createStore)) test(name, run);
}

describe('memoryStore', () => {
  const store = memoryStore();
  keepsTheContract(() => store);
});

describe('dynamoStore', () => {
  let table: TestTable;
  beforeAll(async () => {
    table = await createTable();
  });
  keepsTheContract(() => wholeStore(dynamoStore(table.store)));
});

describe('dynamoStore with a document client', () => {
  let table: TestTable;
  beforeAll(async () => {
    table = await createTable();
  });
  keepsTheContract(() =>
    wholeStore(
      dynamoStore({ tableName: table.tableName, client: DynamoDBDocumentClient.from(table.client) }),
    ),
  );
});

describe('dynamoStore on a table with names of its own', () => {
  // Reserved words on purpose.
  const names = { partitionKey: 'hash', sortKey: 'range', ttlAttribute: 'expires-at' };
  let table: TestTable;
  beforeAll(async () => {
    table = await createTable(undefined, names);
  });
  keepsTheContract(() => wholeStore(dynamoStore({ ...table.store, ...names })));
});

describe('storeContract', () => {
  test('finds a store that completes for anybody', async () => {
    const careless = (): Store => {
      const store = memoryStore();
      return {
        ...store,
        async complete(completion) {
          const record = await store.read(completion.pk);
          return store.complete({ ...completion, owner: record?.owner ?? completion.owner });
        },
      };
    };
    const failures = await failuresOf(careless);
    expect(failures).toContain('refuses the completion of an overtaken owner and of none');
  });

  test('finds a store that gives back without looking', async () => {
    const careless = (): Store => {
      const store = memoryStore();
      return {
        ...store,
        async giveBack({ pk, askedAtMs }) {
          const record = await store.read(pk);
          return record ? store.giveBack({ pk, askedAtMs, owner: record.owner }) : { outcome: 'applied' };
        },
      };
    };
    expect(await failuresOf(careless)).toEqual([
      'gives back a claim that has not arrived yet',
      'gives back nothing for another owner, nor what is completed',
    ]);
  });

  test('finds a store that forgets when a window ends', async () => {
    const forgetful = (): Store => {
      const store = memoryStore();
      return { ...store, claim: (claim) => store.claim({ ...claim, nowMs: claim.nowMs + 1_000 }) };
    };
    expect(await failuresOf(forgetful)).not.toEqual([]);
  });
});

async function failuresOf(createStore: () => Store): Promise<string[]> {
  const failures: string[] = [];
  for (const { name, run } of storeContract(createStore)) await run().catch(() => failures.push(name));
  return failures;
}
