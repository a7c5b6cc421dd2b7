import { Annotations, Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import type { Alarm, IMetric, MetricOptions } from 'aws-cdk-lib/aws-cloudwatch';
import {
  AttributeType,
  Billing,
  type CfnGlobalTable,
  type ITableV2,
  MultiRegionConsistency,
  Operation,
  type ReplicaTableProps,
  StreamViewType,
  type TableEncryptionV2,
  TableV2,
} from 'aws-cdk-lib/aws-dynamodb';
import type { Grant } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda';
import { Construct, type IConstruct } from 'constructs';
import { tableLayout } from '../lib/record.ts';
import { type AlarmOptions, alarmsIn, onAnything, sumOf } from './alarms.ts';
import { checkGrants, protectFunction } from './protection.ts';
import { IdempotencyTableGrants } from './table-grants.ts';

/** How the table is billed, encrypted, backed up and replicated. Each property has a default. */
export interface IdempotencyTableProps extends AlarmOptions {
  /** @default - CloudFormation names it */
  readonly tableName?: string;
  /** @default Billing.onDemand() */
  readonly billing?: Billing;
  /** @default TableEncryptionV2.dynamoOwnedKey(), free of charge */
  readonly encryption?: TableEncryptionV2;
  /** Continuous backups of the last 35 days. @default true */
  readonly pointInTimeRecovery?: boolean;
  /** @default true */
  readonly deletionProtection?: boolean;
  /** Without its records, every repeat of the last day would run again. @default RemovalPolicy.RETAIN */
  readonly removalPolicy?: RemovalPolicy;
  /** Whether CloudWatch shows the keys that are used most, for a charge. @default false */
  readonly contributorInsights?: boolean;
  /**
   * Whether DynamoDB deletes records that have ended. Without it the table grows for ever.
   *
   * @default true
   */
  readonly timeToLive?: boolean;
  /**
   * Whether the table has a stream of new and old items, which relays of staged messages read.
   *
   * @default - `true` once an `OutboxPipe` reads the table
   */
  readonly stream?: boolean;
  /** Copies of the table in other Regions. See `acknowledgeLastWriterWins` and `multiRegionConsistency`. @default - none */
  readonly replicas?: readonly ReplicaTableProps[];
  /**
   * How replicas agree. `EVENTUAL`: the last writer wins. `STRONG`: a claim is won in one Region only, but the table has
   * neither transactions nor TTL.
   *
   * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/V2globaltables_HowItWorks.html
   * @default MultiRegionConsistency.EVENTUAL
   */
  readonly multiRegionConsistency?: MultiRegionConsistency;
  /** The third Region of a `STRONG` table with one replica. @default - none */
  readonly witnessRegion?: string;
  /**
   * Must be `true` for replicas with `EVENTUAL` consistency. A conditional write is checked against one Region's copy, so two
   * Regions can both win the claim for one key and run its handler twice. Send all traffic of a key to one Region.
   *
   * @default false
   */
  readonly acknowledgeLastWriterWins?: boolean;
}

const levels: readonly string[] = ['guarded', 'stepped', 'committed'];

/** How a function keeps its records in a table. */
export interface ProtectOptions {
  /**
   * How long an answer is replayed.
   *
   * @default - one day, or longer if a queue or a stream may deliver a record to the function again after that. For a stream
   * or a queue, that is its retention. For a queue with a dead-letter queue it is the longer retention of both, and for FIFO
   * their sum. What the template does not say counts as the longest that there is
   */
  readonly ttl?: Duration;
  /**
   * Whether the handler's guard has the option `key`. Without it, the key of a message is its id, and a redrive from a
   * dead-letter queue gives a message a new id: a message that was done would run again. So synthesis warns where a queue with
   * a dead-letter queue calls the function and this is not `true`.
   *
   * @default false
   */
  readonly namesKey?: boolean;
  /**
   * The function or app that the keys belong to. Give two functions one namespace to share keys.
   *
   * @default - the function's construct path, which survives a replacement of the function
   */
  readonly namespace?: string;
  /**
   * What the handler does with its operation. It decides which permissions the function gets: `'committed'` for a handler that
   * calls `transaction` or `commit`.
   *
   * @default 'guarded'
   */
  readonly level?: 'guarded' | 'stepped' | 'committed';
  /** Where the handler's messages may go. @default - with `'committed'`, to each destination of this table's `OutboxPipe`s */
  readonly destinations?: readonly string[];
}

/** An existing table: its name, or its ARN if it is in another account or Region. */
export type IdempotencyTableAttributes = (
  | { readonly tableName: string; readonly tableArn?: never }
  | { readonly tableArn: string; readonly tableName?: never }
) & {
  /** Your own key that encrypts the table. Grants include it. @default - none: DynamoDB encrypts with its own key */
  readonly encryptionKey?: IKey;
  /** The ARN of the table's stream, for an `OutboxPipe`. The stream must have new images. @default - none: no pipe can read it */
  readonly tableStreamArn?: string;
};

/** A table of idempotency records. It belongs to this app or to another. */
export interface IIdempotencyTable extends IConstruct {
  readonly table: ITableV2;
  readonly tableName: string;
  readonly tableArn: string;
  readonly grants: IdempotencyTableGrants;
  /**
   * Lets a function keep its records here. Grants what its guards do, and sets `IDEMPOTENCY_TABLE`, `IDEMPOTENCY_NAMESPACE`,
   * `IDEMPOTENCY_TTL_SECONDS` and `IDEMPOTENCY_DESTINATIONS`.
   *
   * @throws Error where the function is protected already
   */
  protect(fn: LambdaFunction, options?: ProtectOptions): Grant;
  /** A metric of the table, by its name in CloudWatch. */
  metric(name: string, options?: MetricOptions): IMetric;
  /** Counts throttled reads and writes of any operation: one for each item of a request. */
  metricThrottleEvents(options?: MetricOptions): IMetric;
  /** Counts throttled requests, over all operations that a guard uses. */
  metricThrottledRequests(options?: MetricOptions): IMetric;
  /** Counts requests that failed inside DynamoDB, over all operations that a guard uses. */
  metricSystemErrors(options?: MetricOptions): IMetric;
  /**
   * Returns the stream's ARN, for a reader of staged messages, and notes where the reader takes them.
   *
   * @param destination the destination whose messages the reader takes
   * @internal
   */
  openOutbox(destination: string): string;
}

abstract class TableBase extends Construct implements IIdempotencyTable {
  abstract readonly table: ITableV2;
  abstract readonly grants: IdempotencyTableGrants;
  readonly #outboxDestinations: string[] = [];

  get tableName(): string {
    return this.table.tableName;
  }

  get tableArn(): string {
    return this.table.tableArn;
  }

  protect(fn: LambdaFunction, options: ProtectOptions = {}): Grant {
    const { level, destinations } = options;
    if (level !== undefined && !levels.includes(level)) {
      throw new Error(`level is '${level}': use ${levels.map((one) => `'${one}'`).join(', ')}`);
    }
    protectFunction(fn, this.tableName, {
      ...options,
      destinations: () =>
        destinations ?? (level === 'committed' ? [...new Set(this.#outboxDestinations)] : []),
    });
    return level === 'committed' ? this.grants.commit(fn) : this.grants.guard(fn);
  }

  metric(name: string, options?: MetricOptions): IMetric {
    return this.table.metric(name, options);
  }

  metricThrottleEvents(options?: MetricOptions): IMetric {
    return sumOf(
      'Throttled reads and writes',
      {
        reads: this.metric('ReadThrottleEvents', { statistic: 'Sum', ...options }),
        writes: this.metric('WriteThrottleEvents', { statistic: 'Sum', ...options }),
      },
      options,
    );
  }

  metricThrottledRequests(options?: MetricOptions): IMetric {
    return this.#sumOfOperations('Throttled requests', 'ThrottledRequests', options);
  }

  metricSystemErrors(options?: MetricOptions): IMetric {
    return this.#sumOfOperations('Errors of DynamoDB', 'SystemErrors', options);
  }

  /** @internal */
  openOutbox(destination: string): string {
    const destinations = this.#outboxDestinations;
    const stream = this.openStream(destination);
    if (destinations.includes(destination)) {
      Annotations.of(this).addWarningV2(
        'idemkit:outbox:destination',
        `destination '${destination}' has more than one reader, and each of them publishes every message: give every OutboxPipe a destination of its own, unless each has a queue of its own and all of these are meant`,
      );
    }
    destinations.push(destination);
    if (destinations.length === 3) {
      Annotations.of(this).addWarningV2(
        'idemkit:outbox:readers',
        `this table's stream has more than two readers (destinations ${destinations.join(', ')}), which DynamoDB throttles: relay them with one function instead`,
      );
    }
    return stream;
  }

  protected abstract openStream(destination: string): string;

  #sumOfOperations(label: string, name: string, options?: MetricOptions): IMetric {
    const metrics = guardOperations.map((operation) => {
      const dimensionsMap = { TableName: this.tableName, Operation: operation };
      return [
        operation.toLowerCase(),
        this.metric(name, { statistic: 'Sum', ...options, dimensionsMap }),
      ] as const;
    });
    return sumOf(label, Object.fromEntries(metrics), options);
  }
}

class ImportedTable extends TableBase {
  override readonly table: ITableV2;
  override readonly grants: IdempotencyTableGrants;

  constructor(scope: Construct, id: string, attributes: IdempotencyTableAttributes) {
    super(scope, id);
    this.table = TableV2.fromTableAttributes(this, 'Table', attributes);
    this.grants = new IdempotencyTableGrants(this.table);
  }

  protected override openStream(): string {
    const { tableStreamArn } = this.table;
    if (tableStreamArn === undefined) {
      throw new Error(
        `table '${this.node.path}' was imported without its stream: add tableStreamArn to IdempotencyTable.fromTableAttributes, and say stream: true where the table is created`,
      );
    }
    return tableStreamArn;
  }
}

/**
 * The table that guards keep their records in: a `TableV2` with the keys and the TTL attribute that they need. By default it is
 * billed on demand, backed up, and kept when its stack is deleted.
 *
 * @stateful
 */
export class IdempotencyTable extends TableBase {
  /** A table that exists already, in this account and Region. Nothing about it is checked. */
  static fromTableName(scope: Construct, id: string, tableName: string): IIdempotencyTable {
    return new ImportedTable(scope, id, { tableName });
  }

  /** An existing table of another account or Region, with your own key, or with a stream. Nothing about it is checked. */
  static fromTableAttributes(
    scope: Construct,
    id: string,
    attributes: IdempotencyTableAttributes,
  ): IIdempotencyTable {
    return new ImportedTable(scope, id, attributes);
  }

  override readonly table: TableV2;
  override readonly grants: IdempotencyTableGrants;
  /** Alarms on throttled reads and writes, and on errors of DynamoDB. */
  readonly alarms: readonly Alarm[];

  /** Who needs transactions of the table, for a message. */
  #transactional: string | undefined;

  constructor(scope: Construct, id: string, props: IdempotencyTableProps = {}) {
    super(scope, id);
    const { replicas = [], timeToLive = true, multiRegionConsistency, witnessRegion } = props;
    const strong = multiRegionConsistency === MultiRegionConsistency.STRONG;

    if (strong && timeToLive) {
      throw new Error(
        'multiRegionConsistency is STRONG, and DynamoDB has no TTL on such a table: say timeToLive: false and delete old records yourself, or leave out multiRegionConsistency',
      );
    }

    this.table = new TableV2(this, 'Table', {
      ...(props.tableName !== undefined && { tableName: props.tableName }),
      partitionKey: { name: tableLayout.partitionKey, type: AttributeType.STRING },
      sortKey: { name: tableLayout.sortKey, type: AttributeType.STRING },
      ...(timeToLive && { timeToLiveAttribute: tableLayout.ttlAttribute }),
      billing: props.billing ?? Billing.onDemand(),
      ...(props.encryption && { encryption: props.encryption }),
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: props.pointInTimeRecovery ?? true },
      deletionProtection: props.deletionProtection ?? true,
      removalPolicy: props.removalPolicy ?? RemovalPolicy.RETAIN,
      ...(props.contributorInsights && { contributorInsightsSpecification: { enabled: true } }),
      ...(props.stream && { dynamoStream: streamViewType }),
      ...(replicas.length > 0 && { replicas: [...replicas] }),
      ...(multiRegionConsistency && { multiRegionConsistency }),
      ...(witnessRegion !== undefined && { witnessRegion }),
    });
    this.grants = new IdempotencyTableGrants(this.table, (use) => {
      this.#transactional ??= use;
    });
    this.node.addValidation({
      validate: () => [
        ...checkGrants(this, this.tableName, this.tableArn),
        ...this.#checkReplication(strong, props.acknowledgeLastWriterWins ?? false),
      ],
    });

    const period = { period: Duration.minutes(1) };
    this.alarms = alarmsIn(this, props, {
      ThrottleEvents: {
        metric: this.metricThrottleEvents(period),
        ...onAnything,
        alarmDescription:
          'Guards are throttled by their table: calls are slow, or refused as STORE_UNAVAILABLE.',
      },
      SystemErrors: {
        metric: this.metricSystemErrors(period),
        ...onAnything,
        alarmDescription: 'DynamoDB fails on the table of idempotency records.',
      },
    });
  }

  /** Turns the table's stream on. */
  protected override openStream(destination: string): string {
    this.#transactional ??= `the outbox '${destination}'`;
    this.#resource.streamSpecification = { streamViewType };
    return this.#resource.attrStreamArn;
  }

  get #resource(): CfnGlobalTable {
    return this.table.node.defaultChild as CfnGlobalTable;
  }

  /** Call it at synthesis: until then an app may add replicas to the `TableV2` itself. */
  #replicaRegions(): string[] {
    const stack = Stack.of(this);
    const replicas: { readonly region: unknown }[] = stack.resolve(this.#resource.replicas);
    return (
      replicas
        .map(({ region }) => region)
        // In a stack without a fixed Region, the only replica is the table itself, and its Region is a reference.
        .filter((region) => typeof region === 'string')
        .filter((region) => region !== stack.region)
    );
  }

  #checkReplication(strong: boolean, acknowledged: boolean): string[] {
    const problems: string[] = [];
    const regions = this.#replicaRegions();
    if (regions.length > 0 && !strong && !acknowledged) {
      problems.push(
        `replicas in ${regions.join(', ')} copy records by last-writer-wins: two Regions can both win the claim for one key, and run its handler twice. Keep all traffic of a key in one Region and say so with acknowledgeLastWriterWins: true, or use multiRegionConsistency: MultiRegionConsistency.STRONG`,
      );
    }
    if (strong && this.#transactional !== undefined) {
      problems.push(
        `multiRegionConsistency is STRONG, and DynamoDB has no transactions on such a table, but ${this.#transactional} needs them: use MultiRegionConsistency.EVENTUAL, or protect functions with level 'guarded' or 'stepped'`,
      );
    }
    return problems;
  }
}

/** The type that replication needs. With another one, a replica added later would replace the stream that readers read. */
const streamViewType = StreamViewType.NEW_AND_OLD_IMAGES;

const guardOperations = [
  Operation.PUT_ITEM,
  Operation.UPDATE_ITEM,
  Operation.DELETE_ITEM,
  Operation.GET_ITEM,
  Operation.QUERY,
  Operation.TRANSACT_WRITE_ITEMS,
];
