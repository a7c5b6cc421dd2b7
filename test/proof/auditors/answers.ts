import type { Auditor, Call, History } from '../simulation/history.ts';

/** What the workloads' handlers answer. */
export interface Answer {
  readonly execution: string;
  readonly isPassing?: boolean;
}

/**
 * All who are answered in a window are answered the same, which is what the record has. Not so, as the documents say: the caller of an
 * attempt of which nothing could be recorded, an unguarded one, and an answer that is not to be remembered: that has one caller.
 */
export const answers: Auditor = {
  promise: 'every acknowledged answer is the stored one',
  audit(history) {
    const problems: string[] = [];
    const first = new Map<string, { readonly call: Call; readonly text: string }>();
    for (const call of history.calls) {
      const answer = answerOf(call);
      if (!answer || call.observed.some(({ type }) => type === 'unrecorded')) continue;
      const execution = history.executions.find(({ id }) => id === answer.execution);
      if (!execution) {
        problems.push(`${call.id} was answered by nobody's execution: ${answer.execution}`);
        continue;
      }
      if (!execution.isGuarded) {
        if (execution.call !== call)
          problems.push(`${call.id} was answered by an unguarded run of another call`);
        continue;
      }
      if (answer.isPassing) {
        if (execution.call !== call) problems.push(`${call.id} was answered what was not to be remembered`);
        continue;
      }
      const window = `${execution.pk} ${history.windowOf(execution)}`;
      const text = JSON.stringify(answer);
      const other = first.get(window);
      if (other && other.text !== text) {
        problems.push(
          `${call.id} was answered ${answer.execution}, and ${other.call.id} otherwise in the same window`,
        );
      }
      first.set(window, other ?? { call, text });
      problems.push(...unlikeRecord(history, call, execution.id, history.windowOf(execution)));
    }
    return problems;
  },
};

/** The window must have been completed by the very execution that was answered. */
function unlikeRecord(history: History, call: Call, id: string, window: string | undefined): string[] {
  const completion = history.transitions.find(
    ({ after, pk }) => call.pks.has(pk) && after?.window === window && after?.status === 'COMPLETED',
  );
  if (!completion?.after) return [`${call.id} was answered ${id}, of which no record is`];
  if (completion.call !== call && completion.after.endsAtMs <= call.startedAtClockMs) {
    return [`${call.id} was answered ${id}, whose window was over`];
  }
  const owner = history.executions.find(
    (one) => one.pk === completion.pk && one.owner === completion.after?.owner,
  );
  if (owner === undefined || owner.id === id) return [];
  return [`${call.id} was answered ${id}, and the record is that of ${owner.id}`];
}

export function answerOf({ outcome }: Call): Answer | undefined {
  const value = outcome?.kind === 'answered' ? outcome.value : undefined;
  return typeof (value as Answer | undefined)?.execution === 'string' ? (value as Answer) : undefined;
}
