/**
 * One guarded call, or one record of a batch, on its way: claim → (handler) → settle. What the front doors have in common
 * once it is known which operation an event belongs to.
 */
import { Buffer } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import type { Context } from 'aws-lambda';
import { type Encoded, encode } from './codec.ts';
import { GuardedOperation } from './context.ts';
import { IdempotencyError, storeUnavailable } from './errors.ts';
import type { HttpEvent } from './http.ts';
import type { Identity } from './identity.ts';
import { leaseOf, remainingTimeOf } from './lease.ts';
import { claimOccurrence, type Settlement, settledOccurrence } from './observe.ts';
import {
  type Attempt,
  type Claimed,
  type ClaimRequest,
  claim,
  overtaken,
  type Settled,
  unclaimed,
} from './operation.ts';
import type { Settings } from './options.ts';
import { staged } from './outbox.ts';
import { replay } from './recall.ts';
import { refused, statusCodeOf, withoutPrivateHeaders } from './reply.ts';
import type { ClaimRecord } from './store.ts';
import { type AtomicWork, type Commit, rejected, Work } from './work.ts';

export interface Request {
  readonly settings: Settings;
  readonly event: unknown;
  readonly context: Context | undefined;
  readonly http: HttpEvent | undefined;
  readonly identity: Extract<Identity, { kind: 'operation' }>;
  readonly startedAtMs: number;
}

/** @throws what `claim` throws */
export async function claimFor(request: Request): Promise<Claimed> {
  const { settings, identity, startedAtMs } = request;
  const claimed = await claim(await claimRequest(request));
  const occurrence = claimOccurrence(identity.pk, claimed, settings.clock().now(), startedAtMs);
  if (occurrence) settings.observe(occurrence);
  return claimed;
}

/** An execution that claims at its commit. */
export async function executeUnclaimed(request: Request): Promise<Execution> {
  return new Execution(request, unclaimed(await claimRequest(request)), false);
}

async function claimRequest(request: Request): Promise<ClaimRequest> {
  const { settings, identity } = request;
  const clock = settings.clock();
  return {
    store: settings.store(),
    clock,
    pk: identity.pk,
    fingerprint: identity.fingerprint,
    ttlMs: settings.ttlMs,
    lease: leaseOf(settings, request.context),
    waitMs: settings.waitMs,
    known: settings.cache?.get(identity.pk, clock.now()),
    ...(settings.keep.key && { rawKey: identity.key }),
    ...(settings.keep.input && { rawInput: await keptInput(request) }),
  };
}

/** What an unguarded operation sends its writes and messages with: as they are, without a record. */
export function sendUnrecorded(settings: Settings) {
  return async (name: string, { writes = [], messages = [] }: AtomicWork): Promise<void> => {
    const store = settings.store();
    const window = randomUUID();
    const pk = `unguarded#${window}`;
    const nowMs = settings.clock().now();
    const place = { pk, window, name, destinations: settings.destinations(), seal: store.seal };
    const transaction = await store.transact({
      ...{ pk, window, nowMs, endsAtMs: nowMs + settings.ttlMs, claim: { kind: 'none' }, writes },
      messages: await staged(messages, place),
      token: window,
    });
    const sent = await transaction.send();
    if (sent.outcome === 'cancelled') throw rejected(sent);
    if (sent.outcome !== 'applied') throw storeUnavailable(new Error(`The transaction is ${sent.outcome}.`));
  };
}

/** A handler's execution, up to the end of its claim. One of its methods is called, once. */
export class Execution {
  readonly operation: GuardedOperation;
  readonly #request: Request;
  readonly #work: Work;
  readonly #startedAtMs: number;

  /** @param isClaimed false for an attempt that claims at its commit */
  constructor(request: Request, attempt: Attempt, isClaimed = true) {
    const { settings, http, identity } = request;
    this.#request = request;
    this.#work = new Work(attempt, {
      settings,
      isClaimed,
      toStore: (result) => withoutPrivateHeaders(http, result),
    });
    this.operation = new GuardedOperation(this.#work, identity);
    this.#startedAtMs = settings.clock().now();
  }

  /** The handler returned: resolves to what the caller gets, which is `result` unless another attempt has answered. */
  async returned(result: unknown): Promise<unknown> {
    const { settings, http } = this.#request;
    try {
      const settled = await this.#settleReturned(result, result);
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
      return answerOrThrow(settings, http, error);
    }
  }

  /**
   * The same for a record of a batch: nobody waits for an answer, so none is stored.
   *
   * @throws `OVERTAKEN` where another attempt is working on it, `NOT_COMMITTED`
   */
  async recordReturned(value: unknown): Promise<void> {
    const settled = await this.#settleReturned(value, undefined);
    if (settled?.outcome === 'overtaken') {
      throw overtaken(settled.record, this.#request.settings.clock().now());
    }
  }

  /**
   * The handler threw: the claim is given up, unless the handler may still be running (then the claim is left to its
   * lease). Never rejects. The caller gets the handler's error, or `instead` where the error was ours and there is an
   * answer to it.
   */
  async threw(error: unknown): Promise<Instead | undefined> {
    const settled = await this.#giveUp(!isEarlyTimeout(error) && !this.#deadlineIsHere());
    if (!this.#work.hasRaised(error)) return undefined;
    const { settings, http } = this.#request;
    try {
      const record = settled?.outcome === 'replay' ? settled.record : await this.#completedMeanwhile(error);
      if (record) return { instead: await this.#replay(record) };
    } catch {
      // Then the error itself says what is known.
    }
    const refusal = http && IdempotencyError.is(error) ? refused(settings, http, error) : undefined;
    return refusal && { instead: refusal };
  }

  /** It returned, but the answer was lost on the way out: it must not run again. Never rejects. */
  async returnedInVain(): Promise<void> {
    if (this.#isCommitted() || !this.#work.isClaimed) return;
    await this.#settle({ kind: 'unavailable', reason: 'not-final' });
  }

  /** It was not called, and will not be. Never rejects. */
  async notStarted(): Promise<void> {
    await this.#giveUp(true);
  }

  /** Resolves to `undefined` where nothing was to be recorded. */
  async #settleReturned(value: unknown, stored: unknown): Promise<Settled | undefined> {
    const { settings, http } = this.#request;
    const isIdle = await this.#work.isIdle();
    const { commitOutcome } = this.#work;
    if (commitOutcome?.kind === 'duplicate') return { outcome: 'replay', record: commitOutcome.record };
    if (commitOutcome) return this.#settleCommitted(commitOutcome, stored);
    const isWanted = isToBeRemembered(settings, http, value);
    if (!this.#work.isClaimed) return isWanted ? this.#claimNow(value, stored) : undefined;
    if (isWanted) return this.#settle(undefined, stored);
    const settled = await this.#giveUp(isIdle && !this.#deadlineIsHere());
    // A commit of which the outcome was unknown has been applied: that is the operation's answer.
    return settled?.outcome === 'replay' ? settled : undefined;
  }

  /**
   * A handler that was to commit has returned without. What it refused (a condition that failed, an HTTP error) is worth
   * remembering; anything else was done outside the commit, where nothing protects it.
   */
  async #claimNow(value: unknown, stored: unknown): Promise<Settled | undefined> {
    const { http } = this.#request;
    const isRefusal = this.#work.hasTriedCommit || (statusCodeOf(http, value) ?? 0) >= 400;
    if (!isRefusal) throw notCommitted();
    await this.#work.commit({ result: stored });
    const { commitOutcome } = this.#work;
    if (commitOutcome?.kind === 'duplicate') return { outcome: 'replay', record: commitOutcome.record };
    return commitOutcome && this.#settleCommitted(commitOutcome, stored);
  }

  /** The completion is there already. Over HTTP other middlewares may have added to the answer since. */
  async #settleCommitted(commit: Extract<Commit, { kind: 'applied' }>, value: unknown): Promise<Settled> {
    const { settings, http } = this.#request;
    const settlingAtMs = settings.clock().now();
    this.operation.end();
    const { attempt } = this.#work;
    attempt.abandon();
    const encoded = await this.#encode(value);
    const isSame =
      encoded.kind === 'bytes' &&
      commit.plain !== undefined &&
      Buffer.compare(encoded.plain, commit.plain) === 0;
    const isAnswered =
      isSame || value === undefined || (encoded.kind !== 'bytes' && commit.plain === undefined);
    let settled: Settled = { outcome: 'done', record: commit.record };
    if (!isAnswered && !http) throw resultDiffers();
    if (!isAnswered) settled = await attempt.amend(answerIn(encoded));
    this.#tell(settled, settlingAtMs, complete(encoded));
    this.#cache(settled);
    return settled;
  }

  async #settle(unavailable: Encoded | undefined, value?: unknown): Promise<Settled> {
    const { settings } = this.#request;
    const settlingAtMs = settings.clock().now();
    this.operation.end();
    const encoded = unavailable ?? (await this.#encode(value));
    const settled = await this.#work.attempt.complete(answerIn(encoded));
    this.#tell(settled, settlingAtMs, complete(encoded));
    this.#cache(settled);
    return settled;
  }

  async #giveUp(isOver: boolean): Promise<Settled | undefined> {
    const { settings } = this.#request;
    const settlingAtMs = settings.clock().now();
    this.operation.end();
    const { attempt } = this.#work;
    // What was begun may still be under way although the handler is over: its outcome belongs to this attempt.
    const isIdle = isOver && (await this.#work.isIdle());
    if (this.#isCommitted() || !this.#work.isClaimed) {
      attempt.abandon();
      return undefined;
    }
    if (isIdle) {
      const settled = await attempt.release();
      this.#tell(settled, settlingAtMs, { type: 'release' });
      return settled;
    }
    attempt.abandon();
    const { pk: operation, number } = attempt;
    settings.observe({
      type: 'abandon',
      operation,
      attempt: number,
      runMs: settlingAtMs - this.#startedAtMs,
    });
    return undefined;
  }

  #isCommitted(): boolean {
    return this.#work.commitOutcome !== undefined;
  }

  /** The record by which somebody else has answered while this attempt was told that it was overtaken. */
  async #completedMeanwhile(error: unknown): Promise<ClaimRecord | undefined> {
    if (!IdempotencyError.is(error, 'OVERTAKEN')) return undefined;
    const { pk, window } = this.#work.attempt;
    const record = await this.#request.settings.store().read(pk);
    return record?.window === window && record.status === 'COMPLETED' ? record : undefined;
  }

  async #replay(record: ClaimRecord): Promise<unknown> {
    try {
      return await replay(this.#request, record);
    } catch (error) {
      throw maybeDone(error);
    }
  }

  async #encode(value: unknown): Promise<Encoded> {
    const { settings, http } = this.#request;
    const store = settings.store();
    return encode(withoutPrivateHeaders(http, value), {
      operation: this.#work.attempt.pk,
      maxBytes: store.maxAnswerBytes,
      seal: store.seal,
      sealTimeMs: this.#work.attempt.settleTimeMs / 2,
    });
  }

  #cache(settled: Settled): void {
    if (settled.outcome === 'done' && settled.record) this.#request.settings.cache?.put(settled.record);
  }

  #tell(settled: Settled, settlingAtMs: number, whenDone: Settlement): void {
    const { settings } = this.#request;
    if (settled.outcome === 'overtaken' || settled.outcome === 'replay') this.operation.abort();
    if (settled.outcome === 'unrecorded' && IdempotencyError.is(settled.cause, 'STORE_MISCONFIGURED')) {
      // The caller gets its result, so nothing else would tell that repeats are not protected.
      console.error(`[idemkit] An answer could not be recorded: ${settled.cause.message}`);
    }
    const { pk: operation, number: attempt } = this.#work.attempt;
    settings.observe({
      ...settledOccurrence(settled, whenDone),
      operation,
      attempt,
      durationMs: settings.clock().now() - settlingAtMs,
      runMs: settlingAtMs - this.#startedAtMs,
    });
  }

  /** So near to the deadline a release gains a retry next to nothing over the end of the lease. */
  #deadlineIsHere(): boolean {
    const remainingMs = remainingTimeOf(this.#request.context);
    return remainingMs !== undefined && remainingMs() < deadlineMs;
  }
}

/** What the caller gets instead of the handler's error. */
export interface Instead {
  readonly instead: unknown;
}

const answerIn = (encoded: Encoded) => (encoded.kind === 'bytes' ? encoded.bytes : encoded.reason);

const complete = (encoded: Encoded): Settlement =>
  encoded.kind === 'bytes'
    ? { type: 'complete', answerBytes: encoded.bytes.length }
    : {
        type: 'complete',
        answerBytes: 0,
        unavailable: encoded.reason,
        ...(encoded.cause !== undefined && { cause: encoded.cause }),
      };

const notCommitted = (): IdempotencyError =>
  new IdempotencyError(
    'NOT_COMMITTED',
    "The handler returned without commit(), and with `claim: 'at-commit'` nothing else protects what it did: nothing was recorded. Do all its work in commit(), or leave `claim` as it is by default.",
    { effect: 'possible' },
  );

const resultDiffers = (): IdempotencyError =>
  new IdempotencyError(
    'RESULT_DIFFERS',
    'The handler returned something else than it had committed, so this caller would get another answer than every repeat. Return what commit() resolves to. The commit has been applied.',
    { effect: 'possible' },
  );

const deadlineMs = 100;

/**
 * Middy answers for a handler that is about to run out of time, which goes on meanwhile. It can be told by its error;
 * an error or answer of the user's own (`timeoutEarlyResponse`) only by the clock.
 */
function isEarlyTimeout(error: unknown): boolean {
  const { name, cause } = (error ?? {}) as { name?: unknown; cause?: { package?: unknown } };
  return name === 'TimeoutError' && cause?.package === '@middy/core';
}

/** A `remember` that throws must not cost the caller its answer; remembering is the side that runs nothing twice. */
function isToBeRemembered(settings: Settings, http: HttpEvent | undefined, value: unknown): boolean {
  try {
    return settings.remember({ value, statusCode: statusCodeOf(http, value) });
  } catch (error) {
    console.warn('[idemkit] Option `remember` threw, so the answer was remembered:', error);
    return true;
  }
}

/** Our handler has run before another attempt's answer was asked for. */
function maybeDone(error: unknown): unknown {
  if (!IdempotencyError.is(error, 'STORE_UNAVAILABLE')) return error;
  return new IdempotencyError(
    'STORE_UNAVAILABLE',
    'Another attempt took over and has answered, but its answer cannot be fetched at the moment. What this one did may have happened; try again with the same key.',
    { cause: error, effect: 'possible', retryAfterSeconds: 1 },
  );
}

/** The refusal over HTTP. @throws `error` where it is not the caller's business */
export function answerOrThrow(settings: Settings, http: HttpEvent | undefined, error: unknown): unknown {
  const answer = http && IdempotencyError.is(error) ? refused(settings, http, error) : undefined;
  if (answer === undefined) throw error;
  return answer;
}

const maxKeptInputBytes = 65_536;
const keptInputSealTimeMs = 2_000;

async function keptInput({ settings, event, identity }: Request): Promise<Uint8Array | undefined> {
  const encoded = await encode(event, {
    operation: identity.pk,
    maxBytes: maxKeptInputBytes,
    seal: settings.store().seal,
    sealTimeMs: keptInputSealTimeMs,
  });
  return encoded.kind === 'bytes' ? encoded.bytes : undefined;
}
