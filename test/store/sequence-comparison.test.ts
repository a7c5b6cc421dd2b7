/** That a store in memory and one on DynamoDB say the same of a numbered sender, whatever comes in whatever order. */
import { beforeAll, describe, expect, test } from 'vitest';
import { dynamoStore } from '../../lib/index.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';
import { createDynamoModel, modelClient } from '../proof/dynamodb-model/index.ts';
import { createTable, type TestTable } from '../support/dynamodb.ts';
import { wholeStore } from '../support/whole-store.ts';
import { play } from './sequence-course.ts';

let table: TestTable;
beforeAll(async () => {
  table = await createTable();
});

const tableName = 'idempotency';

/** On the model of DynamoDB, which answers without a network. */
function modelled() {
  const model = createDynamoModel({
    tables: [{ name: tableName, partitionKey: 'pk', sortKey: 'sk', ttlAttribute: 'expiresAt' }],
    nowMs: Date.now,
  });
  return wholeStore(dynamoStore({ tableName, client: modelClient(model) }));
}

async function compare(seeds: readonly number[], length: number, storeOf: () => ReturnType<typeof modelled>) {
  const outcomes = new Map<string, number>();
  const differences: unknown[] = [];
  for (const seed of seeds) {
    const course = await play(seed, length, [memoryStore({ clock: manualClock() }), storeOf()]);
    for (const [outcome, count] of course.outcomes)
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + count);
    if (course.difference) differences.push([seed, ...course.difference]);
  }
  return { outcomes, differences };
}

const seedsFrom = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, index) => first + index);

describe('a store in memory and one on DynamoDB', () => {
  test('agree on 3,000 requests of 60 senders, on the model of DynamoDB', async () => {
    const { outcomes, differences } = await compare(seedsFrom(1, 60), 50, modelled);
    expect(differences.slice(0, 1)).toEqual([]);
    const often = Object.fromEntries(outcomes);
    // Every verb is applied and stopped, fenced and told of a gap.
    for (const verb of ['claim', 'claimCompleted', 'takeOver', 'recordAtOnce']) {
      for (const outcome of [
        'applied',
        verb === 'recordAtOnce' ? 'cancelled' : 'stopped',
        'FENCED',
        'SEQUENCE_GAP',
      ]) {
        expect(often[`${verb} ${outcome}`], `${verb} ${outcome}`).toBeGreaterThan(4);
      }
    }
    for (const verb of ['complete', 'giveBack', 'endLease', 'amend', 'check', 'completeAtOnce']) {
      for (const outcome of ['applied', /check|AtOnce/.test(verb) ? 'cancelled' : 'stopped']) {
        expect(often[`${verb} ${outcome}`], `${verb} ${outcome}`).toBeGreaterThan(4);
      }
    }
  });

  test('agree on 300 requests of 10 senders, on DynamoDB Local', async () => {
    const { differences } = await compare(seedsFrom(1_001, 10), 30, () =>
      wholeStore(dynamoStore(table.store)),
    );
    expect(differences).toEqual([]);
  });
});
