import { Duration } from 'aws-cdk-lib';
import type { Alarm, IMetric, MetricOptions } from 'aws-cdk-lib/aws-cloudwatch';
import { type IEventSource, type IFunction, StartingPosition } from 'aws-cdk-lib/aws-lambda';
import {
  DynamoEventSource,
  KinesisConsumerEventSource,
  KinesisEventSource,
  ManagedKafkaEventSource,
  SelfManagedKafkaEventSource,
  SqsDlq,
} from 'aws-cdk-lib/aws-lambda-event-sources';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { alarmsIn } from './alarms.ts';
import { type GuardedFunction, targetOf } from './guarded-function.ts';
import { namespaceOf } from './protection.ts';
import { checkStream } from './stream-checks.ts';
import type { IdempotentStreamProps, StreamOrTopic } from './stream-props.ts';

/**
 * The event source of a function that keeps positions (`eachPartition`): a stream of Kinesis, a table's stream or a topic of
 * Kafka. A lane that failed is sent again, a batch that ends the whole invocation is split, and what Lambda gives up goes to a queue
 * that raises an alarm: it is behind the position of its lane by then.
 */
export class IdempotentStream extends Construct {
  readonly consumer: GuardedFunction;
  /**
   * Gets a letter for each batch that was given up. It says where in the stream the batch is, not what it holds. What it names is
   * behind the position: handle it with a function of its own that is guarded by the records' ids, `idempotent(eachRecord(…))`.
   */
  readonly discarded: Queue;
  /** Alarms on any batch that was given up, and on the age of what is read. */
  readonly alarms: readonly Alarm[];
  readonly #called: IFunction;

  constructor(scope: Construct, id: string, props: IdempotentStreamProps) {
    super(scope, id);
    const { source, consumer, alarmAge = Duration.minutes(15) } = props;
    checkStream(props);
    const { called, fn } = targetOf(consumer);
    // Throws where the function keeps no records.
    namespaceOf(fn);
    this.consumer = consumer;
    this.#called = called;
    this.discarded = new Queue(this, 'Discarded', {
      enforceSSL: true,
      encryption: QueueEncryption.SQS_MANAGED,
      retentionPeriod: Duration.days(14),
    });
    called.addEventSource(eventSourceOf(props, new SqsDlq(this.discarded)));

    this.alarms = alarmsIn(this, props, {
      DiscardedBatches: {
        metric: this.metricDiscarded(),
        threshold: 1,
        evaluationPeriods: 1,
        alarmDescription: `Lambda gave up records that '${fn.node.path}' could not handle: they are behind the position of their lane.`,
      },
      ...(!isKafka(source) && {
        Age: {
          metric: this.metricAge(),
          threshold: alarmAge.toMilliseconds(),
          evaluationPeriods: 3,
          alarmDescription: 'Records wait too long: the function fails, is too slow, or is throttled.',
        },
      }),
    });
  }

  /** How many batches that were given up lie in the queue. */
  metricDiscarded(options?: MetricOptions): IMetric {
    return this.discarded.metricApproximateNumberOfMessagesVisible({
      period: Duration.minutes(1),
      ...options,
    });
  }

  /** The age in milliseconds of the last record of a batch when the function got it, over all streams of the function. */
  metricAge(options?: MetricOptions): IMetric {
    return this.#called.metric('IteratorAge', {
      period: Duration.minutes(1),
      statistic: 'Maximum',
      ...options,
    });
  }
}

const isKafka = (source: StreamOrTopic): boolean => 'msk' in source || 'kafka' in source;

function eventSourceOf(props: IdempotentStreamProps, onFailure: SqsDlq): IEventSource {
  const { source, filters, maxBatchingWindow, startingPositionTimestamp, provisionedPollers } = props;
  const isTopic = isKafka(source);
  const giveUp = {
    bisectBatchOnError: true,
    retryAttempts: props.retryAttempts ?? 100,
    maxRecordAge: props.maxRecordAge ?? Duration.hours(12),
  };
  const base = {
    startingPosition: props.startingPosition ?? StartingPosition.TRIM_HORIZON,
    batchSize: props.batchSize ?? 100,
    onFailure,
    ...(maxBatchingWindow && { maxBatchingWindow }),
    ...(filters && { filters: filters.map((filter) => ({ ...filter })) }),
    ...((!isTopic || provisionedPollers) && giveUp),
  };
  const timestamp = startingPositionTimestamp !== undefined && { startingPositionTimestamp };
  const pollers = provisionedPollers && { provisionedPollerConfig: provisionedPollers };
  if ('msk' in source) {
    return new ManagedKafkaEventSource({ ...source.msk, ...base, ...timestamp, ...pollers });
  }
  if ('kafka' in source) {
    return new SelfManagedKafkaEventSource({ ...source.kafka, ...base, ...timestamp, ...pollers });
  }
  const shards = {
    ...base,
    reportBatchItemFailures: true,
    ...(props.parallelizationFactor !== undefined && {
      parallelizationFactor: props.parallelizationFactor,
    }),
  };
  if ('dynamodb' in source) return new DynamoEventSource(source.dynamodb, shards);
  return 'streamConsumerArn' in source.kinesis
    ? new KinesisConsumerEventSource(source.kinesis, { ...shards, ...timestamp })
    : new KinesisEventSource(source.kinesis, { ...shards, ...timestamp });
}
