/** What a call costs: requests one after the other, and write units as DynamoDB reports them. */
import { beforeEach, describe, expect, test } from 'vitest';
import { dynamoStore, type Operation } from '../../lib/index.ts';
import { clientFor, dynamodbEndpoint } from '../support/dynamodb.ts';
import { incompressible } from '../support/hands.ts';
import { workbench } from '../support/work.ts';

const bench = workbench();
let requests: string[];
let units: { read: number; write: number };
beforeEach(() => {
  requests = [];
  units = { read: 0, write: 0 };
});

/**
 * A store whose requests are counted, with what DynamoDB says that those cost which were applied. For a transaction
 * DynamoDB Local always says the same, so that is counted as AWS charges it: two write units for each item up to 1 KB.
 *
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html#transaction-capacity-handling
 */
function countingStore() {
  const client = clientFor(dynamodbEndpoint());
  client.middlewareStack.add(
    (next, context) => async (args) => {
      const name = String(context.commandName).replace(/Command$/, '');
      requests.push(name);
      const result = await next({
        ...args,
        input: { ...args.input, ReturnConsumedCapacity: 'TOTAL' } as never,
      });
      if (name === 'TransactWriteItems') {
        units.write += 2 * (args.input as { TransactItems: unknown[] }).TransactItems.length;
      } else {
        const { CapacityUnits } = (result.output as { ConsumedCapacity: { CapacityUnits: number } })
          .ConsumedCapacity;
        units[name === 'Query' || name === 'GetItem' ? 'read' : 'write'] += CapacityUnits;
      }
      return result;
    },
    { step: 'initialize' },
  );
  return dynamoStore({ tableName: bench.table.tableName, client, clock: bench.clock });
}

async function call(work: (op: Operation) => unknown, more: object = {}): Promise<void> {
  requests.length = 0;
  units = { read: 0, write: 0 };
  await bench.guard(work, { store: countingStore(), ...more })({ id: bench.id });
}

const mail = { destination: 'mail', body: 'm', groupId: 'g' };
const writes = (count: number) => Array.from({ length: count }, (_, at) => bench.count(`${bench.id}-${at}`));
const done = () => 'done';

describe('with an answer that is stored inline,', () => {
  test('a fresh call costs 2 round trips and 2 write units', async () => {
    await call(done);
    expect(requests).toEqual(['PutItem', 'UpdateItem']);
    expect(units).toEqual({ read: 0, write: 2 });
  });

  test('a duplicate costs 1 round trip', async () => {
    await call(done);
    await call(done);
    expect(requests).toEqual(['PutItem']);
  });

  test('a takeover costs 3 round trips', async () => {
    await bench.crash(() => {});
    await call(done);
    expect(requests).toEqual(['PutItem', 'UpdateItem', 'UpdateItem']);
  });
});

test('a step costs 1 round trip and 1 write unit more', async () => {
  await call((op) => op.step('step', done));
  expect(requests).toEqual(['PutItem', 'PutItem', 'UpdateItem']);
  expect(units).toEqual({ read: 0, write: 3 });
});

test('a step that must not be repeated costs 2 round trips and 2 write units more', async () => {
  await call((op) => op.step('step', done, { atMostOnce: true }));
  expect(requests).toEqual(['PutItem', 'PutItem', 'UpdateItem', 'UpdateItem']);
  expect(units).toEqual({ read: 0, write: 4 });
});

test('a takeover with steps costs 1 query more, however many', async () => {
  await bench.crash(async (op) => {
    for (const name of ['a', 'b', 'c']) await op.step(name, done);
  });
  await call(async (op) => {
    for (const name of ['a', 'b', 'c']) await op.step(name, done);
    return 'done';
  });
  expect(requests).toEqual(['PutItem', 'UpdateItem', 'Query', 'UpdateItem']);
  expect(units.read).toBe(1);
});

test('a transaction costs 1 round trip more, and 2 write units for each write, message and the step', async () => {
  await call((op) => op.transaction('t', { writes: writes(3), messages: [mail] }));
  expect(requests).toEqual(['PutItem', 'TransactWriteItems', 'UpdateItem']);
  // The claim is checked for as many units as if it were written.
  expect(units.write).toBe(2 + 2 * (3 + 1 + 1 + 1));
});

test('a commit costs no round trip more, and 2 write units for each write, message and the completion', async () => {
  await call((op) => op.commit({ result: 'done', writes: writes(3), messages: [mail] }));
  expect(requests).toEqual(['PutItem', 'TransactWriteItems']);
  expect(units.write).toBe(1 + 2 * (3 + 1 + 1));
});

test('a commit without writes and messages costs what a completion costs', async () => {
  await call((op) => op.commit({ result: 'done' }));
  expect(requests).toEqual(['PutItem', 'UpdateItem']);
  expect(units).toEqual({ read: 0, write: 2 });
});

test('a commit of a result over 4 KB costs 1 round trip more', async () => {
  await call((op) => op.commit({ result: incompressible(6_000), writes: writes(1) }));
  expect(requests).toEqual(['PutItem', 'PutItem', 'TransactWriteItems']);
});

describe("with claim: 'at-commit',", () => {
  const more = { claim: 'at-commit' };

  test('a commit with writes costs 1 round trip, and 2 write units for each and for the record', async () => {
    await call((op) => op.commit({ result: 'done', writes: writes(2) }), more);
    expect(requests).toEqual(['TransactWriteItems']);
    expect(units.write).toBe(2 * (2 + 1));
  });

  test('a commit without writes costs 1 round trip and 1 write unit', async () => {
    await call((op) => op.commit({ result: 'done' }), more);
    expect(requests).toEqual(['PutItem']);
    expect(units).toEqual({ read: 0, write: 1 });
  });

  test('a duplicate costs 1 round trip', async () => {
    await call((op) => op.commit({ result: 'done', writes: writes(1) }), more);
    await call((op) => op.commit({ result: 'done', writes: writes(1) }), more);
    expect(requests).toEqual(['TransactWriteItems']);
  });
});
