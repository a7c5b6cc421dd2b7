import { once } from 'node:events';
import { createServer } from 'node:http';
import { type DynamoDBClient, GetItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { type FaultProxy, type ProxiedRequest, startFaultProxy } from '../../../local/faults/fault-proxy.ts';
import {
  clientFor,
  countRequests,
  createTable,
  dynamodbEndpoint,
  type TestTable,
} from '../../support/dynamodb.ts';

let table: TestTable;
let proxy: FaultProxy;
let client: DynamoDBClient;
let pk: string;
let keys = 0;

beforeAll(async () => {
  table = await createTable();
  proxy = await startFaultProxy(dynamodbEndpoint());
  client = clientFor(proxy.endpoint);
});

afterAll(async () => {
  await proxy?.stop();
});

beforeEach(() => {
  proxy.reset();
  pk = `key-${++keys}`;
});

function putOnce(by: DynamoDBClient = client) {
  return by.send(
    new PutItemCommand({
      TableName: table.tableName,
      Item: { pk: { S: pk }, sk: { S: 'claim' } },
      ConditionExpression: 'attribute_not_exists(pk)',
      ReturnValuesOnConditionCheckFailure: 'ALL_OLD',
    }),
  );
}

/** Past the proxy, straight from DynamoDB. */
async function stored() {
  const { Item } = await table.client.send(
    new GetItemCommand({
      TableName: table.tableName,
      Key: { pk: { S: pk }, sk: { S: 'claim' } },
      ConsistentRead: true,
    }),
  );
  return Item;
}

/** One attempt only; `patienceMs` ends it early. */
function single(patienceMs?: number): DynamoDBClient {
  return clientFor(proxy.endpoint, {
    maxAttempts: 1,
    ...(patienceMs && { requestHandler: { requestTimeout: patienceMs, throwOnRequestTimeout: true } }),
  });
}

function outcomes() {
  return proxy.requests.map(({ outcome, status }) => [outcome, status]);
}

test('the fault proxy passes requests and answers through and logs them', async () => {
  await putOnce();
  await client.send(
    new GetItemCommand({ TableName: table.tableName, Key: { pk: { S: pk }, sk: { S: 'claim' } } }),
  );
  expect(proxy.requests).toEqual([
    {
      operation: 'PutItem',
      accessKeyId: 'local',
      body: expect.objectContaining({ TableName: table.tableName }),
      startedAtMs: expect.any(Number),
      endedAtMs: expect.any(Number),
      outcome: 'forwarded',
      status: 200,
      response: {},
    },
    expect.objectContaining({
      operation: 'GetItem',
      response: { Item: { pk: { S: pk }, sk: { S: 'claim' } } },
    }),
  ]);
});

test('the fault proxy passes a failed condition and its item through', async () => {
  await putOnce();
  await expect(putOnce()).rejects.toMatchObject({
    name: 'ConditionalCheckFailedException',
    Item: { pk: { S: pk }, sk: { S: 'claim' } },
  });
});

test('the fault proxy passes bytes, headers, path and method on unchanged', async () => {
  const seen: { method?: string; url?: string; headers: string[]; body: string }[] = [];
  const upstream = createServer(async (message, answer) => {
    let body = '';
    for await (const chunk of message) body += chunk;
    seen.push({ method: message.method, url: message.url, headers: message.rawHeaders, body });
    answer.sendDate = false;
    answer.writeHead(418, ['X-Amz-Crc32', '42', 'x-Twice', '1', 'x-Twice', '2', 'Content-Length', '5']);
    answer.end('{ "a"');
  }).listen(0, '127.0.0.1');
  await once(upstream, 'listening');
  const other = await startFaultProxy(`http://127.0.0.1:${(upstream.address() as { port: number }).port}`);
  try {
    const response = await fetch(`${other.endpoint}/some?path`, {
      method: 'PUT',
      headers: { 'X-Mine': 'yes' },
      body: 'ä',
    });
    expect(response.status).toBe(418);
    expect(await response.text()).toBe('{ "a"');
    expect(response.headers.get('x-amz-crc32')).toBe('42');
    expect(response.headers.get('x-twice')).toBe('1, 2');
    expect(response.headers.get('date')).toBeNull();
    expect(seen).toEqual([
      { method: 'PUT', url: '/some?path', headers: expect.arrayContaining(['X-Mine', 'yes']), body: 'ä' },
    ]);
  } finally {
    await other.stop();
    upstream.closeAllConnections();
    upstream.close();
  }
});

describe('the fault proxy', () => {
  test('breaks the connection under drop-before, and DynamoDB sees nothing', async () => {
    proxy.inject({ fault: 'drop-before' });
    await expect(putOnce(single())).rejects.toMatchObject({ code: 'ECONNRESET' });
    expect(await stored()).toBeUndefined();
    expect(outcomes()).toEqual([['faulted', undefined]]);
  });

  test('lets the SDK repeat a request after drop-before, and the repeat is applied', async () => {
    proxy.inject({ fault: 'drop-before' });
    await putOnce();
    expect(await stored()).toBeDefined();
    expect(outcomes()).toEqual([
      ['faulted', undefined],
      ['forwarded', 200],
    ]);
  });

  test('applies the write under drop-after, so that the repeat by the SDK meets its own item', async () => {
    proxy.inject({ operation: 'PutItem', fault: 'drop-after' });
    await expect(putOnce()).rejects.toMatchObject({
      name: 'ConditionalCheckFailedException',
      Item: { pk: { S: pk } },
    });
    expect(outcomes()).toEqual([
      ['faulted', 200],
      ['forwarded', 400],
    ]);
  });

  test('never answers under hang, and ends when the client gives up', async () => {
    proxy.inject({ fault: 'hang' });
    await expect(putOnce(single(300))).rejects.toMatchObject({ name: 'TimeoutError' });
    await expect.poll(() => proxy.requests[0]?.endedAtMs).toBeDefined();
    expect(await stored()).toBeUndefined();
    expect(outcomes()).toEqual([['faulted', undefined]]);
  });

  test('ends a request under hang when it stops itself', async () => {
    const other = await startFaultProxy(dynamodbEndpoint());
    other.inject({ fault: 'hang' });
    const put = putOnce(clientFor(other.endpoint, { maxAttempts: 1 }));
    const refused = expect(put).rejects.toThrow();
    await expect.poll(() => other.requests.length).toBe(1);
    await other.stop();
    await refused;
  });

  test('applies the write late under delayMs, even when the client has given up', async () => {
    proxy.inject({ fault: { delayMs: 1_500 } });
    await expect(putOnce(single(300))).rejects.toMatchObject({ name: 'TimeoutError' });
    expect(await stored()).toBeUndefined();
    await expect.poll(stored).toBeDefined();
  });

  test('applies the write at once and answers late under delayAfterMs', async () => {
    proxy.inject({ fault: { delayAfterMs: 1_500 } });
    const put = putOnce();
    let answered = false;
    void put.then(() => {
      answered = true;
    });
    await expect.poll(stored).toBeDefined();
    expect(answered).toBe(false);
    await put;
    const { startedAtMs, endedAtMs } = proxy.requests[0]!;
    expect(endedAtMs! - startedAtMs).toBeGreaterThanOrEqual(1_490);
    expect(outcomes()).toEqual([['forwarded', 200]]);
  });

  test.each([
    [400, 'ReplicatedWriteConflictException'],
    [400, 'TransactionConflictException'],
    [400, 'ThrottlingException'],
    [400, 'ProvisionedThroughputExceededException'],
    [500, 'InternalServerError'],
  ])('gives the caller an injected %i %s as that error', async (status, type) => {
    proxy.inject({ fault: { status, type, message: 'on purpose' } });
    await expect(putOnce(single())).rejects.toMatchObject({
      name: type,
      message: 'on purpose',
      $metadata: { httpStatusCode: status, requestId: expect.stringMatching(/^[0-9a-f-]{36}$/) },
    });
    expect(await stored()).toBeUndefined();
    expect(outcomes()).toEqual([['faulted', status]]);
  });

  test('adds the given fields to an injected error', async () => {
    const CancellationReasons = [{ Code: 'TransactionConflict' }];
    proxy.inject({
      fault: { status: 400, type: 'TransactionCanceledException', fields: { CancellationReasons } },
    });
    await expect(putOnce(single())).rejects.toMatchObject({ CancellationReasons });
  });

  test.each([
    [400, 'ProvisionedThroughputExceededException'],
    [500, 'InternalServerError'],
  ])('lets the SDK repeat a request after an injected %i %s', async (status, type) => {
    proxy.inject({ fault: { status, type } });
    await putOnce();
    expect(outcomes()).toEqual([
      ['faulted', status],
      ['forwarded', 200],
    ]);
  });
});

describe('the rules of the fault proxy', () => {
  test('pick their requests by operation and content', async () => {
    proxy.inject({ operation: 'GetItem', fault: 'drop-before' });
    proxy.inject({ match: ({ body }) => body.Item.pk.S === 'someone else', fault: 'drop-before' });
    await putOnce();
    expect(outcomes()).toEqual([['forwarded', 200]]);
  });

  test('let `skip` requests through and then fault `times`', async () => {
    proxy.inject({ fault: { status: 400, type: 'ValidationException' }, skip: 1, times: 2 });
    const results: string[] = [];
    for (let call = 0; call < 4; call++) {
      await putOnce().then(
        () => results.push('stored'),
        (error: Error) => results.push(error.name),
      );
    }
    expect(results).toEqual([
      'stored',
      'ValidationException',
      'ValidationException',
      'ConditionalCheckFailedException',
    ]);
  });

  test('are asked in order, and the first one with a fault decides', async () => {
    proxy.inject({ fault: { status: 400, type: 'First' } });
    proxy.inject({ fault: { status: 400, type: 'Second' }, times: Number.POSITIVE_INFINITY });
    const names: unknown[] = [];
    for (let call = 0; call < 3; call++) await putOnce().catch((error: Error) => names.push(error.name));
    expect(names).toEqual(['First', 'Second', 'Second']);
  });

  test('are forgotten by reset(), together with the requests', async () => {
    proxy.inject({ fault: { status: 400, type: 'First' }, times: 2 });
    await expect(putOnce()).rejects.toThrow();
    proxy.reset();
    expect(proxy.requests).toEqual([]);
    await putOnce();
    expect(outcomes()).toEqual([['forwarded', 200]]);
  });

  test.each([-1, 0.5, Number.NaN])('refuse `times: %d`', (times) => {
    expect(() => proxy.inject({ fault: 'hang', times })).toThrow(TypeError);
  });
});

test('the fault proxy tells listeners of every request that has ended, until they leave', async () => {
  const seen: ProxiedRequest[] = [];
  const leave = proxy.onRequest((request) => seen.push(request));
  proxy.inject({ fault: 'drop-before' });
  await putOnce();
  expect(seen).toEqual(proxy.requests);
  leave();
  await expect(putOnce()).rejects.toThrow();
  expect(seen).toHaveLength(2);
  expect(proxy.requests).toHaveLength(3);
});

test('the fault proxy breaks the connection when DynamoDB does not answer', async () => {
  const nobody = await startFaultProxy('http://127.0.0.1:1');
  await expect(putOnce(clientFor(nobody.endpoint, { maxAttempts: 1 }))).rejects.toMatchObject({
    code: 'ECONNRESET',
  });
  expect(nobody.requests).toMatchObject([{ outcome: 'faulted', endedAtMs: expect.any(Number) }]);
  expect(nobody.requests[0]?.status).toBeUndefined();
  await nobody.stop();
});

test('the fault proxy never applies a delayed request after it has stopped', async () => {
  const other = await startFaultProxy(dynamodbEndpoint());
  other.inject({ fault: { delayMs: 60_000 } });
  const put = expect(putOnce(clientFor(other.endpoint, { maxAttempts: 1 }))).rejects.toThrow();
  await expect.poll(() => other.requests.length).toBe(1);
  await other.stop();
  await other.stop();
  await put;
  // What has ended without an answer was not forwarded, and will not be.
  await expect.poll(() => other.requests[0]?.endedAtMs).toBeDefined();
  expect(other.requests).toMatchObject([{ outcome: 'faulted' }]);
  expect(other.requests[0]?.status).toBeUndefined();
  expect(await stored()).toBeUndefined();
});

test('the fault proxy refuses an https endpoint', async () => {
  await expect(startFaultProxy('https://dynamodb.eu-west-1.amazonaws.com')).rejects.toThrow(TypeError);
});

describe('the endpoint of one caller', () => {
  test('gives requests its name, and is the same one for the same name', async () => {
    const endpoint = await proxy.endpointFor('ada');
    expect(await proxy.endpointFor('ada')).toBe(endpoint);
    expect(new Set([endpoint, await proxy.endpointFor('bob'), proxy.endpoint]).size).toBe(3);
    await putOnce(clientFor(endpoint));
    await expect(putOnce()).rejects.toThrow();
    expect(proxy.requests.map(({ caller }) => caller)).toEqual(['ada', undefined]);
  });

  test('has the faults of all callers, and ends with the proxy', async () => {
    const other = await startFaultProxy(dynamodbEndpoint());
    const endpoint = await other.endpointFor('ada');
    other.inject({
      match: ({ caller }) => caller === 'ada',
      fault: { status: 400, type: 'ValidationException' },
    });
    await putOnce(clientFor(other.endpoint));
    await expect(putOnce(clientFor(endpoint))).rejects.toMatchObject({ name: 'ValidationException' });
    await other.stop();
    await expect(fetch(endpoint)).rejects.toThrow();
  });
});

describe('the support of the tests', () => {
  test('counts every attempt by countRequests(), even repeats', async () => {
    const counted = clientFor(proxy.endpoint);
    const names = countRequests(counted);
    proxy.inject({ fault: 'drop-before' });
    await putOnce(counted);
    expect(names).toEqual(['PutItem', 'PutItem']);
  });

  test('creates tables with other key names, without sort key and without TTL', async () => {
    const {
      client: direct,
      tableName,
      dump,
    } = await createTable(undefined, {
      partitionKey: 'id',
      sortKey: false,
      ttlAttribute: false,
    });
    await direct.send(new PutItemCommand({ TableName: tableName, Item: { id: { S: 'a' } } }));
    expect(await dump()).toEqual([{ id: { S: 'a' } }]);
  });
});
