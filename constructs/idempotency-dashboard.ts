import { Duration, Token, Tokenization } from 'aws-cdk-lib';
import {
  type Alarm,
  Dashboard,
  GraphWidget,
  type IMetric,
  MathExpression,
  Metric,
  type MetricOptions,
  Stats,
  TextWidget,
} from 'aws-cdk-lib/aws-cloudwatch';
import { Construct } from 'constructs';
import { metric } from '../lib/record.ts';
import { type AlarmOptions, alarmsIn } from './alarms.ts';
import type { IdempotentFunction } from './idempotent-function.ts';
import type { IIdempotencyTable } from './table-base.ts';

/** Which guards a dashboard shows, and when its alarms ring. */
export interface IdempotencyDashboardProps extends AlarmOptions {
  /** The table whose cost is shown. */
  readonly table: IIdempotencyTable;
  /** Functions whose guards have `observe: emf()`. Each is a line in the graphs. @default - none */
  readonly functions?: readonly IdempotentFunction[];
  /** Further namespaces, which guards were given in code. @default - none */
  readonly namespaces?: readonly string[];
  /** @default - CloudFormation names it */
  readonly dashboardName?: string;
  /** The option `metricNamespace` of `emf()`. @default 'idemkit' */
  readonly metricNamespace?: string;
  /** The share of calls, in percent, that use a key again with other parameters and raise an alarm. @default 5 */
  readonly alarmCollisionPercent?: number;
  /** The price of a million write units in USD, for the estimate. @default 0.625, on demand in US East (N. Virginia) */
  readonly pricePerMillionWrites?: number;
  /** The price of a million read units in USD. @default 0.125 */
  readonly pricePerMillionReads?: number;
}

/** What the guards of one namespace do: CloudWatch metrics and formulas over them. */
interface GuardMetrics {
  readonly namespace: string;
  readonly index: number;
  readonly count: (name: string) => Metric;
  readonly latency: (name: string, statistic: string) => Metric;
  /** The share of calls, in percent, that were repeats: answered from the record, or refused while the first call ran. */
  readonly duplicateDetectionRate: IMetric;
  /** The share of calls, in percent, that used a key again with other parameters. */
  readonly keyCollisionPercent: IMetric;
  /** The share of takeovers, in percent, that ended in an answer. Without takeovers it has no value. */
  readonly retrySuccessRate: IMetric;
  /** Guarded calls per second. */
  readonly throughput: IMetric;
}

/**
 * Shows what guards do, on one page, with alarms on what should not happen. The metrics come from `observe: emf()`: a guard
 * without it does not appear.
 */
export class IdempotencyDashboard extends Construct {
  readonly dashboard: Dashboard;
  /** All dashboards. The first one is `dashboard`. Each holds up to 80 namespaces, because CloudWatch limits its metrics. */
  readonly dashboards: readonly Dashboard[];
  /** For each namespace an alarm on outcomes not recorded, on overtaken attempts, and on keys used with other parameters. */
  readonly alarms: readonly Alarm[];

  constructor(scope: Construct, id: string, props: IdempotencyDashboardProps) {
    super(scope, id);
    const namespaces = [
      ...new Set([...(props.functions ?? []).map(({ namespace }) => namespace), ...(props.namespaces ?? [])]),
    ];
    if (namespaces.length === 0) {
      throw new Error(
        'functions and namespaces are empty: name the guards to show, e.g. functions: [payments]',
      );
    }
    const guards = namespaces.map((namespace, index) =>
      guardMetrics(namespace, index, namespaces.length > 1, props.metricNamespace),
    );

    const [first, ...further] = pagesOf(guards);
    this.dashboard = this.#createPage('Dashboard', first, props, props.dashboardName);
    this.dashboards = [
      this.dashboard,
      ...further.map((page, index) => {
        const number = index + 2;
        return this.#createPage(
          `Dashboard${number}`,
          page,
          props,
          props.dashboardName && `${props.dashboardName}-${number}`,
        );
      }),
    ];

    this.alarms = guards.flatMap((guard) =>
      alarmsIn(new Construct(this, idOf(guard)), props, {
        Unrecorded: {
          metric: guard.count(metric.count.unrecorded),
          threshold: 1,
          evaluationPeriods: 1,
          alarmDescription: `Outcomes of '${guard.namespace}' could not be recorded: a repeat may run them again.`,
        },
        Overtaken: {
          metric: guard.count(metric.count.overtaken),
          threshold: 1,
          evaluationPeriods: 1,
          alarmDescription: `Attempts of '${guard.namespace}' outlived their lease: two handlers ran for one key.`,
        },
        Collisions: {
          metric: guard.keyCollisionPercent,
          threshold: props.alarmCollisionPercent ?? 5,
          evaluationPeriods: 3,
          alarmDescription: `Callers of '${guard.namespace}' use keys again with other parameters.`,
        },
      }),
    );
  }

  #createPage(
    id: string,
    guards: readonly GuardMetrics[],
    props: IdempotencyDashboardProps,
    dashboardName: string | undefined,
  ): Dashboard {
    return new Dashboard(this, id, {
      ...(dashboardName !== undefined && { dashboardName }),
      defaultInterval: Duration.hours(3),
      widgets: [
        [
          new TextWidget({
            markdown: `# Idempotency\n${guards.map(({ namespace }) => namespace).join(', ')}`,
            width: 24,
            height: 2,
          }),
        ],
        [
          percent(
            'Duplicates',
            guards.map((guard) => guard.duplicateDetectionRate),
          ),
          percent(
            'Keys used with other parameters',
            guards.map((guard) => guard.keyCollisionPercent),
          ),
          percent(
            'Retries that succeeded',
            guards.map((guard) => guard.retrySuccessRate),
          ),
          graph(
            'Calls per second',
            guards.map((guard) => guard.throughput),
          ),
        ],
        [
          ...(
            [
              ['Conflicts: refused while running', metric.count.busy],
              ['Takeovers after a crash', metric.count.takeover],
              ['Overtaken attempts', metric.count.overtaken],
              ['Outcomes not recorded', metric.count.unrecorded],
            ] as const
          ).map(([title, name]) =>
            graph(
              title,
              guards.map(({ count }) => count(name)),
            ),
          ),
        ],
        [
          ...(
            [
              ['Numbered senders: refused by a newer epoch', metric.count.fenced],
              ['Numbered senders: refused before a predecessor', metric.count.gap],
            ] as const
          ).map(([title, name]) =>
            graph(
              title,
              guards.map(({ count }) => count(name)),
            ),
          ),
        ],
        [
          ...(
            [
              ['Latency of claiming', metric.claimLatency],
              ['Latency of settling', metric.settleLatency],
            ] as const
          ).map(([title, name]) =>
            graph(
              title,
              guards.flatMap(({ latency }) => [latency(name, Stats.p(50)), latency(name, Stats.p(99))]),
              8,
            ),
          ),
          graph('Cost of the table in USD per month, at this rate', [costPerMonth(props)], 8),
        ],
      ],
    });
  }
}

/** CloudWatch shows 500 metrics in a graph and 2,500 on a dashboard. A namespace has up to 6 in a graph and 29 on a dashboard. */
const namespacesPerDashboard = 80;

function pagesOf(guards: readonly GuardMetrics[]): [readonly GuardMetrics[], ...(readonly GuardMetrics[])[]] {
  const page = guards.slice(0, namespacesPerDashboard);
  const rest = guards.slice(namespacesPerDashboard);
  return rest.length === 0 ? [page] : [page, ...pagesOf(rest)];
}

/** An id for a namespace. The CDK writes a slash as `--`, so that `a/b` and `a--b` would be one id, and it refuses tokens. */
const idOf = ({ namespace, index }: GuardMetrics): string =>
  Token.isUnresolved(namespace)
    ? `~Namespace${index}`
    : namespace.replaceAll('~', '~0').replaceAll('/', '~1');

function guardMetrics(
  namespace: string,
  index: number,
  isOneOfMany: boolean,
  metricNamespace?: string,
): GuardMetrics {
  const suffix = isOneOfMany ? `${index}` : '';
  const label = (name: string) => (suffix === '' ? name : `${name} (${namespace})`);
  const one = (metricName: string, statistic: string, options: MetricOptions = {}) =>
    new Metric({
      namespace: metricNamespace ?? metric.cloudWatchNamespace,
      metricName,
      dimensionsMap: { [metric.dimension]: namespace },
      statistic,
      period: Duration.minutes(5),
      ...options,
    });
  const count = (name: string) => one(name, Stats.SUM);

  // The ids of all metrics of a widget must differ.
  const id = (name: string) => `${name}${suffix}`;
  const formula = (name: string, expression: string, used: Readonly<Record<string, string>>) =>
    new MathExpression({
      label: label(name),
      expression,
      usingMetrics: Object.fromEntries(
        Object.entries(used).map(([key, metricName]) => [id(key), count(metricName)]),
      ),
      period: Duration.minutes(5),
    });
  const { claim, takeover, replay, busy, mismatch } = metric.count;
  const called = { claim, takeover, replay, busy, mismatch };
  const filled = (name: string) => `FILL(${id(name)}, 0)`;
  const calls = `(${Object.keys(called).map(filled).join(' + ')})`;
  const share = (part: string) => `IF(${calls} > 0, 100 * (${part}) / ${calls}, 0)`;

  return {
    namespace,
    index,
    count,
    latency: (name, statistic) => one(name, statistic, { label: label(`${name} ${statistic}`) }),
    duplicateDetectionRate: formula(
      'duplicate_detection_rate',
      share(`${filled('replay')} + ${filled('busy')}`),
      called,
    ),
    keyCollisionPercent: formula('idempotency_key_collision_pct', share(filled('mismatch')), called),
    retrySuccessRate: formula('retry_success_rate', `100 * ${filled('succeeded')} / ${id('takeover')}`, {
      takeover,
      succeeded: metric.retrySuccess,
    }),
    throughput: formula('throughput_rps', `${calls} / PERIOD(${id('claim')})`, called),
  };
}

function costPerMonth({
  table,
  pricePerMillionWrites = 0.625,
  pricePerMillionReads = 0.125,
}: IdempotencyDashboardProps): IMetric {
  const used = (name: string) => table.metric(name, { statistic: Stats.SUM, period: Duration.minutes(5) });
  const secondsPerMonth = 2_592_000;
  const price = Tokenization.stringifyNumber;
  return new MathExpression({
    label: 'cost_usd_per_month',
    expression: `(FILL(writes, 0) * ${price(pricePerMillionWrites)} + FILL(reads, 0) * ${price(pricePerMillionReads)}) / 1000000 * ${secondsPerMonth} / PERIOD(writes)`,
    usingMetrics: { writes: used('ConsumedWriteCapacityUnits'), reads: used('ConsumedReadCapacityUnits') },
    period: Duration.minutes(5),
  });
}

const graph = (title: string, left: IMetric[], width = 6): GraphWidget =>
  new GraphWidget({ title, left, width, height: 6, leftYAxis: { min: 0, showUnits: false } });

const percent = (title: string, left: IMetric[]): GraphWidget =>
  new GraphWidget({
    title: `${title} (%)`,
    left,
    width: 6,
    height: 6,
    leftYAxis: { min: 0, max: 100, showUnits: false },
  });
