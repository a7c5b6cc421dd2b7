import type { Auditor, History } from '../simulation/history.ts';

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
      const { window } = completion.after;
      const other = byWindow.get(window);
      if (other !== undefined) problems.push(`${other} and ${id} both had their effect in one window`);
      byWindow.set(window, id);
    }
    for (const [pk, times] of history.counters) {
      const effects = history.committed.filter((one) => one.pk === pk).length;
      if (times !== effects) problems.push(`the counter says ${times}, and ${effects} commits were applied`);
    }
    for (const id of history.refused) {
      if (history.committed.some(({ execution }) => execution === id)) {
        problems.push(`${id} was told that nothing was written, and it was`);
      }
    }
    return [...problems, ...completionsWithoutEffect(history)];
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
