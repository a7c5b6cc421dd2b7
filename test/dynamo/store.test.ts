import {
  CreateTableCommand,
  DynamoDBClient,
  PutItemCommand,
  UpdateItemCommand,
} from '@aws-sdk/client-dynamodb';
import { DynamoDBDocumentClient } from '@aws-sdk/lib-dynamodb';
import { mockClient } from 'aws-sdk-client-mock';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { checkTable, dynamoStore, IdempotencyError, idempotent } from '../../lib/index.ts';
import { startFaultProxy } from '../../local/faults/fault-proxy.ts';
import { clientFor, createTable, dynamodbEndpoint, type TestTable } from '../support/dynamodb.ts';
import { lambdaContext } from '../support/invocation.ts';

let table: TestTable;

beforeAll(async () => {
  table = await createTable();
});

/** Calls a guarded handler on a store and gives its error; fails if the handler was run. */
async function refusal(store: ReturnType<typeof dynamoStore>): Promise<IdempotencyError> {
  let runs = 0;
  const handler = idempotent(async (_: { id: string }) => ++runs, {
    store,
    namespace: 'orders',
    key: ({ id }) => id,
    whenStoreFails: 'run',
  });
  const error = await handler({ id: 'secret-key' }, lambdaContext(10_000)).catch((thrown: unknown) => thrown);
  expect(runs).toBe(0);
  if (!IdempotencyError.is(error)) throw error;
  expect(error.message).not.toContain('secret-key');
  return error;
}

describe('a table that is not as it must be is refused, even where the store may fail', () => {
  test('one that is not there', async () => {
    const error = await refusal(dynamoStore({ tableName: 'no-such-table', client: table.client }));
    expect(error.code).toBe('STORE_MISCONFIGURED');
    expect(error.message).toBe(
      "There is no table 'no-such-table' in this account and Region. Create it (string keys 'pk' and 'sk', TTL on 'expiresAt'), or name the right one in IDEMPOTENCY_TABLE or dynamoStore({ tableName }).",
    );
  });

  test('one with other key names', async () => {
    const other = await createTable(undefined, { partitionKey: 'id', sortKey: 'range' });
    const error = await refusal(dynamoStore(other.store));
    expect(error.code).toBe('STORE_MISCONFIGURED');
    expect(error.message).toContain(
      `The partition key of table '${other.tableName}' must be 'pk' and its sort key 'sk', both strings. Name others in dynamoStore({ partitionKey, sortKey }).`,
    );
  });

  test('one with a numeric key', async () => {
    const tableName = `${table.tableName}-numeric`;
    await table.client.send(
      new CreateTableCommand({
        TableName: tableName,
        KeySchema: [
          { AttributeName: 'pk', KeyType: 'HASH' },
          { AttributeName: 'sk', KeyType: 'RANGE' },
        ],
        AttributeDefinitions: [
          { AttributeName: 'pk', AttributeType: 'N' },
          { AttributeName: 'sk', AttributeType: 'S' },
        ],
        BillingMode: 'PAY_PER_REQUEST',
      }),
    );
    const store = dynamoStore({ tableName, client: table.client });
    expect((await refusal(store)).message).toContain('both strings');
    await expect(checkTable(store)).rejects.toThrow('both strings');
  });

  test('one that the function may not use, with the actions it needs', async () => {
    const proxy = await startFaultProxy(dynamodbEndpoint());
    proxy.inject({
      fault: {
        status: 400,
        type: 'AccessDeniedException',
        message: 'User: arn:aws:sts::1:assumed-role/fn is not authorized to perform: dynamodb:PutItem',
      },
    });
    const error = await refusal(
      dynamoStore({ tableName: table.tableName, client: clientFor(proxy.endpoint) }),
    );
    await proxy.stop();
    expect(error.code).toBe('STORE_MISCONFIGURED');
    expect(error.message).toContain(
      `This function may not dynamodb:PutItem on table '${table.tableName}'. Its role needs PutItem, UpdateItem, GetItem and Query on it`,
    );
  });

  test('without credentials or a Region', async () => {
    vi.stubEnv('AWS_ACCESS_KEY_ID', '');
    vi.stubEnv('AWS_PROFILE', 'no-such-profile');
    vi.stubEnv('AWS_REGION', 'eu-west-1');
    vi.stubEnv('AWS_EC2_METADATA_DISABLED', 'true');
    const noCredentials = await refusal(dynamoStore({ tableName: 'orders' }));
    vi.stubEnv('AWS_REGION', undefined);
    const noRegion = await refusal(dynamoStore({ tableName: 'orders' }));
    vi.unstubAllEnvs();
    for (const error of [noCredentials, noRegion]) {
      expect(error.code).toBe('STORE_MISCONFIGURED');
      expect(error.message).toContain('Give the function a role, or locally AWS_REGION and credentials');
    }
  });
});

describe('checkTable', () => {
  test('is content with a table as it must be', async () => {
    await checkTable(dynamoStore(table.store));
  });

  test('refuses a table without TTL, with the command that enables it', async () => {
    const other = await createTable(undefined, { ttlAttribute: false });
    await expect(checkTable(dynamoStore(other.store))).rejects.toThrow(
      `Table '${other.tableName}' has no TTL, so its records would stay for ever. Enable TTL on 'expiresAt': aws dynamodb update-time-to-live --table-name ${other.tableName} --time-to-live-specification Enabled=true,AttributeName=expiresAt`,
    );
  });

  test('refuses a TTL on another attribute', async () => {
    const other = await createTable(undefined, { ttlAttribute: 'ttl' });
    await expect(checkTable(dynamoStore(other.store))).rejects.toThrow("expires items by 'ttl'");
    await checkTable(dynamoStore({ ...other.store, ttlAttribute: 'ttl' }));
  });

  test('refuses a table without a sort key', async () => {
    const other = await createTable(undefined, { sortKey: false });
    await expect(checkTable(dynamoStore(other.store))).rejects.toThrow("its sort key 'sk', both strings");
  });

  test('refuses other keys, and a table that is not there', async () => {
    const other = await createTable(undefined, { partitionKey: 'id' });
    await expect(checkTable(dynamoStore(other.store))).rejects.toMatchObject({
      code: 'STORE_MISCONFIGURED',
    });
    await expect(checkTable(dynamoStore({ ...table.store, tableName: 'none-such' }))).rejects.toThrow(
      "There is no table 'none-such'",
    );
  });
});

describe('dynamoStore', () => {
  test('refuses to be made without a table, with every way out', () => {
    vi.stubEnv('IDEMPOTENCY_TABLE', '');
    expect(() => dynamoStore()).toThrow(
      'Expected a table\'s name in IDEMPOTENCY_TABLE or dynamoStore({ tableName }), got "" (string). In unit tests, use memoryStore() of idemkit/testing, or set IDEMPOTENCY_DISABLED=true.',
    );
    vi.unstubAllEnvs();
  });

  test('refuses a client that is none', () => {
    expect(() => dynamoStore({ tableName: 'orders', client: {} as never })).toThrow(
      'Expected option `client` to be a DynamoDBClient or a DynamoDBDocumentClient, got {} (object).',
    );
  });

  test('refuses unknown options and names the nearest', () => {
    expect(() => dynamoStore({ table: 'orders' } as never)).toThrow('Did you mean `tableName`?');
  });

  test('sends what an application can check with a mocked client', async () => {
    const mock = mockClient(DynamoDBClient);
    mock.on(PutItemCommand).resolves({}).on(UpdateItemCommand).resolves({});
    const handler = idempotent(async (_: { id: string }) => 'done', {
      store: dynamoStore({ tableName: 'orders', client: new DynamoDBClient({ region: 'eu-west-1' }) }),
      namespace: 'orders',
      key: ({ id }) => id,
    });
    await handler({ id: '1' });
    await handler({ id: '2' });
    const [first] = mock.commandCalls(UpdateItemCommand);
    const [second] = mock.commandCalls(PutItemCommand);
    expect(first?.args[0].input.TableName).toBe('orders');
    expect(second?.args[0].input.TableName).toBe('orders');
    mock.restore();
  });

  test('takes a document client as it is set up, marshalling options included', async () => {
    const client = DynamoDBDocumentClient.from(table.client, {
      marshallOptions: { removeUndefinedValues: true, convertClassInstanceToMap: true },
      unmarshallOptions: { wrapNumbers: true },
    });
    let runs = 0;
    const handler = idempotent(async (_: { id: string }) => ({ runs: ++runs }), {
      store: dynamoStore({ tableName: table.tableName, client }),
      namespace: 'documents',
      key: ({ id }) => id,
    });
    expect([await handler({ id: '1' }), await handler({ id: '1' })]).toEqual([{ runs: 1 }, { runs: 1 }]);
  });
});
