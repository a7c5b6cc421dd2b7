/** The item of a numbered sender: what lies in it, what it costs, and what is told where it cannot be kept. */
import { createHash, randomUUID } from 'node:crypto';
import type { AttributeValue, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { dynamoStore, IdempotencyError, idempotent, operation } from '../../lib/index.ts';
import { numberedStore, type Store } from '../../lib/store.ts';
import { sizeOfItem } from '../../lib/testing/dynamodb/values.ts';
import { manualClock } from '../../lib/testing.ts';
import { createTable as createAnyTable } from '../../local/aws/dynamodb-tables.ts';
import { startFaultProxy } from '../../local/faults/fault-proxy.ts';
import {
  clientFor,
  countRequests,
  createTable,
  dynamodbEndpoint,
  type TestTable,
} from '../support/dynamodb.ts';
import { incompressible } from '../support/hands.ts';
import { lambdaContext } from '../support/invocation.ts';

const day = 86_400_000;
const month = 30 * day;

let table: TestTable;
/** As a guard makes it, in a namespace of usual length. */
let sender: string;
beforeAll(async () => {
  table = await createTable();
});
beforeEach(() => {
  sender = `sales-ledger-function#${createHash('sha256').update(randomUUID()).digest('base64url')}`;
});

const place = (number: number, epoch = 3) => ({ sender, epoch, number, startsAnywhere: false });
const at = (number: number, epoch?: number, client = table.client): Store =>
  numberedStore(dynamoStore({ tableName: table.tableName, client }), place(number, epoch));
const nowMs = Date.now();

const claimOf = (number: number, owner: string, more: object = {}) => ({
  ...{ pk: `${sender}:3:${number}`, owner, nowMs, leaseUntilMs: nowMs + 30_000, endsAtMs: nowMs + month },
  fingerprint: createHash('sha256').update(owner).digest('base64url'),
  ...more,
});
const completionOf = (number: number, owner: string, answer: Uint8Array = Uint8Array.of(1)) => ({
  ...{ pk: `${sender}:3:${number}`, owner, window: owner, answer },
  ...{ completedAtMs: nowMs + 100, endsAtMs: nowMs + 100 + month },
});

/** Claims and completes a number as a guard does it. */
async function work(number: number, answer?: Uint8Array, client?: DynamoDBClient): Promise<void> {
  const store = at(number, 3, client);
  const owner = randomUUID();
  expect(await store.claim(claimOf(number, owner))).toEqual({ outcome: 'applied' });
  expect(await store.complete(completionOf(number, owner, answer))).toEqual({ outcome: 'applied' });
}

async function item(): Promise<Record<string, AttributeValue>> {
  const [found, ...others] = (await table.dump()).filter(({ pk }) => pk?.S === sender);
  expect(others).toEqual([]);
  return found ?? {};
}

/** A guarded handler for one place, and how often it ran. */
function guarded(
  store: Store,
  handler: (event: unknown, context: never) => unknown = () => 'done',
  more: object = {},
) {
  let runs = 0;
  const call = idempotent(
    async (event: { id: string }, context) => {
      runs++;
      return handler(event, context as never);
    },
    { ...{ store, namespace: 'sales', key: ({ id }: { id: string }) => id }, ...more } as never,
  ) as (event: unknown, context?: unknown) => Promise<unknown>;
  return {
    call: () => call({ id: 'operation' }, lambdaContext(20_000)),
    error: () =>
      call({ id: 'operation' }, lambdaContext(20_000)).then(
        (answer) => expect.fail(`It was answered: ${answer}`),
        (error: unknown) => error as IdempotencyError,
      ),
    get runs() {
      return runs;
    },
  };
}

describe("a sender's item", () => {
  test('has its epoch, its count, and records by remainder, of which the one in flight has its attempt', async () => {
    for (const number of [0, 1]) await work(number);
    await at(2).claim(claimOf(2, 'a', { rawKey: 'till-7', rawInput: Uint8Array.of(9) }));
    await at(2).takeOver({
      pk: '',
      owner: 'b',
      previousOwner: 'a',
      attempt: 2,
      leaseUntilMs: nowMs + 60_000,
    });
    const { record0, record1, record2, expiresAt, ...rest } = await item();
    expect(rest).toEqual({
      ...{ pk: { S: sender }, sk: { S: 'sequence' }, epoch: { N: '3' }, last: { N: '1' } },
      ...{ leaseUntil: { N: String(nowMs + 60_000) }, endsAt: { N: String(nowMs + month) } },
    });
    expect(record2?.M).toEqual({
      ...{ owner: { S: 'b' }, window: { S: 'a' }, attempt: { N: '2' }, status: { S: 'IN_PROGRESS' } },
      ...{ createdAt: { N: String(nowMs) }, fingerprint: { S: expect.any(String) } },
      ...{ key: { S: 'till-7' }, input: { B: Uint8Array.of(9) } },
    });
    for (const record of [record0, record1]) {
      expect(record?.M).toEqual({
        ...{ owner: { B: expect.any(Uint8Array) }, fingerprint: { S: expect.any(String) } },
        ...{ completedAt: { N: String(nowMs + 100) }, data: { B: Uint8Array.of(1) } },
      });
    }
  });

  test('keeps no input of what is done, and no window where it is none of its own', async () => {
    await at(0).claim(claimOf(0, 'a', { rawInput: Uint8Array.of(9) }));
    await at(0).complete(completionOf(0, 'a'));
    const { endsAt, record0 } = await item();
    expect(endsAt).toBeUndefined();
    expect(Object.keys(record0?.M ?? {}).sort()).toEqual(['completedAt', 'data', 'fingerprint', 'owner']);
  });

  test('begins anew with a higher epoch, without a trace of the one before', async () => {
    for (const number of [0, 1, 2, 3, 4, 5, 6]) await work(number);
    await at(0, 4).claim(claimOf(0, 'n'));
    expect(Object.keys(await item()).sort()).toEqual([
      'endsAt',
      'epoch',
      'expiresAt',
      'leaseUntil',
      'pk',
      'record0',
      'sk',
    ]);
  });

  test('stays for a month and a day from its last claim and its last completion', async () => {
    const cleanup = async () => Number((await item()).expiresAt?.N) * 1000;
    await at(0).claim(claimOf(0, 'a'));
    expect(Math.abs((await cleanup()) - (nowMs + month + day))).toBeLessThan(1_001);
    const later = { completedAtMs: nowMs + day, endsAtMs: nowMs + day + month };
    await at(0).complete({ ...completionOf(0, 'a'), ...later });
    expect(Math.abs((await cleanup()) - (nowMs + month + 2 * day))).toBeLessThan(1_001);
  });

  test('stays as long when a number of it is given back, whether it was claimed or not', async () => {
    await work(0);
    const before = (await item()).expiresAt;
    await at(1).giveBack({ pk: '', owner: 'a', askedAtMs: nowMs });
    expect((await item()).expiresAt).toEqual(before);
    await at(1).claim(claimOf(1, 'b', { nowMs: nowMs + 1, endsAtMs: nowMs + 100 + month }));
    await at(1).giveBack({ pk: '', owner: 'b', askedAtMs: nowMs + 1 });
    expect((await item()).expiresAt).toEqual(before);
    await at(0, 4).giveBack({ pk: '', owner: 'c', askedAtMs: nowMs + 2 });
    expect((await item()).expiresAt).toEqual(before);
  });
});

describe('a number of a sender costs', () => {
  interface Cost {
    readonly request: string;
    readonly units: number;
  }

  /** A client whose requests are listed, with what DynamoDB says that they cost. */
  function countingClient(): { client: DynamoDBClient; costs: Cost[] } {
    const client = clientFor(dynamodbEndpoint());
    const costs: Cost[] = [];
    client.middlewareStack.add(
      (next, context) => async (args) => {
        const input = { ...args.input, ReturnConsumedCapacity: 'TOTAL' } as never;
        const result = await next({ ...args, input });
        const { ConsumedCapacity } = result.output as { ConsumedCapacity?: { CapacityUnits: number } };
        const request = String(context.commandName).replace(/Command$/, '');
        costs.push({ request, units: ConsumedCapacity?.CapacityUnits ?? Number.NaN });
        return result;
      },
      { step: 'initialize' },
    );
    return { client, costs };
  }

  /** What the seventh number costs, by when the item has all that it will have. */
  async function costsOf(answer: Uint8Array): Promise<Cost[]> {
    for (let number = 1_000_000; number < 1_000_006; number++) {
      const store = numberedStore(dynamoStore(table.store), { ...place(number), startsAnywhere: true });
      const owner = randomUUID();
      await store.claim(claimOf(number, owner));
      await store.complete(completionOf(number, owner, answer));
    }
    const { client, costs } = countingClient();
    await work(1_000_006, answer, client);
    return costs;
  }

  test('2 updates of 1 write unit each, where a batch stores no answers', async () => {
    const update = { request: 'UpdateItem', units: 1 };
    // What a batch stores for each record, which has no answer.
    expect(await costsOf(Buffer.from('[["undefined"]]'))).toEqual([update, update]);
    expect(sizeOfItem((await item()) as never)).toBeLessThan(920);
  });

  test('2 updates and nothing more, with five answers of 512 bytes in the item', async () => {
    const costs = await costsOf(new Uint8Array(512).fill(1));
    expect(costs.map(({ request }) => request)).toEqual(['UpdateItem', 'UpdateItem']);
    for (const { units } of costs) expect(units).toBeLessThanOrEqual(4);
    const { client, costs: replay } = countingClient();
    for (let number = 1_000_002; number <= 1_000_006; number++) {
      const record = await at(number, 3, client).read(`${sender}:3:${number}`);
      expect(record?.answer).toEqual({ kind: 'inline', bytes: new Uint8Array(512).fill(1) });
    }
    expect(replay.map(({ request }) => request)).toEqual(Array(5).fill('GetItem'));
  });

  test('1 put more with a larger answer, of which the item has only where it lies', async () => {
    expect(await costsOf(new Uint8Array(900).fill(1))).toEqual([
      { request: 'UpdateItem', units: 2 },
      { request: 'PutItem', units: 2 },
      { request: 'UpdateItem', units: 2 },
    ]);
  });

  test('1 update where it comes again', async () => {
    await work(0);
    const { client, costs } = countingClient();
    const stopped = await at(0, 3, client).claim(claimOf(0, 'b'));
    expect(stopped).toMatchObject({ outcome: 'stopped', found: { status: 'COMPLETED' } });
    expect(costs).toHaveLength(0); // Refused, it is no answer; the request is counted beside it.
    const requests = countRequests(client);
    await at(0, 3, client).claim(claimOf(0, 'b'));
    expect(requests).toEqual(['UpdateItem']);
  });
});

describe('a table that cannot keep numbered senders is told before the handler runs:', () => {
  const refusal = async (store: Store) => {
    const guard = guarded(numberedStore(store, place(0)));
    const error = await guard.error();
    expect(guard.runs).toBe(0);
    expect(error.code).toBe('STORE_MISCONFIGURED');
    return error.message;
  };

  test('one that is not there', async () => {
    const store = dynamoStore({ tableName: 'no-such-table', client: table.client });
    expect(await refusal(store)).toContain("There is no table 'no-such-table'");
  });

  test('one without a sort key, or with other names', async () => {
    for (const description of [{ sortKey: false as const }, { partitionKey: 'id' }]) {
      const tableName = `idemkit-test-${randomUUID()}`;
      await createAnyTable(table.client, { ...description, name: tableName });
      const store = dynamoStore({ tableName, client: table.client });
      expect(await refusal(store)).toContain("must be 'pk' and its sort key 'sk', both strings");
    }
  });

  test('one that the function may not update', async () => {
    const proxy = await startFaultProxy(dynamodbEndpoint());
    proxy.inject({
      fault: { status: 400, type: 'AccessDeniedException', message: 'User: fn is not authorized' },
    });
    const store = dynamoStore({ tableName: table.tableName, client: clientFor(proxy.endpoint) });
    const message = await refusal(store);
    await proxy.stop();
    expect(message).toContain(`This function may not dynamodb:UpdateItem on table '${table.tableName}'`);
  });

  test('one whose keys or TTL have a name that the item has for itself', () => {
    for (const [option, name] of [
      ['partitionKey', 'epoch'],
      ['sortKey', 'last'],
      ['ttlAttribute', 'record5'],
    ]) {
      const store = dynamoStore({ ...table.store, [option as string]: name });
      expect(() => numberedStore(store, place(0))).toThrow(`Option \`${option}\` is '${name}'`);
    }
  });

  test('a store that has none', () => {
    const { numbered: _, ...store } = at(0);
    const without = { ...store, [Symbol.for('idemkit.dynamodb')]: undefined, id: 'mine' };
    expect(() => numberedStore(without as Store, place(0))).toThrow(
      'Numbered senders need a store with `numbered`, and mine has none.',
    );
  });
});

describe('a guarded handler on a place', () => {
  test('has its answer sealed, in the item and in chunks', async () => {
    const sealed = (size: number, number: number) =>
      guarded(
        numberedStore(
          dynamoStore({
            ...table.store,
            seal: {
              seal: (plain) => Uint8Array.from([...plain].map((byte) => byte ^ 255)),
              open: (bytes) => Uint8Array.from([...bytes].map((byte) => byte ^ 255)),
            },
          }),
          place(number),
        ),
        () => incompressible(size),
      );
    for (const [number, size] of [100, 3_000].entries()) {
      const first = await sealed(size, number).call();
      const again = sealed(size, number);
      expect(await again.call()).toBe(first);
      expect(again.runs).toBe(0);
      expect(JSON.stringify(await table.dump())).not.toContain(String(first));
    }
  });

  test('runs once, whichever answer of DynamoDB is lost', async () => {
    const proxy = await startFaultProxy(dynamodbEndpoint());
    let number = 0;
    for (const fault of ['drop-after', 'drop-before', 'cut'] as const) {
      for (const nth of [0, 1]) {
        let seen = 0;
        proxy.inject({ operation: 'UpdateItem', match: () => seen++ === nth, fault });
        const client = clientFor(proxy.endpoint);
        const guard = guarded(at(number, 3, client), () => ({ number, fault }));
        expect(await guard.call()).toEqual({ number, fault });
        expect(guard.runs).toBe(1);
        const again = guarded(at(number, 3), () => 'again');
        expect(await again.call()).toEqual({ number, fault });
        expect(again.runs).toBe(0);
        number++;
      }
    }
    await proxy.stop();
  });

  test('commits steps, writes and messages with its number, or nothing', async () => {
    const client = clientFor(dynamodbEndpoint());
    const requests = countRequests(client);
    const write = (pk: string) => ({
      Put: {
        ...{ TableName: table.tableName, Item: { pk: `${sender}-${pk}`, sk: 'write' } },
        ConditionExpression: 'attribute_not_exists(pk)',
      },
    });
    const commit = (number: number, pk: string, more = {}) =>
      guarded(
        numberedStore(dynamoStore({ tableName: table.tableName, client }), place(number)),
        async (_, context) => {
          await operation(context)
            .step('charge', () => 'charged')
            .catch((error) => {
              if (!('claim' in more)) throw error;
            });
          return operation(context).commit({
            result: pk,
            writes: [write(pk)],
            messages: [{ destination: 'ledger', body: 'entry', groupId: 'till' }],
          });
        },
        { destinations: ['ledger'], ...more },
      );
    expect(await commit(0, 'a').call()).toBe('a');
    expect(requests).toEqual(['UpdateItem', 'PutItem', 'TransactWriteItems']);
    expect(await commit(1, 'a').error()).toMatchObject({ code: 'COMMIT_REJECTED' });
    expect((await item()).last).toEqual({ N: '0' });
    expect(await commit(2, 'b').error()).toMatchObject({ code: 'SEQUENCE_GAP', expectedNumber: 1 });
    const again = commit(0, 'c');
    expect(await again.call()).toBe('a');
    expect(again.runs).toBe(0);
  });

  test('claims at its commit, and is told of a gap and of a newer epoch there, with no effect', async () => {
    const commit = (number: number, epoch?: number) =>
      guarded(
        at(number, epoch),
        (_, context) =>
          operation(context).commit({
            result: number,
            messages: [{ destination: 'ledger', body: 'entry', groupId: 'till' }],
          }),
        { claim: 'at-commit', destinations: ['ledger'] },
      );
    const staged = async () => (await table.dump()).filter(({ body }) => body?.S === 'entry').length;
    const before = await staged();
    expect(await commit(0).call()).toBe(0);
    expect(await commit(2).error()).toMatchObject({
      code: 'SEQUENCE_GAP',
      effect: 'none',
      expectedNumber: 1,
    });
    expect(await commit(0, 4).call()).toBe(0);
    expect(await commit(1).error()).toMatchObject({ code: 'FENCED', effect: 'none' });
    expect(await staged()).toBe(before + 2);
  });

  test('is not told that nothing was done where an earlier sending of its commit may have been applied', async () => {
    const proxy = await startFaultProxy(dynamodbEndpoint());
    const store = at(0, 3, clientFor(proxy.endpoint, { maxAttempts: 1 }));
    // The commit is applied and its answer lost. Before it is sent again, a newer epoch begins.
    proxy.inject({ operation: 'UpdateItem', fault: 'drop-after' });
    const commit = guarded(
      {
        ...store,
        async claimCompleted(claim, completion) {
          try {
            return await store.claimCompleted(claim, completion);
          } catch (error) {
            if (IdempotencyError.is(error, 'STORE_UNAVAILABLE')) await at(0, 4).claim(claimOf(0, 'newer'));
            throw error;
          }
        },
      },
      (_, context) => operation(context).commit({ result: 'done' }),
      { claim: 'at-commit' },
    );
    expect(await commit.error()).toMatchObject({ code: 'OUTCOME_UNKNOWN', effect: 'possible' });
    await proxy.stop();
  });

  test('is in doubt where the SDK had sent its completed claim before, and a newer epoch stops it', async () => {
    const proxy = await startFaultProxy(dynamodbEndpoint());
    const client = clientFor(proxy.endpoint);
    let sendings = 0;
    client.middlewareStack.add(
      (next) => async (args) => {
        // The first sending was applied, and its answer lost.
        if (++sendings === 2) await at(0, 4).claim(claimOf(0, 'newer'));
        return next(args);
      },
      { step: 'finalizeRequest', priority: 'low' },
    );
    proxy.inject({ operation: 'UpdateItem', fault: 'drop-after' });
    const written = at(0, 3, client).claimCompleted(claimOf(0, 'a'), completionOf(0, 'a'));
    await expect(written).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(sendings).toBe(2);
    await proxy.stop();
  });

  test('is overtaken by a newer epoch once its lease is over, and completes nothing', async () => {
    const clock = manualClock();
    const older = dynamoStore({ ...table.store, clock });
    const newer = guarded(numberedStore(older, place(0, 4)), () => 'newer');
    const guard = guarded(numberedStore(older, place(0, 3)), async () => {
      expect(await newer.error()).toMatchObject({ code: 'IN_PROGRESS' });
      clock.advance(25_000);
      expect(await newer.call()).toBe('newer');
      return 'older';
    });
    expect(await guard.error()).toMatchObject({ code: 'OVERTAKEN', effect: 'possible' });
    expect(await guarded(numberedStore(older, place(0, 4))).call()).toBe('newer');
    expect(await guarded(numberedStore(older, place(0, 3))).error()).toMatchObject({ code: 'FENCED' });
  });
});
