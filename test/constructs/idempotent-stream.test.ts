import { join } from 'node:path';
import { Duration, type Stack } from 'aws-cdk-lib';
import { Match, Template } from 'aws-cdk-lib/assertions';
import { AttributeType, StreamViewType, Table } from 'aws-cdk-lib/aws-dynamodb';
import { Stream, StreamConsumer } from 'aws-cdk-lib/aws-kinesis';
import { FilterCriteria, FilterRule, StartingPosition } from 'aws-cdk-lib/aws-lambda';
import { Secret } from 'aws-cdk-lib/aws-secretsmanager';
import { describe, expect, it } from 'vitest';
import {
  IdempotencyTable,
  IdempotentFunction,
  IdempotentStream,
  type IdempotentStreamProps,
  type StreamOrTopic,
} from '../../constructs/index.ts';
import { actionsOn, createFunction, createStack, variablesOf } from './support.ts';

const entry = join(import.meta.dirname, '../../examples/payments.ts');
const clusterArn = 'arn:aws:kafka:eu-west-1:111122223333:cluster/sales/1';
const msk: StreamOrTopic = { msk: { clusterArn, topic: 'sales' } };

function create(
  sourceOf: (stack: Stack) => StreamOrTopic = kinesis,
  props: Partial<IdempotentStreamProps> = {},
) {
  const stack = createStack();
  const table = new IdempotencyTable(stack, 'Idempotency');
  const consumer = new IdempotentFunction(stack, 'Consumer', {
    ...{ entry, table, keepsPositions: true, level: 'committed' },
  });
  const stream = new IdempotentStream(stack, 'Sales', { source: sourceOf(stack), consumer, ...props });
  return { stack, table, consumer, stream };
}

const kinesis = (stack: Stack): StreamOrTopic => ({ kinesis: new Stream(stack, 'Stream') });

const dynamodb = (stack: Stack): StreamOrTopic => ({
  dynamodb: new Table(stack, 'Orders', {
    partitionKey: { name: 'pk', type: AttributeType.STRING },
    stream: StreamViewType.NEW_AND_OLD_IMAGES,
  }),
});

const mappingIn = (template: Template) => {
  const found = Object.values(template.findResources('AWS::Lambda::EventSourceMapping'));
  expect(found).toHaveLength(1);
  return found[0]?.Properties;
};

describe('the event source of a function that keeps positions', () => {
  it('reports lanes, splits batches, and gives up after 100 retries or 12 hours, from the beginning of a stream', () => {
    const { stack, stream, consumer } = create();
    expect(mappingIn(Template.fromStack(stack))).toEqual({
      BatchSize: 100,
      BisectBatchOnFunctionError: true,
      DestinationConfig: { OnFailure: { Destination: stack.resolve(stream.discarded.queueArn) } },
      EventSourceArn: { 'Fn::GetAtt': [expect.stringMatching(/^Stream/), 'Arn'] },
      FunctionName: stack.resolve(consumer.function.functionName),
      FunctionResponseTypes: ['ReportBatchItemFailures'],
      MaximumRecordAgeInSeconds: 43_200,
      MaximumRetryAttempts: 100,
      StartingPosition: 'TRIM_HORIZON',
    });
  });

  it('reads a table’s stream with the same settings', () => {
    const { stack } = create(dynamodb, { parallelizationFactor: 10, batchSize: 1_000 });
    expect(mappingIn(Template.fromStack(stack))).toMatchObject({
      BatchSize: 1_000,
      BisectBatchOnFunctionError: true,
      EventSourceArn: { 'Fn::GetAtt': [expect.stringMatching(/^Orders/), 'StreamArn'] },
      FunctionResponseTypes: ['ReportBatchItemFailures'],
      MaximumRecordAgeInSeconds: 43_200,
      MaximumRetryAttempts: 100,
      ParallelizationFactor: 10,
    });
  });

  it('reads a stream through a consumer of its own', () => {
    const { stack } = create((stack) => ({
      kinesis: new StreamConsumer(stack, 'FanOut', {
        streamConsumerName: 'sales',
        stream: new Stream(stack, 'Stream'),
      }),
    }));
    expect(mappingIn(Template.fromStack(stack))).toMatchObject({
      EventSourceArn: { 'Fn::GetAtt': [expect.stringMatching(/^FanOut/), 'ConsumerARN'] },
    });
  });

  it('begins where it is told to, and takes what matches', () => {
    const filters = [FilterCriteria.filter({ data: { kind: FilterRule.isEqual('sale') } })];
    const { stack } = create(kinesis, {
      ...{
        startingPosition: StartingPosition.AT_TIMESTAMP,
        startingPositionTimestamp: 1_700_000_000,
        filters,
      },
    });
    expect(mappingIn(Template.fromStack(stack))).toMatchObject({
      StartingPosition: 'AT_TIMESTAMP',
      StartingPositionTimestamp: 1_700_000_000,
      FilterCriteria: { Filters: [{ Pattern: '{"data":{"kind":["sale"]}}' }] },
    });
  });

  it('leaves retries of a topic to Lambda, which takes them for provisioned pollers only', () => {
    const { stack, stream } = create(() => msk);
    expect(mappingIn(Template.fromStack(stack))).toEqual({
      BatchSize: 100,
      DestinationConfig: { OnFailure: { Destination: stack.resolve(stream.discarded.queueArn) } },
      EventSourceArn: clusterArn,
      FunctionName: expect.anything(),
      StartingPosition: 'TRIM_HORIZON',
      Topics: ['sales'],
    });
    const provisioned = create(() => msk, {
      provisionedPollers: { minimumPollers: 1, maximumPollers: 4 },
      retryAttempts: 5,
    });
    expect(mappingIn(Template.fromStack(provisioned.stack))).toMatchObject({
      ProvisionedPollerConfig: { MinimumPollers: 1, MaximumPollers: 4 },
      BisectBatchOnFunctionError: true,
      MaximumRecordAgeInSeconds: 43_200,
      MaximumRetryAttempts: 5,
    });
  });

  it('reads a topic of a cluster of yours', () => {
    const { stack } = create((stack) => ({
      kafka: {
        bootstrapServers: ['kafka-1.example.com:9092'],
        topic: 'sales',
        consumerGroupId: 'ledger',
        secret: new Secret(stack, 'Secret'),
      },
    }));
    expect(mappingIn(Template.fromStack(stack))).toMatchObject({
      SelfManagedEventSource: { Endpoints: { KafkaBootstrapServers: ['kafka-1.example.com:9092'] } },
      SelfManagedKafkaEventSourceConfig: { ConsumerGroupId: 'ledger' },
      Topics: ['sales'],
    });
  });

  it('keeps letters of what Lambda gives up for two weeks, encrypted and for TLS only, with an alarm', () => {
    const { stack, stream } = create(kinesis, { alarmAge: Duration.minutes(5) });
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::SQS::Queue', {
      MessageRetentionPeriod: 1_209_600,
      SqsManagedSseEnabled: true,
    });
    template.hasResourceProperties('AWS::SQS::QueuePolicy', {
      PolicyDocument: {
        Statement: [Match.objectLike({ Effect: 'Deny', Resource: stack.resolve(stream.discarded.queueArn) })],
      },
    });
    expect(actionsOn(template, stack.resolve(stream.discarded.queueArn))).toContain('sqs:SendMessage');
    template.hasResourceProperties('AWS::CloudWatch::Alarm', {
      MetricName: 'ApproximateNumberOfMessagesVisible',
      Dimensions: [{ Name: 'QueueName', Value: stack.resolve(stream.discarded.queueName) }],
      Threshold: 1,
    });
    template.hasResourceProperties('AWS::CloudWatch::Alarm', {
      MetricName: 'IteratorAge',
      Threshold: 300_000,
    });
    expect(create(kinesis, { alarms: false }).stream.alarms).toEqual([]);
    expect(create(() => msk).stream.alarms).toHaveLength(1);
  });

  const weekLong = (stack: Stack) => new Stream(stack, 'Stream', { retentionPeriod: Duration.days(7) });

  it.each<[string, (stack: Stack) => StreamOrTopic, number]>([
    ['a stream keeps records', (stack) => ({ kinesis: weekLong(stack) }), 7],
    [
      'a stream with a consumer of its own keeps records',
      (stack) => ({
        kinesis: new StreamConsumer(stack, 'FanOut', {
          ...{ streamConsumerName: 'sales', stream: weekLong(stack) },
        }),
      }),
      7,
    ],
    ['a table’s stream keeps records', dynamodb, 1],
    ['Kafka keeps records by default', () => msk, 7],
  ])('has a default window for as long as %s', (_, sourceOf, days) => {
    expect(variablesOf(Template.fromStack(create(sourceOf).stack), 'Consumer')).toMatchObject({
      IDEMPOTENCY_TTL_SECONDS: `${days * 86_400}`,
    });
  });

  it('lets its function read, claim and commit a lane’s position, and no more of the table', () => {
    const { stack, table } = create();
    expect(actionsOn(Template.fromStack(stack), stack.resolve(table.tableArn)).sort()).toEqual([
      'dynamodb:ConditionCheckItem',
      'dynamodb:GetItem',
      'dynamodb:PutItem',
      'dynamodb:Query',
      'dynamodb:UpdateItem',
    ]);
  });

  it('takes an alias of the function', () => {
    const { stack, consumer } = create();
    const alias = consumer.function.addAlias('live');
    new IdempotentStream(stack, 'Other', {
      source: { kinesis: new Stream(stack, 'Refunds') },
      consumer: alias,
    });
    const functions = Object.values(
      Template.fromStack(stack).findResources('AWS::Lambda::EventSourceMapping'),
    ).map(({ Properties }) => Properties.FunctionName);
    expect(functions).toContainEqual(stack.resolve(alias.functionName));
  });

  it.each<[(stack: Stack) => StreamOrTopic, Partial<IdempotentStreamProps>, RegExp]>([
    [kinesis, { batchSize: 10_001 }, /batchSize is 10001: use 1 to 10,000/],
    [dynamodb, { batchSize: 1_001 }, /batchSize is 1001: use 1 to 1,000/],
    [kinesis, { parallelizationFactor: 11 }, /parallelizationFactor is 11: use 1 to 10/],
    [kinesis, { retryAttempts: -1 }, /retryAttempts is -1: use 0 to 10,000/],
    [kinesis, { maxRecordAge: Duration.seconds(59) }, /maxRecordAge is 59 s: use 60 s to 604,800 s/],
    [kinesis, { maxBatchingWindow: Duration.minutes(6) }, /maxBatchingWindow is 360 s: use 0 s to 300 s/],
    [
      kinesis,
      { provisionedPollers: {} },
      /provisionedPollers is set, and only Kafka has pollers: leave it out/,
    ],
    [() => msk, { parallelizationFactor: 2 }, /parallelizationFactor is set, and Kafka has none/],
    [
      () => msk,
      { retryAttempts: 5 },
      /retryAttempts is set, .* provisioned mode only: add provisionedPollers/,
    ],
    [() => msk, { maxRecordAge: Duration.hours(1) }, /maxRecordAge is set, .* add provisionedPollers: \{\}/],
    [
      dynamodb,
      { startingPosition: StartingPosition.AT_TIMESTAMP },
      /startingPosition is AT_TIMESTAMP.*use TRIM_HORIZON or LATEST/,
    ],
  ])('fails with %o and %o', (sourceOf, props, message) => {
    expect(() => create(sourceOf, props)).toThrow(message);
  });

  it('fails on the stream of the table where its function keeps positions', () => {
    const stack = createStack();
    const table = new IdempotencyTable(stack, 'Idempotency', { stream: true });
    const consumer = new IdempotentFunction(stack, 'Consumer', { entry, table, keepsPositions: true });
    expect(() => new IdempotentStream(stack, 'Own', { source: { dynamodb: table.table }, consumer })).toThrow(
      /source.dynamodb is 'Test\/Idempotency\/Table'.*Give the consumer another IdempotencyTable/,
    );
  });

  it('fails for a function that keeps no records', () => {
    const stack = createStack();
    const consumer = createFunction(stack, 'Plain');
    expect(() => new IdempotentStream(stack, 'Sales', { source: kinesis(stack), consumer })).toThrow(
      /function 'Test\/Plain' keeps no records/,
    );
  });
});
