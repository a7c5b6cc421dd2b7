import { Annotations, Duration, Stack } from 'aws-cdk-lib';
import { type Alarm, type IMetric, Metric, type MetricOptions } from 'aws-cdk-lib/aws-cloudwatch';
import { PolicyStatement, Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import { LogGroup, RetentionDays } from 'aws-cdk-lib/aws-logs';
import { CfnPipe } from 'aws-cdk-lib/aws-pipes';
import { Queue, QueueEncryption } from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { attribute } from '../lib/record.ts';
import { type AlarmOptions, alarmsIn, onAnything, sumOf } from './alarms.ts';
import { grantThrough } from './key-grants.ts';
import type { IIdempotentQueue } from './queue-base.ts';
import type { IIdempotencyTable } from './table-base.ts';

/** What a pipe reads, where it publishes, and when it gives up. */
export interface OutboxPipeProps extends AlarmOptions {
  /** The table where messages are staged. The pipe turns its stream on. An imported table needs its `tableStreamArn`. */
  readonly table: IIdempotencyTable;
  /** The `destination` that handlers give their messages. Each destination has one pipe. */
  readonly destination: string;
  /** The queue that the messages go to. */
  readonly queue: IIdempotentQueue;
  /**
   * How many messages the pipe sends at once, 1 to 10. With more than one, a later message of a group can overtake one that SQS
   * refuses.
   *
   * @default 1
   */
  readonly batchSize?: number;
  /** How many readers the pipe has, 1 to 10. All messages of one operation have the same reader. @default 1 */
  readonly parallelizationFactor?: number;
  /** How often the pipe retries a message before it goes to the dead-letter queue, 0 to 10,000. @default 100 */
  readonly maximumRetryAttempts?: number;
  /**
   * The age at which a message goes to the dead-letter queue, 60 s to a day. The stream keeps it no longer.
   *
   * @default Duration.hours(12)
   */
  readonly maximumRecordAge?: Duration;
}

/**
 * Publishes staged messages: table stream → EventBridge Pipe → SQS queue. Its filter passes only new items of the destination,
 * and not what TTL deletes. The pipe may send a message more than once, but always with the same deduplication id.
 */
export class OutboxPipe extends Construct {
  readonly pipe: CfnPipe;
  readonly role: Role;
  /**
   * Gets a letter for each stream record that could not be published. It says where in the stream the record is, not what it
   * holds. The staged messages stay in the table for a week.
   */
  readonly deadLetterQueue: Queue;
  readonly logGroup: LogGroup;
  /** Alarms on any dead letter, and on failed executions, which come hours before a dead letter. */
  readonly alarms: readonly Alarm[];

  constructor(scope: Construct, id: string, props: OutboxPipeProps) {
    super(scope, id);
    const { table, destination, queue } = props;
    check(props);
    if (!queue.fifo) {
      Annotations.of(this).addWarningV2(
        'idemkit:outbox-pipe:standard-queue',
        `the queue of destination '${destination}' is a standard one, which keeps no order and no deduplication ids: a message that is published twice arrives twice, and its consumer does not know it again. Use an IdempotentQueue with fifo, or stage with keyInBody and guard the consumer with messageKey`,
      );
    }

    this.deadLetterQueue = new Queue(this, 'DeadLetterQueue', {
      enforceSSL: true,
      encryption: QueueEncryption.SQS_MANAGED,
      retentionPeriod: Duration.days(14),
    });
    this.logGroup = new LogGroup(this, 'Log', { retention: RetentionDays.ONE_MONTH });
    this.role = this.#createRole();
    const source = table.openOutbox(destination);
    this.#grant(props, source);
    this.pipe = this.#createPipe(props, source);
    // A pipe fails if it is created before its role may read.
    this.pipe.node.addDependency(this.role);

    this.alarms = alarmsIn(this, props, {
      FailedExecutions: {
        metric: this.metricFailedExecutions({ period: Duration.minutes(1) }),
        ...onAnything,
        alarmDescription: `Executions of the pipe for '${destination}' fail: messages wait and are tried again.`,
      },
      FailedDeliveries: {
        metric: this.metricFailedDeliveries({ period: Duration.minutes(1) }),
        ...onAnything,
        alarmDescription: `The queue refuses messages for '${destination}', or cannot be reached: they wait and are tried again.`,
      },
      DeadLetters: {
        metric: this.metricDeadLetters(),
        threshold: 1,
        evaluationPeriods: 1,
        alarmDescription: `Messages for '${destination}' could not be published; they are still in the table.`,
      },
    });
  }

  #createRole(): Role {
    const { account } = Stack.of(this);
    // Any pipe of the account: a pipe with a fixed name could not be replaced.
    const anyPipe = Stack.of(this).formatArn({ service: 'pipes', resource: 'pipe', resourceName: '*' });
    return new Role(this, 'Role', {
      assumedBy: new ServicePrincipal('pipes.amazonaws.com', {
        conditions: {
          StringEquals: { 'aws:SourceAccount': account },
          ArnLike: { 'aws:SourceArn': anyPipe },
        },
      }),
    });
  }

  /** Lets the pipe read the stream, send to the queue and to the dead-letter queue, and write its log. */
  #grant({ table, queue }: OutboxPipeProps, stream: string): void {
    const allow = (actions: string[], resource: string) =>
      this.role.addToPolicy(new PolicyStatement({ actions, resources: [resource] }));
    allow(
      ['dynamodb:DescribeStream', 'dynamodb:GetRecords', 'dynamodb:GetShardIterator', 'dynamodb:ListStreams'],
      stream,
    );
    const tableKey = table.table.encryptionKey;
    if (tableKey) grantThrough('dynamodb', tableKey, this.role, 'kms:Decrypt');
    queue.grantSendMessages(this.role);
    allow(['sqs:SendMessage'], this.deadLetterQueue.queueArn);
    this.logGroup.grantWrite(this.role);
  }

  #createPipe({ destination, queue, ...props }: OutboxPipeProps, source: string): CfnPipe {
    return new CfnPipe(this, 'Pipe', {
      description: `Messages staged for '${destination}'`,
      roleArn: this.role.roleArn,
      source,
      sourceParameters: {
        dynamoDbStreamParameters: {
          // A new pipe begins to read up to a minute late. LATEST would miss what is staged until then.
          startingPosition: 'TRIM_HORIZON',
          batchSize: props.batchSize ?? 1,
          parallelizationFactor: props.parallelizationFactor ?? 1,
          maximumRetryAttempts: props.maximumRetryAttempts ?? 100,
          maximumRecordAgeInSeconds: (props.maximumRecordAge ?? Duration.hours(12)).toSeconds(),
          onPartialBatchItemFailure: 'AUTOMATIC_BISECT',
          deadLetterConfig: { arn: this.deadLetterQueue.queueArn },
        },
        filterCriteria: {
          filters: [
            {
              pattern: JSON.stringify({
                eventName: ['INSERT'],
                dynamodb: { NewImage: { [attribute.destination]: { S: [destination] } } },
              }),
            },
          ],
        },
      },
      target: queue.queue.queueArn,
      targetParameters: {
        inputTemplate: `<${pathOf(attribute.body)}>`,
        ...(queue.fifo && {
          sqsQueueParameters: {
            messageGroupId: pathOf(attribute.groupId),
            messageDeduplicationId: pathOf(attribute.deduplicationId),
          },
        }),
      },
      logConfiguration: {
        level: 'ERROR',
        cloudwatchLogsLogDestination: { logGroupArn: this.logGroup.logGroupArn },
      },
    });
  }

  /** Counts executions of the pipe that failed, in part or in whole, or took too long. Each try counts. */
  metricFailedExecutions(options?: MetricOptions): IMetric {
    return this.#sum('Failed executions', options, {
      failed: 'ExecutionFailed',
      partial: 'ExecutionPartiallyFailed',
      late: 'ExecutionTimeout',
    });
  }

  /** Counts executions in which SQS refused messages. Each try counts. */
  metricFailedDeliveries(options?: MetricOptions): IMetric {
    return this.#sum('Failed deliveries', options, {
      failed: 'TargetStageFailed',
      partial: 'TargetStagePartiallyFailed',
    });
  }

  #sum(label: string, options: MetricOptions | undefined, names: Readonly<Record<string, string>>): IMetric {
    const metrics = Object.entries(names).map(([id, metricName]) => {
      const metric = new Metric({
        namespace: 'AWS/EventBridge/Pipes',
        metricName,
        statistic: 'Sum',
        ...options,
        dimensionsMap: { PipeName: this.pipe.ref },
      });
      return [id, metric.attachTo(this)] as const;
    });
    return sumOf(label, Object.fromEntries(metrics), options);
  }

  /** How many records are in the dead-letter queue. */
  metricDeadLetters(options?: MetricOptions): IMetric {
    return this.deadLetterQueue.metricApproximateNumberOfMessagesVisible({
      period: Duration.minutes(1),
      ...options,
    });
  }
}

/** The path of an attribute's value. The pipe passes the value on as it is if a parameter or template is only a path. */
const pathOf = (name: string): string => `$.dynamodb.NewImage.${name}.S`;

function check({ destination, batchSize, parallelizationFactor, ...props }: OutboxPipeProps): void {
  if (!/^[^,\s]+$/.test(destination)) {
    throw new Error(
      `destination is '${destination}': name whose messages the pipe takes, without commas and spaces, e.g. 'ledger'`,
    );
  }
  for (const [name, value] of Object.entries({ batchSize, parallelizationFactor })) {
    if (value !== undefined && !(Number.isInteger(value) && value >= 1 && value <= 10)) {
      throw new Error(`${name} is ${value}: use 1 to 10`);
    }
  }
  const attempts = props.maximumRetryAttempts;
  if (attempts !== undefined && !(Number.isInteger(attempts) && attempts >= 0 && attempts <= 10_000)) {
    throw new Error(`maximumRetryAttempts is ${attempts}: use 0 to 10,000`);
  }
  const ageSeconds = props.maximumRecordAge?.toSeconds();
  if (ageSeconds !== undefined && (ageSeconds < 60 || ageSeconds > 86_400)) {
    throw new Error(
      `maximumRecordAge is ${ageSeconds} s: use 60 s to 86,400 s, for the stream keeps a record no longer than a day`,
    );
  }
}
