import { Duration } from 'aws-cdk-lib';
import {
  Alarm,
  type AlarmProps,
  type IAlarmAction,
  type IMetric,
  MathExpression,
  type MetricOptions,
  TreatMissingData,
} from 'aws-cdk-lib/aws-cloudwatch';
import type { Construct } from 'constructs';

/** Whether a construct creates alarms, and what they do. */
export interface AlarmOptions {
  /** Whether to create alarms. @default true */
  readonly alarms?: boolean;
  /** What each alarm does, e.g. `new SnsAction(topic)`. @default - an alarm changes its state and tells nobody */
  readonly alarmActions?: readonly IAlarmAction[];
}

/** Creates alarms that stay quiet where there is no data. With `alarms: false` it creates none. */
export function alarmsIn(
  scope: Construct,
  { alarms = true, alarmActions = [] }: AlarmOptions,
  described: Readonly<Record<string, AlarmProps>>,
): Alarm[] {
  if (!alarms) return [];
  return Object.entries(described).map(([id, props]) => {
    const alarm = new Alarm(scope, id, { treatMissingData: TreatMissingData.NOT_BREACHING, ...props });
    alarm.addAlarmAction(...alarmActions);
    return alarm;
  });
}

/**
 * The sum of metrics that have no data where nothing happened. Without FILL, one metric without data would leave the sum
 * without data, and its alarm would never ring.
 */
export function sumOf(
  label: string,
  metrics: Readonly<Record<string, IMetric>>,
  options?: MetricOptions,
): IMetric {
  return new MathExpression({
    expression: Object.keys(metrics)
      .map((id) => `FILL(${id}, 0)`)
      .join(' + '),
    usingMetrics: { ...metrics },
    label: options?.label ?? label,
    period: options?.period ?? Duration.minutes(5),
    ...(options?.color !== undefined && { color: options.color }),
  });
}

/** For an alarm that a single period raises. A short burst is over before a second period begins. */
export const onAnything = { threshold: 1, evaluationPeriods: 1 } as const;
