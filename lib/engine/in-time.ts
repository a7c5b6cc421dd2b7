/** How long the engine waits for the store, and how often it asks. */
import { IdempotencyError, storeUnavailable } from '../errors.ts';
import type { Clock } from '../store/index.ts';
import { bounded } from './bounded.ts';
import type { Lease } from './lease.ts';

/** Kept back from the invocation's time, so that an answer can still be given. */
export const reserveMs = 250;
/** A caller waits no longer than this for its answer to be recorded. */
const maxSettleMs = 10_000;
export const backoff = { firstMs: 50, mostMs: 1_000 } as const;

const noAnswer = (): IdempotencyError =>
  storeUnavailable(new Error('No answer from the store in the time that is left.'));

/** How long a request for a claim may take. */
export const claimTimeMs = (lease: Lease): number =>
  Math.max(lease.timeLeftMs() - reserveMs, backoff.firstMs);

/** How long recording what has happened may take. */
export const settleTimeMs = (lease: Lease): number => {
  const leftMs = lease.timeLeftMs();
  return Math.min(Math.max(leftMs - Math.min(reserveMs, leftMs / 2), backoff.firstMs), maxSettleMs);
};

/** `work`, or `STORE_UNAVAILABLE` once `ms` have passed. */
export const inTime = <T>(work: Promise<T>, ms: number): Promise<T> => bounded(work, ms, noAnswer);

/**
 * Repeats a conditional write for at most `ms`, while it cannot be told what became of it.
 *
 * @throws the last failure; after one sending that was not answered always `STORE_UNAVAILABLE`, for that one may have been
 * applied, whatever became of the last one
 */
export function insist<T>(clock: Clock, ms: number, write: () => Promise<T>): Promise<T> {
  const giveUpAtMs = clock.now() + ms;
  const again = (failure: unknown): Promise<T> => repeat(clock, giveUpAtMs, write, failure);
  let first: Promise<T>;
  try {
    first = inTime(write(), Math.max(ms, backoff.firstMs));
  } catch (failure) {
    return again(failure);
  }
  return first.catch(again);
}

/** Goes on after the first sending has failed. */
async function repeat<T>(
  clock: Clock,
  giveUpAtMs: number,
  write: () => Promise<T>,
  firstFailure: unknown,
): Promise<T> {
  let failure = firstFailure;
  let isInDoubt = false;
  for (let pauseMs: number = backoff.firstMs; ; pauseMs = Math.min(pauseMs * 2, backoff.mostMs)) {
    const isPassing = IdempotencyError.is(failure, 'STORE_UNAVAILABLE');
    if (!isPassing) throw isInDoubt ? storeUnavailable(failure) : failure;
    if (clock.now() + pauseMs >= giveUpAtMs) throw failure;
    isInDoubt = true;
    await clock.sleep(pauseMs);
    try {
      return await inTime(write(), Math.max(giveUpAtMs - clock.now(), backoff.firstMs));
    } catch (error) {
      failure = error;
    }
  }
}
