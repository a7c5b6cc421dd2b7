/** DynamoDB Local and the tables that each contender wants. */
import { randomUUID } from 'node:crypto';
import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { startDynamoDb } from '../local/aws/dynamodb.ts';
import { createTable } from '../local/aws/dynamodb-tables.ts';
import type { ContenderName } from './runner.ts';

export interface Tables {
  readonly endpoint: string;
  readonly client: DynamoDBClient;
  readonly names: Readonly<Record<ContenderName, string>>;
}

export const clientFor = (endpoint: string): DynamoDBClient =>
  new DynamoDBClient({
    endpoint,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
    // The default of 50 sockets would make a queue of what is at once.
    requestHandler: { httpAgent: { maxSockets: 200, keepAlive: true } },
  });

/** Runs `work` on a DynamoDB of its own, with a table as each contender's documentation makes it. */
export async function withTables<Result>(work: (tables: Tables) => Promise<Result>): Promise<Result> {
  const server = await startDynamoDb();
  const client = clientFor(server.endpoint);
  try {
    const names = { idemkit: `bench-${randomUUID()}`, peer: `bench-${randomUUID()}` };
    await createTable(client, { name: names.idemkit });
    await createTable(client, { name: names.peer, partitionKey: 'id', sortKey: false });
    return await work({ endpoint: server.endpoint, client, names });
  } finally {
    client.destroy();
    await server.stop();
  }
}
