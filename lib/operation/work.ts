/**
 * What a handler does under its attempt: steps, transactions, the commit. Each begins only while the lease holds. The claim
 * is not given up before each has ended. Each is recorded, so that no later attempt repeats it.
 */

import {
  type Attempt,
  commit,
  commits,
  inTime,
  leaseIsOver,
  outcomeUnknown,
  overtaken,
  type Progress,
  parts,
  type RecordWrite,
  storeFailedMidway,
} from '../engine/index.ts';
import { IdempotencyError } from '../errors.ts';
import { kindOf } from '../validate.ts';
import { StepRecords, stepsIn } from './steps.ts';
import { checkTokenName, tokenOf } from './token.ts';
import { type AtomicWork, checkWork, isEmpty, rejected, transact } from './transact.ts';

parts.commits = commits;

export class Work {
  protected readonly progress: Progress;
  readonly #steps: StepRecords;
  readonly #names = new Set<string>();
  readonly #pending = new Set<Promise<unknown>>();
  /** Errors of this operation. A front door may answer for them. */
  readonly #raised = new WeakSet<object>();
  /** Errors that a step's function threw. They are the handler's, even if another guard made them. */
  readonly #foreign = new WeakSet<object>();

  constructor(progress: Progress) {
    this.progress = progress;
    this.#steps = new StepRecords(progress.attempt, progress.settings);
  }

  get attempt(): Attempt {
    return this.progress.attempt;
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
    this.progress.begin();
    return this.#token(name);
  }

  step<T>(name: string, fn: (step: { token: string }) => Promise<T> | T, atMostOnce: boolean): Promise<T> {
    return this.track(async () => {
      this.#enter('step()', name);
      const recorded = await this.#steps.find(name);
      if (recorded) return this.#steps.recall<T>(recorded);
      this.#refuseLate();
      const earlier = atMostOnce ? await this.#steps.start(name) : undefined;
      if (earlier) return this.#steps.recall<T>(earlier);
      // Reading and starting took time. A step that begins after the lease may run beside another attempt.
      this.#refuseLate();
      const value = await this.#run(() => fn({ token: this.#token(name) }));
      return this.#steps.finish(name, value, atMostOnce);
    });
  }

  transaction<T>(name: string, given: AtomicWork & { value?: T }): Promise<T> {
    return this.track(async () => {
      checkWork('transaction()', given, 'value');
      const { value, ...work } = given;
      this.#enter('transaction()', name);
      const recorded = await this.#steps.find(name);
      if (recorded) return this.#steps.recall<T>(recorded);
      this.#refuseLate();
      const { attempt } = this;
      const step = await this.#steps.done(name, value);
      const claim = { kind: 'check', owner: attempt.owner } as const;
      const cancelled = await transact(attempt, this.progress.settings, name, work, { claim, step }).catch(
        (error) => this.#doubted(error),
      );
      if (cancelled === undefined) return value as T;
      if (cancelled.claim) throw overtaken(cancelled.claim.found, attempt.deps.clock.now());
      if (!cancelled.step) throw rejected(cancelled);
      const { found } = cancelled.step;
      // If the record is ours, an earlier sending was applied and its answer was lost.
      if (found === undefined || found.owner === attempt.owner) return value as T;
      return this.#steps.recall<T>(found);
    });
  }

  commit<R>(given: AtomicWork & { readonly result: R }): Promise<R> {
    return this.track(async () => {
      checkWork('commit()', given, 'result');
      const { result, ...work } = given;
      this.beginCommit();
      return (await this.complete(work, result)) as R;
    });
  }

  /** Refuses a commit that comes too late, or while something is running that it would end. */
  protected beginCommit(): void {
    this.#refuseLate();
    if (this.#pending.size > 0) throw stillRunning();
  }

  protected complete(work: AtomicWork, result: unknown): Promise<unknown> {
    return commit(this.progress, result, isEmpty(work) ? undefined : this.#writing(work));
  }

  /**
   * Refuses whatever is begun from now on, and waits for what is running. Resolves to whether all of it ended in time.
   */
  async close(): Promise<boolean> {
    this.progress.isClosed = true;
    if (this.#pending.size === 0) return true;
    const idle = (async () => {
      while (this.#pending.size > 0) await Promise.allSettled(this.#pending);
      return true;
    })();
    // Settling comes next, and needs its half of the time.
    return inTime(idle, this.attempt.settleTimeMs / 2).catch(() => false);
  }

  /** Lets nothing more begin after a transaction whose outcome nobody knows. @throws `error` */
  #doubted(error: unknown): never {
    if (IdempotencyError.is(error, 'OUTCOME_UNKNOWN')) {
      this.progress.phase = { at: 'in-doubt', isClaimed: true, cause: error };
    }
    throw error;
  }

  /** The record's part of a commit, in one transaction with `work`. */
  #writing(work: AtomicWork): RecordWrite {
    return async (attempt, claim) => {
      const cancelled = await transact(attempt, this.progress.settings, 'commit', work, { claim });
      if (cancelled && !cancelled.claim) throw rejected(cancelled);
      return cancelled?.claim;
    };
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
    this.progress.begin();
  }

  #refuseLate(): void {
    if (this.progress.isClosed) {
      throw new IdempotencyError(
        'NOT_GUARDED',
        'This operation has been settled: its handler has already returned or failed. Await everything before returning.',
        { effect: 'possible' },
      );
    }
    switch (this.progress.phase.at) {
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
    if (!this.progress.claimsAtCommit) return;
    throw new IdempotencyError(
      'BAD_STEP',
      `${what} needs a claim, and with \`claim: 'at-commit'\` there is none before the commit. Do it all in commit(), or leave \`claim\` as it is by default.`,
    );
  }

  /** Runs `work` at once. `close` waits for it. */
  protected track<T>(work: () => Promise<T>): Promise<T> {
    const running = work().catch((error: unknown) => {
      throw this.#own(error);
    });
    this.#pending.add(running);
    const over = () => this.#pending.delete(running);
    running.then(over, over);
    return running;
  }

  /** Runs the handler's function, and marks its errors as foreign. */
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
    const ours = this.progress.leaving(
      error,
      error.code === 'STORE_UNAVAILABLE' ? storeFailedMidway : undefined,
    );
    // A step's lost value is an operator's concern, so no front door answers for it.
    if (ours.code === 'RESULT_UNAVAILABLE' && this.progress.phase.at !== 'duplicate') return ours;
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
