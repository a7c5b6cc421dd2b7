import { Annotations as Advice, CfnParameter, Duration, type Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { Stream } from 'aws-cdk-lib/aws-kinesis';
import { StartingPosition } from 'aws-cdk-lib/aws-lambda';
import { KinesisEventSource, SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import { type IQueue, Queue } from 'aws-cdk-lib/aws-sqs';
import { describe, expect, it } from 'vitest';
import { IdempotencyTable, IdempotentQueue, type ProtectOptions } from '../../constructs/index.ts';
import { createFunction, createStack, variablesOf } from './support.ts';

const { days } = Duration;
const day = 86_400;

function createReader(stack: Stack, options: ProtectOptions = {}) {
  const reader = createFunction(stack, 'Reader');
  new IdempotencyTable(stack, 'Idempotency').protect(reader, options);
  return reader;
}

const tokenIn = (stack: Stack, id: string): Duration =>
  Duration.seconds(new CfnParameter(stack, id, { type: 'Number' }).valueAsNumber);

const ttlOf = (stack: Stack): number =>
  Number(variablesOf(Template.fromStack(stack), 'Reader').IDEMPOTENCY_TTL_SECONDS);

const warningsOf = (stack: Stack, id: string): string[] => {
  Template.fromStack(stack);
  return Annotations.fromStack(stack)
    .findWarning('*', Match.stringLikeRegexp(id))
    .map(({ entry }) => String(entry.data));
};

describe("a function's default window", () => {
  it.each<[string, number, (stack: Stack) => object]>([
    ['4 days and 14 of a FIFO queue: the sum', 18, () => ({})],
    ['4 days and 14 of a standard queue: the longer', 14, () => ({ fifo: false })],
    [
      '1 day and 2 of a FIFO queue',
      3,
      () => ({ retentionPeriod: days(1), deadLetterRetentionPeriod: days(2) }),
    ],
    [
      'a retention of a FIFO queue that is a token',
      28,
      (stack) => ({ retentionPeriod: tokenIn(stack, 'R') }),
    ],
    [
      'a retention of its dead-letter queue that is a token',
      18,
      (stack) => ({ deadLetterRetentionPeriod: tokenIn(stack, 'D') }),
    ],
    [
      'both tokens, of a standard queue',
      14,
      (stack) => ({
        ...{ fifo: false, retentionPeriod: tokenIn(stack, 'R') },
        deadLetterRetentionPeriod: tokenIn(stack, 'D'),
      }),
    ],
  ])('covers %s', (_, expectedDays, props) => {
    const stack = createStack();
    const consumer = createReader(stack);
    new IdempotentQueue(stack, 'Ledger', { consumer, ...props(stack) });
    expect(ttlOf(stack) / day).toBe(expectedDays);
  });

  it.each<[string, number, (stack: Stack) => IQueue]>([
    ['that says nothing', 4, (stack) => new Queue(stack, 'Queue')],
    [
      'whose dead-letter queue is of elsewhere',
      18,
      (stack) =>
        new Queue(stack, 'Queue', {
          fifo: true,
          deadLetterQueue: {
            queue: Queue.fromQueueArn(stack, 'Dead', 'arn:aws:sqs:eu-west-1:111122223333:dead.fifo'),
            maxReceiveCount: 5,
          },
        }),
    ],
    [
      'of elsewhere',
      14,
      (stack) => Queue.fromQueueArn(stack, 'Queue', 'arn:aws:sqs:eu-west-1:111122223333:orders'),
    ],
    [
      'of elsewhere that is FIFO',
      28,
      (stack) => Queue.fromQueueArn(stack, 'Queue', 'arn:aws:sqs:eu-west-1:111122223333:orders.fifo'),
    ],
  ])("covers a queue of the CDK's own %s", (_, expectedDays, create) => {
    const stack = createStack();
    createReader(stack).addEventSource(new SqsEventSource(create(stack)));
    expect(ttlOf(stack) / day).toBe(expectedDays);
  });

  it.each<[string, number, (stack: Stack) => Duration | undefined]>([
    ['its retention', 7, () => days(7)],
    ['a retention that is a token', 365, (stack) => Duration.hours(tokenIn(stack, 'R').toSeconds())],
  ])('covers a stream by %s', (_, expectedDays, retention) => {
    const stack = createStack();
    const stream = new Stream(stack, 'Stream', { retentionPeriod: days(7) });
    const period = retention(stack);
    if (period) Object.assign(stream.node.defaultChild as object, { retentionPeriodHours: period.toHours() });
    createReader(stack).addEventSource(
      new KinesisEventSource(stream, { startingPosition: StartingPosition.TRIM_HORIZON }),
    );
    expect(ttlOf(stack) / day).toBe(expectedDays);
  });

  it('gives a warning where a given one is shorter than both queues keep a message', () => {
    const stack = createStack();
    new IdempotentQueue(stack, 'Ledger', { consumer: createReader(stack, { ttl: days(14) }) });
    expect(warningsOf(stack, 'idemkit:function:ttl')).toEqual([
      expect.stringContaining(
        "ttl is 1209600 s, shorter than the 1555200 s for which 'Test/Ledger/Queue/Resource' and its dead-letter queue keep",
      ),
    ]);
  });

  it('gives no warning where nobody knows how long messages are kept', () => {
    const stack = createStack();
    const consumer = createReader(stack, { ttl: days(1) });
    new IdempotentQueue(stack, 'Ledger', { consumer, retentionPeriod: tokenIn(stack, 'R') });
    expect(warningsOf(stack, 'idemkit:function:ttl')).toEqual([]);
  });
});

describe('a queue with a dead-letter queue', () => {
  const withQueue = (props: object, options: ProtectOptions = {}): Stack => {
    const stack = createStack();
    new IdempotentQueue(stack, 'Ledger', { consumer: createReader(stack, options), ...props });
    return stack;
  };
  const id = 'idemkit:function:redrive';

  it.each<[string, object, string]>([
    ['FIFO', {}, 'SQS replaces the deduplication id'],
    ['standard', { fifo: false }, 'a redrive gives a message a new id'],
  ])(
    'gives a warning, which can be acknowledged, where it is %s and no key of its messages is named',
    (_, props, says) => {
      expect(warningsOf(withQueue(props), id)).toEqual([
        expect.stringMatching(
          new RegExp(
            `'Test/Ledger/Queue/Resource' has a dead-letter queue, and ${says}.*'Test/Reader'.*messageKey.*namesKey: true`,
          ),
        ),
      ]);
      const acknowledged = withQueue(props);
      Advice.of(acknowledged).acknowledgeWarning(id);
      expect(warningsOf(acknowledged, id)).toEqual([]);
    },
  );

  it('gives no warning where the function says that its guard names the key', () => {
    expect(warningsOf(withQueue({}, { namesKey: true }), id)).toEqual([]);
  });

  it("gives the same warning where it is one of the CDK's own queues", () => {
    const stack = createStack();
    const reader = createReader(stack);
    const queue = new Queue(stack, 'Queue', { fifo: true });
    reader.addEventSource(new SqsEventSource(queue));
    expect(warningsOf(stack, id)).toEqual([]);
    const other = createStack();
    const deadLetterQueue = { queue: new Queue(other, 'Dead', { fifo: true }), maxReceiveCount: 5 };
    createReader(other).addEventSource(
      new SqsEventSource(new Queue(other, 'Queue', { fifo: true, deadLetterQueue })),
    );
    expect(warningsOf(other, id)).toHaveLength(1);
  });
});
