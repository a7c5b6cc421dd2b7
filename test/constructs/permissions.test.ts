import { join } from 'node:path';
import { App, type Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { TableEncryptionV2 } from 'aws-cdk-lib/aws-dynamodb';
import { Vpc } from 'aws-cdk-lib/aws-ec2';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { describe, expect, it } from 'vitest';
import { PaymentsStack } from '../../bin/payments-stack.ts';
import {
  FifoIngest,
  IdempotencyTable,
  IdempotentFunction,
  IdempotentQueue,
  OutboxPipe,
} from '../../constructs/index.ts';
import { createStack, type Statement, statementsOf } from './support.ts';

const entry = join(import.meta.dirname, '../../examples/payments.ts');

const statementsFor = (stack: Stack, arn: string): Statement[] =>
  statementsOf(Template.fromStack(stack)).filter(
    ({ Resource }) => JSON.stringify(Resource) === JSON.stringify(stack.resolve(arn)),
  );

const through = (service: string) => ({
  StringEquals: { 'kms:ViaService': `${service}.eu-west-1.amazonaws.com` },
});

describe('a customer-managed key', () => {
  it('can be used by the users of the table, and through DynamoDB only', () => {
    const stack = createStack();
    const key = new Key(stack, 'Key');
    const encryption = TableEncryptionV2.customerManagedKey(key);
    const table = new IdempotencyTable(stack, 'Idempotency', { encryption });
    const role = new Role(stack, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    table.grants.guard(role);
    new OutboxPipe(stack, 'Outbox', {
      table,
      destination: 'ledger',
      queue: new IdempotentQueue(stack, 'Ledger'),
    });
    const granted = statementsFor(stack, key.keyArn);
    expect(granted.map(({ Condition }) => Condition)).toEqual([through('dynamodb'), through('dynamodb')]);
  });

  it('can be used by the senders, and through SQS only', () => {
    const stack = createStack();
    const key = new Key(stack, 'Key');
    const queue = new IdempotentQueue(stack, 'Ledger', { encryptionKey: key });
    const table = new IdempotencyTable(stack, 'Idempotency');
    new OutboxPipe(stack, 'Outbox', { table, destination: 'ledger', queue });
    new FifoIngest(stack, 'Ingest', { queue, path: '/orders', authorizer: 'none', messageGroupId: 'orders' });
    const granted = statementsFor(stack, key.keyArn);
    expect(granted.map(({ Condition }) => Condition)).toEqual([through('sqs'), through('sqs')]);
  });

  it('can be used through its own Region where that is another', () => {
    const stack = createStack();
    const key = Key.fromKeyArn(stack, 'Key', 'arn:aws:kms:us-east-1:111122223333:key/1234abcd');
    const queue = new IdempotentQueue(stack, 'Ledger', { encryptionKey: key });
    new FifoIngest(stack, 'Ingest', { queue, path: '/orders', authorizer: 'none', messageGroupId: 'orders' });
    expect(statementsFor(stack, key.keyArn).map(({ Condition }) => Condition)).toEqual([
      { StringEquals: { 'kms:ViaService': 'sqs.us-east-1.amazonaws.com' } },
    ]);
  });
});

describe('the role of a service', () => {
  const trustOf = (stack: Stack, service: string) =>
    Object.values(Template.fromStack(stack).findResources('AWS::IAM::Role'))
      .flatMap(({ Properties }) => Properties.AssumeRolePolicyDocument.Statement)
      .find(({ Principal }) => Principal.Service === service);

  it('can be assumed by a pipe of this account and Region only', () => {
    const stack = createStack();
    const table = new IdempotencyTable(stack, 'Idempotency');
    new OutboxPipe(stack, 'Outbox', {
      table,
      destination: 'ledger',
      queue: new IdempotentQueue(stack, 'Ledger'),
    });
    expect(trustOf(stack, 'pipes.amazonaws.com').Condition).toEqual({
      StringEquals: { 'aws:SourceAccount': '111122223333' },
      ArnLike: {
        'aws:SourceArn': {
          'Fn::Join': ['', ['arn:', { Ref: 'AWS::Partition' }, ':pipes:eu-west-1:111122223333:pipe/*']],
        },
      },
    });
  });

  it.each(['http-api', 'rest-api'] as const)(
    'can be assumed by a gateway (%s) that does not say its account',
    (via) => {
      const stack = createStack();
      const queue = new IdempotentQueue(stack, 'Orders');
      new FifoIngest(stack, 'Ingest', {
        via,
        queue,
        path: '/orders',
        authorizer: 'none',
        messageGroupId: 'orders',
        cloudWatchRole: false,
      });
      expect(trustOf(stack, 'apigateway.amazonaws.com').Condition).toEqual({
        StringEqualsIfExists: { 'aws:SourceAccount': '111122223333' },
      });
    },
  );
});

describe('the role of a function', () => {
  function create(props: { vpc?: boolean; role?: boolean }) {
    const stack = createStack();
    const role = new Role(stack, 'Given', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    new IdempotentFunction(stack, 'Payments', {
      entry,
      table: new IdempotencyTable(stack, 'Idempotency'),
      ...(props.role && { role }),
      ...(props.vpc && { vpc: new Vpc(stack, 'Vpc') }),
    });
    const template = Template.fromStack(stack);
    const [name] = Object.keys(template.findResources('AWS::IAM::Role')).filter((id) =>
      id.startsWith(props.role ? 'Given' : 'Payments'),
    );
    const statements = Object.values(
      template.findResources('AWS::IAM::Policy', { Properties: { Roles: [{ Ref: name }] } }),
    ).flatMap(({ Properties }): Statement[] => Properties.PolicyDocument.Statement);
    return { stack, template, statements };
  }

  const logging = {
    Action: ['logs:CreateLogStream', 'logs:PutLogEvents'],
    Effect: 'Allow',
    Resource: { 'Fn::GetAtt': [expect.stringMatching(/^PaymentsLogGroup/), 'Arn'] },
  };
  const networking = {
    Action: [
      'ec2:AssignPrivateIpAddresses',
      'ec2:CreateNetworkInterface',
      'ec2:DeleteNetworkInterface',
      'ec2:DescribeNetworkInterfaces',
      'ec2:DescribeSubnets',
      'ec2:UnassignPrivateIpAddresses',
    ],
    Effect: 'Allow',
    Resource: '*',
  };

  it.each([{ role: false }, { role: true }])('may write to its log group, with %o', (props) => {
    expect(create(props).statements).toContainEqual(logging);
  });

  it.each([{ role: false }, { role: true }])('may have network interfaces in a VPC, with %o', (props) => {
    const { statements, template } = create({ ...props, vpc: true });
    expect(statements).toContainEqual(networking);
    // AWS's managed policies for functions allow to write any log of the account.
    template.allResourcesProperties('AWS::IAM::Role', { ManagedPolicyArns: Match.absent() });
    for (const { Action, Resource } of statements) {
      expect(`${Action} ${Resource}`).not.toMatch(/logs:.* \*$/);
    }
  });

  it('may do nothing with the network outside of a VPC', () => {
    expect(JSON.stringify(create({}).statements)).not.toContain('ec2:');
  });
});

describe('the payments stack', () => {
  it('uses no managed policy', () => {
    const app = new App({ context: { 'aws:cdk:bundling-stacks': [] } });
    Template.fromStack(new PaymentsStack(app, 'Payments')).allResourcesProperties('AWS::IAM::Role', {
      ManagedPolicyArns: Match.absent(),
    });
  });
});
