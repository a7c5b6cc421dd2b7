/** What a numbered sender fails with. No message holds a payload. */
import { IdempotencyError } from '../errors.ts';

export const storageFailed = (cause: unknown): IdempotencyError =>
  IdempotencyError.is(cause)
    ? cause
    : new IdempotencyError(
        'STORAGE_FAILED',
        'The storage of this sender could not be read or written. What was not saved is not sent; look at `cause`.',
        { cause },
      );

export const fenced = (): IdempotencyError =>
  new IdempotencyError(
    'FENCED',
    'A newer epoch of this producer is at work, so this sender has stopped for ever. Look for a second one with the same `producer`, or for a clock that was set back.',
    { effect: 'possible' },
  );

export const mismatch = (): IdempotencyError =>
  new IdempotencyError(
    'PAYLOAD_MISMATCH',
    'The number of this message was used for another payload. Look for a second sender with the same `producer`, or for a request that is not the same in each attempt.',
    { effect: 'possible' },
  );

export const inDoubt = (): IdempotencyError =>
  new IdempotencyError(
    'OUTCOME_UNKNOWN',
    'The server no longer knows this sender, so nobody can tell whether this message was processed. Find out, and say so with `whenInDoubt`.',
    { effect: 'possible' },
  );

export const sequenceGap = (expectedNumber: number): IdempotencyError =>
  new IdempotencyError('SEQUENCE_GAP', 'The server was not ready for this message.', { expectedNumber });
