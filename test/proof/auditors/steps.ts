import type { Auditor, History } from '../simulation/history.ts';

/** A step that was recorded before an attempt's claim is not run by that attempt. */
export const steps: Auditor = {
  promise: 'a finished step never runs again',
  audit: (history) => [...repeated(history), ...reservedTwice(history)],
};

const repeated = ({ stepRuns, stepsRecorded }: History): string[] =>
  stepRuns.flatMap(({ execution, name }) => {
    const { pk, window, claimedAtMs, id, isGuarded } = execution;
    if (!isGuarded) return [];
    const record = stepsRecorded.find((one) => one.pk === pk && one.sk === `${window}#step#${name}`);
    const isRepeat = claimedAtMs !== undefined && record !== undefined && record.atMs < claimedAtMs;
    return isRepeat ? [`${id} ran '${name}', which was recorded before its claim`] : [];
  });

/** What a transaction writes happens once in a window. */
function reservedTwice(history: History): string[] {
  const windows = new Map<string, string>();
  return history.reserved.flatMap(({ execution: id }) => {
    const execution = history.executions.find((one) => one.id === id);
    if (!execution?.isGuarded) return [];
    const window = `${execution.pk} ${history.windowOf(execution)}`;
    const other = windows.get(window);
    windows.set(window, id);
    return other === undefined ? [] : [`${other} and ${id} both reserved in one window`];
  });
}
