import type { ProxiedRequest } from '../faults/index.ts';
import { accountId, queueArn, region } from './account.ts';
import type { Call } from './iam.ts';

export const tableArn = (name: string): string =>
  name.startsWith('arn:') ? name : `arn:aws:dynamodb:${region}:${accountId}:table/${name}`;

/** A stream is called after the time of its creation, which nobody can know before: here it has this name. */
export const streamArn = (tableName: string): string => `${tableArn(tableName)}/stream/local`;

type Body = ProxiedRequest['body'];

/**
 * What a request to DynamoDB or its streams does, as IAM sees it: a transaction is its items' actions, each on its table.
 *
 * @see https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazondynamodb.html
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis-iam.html
 */
export function dynamodbCalls({ operation, body }: ProxiedRequest): Call[] {
  const action = `dynamodb:${operation}`;
  switch (operation) {
    case 'TransactWriteItems':
    case 'TransactGetItems':
      return (body.TransactItems as Body[]).flatMap(transactionCalls);
    case 'BatchGetItem':
    case 'BatchWriteItem':
      return Object.keys(body.RequestItems).map((table) => ({ action, resource: tableArn(table) }));
    case 'DescribeStream':
    case 'GetShardIterator':
    case 'GetRecords':
      return [{ action, resource: streamArn(streamedTable(body.StreamArn ?? body.ShardIterator)) }];
    default: {
      const table = body.TableName === undefined ? '*' : tableArn(body.TableName);
      return [
        { action, resource: body.IndexName === undefined ? table : `${table}/index/${body.IndexName}` },
      ];
    }
  }
}

const transactionActions: Readonly<Record<string, string>> = {
  ConditionCheck: 'ConditionCheckItem',
  Delete: 'DeleteItem',
  Get: 'GetItem',
  Put: 'PutItem',
  Update: 'UpdateItem',
};

const transactionCalls = (item: Body): Call[] =>
  Object.entries(item).map(([kind, { TableName }]) => ({
    action: `dynamodb:${transactionActions[kind] ?? kind}`,
    resource: tableArn(TableName),
  }));

/** The table's name is in the ARN of its stream, and that is in a shard iterator. */
const streamedTable = (text: unknown): string => /:table\/([\w.-]+)\/stream\//.exec(String(text))?.[1] ?? '*';

/**
 * What a request to SQS or SNS does: of a batch it is the action of one.
 *
 * @see https://docs.aws.amazon.com/service-authorization/latest/reference/list_amazonsqs.html
 */
export function messagingCalls({ operation, body }: ProxiedRequest): Call[] {
  const single = operation.replace(/Batch$/, '');
  if (single === 'Publish') return [{ action: 'sns:Publish', resource: String(body.TopicArn ?? '*') }];
  const name =
    body.QueueName ??
    String(body.QueueUrl ?? '')
      .split('/')
      .at(-1);
  return [{ action: `sqs:${single}`, resource: name ? queueArn(name) : '*' }];
}
