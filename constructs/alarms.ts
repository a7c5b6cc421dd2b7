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

export interface AlarmOptions {
  /** Whether to create alarms. @default true */
  readonly alarms?: boolean;
  /** What an alarm does, e.g. `new SnsAction(topic)`. @default - alarms change their state and tell nobody */
  readonly alarmActions?: readonly IAlarmAction[];
}

/** Creates alarms that stay quiet where there is no data, or none at all. */
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
 * The sum of metrics that have no data where nothing happened. Without FILL one of them that is missing would make the whole sum missing, and an alarm on it
 * would never be raised.
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

/** Raised by a single period in which anything happened: a short burst is over before a second one begins. */
export const onAnything = { threshold: 1, evaluationPeriods: 1 } as const;
