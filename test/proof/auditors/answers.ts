import { isDeepStrictEqual } from 'node:util';
import type { Auditor, Call, Execution, History } from '../simulation/history.ts';

/** What the workloads' handlers answer. */
export interface Answer {
  readonly execution: string;
  readonly isPassing?: boolean;
  /** What was answered where a commit failed. */
  readonly isFallback?: boolean;
}

/**
 * All who are answered in a window are answered the same: what the handler of the stored answer returned or committed. Not so, as the
 * documents say: the caller of an attempt of which nothing could be recorded, an unguarded one, and an answer that is not to be
 * remembered: that has one caller.
 */
export const answers: Auditor = {
  promise: 'every acknowledged answer is the stored one',
  audit(history) {
    const first = new Map<string, { readonly call: Call; readonly answer: Answer }>();
    return history.calls.flatMap((call) => {
      const { outcome, id } = call;
      if (outcome?.kind !== 'answered' || isReport(outcome.value)) return [];
      if (outcome.value === undefined) return unlikeNothing(history, call);
      const answer = answerOf(call);
      const execution = answer && history.executions.find((one) => one.id === answer.execution);
      if (!answer || !execution) return [`${id} was answered what no handler returned`];
      if (!execution.answers.some((one) => isDeepStrictEqual(one, answer)))
        return [`${id} was answered ${execution.id}, with other values than that returned`];
      return unlikeStored(history, call, answer, execution, first);
    });
  },
};

function unlikeStored(
  history: History,
  call: Call,
  answer: Answer,
  execution: Execution,
  first: Map<string, { readonly call: Call; readonly answer: Answer }>,
): string[] {
  if (call.observed.some(({ type }) => type === 'unrecorded')) return [];
  const isOwn = execution.call === call;
  if (!execution.isGuarded)
    return isOwn ? [] : [`${call.id} was answered by an unguarded run of another call`];
  if (answer.isPassing) return isOwn ? [] : [`${call.id} was answered what was not to be remembered`];
  const window = history.windowOf(execution);
  const place = `${execution.pk} ${window}`;
  const other = first.get(place);
  first.set(place, other ?? { call, answer });
  const problems =
    other && !isDeepStrictEqual(other.answer, answer) && !isAmendment(other.answer, answer)
      ? [`${call.id} was answered ${answer.execution}, and ${other.call.id} otherwise in the same window`]
      : [];
  return [...problems, ...unlikeRecord(history, call, execution.id, window)];
}

/** Who asks between a commit and the amendment of its answer gets what was committed. */
const isAmendment = (one: Answer, other: Answer): boolean =>
  one.execution === other.execution && one.isFallback !== other.isFallback;

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

/** An answer that is nothing names no execution: some must have answered so before, and be recorded or the caller's own. */
function unlikeNothing({ executions, transitions }: History, call: Call): string[] {
  const { endedAtMs = 0 } = call;
  const done = executions.filter(
    (one) =>
      call.pks.has(one.pk) &&
      (one.endedAtMs ?? Number.POSITIVE_INFINITY) <= endedAtMs &&
      one.answers.some((answer) => answer === undefined),
  );
  if (done.some((one) => one.call === call)) return [];
  const isRecorded = transitions.some(
    ({ pk, after, atMs }) => call.pks.has(pk) && after?.status === 'COMPLETED' && atMs <= endedAtMs,
  );
  return done.length > 0 && isRecorded ? [] : [`${call.id} was answered nothing, which no handler had`];
}

/** What a batch answers with. */
const isReport = (value: unknown): boolean =>
  Array.isArray((value as { batchItemFailures?: unknown } | undefined)?.batchItemFailures);

export function answerOf({ outcome }: Call): Answer | undefined {
  const value = outcome?.kind === 'answered' ? outcome.value : undefined;
  return typeof (value as Answer | undefined)?.execution === 'string' ? (value as Answer) : undefined;
}
