/** How long items are kept, and how they are read. */
import {
  DeleteItemCommand,
  type DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  QueryCommand,
} from '@aws-sdk/client-dynamodb';
import { beforeAll, beforeEach, expect, test } from 'vitest';
import type { DynamoClient } from '../../lib/dynamo/client.ts';
import { dynamoStore } from '../../lib/index.ts';
import { completed } from '../../lib/store.ts';
import { createTable, type TestTable } from '../support/dynamodb.ts';

let table: TestTable;
let pk = '';
beforeAll(async () => {
  table = await createTable();
});
beforeEach(() => {
  pk = `orders#${expect.getState().currentTestName}`;
});

const dayMs = 86_400_000;
const nowMs = Date.now();
const endsAtMs = nowMs + dayMs;
const claim = () => ({
  pk,
  owner: 'a',
  nowMs,
  leaseUntilMs: nowMs + 1_000,
  endsAtMs,
  fingerprint: undefined,
});
const completion = (answer: Uint8Array) => ({
  ...{ pk, owner: 'a', window: 'a', completedAtMs: nowMs + 5_000, endsAtMs: endsAtMs + 5_000, answer },
});
const step = () => ({
  ...({ pk, window: 'a', name: 'charge', status: 'DONE', owner: 'a', attempt: 1, endsAtMs } as const),
  value: Uint8Array.of(1),
});
const cleanedUpAt = async () =>
  (await table.dump()).filter((item) => item.pk?.S === pk).map((item) => Number(item.expiresAt?.N));

test('claims and steps are cleaned up a day after the end of their window', async () => {
  const store = completed(dynamoStore(table.store));
  await store.claim(claim());
  await store.steps.put(step());
  const atSeconds = Math.ceil((endsAtMs + dayMs) / 1000);
  expect(await cleanedUpAt()).toEqual([atSeconds, atSeconds]);
});

test('a completion moves the time at which the record and its chunks are cleaned up', async () => {
  const store = completed(dynamoStore(table.store));
  await store.claim(claim());
  await store.complete(completion(new Uint8Array(5_000)));
  const atSeconds = Math.ceil((endsAtMs + 5_000 + dayMs) / 1000);
  expect(await cleanedUpAt()).toEqual([atSeconds, atSeconds]);
});

test('an answer of which a chunk is gone is not read in part', async () => {
  const store = completed(dynamoStore(table.store));
  await store.claim(claim());
  await store.complete(completion(new Uint8Array(500_000)));
  const [chunk] = (await table.dump()).filter((item) => item.pk?.S === pk && item.sk?.S !== 'claim');
  const Key = { pk: chunk!.pk!, sk: chunk!.sk! };
  await table.client.send(new DeleteItemCommand({ TableName: table.tableName, Key }));
  const record = await store.read(pk);
  const answer = record?.answer;
  expect(answer?.kind === 'elsewhere' && (await answer.read())).toBeUndefined();
});

test('records, steps and chunks are read consistently, for what was just written decides', async () => {
  const reads: (boolean | undefined)[] = [];
  const client: DynamoClient = {
    send(command: Parameters<DynamoDBClient['send']>[0]): Promise<unknown> {
      const isRead = command instanceof GetItemCommand || command instanceof QueryCommand;
      if (isRead) reads.push(command.input.ConsistentRead);
      return table.client.send(command);
    },
  };
  const store = completed(dynamoStore({ tableName: table.tableName, client }));
  await store.claim(claim());
  await store.complete(completion(new Uint8Array(5_000)));
  const { answer } = (await store.read(pk))!;
  if (answer?.kind === 'elsewhere') await answer.read();
  await store.steps.read({ pk, window: 'a' });
  expect(reads).toEqual([true, true, true]);
});

test('an answer of which a chunk could not be written completes nothing', async () => {
  let chunks = 0;
  const client: DynamoClient = {
    async send(command: Parameters<DynamoDBClient['send']>[0]): Promise<unknown> {
      const isChunk = command instanceof PutItemCommand && command.input.Item?.data !== undefined;
      if (isChunk && ++chunks === 2) throw new Error('socket hang up');
      return table.client.send(command);
    },
  };
  const store = completed(dynamoStore({ tableName: table.tableName, client }));
  await store.claim(claim());
  await expect(store.complete(completion(new Uint8Array(500_000)))).rejects.toThrow();
  expect(await store.read(pk)).toMatchObject({ status: 'IN_PROGRESS' });
});
