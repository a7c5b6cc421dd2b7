import { Alarm, type AlarmProps, type IAlarmAction, TreatMissingData } from 'aws-cdk-lib/aws-cloudwatch';
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
