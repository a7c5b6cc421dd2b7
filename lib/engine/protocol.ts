/**
 * The protocol: how attempts of one operation take turns on its record, and how each one ends.
 *
 * ```text
 *                        claim (Put)                     complete (Update)
 *        no record ────────────────────▶ IN_PROGRESS ─────────────────────▶ COMPLETED
 *            ┌────────────────────────▶    │  ▲  │                             │
 *      claim │ release, nothing begun      │  │  │ release, otherwise          │ window over:
 *      (Put) │ (Put RELEASED)              │  │  │ (Update leaseUntil = 0)     │ claim (Put)
 *        RELEASED ◀────────────────────────┘  │  ▼                             ▼
 *                                             └─ lease over ◀── crash       IN_PROGRESS
 *                                     takeover (Update owner)               of a new window
 * ```
 *
 * | write | condition |
 * |---|---|
 * | claim | no record, or its window is over and no lease holds |
 * | give back: a release by attempt 1 with nothing begun, and a claim of which nobody knows what became | that of the claim, or the owner is me and `IN_PROGRESS` |
 * | takeover | the owner is the one that was seen, and `IN_PROGRESS` |
 * | complete, any other release, and the claim's part in a transaction or a commit | the owner is me, and `IN_PROGRESS` |
 * | complete without a claim (`claim: 'at-commit'`): from no record to `COMPLETED` at once | that of a claim |
 * | amend: the answer of a commit, once other middlewares have added to it | the owner is me, and `COMPLETED` |
 * | a step's record, a staged message | there is none |
 * | the end of a step that was recorded as started | the owner is me, and `STARTED` |
 *
 * Whatever stops a write, and every re-read while waiting, is judged on the record that came back, in this order:
 *
 * | the record | a claim is | a completion is |
 * |---|---|---|
 * | is absent or released | put again | unrecorded |
 * | is mine: the write was applied and its answer lost | won, as the attempt that the record names | done; a replay where a commit was in doubt |
 * | its window is over and no lease holds | put again | unrecorded |
 * | has another fingerprint | a mismatch | overtaken |
 * | is `COMPLETED` | a replay | a replay in the same window, else overtaken |
 * | is `IN_PROGRESS` and its lease holds | busy | overtaken |
 * | is `IN_PROGRESS` and its lease is over | a takeover | overtaken |
 *
 * A request can arrive long after its sender gave up on it. So nothing is deleted: a `RELEASED` record ends later than the
 * moment at which its claim was asked for, and stops every request of that claim that is still on its way.
 */

import { IdempotencyError } from '../errors.ts';
import type { ClaimRecord, ClaimWritten, Completion } from '../store/index.ts';
import { uniqueId } from '../unique-id.ts';
import { Attempt, type ClaimRequest } from './attempt.ts';
import { backoff, claimTimeMs, insist, inTime, reserveMs } from './in-time.ts';
import { noTimeLeft } from './refusals.ts';

/** What a claim came to. */
export type Claimed =
  | { readonly outcome: 'won'; readonly attempt: Attempt; readonly takenOver: boolean }
  | { readonly outcome: 'replay'; readonly record: ClaimRecord }
  | { readonly outcome: 'mismatch'; readonly record: ClaimRecord }
  /** `record` is absent where races were lost until there was no point in another. */
  | { readonly outcome: 'busy'; readonly record: ClaimRecord | undefined }
  /** The store did not answer, and nothing is known of the operation. */
  | { readonly outcome: 'unreachable'; readonly error: IdempotencyError };

/** What the end of an attempt came to. */
export type Settled =
  /** `record` is the completed one. */
  | { readonly outcome: 'done'; readonly record?: ClaimRecord }
  /** The attempt that took over has answered: theirs is the answer. */
  | { readonly outcome: 'replay'; readonly record: ClaimRecord }
  | { readonly outcome: 'overtaken'; readonly record: ClaimRecord | undefined }
  | { readonly outcome: 'unrecorded'; readonly cause: unknown };

/** Losing this many races on one record means that others are making progress on it. */
export const maxRaces = 10;
const maxGiveUpMs = 2_000;

/** How a record stands towards a call. */
export type Standing = 'free' | 'mine' | 'mismatch' | 'completed' | 'busy' | 'abandoned';

/**
 * The rows of the second table, in their order.
 *
 * @param owner `undefined` for a call that has asked for no claim
 */
export function stand(
  record: ClaimRecord | undefined,
  request: Pick<ClaimRequest, 'deps' | 'fingerprint'>,
  owner: string | undefined,
): Standing {
  // A released record is nobody's, not even its owner's, who may ask again.
  if (record === undefined || record.status === 'RELEASED') return 'free';
  if (record.owner === owner) return 'mine';
  const nowMs = request.deps.clock.now();
  const leaseHolds = record.status === 'IN_PROGRESS' && record.leaseUntilMs > nowMs;
  if (record.endsAtMs <= nowMs && !leaseHolds) return 'free';
  const { fingerprint } = request;
  if (fingerprint !== undefined && record.fingerprint !== undefined && record.fingerprint !== fingerprint) {
    return 'mismatch';
  }
  if (record.status === 'COMPLETED') return 'completed';
  return leaseHolds ? 'busy' : 'abandoned';
}

/**
 * Tries to win the right to execute.
 *
 * @throws `STORE_UNAVAILABLE`, `STORE_MISCONFIGURED`, `NO_TIME_LEFT`
 */
export async function claim(request: ClaimRequest): Promise<Claimed> {
  const { pk, deps } = request;
  const { store, clock, lease } = deps;
  // Zero milliseconds left is a deadline, not the lack of one.
  if (lease.timeLeftMs() <= 0) throw noTimeLeft();
  const settled = recognised(request);
  if (settled) return settled;
  let owner = uniqueId();
  /** Of requests that were refused: a sending of one may have been applied before, or may be yet. */
  const earlierOwners: string[] = [];
  const standingOf = (record: ClaimRecord | undefined): Standing =>
    stand(record, request, record && earlierOwners.includes(record.owner) ? record.owner : owner);
  const waitUntilMs =
    request.waitMs === 0 ? 0 : clock.now() + Math.min(request.waitMs, lease.timeLeftMs() - reserveMs);
  let standing: Standing = 'free';
  let found: ClaimRecord | undefined;
  let pauseMs: number = backoff.firstMs;

  for (let races = 0; races < maxRaces; races++) {
    const attempt: Attempt =
      standing === 'abandoned' && found
        ? Attempt.after(found, request, owner)
        : Attempt.first(request, owner, found);
    let written: ClaimWritten;
    try {
      written = await inTime(attempt.claim(), claimTimeMs(lease));
    } catch (error) {
      if (!IdempotencyError.is(error, 'STORE_UNAVAILABLE')) throw error;
      // It may have been applied: take it back, so that the caller's retry does not meet a claim nobody works on.
      await giveUp(attempt);
      if (found === undefined) return { outcome: 'unreachable', error };
      throw error;
    }
    if (written.outcome === 'applied') return won(attempt, standing === 'abandoned');

    if (written.outcome === 'blocked') {
      if (written.isRepeat) {
        await giveUp(attempt);
        // A late copy of that request must not end what is claimed after it.
        owner = uniqueId();
      }
      standing = 'busy';
    } else {
      found = written.found;
      standing = standingOf(found);
    }
    while (standing === 'busy' && clock.now() < waitUntilMs) {
      const jitterMs = pauseMs * (0.5 + Math.random() / 2);
      await clock.sleep(Math.max(1, Math.min(jitterMs, waitUntilMs - clock.now())));
      pauseMs = Math.min(pauseMs * 2, backoff.mostMs);
      found = await inTime(store.read(pk), claimTimeMs(lease));
      standing = standingOf(found);
    }
    switch (standing) {
      case 'mine': {
        // Perhaps by an earlier request of this call: the record says which attempt this is.
        const recorded = Attempt.recorded(found!, request, attempt.askedAtMs);
        return won(recorded, recorded.number > 1);
      }
      case 'mismatch':
        return { outcome: 'mismatch', record: found! };
      case 'completed':
        return { outcome: 'replay', record: found! };
      case 'busy':
        return { outcome: 'busy', record: found };
      case 'free':
      case 'abandoned':
        // Under one name, what another attempt sent to take over from the last request would apply to the next one as well.
        earlierOwners.push(owner);
        owner = uniqueId();
    }
  }
  return { outcome: 'busy', record: found };
}

/** What the record at hand decides; nothing where there is none, or it no longer stands. */
export function recognised(
  request: ClaimRequest,
): Extract<Claimed, { outcome: 'replay' | 'mismatch' }> | undefined {
  const { known } = request;
  if (known === undefined) return undefined;
  switch (stand(known, request, undefined)) {
    case 'completed':
      return { outcome: 'replay', record: known };
    case 'mismatch':
      return { outcome: 'mismatch', record: known };
    default:
      return undefined;
  }
}

function won(attempt: Attempt, takenOver: boolean): Claimed | Promise<never> {
  return attempt.isInTime() ? { outcome: 'won', attempt, takenOver } : tooLate(attempt);
}

async function tooLate(attempt: Attempt): Promise<never> {
  await giveUp(attempt);
  throw noTimeLeft();
}

/** Never rejects: the lease ends what could not be given up. */
async function giveUp(attempt: Attempt): Promise<void> {
  await inTime(attempt.giveUp(false), Math.min(maxGiveUpMs, attempt.settleTimeMs)).catch(() => {});
}

/**
 * Stores the answer of `attempt`. Repeated while there is time, because what it records has happened.
 *
 * @param isInDoubt whether a commit of this attempt may have been applied
 */
export function complete(
  attempt: Attempt,
  answer: Completion['answer'],
  isInDoubt: boolean,
): Promise<Settled> {
  const { clock, store } = attempt.deps;
  const completion = attempt.completion(answer);
  return insist(clock, attempt.settleTimeMs, () => store.complete(completion)).then(
    (written) =>
      written.outcome === 'applied'
        ? { outcome: 'done', record: attempt.completedRecord(completion) }
        : judgeCompletion(attempt, completion, written.found, isInDoubt),
    (cause: unknown) => ({ outcome: 'unrecorded', cause }),
  );
}

function judgeCompletion(
  attempt: Attempt,
  completion: Completion,
  record: ClaimRecord | undefined,
  isInDoubt: boolean,
): Settled {
  switch (stand(record, attempt.request, attempt.owner)) {
    case 'free':
      return {
        outcome: 'unrecorded',
        cause: new Error('The claim was gone before the answer could be stored.'),
      };
    case 'mine':
      // A commit in doubt may have been applied: then its result is the answer, and not this one.
      return isInDoubt && record
        ? { outcome: 'replay', record }
        : { outcome: 'done', record: attempt.completedRecord(completion) };
    case 'mismatch':
      return { outcome: 'overtaken', record };
    case 'completed':
      return record?.window === attempt.window
        ? { outcome: 'replay', record }
        : { outcome: 'overtaken', record };
    case 'busy':
    case 'abandoned':
      return { outcome: 'overtaken', record };
  }
}

/** Lets the next attempt start at once: with a clean slate if this one has begun nothing, else in its window. */
export async function release(attempt: Attempt, begun: boolean): Promise<Settled> {
  try {
    const written = await inTime(attempt.giveUp(begun), attempt.settleTimeMs);
    if (written.outcome === 'applied' || written.found === undefined) return { outcome: 'done' };
    const { found } = written;
    if (found.owner !== attempt.owner) return { outcome: 'overtaken', record: found };
    // A commit of which the outcome was unknown has been applied.
    return found.status === 'COMPLETED' ? { outcome: 'replay', record: found } : { outcome: 'done' };
  } catch (cause) {
    return { outcome: 'unrecorded', cause };
  }
}

/** Replaces the answer of `record`, which this attempt has completed. Where that fails, repeats get the committed answer. */
export async function amend(attempt: Attempt, record: ClaimRecord, answer: Uint8Array): Promise<Settled> {
  try {
    const written = await inTime(attempt.deps.store.amend(attempt.completion(answer)), attempt.settleTimeMs);
    if (written.outcome === 'applied') {
      return { outcome: 'done', record: { ...record, answer: { kind: 'inline', bytes: answer } } };
    }
    return { outcome: 'unrecorded', cause: new Error('The completed record was gone.') };
  } catch (cause) {
    return { outcome: 'unrecorded', cause };
  }
}
