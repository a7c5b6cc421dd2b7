import { Annotations, Duration, Lazy } from 'aws-cdk-lib';
import type { Alarm, IMetric, MetricOptions } from 'aws-cdk-lib/aws-cloudwatch';
import type { IRuleTarget } from 'aws-cdk-lib/aws-events';
import { SqsQueue } from 'aws-cdk-lib/aws-events-targets';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda';
import { SqsEventSource } from 'aws-cdk-lib/aws-lambda-event-sources';
import type { ITopicSubscription, SubscriptionOptions } from 'aws-cdk-lib/aws-sns';
import { SqsSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import {
  type CfnQueue,
  DeduplicationScope,
  FifoThroughputLimit,
  Queue,
  QueueEncryption,
  type QueueProps,
} from 'aws-cdk-lib/aws-sqs';
import type { Construct } from 'constructs';
import { type AlarmOptions, alarmsIn } from './alarms.ts';
import { adviseDeadLetterQueue } from './caller-checks.ts';
import { type GuardedFunction, targetOf } from './guarded-function.ts';
import { knownSeconds } from './known.ts';
import { namespaceOf } from './protection.ts';
import { type FromQueueArnOptions, type IIdempotentQueue, ImportedQueue, QueueBase } from './queue-base.ts';
import { checkQueue, checkRetries, known } from './queue-checks.ts';

/** How a queue deduplicates, delivers and gives up. Each property has a default. */
export interface IdempotentQueueProps extends AlarmOptions {
  /**
   * The function that handles the messages, or an alias or a version of it. It must report failed messages one by one.
   *
   * @default - none: read the queue yourself
   */
  readonly consumer?: GuardedFunction;
  /** Whether SQS keeps the order within a group and drops duplicates for five minutes. @default true */
  readonly fifo?: boolean;
  /** The queue's name. That of a FIFO queue must end in `.fifo`. @default - CloudFormation names it */
  readonly queueName?: string;
  /**
   * Whether SQS makes a deduplication id of the body where a sender gives none. Two messages with equal bodies within five
   * minutes are then one, even if both were meant. Rules of EventBridge need it.
   *
   * @default false
   */
  readonly contentBasedDeduplication?: boolean;
  /**
   * Whether the FIFO queue has high throughput. It **narrows deduplication** to each message group: the same id in two groups
   * is two messages.
   *
   * @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/high-throughput-fifo.html
   * @default false
   */
  readonly highThroughput?: boolean;
  /**
   * How long SQS keeps a message that nobody handles. The consumer keeps its records for at least as long.
   *
   * @default Duration.days(4)
   */
  readonly retentionPeriod?: Duration;
  /**
   * How long SQS hides a message that is being handled.
   *
   * @see https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
   * @default - 6 × the consumer's timeout, plus the batching window; 30 s without a consumer. A token counts as the longest
   * that there is: 15 minutes for a timeout, 5 minutes for a window
   */
  readonly visibilityTimeout?: Duration;
  /**
   * After how many deliveries a message goes to the dead-letter queue, 1 to 1,000. Throttled deliveries count, so synthesis
   * warns of fewer than 5.
   *
   * @default 5
   */
  readonly maxReceiveCount?: number;
  /**
   * How long the dead-letter queue keeps a message. Must be longer than `retentionPeriod` in a standard queue, where a message
   * keeps its age when it is moved. In a FIFO queue a moved message begins a new age.
   *
   * @default Duration.days(14)
   */
  readonly deadLetterRetentionPeriod?: Duration;
  /** How many messages one invocation gets at most. 1 to 10 for FIFO; more than 10 need a `maxBatchingWindow`. @default 10 */
  readonly batchSize?: number;
  /** How long Lambda waits for a full batch, at most 300 s. For standard queues only. @default - it does not wait */
  readonly maxBatchingWindow?: Duration;
  /**
   * How many invocations run at once, 2 to 1,000.
   *
   * @default - as many as the account allows; for FIFO at most one for each group
   */
  readonly maxConcurrency?: number;
  /** Your own key. Senders such as SNS and EventBridge need permission to use it. @default - SQS encrypts with its own key */
  readonly encryptionKey?: IKey;
  /** The age of the oldest message that raises an alarm. @default Duration.minutes(15) */
  readonly alarmAge?: Duration;
}

/** How a rule of EventBridge delivers to a queue. */
export interface RuleTargetOptions {
  /** The message group. Required for a FIFO queue. @default - none */
  readonly messageGroupId?: string;
  /** How often EventBridge tries again, 0 to 185. @default 185 */
  readonly retryAttempts?: number;
  /** The age at which EventBridge gives an event up, 60 s to a day. @default Duration.hours(24) */
  readonly maxEventAge?: Duration;
}

/**
 * An SQS queue with its dead-letter queue and its consumer; FIFO by default. Visibility, retries, batches and the lifetime of
 * the consumer's records fit each other. Both queues refuse connections without TLS.
 *
 * @stateful
 */
export class IdempotentQueue extends QueueBase {
  /** A queue that exists already, in any account and Region. Nothing about it is checked. */
  static fromQueueArn(
    scope: Construct,
    id: string,
    queueArn: string,
    options: FromQueueArnOptions = {},
  ): IIdempotentQueue {
    return new ImportedQueue(scope, id, queueArn, options);
  }

  override readonly queue: Queue;
  readonly deadLetterQueue: Queue;
  readonly consumer?: GuardedFunction;
  override readonly fifo: boolean;
  override readonly contentBasedDeduplication: boolean;
  override readonly highThroughput: boolean;
  protected override readonly encryptionKey: IKey | undefined;
  readonly #kind: QueueProps;
  readonly #alarmOptions: AlarmOptions;
  readonly #alarms: Alarm[];
  #undeliveredEvents: Queue | undefined;

  constructor(scope: Construct, id: string, props: IdempotentQueueProps = {}) {
    super(scope, id);
    const { consumer, fifo = true, highThroughput = false, contentBasedDeduplication = false } = props;
    const { batchSize = 10, maxBatchingWindow, maxReceiveCount = 5, alarmAge = Duration.minutes(15) } = props;
    checkQueue(props, { fifo, batchSize, maxReceiveCount });
    this.fifo = fifo;
    this.contentBasedDeduplication = contentBasedDeduplication;
    this.highThroughput = highThroughput;
    this.encryptionKey = props.encryptionKey;
    if (consumer) this.consumer = consumer;
    const target = consumer && targetOf(consumer);
    // Throws where the function keeps no records.
    if (target) namespaceOf(target.fn);

    this.#alarmOptions = props;
    this.#kind = {
      ...(fifo && { fifo }),
      enforceSSL: true,
      ...(props.encryptionKey
        ? { encryption: QueueEncryption.KMS, encryptionMasterKey: props.encryptionKey }
        : { encryption: QueueEncryption.SQS_MANAGED }),
    };
    this.deadLetterQueue = new Queue(this, 'DeadLetterQueue', {
      ...this.#kind,
      retentionPeriod: props.deadLetterRetentionPeriod ?? Duration.days(14),
    });
    this.queue = this.#createQueue(props, maxReceiveCount, target?.fn);
    this.#advise(maxReceiveCount);
    target?.called.addEventSource(
      new SqsEventSource(this.queue, {
        batchSize,
        reportBatchItemFailures: true,
        ...(maxBatchingWindow && { maxBatchingWindow }),
        ...(props.maxConcurrency !== undefined && { maxConcurrency: props.maxConcurrency }),
      }),
    );

    this.#alarms = alarmsIn(this, props, {
      Age: {
        metric: this.metricAge(),
        threshold: alarmAge.toSeconds(),
        evaluationPeriods: 3,
        alarmDescription: 'Messages wait too long: the consumer fails, is too slow, or is throttled.',
      },
      DeadLetters: {
        metric: this.metricDeadLetters(),
        threshold: 1,
        evaluationPeriods: 1,
        alarmDescription: `Messages that could not be handled lie in the dead-letter queue of '${this.node.path}'.`,
      },
    });
  }

  #createQueue(
    props: IdempotentQueueProps,
    maxReceiveCount: number,
    consumer: LambdaFunction | undefined,
  ): Queue {
    const { queueName, maxBatchingWindow } = props;
    return new Queue(this, 'Queue', {
      ...this.#kind,
      ...(queueName !== undefined && { queueName }),
      ...(this.contentBasedDeduplication && { contentBasedDeduplication: true }),
      ...(this.highThroughput && {
        deduplicationScope: DeduplicationScope.MESSAGE_GROUP,
        fifoThroughputLimit: FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
      }),
      retentionPeriod: props.retentionPeriod ?? Duration.days(4),
      visibilityTimeout: props.visibilityTimeout ?? visibilityFor(consumer, maxBatchingWindow),
      deadLetterQueue: { queue: this.deadLetterQueue, maxReceiveCount },
    });
  }

  /** Says at synthesis what is allowed but unwise. */
  #advise(maxReceiveCount: number): void {
    if (this.highThroughput) {
      Annotations.of(this).addInfo(
        'highThroughput narrows deduplication to each message group: the same deduplication id in two groups is two messages',
      );
    }
    if (known(maxReceiveCount) < 5) {
      Annotations.of(this).addWarningV2(
        'idemkit:queue:max-receive-count',
        `maxReceiveCount is ${maxReceiveCount}, and deliveries that are throttled or find the operation busy count as well: use at least 5`,
      );
    }
    // An escape hatch may have removed the redrive policy.
    this.node.addValidation({
      validate: () => {
        adviseDeadLetterQueue(this.queue.node.defaultChild as CfnQueue);
        return [];
      },
    });
  }

  /** Alarms on the age of the oldest message, on any dead letter, and on any event that a rule could not deliver. */
  get alarms(): readonly Alarm[] {
    return this.#alarms;
  }

  /** For how many seconds the oldest message has been waiting. */
  metricAge(options?: MetricOptions): IMetric {
    return this.queue.metricApproximateAgeOfOldestMessage({ period: Duration.minutes(1), ...options });
  }

  /** How many messages are in the dead-letter queue. */
  metricDeadLetters(options?: MetricOptions): IMetric {
    return deadLettersIn(this.deadLetterQueue, options);
  }

  /**
   * A subscription for `topic.addSubscription`. Messages arrive as they were published, without SNS's envelope. Those of a FIFO
   * topic keep their group and deduplication id. What SNS cannot deliver goes to the dead-letter queue.
   *
   * @throws Error for a FIFO queue on a standard topic, which SNS refuses
   */
  asTopicSubscription(
    options: Pick<SubscriptionOptions, 'filterPolicy' | 'filterPolicyWithMessageBody'> = {},
  ): ITopicSubscription {
    const subscription = new SqsSubscription(this.queue, {
      ...options,
      rawMessageDelivery: true,
      deadLetterQueue: this.deadLetterQueue,
    });
    return {
      bind: (topic) => {
        if (this.fifo && !topic.fifo) {
          throw new Error(
            `topic '${topic.node.path}' is a standard topic, and SNS delivers to a FIFO queue from FIFO topics only: make it new Topic(…, { fifo: true }), or this queue fifo: false`,
          );
        }
        return subscription.bind(topic);
      },
    };
  }

  /**
   * A target for `rule.addTarget`. What EventBridge cannot deliver goes to `undeliveredEvents`, which this call creates.
   *
   * @throws Error for a FIFO queue without `contentBasedDeduplication`, because a rule gives no deduplication id
   * @throws Error for a FIFO queue without a `messageGroupId`
   */
  asRuleTarget(options: RuleTargetOptions = {}): IRuleTarget {
    const { messageGroupId, retryAttempts, maxEventAge } = options;
    if (this.fifo && messageGroupId === undefined) {
      throw new Error(
        "messageGroupId is missing, and a FIFO queue takes no message without one: asRuleTarget({ messageGroupId: 'orders' })",
      );
    }
    if (this.fifo && !this.contentBasedDeduplication) {
      throw new Error(
        `contentBasedDeduplication is false on '${this.node.path}', and a rule of EventBridge gives no deduplication id, so that SQS would refuse every event: set contentBasedDeduplication: true`,
      );
    }
    checkRetries(options);
    return new SqsQueue(this.queue, {
      deadLetterQueue: this.#openUndeliveredEvents(),
      ...(messageGroupId !== undefined && { messageGroupId }),
      ...(retryAttempts !== undefined && { retryAttempts }),
      ...(maxEventAge && { maxEventAge }),
    });
  }

  /** The queue of events that rules could not deliver to this one; `undefined` until `asRuleTarget` is called. */
  get undeliveredEvents(): Queue | undefined {
    return this.#undeliveredEvents;
  }

  #openUndeliveredEvents(): Queue {
    if (this.#undeliveredEvents === undefined) {
      // EventBridge takes no FIFO queue as its dead-letter queue.
      const { fifo: _, ...kind } = this.#kind;
      const queue = new Queue(this, 'UndeliveredEvents', { ...kind, retentionPeriod: Duration.days(14) });
      this.#undeliveredEvents = queue;
      this.#alarms.push(
        ...alarmsIn(this, this.#alarmOptions, {
          UndeliveredEventsAlarm: {
            metric: deadLettersIn(queue),
            threshold: 1,
            evaluationPeriods: 1,
            alarmDescription: `Events of a rule could not be delivered to '${this.node.path}'.`,
          },
        }),
      );
    }
    return this.#undeliveredEvents;
  }
}

const deadLettersIn = (queue: Queue, options?: MetricOptions): IMetric =>
  queue.metricApproximateNumberOfMessagesVisible({ period: Duration.minutes(1), ...options });

/** Computed at synthesis, because the consumer's timeout may change until then. */
function visibilityFor(consumer: LambdaFunction | undefined, window: Duration | undefined): Duration {
  if (consumer === undefined) return Duration.seconds(30);
  const secondsOf = (duration: Duration | undefined, whenAbsent: number, longest: number) =>
    duration === undefined ? whenAbsent : (knownSeconds(duration) ?? longest);
  return Duration.seconds(
    Lazy.number({
      produce: () => 6 * secondsOf(consumer.timeout, 3, 900) + secondsOf(window, 0, 300),
    }),
  );
}
