import { App, Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import {
  Billing,
  Capacity,
  MultiRegionConsistency,
  TableEncryptionV2,
  TableV2,
} from 'aws-cdk-lib/aws-dynamodb';
import { ManagedPolicy, PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { Code, Function as LambdaFunction, Runtime } from 'aws-cdk-lib/aws-lambda';
import { describe, expect, it } from 'vitest';
import { IdempotencyTable, type IdempotencyTableProps } from '../../constructs/index.ts';
import { tableLayout } from '../../lib/record.ts';
import { actionsOn, createFunction, createStack, variablesOf } from './support.ts';

const tableType = 'AWS::DynamoDB::GlobalTable';

function synthesize(props: IdempotencyTableProps = {}): Template {
  const stack = createStack();
  new IdempotencyTable(stack, 'Idempotency', props);
  return Template.fromStack(stack);
}

describe('a table', () => {
  it('has the keys and the TTL that the runtime writes, is on-demand, backed up and kept', () => {
    const template = synthesize();
    template.hasResource(tableType, {
      DeletionPolicy: 'Retain',
      UpdateReplacePolicy: 'Retain',
      Properties: {
        KeySchema: [
          { AttributeName: tableLayout.partitionKey, KeyType: 'HASH' },
          { AttributeName: tableLayout.sortKey, KeyType: 'RANGE' },
        ],
        AttributeDefinitions: [
          { AttributeName: 'pk', AttributeType: 'S' },
          { AttributeName: 'sk', AttributeType: 'S' },
        ],
        TimeToLiveSpecification: { AttributeName: tableLayout.ttlAttribute, Enabled: true },
        BillingMode: 'PAY_PER_REQUEST',
        StreamSpecification: Match.absent(),
        GlobalSecondaryIndexes: Match.absent(),
        Replicas: [
          Match.objectLike({
            PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
            DeletionProtectionEnabled: true,
            ContributorInsightsSpecification: Match.absent(),
          }),
        ],
      },
    });
  });

  it('takes options in place of each default', () => {
    const template = synthesize({
      tableName: 'records',
      billing: Billing.provisioned({
        readCapacity: Capacity.fixed(5),
        writeCapacity: Capacity.autoscaled({ maxCapacity: 50 }),
      }),
      encryption: TableEncryptionV2.awsManagedKey(),
      pointInTimeRecovery: false,
      deletionProtection: false,
      removalPolicy: RemovalPolicy.DESTROY,
      contributorInsights: true,
      timeToLive: false,
      stream: true,
      alarms: false,
    });
    template.hasResource(tableType, {
      DeletionPolicy: 'Delete',
      Properties: {
        TableName: 'records',
        BillingMode: 'PROVISIONED',
        SSESpecification: { SSEEnabled: true, SSEType: 'KMS' },
        StreamSpecification: { StreamViewType: 'NEW_AND_OLD_IMAGES' },
        TimeToLiveSpecification: Match.absent(),
        Replicas: [
          Match.objectLike({
            PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: false },
            DeletionProtectionEnabled: false,
            ContributorInsightsSpecification: Match.objectLike({ Enabled: true }),
          }),
        ],
      },
    });
    template.resourceCountIs('AWS::CloudWatch::Alarm', 0);
  });
});

describe('a table with replicas', () => {
  const replicas = [{ region: 'eu-central-1' }];

  it('fails while nobody has acknowledged that two Regions can win one claim', () => {
    expect(() => synthesize({ replicas })).toThrow(
      /replicas in eu-central-1 copy records by last-writer-wins.*acknowledgeLastWriterWins: true/,
    );
  });

  it('fails in the same way for a replica that is added later', () => {
    const stack = createStack();
    new IdempotencyTable(stack, 'Idempotency').table.addReplica({ region: 'eu-central-1' });
    expect(() => Template.fromStack(stack)).toThrow(/replicas in eu-central-1/);
  });

  it('is not assumed of a table in a stack without a Region', () => {
    const stack = new Stack(new App(), 'Anywhere');
    new IdempotencyTable(stack, 'Idempotency', { stream: true });
    expect(() => Template.fromStack(stack)).not.toThrow();
  });

  it('is created once that risk is acknowledged', () => {
    synthesize({ replicas, acknowledgeLastWriterWins: true }).hasResourceProperties(tableType, {
      Replicas: Match.arrayWith([Match.objectLike({ Region: 'eu-central-1' })]),
    });
  });

  const strong = {
    replicas,
    witnessRegion: 'eu-west-2',
    multiRegionConsistency: MultiRegionConsistency.STRONG,
  } as const;

  it('fails with strong consistency and TTL', () => {
    expect(() => synthesize(strong)).toThrow(/no TTL on such a table: say timeToLive: false/);
  });

  it('fails with strong consistency and a function that commits', () => {
    const stack = createStack();
    const table = new IdempotencyTable(stack, 'Idempotency', { ...strong, timeToLive: false });
    table.protect(createFunction(stack, 'Guarded'));
    expect(() => Template.fromStack(stack)).not.toThrow();

    const other = createStack();
    new IdempotencyTable(other, 'Idempotency', { ...strong, timeToLive: false }).protect(
      createFunction(other, 'Committing'),
      { level: 'committed' },
    );
    expect(() => Template.fromStack(other)).toThrow(
      /no transactions on such a table, but a function that commits needs them/,
    );
  });
});

describe('the grants', () => {
  const guard = ['GetItem', 'PutItem', 'Query', 'UpdateItem'].map((name) => `dynamodb:${name}`);
  const inspect = ['DescribeTable', 'DescribeTimeToLive', 'GetItem', 'Query'].map(
    (name) => `dynamodb:${name}`,
  );

  it.each([
    ['guard', guard],
    ['steps', guard],
    ['commit', ['dynamodb:ConditionCheckItem', ...guard]],
    ['inspect', inspect],
    ['operate', [...inspect, 'dynamodb:DeleteItem', 'dynamodb:PutItem', 'dynamodb:UpdateItem'].sort()],
  ] as const)('allow for %s exactly these actions on the table', (use, actions) => {
    const stack = createStack();
    const table = new IdempotencyTable(stack, 'Idempotency');
    const role = new Role(stack, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    expect(table.grants[use](role).success).toBe(true);

    const granted = actionsOn(Template.fromStack(stack), stack.resolve(table.tableArn));
    expect(granted.sort()).toEqual([...actions].sort());
    expect(granted.filter((action) => action.includes('*'))).toEqual([]);
  });

  it('cover the other tables that a commit writes to', () => {
    const stack = createStack();
    const orders = TableV2.fromTableName(stack, 'Orders', 'orders');
    const role = new Role(stack, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    new IdempotencyTable(stack, 'Idempotency').grants.commit(role, orders);
    expect(actionsOn(Template.fromStack(stack), stack.resolve(orders.tableArn))).toEqual(
      ['ConditionCheckItem', 'DeleteItem', 'PutItem', 'UpdateItem'].map((name) => `dynamodb:${name}`),
    );
  });

  it('cover a key of the customer, without a wildcard', () => {
    const stack = createStack();
    const key = new Key(stack, 'Key');
    const table = new IdempotencyTable(stack, 'Idempotency', {
      encryption: TableEncryptionV2.customerManagedKey(key),
    });
    const role = new Role(stack, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    table.grants.guard(role);
    expect(actionsOn(Template.fromStack(stack), stack.resolve(key.keyArn)).sort()).toEqual([
      'kms:Decrypt',
      'kms:DescribeKey',
      'kms:Encrypt',
      'kms:GenerateDataKey',
      'kms:GenerateDataKeyWithoutPlaintext',
      'kms:ReEncryptFrom',
      'kms:ReEncryptTo',
    ]);
  });
});

describe('protect()', () => {
  it('tells the function its table, its namespace and its TTL', () => {
    const stack = createStack();
    const table = new IdempotencyTable(stack, 'Idempotency');
    table.protect(createFunction(stack, 'Payments'));
    table.protect(createFunction(stack, 'Orders'), { namespace: 'orders', ttl: Duration.hours(48) });
    const template = Template.fromStack(stack);
    const tableName = stack.resolve(table.tableName);
    expect(variablesOf(template, 'Payments')).toEqual({
      IDEMPOTENCY_TABLE: tableName,
      IDEMPOTENCY_NAMESPACE: 'Test/Payments',
      IDEMPOTENCY_TTL_SECONDS: '86400',
    });
    expect(variablesOf(template, 'Orders')).toEqual({
      IDEMPOTENCY_TABLE: tableName,
      IDEMPOTENCY_NAMESPACE: 'orders',
      IDEMPOTENCY_TTL_SECONDS: '172800',
    });
  });

  it('works with a table that is there already', () => {
    const stack = createStack();
    const table = IdempotencyTable.fromTableName(stack, 'Idempotency', 'records');
    table.protect(createFunction(stack, 'Payments'), { level: 'committed' });
    const template = Template.fromStack(stack);
    template.resourceCountIs(tableType, 0);
    expect(variablesOf(template, 'Payments')).toMatchObject({ IDEMPOTENCY_TABLE: 'records' });
    expect(actionsOn(template, stack.resolve(table.tableArn))).toContain('dynamodb:ConditionCheckItem');
    expect(table.metricThrottledRequests()).toBeDefined();
  });

  it('fails for a function that is protected already', () => {
    const stack = createStack();
    const table = new IdempotencyTable(stack, 'Idempotency');
    const fn = createFunction(stack, 'Payments');
    table.protect(fn);
    expect(() => table.protect(fn)).toThrow(/'Test\/Payments' keeps its records in a table already/);
  });
});

describe('a function that has the table only in its environment', () => {
  function wire(stack: Stack, table: IdempotencyTable): LambdaFunction {
    return new LambdaFunction(stack, 'Wired', {
      runtime: Runtime.NODEJS_24_X,
      handler: 'index.handler',
      code: Code.fromInline('exports.handler = async () => {}'),
      environment: { IDEMPOTENCY_TABLE: table.tableName },
    });
  }

  it('fails the synthesis with the fix', () => {
    const stack = createStack();
    wire(stack, new IdempotencyTable(stack, 'Idempotency'));
    expect(() => Template.fromStack(stack)).toThrow(
      /function 'Test\/Wired\/Resource' has this table as IDEMPOTENCY_TABLE and may not write to it: use protect\(fn\)/,
    );
  });

  it.each<[string, (table: IdempotencyTable, fn: LambdaFunction) => void]>([
    ['one of our grants', (table, fn) => table.grants.guard(fn)],
    ['a grant of the CDK', (table, fn) => table.table.grants.readWriteData(fn)],
    [
      'a managed policy',
      (table, fn) => {
        const statements = [
          new PolicyStatement({ actions: ['dynamodb:PutItem'], resources: [table.tableArn] }),
        ];
        new ManagedPolicy(table, 'Managed', { statements }).attachToRole(fn.role!);
      },
    ],
  ])('passes with %s', (_, grant) => {
    const stack = createStack();
    const table = new IdempotencyTable(stack, 'Idempotency');
    grant(table, wire(stack, table));
    expect(() => Template.fromStack(stack)).not.toThrow();
  });

  it('is found in another stack', () => {
    const app = new App();
    const records = new Stack(app, 'Records');
    const api = new Stack(app, 'Api');
    const table = new IdempotencyTable(records, 'Idempotency');
    const fn = wire(api, table);
    expect(() => app.synth()).toThrow(/function 'Api\/Wired\/Resource' has this table/);
    table.grants.guard(fn);
    expect(() => app.synth({ force: true })).not.toThrow();
  });
});
