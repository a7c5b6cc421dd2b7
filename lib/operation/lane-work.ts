/** The commits of a lane: each moves its position together with its work, if the position is the one that was read. */
import { completed, positionedStore } from '../dynamo/index.ts';
import { overtaken, type Progress } from '../engine/index.ts';
import { afterActing, IdempotencyError } from '../errors.ts';
import type { ClaimRecord, LanePlace, PositionedStore, Store } from '../store/index.ts';
import { uniqueId } from '../unique-id.ts';
import { type AtomicWork, checkWork, rejected, transact, unsupported } from './transact.ts';
import { Work } from './work.ts';

/** What a commit of a lane's records takes. */
export interface LaneCommit<Record, Result> extends AtomicWork {
  /** What `commit` resolves to. It is not stored. */
  readonly result?: Result;
  /**
   * The last record that this commit is for, as the handler was given it.
   *
   * @default the last one of all, where the member is left out
   */
  readonly upTo?: Record | undefined;
}

/** A lane on its way through a handler. */
export interface Lane {
  /** The position that is reached; `undefined` where there is none yet. */
  reached: string | undefined;
  /** Whether this attempt has moved it. */
  hasMoved: boolean;
  /** Whether the handler has asked for a commit, of whatever outcome. Then only commits say what is done. */
  hasAsked: boolean;
  /** The position of the last record that the handler was given. */
  readonly last: string;
  /** Where the lane's claim ends. It is beyond `last` where the handler is not given all. */
  readonly end: string;
  readonly startedAtMs: number;
  /** `undefined` for what the handler was not given. */
  positionOf(record: unknown): string | undefined;
}

/**
 * The store as it stands for the records of one lane.
 *
 * @throws `UNSUPPORTED`
 */
export function laneStore(store: Store, place: LanePlace): PositionedStore {
  const view = positionedStore(store, place);
  if (view) return view;
  throw new IdempotencyError(
    'UNSUPPORTED',
    `eachPartition() needs a store with \`positioned\`, and ${store.id} has none.`,
  );
}

export class LaneWork extends Work {
  readonly #lane: Lane;

  constructor(progress: Progress, lane: Lane) {
    super(progress);
    this.#lane = lane;
  }

  commitUpTo<Result>(given: LaneCommit<unknown, Result>): Promise<Result> {
    return this.track(async () => {
      this.#lane.hasAsked = true;
      checkWork('commit()', given, 'result', 'upTo');
      const { result, upTo, ...work } = given;
      const { hasMoved } = this.#lane;
      try {
        this.beginCommit();
        const to = Object.hasOwn(given, 'upTo') ? this.#positionOf(upTo) : this.#next(this.#lane.last);
        // The claim's own end is the protocol's.
        if (!this.progress.claimsAtCommit && to === this.#lane.end) await this.complete(work, undefined);
        else await this.#advance(work, to);
        this.#lane.reached = to;
        this.#lane.hasMoved = true;
      } catch (error) {
        throw hasMoved ? afterActing(error) : error;
      }
      return result as Result;
    });
  }

  /**
   * Moves the position over all that the handler was given, because it has returned.
   *
   * @throws `OVERTAKEN`, `OUTCOME_UNKNOWN`, `STORE_UNAVAILABLE`
   */
  async advanceToLast(): Promise<void> {
    await this.#advance({}, this.#lane.last);
    this.#lane.reached = this.#lane.last;
  }

  #positionOf(upTo: unknown): string {
    const to = this.#lane.positionOf(upTo);
    // What was looked up and not found must not stand for all records.
    if (to !== undefined) return this.#next(to);
    throw new IdempotencyError(
      'BAD_WRITES',
      `Expected \`upTo\` of commit() to be one of the records that the handler was given, got ${upTo === undefined ? 'undefined' : 'something else'}. Nothing was written. Give the record itself, and not a copy of it; for all records leave \`upTo\` out.`,
    );
  }

  /** A position that the lane has not reached yet. */
  #next(to: string): string {
    const { reached } = this.#lane;
    if (reached !== undefined && to <= reached) {
      throw new IdempotencyError(
        'BAD_STEP',
        "The lane's position is at `upTo` of this commit already, or beyond. Nothing was written by this one. Commit each part once, in the order of its records.",
      );
    }
    return to;
  }

  async #advance(work: AtomicWork, upTo: string): Promise<void> {
    const { progress } = this;
    const { settings, attempt, phase: before } = progress;
    const { store, clock } = attempt.deps;
    if (!completed(store).transactions) throw unsupported(store, 'commit() of a lane', 'transactions');
    const hasClaim = !progress.claimsAtCommit;
    // Without a claim each commit has an owner of its own, by which it is recognised when its answer was lost.
    const owner = hasClaim ? attempt.owner : uniqueId();
    const committingAtMs = clock.now();
    progress.phase = { at: 'committing', isClaimed: hasClaim };
    try {
      const claim = { kind: 'advance', owner, upTo, hasClaim, from: this.#lane.reached } as const;
      const cancelled = await transact(attempt, settings, `commit@${upTo}`, work, { claim });
      const found = cancelled?.claim?.found;
      const isOurs = found?.owner === owner && found.position === upTo;
      if (cancelled?.claim && !isOurs)
        throw hasClaim ? overtaken(found, clock.now()) : this.#lost(found, committingAtMs);
      if (cancelled && !cancelled.claim) throw rejected(cancelled);
    } catch (error) {
      progress.phase = IdempotencyError.is(error, 'OUTCOME_UNKNOWN')
        ? { at: 'in-doubt', isClaimed: hasClaim, cause: error }
        : before;
      throw error;
    }
    progress.phase = hasClaim ? { at: 'claimed', begun: true } : before;
    if (hasClaim || upTo !== this.#lane.last) return;
    const encoded = await progress.encode(undefined);
    const record = attempt.completedRecord(attempt.completion({ reason: 'forgotten' }));
    progress.phase = { at: 'committed', record, encoded };
  }

  /** The error of a commit without a claim that another invocation was before. */
  #lost(found: ClaimRecord | undefined, committingAtMs: number): IdempotencyError {
    const { settings, attempt } = this.progress;
    const nowMs = attempt.deps.clock.now();
    settings.observe?.({
      ...{ type: 'overtaken', operation: attempt.pk, attempt: attempt.number },
      durationMs: nowMs - committingAtMs,
      runMs: committingAtMs - this.#lane.startedAtMs,
    });
    const { retryAfterSeconds, record } = overtaken(found, nowMs);
    return new IdempotencyError(
      'OVERTAKEN',
      "Another invocation is at work on this lane, or has moved its position. Nothing of this commit was written. The lane's records beyond the position are delivered again.",
      { ...(retryAfterSeconds !== undefined && { retryAfterSeconds }), ...(record && { record }) },
    );
  }
}
