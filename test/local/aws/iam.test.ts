import { describe, expect, test } from 'vitest';
import { dynamodbCalls, messagingCalls } from '../../../local/aws/aws-calls.ts';
import {
  createAuthorizer,
  managedPolicy,
  type Statement,
  statementsOf,
  trustedServices,
} from '../../../local/aws/iam.ts';
import type { ProxiedRequest } from '../../../local/faults/fault-proxy.ts';

const table = 'arn:aws:dynamodb:eu-west-1:000000000000:table/records';
const put = { action: 'dynamodb:PutItem', resource: table };

function authorizerFor(...statements: Statement[]) {
  const authorizer = createAuthorizer({ Pay: { statements, trusts: ['lambda.amazonaws.com'] } });
  return { authorizer, accessKeyId: authorizer.assume('Pay', 'lambda.amazonaws.com', 'pay-1') };
}
const allow = (action: string, resource = '*'): Statement => ({
  effect: 'Allow',
  actions: [action],
  resources: [resource],
});

describe('a request is allowed', () => {
  test.each([
    ['by its action and table', 'dynamodb:PutItem', table],
    ['by *', '*', '*'],
    ['by dynamodb:Put*', 'dynamodb:Put*', table],
    ['by dynamodb:???Item', 'dynamodb:???Item', table],
    ['in any casing of the action', 'DynamoDB:putitem', table],
    ['by the beginning of an ARN', 'dynamodb:PutItem', 'arn:aws:dynamodb:*:*:table/rec*'],
  ])('%s', (_, action, resource) => {
    const { authorizer, accessKeyId } = authorizerFor(allow(action, resource));
    expect(authorizer.refusal(accessKeyId, [put])).toBeUndefined();
    expect(authorizer.exercised).toEqual([{ role: 'Pay', ...put }]);
  });
});

describe('a request is refused', () => {
  test.each([
    ['for another action', 'dynamodb:GetItem', table],
    ['for another table', 'dynamodb:PutItem', `${table}-2`],
    ['for another table, whose name begins so', 'dynamodb:PutItem', table.slice(0, -1)],
    ['for a resource in another casing', 'dynamodb:PutItem', table.toUpperCase()],
    ['for a dot that is no wildcard', 'dynamodb.PutItem', table],
  ])('%s', (_, action, resource) => {
    const { authorizer, accessKeyId } = authorizerFor(allow(action, resource));
    expect(authorizer.refusal(accessKeyId, [put])).toEqual({
      type: 'AccessDeniedException',
      message: `User: arn:aws:sts::000000000000:assumed-role/Pay/pay-1 is not authorized to perform: dynamodb:PutItem on resource: ${table} because no identity-based policy allows the dynamodb:PutItem action`,
    });
    expect(authorizer.exercised).toEqual([]);
  });

  test('by a Deny, even where another statement allows it', () => {
    const { authorizer, accessKeyId } = authorizerFor(allow('*'), {
      ...allow('dynamodb:P*'),
      effect: 'Deny',
    });
    expect(authorizer.refusal(accessKeyId, [put])?.message).toMatch(
      /with an explicit deny in an identity-based policy$/,
    );
  });

  test('as a whole where one of its calls is refused', () => {
    const { authorizer, accessKeyId } = authorizerFor(allow('dynamodb:PutItem'));
    const check = { ...put, action: 'dynamodb:ConditionCheckItem' };
    expect(authorizer.refusal(accessKeyId, [put, check])?.message).toMatch(
      /perform: dynamodb:ConditionCheckItem/,
    );
    expect(authorizer.exercised).toEqual([]);
  });

  test('where its sender is unknown', () => {
    const { authorizer } = authorizerFor(allow('*'));
    expect(authorizer.refusal('somebody', [put])?.type).toBe('UnrecognizedClientException');
    expect(authorizer.refusal(undefined, [put])?.type).toBe('UnrecognizedClientException');
  });
});

test('a role can be assumed only by whom it trusts', () => {
  const { authorizer } = authorizerFor();
  expect(() => authorizer.assume('Pay', 'pipes.amazonaws.com', 'pipe')).toThrow(
    "The role 'Pay' of 'pipe' cannot be assumed by pipes.amazonaws.com: it trusts lambda.amazonaws.com.",
  );
  expect(() => authorizer.assume('Nobody', 'lambda.amazonaws.com', 'pay')).toThrow('none of the roles');
  expect(() => authorizer.assume('Pay', 'lambda.amazonaws.com', 'pay1')).toThrow(
    'would have one access key id',
  );
});

describe('a policy document', () => {
  const statement = { Effect: 'Allow', Action: 'dynamodb:PutItem', Resource: table };

  test('may have one or several statements of one or several actions', () => {
    expect(statementsOf({ Statement: statement }, 'P')).toEqual([allow('dynamodb:PutItem', table)]);
    expect(statementsOf({ Statement: [{ ...statement, Sid: 'Put', Action: ['a:B', 'a:C'] }] }, 'P')).toEqual([
      { effect: 'Allow', actions: ['a:B', 'a:C'], resources: [table] },
    ]);
  });

  test.each([
    ['Condition', { Condition: { Bool: { 'aws:SecureTransport': 'true' } } }],
    ['NotAction', { NotAction: 'dynamodb:GetItem' }],
    ['NotResource', { NotResource: '*' }],
    ['Principal', { Principal: '*' }],
  ])('is refused with %s, by an error that names the statement', (name, more) => {
    expect(() =>
      statementsOf({ Statement: [statement, { ...statement, Sid: 'Odd', ...more }] }, 'Policy'),
    ).toThrow(`Policy.Statement[1] 'Odd': ${name}`);
  });

  test.each([
    ['Effect', { Effect: 'Maybe' }, 'Effect is "Maybe"'],
    ['Action', { Action: undefined }, 'Action is undefined'],
    ['Resource', { Resource: [1] }, 'Resource is [1]'],
  ])('is refused with a wrong %s', (_, more, problem) => {
    expect(() => statementsOf({ Statement: { ...statement, ...more } }, 'P')).toThrow(problem);
  });

  test('of trust may name services, and restrict them to this account only', () => {
    const trust = {
      Effect: 'Allow',
      Action: 'sts:AssumeRole',
      Principal: { Service: 'pipes.amazonaws.com' },
    };
    const forAccount = (account: string) => ({ StringEquals: { 'aws:SourceAccount': account } });
    expect(trustedServices({ Statement: [trust] }, 'T')).toEqual(['pipes.amazonaws.com']);
    const forArn = (arn: string) => ({ ArnLike: { 'aws:SourceArn': arn } });
    const of = 'arn:aws:pipes:eu-west-1:000000000000:pipe/*';
    const here = { ...trust, Condition: { ...forAccount('000000000000'), ...forArn(of) } };
    expect(trustedServices({ Statement: [here] }, 'T')).toEqual(['pipes.amazonaws.com']);
    const ifSaid = (account: string) => ({ StringEqualsIfExists: { 'aws:SourceAccount': account } });
    const perhapsHere = { ...trust, Condition: ifSaid('000000000000') };
    expect(trustedServices({ Statement: [perhapsHere] }, 'T')).toEqual(['pipes.amazonaws.com']);
    for (const odd of [
      { ...trust, Condition: ifSaid('111111111111') },
      { ...trust, Condition: forAccount('111111111111') },
      { ...trust, Condition: forArn(of.replace('000000000000', '111111111111')) },
      { ...trust, Condition: forArn(of.replace('eu-west-1', '*')) },
      { ...trust, Condition: { StringLike: { 'aws:SourceAccount': '000000000000' } } },
      { ...trust, Principal: { AWS: '*' } },
      { ...trust, Effect: 'Deny' },
    ]) {
      expect(() => trustedServices({ Statement: [odd] }, 'T')).toThrow('T.Statement[0]');
    }
  });

  test("of AWS's own is known by its ARN or refused", () => {
    const basic = managedPolicy('arn:aws:iam::aws:policy/service-role/AWSLambdaBasicExecutionRole', 'R');
    expect(basic.flatMap(({ actions }) => actions)).toContain('logs:PutLogEvents');
    expect(() => managedPolicy('arn:aws:iam::aws:policy/AdministratorAccess', 'R')).toThrow(
      'AdministratorAccess',
    );
  });
});

describe('a request counts for IAM as', () => {
  const request = (operation: string, body: object) => ({ operation, body }) as ProxiedRequest;
  const TableName = 'records';

  test.each<[string, object, string[]]>([
    ['PutItem', { TableName }, [`dynamodb:PutItem ${table}`]],
    ['PutItem', { TableName: table }, [`dynamodb:PutItem ${table}`]],
    ['Query', { TableName, IndexName: 'byTime' }, [`dynamodb:Query ${table}/index/byTime`]],
    [
      'BatchWriteItem',
      { RequestItems: { records: [], stock: [] } },
      [
        `dynamodb:BatchWriteItem ${table}`,
        'dynamodb:BatchWriteItem arn:aws:dynamodb:eu-west-1:000000000000:table/stock',
      ],
    ],
    [
      'TransactWriteItems',
      {
        TransactItems: [
          { Put: { TableName } },
          { Update: { TableName: 'stock' } },
          { Delete: { TableName } },
          { ConditionCheck: { TableName } },
        ],
      },
      [
        `dynamodb:PutItem ${table}`,
        'dynamodb:UpdateItem arn:aws:dynamodb:eu-west-1:000000000000:table/stock',
        `dynamodb:DeleteItem ${table}`,
        `dynamodb:ConditionCheckItem ${table}`,
      ],
    ],
    ['TransactGetItems', { TransactItems: [{ Get: { TableName } }] }, [`dynamodb:GetItem ${table}`]],
    [
      'GetRecords',
      {
        ShardIterator: `000|arn:aws:dynamodb:ddblocal:000000000000:table/records/stream/2026-11-24T07:46:21.000|shardId|1`,
      },
      [`dynamodb:GetRecords ${table}/stream/local`],
    ],
    [
      'DescribeStream',
      { StreamArn: 'arn:aws:dynamodb:ddblocal:000000000000:table/records/stream/2026' },
      [`dynamodb:DescribeStream ${table}/stream/local`],
    ],
    ['ListTables', {}, ['dynamodb:ListTables *']],
  ])('its DynamoDB actions: %s', (operation, body, expected) => {
    const calls = dynamodbCalls(request(operation, body)).map(
      ({ action, resource }) => `${action} ${resource}`,
    );
    expect(calls).toEqual(expected);
  });

  test.each([
    ['SendMessage', 'sqs:SendMessage'],
    ['SendMessageBatch', 'sqs:SendMessage'],
    ['DeleteMessageBatch', 'sqs:DeleteMessage'],
    ['ReceiveMessage', 'sqs:ReceiveMessage'],
  ])('its SQS or SNS action: %s', (operation, action) => {
    const body = { QueueUrl: 'http://127.0.0.1:1/000000000000/orders.fifo' };
    const resource = 'arn:aws:sqs:eu-west-1:000000000000:orders.fifo';
    expect(messagingCalls(request(operation, body))).toEqual([{ action, resource }]);
  });
});
