import { join } from 'node:path';
import { Duration } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { Rule } from 'aws-cdk-lib/aws-events';
import { Key } from 'aws-cdk-lib/aws-kms';
import { Topic } from 'aws-cdk-lib/aws-sns';
import { describe, expect, it } from 'vitest';
import {
  IdempotencyTable,
  IdempotentFunction,
  IdempotentQueue,
  type IdempotentQueueProps,
  type RuleTargetOptions,
} from '../../constructs/index.ts';
import { actionsOn, createStack, variablesOf } from './support.ts';

const entry = join(import.meta.dirname, '../../examples/payments.ts');

function create(props: IdempotentQueueProps = {}) {
  const stack = createStack();
  return { stack, queue: new IdempotentQueue(stack, 'Ledger', props) };
}

function createConsumed(props: IdempotentQueueProps = {}) {
  const stack = createStack();
  const table = new IdempotencyTable(stack, 'Idempotency');
  const consumer = new IdempotentFunction(stack, 'Consumer', { entry, table });
  return { stack, consumer, queue: new IdempotentQueue(stack, 'Ledger', { consumer, ...props }) };
}

describe('a queue', () => {
  it('is FIFO, encrypted, kept for four days, and has a FIFO dead-letter queue of two weeks after five deliveries', () => {
    const { stack, queue } = create();
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::SQS::Queue', {
      FifoQueue: true,
      ContentBasedDeduplication: Match.absent(),
      DeduplicationScope: Match.absent(),
      FifoThroughputLimit: Match.absent(),
      SqsManagedSseEnabled: true,
      MessageRetentionPeriod: 345_600,
      VisibilityTimeout: 30,
      RedrivePolicy: {
        deadLetterTargetArn: stack.resolve(queue.deadLetterQueue.queueArn),
        maxReceiveCount: 5,
      },
    });
    template.hasResourceProperties('AWS::SQS::Queue', {
      FifoQueue: true,
      SqsManagedSseEnabled: true,
      MessageRetentionPeriod: 1_209_600,
      RedrivePolicy: Match.absent(),
    });
  });

  it('takes TLS only, and so does its dead-letter queue', () => {
    const { stack, queue } = create();
    const template = Template.fromStack(stack);
    for (const { queueArn } of [queue.queue, queue.deadLetterQueue]) {
      template.hasResourceProperties('AWS::SQS::QueuePolicy', {
        PolicyDocument: {
          Statement: Match.arrayWith([
            Match.objectLike({
              Effect: 'Deny',
              Condition: { Bool: { 'aws:SecureTransport': 'false' } },
              Resource: stack.resolve(queueArn),
            }),
          ]),
        },
      });
    }
  });

  it('alarms on the age of its oldest message and on a dead letter', () => {
    const { stack, queue } = create({ alarmAge: Duration.minutes(5) });
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::CloudWatch::Alarm', {
      MetricName: 'ApproximateAgeOfOldestMessage',
      Dimensions: [{ Name: 'QueueName', Value: stack.resolve(queue.queue.queueName) }],
      Threshold: 300,
      TreatMissingData: 'notBreaching',
    });
    template.hasResourceProperties('AWS::CloudWatch::Alarm', {
      MetricName: 'ApproximateNumberOfMessagesVisible',
      Dimensions: [{ Name: 'QueueName', Value: stack.resolve(queue.deadLetterQueue.queueName) }],
      Threshold: 1,
    });
    Template.fromStack(create({ alarms: false }).stack).resourceCountIs('AWS::CloudWatch::Alarm', 0);
  });

  it('sets both attributes of high throughput, and warns that deduplication is narrower', () => {
    const { stack } = create({ highThroughput: true });
    Template.fromStack(stack).hasResourceProperties('AWS::SQS::Queue', {
      DeduplicationScope: 'messageGroup',
      FifoThroughputLimit: 'perMessageGroupId',
    });
    Annotations.fromStack(stack).hasInfo(
      '/Test/Ledger',
      Match.stringLikeRegexp('the same deduplication id in two groups is two messages'),
    );
  });

  it('takes a customer-managed key', () => {
    const stack = createStack();
    const key = new Key(stack, 'Key');
    new IdempotentQueue(stack, 'Ledger', { encryptionKey: key });
    const queues = Template.fromStack(stack).findResources('AWS::SQS::Queue', {
      Properties: { KmsMasterKeyId: stack.resolve(key.keyArn) },
    });
    expect(Object.keys(queues)).toHaveLength(2);
  });

  it('can be a standard one', () => {
    const template = Template.fromStack(create({ fifo: false }).stack);
    expect(
      Object.values(template.findResources('AWS::SQS::Queue')).map(({ Properties }) => Properties.FifoQueue),
    ).toEqual([undefined, undefined]);
  });

  it.each<[IdempotentQueueProps, RegExp]>([
    [{ batchSize: 11 }, /batchSize is 11, and Lambda takes 1 to 10/],
    [{ fifo: false, batchSize: 100 }, /batchSize is 100.*add maxBatchingWindow/],
    [{ maxBatchingWindow: Duration.seconds(5) }, /maxBatchingWindow is 5 s, and a FIFO queue has none/],
    [{ fifo: false, maxBatchingWindow: Duration.seconds(301) }, /is 301 s: use at most 300 s/],
    [{ maxReceiveCount: 0 }, /maxReceiveCount is 0: use 5 to 1,000/],
    [{ maxReceiveCount: 1_001 }, /maxReceiveCount is 1001/],
    [{ fifo: false, highThroughput: true }, /highThroughput is true, and only FIFO queues have it/],
    [{ fifo: false, contentBasedDeduplication: true }, /contentBasedDeduplication is true, and only FIFO/],
    [{ queueName: 'ledger' }, /queueName is 'ledger' and fifo is true/],
    [{ queueName: 'ledger.fifo', fifo: false }, /queueName is 'ledger.fifo' and fifo is false/],
  ])('fails with %o', (props, message) => {
    expect(() => create(props)).toThrow(message);
  });
});

describe("a queue's consumer", () => {
  it('reports failed messages one by one, gets ten at most, and hides them for six times its timeout', () => {
    const { stack, consumer, queue } = createConsumed();
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::Lambda::EventSourceMapping', {
      EventSourceArn: stack.resolve(queue.queue.queueArn),
      FunctionName: stack.resolve(consumer.function.functionName),
      FunctionResponseTypes: ['ReportBatchItemFailures'],
      BatchSize: 10,
      MaximumBatchingWindowInSeconds: Match.absent(),
    });
    template.hasResourceProperties('AWS::SQS::Queue', { VisibilityTimeout: 60 });
    expect(actionsOn(template, stack.resolve(queue.queue.queueArn))).toEqual([
      'sqs:ReceiveMessage',
      'sqs:ChangeMessageVisibility',
      'sqs:GetQueueUrl',
      'sqs:DeleteMessage',
      'sqs:GetQueueAttributes',
    ]);
  });

  it('can collect large batches from a standard queue, which adds to the visibility timeout', () => {
    const { stack } = createConsumed({
      fifo: false,
      batchSize: 100,
      maxBatchingWindow: Duration.seconds(20),
      maxConcurrency: 5,
    });
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::SQS::Queue', { VisibilityTimeout: 80 });
    template.hasResourceProperties('AWS::Lambda::EventSourceMapping', {
      BatchSize: 100,
      MaximumBatchingWindowInSeconds: 20,
      ScalingConfig: { MaximumConcurrency: 5 },
    });
  });

  it('keeps its records for as long as the queue and its dead-letter queue keep messages', () => {
    const { stack } = createConsumed({ retentionPeriod: Duration.days(10) });
    expect(variablesOf(Template.fromStack(stack), 'Consumer')).toMatchObject({
      IDEMPOTENCY_TTL_SECONDS: `${24 * 86_400}`,
    });
  });
});

describe('a queue behind a topic', () => {
  it('gets raw messages, as does its dead-letter queue', () => {
    const { stack, queue } = create();
    new Topic(stack, 'Orders', { fifo: true }).addSubscription(queue.asTopicSubscription());
    Template.fromStack(stack).hasResourceProperties('AWS::SNS::Subscription', {
      Protocol: 'sqs',
      RawMessageDelivery: true,
      Endpoint: stack.resolve(queue.queue.queueArn),
      RedrivePolicy: { deadLetterTargetArn: stack.resolve(queue.deadLetterQueue.queueArn) },
    });
  });

  it('fails for a standard topic, unless the queue is standard as well', () => {
    const { stack, queue } = create();
    expect(() => new Topic(stack, 'Orders').addSubscription(queue.asTopicSubscription())).toThrow(
      /'Test\/Orders' is a standard topic/,
    );
    const standard = create({ fifo: false });
    new Topic(standard.stack, 'Orders').addSubscription(standard.queue.asTopicSubscription());
    Template.fromStack(standard.stack).resourceCountIs('AWS::SNS::Subscription', 1);
  });
});

describe('a queue behind a rule', () => {
  it('gets events in the given group', () => {
    const { stack, queue } = create({ contentBasedDeduplication: true });
    const rule = new Rule(stack, 'Rule', { eventPattern: { source: ['shop'] } });
    rule.addTarget(queue.asRuleTarget({ messageGroupId: 'orders' }));
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::SQS::Queue', { ContentBasedDeduplication: true });
    template.hasResourceProperties('AWS::Events::Rule', {
      Targets: [
        Match.objectLike({
          Arn: stack.resolve(queue.queue.queueArn),
          SqsParameters: { MessageGroupId: 'orders' },
        }),
      ],
    });
  });

  it('keeps what EventBridge cannot deliver, for two weeks, in a standard queue that raises an alarm', () => {
    const { stack, queue } = create({ contentBasedDeduplication: true });
    expect(queue.undeliveredEvents).toBeUndefined();
    for (const source of ['shop', 'ledger']) {
      new Rule(stack, source, { eventPattern: { source: [source] } }).addTarget(
        queue.asRuleTarget({
          messageGroupId: source,
          retryAttempts: 10,
          maxEventAge: Duration.hours(1),
        }),
      );
    }
    const template = Template.fromStack(stack);
    const arn = stack.resolve(queue.undeliveredEvents?.queueArn);
    template.allResourcesProperties('AWS::Events::Rule', {
      Targets: [
        Match.objectLike({
          DeadLetterConfig: { Arn: arn },
          RetryPolicy: { MaximumEventAgeInSeconds: 3_600, MaximumRetryAttempts: 10 },
        }),
      ],
    });
    // EventBridge refuses a FIFO queue there.
    template.hasResourceProperties('AWS::SQS::Queue', {
      FifoQueue: Match.absent(),
      SqsManagedSseEnabled: true,
      MessageRetentionPeriod: 1_209_600,
    });
    template.resourceCountIs('AWS::SQS::Queue', 3);
    template.hasResourceProperties('AWS::SQS::QueuePolicy', {
      Queues: [{ Ref: arn['Fn::GetAtt'][0] }],
      PolicyDocument: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Action: 'sqs:SendMessage',
            Principal: { Service: 'events.amazonaws.com' },
            Resource: arn,
          }),
        ]),
      },
    });
    template.hasResourceProperties('AWS::CloudWatch::Alarm', {
      Dimensions: [{ Name: 'QueueName', Value: stack.resolve(queue.undeliveredEvents?.queueName) }],
    });
    expect(queue.alarms).toHaveLength(3);
  });

  it('lets EventBridge use a customer-managed key for both queues', () => {
    const stack = createStack();
    const queue = new IdempotentQueue(stack, 'Ledger', { fifo: false, encryptionKey: new Key(stack, 'Key') });
    new Rule(stack, 'Rule', { eventPattern: { source: ['shop'] } }).addTarget(queue.asRuleTarget());
    const template = Template.fromStack(stack);
    template.allResourcesProperties('AWS::SQS::Queue', { KmsMasterKeyId: Match.anyValue() });
    template.hasResourceProperties('AWS::KMS::Key', {
      KeyPolicy: {
        Statement: Match.arrayWith([
          Match.objectLike({
            Action: Match.arrayWith(['kms:Decrypt', 'kms:GenerateDataKey*']),
            Principal: { Service: 'events.amazonaws.com' },
          }),
        ]),
      },
    });
  });

  it.each<[RuleTargetOptions, RegExp]>([
    [{ retryAttempts: 186 }, /retryAttempts is 186: use 0 to 185/],
    [{ maxEventAge: Duration.seconds(59) }, /maxEventAge is 59 s: use 60 s to 86,400 s/],
  ])('fails with %o', (options, message) => {
    expect(() => create({ fifo: false }).queue.asRuleTarget(options)).toThrow(message);
  });

  it('fails without deduplication by content', () => {
    expect(() => create().queue.asRuleTarget({ messageGroupId: 'orders' })).toThrow(
      /contentBasedDeduplication is false on 'Test\/Ledger'.*set contentBasedDeduplication: true/,
    );
  });

  it('fails without a group, which a standard queue does not need', () => {
    expect(() => create({ contentBasedDeduplication: true }).queue.asRuleTarget()).toThrow(
      /messageGroupId is missing/,
    );
    expect(() => create({ fifo: false }).queue.asRuleTarget()).not.toThrow();
  });
});
