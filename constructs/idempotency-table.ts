import { Duration, RemovalPolicy, Stack } from 'aws-cdk-lib';
import type { Alarm } from 'aws-cdk-lib/aws-cloudwatch';
import {
  AttributeType,
  Billing,
  type CfnGlobalTable,
  MultiRegionConsistency,
  type ReplicaTableProps,
  StreamViewType,
  type TableEncryptionV2,
  TableV2,
} from 'aws-cdk-lib/aws-dynamodb';
import type { Construct } from 'constructs';
import { tableLayout } from '../lib/record.ts';
import { type AlarmOptions, alarmsIn, onAnything } from './alarms.ts';
import {
  type IdempotencyTableAttributes,
  type IIdempotencyTable,
  ImportedTable,
  TableBase,
} from './table-base.ts';
import { IdempotencyTableGrants } from './table-grants.ts';
import { checkGrants } from './write-permissions.ts';

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
