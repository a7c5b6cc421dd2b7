import type { Duration } from 'aws-cdk-lib';
import type { ITable, ITableV2 } from 'aws-cdk-lib/aws-dynamodb';
import type { IStream, IStreamConsumer } from 'aws-cdk-lib/aws-kinesis';
import type { StartingPosition } from 'aws-cdk-lib/aws-lambda';
import type {
  ManagedKafkaEventSourceProps,
  ProvisionedPollerConfig,
  SelfManagedKafkaEventSourceProps,
} from 'aws-cdk-lib/aws-lambda-event-sources';
import type { AlarmOptions } from './alarms.ts';
import type { GuardedFunction } from './guarded-function.ts';

/** What a cluster of Kafka is reached by. How a batch is read and given up is said beside it. */
export type KafkaClusterOptions<
  Props extends ManagedKafkaEventSourceProps | SelfManagedKafkaEventSourceProps,
> = Omit<
  Props,
  | 'batchSize'
  | 'bisectBatchOnError'
  | 'filters'
  | 'maxBatchingWindow'
  | 'maxRecordAge'
  | 'onFailure'
  | 'provisionedPollerConfig'
  | 'reportBatchItemFailures'
  | 'retryAttempts'
  | 'startingPosition'
  | 'startingPositionTimestamp'
>;

/** What numbers its records: a stream of Kinesis, a table's stream, or a topic of Kafka. */
export type StreamOrTopic =
  /** A stream, or a consumer of it with a throughput of its own (enhanced fan-out). */
  | { readonly kinesis: IStream | IStreamConsumer }
  /** A table with a stream. It is not the table of idempotency records. */
  | { readonly dynamodb: ITable | ITableV2 }
  /** A topic of Amazon MSK. */
  | { readonly msk: KafkaClusterOptions<ManagedKafkaEventSourceProps> }
  /** A topic of a cluster of yours. */
  | { readonly kafka: KafkaClusterOptions<SelfManagedKafkaEventSourceProps> };

/** What is read, by whom, and when a record is given up. */
export interface IdempotentStreamProps extends AlarmOptions {
  readonly source: StreamOrTopic;
  /** The function that handles the records, or an alias or a version of it. */
  readonly consumer: GuardedFunction;
  /** Where the function begins. It goes on from its last batch afterwards, and knows what it has done. @default TRIM_HORIZON */
  readonly startingPosition?: StartingPosition;
  /** Seconds since 1970, with `AT_TIMESTAMP`. Not for a table's stream. @default - none */
  readonly startingPositionTimestamp?: number;
  /** How many records one invocation gets at most: 1 to 10,000; of a table's stream 1,000. @default 100 */
  readonly batchSize?: number;
  /** How long Lambda waits for a full batch, at most 300 s. @default - it does not wait; for Kafka 500 ms */
  readonly maxBatchingWindow?: Duration;
  /**
   * How many batches of a shard are under way at once, 1 to 10. Records of one partition key stay in one of them, in order, so
   * that positions hold. Not for Kafka.
   *
   * @default 1
   */
  readonly parallelizationFactor?: number;
  /**
   * How often Lambda tries a batch again before it gives it up, 0 to 10,000. For Kafka only with `provisionedPollers`.
   *
   * @default - 100; for Kafka without `provisionedPollers` Lambda's own: 10
   */
  readonly retryAttempts?: number;
  /**
   * The age at which a record is given up, 60 s to 7 days. For Kafka only with `provisionedPollers`.
   *
   * @default - Duration.hours(12); for Kafka without `provisionedPollers`, any age
   */
  readonly maxRecordAge?: Duration;
  /** Pollers of Kafka that are there for this source alone. They cost by the hour. @default - none */
  readonly provisionedPollers?: ProvisionedPollerConfig;
  /** A record goes to the function if one of these, made by `FilterCriteria.filter`, matches. @default - every record */
  readonly filters?: readonly { readonly [key: string]: unknown }[];
  /** The age of the record that is read that raises an alarm. Not for Kafka. @default Duration.minutes(15) */
  readonly alarmAge?: Duration;
}
