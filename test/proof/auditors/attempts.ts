import { IdempotencyError, type RecordSummary } from '../../../lib/index.ts';
import type { Auditor, Call, History } from '../simulation/history.ts';

/** What a handler is told of its attempt is what the record says, and what a caller is told of a record is what it was. */
export const attempts: Auditor = attemptsBut(() => false);

type WasSo = (history: History, call: Call, told: RecordSummary) => boolean;

/** @param wasSoToo whether a protocol of its own has told of a record otherwise, and how it was */
export function attemptsBut(wasSoToo: WasSo): Auditor {
  return {
    promise: 'an attempt is the one that the record names',
    audit: (history) => [...toldToHandlers(history), ...toldToCallers(history, wasSoToo)],
  };
}

const toldToHandlers = ({ executions }: History): string[] =>
  executions.flatMap(({ id, claim: record, attempt, isGuarded, endsAtMs }) => {
    if (!isGuarded || record === undefined) return [];
    if (record.attempt !== attempt)
      return [`${id} was told attempt ${attempt}, the record says ${record.attempt}`];
    return record.endsAtMs === endsAtMs
      ? []
      : [`${id} was told an end of its window at ${endsAtMs}, the record says ${record.endsAtMs}`];
  });

/** The record was so at some time before the call ended. */
const toldToCallers = (history: History, wasSoToo: WasSo): string[] =>
  history.calls.flatMap((call) => {
    const { id, pks, outcome, endedAtMs = 0 } = call;
    const error = outcome?.kind === 'failed' ? outcome.error : undefined;
    if (!IdempotencyError.is(error) || error.record === undefined) return [];
    const { status, attempt, leaseUntil, endsAt } = error.record;
    // Over HTTP times are text.
    const [leaseUntilMs, endsAtMs] = [leaseUntil, endsAt].map((time) => new Date(time).getTime());
    const wasSo = history.transitions.some(
      ({ pk, atMs, after }) =>
        pks.has(pk) &&
        atMs <= endedAtMs &&
        after?.status === status &&
        after.attempt === attempt &&
        after.leaseUntilMs === leaseUntilMs &&
        after.endsAtMs === endsAtMs,
    );
    return wasSo || wasSoToo(history, call, error.record)
      ? []
      : [`${id} was told of attempt ${attempt}, ${status}, which its record never was`];
  });
