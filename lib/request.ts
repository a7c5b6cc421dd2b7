/**
 * One guarded call, or one record of a batch, on its way: claim → (handler) → settle. What the front doors have in common
 * once it is known which operation an event belongs to.
 */
import type { Context } from 'aws-lambda';
import { type Encoded, encode } from './codec.ts';
import { GuardedOperation } from './context.ts';
import { IdempotencyError } from './errors.ts';
import type { HttpEvent } from './http.ts';
import type { Identity } from './identity.ts';
import { leaseOf, remainingTimeOf } from './lease.ts';
import { claimOccurrence, type Settlement, settledOccurrence } from './observe.ts';
import { type Attempt, type Claimed, claim, type Settled, summarise } from './operation.ts';
import type { Settings } from './options.ts';
import { replay } from './recall.ts';
import { refused, statusCodeOf, withoutPrivateHeaders } from './reply.ts';
import type { ClaimRecord } from './store.ts';

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
  const clock = settings.clock();
  const claimed = await claim({
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
  });
  const occurrence = claimOccurrence(identity.pk, claimed, clock.now(), startedAtMs);
  if (occurrence) settings.observe(occurrence);
  return claimed;
}

/** Why a call that is not to run is refused. */
export function refusalOf(
  settings: Settings,
  claimed: Extract<Claimed, { outcome: 'mismatch' | 'busy' }>,
): IdempotencyError {
  if (claimed.outcome === 'mismatch') {
    return new IdempotencyError(
      'PAYLOAD_MISMATCH',
      'This idempotency key was used before with other parameters. Nothing has been done; use a new key for a new operation.',
      { record: summarise(claimed.record) },
    );
  }
  return new IdempotencyError(
    'IN_PROGRESS',
    'An earlier request with this idempotency key is still being processed. Nothing has been done by this one; try again later.',
    {
      retryAfterSeconds: secondsUntilFree(settings, claimed.record),
      ...(claimed.record && { record: summarise(claimed.record) }),
    },
  );
}

/** A handler's execution under a claim, up to the claim's end. One of its methods is called, once. */
export class Execution {
  readonly operation: GuardedOperation;
  readonly #request: Request;
  readonly #attempt: Attempt;
  readonly #startedAtMs: number;

  constructor(request: Request, attempt: Attempt) {
    this.#request = request;
    this.#attempt = attempt;
    this.operation = new GuardedOperation(attempt, request.identity);
    this.#startedAtMs = request.settings.clock().now();
  }

  /** The handler returned: resolves to what the caller gets, which is `result` unless another attempt overtook. */
  async returned(result: unknown): Promise<unknown> {
    const { settings, http } = this.#request;
    const settled = await this.#settleReturned(result, result);
    switch (settled?.outcome) {
      case undefined:
      case 'done':
      case 'unrecorded':
        return result;
      case 'replay':
        return replay(this.#request, settled.record).catch((error) =>
          answerOrThrow(settings, http, maybeDone(error)),
        );
      case 'overtaken':
        return answerOrThrow(settings, http, overtaken(settings, settled.record));
    }
  }

  /**
   * The same for a record of a batch, where nobody waits for an answer: none is stored.
   *
   * @throws `OVERTAKEN` where another attempt is working on it
   */
  async recordReturned(value: unknown): Promise<void> {
    const settled = await this.#settleReturned(value, undefined);
    if (settled?.outcome === 'overtaken') throw overtaken(this.#request.settings, settled.record);
  }

  /**
   * The handler threw: the claim is given up, unless the handler may still be running (then the claim is left to its
   * lease). Never rejects; the caller gets the handler's error.
   */
  async threw(error: unknown): Promise<void> {
    await this.#giveUp(!isEarlyTimeout(error) && !this.#deadlineIsHere());
  }

  /** It returned, but the answer was lost on the way out: it must not run again. Never rejects. */
  async returnedInVain(): Promise<void> {
    await this.#settle({ kind: 'unavailable', reason: 'not-final' });
  }

  /** It was not called, and will not be. Never rejects. */
  async notStarted(): Promise<void> {
    await this.#giveUp(true);
  }

  /** Resolves to `undefined` where the value was not to be remembered. */
  async #settleReturned(value: unknown, answer: unknown): Promise<Settled | undefined> {
    const { settings, http } = this.#request;
    if (isToBeRemembered(settings, http, value)) return this.#settle(undefined, answer);
    await this.#giveUp(!this.#deadlineIsHere());
    return undefined;
  }

  async #settle(unavailable: Encoded | undefined, value?: unknown): Promise<Settled> {
    const { settings, http } = this.#request;
    const settlingAtMs = settings.clock().now();
    this.operation.end();
    const store = settings.store();
    const encoded =
      unavailable ??
      (await encode(withoutPrivateHeaders(http, value), {
        operation: this.#attempt.pk,
        maxBytes: store.maxAnswerBytes,
        seal: store.seal,
        sealTimeMs: this.#attempt.settleTimeMs / 2,
      }));
    const isThere = encoded.kind === 'bytes';
    const settled = await this.#attempt.complete(isThere ? encoded.bytes : encoded.reason);
    this.#tell(settled, settlingAtMs, {
      type: 'complete',
      answerBytes: isThere ? encoded.bytes.length : 0,
      ...(!isThere && { unavailable: encoded.reason }),
      ...(!isThere && encoded.cause !== undefined && { cause: encoded.cause }),
    });
    if (settled.outcome === 'done' && settled.record) settings.cache?.put(settled.record);
    return settled;
  }

  async #giveUp(isOver: boolean): Promise<void> {
    const { settings } = this.#request;
    const settlingAtMs = settings.clock().now();
    this.operation.end();
    if (isOver) {
      this.#tell(await this.#attempt.release(), settlingAtMs, { type: 'release' });
      return;
    }
    this.#attempt.abandon();
    const { pk: operation, number: attempt } = this.#attempt;
    settings.observe({ type: 'abandon', operation, attempt, runMs: settlingAtMs - this.#startedAtMs });
  }

  #tell(settled: Settled, settlingAtMs: number, whenDone: Settlement): void {
    const { settings } = this.#request;
    if (settled.outcome === 'overtaken' || settled.outcome === 'replay') this.operation.abort();
    if (settled.outcome === 'unrecorded' && IdempotencyError.is(settled.cause, 'STORE_MISCONFIGURED')) {
      // The caller gets its result, so nothing else would tell that repeats are not protected.
      console.error(`[idemkit] An answer could not be recorded: ${settled.cause.message}`);
    }
    settings.observe({
      ...settledOccurrence(settled, whenDone),
      operation: this.#attempt.pk,
      attempt: this.#attempt.number,
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

const overtaken = (settings: Settings, record: ClaimRecord | undefined): IdempotencyError =>
  new IdempotencyError(
    'OVERTAKEN',
    'This attempt outlived its lease and another one has taken over. What it did may have happened; try again with the same key for the answer.',
    {
      effect: 'possible',
      retryAfterSeconds: secondsUntilFree(settings, record),
      ...(record && { record: summarise(record) }),
    },
  );

/** A lease is as long as its owner can take; most owners are done long before, and asking again is cheap. */
const mostRetryAfterSeconds = 5;

function secondsUntilFree(settings: Settings, record: ClaimRecord | undefined): number {
  const leftMs = record?.status === 'IN_PROGRESS' ? record.leaseUntilMs - settings.clock().now() : 0;
  return Math.min(Math.max(1, Math.ceil(leftMs / 1000)), mostRetryAfterSeconds);
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
