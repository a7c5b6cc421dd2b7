import type { Auditor, History } from '../simulation/history.ts';

/** Of a group none is begun before the one before it is recorded as done, and none is acknowledged that is not. */
export const order: Auditor = {
  promise: 'a group is processed in its order, and all of it',
  audit(history) {
    const { queued, executions, acknowledged, takenOut } = history;
    const problems: string[] = [];
    const before = new Map<string, string[]>();
    for (const { group, key } of queued) {
      if (group === undefined) continue;
      const earlier = before.get(group) ?? [];
      const started = Math.min(...executions.filter((one) => one.key === key).map((one) => one.startedAtMs));
      // Who was taken out by then is waited for no more.
      const last = earlier.findLast(
        (one) => !takenOut.some((taken) => taken.key === one && taken.atMs <= started),
      );
      before.set(group, [...earlier, key]);
      if (last === undefined || started === Number.POSITIVE_INFINITY) continue;
      if (!isRecorded(history, last, started)) {
        problems.push(`${key} began before ${last} of its group was recorded as done`);
      }
    }
    for (const { key, atMs } of acknowledged) {
      if (!isRecorded(history, key, atMs))
        problems.push(`${key} was acknowledged and is not recorded as done`);
    }
    return problems;
  },
};

/** Whether it is done by then, and recorded; where its guard told that it could not record it, that it is done is enough. */
function isRecorded({ queued, transitions, executions }: History, key: string, byMs: number): boolean {
  const pk = queued.find((one) => one.key === key)?.pk;
  return (
    transitions.some((one) => one.pk === pk && one.after?.status === 'COMPLETED' && one.atMs <= byMs) ||
    executions.some(
      (one) =>
        one.pk === pk &&
        one.ended === 'returned' &&
        (one.endedAtMs ?? Number.POSITIVE_INFINITY) <= byMs &&
        one.call.observed.some((event) => event.type === 'unrecorded' && event.operation === pk),
    )
  );
}
