import {
  CreateTableCommand,
  DeleteTableCommand,
  type DynamoDBClient,
  type StreamViewType,
  UpdateTimeToLiveCommand,
  waitUntilTableExists,
} from '@aws-sdk/client-dynamodb';
import { tableLayout } from '../../lib/record.ts';

/** A table on demand; by default with the keys and the TTL that records need. */
export interface TableDescription {
  readonly name: string;
  /** @default the partition key of records */
  readonly partitionKey?: string;
  /** `false`: none. @default the sort key of records, or none where `partitionKey` is given */
  readonly sortKey?: string | false;
  /** Of keys that are no texts. @default `S` for each */
  readonly keyTypes?: Readonly<Record<string, 'S' | 'N' | 'B'>>;
  /** `false`: none. @default the TTL attribute of records, or none where `partitionKey` is given */
  readonly ttlAttribute?: string | false;
  /** @default no stream */
  readonly stream?: StreamViewType;
}

export interface LocalTable {
  readonly name: string;
  readonly streamArn?: string;
  remove(): Promise<void>;
}

export async function createTable(
  client: DynamoDBClient,
  description: TableDescription,
): Promise<LocalTable> {
  const { name: TableName, partitionKey = tableLayout.partitionKey, keyTypes = {}, stream } = description;
  const isForRecords = description.partitionKey === undefined;
  const { sortKey = isForRecords && tableLayout.sortKey } = description;
  const { ttlAttribute = isForRecords && tableLayout.ttlAttribute } = description;
  const keys = [
    { AttributeName: partitionKey, KeyType: 'HASH' as const },
    ...(sortKey === false ? [] : [{ AttributeName: sortKey, KeyType: 'RANGE' as const }]),
  ];
  const { TableDescription } = await client.send(
    new CreateTableCommand({
      TableName,
      BillingMode: 'PAY_PER_REQUEST',
      KeySchema: keys,
      AttributeDefinitions: keys.map(({ AttributeName }) => ({
        AttributeName,
        AttributeType: keyTypes[AttributeName] ?? 'S',
      })),
      ...(stream && { StreamSpecification: { StreamEnabled: true, StreamViewType: stream } }),
    }),
  );
  if (TableDescription?.TableStatus !== 'ACTIVE') {
    await waitUntilTableExists({ client, maxWaitTime: 60, minDelay: 1 }, { TableName });
  }
  if (ttlAttribute !== false) {
    await client.send(
      new UpdateTimeToLiveCommand({
        TableName,
        TimeToLiveSpecification: { AttributeName: ttlAttribute, Enabled: true },
      }),
    );
  }
  return {
    name: TableName,
    ...(TableDescription?.LatestStreamArn !== undefined && { streamArn: TableDescription.LatestStreamArn }),
    async remove() {
      await client.send(new DeleteTableCommand({ TableName }));
    },
  };
}
