import { join } from 'node:path';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { CognitoUserPoolsAuthorizer } from 'aws-cdk-lib/aws-apigateway';
import { HttpApi } from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpIamAuthorizer, HttpJwtAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { UserPool } from 'aws-cdk-lib/aws-cognito';
import { Key } from 'aws-cdk-lib/aws-kms';
import { describe, expect, it } from 'vitest';
import {
  FifoIngest,
  type FifoIngestProps,
  IdempotencyTable,
  IdempotentFunction,
  IdempotentQueue,
  type IdempotentQueueProps,
} from '../../constructs/index.ts';
import { actionsOn, createStack, variablesOf } from './support.ts';

const entry = join(import.meta.dirname, '../../examples/payments.ts');
const sub = '$context.authorizer.claims.sub';
const jwt = () => new HttpJwtAuthorizer('Jwt', 'https://issuer.example.com', { jwtAudience: ['shop'] });

type Distributed<T> = T extends unknown ? Omit<T, 'queue' | 'path'> & { path?: string } : never;

function create(props: Distributed<FifoIngestProps>, queueProps: IdempotentQueueProps = {}) {
  const stack = createStack();
  const queue = new IdempotentQueue(stack, 'Orders', queueProps);
  const ingest = new FifoIngest(stack, 'Ingest', { queue, path: '/orders', ...props } as FifoIngestProps);
  return { stack, queue, ingest };
}

const warningsOf = (stack: Parameters<typeof Annotations.fromStack>[0]): string[] =>
  Annotations.fromStack(stack)
    .findWarning('*', Match.stringLikeRegexp('deduplication id as it is'))
    .map(({ entry: { data } }) => String(data));

describe('an ingest through an HTTP API', () => {
  it('maps the header to the deduplication id and the caller to the group', () => {
    const { stack, queue } = create({ authorizer: jwt(), messageGroupId: sub });
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::ApiGatewayV2::Integration', {
      IntegrationType: 'AWS_PROXY',
      IntegrationSubtype: 'SQS-SendMessage',
      PayloadFormatVersion: '1.0',
      RequestParameters: {
        QueueUrl: stack.resolve(queue.queue.queueUrl),
        MessageBody: '$request.body',
        MessageDeduplicationId: '$request.header.Idempotency-Key',
        MessageGroupId: sub,
      },
    });
    template.hasResourceProperties('AWS::ApiGatewayV2::Route', {
      RouteKey: 'POST /orders',
      AuthorizationType: 'JWT',
    });
  });

  it('may send to the queue and do nothing else', () => {
    const { stack, queue } = create({ authorizer: jwt(), messageGroupId: sub });
    const template = Template.fromStack(stack);
    expect(actionsOn(template, stack.resolve(queue.queue.queueArn))).toEqual(['sqs:SendMessage']);
  });

  it('may use a customer-managed key', () => {
    const stack = createStack();
    const key = new Key(stack, 'Key');
    const queue = new IdempotentQueue(stack, 'Orders', { encryptionKey: key });
    new FifoIngest(stack, 'Ingest', { queue, path: '/orders', authorizer: 'none', messageGroupId: 'orders' });
    expect(actionsOn(Template.fromStack(stack), stack.resolve(key.keyArn))).toEqual([
      'kms:Decrypt',
      'kms:GenerateDataKey',
    ]);
  });

  it('is throttled and logs who came', () => {
    const template = Template.fromStack(
      create({ authorizer: jwt(), messageGroupId: sub, rateLimit: 5, burstLimit: 7 }).stack,
    );
    template.hasResourceProperties('AWS::ApiGatewayV2::Stage', {
      StageName: '$default',
      AutoDeploy: true,
      DefaultRouteSettings: { ThrottlingRateLimit: 5, ThrottlingBurstLimit: 7 },
      AccessLogSettings: {
        DestinationArn: Match.anyValue(),
        Format: Match.stringLikeRegexp('context.status'),
      },
    });
    template.hasResourceProperties('AWS::Logs::LogGroup', { RetentionInDays: 30 });
  });

  it('warns of what a raw mapping cannot do', () => {
    const { stack } = create({ authorizer: jwt(), messageGroupId: sub });
    Template.fromStack(stack);
    const warnings = warningsOf(stack);
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/where a guard answers 422; SQS refuses keys with a space.*two callers/);
  });

  it('does not warn of two callers where deduplication is within the caller', () => {
    const { stack } = create({ authorizer: jwt(), messageGroupId: sub }, { highThroughput: true });
    Template.fromStack(stack);
    expect(warningsOf(stack).join()).not.toContain('two callers');
  });

  it('can be a route of an existing API', () => {
    const stack = createStack();
    const api = new HttpApi(stack, 'Api');
    const queue = new IdempotentQueue(stack, 'Orders');
    new FifoIngest(stack, 'Ingest', {
      queue,
      path: '/orders',
      api,
      authorizer: new HttpIamAuthorizer(),
      messageGroupId: '$context.identity.userArn',
    });
    const template = Template.fromStack(stack);
    template.resourceCountIs('AWS::ApiGatewayV2::Api', 1);
    template.hasResourceProperties('AWS::ApiGatewayV2::Route', { AuthorizationType: 'AWS_IAM' });
  });

  it('is open to everybody only where an option says so', () => {
    const { stack } = create({ authorizer: 'none', messageGroupId: 'orders' });
    Template.fromStack(stack).hasResourceProperties('AWS::ApiGatewayV2::Route', {
      AuthorizationType: 'NONE',
    });
    expect(() => create({ messageGroupId: 'orders' } as never)).toThrow(/authorizer is missing.*'none'/);
  });

  it.each<[Distributed<FifoIngestProps>, IdempotentQueueProps, RegExp]>([
    [{ authorizer: 'none', messageGroupId: sub }, { fifo: false }, /'Test\/Orders' is a standard queue/],
    [{ authorizer: 'none', messageGroupId: '' }, {}, /messageGroupId is ''/],
    [{ authorizer: 'none', messageGroupId: '$input.body' }, {}, /messageGroupId is '\$input.body'/],
    [{ authorizer: 'none', messageGroupId: sub, header: "x')" }, {}, /header is 'x'\)'/],
    [
      { authorizer: 'none', messageGroupId: sub, path: 'orders' },
      {},
      /path is 'orders': begin it with a slash/,
    ],
  ])('fails with %o on a queue %o', (props, queueProps, message) => {
    expect(() => create(props, queueProps)).toThrow(message);
  });
});

describe('an ingest through a REST API', () => {
  it('answers 202, and demands the header', () => {
    const { stack } = create({ via: 'rest-api', authorizer: 'iam', messageGroupId: sub });
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::ApiGateway::Method', {
      HttpMethod: 'POST',
      AuthorizationType: 'AWS_IAM',
      RequestParameters: { 'method.request.header.Idempotency-Key': true },
      Integration: Match.objectLike({
        Type: 'AWS',
        PassthroughBehavior: 'NEVER',
        IntegrationResponses: Match.arrayWith([
          Match.objectLike({ StatusCode: '202', SelectionPattern: Match.absent() }),
        ]),
      }),
    });
    template.hasResourceProperties('AWS::ApiGateway::RequestValidator', { ValidateRequestParameters: true });
    template.hasResourceProperties('AWS::ApiGateway::Stage', {
      AccessLogSetting: Match.objectLike({ DestinationArn: Match.anyValue() }),
      MethodSettings: [Match.objectLike({ ThrottlingRateLimit: 100, ThrottlingBurstLimit: 200 })],
    });
    expect(warningsOf(stack)).toHaveLength(1);
  });

  it('takes any authorizer', () => {
    const stack = createStack();
    const authorizer = new CognitoUserPoolsAuthorizer(stack, 'Cognito', {
      cognitoUserPools: [new UserPool(stack, 'Users')],
    });
    const queue = new IdempotentQueue(stack, 'Orders');
    new FifoIngest(stack, 'Ingest', {
      via: 'rest-api',
      queue,
      path: '/v1/orders',
      authorizer,
      messageGroupId: sub,
      cloudWatchRole: false,
    });
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::ApiGateway::Method', { AuthorizationType: 'COGNITO_USER_POOLS' });
    template.hasResourceProperties('AWS::ApiGateway::Resource', { PathPart: 'orders' });
    template.resourceCountIs('AWS::ApiGateway::Account', 0);
  });
});

describe('an ingest through a function', () => {
  it('tells the function its queue, lets it send, and warns of nothing', () => {
    const stack = createStack();
    const table = new IdempotencyTable(stack, 'Idempotency');
    const handler = new IdempotentFunction(stack, 'Handler', { entry, table });
    const queue = new IdempotentQueue(stack, 'Orders', { contentBasedDeduplication: true });
    new FifoIngest(stack, 'Ingest', { via: 'function', queue, handler, path: '/orders', authorizer: jwt() });
    const template = Template.fromStack(stack);
    expect(variablesOf(template, 'Handler')).toMatchObject({
      QUEUE_URL: stack.resolve(queue.queue.queueUrl),
    });
    expect(actionsOn(template, stack.resolve(queue.queue.queueArn))).toEqual(['sqs:SendMessage']);
    template.hasResourceProperties('AWS::ApiGatewayV2::Integration', {
      IntegrationUri: stack.resolve(handler.function.functionArn),
      PayloadFormatVersion: '2.0',
    });
    expect(warningsOf(stack)).toEqual([]);
  });
});
