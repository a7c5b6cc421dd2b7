import { type Auditor, copiesApplied, type History } from '../simulation/history.ts';

/** What a commit writes happens once in a window, with the window's completion and by the attempt that completed it. */
export const commits: Auditor = {
  promise: 'a commit has one effect in each window',
  audit(history) {
    const problems: string[] = [];
    const byWindow = new Map<string, string>();
    for (const { execution: id, pk, atMs } of history.committed) {
      const execution = history.executions.find((one) => one.id === id);
      if (!execution?.isGuarded) continue;
      const completion = history.transitions.find(
        (one) =>
          one.pk === pk &&
          one.atMs === atMs &&
          one.call === execution.call &&
          one.after?.status === 'COMPLETED',
      );
      if (!completion?.after) {
        problems.push(`the effect of ${id} came without a completion`);
        continue;
      }
      const { window, owner } = completion.after;
      if (execution.owner !== undefined && execution.owner !== owner) {
        problems.push(`the effect of ${id} came with the completion of another attempt`);
      }
      const other = byWindow.get(window);
      if (other !== undefined) problems.push(`${other} and ${id} both had their effect in one window`);
      byWindow.set(window, id);
    }
    for (const [pk, times] of history.counters) {
      const effects = history.committed.filter((one) => one.pk === pk).length;
      if (times !== effects) problems.push(`the counter says ${times}, and ${effects} commits were applied`);
    }
    const copied = new Set(history.facts(copiesApplied));
    for (const id of history.refused) {
      const { call } = history.executions.find((one) => one.id === id) ?? {};
      if (call && history.claimsAtCommit.has(call.id) && copied.has(call.id)) continue;
      if (history.committed.some(({ execution }) => execution === id)) {
        problems.push(`${id} was told that nothing was written, and it was`);
      }
    }
    return [
      ...problems,
      ...completionsWithoutEffect(history),
      ...transactionsWithoutEffect(history),
      ...committedInVain(history),
    ];
  },
};

/** An answer that a commit made is only ever stored with its effect. */
function completionsWithoutEffect({ calls, committed, executions }: History): string[] {
  return calls.flatMap(({ id, outcome }) => {
    const value =
      outcome?.kind === 'answered' ? (outcome.value as { commits?: string } | undefined) : undefined;
    if (!value?.commits) return [];
    const execution = executions.find((one) => one.id === value.commits);
    const isThere = committed.some((one) => one.execution === value.commits);
    return isThere || execution?.isGuarded === false
      ? []
      : [`${id} was answered ${value.commits}, without its effect`];
  });
}

/** A transaction that completes an operation has its writes with it. */
const transactionsWithoutEffect = ({ transitions, committed }: History): string[] =>
  transitions.flatMap(({ pk, atMs, operation, before, after, call }) => {
    const isCommit = operation === 'TransactWriteItems' && after?.status === 'COMPLETED';
    if (!isCommit || (before?.owner === after.owner && before.status === 'COMPLETED')) return [];
    return committed.some((one) => one.pk === pk && one.atMs === atMs)
      ? []
      : [`a transaction of ${call?.id} completed its operation without the effect`];
  });

/** Who returns what it has committed is answered that, whatever becomes of an amendment. */
const committedInVain = ({ executions, committed }: History): string[] =>
  executions.flatMap(({ id, call, isGuarded, ended, answers }) => {
    const returned = ended === 'returned' ? (answers.at(-1) as { commits?: string } | undefined) : undefined;
    if (!isGuarded || returned?.commits !== id || call.outcome?.kind !== 'failed') return [];
    if (!committed.some(({ execution }) => execution === id)) return [];
    const { message } = call.outcome.error as Error;
    return /A middleware failed|aborted/.test(message)
      ? []
      : [`${id} returned what it had committed, and its call failed: ${message}`];
  });
