/** The commit: writes, messages and completion as one. The claim's owner sends it, or an attempt that claims by it. */

import { IdempotencyError } from '../errors.ts';
import type { ClaimRecord, ClaimWritten, TransactionRequest } from '../store/index.ts';
import { uniqueId } from '../unique-id.ts';
import { Attempt } from './attempt.ts';
import type { Encoded } from './codec.ts';
import { answerIn } from './codec.ts';
import { insist, inTime } from './in-time.ts';
import { claimOccurrence } from './occurrence.ts';
import { isClaimed, isInDoubt, type Phase, type Progress } from './progress.ts';
import { type Claimed, maxRaces, stand } from './protocol.ts';
import { storedAnswer, tellUnavailable } from './recall.ts';
import { outcomeUnknown, overtaken, refusalOf } from './refusals.ts';

/** How a commit ended. */
type Commit =
  | { readonly outcome: 'applied'; readonly encoded: Encoded; readonly record: ClaimRecord }
  /** The operation was completed already. Its record has the answer. */
  | { readonly outcome: 'duplicate'; readonly record: ClaimRecord };

/**
 * Writes the record's part of a commit, and the work that goes with it. Resolves to `undefined` once it is applied, else to
 * the record that stopped it.
 */
export type RecordWrite = (
  attempt: Attempt,
  claim: Extract<TransactionRequest['claim'], { kind: 'complete' | 'record' }>,
) => Promise<{ readonly found: ClaimRecord | undefined } | undefined>;

/**
 * Ends the operation with `result`. Resolves to `result`, or to the answer of the commit that was first.
 *
 * @throws `OVERTAKEN`, `PAYLOAD_MISMATCH`, `IN_PROGRESS`, `OUTCOME_UNKNOWN`, what `write` throws
 */
export async function commit(progress: Progress, result: unknown, write = alone): Promise<unknown> {
  const before = progress.phase;
  const startedAtMs = progress.attempt.deps.clock.now();
  progress.phase = { at: 'committing', isClaimed: isClaimed(before) };
  let commit: Commit;
  try {
    const encoded = await progress.encode(result);
    tellUnavailable(progress.settings, 'answer', encoded);
    commit = await commitEncoded(progress, encoded, write);
  } catch (error) {
    progress.phase = phaseAfter(error, progress.phase, before);
    const { pk, deps } = progress.attempt;
    progress.settings.observeRefusal?.(error, pk, deps.clock.now() - startedAtMs);
    throw error;
  }
  if (commit.outcome === 'applied') {
    progress.phase = { at: 'committed', record: commit.record, encoded: commit.encoded };
    return result;
  }
  progress.phase = { at: 'duplicate', record: commit.record, mayHaveActed: isInDoubt(before) };
  // The replay that follows decides whether the cache keeps it.
  return storedAnswer(progress.settings, commit.record, false);
}

async function commitEncoded(progress: Progress, encoded: Encoded, write: RecordWrite): Promise<Commit> {
  if (!isClaimed(progress.phase)) {
    const commit = await commitUnclaimed(progress, encoded, write);
    if (commit.outcome !== 'taken-over') return commit;
    progress.phase = { at: 'committing', isClaimed: true };
  }
  return commitClaimed(progress.attempt, encoded, write);
}

function phaseAfter(error: unknown, phase: Phase, before: Phase): Phase {
  const isClaimedNow = isClaimed(phase);
  if (isInDoubt(before) || IdempotencyError.is(error, 'OUTCOME_UNKNOWN')) {
    return { at: 'in-doubt', isClaimed: isClaimedNow, cause: error };
  }
  if (isClaimedNow) return { at: 'claimed', begun: true };
  const wasRejected = before.at === 'unclaimed' && before.rejected;
  return { at: 'unclaimed', rejected: wasRejected || IdempotencyError.is(error, 'COMMIT_REJECTED') };
}

/** @throws `OVERTAKEN`, `COMMIT_REJECTED`, what `write` throws */
async function commitClaimed(attempt: Attempt, encoded: Encoded, write: RecordWrite): Promise<Commit> {
  const completion = attempt.completion(answerIn(encoded));
  const stopped = await write(attempt, { kind: 'complete', completion });
  const isOurs = stopped?.found?.owner === attempt.owner && stopped.found.status === 'COMPLETED';
  // If the completion is ours, an earlier sending was applied and its answer was lost.
  if (!stopped || isOurs) return { outcome: 'applied', encoded, record: attempt.completedRecord(completion) };
  throw overtaken(stopped.found, attempt.deps.clock.now());
}

/**
 * Claims and completes in one write. If a record stops it, that record decides how this attempt ends.
 * An abandoned claim is taken over first. Then nothing is committed yet: `progress.attempt` is to commit as its owner.
 *
 * @throws `PAYLOAD_MISMATCH`, `IN_PROGRESS`, what `commitClaimed` throws
 */
async function commitUnclaimed(
  progress: Progress,
  encoded: Encoded,
  write: RecordWrite,
): Promise<Commit | { readonly outcome: 'taken-over' }> {
  const { settings, owners } = progress;
  const { request } = progress.attempt;
  const ofEarlierCommits = [...owners];
  const standingOf = (record: ClaimRecord | undefined) =>
    stand(record, request, record && owners.includes(record.owner) ? record.owner : undefined);
  const startedAtMs = request.deps.clock.now();
  const settled = <Outcome extends Claimed>(claimed: Outcome): Outcome => {
    const occurrence = claimOccurrence(request.pk, claimed, request.deps.clock.now(), startedAtMs);
    if (occurrence) settings.observe?.(occurrence);
    return claimed;
  };
  const takenOver = (attempt: Attempt) => {
    settled({ outcome: 'won', attempt, takenOver: true });
    progress.attempt = attempt;
    return { outcome: 'taken-over' } as const;
  };
  let found: ClaimRecord | undefined;
  for (let races = 0; races < maxRaces; races++) {
    // Each try has an owner of its own. Otherwise a late takeover from the last claim would apply to the next one as well.
    const owner = owners.length === 0 ? progress.attempt.owner : uniqueId();
    owners.push(owner);
    const attempt = Attempt.first(request, owner, found);
    progress.attempt = attempt;
    const completion = attempt.completion(answerIn(encoded));
    const claim = { kind: 'record', claim: attempt.newClaim, completion } as const;
    const stopped = await write(attempt, claim);
    if (!stopped) return { outcome: 'applied', encoded, record: attempt.completedRecord(completion) };
    found = stopped.found;
    let stands = standingOf(found);
    if (stands === 'abandoned' && found) {
      const after = Attempt.after(found, request, owner);
      const written = await tryTakeover(after);
      if (written.outcome === 'applied') return takenOver(after);
      found = written.outcome === 'stopped' ? written.found : undefined;
      stands = standingOf(found);
    }
    if (found === undefined) continue;
    switch (stands) {
      case 'free':
        continue;
      case 'mine': {
        const recorded = Attempt.recorded(found, request, attempt.askedAtMs);
        if (found.status !== 'COMPLETED') return takenOver(recorded);
        if (ofEarlierCommits.includes(found.owner)) return { outcome: 'duplicate', record: found };
        // This commit has completed it, and the answer was lost.
        progress.attempt = recorded;
        const { answer } = recorded.completedRecord(completion);
        return { outcome: 'applied', encoded, record: { ...found, ...(answer && { answer }) } };
      }
      case 'mismatch':
        throw refusalOf(settled({ outcome: 'mismatch', record: found }), request.deps.clock.now());
      case 'completed':
        settled({ outcome: 'replay', record: found });
        return { outcome: 'duplicate', record: found };
      case 'busy':
        throw refusalOf(settled({ outcome: 'busy', record: found }), request.deps.clock.now());
      case 'abandoned':
        continue;
    }
  }
  throw refusalOf(settled({ outcome: 'busy', record: undefined }), request.deps.clock.now());
}

async function tryTakeover(attempt: Attempt): Promise<ClaimWritten> {
  try {
    return await inTime(attempt.claim(), attempt.settleTimeMs);
  } catch (error) {
    // The takeover may have been applied. Give it back, or the caller's retry meets a claim that nobody works on.
    await inTime(attempt.giveUp(false), attempt.settleTimeMs).catch(() => {});
    throw error;
  }
}

/** Writes the record without any work. */
const alone: RecordWrite = async (attempt, claim) => {
  const { store, clock } = attempt.deps;
  try {
    const written = await insist(clock, attempt.settleTimeMs, () =>
      claim.kind === 'complete'
        ? store.complete(claim.completion)
        : store.claimCompleted(claim.claim, claim.completion),
    );
    return written.outcome === 'stopped' ? { found: written.found } : undefined;
  } catch (error) {
    throw IdempotencyError.is(error, 'STORE_UNAVAILABLE') ? outcomeUnknown(error) : error;
  }
};
