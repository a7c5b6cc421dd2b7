/**
 * Takes one guarded call, or one record of a batch, through claim → handler → settle. Every front door comes here once it
 * knows which operation its event belongs to.
 */
import type { Context } from 'aws-lambda';
import { IdempotencyError } from '../errors.ts';
import type { ClaimRecord } from '../store/index.ts';
import { type Attempt, type ClaimRequest, unclaimed } from './attempt.ts';
import { answerIn, type Encoded, encode } from './codec.ts';
import { type Companion, completeEvent, type Ending, isToBeRemembered } from './ending.ts';
import { leaseOf, remainingTimeOf } from './lease.ts';
import { claimOccurrence, type Settlement, settledOccurrence } from './occurrence.ts';
import { parts } from './parts.ts';
import { isClaimed, isInDoubt, Progress } from './progress.ts';
import { type Claimed, claim, complete, recognised, release, type Settled } from './protocol.ts';
import { replay, tellUnavailable } from './recall.ts';
import { notCommitted, overtaken } from './refusals.ts';
import type { Ended, Reply } from './reply.ts';
import type { OperationIdentity, Settings } from './settings.ts';

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
export function enter(call: Call): Entered | Promise<Entered> {
  return call.settings.keep.input
    ? keptInput(call).then((rawInput) => enterWith(call, rawInput))
    : enterWith(call, undefined);
}

function enterWith(call: Call, rawInput: Uint8Array | undefined): Entered | Promise<Entered> {
  const request = claimRequest(call, rawInput);
  if (call.settings.claim !== 'at-commit') {
    return claimOrTell(call, request).then((claimed) => entered(call, claimed));
  }
  const known = recognised(request);
  return known
    ? entered(call, known)
    : { outcome: 'run', execution: new Execution(call, unclaimed(request), false) };
}

function entered(call: Call, claimed: Claimed): Entered {
  const { settings, identity, startedAtMs } = call;
  if (settings.observe) {
    const occurrence = claimOccurrence(identity.pk, claimed, settings.clock().now(), startedAtMs);
    if (occurrence) settings.observe(occurrence);
  }
  return claimed.outcome === 'won'
    ? { outcome: 'run', execution: new Execution(call, claimed.attempt) }
    : claimed;
}

function claimOrTell({ settings, startedAtMs }: Call, request: ClaimRequest): Promise<Claimed> {
  const { observeRefusal, clock } = settings;
  const claimed = claim(request);
  if (!observeRefusal) return claimed;
  return claimed.catch((error: unknown) => {
    observeRefusal(error, request.pk, clock().now() - startedAtMs);
    throw error;
  });
}

function claimRequest(call: Call, rawInput: Uint8Array | undefined): ClaimRequest {
  const { settings, identity } = call;
  return {
    deps: {
      store: settings.storeOf(identity),
      clock: settings.clock(),
      lease: leaseOf(settings, call.context),
    },
    pk: identity.pk,
    fingerprint: identity.fingerprint,
    ttlMs: settings.ttlMs,
    waitMs: settings.waitMs,
    known: settings.cache?.get(identity.pk),
    rawKey: settings.keep.key ? identity.key : undefined,
    rawInput,
  };
}

/** A handler's execution, up to the end of its claim. Exactly one of its methods is called, once. */
export class Execution implements Ending {
  readonly call: Call;
  readonly progress: Progress;
  /** Set once the handler has asked for its operation. */
  companion: Companion | undefined;
  readonly #startedAtMs: number;

  /** @param hasClaim false for an attempt that claims at its commit */
  constructor(call: Call, attempt: Attempt, hasClaim = true) {
    const { settings, reply } = call;
    this.call = call;
    this.progress = new Progress(attempt, settings, hasClaim, reply);
    this.#startedAtMs = settings.clock().now();
  }

  get identity(): OperationIdentity {
    return this.call.identity;
  }

  /** The handler returned. Resolves to the caller's answer: `result`, unless another attempt has answered. */
  async returned(result: unknown): Promise<unknown> {
    const { settings, reply } = this.call;
    try {
      const closed = this.#close();
      const settled = await this.#settleReturned(result, false, closed === true || (await closed));
      switch (settled?.outcome) {
        case undefined:
        case 'done':
        case 'unrecorded':
          return result;
        case 'replay':
          return await this.replay(settled.record);
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
      settled = await this.#settleReturned(value, true, await this.#close());
    } catch (error) {
      throw this.progress.leaving(error);
    }
    if (settled?.outcome === 'overtaken') {
      throw overtaken(settled.record, this.call.settings.clock().now());
    }
  }

  /**
   * The handler threw. The claim is given up; if the handler may still be running, the claim is left to its lease.
   * The caller gets the handler's error. If the error is idemkit's own, it gets an answer where there is one. Never rejects.
   */
  async threw(error: unknown): Promise<Ended> {
    const settled = await this.#giveUp(!isEarlyTimeout(error) && !this.#deadlineIsHere());
    const left = this.progress.leaving(error);
    return parts.commits && this.companion?.hasRaised(error)
      ? parts.commits.raised(this, error, left, settled)
      : { kind: 'error', error: left };
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

  #close(): boolean | Promise<boolean> {
    this.progress.isClosed = true;
    return this.companion ? this.companion.close() : true;
  }

  /** Resolves to `undefined` if there was nothing to record. @param isIdle whether all that the handler began has ended */
  #settleReturned(value: unknown, isRecord: boolean, isIdle: boolean): Promise<Settled | undefined> {
    const { phase } = this.progress;
    // If a commit in doubt was applied, its result is the answer. Completing finds that out.
    if (isClaimed(phase) && phase.at !== 'committed') return this.#settleClaimed(value, isRecord, isIdle);
    // Where nothing brings commits, none can have been made.
    if (!parts.commits) throw notCommitted();
    return parts.commits.settle(this, value, isRecord);
  }

  #settleClaimed(value: unknown, isRecord: boolean, isIdle: boolean): Promise<Settled | undefined> {
    if (!isToBeRemembered(this.call, value)) return this.#forget(isIdle);
    const encoded = this.progress.encode(isRecord ? undefined : value);
    return encoded instanceof Promise ? encoded.then((one) => this.#store(one)) : this.#store(encoded);
  }

  async #forget(isIdle: boolean): Promise<Settled | undefined> {
    const settled = await this.#giveUp(isIdle && !this.#deadlineIsHere());
    // A commit in doubt turned out to be applied. Its result is the answer.
    return settled?.outcome === 'replay' ? settled : undefined;
  }

  #store(encoded: Encoded): Promise<Settled> {
    tellUnavailable(this.call.settings, 'answer', encoded);
    return this.#settle(encoded);
  }

  #settle(encoded: Encoded): Promise<Settled> {
    const settlingAtMs = this.call.settings.clock().now();
    this.companion?.end();
    const { attempt, phase } = this.progress;
    return complete(attempt, answerIn(encoded), isInDoubt(phase)).then((settled) => {
      this.tell(settled, settlingAtMs, completeEvent(encoded));
      return settled;
    });
  }

  async #giveUp(isOver: boolean): Promise<Settled | undefined> {
    const { settings } = this.call;
    const settlingAtMs = settings.clock().now();
    this.companion?.end();
    // The handler is over, but what it began may still be running. Its outcome belongs to this attempt.
    const closed = this.#close();
    const isIdle = isOver && (await closed);
    const { attempt, phase } = this.progress;
    if (phase.at === 'committed') {
      const settled: Settled = { outcome: 'done', record: phase.record };
      this.tell(settled, settlingAtMs, completeEvent(phase.encoded));
      return settled;
    }
    if (!isClaimed(phase)) return undefined;
    if (isIdle) {
      const settled = await release(attempt, phase.at !== 'claimed' || phase.begun);
      this.tell(settled, settlingAtMs, { type: 'release' });
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

  /** What the caller gets where another attempt has answered. Our handler has run by then. */
  async replay(record: ClaimRecord): Promise<unknown> {
    try {
      return await replay(this.call, record);
    } catch (error) {
      throw this.progress.leaving(error, answeredElsewhere(error));
    }
  }

  /** Tells the observer and the cache of a settlement. */
  tell(settled: Settled, settlingAtMs: number, whenDone: Settlement): void {
    const { settings } = this.call;
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
    if (settled.outcome === 'done' && settled.record) settings.cache?.put(settled.record);
  }

  /** So near to the deadline, a retry waits hardly longer for the lease to end than for a release. */
  #deadlineIsHere(): boolean {
    const remainingMs = remainingTimeOf(this.call.context);
    return remainingMs !== undefined && remainingMs() < deadlineMs;
  }
}

const completedEarlierEvent = ({ answer }: ClaimRecord): Settlement => ({
  type: 'complete',
  answerBytes: answer?.kind === 'inline' ? answer.bytes.length : 0,
});

const deadlineMs = 100;

/**
 * Whether Middy has thrown for a handler that is about to run out of time, and is still running. Its own error says so.
 * With a `timeoutEarlyResponse` of the user's, only the clock does.
 */
function isEarlyTimeout(error: unknown): boolean {
  const { name, cause } = (error ?? {}) as { name?: unknown; cause?: { package?: unknown } };
  return name === 'TimeoutError' && cause?.package === '@middy/core';
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
