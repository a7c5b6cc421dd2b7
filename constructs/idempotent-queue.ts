import { Annotations, Duration, Lazy, Token } from 'aws-cdk-lib';
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
import { knownSeconds } from './known.ts';
import { adviseDeadLetterQueue, namespaceOf } from './protection.ts';
import { type FromQueueArnOptions, type IIdempotentQueue, ImportedQueue, QueueBase } from './queue-base.ts';
import { type GuardedFunction, targetOf } from './targets.ts';

export interface IdempotentQueueProps extends AlarmOptions {
  /**
   * The function that handles the messages, or an alias or a version of it; it reports failed ones one by one.
   *
   * @default - none: read the queue yourself
   */
  readonly consumer?: GuardedFunction;
  /** Whether groups keep their order and messages are deduplicated for five minutes. @default true */
  readonly fifo?: boolean;
  /** Ends in `.fifo` for a FIFO queue. @default - CloudFormation names it */
  readonly queueName?: string;
  /**
   * Takes the SHA-256 of a body for its deduplication id where a sender gives none. Two messages of equal bodies within five minutes are then one,
   * also if both were meant. Rules of EventBridge need it.
   *
   * @default false
   */
  readonly contentBasedDeduplication?: boolean;
  /**
   * High throughput for FIFO. It **narrows deduplication**: an id is then unique within its message group only, and the same id in two groups is
   * two messages.
   *
   * @see https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/high-throughput-fifo.html
   * @default false
   */
  readonly highThroughput?: boolean;
  /** How long a message that nobody handles is kept. The consumer's records are kept for as long. @default Duration.days(4) */
  readonly retentionPeriod?: Duration;
  /**
   * How long a message that is being handled is hidden from others.
   *
   * @see https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html
   * @default - 6 × the consumer's timeout, plus the batching window; 30 s without a consumer. A timeout or a window that is a token counts as
   * the longest there is: 15 minutes, and 5 minutes
   */
  readonly visibilityTimeout?: Duration;
  /** After how many deliveries a message goes to the dead-letter queue, 1 to 1,000. Throttled deliveries count, so fewer than 5 are warned of. @default 5 */
  readonly maxReceiveCount?: number;
  /**
   * How long the dead-letter queue keeps a message. A standard queue hands a message on with the age it has, so that this must be longer than
   * `retentionPeriod`; a FIFO queue lets it begin anew.
   *
   * @default Duration.days(14)
   */
  readonly deadLetterRetentionPeriod?: Duration;
  /** Messages handed to one invocation. A FIFO queue has at most 10; more than 10 need a `maxBatchingWindow`. @default 10 */
  readonly batchSize?: number;
  /** How long to wait for a full batch. Standard queues only. @default - none */
  readonly maxBatchingWindow?: Duration;
  /** Invocations at the same time, 2 to 1,000. @default - as many as the account has; for FIFO, as there are groups */
  readonly maxConcurrency?: number;
  /** A key of your own. Senders such as SNS and EventBridge must be allowed to use it. @default - SQS encrypts with its own key */
  readonly encryptionKey?: IKey;
  /** Age of the oldest message at which to raise an alarm. @default Duration.minutes(15) */
  readonly alarmAge?: Duration;
}

/** How a rule of EventBridge delivers. */
export interface RuleTargetOptions {
  /** The message group. A FIFO queue needs one. */
  readonly messageGroupId?: string;
  /** How often EventBridge tries again, 0 to 185. @default 185 */
  readonly retryAttempts?: number;
  /** How old an event may become before it is given up, 60 s to a day. @default Duration.hours(24) */
  readonly maxEventAge?: Duration;
}

/**
 * An SQS queue, FIFO unless said otherwise, with its dead-letter queue, its consumer, and the numbers between them right: visibility,
 * retries, batches and the life of the consumer's records. Both queues take TLS only.
 *
 * @stateful
 */
export class IdempotentQueue extends QueueBase {
  /** A queue that is there already, in any account and Region. Nothing about it is checked. */
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
    check(props, { fifo, batchSize, maxReceiveCount });
    this.fifo = fifo;
    this.contentBasedDeduplication = contentBasedDeduplication;
    this.highThroughput = highThroughput;
    this.encryptionKey = props.encryptionKey;
    if (consumer) this.consumer = consumer;
    const target = consumer && targetOf(consumer);
    // Throws where the function keeps no records.
    if (target) namespaceOf(target.fn);

    this.#alarmOptions = props;
    const kind: QueueProps = {
      ...(fifo && { fifo }),
      enforceSSL: true,
      ...(props.encryptionKey
        ? { encryption: QueueEncryption.KMS, encryptionMasterKey: props.encryptionKey }
        : { encryption: QueueEncryption.SQS_MANAGED }),
    };
    this.#kind = kind;
    this.deadLetterQueue = new Queue(this, 'DeadLetterQueue', {
      ...kind,
      retentionPeriod: props.deadLetterRetentionPeriod ?? Duration.days(14),
    });
    this.queue = new Queue(this, 'Queue', {
      ...kind,
      ...(props.queueName !== undefined && { queueName: props.queueName }),
      ...(contentBasedDeduplication && { contentBasedDeduplication }),
      ...(highThroughput && {
        deduplicationScope: DeduplicationScope.MESSAGE_GROUP,
        fifoThroughputLimit: FifoThroughputLimit.PER_MESSAGE_GROUP_ID,
      }),
      retentionPeriod: props.retentionPeriod ?? Duration.days(4),
      visibilityTimeout: props.visibilityTimeout ?? visibilityFor(target?.fn, maxBatchingWindow),
      deadLetterQueue: { queue: this.deadLetterQueue, maxReceiveCount },
    });
    if (highThroughput) {
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
    // Someone may have taken the redrive policy away by an escape hatch.
    this.node.addValidation({
      validate: () => {
        adviseDeadLetterQueue(this.queue.node.defaultChild as CfnQueue);
        return [];
      },
    });

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

  /** On the age of the oldest message, on any dead letter, and on any event that a rule could not deliver. */
  get alarms(): readonly Alarm[] {
    return this.#alarms;
  }

  /** Seconds for which the oldest message has been waiting. */
  metricAge(options?: MetricOptions): IMetric {
    return this.queue.metricApproximateAgeOfOldestMessage({ period: Duration.minutes(1), ...options });
  }

  /** Messages in the dead-letter queue. */
  metricDeadLetters(options?: MetricOptions): IMetric {
    return deadLettersIn(this.deadLetterQueue, options);
  }

  /**
   * For `topic.addSubscription`: messages as they were published, without SNS's envelope; group and deduplication id of a FIFO topic
   * are kept. What SNS cannot deliver goes to the dead-letter queue.
   *
   * @throws Error when a standard topic is to feed a FIFO queue, which SNS refuses
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
   * For `rule.addTarget`. A rule gives no deduplication id, so a FIFO queue must take it from the content. What EventBridge cannot deliver
   * goes to `undeliveredEvents`, which is created for it.
   *
   * @throws Error when a FIFO queue has no deduplication by content, or is given no group
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

  /** Events that rules could not deliver to this queue; there is one as soon as `asRuleTarget` was called. */
  get undeliveredEvents(): Queue | undefined {
    return this.#undeliveredEvents;
  }

  #openUndeliveredEvents(): Queue {
    if (this.#undeliveredEvents === undefined) {
      // EventBridge takes no FIFO queue for what it could not deliver.
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

function checkRetries({ retryAttempts, maxEventAge }: RuleTargetOptions): void {
  if (retryAttempts !== undefined && !isWhole(retryAttempts, 0, 185)) {
    throw new Error(`retryAttempts is ${retryAttempts}: use 0 to 185`);
  }
  const seconds = maxEventAge && knownSeconds(maxEventAge);
  if (seconds !== undefined && !isWhole(seconds, 60, 86_400)) {
    throw new Error(`maxEventAge is ${seconds} s: use 60 s to 86,400 s`);
  }
}

/** The consumer may change its timeout after this: the number is made at synthesis. */
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

/** A token is taken for one: what it stands for is known only when it is deployed. */
const isWhole = (value: number, from: number, to: number): boolean =>
  Token.isUnresolved(value) || (Number.isInteger(value) && value >= from && value <= to);

/** A number to compare with; a token compares as false, whatever it is compared with. */
const known = (value: number): number => (Token.isUnresolved(value) ? Number.NaN : value);

function check(
  props: IdempotentQueueProps,
  { fifo, batchSize, maxReceiveCount }: { fifo: boolean; batchSize: number; maxReceiveCount: number },
): void {
  const { maxBatchingWindow, queueName, retentionPeriod, deadLetterRetentionPeriod } = props;
  const refuse = (message: string): never => {
    throw new Error(message);
  };
  const windowSeconds = maxBatchingWindow === undefined ? 0 : (knownSeconds(maxBatchingWindow) ?? Number.NaN);
  if (fifo && !isWhole(batchSize, 1, 10)) {
    refuse(
      `batchSize is ${batchSize}, and Lambda takes 1 to 10 messages at once from a FIFO queue: use at most 10`,
    );
  }
  if (!isWhole(batchSize, 1, 10_000)) refuse(`batchSize is ${batchSize}: use 1 to 10,000`);
  if (known(batchSize) > 10 && windowSeconds === 0) {
    refuse(
      `batchSize is ${batchSize}, and more than 10 need a window to collect them in: add maxBatchingWindow: Duration.seconds(1)`,
    );
  }
  if (fifo && windowSeconds > 0) {
    refuse(
      `maxBatchingWindow is ${windowSeconds} s, and a FIFO queue has none: leave it out, or use fifo: false`,
    );
  }
  if (windowSeconds > 300) refuse(`maxBatchingWindow is ${windowSeconds} s: use at most 300 s`);
  if (!isWhole(maxReceiveCount, 1, 1_000)) refuse(`maxReceiveCount is ${maxReceiveCount}: use 5 to 1,000`);
  const retentionSeconds = knownSeconds(retentionPeriod ?? Duration.days(4));
  const deadLetterSeconds = knownSeconds(deadLetterRetentionPeriod ?? Duration.days(14));
  if (!fifo && retentionSeconds !== undefined && deadLetterSeconds !== undefined) {
    if (deadLetterSeconds <= retentionSeconds) {
      refuse(
        `deadLetterRetentionPeriod is ${deadLetterSeconds} s, and a message keeps its age when a standard queue, which keeps it for ${retentionSeconds} s, hands it on: it could expire on the way. Make deadLetterRetentionPeriod longer than retentionPeriod, which may then be at most 13 days`,
      );
    }
  }
  for (const name of ['contentBasedDeduplication', 'highThroughput'] as const) {
    if (!fifo && props[name])
      refuse(`${name} is true, and only FIFO queues have it: leave out fifo: false, or ${name}`);
  }
  if (queueName !== undefined && !Token.isUnresolved(queueName) && queueName.endsWith('.fifo') !== fifo) {
    refuse(
      `queueName is '${queueName}' and fifo is ${fifo}: the names of FIFO queues, and only these, end in .fifo`,
    );
  }
}
