/** Why an attempt is refused, or may do nothing more. */
import { IdempotencyError, type RecordSummary } from '../errors.ts';
import type { ClaimRecord } from '../store/index.ts';

export const overtaken = (record: ClaimRecord | undefined, nowMs: number): IdempotencyError =>
  new IdempotencyError(
    'OVERTAKEN',
    'This attempt outlived its lease, and another took over. What it did may have happened; try again with the same key for the answer.',
    {
      effect: 'possible',
      retryAfterSeconds: secondsUntilFree(record, nowMs),
      record: record && summarise(record),
    },
  );

export const leaseIsOver = (): IdempotencyError =>
  new IdempotencyError(
    'OVERTAKEN',
    'The lease of this attempt is over: another attempt may be running. What was begun may have happened.',
    { effect: 'possible', retryAfterSeconds: 1 },
  );

/** Why a call that is not to run is refused. */
export function refusalOf(
  claimed:
    | { readonly outcome: 'mismatch'; readonly record: ClaimRecord }
    | { readonly outcome: 'busy'; readonly record: ClaimRecord | undefined },
  nowMs: number,
): IdempotencyError {
  if (claimed.outcome === 'mismatch') {
    return new IdempotencyError(
      'PAYLOAD_MISMATCH',
      'This idempotency key was used before with other parameters. Nothing has been done; use a new key for a new operation.',
      { record: summarise(claimed.record) },
    );
  }
  return new IdempotencyError(
    'IN_PROGRESS',
    'An earlier request with this idempotency key is still being processed. Nothing has been done by this one; try again later.',
    {
      retryAfterSeconds: secondsUntilFree(claimed.record, nowMs),
      record: claimed.record && summarise(claimed.record),
    },
  );
}

/** A lease is as long as its owner can take; most owners are done long before, and asking again is cheap. */
const mostRetryAfterSeconds = 5;

function secondsUntilFree(record: ClaimRecord | undefined, nowMs: number): number {
  const leftMs = record?.status === 'IN_PROGRESS' ? record.leaseUntilMs - nowMs : 0;
  return Math.min(Math.max(1, Math.ceil(leftMs / 1000)), mostRetryAfterSeconds);
}

/** What an error may tell about a record. */
export function summarise(record: ClaimRecord): RecordSummary {
  return {
    status: record.status,
    attempt: record.attempt,
    createdAt: new Date(record.createdAtMs),
    ...(record.completedAtMs !== undefined && { completedAt: new Date(record.completedAtMs) }),
    leaseUntil: new Date(record.leaseUntilMs),
    endsAt: new Date(record.endsAtMs),
  };
}

export const noTimeLeft = (): IdempotencyError =>
  new IdempotencyError(
    'NO_TIME_LEFT',
    'There is no time left to process this request. Nothing has been done; try again.',
    { retryAfterSeconds: 1 },
  );

/** After it, the attempt may begin nothing more. */
export const outcomeUnknown = (cause: unknown): IdempotencyError =>
  new IdempotencyError(
    'OUTCOME_UNKNOWN',
    'It is not known whether a transaction was applied. Try again with the same key, which finds out.',
    { effect: 'possible', retryAfterSeconds: 1, cause },
  );

export const notCommitted = (): IdempotencyError =>
  new IdempotencyError(
    'NOT_COMMITTED',
    "The handler returned without commit(), so nothing was recorded. Do all work in commit(), or leave out `claim: 'at-commit'`.",
    { effect: 'possible' },
  );
