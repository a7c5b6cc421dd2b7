import { join } from 'node:path';
import { Aws, CfnParameter, type Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { RestApi } from 'aws-cdk-lib/aws-apigateway';
import { HttpApi } from 'aws-cdk-lib/aws-apigatewayv2';
import { AccountPrincipal, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { Key } from 'aws-cdk-lib/aws-kms';
import { Alias } from 'aws-cdk-lib/aws-lambda';
import { describe, expect, it } from 'vitest';
import {
  FifoIngest,
  IdempotencyTable,
  type IdempotencyTableAttributes,
  IdempotentFunction,
  IdempotentQueue,
  type IIdempotencyTable,
  type IIdempotentQueue,
  OutboxPipe,
} from '../../constructs/index.ts';
import { actionsOn, createFunction, createStack, variablesOf } from './support.ts';

const tableArn = 'arn:aws:dynamodb:eu-west-1:111122223333:table/records';
const tableStreamArn = `${tableArn}/stream/2026-01-01T00:00:00.000`;
const queueArn = 'arn:aws:sqs:eu-west-1:111122223333:ledger.fifo';
const keyArn = 'arn:aws:kms:eu-west-1:111122223333:key/11112222-3333-4444-5555-666677778888';

function importTable(attributes: IdempotencyTableAttributes = { tableArn }) {
  const stack = createStack();
  return { stack, table: IdempotencyTable.fromTableAttributes(stack, 'Idempotency', attributes) };
}

describe('an imported table', () => {
  it('is known by its name or by its ARN, even in another Region', () => {
    const elsewhere = tableArn.replace('eu-west-1', 'us-east-1');
    const { stack, table } = importTable({ tableArn: elsewhere });
    table.protect(createFunction(stack, 'Payments'));
    const template = Template.fromStack(stack);
    expect(actionsOn(template, elsewhere)).toContain('dynamodb:PutItem');
    expect(variablesOf(template, 'Payments')).toMatchObject({ IDEMPOTENCY_TABLE: 'records' });

    const named = importTable({ tableName: 'records' });
    expect(named.table.tableName).toBe('records');
  });

  it('has its key covered by grants, through DynamoDB alone', () => {
    const stack = createStack();
    const encryptionKey = Key.fromKeyArn(stack, 'Key', keyArn);
    const table = IdempotencyTable.fromTableAttributes(stack, 'Idempotency', { tableArn, encryptionKey });
    table.protect(createFunction(stack, 'Payments'));
    const template = Template.fromStack(stack);
    expect(actionsOn(template, keyArn)).toContain('kms:GenerateDataKey');
    template.hasResourceProperties('AWS::IAM::Policy', {
      PolicyDocument: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Resource: keyArn,
            Condition: { StringEquals: { 'kms:ViaService': 'dynamodb.eu-west-1.amazonaws.com' } },
          }),
        ]),
      },
    });
  });

  it('feeds a pipe by its stream, and functions that commit know where it leads', () => {
    const { stack, table } = importTable({ tableArn, tableStreamArn });
    new OutboxPipe(stack, 'Outbox', {
      table,
      queue: new IdempotentQueue(stack, 'Ledger'),
      destination: 'ledger',
    });
    table.protect(createFunction(stack, 'Payments'), { level: 'committed' });
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::Pipes::Pipe', { Source: tableStreamArn });
    expect(actionsOn(template, tableStreamArn)).toContain('dynamodb:GetRecords');
    expect(variablesOf(template, 'Payments')).toMatchObject({ IDEMPOTENCY_DESTINATIONS: 'ledger' });
  });

  it('refuses a pipe with the fix where its stream is not known', () => {
    const { stack, table } = importTable();
    const queue = new IdempotentQueue(stack, 'Ledger');
    expect(() => new OutboxPipe(stack, 'Outbox', { table, queue, destination: 'ledger' })).toThrow(
      /'Test\/Idempotency' was imported without its stream: add tableStreamArn/,
    );
  });

  it('gets a warning for two pipes with one destination', () => {
    const stack = createStack();
    const table = IdempotencyTable.fromTableAttributes(stack, 'Known', { tableArn, tableStreamArn });
    const queue = new IdempotentQueue(stack, 'Ledger');
    for (const id of ['First', 'Second']) new OutboxPipe(stack, id, { table, queue, destination: 'ledger' });
    Annotations.fromStack(stack).hasWarning(
      '/Test/Known',
      Match.stringLikeRegexp("destination 'ledger' has more than one reader"),
    );
  });
});

describe('an imported queue', () => {
  it('is FIFO where its name says so, even after tokens', () => {
    const stack = createStack();
    const isFifo = (arn: string, fifo?: boolean) => {
      const id = `Queue${stack.node.children.length}`;
      return IdempotentQueue.fromQueueArn(stack, id, arn, { ...(fifo !== undefined && { fifo }) }).fifo;
    };
    expect(isFifo(queueArn)).toBe(true);
    expect(isFifo('arn:aws:sqs:eu-west-1:111122223333:mail')).toBe(false);
    expect(isFifo(`arn:aws:sqs:${Aws.REGION}:${Aws.ACCOUNT_ID}:orders.fifo`)).toBe(true);
    expect(() => isFifo('arn:aws:sqs:eu-west-1:111122223333:other', true)).toThrow(
      /fifo is true, and queueArn is/,
    );

    const token = new CfnParameter(stack, 'QueueArn').valueAsString;
    expect(() => isFifo(token)).toThrow(/queueArn is a token.*say fifo: true or fifo: false/);
    expect(isFifo(token, true)).toBe(true);
  });

  it('can be the target of a pipe', () => {
    const stack = createStack();
    const encryptionKey = Key.fromKeyArn(stack, 'Key', keyArn);
    const queue = IdempotentQueue.fromQueueArn(stack, 'Ledger', queueArn, { encryptionKey });
    new OutboxPipe(stack, 'Outbox', {
      table: new IdempotencyTable(stack, 'Records'),
      queue,
      destination: 'ledger',
    });
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::Pipes::Pipe', {
      Target: queueArn,
      TargetParameters: { SqsQueueParameters: Match.anyValue() },
    });
    expect(actionsOn(template, queueArn)).toEqual(['sqs:SendMessage']);
    expect(actionsOn(template, keyArn)).toEqual(['kms:Decrypt', 'kms:GenerateDataKey']);
  });

  it('takes in requests, in its own account and Region', () => {
    const stack = createStack();
    const elsewhere = 'arn:aws:sqs:us-east-1:444455556666:orders.fifo';
    const queue = IdempotentQueue.fromQueueArn(stack, 'Orders', elsewhere);
    const props = { queue, path: '/orders', authorizer: 'none', messageGroupId: 'orders' } as const;
    new FifoIngest(stack, 'Http', props);
    new FifoIngest(stack, 'Rest', { ...props, via: 'rest-api' });
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::ApiGatewayV2::Integration', {
      RequestParameters: Match.objectLike({
        Region: 'us-east-1',
        QueueUrl: Match.objectLike({
          'Fn::Join': ['', ['https://sqs.us-east-1.', Match.anyValue(), '/444455556666/orders.fifo']],
        }),
      }),
    });
    const [method] = Object.values(template.findResources('AWS::ApiGateway::Method'));
    expect(JSON.stringify(method?.Properties.Integration.Uri)).toContain(
      ':apigateway:us-east-1:sqs:path/444455556666/orders.fifo',
    );
    expect(actionsOn(template, elsewhere)).toEqual(['sqs:SendMessage', 'sqs:SendMessage']);
  });
});

describe('grantSendMessages()', () => {
  const ways: [string, (stack: Stack) => IIdempotentQueue][] = [
    ['a queue', (stack) => new IdempotentQueue(stack, 'Ledger')],
    ['an imported queue', (stack) => IdempotentQueue.fromQueueArn(stack, 'Ledger', queueArn)],
  ];

  it.each(ways)('allows for %s one action on it and nothing else', (_, create) => {
    const stack = createStack();
    const queue = create(stack);
    const role = new Role(stack, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    expect(queue.grantSendMessages(role).success).toBe(true);
    const template = Template.fromStack(stack);
    expect(actionsOn(template, stack.resolve(queue.queue.queueArn))).toEqual(['sqs:SendMessage']);
  });

  it('allows another account in the policies of the queue and of its key', () => {
    const stack = createStack();
    const queue = new IdempotentQueue(stack, 'Ledger', { encryptionKey: new Key(stack, 'Key') });
    queue.grantSendMessages(new AccountPrincipal('444455556666'));
    const template = Template.fromStack(stack);
    const principal = { AWS: Match.objectLike({ 'Fn::Join': Match.anyValue() }) };
    const allows = (Action: unknown) =>
      Match.objectLike({
        Statement: Match.arrayWith([Match.objectLike({ Effect: 'Allow', Action, Principal: principal })]),
      });
    template.hasResourceProperties('AWS::SQS::QueuePolicy', { PolicyDocument: allows('sqs:SendMessage') });
    template.hasResourceProperties('AWS::KMS::Key', {
      KeyPolicy: allows(['kms:Decrypt', 'kms:GenerateDataKey']),
    });
  });
});

describe('an ingest on an API that is imported', () => {
  const createQueue = (stack: Stack) => new IdempotentQueue(stack, 'Orders');
  const props = { path: '/orders', authorizer: 'none', messageGroupId: 'orders' } as const;

  it("is a route of the HTTP API and knows its URL where the API's is given", () => {
    const stack = createStack();
    const queue = createQueue(stack);
    const known = HttpApi.fromHttpApiAttributes(stack, 'Known', {
      httpApiId: 'abc',
      apiEndpoint: 'https://abc.example.com',
    });
    const ingest = new FifoIngest(stack, 'Ingest', { ...props, queue, api: known });
    expect(ingest.url).toBe('https://abc.example.com/orders');
    const unknown = HttpApi.fromHttpApiAttributes(stack, 'Unknown', { httpApiId: 'def' });
    const other = new FifoIngest(stack, 'Other', { ...props, queue, api: unknown });
    expect(() => other.url).toThrow(/apiEndpoint/);
    const template = Template.fromStack(stack);
    for (const ApiId of ['abc', 'def']) {
      template.hasResourceProperties('AWS::ApiGatewayV2::Route', { ApiId, RouteKey: 'POST /orders' });
    }
    template.resourceCountIs('AWS::ApiGatewayV2::Api', 0);
  });

  it('is a method of the REST API and warns that the deployment belongs to another app', () => {
    const stack = createStack();
    const api = RestApi.fromRestApiAttributes(stack, 'Shop', { restApiId: 'abc', rootResourceId: 'root' });
    const ingest = new FifoIngest(stack, 'Ingest', {
      ...props,
      via: 'rest-api',
      queue: createQueue(stack),
      api,
    });
    expect(() => ingest.url).toThrow(/deploymentStage/);
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::ApiGateway::Method', { RestApiId: 'abc', HttpMethod: 'POST' });
    template.hasResourceProperties('AWS::ApiGateway::RequestValidator', { RestApiId: 'abc' });
    Annotations.fromStack(stack).hasWarning(
      '/Test/Ingest',
      Match.stringLikeRegexp("does not deploy the REST API 'Test/Shop': the route is served only after"),
    );
  });

  it('gives no such warning on a REST API of this app', () => {
    const stack = createStack();
    new FifoIngest(stack, 'Ingest', { ...props, via: 'rest-api', queue: createQueue(stack) });
    Annotations.fromStack(stack).hasNoWarning('*', Match.stringLikeRegexp('does not deploy'));
  });
});

describe('two ingests on one handler', () => {
  const entry = join(import.meta.dirname, '../../examples/payments.ts');
  const props = { via: 'function', authorizer: 'none' } as const;

  function create(environment: Record<string, string> = {}) {
    const stack = createStack();
    const table: IIdempotencyTable = new IdempotencyTable(stack, 'Idempotency');
    const handler = new IdempotentFunction(stack, 'Handler', { entry, table, environment });
    const orders = new IdempotentQueue(stack, 'Orders');
    return { stack, handler, orders, refunds: new IdempotentQueue(stack, 'Refunds') };
  }

  it('fail with the fix where one would replace the queue of the other', () => {
    const { stack, handler, orders, refunds } = create();
    new FifoIngest(stack, 'TakeOrders', { ...props, path: '/orders', queue: orders, handler });
    expect(
      () => new FifoIngest(stack, 'TakeRefunds', { ...props, path: '/refunds', queue: refunds, handler }),
    ).toThrow(
      /function 'Test\/Handler\/Function' has another QUEUE_URL.*queueUrlVariable: 'TAKEREFUNDS_QUEUE_URL'/,
    );
  });

  it('name both queues in variables of their own', () => {
    const { stack, handler, orders, refunds } = create();
    new FifoIngest(stack, 'TakeOrders', { ...props, path: '/orders', queue: orders, handler });
    const queueUrlVariable = 'REFUNDS_QUEUE_URL';
    new FifoIngest(stack, 'TakeRefunds', {
      ...props,
      path: '/refunds',
      queue: refunds,
      handler,
      queueUrlVariable,
    });
    expect(variablesOf(Template.fromStack(stack), 'Handler')).toMatchObject({
      QUEUE_URL: stack.resolve(orders.queue.queueUrl),
      REFUNDS_QUEUE_URL: stack.resolve(refunds.queue.queueUrl),
    });
  });

  it('may share a queue but not a variable that was there before', () => {
    const { stack, handler, orders } = create();
    new FifoIngest(stack, 'First', { ...props, path: '/orders', queue: orders, handler });
    new FifoIngest(stack, 'Second', { ...props, path: '/v2/orders', queue: orders, handler });
    const mine = create({ QUEUE_URL: 'https://queue.example.com' });
    expect(
      () =>
        new FifoIngest(mine.stack, 'First', {
          ...props,
          path: '/',
          queue: mine.orders,
          handler: mine.handler,
        }),
    ).toThrow(/has another QUEUE_URL/);
  });

  it('call an alias of it where they are given one', () => {
    const { stack, handler, orders } = create();
    const alias = new Alias(stack, 'Live', { aliasName: 'live', version: handler.function.currentVersion });
    new FifoIngest(stack, 'Ingest', { ...props, path: '/orders', queue: orders, handler: alias });
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::ApiGatewayV2::Integration', {
      IntegrationUri: stack.resolve(alias.functionArn),
    });
    expect(variablesOf(template, 'Handler')).toHaveProperty('QUEUE_URL');
    expect(actionsOn(template, stack.resolve(orders.queue.queueArn))).toEqual(['sqs:SendMessage']);
  });

  it('refuse a variable that Lambda would refuse', () => {
    const { stack, handler, orders } = create();
    expect(
      () =>
        new FifoIngest(stack, 'Ingest', {
          ...{ ...props, path: '/orders', queue: orders, handler },
          queueUrlVariable: '1-QUEUE',
        }),
    ).toThrow(/queueUrlVariable is '1-QUEUE'/);
  });
});
