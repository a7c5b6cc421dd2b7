import { Duration, type Stack } from 'aws-cdk-lib';
import { Annotations, Match, Template } from 'aws-cdk-lib/assertions';
import { Stream } from 'aws-cdk-lib/aws-kinesis';
import { type Function as LambdaFunction, StartingPosition } from 'aws-cdk-lib/aws-lambda';
import {
  KinesisEventSource,
  type KinesisEventSourceProps,
  ManagedKafkaEventSource,
  SqsDlq,
  SqsEventSource,
} from 'aws-cdk-lib/aws-lambda-event-sources';
import { Queue } from 'aws-cdk-lib/aws-sqs';
import { describe, expect, it } from 'vitest';
import { IdempotencyTable, type ProtectOptions } from '../../constructs/index.ts';
import { createFunction, createStack } from './support.ts';

/** A function that keeps positions, with an event source of the CDK's own. */
function create(
  addTo: (fn: LambdaFunction, stack: Stack) => void,
  options: ProtectOptions = { keepsPositions: true },
): Stack {
  const stack = createStack();
  const fn = createFunction(stack, 'Ledger');
  new IdempotencyTable(stack, 'Idempotency').protect(fn, options);
  addTo(fn, stack);
  return stack;
}

const kinesis =
  (props: Partial<KinesisEventSourceProps> = {}, hasDestination = true) =>
  (fn: LambdaFunction, stack: Stack): void => {
    fn.addEventSource(
      new KinesisEventSource(new Stream(stack, 'Stream'), {
        startingPosition: StartingPosition.TRIM_HORIZON,
        reportBatchItemFailures: true,
        bisectBatchOnError: true,
        retryAttempts: 10,
        ...(hasDestination && { onFailure: new SqsDlq(new Queue(stack, 'Discarded')) }),
        ...props,
      }),
    );
  };

const topic =
  (hasDestination: boolean) =>
  (fn: LambdaFunction, stack: Stack): void => {
    fn.addEventSource(
      new ManagedKafkaEventSource({
        clusterArn: 'arn:aws:kafka:eu-west-1:111122223333:cluster/sales/1',
        topic: 'sales',
        startingPosition: StartingPosition.TRIM_HORIZON,
        ...(hasDestination && { onFailure: new SqsDlq(new Queue(stack, 'Discarded')) }),
      }),
    );
  };

const queue = (fn: LambdaFunction, stack: Stack): void => {
  fn.addEventSource(new SqsEventSource(new Queue(stack, 'Queue'), { reportBatchItemFailures: true }));
};

const warningsOf = (stack: Stack): string[] => {
  Template.fromStack(stack);
  return Annotations.fromStack(stack)
    .findWarning('*', Match.stringLikeRegexp('idemkit:stream'))
    .map(({ entry }) => String(entry.data));
};

describe('synthesis of a function that keeps positions', () => {
  it('passes with the settings that positions need', () => {
    expect(() => Template.fromStack(create(kinesis()))).not.toThrow();
    expect(() => Template.fromStack(create(topic(true)))).not.toThrow();
    expect(warningsOf(create(kinesis()))).toEqual([]);
    expect(warningsOf(create(topic(true)))).toEqual([]);
  });

  it.each<[string, (fn: LambdaFunction, stack: Stack) => void, RegExp]>([
    [
      'without reports of failed lanes',
      kinesis({ reportBatchItemFailures: false }),
      /no ReportBatchItemFailures.*Set reportBatchItemFailures: true/,
    ],
    [
      'with a tumbling window',
      kinesis({ tumblingWindow: Duration.minutes(1) }),
      /tumbling window.*leave out tumblingWindow/,
    ],
    ['without a destination', kinesis({}, false), /no on-failure destination.*Set onFailure: new SqsDlq/],
    ['with a topic without a destination', topic(false), /no on-failure destination/],
    ['with a queue', queue, /reads a queue.*use eachRecord/],
  ])('fails %s', (_, addTo, message) => {
    const synthesize = () => Template.fromStack(create(addTo));
    expect(synthesize).toThrow(message);
    expect(synthesize).toThrow(/of function 'Test\/Ledger', which keeps positions,/);
    expect(() => Template.fromStack(create(addTo, {}))).not.toThrow();
  });

  it('warns of retries without end', () => {
    const warnings = warningsOf(create(kinesis({ retryAttempts: -1 })));
    expect(warnings).toEqual([
      expect.stringMatching(/neither retryAttempts nor maxRecordAge.*idemkit:stream:retries/),
    ]);
    expect(warningsOf(create(kinesis({ retryAttempts: -1, maxRecordAge: Duration.hours(1) })))).toEqual([]);
  });

  it('warns of batches that are not split', () => {
    expect(warningsOf(create(kinesis({ bisectBatchOnError: false })))).toEqual([
      expect.stringMatching(/does not split batches.*bisectBatchOnError: true.*idemkit:stream:bisect/),
    ]);
  });
});
