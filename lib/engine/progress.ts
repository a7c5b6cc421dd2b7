/** How far an attempt has come. The handler's operation moves it on, and the execution settles by it. */
import { afterActing, type IdempotencyError } from '../errors.ts';
import type { ClaimRecord } from '../store/index.ts';
import type { Attempt } from './attempt.ts';
import { type Encoded, encode } from './codec.ts';
import type { Reply } from './reply.ts';
import type { Settings } from './settings.ts';

/** An attempt's life, from its entry up to what its settling finds. */
export type Phase =
  /** Claims at its commit, and has not yet. `rejected`: a condition of an earlier commit failed. */
  | { readonly at: 'unclaimed'; readonly rejected: boolean }
  /** `begun`: the handler asked for something that the next attempt must know of. */
  | { readonly at: 'claimed'; readonly begun: boolean }
  /** A commit is under way. If it still is when the handler is over, it is in doubt. */
  | { readonly at: 'committing'; readonly isClaimed: boolean }
  | { readonly at: 'committed'; readonly record: ClaimRecord; readonly encoded: Encoded }
  /** Another commit was first. `mayHaveActed`: it may be an earlier one of ours, whose answer was lost. */
  | { readonly at: 'duplicate'; readonly record: ClaimRecord; readonly mayHaveActed: boolean }
  /** A transaction was sent, and nobody knows what became of it. */
  | { readonly at: 'in-doubt'; readonly isClaimed: boolean; readonly cause: unknown };

export class Progress {
  /** Another one for each claim that is asked for at the commit. */
  attempt: Attempt;
  /** Of all claims that were asked for at a commit: a request of any of them may have been applied, or may be yet. */
  readonly owners: string[] = [];
  phase: Phase;
  /** Whether nothing more may be begun. */
  isClosed = false;
  readonly settings: Settings;
  /** Whether the claim is won at the commit, and not before. */
  readonly claimsAtCommit: boolean;
  readonly #reply: Pick<Reply, 'toStore'>;

  constructor(attempt: Attempt, settings: Settings, isClaimed: boolean, reply: Pick<Reply, 'toStore'>) {
    this.attempt = attempt;
    this.settings = settings;
    this.phase = isClaimed ? { at: 'claimed', begun: false } : { at: 'unclaimed', rejected: false };
    this.claimsAtCommit = !isClaimed;
    this.#reply = reply;
  }

  /** Whether `record` is by this attempt. */
  isOwn({ owner }: ClaimRecord): boolean {
    return owner === this.attempt.owner || this.owners.includes(owner);
  }

  /** Notes that something has begun that the next attempt must know of. */
  begin(): void {
    if (this.phase.at === 'claimed') this.phase = { at: 'claimed', begun: true };
  }

  /**
   * Whether anything can have been done by now. Under a claim the handler may act at any time, unseen. Without one, it acts
   * only in its commit.
   */
  mayHaveActed(): boolean {
    if (!this.claimsAtCommit) return true;
    switch (this.phase.at) {
      case 'unclaimed':
      case 'claimed':
        return false;
      case 'committing':
      case 'committed':
      case 'in-doubt':
        return true;
      case 'duplicate':
        return this.phase.mayHaveActed;
    }
  }

  /** `error` as it may leave this attempt. @param message what to say instead where something may have been done */
  leaving<Thrown>(error: Thrown, message?: string): Thrown | IdempotencyError {
    return this.mayHaveActed() ? afterActing(error, message) : error;
  }

  /** `result` as it is to be stored. */
  encode(result: unknown): Encoded | Promise<Encoded> {
    const { attempt } = this;
    const { maxAnswerBytes: maxBytes, seal } = attempt.deps.store;
    const sealTimeMs = seal && attempt.settleTimeMs / 2;
    return encode(this.#reply.toStore(result), { operation: attempt.pk, maxBytes, seal, sealTimeMs });
  }
}

/** Whether this attempt has the claim. One that claims at its commit has none before. */
export function isClaimed(phase: Phase): boolean {
  switch (phase.at) {
    case 'unclaimed':
    case 'duplicate':
      return false;
    case 'claimed':
    case 'committed':
      return true;
    case 'committing':
    case 'in-doubt':
      return phase.isClaimed;
  }
}

/** Whether a commit may have been applied without our knowing it. One that still runs when the handler is over counts. */
export const isInDoubt = ({ at }: Phase): boolean => at === 'committing' || at === 'in-doubt';

/** The store's own message says that nothing was done, but the handler may have acted. */
export const storeFailedMidway =
  'The store failed or was busy in the middle of the work. Try again with the same key: what is recorded is not done again.';
