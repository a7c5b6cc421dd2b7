import { Annotations as Advice, CfnParameter, Duration, type Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { ManagedPolicy, PolicyStatement } from 'aws-cdk-lib/aws-iam';
import { SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import { type CfnQueue, Queue, type QueueProps } from 'aws-cdk-lib/aws-sqs';
import { describe, expect, it } from 'vitest';
import { IdempotencyTable, IdempotentQueue, type ProtectOptions } from '../../constructs/index.ts';
import { createFunction, createStack } from './support.ts';

/** A function of 10 s that keeps records, and a queue of the CDK's own that calls it. */
function createReader(queueProps: QueueProps, protection: ProtectOptions = {}) {
  const stack = createStack();
  const reader = createFunction(stack, 'Reader', Duration.seconds(10));
  new IdempotencyTable(stack, 'Idempotency').protect(reader, protection);
  const queue = new Queue(stack, 'Queue', queueProps);
  reader.addEventSource(new SqsEventSource(queue));
  return { stack, reader, queue };
}

const withoutDeadLetters = (stack: Stack) => {
  const queue = new IdempotentQueue(stack, 'Ledger');
  (queue.queue.node.defaultChild as CfnQueue).redrivePolicy = undefined;
};

const minute = { visibilityTimeout: Duration.minutes(1) };

describe('advice', () => {
  it.each<[string, string, RegExp, () => Stack]>([
    [
      'a visibility timeout below six times the timeout',
      'idemkit:queue:visibility-timeout',
      /'Test\/Queue\/Resource' has a visibility timeout of 59 s.*timeout of 10 s.*Make it at least 60 s/,
      () => createReader({ visibilityTimeout: Duration.seconds(59) }).stack,
    ],
    [
      'a FIFO queue without a dead-letter queue',
      'idemkit:queue:dead-letter-queue',
      /'Test\/Queue\/Resource' has no dead-letter queue.*blocks its group/,
      () => createReader({ ...minute, fifo: true }).stack,
    ],
    [
      'a queue whose dead-letter queue was taken away',
      'idemkit:queue:dead-letter-queue',
      /'Test\/Ledger\/Queue\/Resource' has no dead-letter queue/,
      () => {
        const stack = createStack();
        withoutDeadLetters(stack);
        return stack;
      },
    ],
    [
      'a TTL shorter than a queue keeps its messages',
      'idemkit:function:ttl',
      /ttl is 86400 s, shorter than the 345600 s for which 'Test\/Queue\/Resource' keeps/,
      () => createReader(minute, { ttl: Duration.days(1) }).stack,
    ],
    [
      'a standard queue whose dead-letter queue keeps messages no longer than itself',
      'idemkit:queue:dead-letter-retention',
      /'Test\/Queue\/Resource' keeps a message for 345600 s and its dead-letter queue for 345600 s/,
      () => {
        const { stack, queue } = createReader(minute);
        const deadLetterTargetArn = new Queue(stack, 'Dead').queueArn;
        (queue.node.defaultChild as CfnQueue).redrivePolicy = { deadLetterTargetArn, maxReceiveCount: 5 };
        return stack;
      },
    ],
    [
      'few deliveries before the dead-letter queue',
      'idemkit:queue:max-receive-count',
      /maxReceiveCount is 4.*use at least 5/,
      () => {
        const stack = createStack();
        new IdempotentQueue(stack, 'Ledger', { maxReceiveCount: 4 });
        return stack;
      },
    ],
  ])('on %s is a warning, which can be acknowledged', (_, id, message, create) => {
    const stack = create();
    Template.fromStack(stack);
    const found = Annotations.fromStack(stack).findWarning('*', Match.stringLikeRegexp(message.source));
    expect(found.map(({ entry }) => String(entry.data))).toEqual([expect.stringContaining(`[ack: ${id}]`)]);

    const acknowledged = create();
    Advice.of(acknowledged).acknowledgeWarning(id);
    Template.fromStack(acknowledged);
    Annotations.fromStack(acknowledged).hasNoWarning('*', Match.stringLikeRegexp(message.source));
  });

  it('is not given where queue and function are as they should be', () => {
    const { stack } = createReader(minute, { ttl: Duration.days(4) });
    new IdempotentQueue(stack, 'Ledger');
    Template.fromStack(stack);
    Annotations.fromStack(stack).hasNoWarning('*', Match.stringLikeRegexp('idemkit'));
  });
});

describe('what AWS refuses', () => {
  it("is an error where a visibility timeout is below the function's timeout", () => {
    expect(() => Template.fromStack(createReader({ visibilityTimeout: Duration.seconds(9) }).stack)).toThrow(
      /visibility timeout of 9 s.*timeout of 10 s: Lambda refuses.*Make it at least 60 s/,
    );
    expect(() =>
      Template.fromStack(createReader({ visibilityTimeout: Duration.seconds(10) }).stack),
    ).not.toThrow();
  });

  it.each([
    [4, 4],
    [14, 14],
    [7, 4],
  ])(
    'is an error where a standard queue of %i days has a dead-letter queue of %i',
    (days, deadLetterDays) => {
      const create = (fifo: boolean) =>
        new IdempotentQueue(createStack(), 'Ledger', {
          fifo,
          retentionPeriod: Duration.days(days),
          deadLetterRetentionPeriod: Duration.days(deadLetterDays),
        });
      expect(() => create(false)).toThrow(
        `deadLetterRetentionPeriod is ${deadLetterDays * 86_400} s and retentionPeriod `,
      );
      // A FIFO queue lets the age begin anew.
      expect(() => create(true)).not.toThrow();
    },
  );
});

describe('a value that is known only when it is deployed', () => {
  const tokenIn = (stack: Stack, id: string): number =>
    new CfnParameter(stack, id, { type: 'Number' }).valueAsNumber;

  it('is accepted as any number of a queue', () => {
    const stack = createStack();
    const queue = new IdempotentQueue(stack, 'Ledger', {
      fifo: false,
      maxReceiveCount: tokenIn(stack, 'Count'),
      batchSize: tokenIn(stack, 'Batch'),
      maxBatchingWindow: Duration.seconds(tokenIn(stack, 'Window')),
      retentionPeriod: Duration.seconds(tokenIn(stack, 'Retention')),
      deadLetterRetentionPeriod: Duration.seconds(tokenIn(stack, 'DeadLetterRetention')),
      visibilityTimeout: Duration.seconds(tokenIn(stack, 'Visibility')),
      alarmAge: Duration.seconds(tokenIn(stack, 'Age')),
    });
    queue.asRuleTarget({
      retryAttempts: tokenIn(stack, 'Retries'),
      maxEventAge: Duration.seconds(tokenIn(stack, 'EventAge')),
    });
    const template = Template.fromStack(stack);
    template.hasResourceProperties('AWS::SQS::Queue', {
      VisibilityTimeout: { Ref: 'Visibility' },
      MessageRetentionPeriod: { Ref: 'Retention' },
      RedrivePolicy: { maxReceiveCount: { Ref: 'Count' } },
    });
    Annotations.fromStack(stack).hasNoWarning('*', Match.anyValue());
  });

  it('is accepted as a timeout and as a TTL', () => {
    const stack = createStack();
    const reader = createFunction(stack, 'Reader', Duration.seconds(tokenIn(stack, 'Timeout')));
    new IdempotencyTable(stack, 'Idempotency').protect(reader, {
      ttl: Duration.seconds(tokenIn(stack, 'Ttl')),
    });
    reader.addEventSource(new SqsEventSource(new Queue(stack, 'Queue', {})));
    const fixed = createFunction(stack, 'Fixed', Duration.seconds(10));
    new IdempotencyTable(stack, 'Other').protect(fixed);
    const visibilityTimeout = Duration.seconds(tokenIn(stack, 'Visibility'));
    fixed.addEventSource(new SqsEventSource(new Queue(stack, 'Hidden', { visibilityTimeout })));

    const template = Template.fromStack(stack);
    const [{ Properties } = {}] = Object.values(
      template.findResources('AWS::Lambda::Function', {
        Properties: { Timeout: { Ref: 'Timeout' } },
      }),
    );
    expect(Properties.Environment.Variables.IDEMPOTENCY_TTL_SECONDS).toEqual({ Ref: 'Ttl' });
    Annotations.fromStack(stack).hasNoWarning('*', Match.stringLikeRegexp('idemkit'));
  });

  it('counts as the longest possible where a visibility timeout is derived from it', () => {
    const stack = createStack();
    const table = new IdempotencyTable(stack, 'Idempotency');
    const consumer = {
      function: createFunction(stack, 'Consumer', Duration.seconds(tokenIn(stack, 'Timeout'))),
    };
    table.protect(consumer.function);
    new IdempotentQueue(stack, 'Ledger', {
      consumer: consumer as never,
      fifo: false,
      maxBatchingWindow: Duration.seconds(tokenIn(stack, 'Window')),
    });
    Template.fromStack(stack).hasResourceProperties('AWS::SQS::Queue', { VisibilityTimeout: 6 * 900 + 300 });
  });
});

describe('a function that may write to the table by a policy of another kind', () => {
  it.each<[string, (stack: Stack, fn: ReturnType<typeof createFunction>) => void]>([
    [
      'one for every table',
      (_, fn) => fn.addToRolePolicy(new PolicyStatement({ actions: ['dynamodb:*'], resources: ['*'] })),
    ],
    [
      'one of another app',
      (stack, fn) =>
        fn.role?.addManagedPolicy(ManagedPolicy.fromManagedPolicyName(stack, 'Theirs', 'may-write-records')),
    ],
    [
      "one of AWS's",
      (_, fn) =>
        fn.role?.addManagedPolicy(ManagedPolicy.fromAwsManagedPolicyName('AmazonDynamoDBFullAccess')),
    ],
  ])('passes with %s', (_, allow) => {
    const stack = createStack();
    const fn = createFunction(stack, 'Wired');
    fn.addEnvironment('IDEMPOTENCY_TABLE', new IdempotencyTable(stack, 'Idempotency').tableName);
    // X-Ray's statement is for every resource, and allows nothing on a table.
    fn.addToRolePolicy(new PolicyStatement({ actions: ['xray:PutTraceSegments'], resources: ['*'] }));
    expect(() => Template.fromStack(stack)).toThrow(/may not write to it/);
    allow(stack, fn);
    expect(() => Template.fromStack(stack)).not.toThrow();
  });
});
