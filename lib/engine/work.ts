/**
 * What a handler does under its attempt: steps, transactions, the commit. Each is begun only while the attempt may, is
 * waited for before the claim is given up, and is recorded so that no later attempt repeats it.
 */

import { afterActing, IdempotencyError } from '../errors.ts';
import type { ClaimRecord } from '../store/index.ts';
import { kindOf } from '../validate.ts';
import type { Attempt } from './attempt.ts';
import { type Encoded, encode } from './codec.ts';
import { type Commit, commitClaimed, commitUnclaimed } from './commit.ts';
import { inTime } from './in-time.ts';
import { storedAnswer, tellUnavailable } from './recall.ts';
import { leaseIsOver, overtaken } from './refusals.ts';
import type { Settings } from './settings.ts';
import { StepRecords, stepsIn } from './steps.ts';
import { checkTokenName, tokenOf } from './token.ts';
import { type AtomicWork, outcomeUnknown, rejected, transact } from './transact.ts';

/** An attempt's life, from its entry up to what its settling finds. */
export type Phase =
  /** Nothing is claimed before the commit. `rejected`: one was tried, and nothing came of it. */
  | { readonly at: 'unclaimed'; readonly rejected: boolean }
  /** `begun`: something was begun that the next attempt must know of. */
  | { readonly at: 'claimed'; readonly begun: boolean }
  /** Once the handler is over, as good as in doubt. */
  | { readonly at: 'committing'; readonly isClaimed: boolean }
  | { readonly at: 'committed'; readonly record: ClaimRecord; readonly encoded: Encoded }
  /** Somebody else's commit was first, or one of ours of which we had no answer: then `mayHaveActed`. */
  | { readonly at: 'duplicate'; readonly record: ClaimRecord; readonly mayHaveActed: boolean }
  /** A transaction was sent, and nobody knows what became of it. */
  | { readonly at: 'in-doubt'; readonly isClaimed: boolean; readonly cause: unknown };

export class Work {
  #attempt: Attempt;
  #phase: Phase;
  /** Whether anything may still be begun. */
  #isClosed = false;
  readonly #settings: Settings;
  readonly #steps: StepRecords;
  /** Whether the claim is won at the commit, and not before. */
  readonly #claimsAtCommit: boolean;
  /** Makes of a result what is to be stored of it. */
  readonly #toStore: (result: unknown) => unknown;
  readonly #names = new Set<string>();
  readonly #pending = new Set<Promise<unknown>>();
  /** Errors that come from here: a front door may answer for them. */
  readonly #raised = new WeakSet<object>();
  /** What a step's own function has thrown. */
  readonly #foreign = new WeakSet<object>();

  constructor(
    attempt: Attempt,
    options: {
      readonly settings: Settings;
      readonly isClaimed: boolean;
      readonly toStore: (result: unknown) => unknown;
    },
  ) {
    this.#attempt = attempt;
    this.#phase = options.isClaimed ? { at: 'claimed', begun: false } : { at: 'unclaimed', rejected: false };
    this.#claimsAtCommit = !options.isClaimed;
    this.#settings = options.settings;
    this.#toStore = options.toStore;
    this.#steps = new StepRecords(attempt, options.settings);
  }

  /** Another one once an abandoned claim has been taken over at the commit. */
  get attempt(): Attempt {
    return this.#attempt;
  }

  get phase(): Phase {
    return this.#phase;
  }

  /**
   * Whether anything can have been done by now. Under a claim the handler acts when it likes, and nobody sees it; without one
   * it acts in its commit only.
   */
  mayHaveActed(): boolean {
    if (!this.#claimsAtCommit) return true;
    switch (this.#phase.at) {
      case 'unclaimed':
      case 'claimed':
        return false;
      case 'committing':
      case 'committed':
      case 'in-doubt':
        return true;
      case 'duplicate':
        return this.#phase.mayHaveActed;
    }
  }

  /** `error` as it may leave this attempt. @param message what to say instead where something may have been done */
  leaving<Thrown>(error: Thrown, message?: string): Thrown | IdempotencyError {
    return this.mayHaveActed() ? afterActing(error, message) : error;
  }

  /** Whether `error` was raised here, by this attempt. */
  hasRaised(error: unknown): boolean {
    return typeof error === 'object' && error !== null && this.#raised.has(error);
  }

  token(name: string): string {
    try {
      this.#refuseUnclaimed('token()');
      this.#refuseLate();
      checkTokenName(name);
    } catch (error) {
      throw this.#own(error);
    }
    this.#begin();
    return this.#token(name);
  }

  step<T>(name: string, fn: (step: { token: string }) => Promise<T> | T, atMostOnce: boolean): Promise<T> {
    return this.#track(async () => {
      this.#enter('step()', name);
      const recorded = await this.#steps.find(name);
      if (recorded) return this.#steps.recall<T>(recorded);
      this.#refuseLate();
      const earlier = atMostOnce ? await this.#steps.start(name) : undefined;
      if (earlier) return this.#steps.recall<T>(earlier);
      // Reading and starting took time: whatever begins after the lease may run beside another attempt.
      this.#refuseLate();
      const value = await this.#run(() => fn({ token: this.#token(name) }));
      return this.#steps.finish(name, value, atMostOnce);
    });
  }

  transaction<T>(name: string, { value, ...work }: AtomicWork & { value?: T }): Promise<T> {
    return this.#track(async () => {
      this.#enter('transaction()', name);
      const recorded = await this.#steps.find(name);
      if (recorded) return this.#steps.recall<T>(recorded);
      this.#refuseLate();
      const { attempt } = this;
      const step = await this.#steps.done(name, value);
      const claim = { kind: 'check', owner: attempt.owner } as const;
      const cancelled = await transact(attempt, this.#settings, name, work, { claim, step }).catch((error) =>
        this.#doubted(error),
      );
      if (cancelled === undefined) return value as T;
      if (cancelled.claim) throw overtaken(cancelled.claim.found, attempt.deps.clock.now());
      if (!cancelled.step) throw rejected(cancelled);
      const { found } = cancelled.step;
      // Ours: it was applied, and the answer to it was lost.
      if (found === undefined || found.owner === attempt.owner) return value as T;
      return this.#steps.recall<T>(found);
    });
  }

  commit<R>({ result, ...work }: AtomicWork & { readonly result: R }): Promise<R> {
    return this.#track(async () => {
      this.#refuseLate();
      if (this.#pending.size > 0) throw stillRunning();
      return (await this.#commit(result, work)) as R;
    });
  }

  /** Puts an answer of a handler that claims at its commit and made none. */
  async commitAnswer(answer: unknown): Promise<void> {
    try {
      await this.#commit(answer, {});
    } catch (error) {
      throw this.#own(error);
    }
  }

  /**
   * Refuses whatever is begun from now on, and waits until nothing is running any more; resolves to whether that came to
   * be in time.
   */
  async close(): Promise<boolean> {
    this.#isClosed = true;
    if (this.#pending.size === 0) return true;
    const idle = (async () => {
      while (this.#pending.size > 0) await Promise.allSettled(this.#pending);
      return true;
    })();
    // What comes after it needs time as well.
    return inTime(idle, this.attempt.settleTimeMs / 2).catch(() => false);
  }

  async #commit(result: unknown, work: AtomicWork): Promise<unknown> {
    const before = this.#phase;
    this.#phase = { at: 'committing', isClaimed: isClaimed(before) };
    let commit: Commit;
    try {
      const encoded = await this.#encode(result);
      tellUnavailable(this.#settings, 'answer', encoded);
      commit = await this.#commitEncoded(encoded, work, isInDoubt(before));
    } catch (error) {
      this.#phase = this.#phaseAfter(error, before);
      throw error;
    }
    if (commit.outcome === 'applied') {
      this.#phase = { at: 'committed', record: commit.record, encoded: commit.encoded };
      return result;
    }
    this.#phase = { at: 'duplicate', record: commit.record, mayHaveActed: isInDoubt(before) };
    // The replay that follows decides whether the cache keeps it.
    return storedAnswer(this.#settings, commit.record, false);
  }

  async #commitEncoded(encoded: Encoded, work: AtomicWork, isInDoubt: boolean): Promise<Commit> {
    if (!isClaimed(this.#phase)) {
      const commit = await commitUnclaimed(this.#attempt, this.#settings, encoded, work, isInDoubt);
      if (commit.outcome !== 'taken-over') return commit;
      this.#attempt = commit.attempt;
      this.#phase = { at: 'committing', isClaimed: true };
    }
    return commitClaimed(this.#attempt, this.#settings, encoded, work);
  }

  #phaseAfter(error: unknown, before: Phase): Phase {
    const isClaimedNow = isClaimed(this.#phase);
    if (isInDoubt(before) || IdempotencyError.is(error, 'OUTCOME_UNKNOWN')) {
      return { at: 'in-doubt', isClaimed: isClaimedNow, cause: error };
    }
    if (isClaimedNow) return { at: 'claimed', begun: true };
    const wasRejected = before.at === 'unclaimed' && before.rejected;
    return { at: 'unclaimed', rejected: wasRejected || IdempotencyError.is(error, 'COMMIT_REJECTED') };
  }

  /** After a transaction of which nobody knows what became, nothing more is begun. @throws `error` */
  #doubted(error: unknown): never {
    if (IdempotencyError.is(error, 'OUTCOME_UNKNOWN')) {
      this.#phase = { at: 'in-doubt', isClaimed: true, cause: error };
    }
    throw error;
  }

  #encode(result: unknown): Promise<Encoded> {
    const { pk: operation, deps, settleTimeMs } = this.attempt;
    const { maxAnswerBytes: maxBytes, seal } = deps.store;
    return encode(this.#toStore(result), { operation, maxBytes, seal, sealTimeMs: settleTimeMs / 2 });
  }

  #token(name: string): string {
    return tokenOf(this.attempt.pk, this.attempt.window, name);
  }

  #enter(what: string, name: string): void {
    this.#refuseUnclaimed(what);
    this.#refuseLate();
    stepsIn(this.attempt.deps.store, what);
    if (typeof name !== 'string' || name.trim() === '' || name.length > maxNameLength) {
      throw new IdempotencyError(
        'BAD_STEP',
        `Expected ${what} to be given a name of 1 to ${maxNameLength} characters, got ${typeof name === 'string' && name.trim() !== '' ? `a string of ${name.length}` : kindOf(name)}. A later attempt finds the step by it, so it must be the same in every attempt.`,
      );
    }
    if (!name.isWellFormed()) {
      throw new IdempotencyError(
        'BAD_STEP',
        `Expected ${what} to be given a name without half of a surrogate pair, which is left where a string is cut inside an emoji. DynamoDB would store another character for it, and a later attempt would not find the step.`,
      );
    }
    if (name === 'commit') {
      throw new IdempotencyError('BAD_STEP', "The name 'commit' is reserved. Give the step another one.");
    }
    if (this.#names.has(name)) {
      throw new IdempotencyError(
        'BAD_STEP',
        `The name that ${what} was given was used before in this attempt (the error's \`step\` has it). Give each step its own, e.g. with an index: \`charge-\${index}\`.`,
        { step: name },
      );
    }
    this.#names.add(name);
    this.#begin();
  }

  #begin(): void {
    if (this.#phase.at === 'claimed') this.#phase = { at: 'claimed', begun: true };
  }

  #refuseLate(): void {
    if (this.#isClosed) {
      throw new IdempotencyError(
        'NOT_GUARDED',
        'This operation has been settled: its handler has already returned or failed. Await everything before returning.',
        { effect: 'possible' },
      );
    }
    switch (this.#phase.at) {
      case 'unclaimed':
        return;
      case 'claimed':
        if (this.attempt.leaseLeftMs <= 0) throw leaseIsOver();
        return;
      case 'committing':
      case 'committed':
      case 'duplicate':
        throw new IdempotencyError(
          'BAD_STEP',
          'The operation has been committed, which ends it. Do everything else before the commit.',
          { effect: 'possible' },
        );
      case 'in-doubt':
        throw outcomeUnknown(new Error('An earlier transaction of this attempt ended so.'));
    }
  }

  #refuseUnclaimed(what: string): void {
    if (!this.#claimsAtCommit) return;
    throw new IdempotencyError(
      'BAD_STEP',
      `${what} needs a claim, and with \`claim: 'at-commit'\` there is none before the commit. Do it all in commit(), or leave \`claim\` as it is by default.`,
    );
  }

  /** Runs `work` at once, and has it waited for before the claim is given up. */
  #track<T>(work: () => Promise<T>): Promise<T> {
    const running = work().catch((error: unknown) => {
      throw this.#own(error);
    });
    this.#pending.add(running);
    const over = () => this.#pending.delete(running);
    running.then(over, over);
    return running;
  }

  /** Runs what the handler gave: its errors are not ours, not even those of another guard. */
  async #run<T>(fn: () => Promise<T> | T): Promise<T> {
    try {
      return await fn();
    } catch (error) {
      if (typeof error === 'object' && error !== null) this.#foreign.add(error);
      throw error;
    }
  }

  #own(error: unknown): unknown {
    if (!IdempotencyError.is(error) || this.#foreign.has(error)) return error;
    const ours = this.leaving(error, error.code === 'STORE_UNAVAILABLE' ? storeFailedMidway : undefined);
    // A step's lost value is for an operator to see: the caller was promised nothing of it.
    if (ours.code === 'RESULT_UNAVAILABLE' && this.#phase.at !== 'duplicate') return ours;
    this.#raised.add(ours);
    return ours;
  }
}

/** Whether the claim is this attempt's; one that claims at its commit has none before. */
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

/** Whether a commit may have been applied of which nothing is known. One that is still running once the handler is over is such a one. */
export const isInDoubt = ({ at }: Phase): boolean => at === 'committing' || at === 'in-doubt';

const maxNameLength = 255;

const stillRunning = (): IdempotencyError =>
  new IdempotencyError(
    'BAD_STEP',
    'A step is still running, and the commit ends the operation: should it be interrupted, nobody would repeat it. Await all steps before the commit.',
    { effect: 'possible' },
  );

/** The store says that nothing has been done. It does not know what the handler did. */
const storeFailedMidway =
  'The store could not be reached, or was busy with other transactions, in the middle of the work. Try again with the same key: what has been recorded is not done again.';
