import { join } from 'node:path';
import { Duration, type Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { LambdaIntegration, RestApi } from 'aws-cdk-lib/aws-apigateway';
import { HttpApi } from 'aws-cdk-lib/aws-apigatewayv2';
import { HttpLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import {
  Alias,
  CfnAlias,
  CfnEventSourceMapping,
  type IFunction,
  type Function as LambdaFunction,
} from 'aws-cdk-lib/aws-lambda';
import { SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import { Queue } from 'aws-cdk-lib/aws-sqs';
import { describe, expect, it } from 'vitest';
import { IdempotencyTable, IdempotentFunction, IdempotentQueue } from '../../constructs/index.ts';
import { actionsOn, createFunction, createStack, variablesOf } from './support.ts';

const entry = join(import.meta.dirname, '../../examples/payments.ts');

function create(timeout = Duration.seconds(10)) {
  const stack = createStack();
  const table = new IdempotencyTable(stack, 'Idempotency');
  return { stack, table, guarded: new IdempotentFunction(stack, 'Consumer', { entry, table, timeout }) };
}

const ways: [string, (stack: Stack, fn: LambdaFunction) => Alias | LambdaFunction['currentVersion']][] = [
  ['an alias', (stack, fn) => new Alias(stack, 'Live', { aliasName: 'live', version: fn.currentVersion })],
  ['a version', (_, fn) => fn.currentVersion],
];

describe.each(ways)('a queue whose consumer is %s', (_, qualify) => {
  it('calls it with the settings and the rights of its function', () => {
    const { stack, guarded } = create();
    const consumer = qualify(stack, guarded.function);
    const queue = new IdempotentQueue(stack, 'Ledger', { consumer, retentionPeriod: Duration.days(10) });
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::Lambda::EventSourceMapping', {
      FunctionName: stack.resolve(consumer.functionName),
      FunctionResponseTypes: ['ReportBatchItemFailures'],
    });
    template.hasResourceProperties('AWS::SQS::Queue', { VisibilityTimeout: 60 });
    expect(variablesOf(template, 'Consumer').IDEMPOTENCY_TTL_SECONDS).toBe('2073600');
    expect(actionsOn(template, stack.resolve(queue.queue.queueArn))).toContain('sqs:ReceiveMessage');
  });
});

describe.each(ways)('%s of a function that keeps records', (_, qualify) => {
  it('has its queue checked', () => {
    const { stack, guarded } = create();
    const queue = new Queue(stack, 'Queue', { visibilityTimeout: Duration.seconds(5) });
    qualify(stack, guarded.function).addEventSource(new SqsEventSource(queue));
    expect(() => Template.fromStack(stack)).toThrow(/visibility timeout of 5 s.*a timeout of 10 s/);
  });

  it('keeps records for as long as its queue keeps messages', () => {
    const { stack, guarded } = create();
    const queue = new Queue(stack, 'Queue', {
      visibilityTimeout: Duration.minutes(1),
      retentionPeriod: Duration.days(7),
    });
    qualify(stack, guarded.function).addEventSource(new SqsEventSource(queue));
    expect(variablesOf(Template.fromStack(stack), 'Consumer')).toMatchObject({
      IDEMPOTENCY_TTL_SECONDS: '604800',
    });
  });

  it.each<[string, (stack: Stack, called: IFunction) => void]>([
    [
      'HTTP API',
      (stack, called) =>
        new HttpApi(stack, 'Api').addRoutes({
          path: '/orders',
          integration: new HttpLambdaIntegration('Orders', called),
        }),
    ],
    [
      'REST API',
      (stack, called) => new RestApi(stack, 'Api').root.addMethod('POST', new LambdaIntegration(called)),
    ],
  ])('warns where its %s gives up before the function does', (kind, integrate) => {
    const { stack, guarded } = create(Duration.minutes(1));
    integrate(stack, qualify(stack, guarded.function));
    Template.fromStack(stack);
    Annotations.fromStack(stack).hasWarning(
      '/Test/Consumer/Function',
      Match.stringLikeRegexp(`the timeout is 60 s, and the ${kind}`),
    );
  });
});

describe('an alias that CloudFormation alone knows', () => {
  it('has its queue checked', () => {
    const { stack, guarded } = create();
    const alias = new CfnAlias(stack, 'Live', {
      name: 'live',
      functionName: guarded.function.functionName,
      functionVersion: '1',
    });
    const queue = new Queue(stack, 'Queue', { visibilityTimeout: Duration.seconds(5) });
    new CfnEventSourceMapping(stack, 'Mapping', { functionName: alias.ref, eventSourceArn: queue.queueArn });
    expect(() => Template.fromStack(stack)).toThrow(/visibility timeout of 5 s/);
  });
});

describe('an alias of one function', () => {
  it('counts as that function', () => {
    const { stack, table, guarded } = create();
    const other = new IdempotentFunction(stack, 'Other', { entry, table });
    const version = other.function.currentVersion;
    const queue = new Queue(stack, 'Queue', {
      visibilityTimeout: Duration.minutes(1),
      retentionPeriod: Duration.days(7),
    });
    new Alias(stack, 'Live', { aliasName: 'live', version }).addEventSource(new SqsEventSource(queue));
    guarded.function.currentVersion.addAlias('live');
    const template = Template.fromStack(stack);
    expect(variablesOf(template, 'Consumer').IDEMPOTENCY_TTL_SECONDS).toBe('86400');
    expect(variablesOf(template, 'Other').IDEMPOTENCY_TTL_SECONDS).toBe('604800');
  });

  it('gets a version of its own when its function keeps records for longer', () => {
    const versionWith = (retentionPeriod: Duration) => {
      const { stack, guarded } = create();
      const consumer = new Alias(stack, 'Live', {
        aliasName: 'live',
        version: guarded.function.currentVersion,
      });
      // Asked for before the queue is there, as an output of yours might do.
      stack.resolve(consumer.version.functionArn);
      new IdempotentQueue(stack, 'Ledger', { consumer, retentionPeriod });
      return Object.keys(Template.fromStack(stack).findResources('AWS::Lambda::Version'));
    };
    expect(versionWith(Duration.days(4))).not.toEqual(versionWith(Duration.days(5)));
    expect(versionWith(Duration.days(4))).toEqual(versionWith(Duration.days(4)));
  });
});

describe('a consumer of another kind', () => {
  it('is a function that the table protects', () => {
    const { stack, table } = create();
    const fn = createFunction(stack, 'Plain');
    table.protect(fn);
    new IdempotentQueue(stack, 'Ledger', { consumer: fn });
    Template.fromStack(stack).hasResourceProperties('AWS::SQS::Queue', { VisibilityTimeout: 18 });
  });

  it('fails where it keeps no records, by itself and by an alias', () => {
    const { stack } = create();
    const fn = createFunction(stack, 'Plain');
    const alias = new Alias(stack, 'Live', { aliasName: 'live', version: fn.currentVersion });
    for (const consumer of [fn, alias]) {
      expect(() => new IdempotentQueue(stack, `Of${consumer.node.id}`, { consumer })).toThrow(
        /function 'Test\/Plain' keeps no records/,
      );
    }
  });
});
