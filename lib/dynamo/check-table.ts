import {
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  type TableDescription,
  type TimeToLiveDescription,
} from '@aws-sdk/client-dynamodb';
import { type DynamoStore, explain, misconfigured, parts, wrongKeys } from './store.ts';

/**
 * Looks whether the table of a store is there, has the right keys and expires its items, for a deployment test. Needs
 * `dynamodb:DescribeTable` and `dynamodb:DescribeTimeToLive`, which guards do not.
 *
 * @throws `STORE_MISCONFIGURED` with what is wrong and the fix, `STORE_UNAVAILABLE`
 */
export async function checkTable(store: DynamoStore): Promise<void> {
  const { client, tableName, names } = store[parts];
  const send = <T>(command: object, action: string): Promise<T> =>
    client.send(command).catch((error: unknown) => {
      throw explain(error, tableName, names, action);
    });
  const { Table } = await send<{ Table?: TableDescription }>(
    new DescribeTableCommand({ TableName: tableName }),
    'dynamodb:DescribeTable',
  );
  const isTextKey = (name: string, keyType: string): boolean =>
    Table?.KeySchema?.some((key) => key.AttributeName === name && key.KeyType === keyType) === true &&
    Table.AttributeDefinitions?.some((one) => one.AttributeName === name && one.AttributeType === 'S') ===
      true;
  if (!isTextKey(names.pk, 'HASH') || !isTextKey(names.sk, 'RANGE')) {
    throw misconfigured(wrongKeys(tableName, names));
  }
  const { TimeToLiveDescription: ttl } = await send<{
    TimeToLiveDescription?: TimeToLiveDescription;
  }>(new DescribeTimeToLiveCommand({ TableName: tableName }), 'dynamodb:DescribeTimeToLive');
  const isOn = ttl?.TimeToLiveStatus === 'ENABLED' || ttl?.TimeToLiveStatus === 'ENABLING';
  if (isOn && ttl.AttributeName === names.ttl) return;
  throw misconfigured(
    `Table '${tableName}' ${isOn ? `expires items by '${ttl.AttributeName}'` : 'has no TTL'}, so its records would stay for ever. Enable TTL on '${names.ttl}': aws dynamodb update-time-to-live --table-name ${tableName} --time-to-live-specification Enabled=true,AttributeName=${names.ttl}`,
  );
}
