import { type DynamoDBClient, GetItemCommand, UpdateItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { drawFaults } from '../../../local/faults/disturbance.ts';
import { type FaultProxy, type ProxiedRequest, startFaultProxy } from '../../../local/faults/fault-proxy.ts';
import { clientFor, createTable, dynamodbEndpoint, type TestTable } from '../../support/dynamodb.ts';

let table: TestTable;
let proxy: FaultProxy;
let client: DynamoDBClient;
let pk: string;
let keys = 0;

beforeAll(async () => {
  table = await createTable();
  proxy = await startFaultProxy(dynamodbEndpoint());
  client = clientFor(proxy.endpoint, { maxAttempts: 1 });
});

afterAll(async () => {
  await proxy?.stop();
});

beforeEach(() => {
  proxy.reset();
  pk = `key-${++keys}`;
});

const key = () => ({ TableName: table.tableName, Key: { pk: { S: pk }, sk: { S: 'counter' } } });

/** Its effect says how often it was applied. */
const addOne = () =>
  client.send(
    new UpdateItemCommand({
      ...key(),
      UpdateExpression: 'ADD applied :one',
      ExpressionAttributeValues: { ':one': { N: '1' } },
      ReturnValues: 'ALL_NEW',
    }),
  );

/** Past the proxy, straight from DynamoDB. */
async function applied(): Promise<number> {
  const { Item } = await table.client.send(new GetItemCommand({ ...key(), ConsistentRead: true }));
  return Number(Item?.applied?.N ?? 0);
}

describe('the fault proxy', () => {
  test('applies a request under cut, and breaks its answer in the middle', async () => {
    proxy.inject({ fault: 'cut' });
    await expect(addOne()).rejects.toThrow();
    expect(await applied()).toBe(1);
    expect(proxy.requests).toMatchObject([{ outcome: 'faulted', status: 200, fault: 'cut' }]);
    expect(proxy.requests[0]?.response).toMatchObject({ Attributes: { applied: { N: '1' } } });
  });

  test('shows a client under cut the head and half of the body', async () => {
    proxy.inject({ fault: 'cut' });
    const response = await fetch(proxy.endpoint);
    const whole = Number(response.headers.get('content-length'));
    let bytes = 0;
    const reading = async () => {
      for await (const chunk of response.body!) bytes += chunk.length;
    };
    await expect(reading()).rejects.toThrow();
    expect(bytes).toBe(Math.floor(whole / 2));
    expect(bytes).toBeGreaterThan(0);
  });

  test('answers a request under repeatAfterMs, and sends it to the service once more', async () => {
    proxy.inject({ fault: { repeatAfterMs: 200 } });
    const { Attributes } = await addOne();
    expect(Attributes?.applied).toEqual({ N: '1' });
    expect(await applied()).toBe(1);
    await expect.poll(() => proxy.requests[1]?.endedAtMs).toBeDefined();
    expect(await applied()).toBe(2);
    expect(proxy.requests).toMatchObject([
      { operation: 'UpdateItem', outcome: 'forwarded', fault: { repeatAfterMs: 200 } },
      { operation: 'UpdateItem', outcome: 'faulted', isRepeat: true, status: 200, accessKeyId: 'local' },
    ]);
    expect(proxy.requests[0]).not.toHaveProperty('isRepeat');
    expect(proxy.requests[1]!.startedAtMs - proxy.requests[0]!.endedAtMs!).toBeGreaterThanOrEqual(190);
  });

  test('is calm once what is late has come, and what is to be repeated has been', async () => {
    await proxy.calm();
    proxy.inject({ fault: { delayMs: 200 } });
    proxy.inject({ fault: { repeatAfterMs: 200 } });
    const late = addOne();
    await expect.poll(() => proxy.requests.length).toBe(1);
    await addOne();
    expect(await applied()).toBeLessThan(3);
    await proxy.calm();
    expect(await applied()).toBe(3);
    await late;
  });

  test('tells its listeners of a repeat too', async () => {
    const seen: ProxiedRequest[] = [];
    const leave = proxy.onRequest((request) => seen.push(request));
    proxy.inject({ fault: { repeatAfterMs: 0 } });
    await addOne();
    await expect.poll(() => seen.length).toBe(2);
    leave();
    expect(seen.filter(({ isRepeat }) => isRepeat)).toHaveLength(1);
  });

  test('sends no repeat after it has stopped', async () => {
    const other = await startFaultProxy(dynamodbEndpoint());
    other.inject({ fault: { repeatAfterMs: 60_000 } });
    const response = await fetch(other.endpoint);
    await response.text();
    await other.stop();
    expect(other.requests).toHaveLength(1);
  });
});

describe('what disturbs the fault proxy', () => {
  test('is asked about each request that no rule decides, until it is ended, and outlives reset()', async () => {
    const asked: string[] = [];
    const end = proxy.disturb(({ operation }) => {
      asked.push(operation);
      return { status: 400, type: 'Disturbed' };
    });
    proxy.inject({ fault: { status: 400, type: 'Ruled' } });
    await expect(addOne()).rejects.toMatchObject({ name: 'Ruled' });
    expect(asked).toEqual([]);
    await expect(addOne()).rejects.toMatchObject({ name: 'Disturbed' });
    proxy.reset();
    await expect(addOne()).rejects.toMatchObject({ name: 'Disturbed' });
    end();
    await addOne();
    expect(asked).toEqual(['UpdateItem', 'UpdateItem']);
    expect(await applied()).toBe(1);
  });

  test('is replaced by the next one, which the end of the first does not end', async () => {
    const endFirst = proxy.disturb(() => ({ status: 400, type: 'First' }));
    const endSecond = proxy.disturb(() => ({ status: 400, type: 'Second' }));
    endFirst();
    await expect(addOne()).rejects.toMatchObject({ name: 'Second' });
    endSecond();
    await addOne();
  });
});

const requestOf = (caller: string | undefined, operation = 'PutItem'): ProxiedRequest => ({
  ...(caller !== undefined && { caller }),
  ...{ operation, body: {}, startedAtMs: 0, outcome: 'forwarded' },
});

const draws = (options: Parameters<typeof drawFaults>[0], operation?: string) => {
  const { faultFor, counts } = drawFaults(options);
  const faults = Array.from({ length: 1_000 }, (_, index) =>
    faultFor(requestOf(index % 2 === 0 ? 'ada' : 'bob', operation)),
  );
  return { faults, counts };
};

describe('drawn faults', () => {
  test('are the same for the same seed, and others for another one', () => {
    expect(draws({ seed: 1 }).faults).toEqual(draws({ seed: 1 }).faults);
    expect(draws({ seed: 2 }).faults).not.toEqual(draws({ seed: 1 }).faults);
  });

  test('do not depend on how the requests of two callers are interleaved', () => {
    const { faultFor } = drawFaults({ seed: 1 });
    const ofAda = Array.from({ length: 500 }, () => faultFor(requestOf('ada')));
    const ofBob = Array.from({ length: 500 }, () => faultFor(requestOf('bob')));
    const { faults } = draws({ seed: 1 });
    expect(ofAda).toEqual(faults.filter((_, index) => index % 2 === 0));
    expect(ofBob).toEqual(faults.filter((_, index) => index % 2 === 1));
    expect(ofAda).not.toEqual(ofBob);
  });

  test('strike as many of a hundred as they are told to, and are counted by their kind', () => {
    for (const percent of [0, 15, 50, 100]) {
      const { faults, counts } = draws({ seed: 3, percent });
      const struck = faults.filter((fault) => fault !== undefined).length;
      expect(Math.abs(struck - percent * 10)).toBeLessThan(50);
      expect(counts.delayed + counts.repeated + counts.cut).toBe(struck);
    }
  });

  test('are of every kind', () => {
    const kinds = draws({ seed: 4, percent: 100 }).faults.map((fault) =>
      typeof fault === 'object' ? Object.keys(fault)[0] : fault,
    );
    expect([...new Set(kinds)].sort()).toEqual([
      ...['cut', 'delayAfterMs', 'delayMs', 'drop-after', 'drop-before', 'repeatAfterMs'],
    ]);
  });

  test('leave the receiving of messages alone', () => {
    const { faults, counts } = draws({ seed: 5, percent: 100 }, 'ReceiveMessage');
    expect(faults.filter((fault) => fault !== undefined)).toEqual([]);
    expect(counts).toEqual({ delayed: 0, repeated: 0, cut: 0 });
  });
});
