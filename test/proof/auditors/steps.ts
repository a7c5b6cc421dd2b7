import type { Auditor, History } from '../simulation/history.ts';

/** A step that was recorded before an attempt's claim is not run by that attempt. */
export const steps: Auditor = {
  promise: 'a finished step never runs again',
  audit: (history) => [
    ...repeated(history),
    ...reservedTwice(history),
    ...reservedByNobody(history),
    ...givenBack(history),
    ...actedAfterwards(history),
  ],
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

/** A transaction is applied only while the claim is its attempt's. */
const reservedByNobody = ({ reserved, executions, transitions }: History): string[] =>
  reserved.flatMap(({ execution: id, pk, transitions: count }) => {
    const execution = executions.find((one) => one.id === id);
    if (!execution?.isGuarded) return [];
    const claim = transitions.slice(0, count).findLast((one) => one.pk === pk)?.after;
    const isOwn = claim?.owner === execution.owner && claim?.status === 'IN_PROGRESS';
    return isOwn ? [] : [`${id} reserved without the claim`];
  });

/** A window in which a step was begun is kept for the next attempt. */
const givenBack = ({ transitions, stepRuns }: History): string[] =>
  transitions.flatMap(({ before, after, pk, atMs }) => {
    if (!before || after?.status !== 'RELEASED' || before.owner !== after.owner) return [];
    const begun = stepRuns.find(
      ({ execution, atMs: begunAtMs }) =>
        execution.isGuarded && execution.pk === pk && execution.owner === before.owner && begunAtMs < atMs,
    );
    return begun ? [`${begun.execution.id} gave a window back in which '${begun.name}' was begun`] : [];
  });

/** Nothing that an attempt has begun is still under way when it gives its claim up. */
const actedAfterwards = ({ transitions, effects }: History): string[] =>
  effects.flatMap(({ execution, name, atMs }) => {
    const isGivenUp = transitions.some(
      ({ pk, before, after, atMs: givenUpAtMs }) =>
        pk === execution.pk &&
        execution.isGuarded &&
        execution.owner !== undefined &&
        before?.owner === execution.owner &&
        before.status === 'IN_PROGRESS' &&
        after?.owner === execution.owner &&
        after.status !== 'COMPLETED' &&
        givenUpAtMs < atMs,
    );
    return isGivenUp ? [`${execution.id} did '${name}' after it had given its claim up`] : [];
  });
