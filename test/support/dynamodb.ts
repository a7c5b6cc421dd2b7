import { randomUUID } from 'node:crypto';
import {
  type AttributeValue,
  DeleteItemCommand,
  DynamoDBClient,
  type DynamoDBClientConfig,
  paginateScan,
} from '@aws-sdk/client-dynamodb';
import { inject } from 'vitest';
import { dynamoStore } from '../../lib/index.ts';
import { createTable as createLocalTable, type TableDescription } from '../../local/aws/dynamodb-tables.ts';
import type {} from './global-setup.ts';

/** The DynamoDB of this run. @throws Error with the reason when it could not be started */
export function dynamodbEndpoint(): string {
  const endpoint = inject('dynamodbEndpoint');
  if (endpoint === undefined) throw new Error(inject('dynamodbError') ?? 'DynamoDB was not started.');
  return endpoint;
}

/** A client with dummy credentials and region; a real AWS endpoint gets the environment's own instead. */
export function clientFor(endpoint: string, config: DynamoDBClientConfig = {}): DynamoDBClient {
  const isAws = new URL(endpoint).hostname.endsWith('.amazonaws.com');
  return new DynamoDBClient({
    endpoint,
    ...(isAws
      ? {}
      : { region: 'eu-west-1', credentials: { accessKeyId: 'local', secretAccessKey: 'local' } }),
    ...config,
  });
}

export interface TestTable {
  readonly tableName: string;
  readonly client: DynamoDBClient;
  /** Name and client, as `dynamoStore` takes them. */
  readonly store: { readonly tableName: string; readonly client: DynamoDBClient };
  /** All items, read consistently, in no particular order. */
  dump(): Promise<Record<string, AttributeValue>[]>;
}

/**
 * Creates an on-demand table of its own, with a unique name, and waits until it can be used. A guard's first claim of a process
 * is an update: with the usual names it has been made, so that a test sees the requests of every other call.
 */
export async function createTable(
  endpoint: string = dynamodbEndpoint(),
  overrides: Partial<TableDescription> = {},
): Promise<TestTable> {
  const client = clientFor(endpoint);
  const TableName = `idemkit-test-${randomUUID()}`;
  await createLocalTable(client, {
    ...{ partitionKey: 'pk', sortKey: 'sk', ttlAttribute: 'expiresAt', ...overrides },
    name: TableName,
  });
  if (Object.keys(overrides).length === 0) await makeFirstClaim(TableName, client);
  return {
    tableName: TableName,
    client,
    store: { tableName: TableName, client },
    async dump() {
      const items: Record<string, AttributeValue>[] = [];
      for await (const page of paginateScan({ client }, { TableName, ConsistentRead: true })) {
        items.push(...(page.Items ?? []));
      }
      return items;
    },
  };
}

async function makeFirstClaim(TableName: string, client: DynamoDBClient): Promise<void> {
  const pk = 'first claim';
  const claim = { pk, owner: pk, nowMs: 0, leaseUntilMs: 0, endsAtMs: 0, fingerprint: undefined };
  await dynamoStore({ tableName: TableName, client }).claim(claim);
  await client.send(new DeleteItemCommand({ TableName, Key: { pk: { S: pk }, sk: { S: 'claim' } } }));
}

/**
 * Names every request that the client sends from now on, in a live array: `PutItem`, `GetItem`, …
 * An attempt that the SDK repeats counts again, as it does on the bill.
 */
export function countRequests(client: DynamoDBClient): string[] {
  const names: string[] = [];
  client.middlewareStack.add(
    (next, context) => (args) => {
      names.push(String(context.commandName).replace(/Command$/, ''));
      return next(args);
    },
    // This step comes after the retries.
    { step: 'deserialize', priority: 'high', name: `countRequests-${randomUUID()}` },
  );
  return names;
}
