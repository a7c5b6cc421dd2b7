import { Annotations, type Duration } from 'aws-cdk-lib';
import type { IMetric, MetricOptions } from 'aws-cdk-lib/aws-cloudwatch';
import { type ITableV2, Operation, TableV2 } from 'aws-cdk-lib/aws-dynamodb';
import type { Grant } from 'aws-cdk-lib/aws-iam';
import type { IKey } from 'aws-cdk-lib/aws-kms';
import type { Function as LambdaFunction } from 'aws-cdk-lib/aws-lambda';
import { Construct, type IConstruct } from 'constructs';
import { sumOf } from './alarms.ts';
import { protectFunction } from './protection.ts';
import { IdempotencyTableGrants } from './table-grants.ts';

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
   * Whether the handler is `eachPartition(…)`, which keeps the position of each lane instead of a record for each operation.
   * Then synthesis checks that the function's event sources are streams or topics, with the settings that positions need.
   *
   * @default false
   */
  readonly keepsPositions?: boolean;
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

const levels: readonly string[] = ['guarded', 'stepped', 'committed'];

/** What a table of this app and an existing one have in common. */
export abstract class TableBase extends Construct implements IIdempotencyTable {
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

/** A table that exists already. Nothing about it is checked. */
export class ImportedTable extends TableBase {
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

/** What a guard sends. */
const guardOperations = [
  Operation.PUT_ITEM,
  Operation.UPDATE_ITEM,
  Operation.GET_ITEM,
  Operation.QUERY,
  Operation.TRANSACT_WRITE_ITEMS,
];
