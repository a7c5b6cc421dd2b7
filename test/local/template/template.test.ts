import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startStack } from '../../../local/stack/stack.ts';
import { ignoredTypes } from '../../../local/template/ignored.ts';
import { createResolver } from '../../../local/template/intrinsics.ts';
import type { Assembly, Properties, Template } from '../../../local/template/reader.ts';
import { describeTemplate, readAssembly } from '../../../local/template/template.ts';
import { dynamodbEndpoint } from '../../support/dynamodb.ts';

describe('an intrinsic function', () => {
  const resolve = createResolver('Shop', {
    ref: (id) => `ref-${id}`,
    attribute: (id, name) => `${id}-${name}`,
  });
  const join = (...values: unknown[]) => ({ 'Fn::Join': ['-', values] });

  test.each<[string, unknown, unknown]>([
    ['Ref', { Ref: 'Table' }, 'ref-Table'],
    ['Ref of a pseudo parameter', { Ref: 'AWS::Region' }, 'eu-west-1'],
    ['GetAtt', { 'Fn::GetAtt': ['Table', 'Arn'] }, 'Table-Arn'],
    ['GetAtt as a text', { 'Fn::GetAtt': 'Table.Stream.Arn' }, 'Table-Stream.Arn'],
    ['Join', join('a', { Ref: 'B' }, 3), 'a-ref-B-3'],
    ['Split', { 'Fn::Split': ['/', 'a/b'] }, ['a', 'b']],
    ['Select', { 'Fn::Select': [1, { 'Fn::Split': ['-', join('a', 'b')] }] }, 'b'],
    [
      'Sub',
      // biome-ignore lint/suspicious/noTemplateCurlyInString: CloudFormation's placeholders
      { 'Fn::Sub': 'x-${Table}-${Table.Arn}-${AWS::AccountId}-${!Literal}' },
      // biome-ignore lint/suspicious/noTemplateCurlyInString: CloudFormation's placeholders
      'x-ref-Table-Table-Arn-000000000000-${Literal}',
    ],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: CloudFormation's placeholders
    ['Sub with variables', { 'Fn::Sub': ['${a}${b}', { a: 1, b: { Ref: 'B' } }] }, '1ref-B'],
    ['NoValue in an object', { a: { Ref: 'AWS::NoValue' }, b: 1 }, { b: 1 }],
    ['NoValue in a list', [{ Ref: 'AWS::NoValue' }, 1], [1]],
    ['an object of other names', { Ref: 'a', b: 1 }, { Ref: 'a', b: 1 }],
  ])('%s', (_, value, expected) => {
    expect(resolve(value, 'here')).toEqual(expected);
  });

  test.each<[unknown, string]>([
    [{ 'Fn::If': ['IsProd', 1, 2] }, 'Fn::If is not known here'],
    [{ 'Fn::Join': 'a' }, 'expected a list of two'],
    [{ 'Fn::Join': ['', 'a'] }, 'expected a list'],
    [{ 'Fn::Select': [2, ['a']] }, 'there is no 2 to select'],
    [{ 'Fn::Join': ['', [{ a: 1 }]] }, 'expected a text'],
  ])('is refused where it is unknown or wrong: %j', (value, problem) => {
    expect(() => resolve({ deep: [value] }, 'Pay.Environment')).toThrow(problem);
    expect(() => resolve({ deep: [value] }, 'Pay.Environment')).toThrow('Pay.Environment.deep[0]');
  });
});

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'idemkit-template-'));
  await writeFile(
    join(folder, 'index.mjs'),
    `import { SQSClient } from '@aws-sdk/client-sqs';
     export const handler = async () => ({ sdk: typeof SQSClient, memory: process.env.AWS_LAMBDA_FUNCTION_MEMORY_SIZE, runtime: process.env.AWS_EXECUTION_ENV });`,
  );
  await writeFile(
    join(folder, 'greedy.mjs'),
    "import '@middy/core';\nexport const handler = async () => {};",
  );
});
afterAll(() => rm(folder, { recursive: true }));

const role = {
  AssumeRolePolicyDocument: {
    Statement: [
      { Effect: 'Allow', Action: 'sts:AssumeRole', Principal: { Service: 'lambda.amazonaws.com' } },
    ],
  },
};

type Changes = Readonly<Record<string, Properties & { readonly Type?: string }>>;

/** A small template, with what is to be added to it or changed in it. */
function assemblyOf(changes: Changes = {}): Assembly {
  const resources: Record<string, { Type: string; Properties?: Properties }> = {
    Table: {
      Type: 'AWS::DynamoDB::GlobalTable',
      Properties: {
        BillingMode: 'PAY_PER_REQUEST',
        KeySchema: [{ AttributeName: 'pk', KeyType: 'HASH' }],
        AttributeDefinitions: [{ AttributeName: 'pk', AttributeType: 'S' }],
        Replicas: [{ Region: { Ref: 'AWS::Region' } }],
      },
    },
    Queue: { Type: 'AWS::SQS::Queue', Properties: { FifoQueue: true, VisibilityTimeout: 60 } },
    Role: { Type: 'AWS::IAM::Role', Properties: role },
    Pay: {
      Type: 'AWS::Lambda::Function',
      Properties: {
        Code: { S3Bucket: 'assets', S3Key: 'pay.zip' },
        Handler: 'index.handler',
        Runtime: 'nodejs24.x',
        Role: { 'Fn::GetAtt': ['Role', 'Arn'] },
        MemorySize: 256,
        Environment: { Variables: { TABLE: { Ref: 'Table' }, QUEUE: { Ref: 'Queue' } } },
      },
    },
    Mapping: {
      Type: 'AWS::Lambda::EventSourceMapping',
      Properties: {
        EventSourceArn: { 'Fn::GetAtt': ['Queue', 'Arn'] },
        FunctionName: { Ref: 'Pay' },
        FunctionResponseTypes: ['ReportBatchItemFailures'],
      },
    },
  };
  for (const [id, { Type, ...properties }] of Object.entries(changes)) {
    resources[id] =
      Type === undefined
        ? { ...resources[id]!, Properties: { ...resources[id]?.Properties, ...properties } }
        : { Type, Properties: properties };
  }
  return { stackName: 'Shop', template: { Resources: resources } as Template, assetFolder: () => folder };
}

describe('a synthesised template', () => {
  test('becomes a description with the names that CloudFormation would give', () => {
    const { description, names } = describeTemplate(assemblyOf());
    expect(names).toEqual({
      functions: { Pay: 'Shop-Pay' },
      pipes: {},
      queues: { Queue: 'Shop-Queue.fifo' },
      tables: { Table: 'Shop-Table' },
    });
    expect(description).toEqual({
      roles: { 'Shop-Role': { trusts: ['lambda.amazonaws.com'], statements: [] } },
      tables: [
        {
          name: 'Shop-Table',
          partitionKey: 'pk',
          sortKey: false,
          keyTypes: { pk: 'S' },
          ttlAttribute: false,
        },
      ],
      queues: { 'Shop-Queue.fifo': { fifo: true, visibilityTimeoutSeconds: 60 } },
      functions: {
        'Shop-Pay': {
          entry: join(folder, 'index.mjs'),
          handler: 'handler',
          bundled: true,
          runtime: 'nodejs24.x',
          role: 'Shop-Role',
          memoryMb: 256,
          environment: {
            TABLE: 'Shop-Table',
            QUEUE: 'https://sqs.eu-west-1.amazonaws.com/000000000000/Shop-Queue.fifo',
          },
        },
      },
      eventSources: [{ queue: 'Shop-Queue.fifo', function: 'Shop-Pay', reportBatchItemFailures: true }],
      pipes: {},
      routes: [],
    });
  });

  test('keeps explicit names, and takes another stack name', () => {
    const { names } = describeTemplate(assemblyOf({ Table: { TableName: 'records' } }), {
      stackName: 'Test',
    });
    expect([names.tables, names.functions]).toEqual([{ Table: 'records' }, { Pay: 'Test-Pay' }]);
  });

  test('can be overridden for one function by its path', () => {
    const overrides = { Pay: { environment: { TABLE: 'mine' }, timeoutSeconds: 9, retryAfterSeconds: 2 } };
    const { description } = describeTemplate(assemblyOf(), { overrides, retryAfterSeconds: 1 });
    expect(description.functions?.['Shop-Pay']).toMatchObject({
      timeoutSeconds: 9,
      environment: { TABLE: 'mine' },
    });
    expect(description.eventSources).toMatchObject([{ function: 'Shop-Pay', retryAfterSeconds: 2 }]);
    expect(() => describeTemplate(assemblyOf(), { overrides: { Paid: {} } })).toThrow("no function 'Paid'");
  });

  test('may have resources of the types that are known to change nothing here', () => {
    const changes = Object.keys(ignoredTypes).map((Type, index) => [
      `Other${index}`,
      { Type, Odd: { 'Fn::If': 1 } },
    ]);
    expect(() => describeTemplate(assemblyOf(Object.fromEntries(changes)))).not.toThrow();
  });

  test.each<[string, Changes, string]>([
    [
      'type',
      { Topic: { Type: 'AWS::SNS::Topic' } },
      'Topic: resources of type AWS::SNS::Topic are not known here',
    ],
    [
      'property',
      { Queue: { DelaySeconds: 5 } },
      'Queue (AWS::SQS::Queue): the property DelaySeconds (5) is not known here.',
    ],
    [
      'property inside another',
      { Mapping: { ScalingConfig: { MaximumSpeed: 1 } } },
      'Mapping (AWS::Lambda::EventSourceMapping).ScalingConfig: the property MaximumSpeed (1)',
    ],
    [
      'value',
      { Table: { BillingMode: 'PROVISIONED' } },
      'Table (AWS::DynamoDB::GlobalTable): BillingMode is "PROVISIONED"',
    ],
    ['runtime', { Pay: { Runtime: 'python3.14' } }, 'Pay (AWS::Lambda::Function): Runtime is "python3.14"'],
    ['handler', { Pay: { Handler: 'main.handler' } }, "there is no 'main' in the asset"],
    [
      'variable',
      { Pay: { Environment: { Variables: { AWS_REGION: 'x' } } } },
      'Environment has AWS_REGION, which Lambda sets itself',
    ],
    ['reference', { Mapping: { FunctionName: { Ref: 'Paid' } } }, "no resource or parameter 'Paid'"],
    [
      'attribute',
      { Pay: { Role: { 'Fn::GetAtt': ['Role', 'RoleId'] } } },
      'Role (AWS::IAM::Role): the attribute RoleId',
    ],
    [
      'source',
      { Mapping: { EventSourceArn: 'arn:aws:kinesis:eu-west-1:000000000000:stream/s' } },
      'is none of this template',
    ],
    [
      'response type',
      { Mapping: { FunctionResponseTypes: ['Report'] } },
      "FunctionResponseTypes has 'Report'",
    ],
    [
      'key definition',
      { Table: { AttributeDefinitions: [] } },
      'AttributeDefinitions () are not the attributes of KeySchema (pk)',
    ],
    ['Region', { Table: { Replicas: [{ Region: 'us-east-1' }] } }, 'Replicas are in us-east-1'],
    [
      'visibility timeout',
      { Queue: { VisibilityTimeout: 1 } },
      'VisibilityTimeout is 1 s, less than the Timeout',
    ],
    ['throughput', { Queue: { DeduplicationScope: 'messageGroup' } }, 'DeduplicationScope is messageGroup'],
    [
      'queue policy',
      {
        Policy: {
          Type: 'AWS::SQS::QueuePolicy',
          Queues: [],
          PolicyDocument: { Statement: [{ Effect: 'Allow' }] },
        },
      },
      'Policy (AWS::SQS::QueuePolicy).PolicyDocument: {"Effect":"Allow"} is not evaluated here',
    ],
    [
      'condition in a policy',
      {
        Policy: {
          Type: 'AWS::IAM::Policy',
          Roles: [{ Ref: 'Role' }],
          PolicyDocument: { Statement: [{ Effect: 'Allow', Action: 'a:B', Resource: '*', Condition: {} }] },
        },
      },
      'Policy (AWS::IAM::Policy).PolicyDocument.Statement[0]: Condition',
    ],
    [
      'managed policy',
      { Role: { ManagedPolicyArns: ['arn:aws:iam::aws:policy/PowerUserAccess'] } },
      'PowerUserAccess',
    ],
  ])('is refused with an unknown %s, which the error names', (_, changes, problem) => {
    expect(() => describeTemplate(assemblyOf(changes))).toThrow(problem);
  });

  test('gives a role the statements of its own, attached and managed policies', () => {
    const PolicyDocument = (Action: string) => ({ Statement: { Effect: 'Allow', Action, Resource: '*' } });
    const { description } = describeTemplate(
      assemblyOf({
        Role: {
          Policies: [{ PolicyName: 'Own', PolicyDocument: PolicyDocument('a:Own') }],
          ManagedPolicyArns: [
            {
              'Fn::Join': [
                '',
                [
                  'arn:',
                  { Ref: 'AWS::Partition' },
                  ':iam::aws:policy/service-role/AWSLambdaBasicExecutionRole',
                ],
              ],
            },
            { Ref: 'Managed' },
          ],
        },
        Attached: {
          Type: 'AWS::IAM::Policy',
          Roles: [{ Ref: 'Role' }],
          PolicyDocument: PolicyDocument('a:Attached'),
        },
        Managed: { Type: 'AWS::IAM::ManagedPolicy', PolicyDocument: PolicyDocument('a:Managed') },
      }),
    );
    const actions = description.roles?.['Shop-Role']?.statements.flatMap((statement) => statement.actions);
    expect(actions?.sort()).toEqual([
      'a:Attached',
      'a:Managed',
      'a:Own',
      'logs:CreateLogGroup',
      'logs:CreateLogStream',
      'logs:PutLogEvents',
    ]);
  });

  test('is refused where it has not been synthesised', () => {
    expect(() => readAssembly(folder, 'Shop')).toThrow('run cdk synth first');
  });
});

describe('a bundle outside the repository', () => {
  const start = (Handler: string) => {
    const { description } = describeTemplate(assemblyOf({ Pay: { Handler } }));
    const { functions = {} } = description;
    return startStack(
      { functions: { pay: { ...functions['Shop-Pay'], role: undefined } as never } },
      { dynamodbEndpoint: dynamodbEndpoint() },
    );
  };

  test('finds the AWS SDK and the environment of Lambda', async () => {
    const stack = await start('index.handler');
    try {
      const { payload } = (await stack.function('pay').invoke({})) as { payload: string };
      expect(JSON.parse(payload)).toEqual({
        sdk: 'function',
        memory: '256',
        runtime: 'AWS_Lambda_nodejs24.x',
      });
    } finally {
      await stack.stop();
    }
  });

  test('finds no package but the AWS SDK', async () => {
    const stack = await start('greedy.handler');
    try {
      expect(await stack.function('pay').invoke({})).toMatchObject({
        outcome: 'crash',
        reason: expect.stringContaining("Cannot find package '@middy/core'"),
      });
    } finally {
      await stack.stop();
    }
  });
});
