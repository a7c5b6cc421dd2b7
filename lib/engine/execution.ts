/**
 * Takes one guarded call, or one record of a batch, through claim → handler → settle. Every front door comes here once it
 * knows which operation its event belongs to.
 */
import { Buffer } from 'node:buffer';
import type { Context } from 'aws-lambda';
import { IdempotencyError, withoutMessage } from '../errors.ts';
import type { ClaimRecord } from '../store/index.ts';
import { type Attempt, type ClaimRequest, unclaimed } from './attempt.ts';
import { answerIn, type Encoded, encode } from './codec.ts';
import { commit } from './commit.ts';
import { inTime } from './in-time.ts';
import { leaseOf, remainingTimeOf } from './lease.ts';
import { claimOccurrence, type Settlement, settledOccurrence } from './occurrence.ts';
import { isClaimed, isInDoubt, type Phase, Progress, storeFailedMidway } from './progress.ts';
import { amend, type Claimed, claim, complete, recognised, release, type Settled } from './protocol.ts';
import { replay, tellUnavailable } from './recall.ts';
import { overtaken } from './refusals.ts';
import type { Ended, Reply } from './reply.ts';
import type { Settings } from './settings.ts';

/** Which operation a call belongs to. */
export interface OperationIdentity {
  readonly key: string;
  readonly scope: string;
  readonly pk: string;
  readonly fingerprint: string | undefined;
}

/** One guarded call, or one record of a batch. */
export interface Call {
  readonly settings: Settings;
  readonly event: unknown;
  readonly context: Context | undefined;
  readonly reply: Reply;
  readonly identity: OperationIdentity;
  readonly startedAtMs: number;
}

/** Whether the handler is to run, and if not, why. */
export type Entered =
  | { readonly outcome: 'run'; readonly execution: Execution }
  | Exclude<Claimed, { outcome: 'won' }>;

/**
 * Claims the operation. With `claim: 'at-commit'` it claims nothing, and only a cached record keeps the handler from running.
 *
 * @throws what `claim` throws
 */
export async function enter(call: Call): Promise<Entered> {
  const { settings, identity, startedAtMs } = call;
  const rawInput = settings.keep.input ? await keptInput(call) : undefined;
  const request = claimRequest(call, rawInput);
  const claimed = settings.claim === 'at-commit' ? recognised(request) : await claim(request);
  if (claimed === undefined) {
    return { outcome: 'run', execution: new Execution(call, unclaimed(request), false) };
  }
  if (settings.observe) {
    const occurrence = claimOccurrence(identity.pk, claimed, settings.clock().now(), startedAtMs);
    if (occurrence) settings.observe(occurrence);
  }
  return claimed.outcome === 'won'
    ? { outcome: 'run', execution: new Execution(call, claimed.attempt) }
    : claimed;
}

function claimRequest(call: Call, rawInput: Uint8Array | undefined): ClaimRequest {
  const { settings, identity } = call;
  return {
    deps: { store: settings.store(), clock: settings.clock(), lease: leaseOf(settings, call.context) },
    pk: identity.pk,
    fingerprint: identity.fingerprint,
    ttlMs: settings.ttlMs,
    waitMs: settings.waitMs,
    known: settings.cache?.get(identity.pk),
    rawKey: settings.keep.key ? identity.key : undefined,
    rawInput,
  };
}

/** The handler's operation, once the handler has asked for it. */
export interface Companion {
  /** Refuses whatever is begun from now on, and waits for what is running. Resolves to whether all of it ended in time. */
  close(): Promise<boolean>;
  /** Whether `error` is the operation's own. A front door may answer for it. */
  hasRaised(error: unknown): boolean;
  /** The handler is over, so nothing is left to abort. */
  end(): void;
  /** Another attempt has the claim. */
  abort(): void;
}

/** A handler's execution, up to the end of its claim. Exactly one of its methods is called, once. */
export class Execution {
  readonly progress: Progress;
  /** Set once the handler has asked for its operation. */
  companion: Companion | undefined;
  readonly #call: Call;
  readonly #startedAtMs: number;

  /** @param hasClaim false for an attempt that claims at its commit */
  constructor(call: Call, attempt: Attempt, hasClaim = true) {
    const { settings, reply } = call;
    this.#call = call;
    this.progress = new Progress(attempt, settings, hasClaim, reply.toStore);
    this.#startedAtMs = settings.clock().now();
  }

  get identity(): OperationIdentity {
    return this.#call.identity;
  }

  /** The handler returned. Resolves to the caller's answer: `result`, unless another attempt has answered. */
  async returned(result: unknown): Promise<unknown> {
    const { settings, reply } = this.#call;
    try {
      const settled = await this.#settleReturned(result);
      switch (settled?.outcome) {
        case undefined:
        case 'done':
        case 'unrecorded':
          return result;
        case 'replay':
          return await this.#replay(settled.record);
        case 'overtaken':
          throw overtaken(settled.record, settings.clock().now());
      }
    } catch (error) {
      return answerOrThrow(reply, this.progress.leaving(error));
    }
  }

  /**
   * The same for a record of a batch. Nobody waits for an answer, so none is stored.
   *
   * @throws `OVERTAKEN` where another attempt is working on it, `NOT_COMMITTED`
   */
  async recordReturned(value: unknown): Promise<void> {
    let settled: Settled | undefined;
    try {
      settled = await this.#settleReturned(value, true);
    } catch (error) {
      throw this.progress.leaving(error);
    }
    if (settled?.outcome === 'overtaken') {
      throw overtaken(settled.record, this.#call.settings.clock().now());
    }
  }

  /**
   * The handler threw. The claim is given up; if the handler may still be running, the claim is left to its lease.
   * The caller gets the handler's error. If the error is idemkit's own, it gets an answer where there is one. Never rejects.
   */
  async threw(error: unknown): Promise<Ended> {
    const settled = await this.#giveUp(!isEarlyTimeout(error) && !this.#deadlineIsHere());
    const left = this.progress.leaving(error);
    if (!this.companion?.hasRaised(error)) return { kind: 'error', error: left };
    try {
      const mayBeAnswered =
        settled?.outcome !== 'done' &&
        (IdempotencyError.is(error, 'OVERTAKEN') || IdempotencyError.is(error, 'OUTCOME_UNKNOWN'));
      const record =
        settled?.outcome === 'replay' ? settled.record : mayBeAnswered && (await this.#completedMeanwhile());
      if (record) return { kind: 'answer', answer: await this.#replay(record) };
    } catch {
      // The error itself says what is known.
    }
    return IdempotencyError.is(left) ? this.#call.reply.refused(left) : { kind: 'error', error: left };
  }

  /** The handler returned, but a later middleware threw. Completes the operation, so that it never runs again. Never rejects. */
  async returnedInVain(): Promise<void> {
    const isIdle = await this.#close();
    const { phase } = this.progress;
    const isToBeCompleted = isClaimed(phase) && phase.at !== 'committed';
    if (isToBeCompleted) await this.#settle({ kind: 'unavailable', reason: 'not-final' });
    else await this.#giveUp(isIdle);
  }

  /** The handler was not called, and will not be. Never rejects. */
  async notStarted(): Promise<void> {
    await this.#giveUp(true);
  }

  async #close(): Promise<boolean> {
    this.progress.isClosed = true;
    return this.companion ? this.companion.close() : true;
  }

  /** Resolves to `undefined` if there was nothing to record. */
  async #settleReturned(value: unknown, isRecord = false): Promise<Settled | undefined> {
    const isIdle = await this.#close();
    const { phase } = this.progress;
    switch (phase.at) {
      case 'duplicate':
        return { outcome: 'replay', record: phase.record };
      case 'committed':
        return this.#settleCommitted(phase, value, isRecord);
      case 'unclaimed':
        return this.#settleUnclaimed(value, isRecord, phase.rejected);
      case 'claimed':
        return this.#settleClaimed(value, isRecord, isIdle);
      case 'committing':
      case 'in-doubt':
        // If the commit was applied, its result is the answer. Completing finds that out.
        return phase.isClaimed
          ? this.#settleClaimed(value, isRecord, isIdle)
          : this.#settleUnclaimed(value, isRecord, true);
    }
  }

  async #settleClaimed(value: unknown, isRecord: boolean, isIdle: boolean): Promise<Settled | undefined> {
    if (isToBeRemembered(this.#call, value)) {
      const encoded = await this.progress.encode(isRecord ? undefined : value);
      tellUnavailable(this.#call.settings, 'answer', encoded);
      return this.#settle(encoded);
    }
    const settled = await this.#giveUp(isIdle && !this.#deadlineIsHere());
    // A commit in doubt turned out to be applied. Its result is the answer.
    return settled?.outcome === 'replay' ? settled : undefined;
  }

  /**
   * The handler was to commit, and returned without. A refusal (a failed condition, an HTTP error) may be remembered.
   * Anything else is an error, because the handler may have acted where no commit protects it.
   */
  async #settleUnclaimed(
    value: unknown,
    isRecord: boolean,
    wasRejected: boolean,
  ): Promise<Settled | undefined> {
    const isRefusal = wasRejected || (this.#call.reply.statusOf(value) ?? 0) >= 400;
    const isWanted = isToBeRemembered(this.#call, value);
    if (!isRefusal) throw notCommitted();
    if (!isWanted) {
      this.companion?.end();
      const record = await this.#completedMeanwhile();
      return record && { outcome: 'replay', record };
    }
    const answer = isRecord ? undefined : value;
    await this.#commit(answer);
    const { phase } = this.progress;
    if (phase.at === 'duplicate') return { outcome: 'replay', record: phase.record };
    return phase.at === 'committed' ? this.#settleCommitted(phase, answer, false) : undefined;
  }

  /** Stores the refusal of a handler that claims at its commit and made none. */
  async #commit(answer: unknown): Promise<void> {
    try {
      await commit(this.progress, answer);
    } catch (error) {
      const isStores = IdempotencyError.is(error, 'STORE_UNAVAILABLE');
      throw this.progress.leaving(error, isStores ? storeFailedMidway : undefined);
    }
  }

  /** The operation is completed already, but other middlewares may have changed the answer since. */
  async #settleCommitted(
    { encoded, record }: Extract<Phase, { at: 'committed' }>,
    value: unknown,
    isRecord: boolean,
  ): Promise<Settled> {
    const { settings, reply } = this.#call;
    const settlingAtMs = settings.clock().now();
    this.companion?.end();
    let settled: Settled = { outcome: 'done', record };
    let stored = encoded;
    const isSame = isRecord || (await this.#isSame(value, encoded));
    if (!isSame && reply.isAmended) {
      const final = await this.progress.encode(value);
      // An answer that is not to be remembered, or cannot be stored, must not replace the committed one.
      if (final.kind === 'bytes' && isToBeRemembered(this.#call, value)) {
        settled = await amend(this.progress.attempt, record, final.bytes);
        stored = final;
      }
    }
    this.#tell(settled, settlingAtMs, completeEvent(stored));
    this.#cache(settled);
    if (!isSame && !reply.isAmended) throw resultDiffers();
    return settled;
  }

  /** Whether `value` is what was committed. Compares serialised values without sealing them, which may call KMS. */
  async #isSame(value: unknown, { plain }: Encoded): Promise<boolean> {
    const stored = this.#call.reply.toStore(value);
    const encoded = await encode(stored, { operation: '', maxBytes: Number.POSITIVE_INFINITY });
    if (plain === undefined || encoded.plain === undefined) return plain === encoded.plain;
    return Buffer.compare(encoded.plain, plain) === 0;
  }

  async #settle(encoded: Encoded): Promise<Settled> {
    const settlingAtMs = this.#call.settings.clock().now();
    this.companion?.end();
    const { attempt, phase } = this.progress;
    const settled = await complete(attempt, answerIn(encoded), isInDoubt(phase));
    this.#tell(settled, settlingAtMs, completeEvent(encoded));
    this.#cache(settled);
    return settled;
  }

  async #giveUp(isOver: boolean): Promise<Settled | undefined> {
    const { settings } = this.#call;
    const settlingAtMs = settings.clock().now();
    this.companion?.end();
    // The handler is over, but what it began may still be running. Its outcome belongs to this attempt.
    const closed = this.#close();
    const isIdle = isOver && (await closed);
    const { attempt, phase } = this.progress;
    if (phase.at === 'committed') {
      const settled: Settled = { outcome: 'done', record: phase.record };
      this.#tell(settled, settlingAtMs, completeEvent(phase.encoded));
      this.#cache(settled);
      return settled;
    }
    if (!isClaimed(phase)) return undefined;
    if (isIdle) {
      const settled = await release(attempt, phase.at !== 'claimed' || phase.begun);
      this.#tell(settled, settlingAtMs, { type: 'release' });
      return settled;
    }
    const { pk: operation, number } = attempt;
    settings.observe?.({
      type: 'abandon',
      operation,
      attempt: number,
      runMs: settlingAtMs - this.#startedAtMs,
    });
    return undefined;
  }

  /** The record of this window, if it has been completed unknown to this attempt. */
  async #completedMeanwhile(): Promise<ClaimRecord | undefined> {
    const { attempt, phase } = this.progress;
    if (phase.at === 'committed' || phase.at === 'duplicate') return phase.record;
    if (phase.at === 'unclaimed') return undefined;
    const record = await inTime(this.#call.settings.store().read(attempt.pk), attempt.settleTimeMs);
    if (record?.status !== 'COMPLETED') return undefined;
    return record.window === attempt.window || this.progress.isOwn(record) ? record : undefined;
  }

  async #replay(record: ClaimRecord): Promise<unknown> {
    try {
      return await replay(this.#call, record);
    } catch (error) {
      throw this.progress.leaving(error, answeredElsewhere(error));
    }
  }

  #cache(settled: Settled): void {
    if (settled.outcome === 'done' && settled.record) this.#call.settings.cache?.put(settled.record);
  }

  #tell(settled: Settled, settlingAtMs: number, whenDone: Settlement): void {
    const { settings } = this.#call;
    const { pk: operation, number: attempt } = this.progress.attempt;
    // A commit in doubt turned out to have been applied.
    const isOurs = settled.outcome === 'replay' && this.progress.isOwn(settled.record);
    const isTheirs = settled.outcome === 'overtaken' || (settled.outcome === 'replay' && !isOurs);
    if (isTheirs) this.companion?.abort();
    if (settled.outcome === 'unrecorded' && IdempotencyError.is(settled.cause, 'STORE_MISCONFIGURED')) {
      // The caller gets its result, so only the log says that repeats are not protected.
      console.error(`[idemkit] An answer could not be recorded: ${settled.cause.message}`);
    }
    settings.observe?.({
      ...(isOurs ? completedEarlierEvent(settled.record) : settledOccurrence(settled, whenDone)),
      operation,
      attempt,
      durationMs: settings.clock().now() - settlingAtMs,
      runMs: settlingAtMs - this.#startedAtMs,
    });
  }

  /** So near to the deadline, a retry waits hardly longer for the lease to end than for a release. */
  #deadlineIsHere(): boolean {
    const remainingMs = remainingTimeOf(this.#call.context);
    return remainingMs !== undefined && remainingMs() < deadlineMs;
  }
}

const completeEvent = (encoded: Encoded): Settlement =>
  encoded.kind === 'bytes'
    ? { type: 'complete', answerBytes: encoded.bytes.length }
    : {
        type: 'complete',
        answerBytes: 0,
        unavailable: encoded.reason,
        ...(encoded.cause !== undefined && { cause: encoded.cause }),
      };

const completedEarlierEvent = ({ answer }: ClaimRecord): Settlement => ({
  type: 'complete',
  answerBytes: answer?.kind === 'inline' ? answer.bytes.length : 0,
});

const notCommitted = (): IdempotencyError =>
  new IdempotencyError(
    'NOT_COMMITTED',
    "The handler returned without commit(), so nothing was recorded. With `claim: 'at-commit'`, do all work in commit(); otherwise leave out the option.",
    { effect: 'possible' },
  );

const resultDiffers = (): IdempotencyError =>
  new IdempotencyError(
    'RESULT_DIFFERS',
    'The commit was applied, but the handler returned something else, which no repeat would get. Return what commit() resolves to.',
    { effect: 'possible' },
  );

const deadlineMs = 100;

/**
 * Whether Middy has thrown for a handler that is about to run out of time, and is still running. Its own error says so.
 * With a `timeoutEarlyResponse` of the user's, only the clock does.
 */
function isEarlyTimeout(error: unknown): boolean {
  const { name, cause } = (error ?? {}) as { name?: unknown; cause?: { package?: unknown } };
  return name === 'TimeoutError' && cause?.package === '@middy/core';
}

/** If `remember` throws, the caller still gets its answer. It is remembered, so that nothing runs twice. */
function isToBeRemembered({ settings, reply }: Call, value: unknown): boolean {
  try {
    return settings.remember({ value, statusCode: reply.statusOf(value) });
  } catch (error) {
    console.warn(
      `[idemkit] Option \`remember\` threw, so the answer was remembered: ${withoutMessage(error)}`,
    );
    return true;
  }
}

/** What to say if another attempt's answer cannot be had. Our handler has run by then. */
function answeredElsewhere(error: unknown): string | undefined {
  if (IdempotencyError.is(error, 'STORE_UNAVAILABLE')) {
    return 'Another attempt took over, but its answer cannot be fetched at the moment. What this one did may have happened; try again with the same key.';
  }
  if (IdempotencyError.is(error, 'RESULT_UNAVAILABLE')) {
    return 'Another attempt took over, but its answer is not available. What this one did may have happened as well.';
  }
  return undefined;
}

/** The reply's answer to `error`. @throws `error` if the reply has none */
export function answerOrThrow(reply: Reply, error: unknown): unknown {
  const ended = IdempotencyError.is(error) ? reply.refused(error) : undefined;
  if (ended?.kind === 'answer') return ended.answer;
  throw error;
}

const maxKeptInputBytes = 65_536;
const keptInputSealTimeMs = 2_000;

async function keptInput({ settings, event, identity }: Call): Promise<Uint8Array | undefined> {
  const encoded = await encode(event, {
    operation: identity.pk,
    maxBytes: maxKeptInputBytes,
    seal: settings.store().seal,
    sealTimeMs: keptInputSealTimeMs,
  });
  return encoded.kind === 'bytes' ? encoded.bytes : undefined;
}
