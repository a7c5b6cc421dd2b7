/**
 * What a handler does under its attempt: steps, transactions, the commit. Each is begun only while the attempt may, is
 * waited for before the claim is given up, and is recorded so that no later attempt repeats it.
 */
import { type Encoded, encode } from './codec.ts';
import { type Commit, commitClaimed, commitUnclaimed, type Standing } from './commit.ts';
import { afterActing, IdempotencyError, show } from './errors.ts';
import { type Attempt, inTime, leaseIsOver, overtaken } from './operation.ts';
import type { Settings } from './options.ts';
import { storedAnswer, tellUnavailable } from './recall.ts';
import { StepRecords } from './step.ts';
import { tokenOf } from './token.ts';
import { type AtomicWork, outcomeUnknown, rejected, transact } from './transact.ts';

export class Work {
  /** How the commit ended, if there was one. */
  commitOutcome: Commit | undefined;
  /** Whether a commit was tried and nothing came of it: the handler may answer without one. */
  wasRejected = false;
  readonly #standing: Standing;
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
  #isCommitting = false;
  /** Whether a commit may have been applied: an attempt that takes over later knows nothing of it. */
  #isInDoubt = false;
  #isClosed = false;

  constructor(
    attempt: Attempt,
    options: {
      readonly settings: Settings;
      readonly isClaimed: boolean;
      readonly toStore: (result: unknown) => unknown;
    },
  ) {
    this.#standing = { attempt, isClaimed: options.isClaimed };
    this.#claimsAtCommit = !options.isClaimed;
    this.#settings = options.settings;
    this.#toStore = options.toStore;
    this.#steps = new StepRecords(attempt, options.settings);
  }

  /** Another one once an abandoned claim has been taken over at the commit. */
  get attempt(): Attempt {
    return this.#standing.attempt;
  }

  /** Whether the claim is ours; an at-commit attempt has none before its commit. */
  get isClaimed(): boolean {
    return this.#standing.isClaimed;
  }

  /**
   * Whether anything can have been done by now. Under a claim the handler acts when it likes, and nobody sees it; without one
   * it acts in its commit only.
   */
  get mayHaveActed(): boolean {
    if (!this.#claimsAtCommit || this.#isCommitting || this.#isInDoubt) return true;
    return this.attempt.isOutcomeUnknown || this.commitOutcome?.kind === 'applied';
  }

  /** `error` as it may leave this attempt. @param message what to say instead where something may have been done */
  leaving<Thrown>(error: Thrown, message?: string): Thrown | IdempotencyError {
    return this.mayHaveActed ? afterActing(error, message) : error;
  }

  /** Whether `error` was raised here, by this attempt. */
  hasRaised(error: unknown): boolean {
    return typeof error === 'object' && error !== null && this.#raised.has(error);
  }

  token(name: string): string {
    try {
      this.#refuseUnclaimed('token()');
      this.#refuseLate();
    } catch (error) {
      throw this.#own(error);
    }
    this.attempt.begun = true;
    return this.#token(name);
  }

  step<T>(name: string, fn: (step: { token: string }) => Promise<T> | T, isOnce: boolean): Promise<T> {
    return this.#track(async () => {
      this.#enter('step()', name);
      const recorded = await this.#steps.find(name);
      if (recorded) return this.#steps.recall<T>(recorded);
      this.#refuseLate();
      const earlier = isOnce ? await this.#steps.start(name) : undefined;
      if (earlier) return this.#steps.recall<T>(earlier);
      // Reading and starting took time: whatever begins after the lease may run beside another attempt.
      this.#refuseLate();
      const value = await this.#run(() => fn({ token: this.#token(name) }));
      return this.#steps.finish(name, value, isOnce);
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
      const cancelled = await transact(attempt, this.#settings, name, work, { claim, step });
      if (cancelled === undefined) return value as T;
      if (cancelled.claim) throw overtaken(cancelled.claim.found, attempt.request.clock.now());
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
    const isIdle = await inTime(idle, this.attempt.settleTimeMs / 2).catch(() => false);
    if (!isIdle && this.#isCommitting) this.attempt.isOutcomeUnknown = true;
    return isIdle;
  }

  async #commit(result: unknown, work: AtomicWork): Promise<unknown> {
    this.#isCommitting = true;
    try {
      const encoded = await this.#encode(result);
      tellUnavailable(this.#settings, 'answer', encoded);
      this.commitOutcome = this.isClaimed
        ? await commitClaimed(this.attempt, this.#settings, encoded, work)
        : await commitUnclaimed(this.#standing, this.#settings, encoded, work);
    } catch (error) {
      this.#isInDoubt ||= this.attempt.isOutcomeUnknown;
      this.wasRejected ||= ['COMMIT_REJECTED', 'OUTCOME_UNKNOWN'].some((code) =>
        IdempotencyError.is(error, code as 'COMMIT_REJECTED'),
      );
      throw error;
    } finally {
      this.#isCommitting = false;
    }
    const { commitOutcome } = this;
    if (commitOutcome.kind === 'applied') return result;
    // The replay that follows decides whether the cache keeps it.
    return storedAnswer(this.#settings, commitOutcome.record, false);
  }

  #encode(result: unknown): Promise<Encoded> {
    const { pk: operation, request, settleTimeMs } = this.attempt;
    const { maxAnswerBytes: maxBytes, seal } = request.store;
    return encode(this.#toStore(result), { operation, maxBytes, seal, sealTimeMs: settleTimeMs / 2 });
  }

  #token(name: string): string {
    return tokenOf(this.attempt.pk, this.attempt.window, name);
  }

  #enter(what: string, name: string): void {
    this.#refuseUnclaimed(what);
    this.#refuseLate();
    if (typeof name !== 'string' || name.trim() === '' || name.length > maxNameLength) {
      throw new IdempotencyError(
        'BAD_STEP',
        `Expected ${what} to be given a name of 1 to ${maxNameLength} characters, got ${show(name)}. A later attempt finds the step by it, so it must be the same in every attempt.`,
      );
    }
    if (name === 'commit') {
      throw new IdempotencyError('BAD_STEP', "The name 'commit' is reserved. Give the step another one.");
    }
    if (this.#names.has(name)) {
      throw new IdempotencyError(
        'BAD_STEP',
        `The name ${show(name)} was used before in this attempt. Give each step its own, e.g. with an index: \`charge-\${index}\`.`,
      );
    }
    this.#names.add(name);
    this.attempt.begun = true;
  }

  #refuseLate(): void {
    const { attempt } = this;
    if (this.#isClosed) {
      throw new IdempotencyError(
        'NOT_GUARDED',
        'This operation has been settled: its handler has already returned or failed. Await everything before returning.',
        { effect: 'possible' },
      );
    }
    if (this.commitOutcome || this.#isCommitting) {
      throw new IdempotencyError(
        'BAD_STEP',
        'The operation has been committed, which ends it. Do everything else before the commit.',
        { effect: 'possible' },
      );
    }
    if (attempt.isOutcomeUnknown) {
      throw outcomeUnknown(attempt, new Error('An earlier transaction of this attempt ended so.'));
    }
    if (this.isClaimed && attempt.leaseLeftMs <= 0) throw leaseIsOver();
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
    if (ours.code === 'RESULT_UNAVAILABLE' && !this.commitOutcome) return ours;
    this.#raised.add(ours);
    return ours;
  }
}

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
