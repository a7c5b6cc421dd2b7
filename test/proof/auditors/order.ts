import type { Auditor } from '../simulation/history.ts';

/** Of a group's messages none is begun before the one before it is done, and none is acknowledged that was not done. */
export const order: Auditor = {
  promise: 'a group is processed in its order, and all of it',
  audit({ queued, executions, acknowledged }) {
    const problems: string[] = [];
    const before = new Map<string, string>();
    const isUnguarded = executions.some(({ isGuarded }) => !isGuarded);
    for (const { group, key } of queued) {
      const earlier = before.get(group);
      before.set(group, key);
      const started = Math.min(...executions.filter((one) => one.key === key).map((one) => one.startedAtMs));
      if (earlier === undefined || isUnguarded || started === Number.POSITIVE_INFINITY) continue;
      const done = executions.some(
        (one) => one.key === earlier && one.ended === 'returned' && (one.endedAtMs ?? 0) <= started,
      );
      if (!done) problems.push(`${key} began before ${earlier} of its group was done`);
    }
    for (const { key } of acknowledged) {
      const isDone = executions.some((one) => one.key === key && one.ended === 'returned');
      if (!isDone) problems.push(`${key} was acknowledged and never done`);
    }
    return problems;
  },
};
