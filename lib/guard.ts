/**
 * One request's way through a guard, for every front door: event → identity → claim → (handler) → settle → reply.
 * `begin` takes it to the handler, or answers instead of it; the `Run` it returns takes it from there.
 */
import type { Context } from 'aws-lambda';
import { decode, encode } from './codec.ts';
import { GuardedOperation, type IdempotentContext, UnguardedOperation, withOperation } from './context.ts';
import { IdempotencyError } from './errors.ts';
import { asHttpEvent, type HttpEvent } from './http.ts';
import { type Identity, identify } from './identity.ts';
import type { UnguardedReason } from './observe.ts';
import { type Attempt, type Claimed, claim, type Lease, type Settled, summarise } from './operation.ts';
import type { Settings } from './options.ts';
import { refused, replayed, statusCodeOf, withoutPrivateHeaders } from './reply.ts';
import type { ClaimRecord, UnavailableReason } from './store.ts';

export type Begun =
  | { readonly kind: 'run'; readonly context: IdempotentContext; readonly run: Run }
  | { readonly kind: 'answer'; readonly answer: unknown };

/** A handler's execution, as a front door reports how it ended. Exactly one method is called, once. */
export interface Run {
  /** The handler returned: resolves to what the caller gets, which is `result` unless another attempt overtook. */
  returned(result: unknown): Promise<unknown>;
  /**
   * It threw: the claim is given up, unless it may still be running (then the claim is left to its lease). Never
   * rejects; the caller gets the handler's error.
   */
  threw(error: unknown): Promise<void>;
  /** It returned, but the answer was lost on the way out: it must not run again. Never rejects. */
  returnedInVain(): Promise<void>;
}

/** What guards share: settings, and whose they are (to tell two guards on one namespace from one that is used twice). */
export interface Guard {
  readonly settings: Settings;
  readonly subject: object;
}

/** @throws what `claim` and `identify` throw; for HTTP events only what is not the caller's business. */
export async function begin(guard: Guard, event: unknown, context: Context | undefined): Promise<Begun> {
  const { settings } = guard;
  if (settings.disabled()) {
    warnOfDisabled();
    return unguarded(settings, context, 'disabled');
  }
  const http = asHttpEvent(event);
  try {
    refuseDurableExecution(context);
    const identity = identify(settings, event, context as Context, http);
    if (identity.kind === 'none') return unguarded(settings, context, identity.reason);
    refuseSharedNamespace(guard);
    return await claimAndGo({
      settings,
      event,
      context,
      http,
      identity,
      startedAtMs: settings.clock().now(),
    });
  } catch (error) {
    return { kind: 'answer', answer: answerOrThrow(settings, http, error) };
  }
}

interface Request {
  readonly settings: Settings;
  readonly event: unknown;
  readonly context: Context | undefined;
  readonly http: HttpEvent | undefined;
  readonly identity: Extract<Identity, { kind: 'operation' }>;
  readonly startedAtMs: number;
}

async function claimAndGo(request: Request): Promise<Begun> {
  const { settings, identity } = request;
  const claimed = await claim({
    store: settings.store(),
    clock: settings.clock(),
    pk: identity.pk,
    fingerprint: identity.fingerprint,
    ttlMs: settings.ttlMs,
    lease: leaseOf(settings, request.context),
    waitMs: settings.waitMs,
    ...(settings.keep.key && { rawKey: identity.key }),
    ...(settings.keep.input && { rawInput: await keptInput(request) }),
  });
  observeClaim(request, claimed);
  switch (claimed.outcome) {
    case 'won':
      return run(request, claimed.attempt);
    case 'replay':
      return { kind: 'answer', answer: await replay(request, claimed.record) };
    case 'mismatch':
      throw new IdempotencyError(
        'PAYLOAD_MISMATCH',
        'This idempotency key was used before with other parameters. Nothing has been done; use a new key for a new operation.',
        { record: summarise(claimed.record) },
      );
    case 'busy': {
      const retryAfterSeconds = secondsUntilFree(settings, claimed.record);
      throw new IdempotencyError(
        'IN_PROGRESS',
        'An earlier request with this idempotency key is still being processed. Nothing has been done by this one; try again later.',
        { retryAfterSeconds, ...(claimed.record && { record: summarise(claimed.record) }) },
      );
    }
    case 'unreachable':
      if (settings.whenStoreFails === 'fail') throw claimed.error;
      return unguarded(settings, request.context, 'store-failed', claimed.error);
  }
}

function unguarded(
  settings: Settings,
  context: Context | undefined,
  reason: UnguardedReason,
  cause?: unknown,
): Begun {
  settings.observe({ type: 'unguarded', reason, ...(cause !== undefined && { cause }) });
  return {
    kind: 'run',
    context: withOperation(context, new UnguardedOperation()),
    run: {
      returned: async (result) => result,
      threw: async () => {},
      returnedInVain: async () => {},
    },
  };
}

function run(request: Request, attempt: Attempt): Begun {
  const { settings, http, identity } = request;
  const operation = new GuardedOperation(attempt, identity);
  const clock = settings.clock();
  const startedAtMs = clock.now();

  const settle = async (how: Promise<Settled>, whenDone: Settlement): Promise<Settled> => {
    operation.end();
    const settlingAtMs = clock.now();
    const settled = await how;
    if (settled.outcome === 'overtaken' || settled.outcome === 'replay') operation.abort();
    if (settled.outcome === 'unrecorded' && IdempotencyError.is(settled.cause, 'STORE_MISCONFIGURED')) {
      // The caller gets its result, so nothing else would tell that repeats are not protected.
      console.error(`[idemkit] An answer could not be recorded: ${settled.cause.message}`);
    }
    settings.observe({
      ...occurrenceOf(settled, whenDone),
      operation: attempt.pk,
      attempt: attempt.number,
      durationMs: clock.now() - settlingAtMs,
      runMs: settlingAtMs - startedAtMs,
    });
    return settled;
  };

  const complete = async (value: unknown): Promise<Settled> => {
    const store = settings.store();
    const encoded = await encode(withoutPrivateHeaders(http, value), {
      operation: attempt.pk,
      maxBytes: store.maxAnswerBytes,
      seal: store.seal,
    });
    if (encoded.kind === 'bytes') {
      return settle(attempt.complete(encoded.bytes), {
        type: 'complete',
        answerBytes: encoded.bytes.length,
      });
    }
    const { reason: unavailable, cause } = encoded;
    return settle(attempt.complete(unavailable), { type: 'complete', answerBytes: 0, unavailable, cause });
  };

  const giveUp = async (isOver: boolean): Promise<void> => {
    if (isOver) {
      await settle(attempt.release(), { type: 'release' });
      return;
    }
    operation.end();
    attempt.abandon();
    const runMs = clock.now() - startedAtMs;
    settings.observe({ type: 'abandon', operation: attempt.pk, attempt: attempt.number, runMs });
  };

  return {
    kind: 'run',
    context: withOperation(request.context, operation),
    run: {
      async returned(result) {
        if (!isToBeRemembered(settings, http, result)) {
          await giveUp(!deadlineIsHere(request.context));
          return result;
        }
        const settled = await complete(result);
        switch (settled.outcome) {
          case 'done':
          case 'unrecorded':
            return result;
          case 'replay':
            return replay(request, settled.record).catch((error) => answerOrThrow(settings, http, error));
          case 'overtaken':
            return answerOrThrow(settings, http, overtaken(settings, settled.record));
        }
      },
      async threw(error) {
        await giveUp(!isEarlyTimeout(error) && !deadlineIsHere(request.context));
      },
      async returnedInVain() {
        await settle(attempt.complete('not-final'), {
          type: 'complete',
          answerBytes: 0,
          unavailable: 'not-final',
        });
      },
    },
  };
}

type Settlement =
  | { type: 'complete'; answerBytes: number; unavailable?: UnavailableReason; cause?: unknown }
  | { type: 'release' };

function occurrenceOf(
  settled: Settled,
  whenDone: Settlement,
): Settlement | { type: 'unrecorded'; cause: unknown } | { type: 'overtaken' } {
  if (settled.outcome === 'done') return whenDone;
  return settled.outcome === 'unrecorded'
    ? { type: 'unrecorded', cause: settled.cause }
    : { type: 'overtaken' };
}

/**
 * Middy answers for a handler that is about to run out of time, which goes on meanwhile. It can be told by its error;
 * an error or answer of the user's own (`timeoutEarlyResponse`) only by the clock.
 */
function isEarlyTimeout(error: unknown): boolean {
  const { name, cause } = (error ?? {}) as { name?: unknown; cause?: { package?: unknown } };
  return name === 'TimeoutError' && cause?.package === '@middy/core';
}

const deadlineMs = 100;

/** So near to the deadline a release gains a retry next to nothing over the end of the lease. */
const deadlineIsHere = (context: Context | undefined): boolean =>
  typeof context?.getRemainingTimeInMillis === 'function' && context.getRemainingTimeInMillis() < deadlineMs;

/** A `remember` that throws must not cost the caller its answer; remembering is the side that runs nothing twice. */
function isToBeRemembered(settings: Settings, http: HttpEvent | undefined, value: unknown): boolean {
  try {
    return settings.remember({ value, statusCode: statusCodeOf(http, value) });
  } catch (error) {
    console.warn('[idemkit] Option `remember` threw, so the answer was remembered:', error);
    return true;
  }
}

async function replay({ settings, http, event, context }: Request, record: ClaimRecord): Promise<unknown> {
  const stored = await storedAnswer(settings, record);
  const answer = settings.onReplay
    ? await settings.onReplay(stored, event as never, context as Context)
    : stored;
  return http ? replayed(settings, http, answer) : answer;
}

/** Every call decodes a copy of its own, so that what one caller does to its answer reaches no other. */
async function storedAnswer(settings: Settings, record: ClaimRecord): Promise<unknown> {
  const store = settings.store();
  const { answer } = record;
  if (answer === undefined || answer.kind === 'unavailable') {
    throw resultUnavailable(record, answer?.reason);
  }
  const bytes = answer.kind === 'inline' ? answer.bytes : await store.readChunks(record);
  if (bytes === undefined) throw resultUnavailable(record, 'missing');
  try {
    return await decode(bytes, { operation: record.pk, seal: store.seal });
  } catch (cause) {
    if (IdempotencyError.is(cause)) throw cause;
    throw resultUnavailable(record, 'unreadable', cause);
  }
}

const whyUnavailable: Record<UnavailableReason | 'missing' | 'unreadable', string> = {
  unserialisable: 'it could not be serialised',
  'too-large': 'it was too large to store',
  'not-sealed': 'it could not be encrypted',
  'not-final': 'it failed after the handler had returned',
  missing: 'a part of it is gone',
  unreadable: 'it cannot be read back',
};

const resultUnavailable = (
  record: ClaimRecord,
  reason: UnavailableReason | 'missing' | 'unreadable' = 'missing',
  cause?: unknown,
): IdempotencyError =>
  new IdempotencyError(
    'RESULT_UNAVAILABLE',
    `The operation with this idempotency key was completed, but its answer is not available: ${whyUnavailable[reason]}. It has not been done again.`,
    { record: summarise(record), cause },
  );

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

function secondsUntilFree(settings: Settings, record: ClaimRecord | undefined): number {
  const leftMs = record?.status === 'IN_PROGRESS' ? record.leaseUntilMs - settings.clock().now() : 0;
  return Math.max(1, Math.ceil(leftMs / 1000));
}

function answerOrThrow(settings: Settings, http: HttpEvent | undefined, error: unknown): unknown {
  const answer = http && IdempotencyError.is(error) ? refused(settings, http, error) : undefined;
  if (answer === undefined) throw error;
  return answer;
}

const maxKeptInputBytes = 65_536;

async function keptInput({ settings, event, identity }: Request): Promise<Uint8Array | undefined> {
  const encoded = await encode(event, {
    operation: identity.pk,
    maxBytes: maxKeptInputBytes,
    seal: settings.store().seal,
  });
  return encoded.kind === 'bytes' ? encoded.bytes : undefined;
}

/** Lambda's longest run is 900 s. */
const longestInvocationMs = 900_000;
const defaultLeaseMs = 60_000;
const clockSkewMs = 1_000;

function leaseOf(settings: Settings, context: Context | undefined): Lease {
  const remainingMs =
    typeof context?.getRemainingTimeInMillis === 'function'
      ? () => context.getRemainingTimeInMillis()
      : undefined;
  const timeLeftMs = remainingMs ?? (() => Number.POSITIVE_INFINITY);
  const { leaseMs } = settings;
  if (leaseMs !== undefined) {
    return { durationMs: () => leaseMs, marginMs: Math.min(clockSkewMs, leaseMs / 2), timeLeftMs };
  }
  const withoutContextMs = process.env.AWS_LAMBDA_FUNCTION_NAME
    ? longestInvocationMs + clockSkewMs
    : defaultLeaseMs;
  return {
    durationMs: () => (remainingMs ? remainingMs() + clockSkewMs : withoutContextMs),
    marginMs: clockSkewMs,
    timeLeftMs,
  };
}

function observeClaim({ settings, identity, startedAtMs }: Request, claimed: Claimed): void {
  const nowMs = settings.clock().now();
  const durationMs = nowMs - startedAtMs;
  const operation = identity.pk;
  if (claimed.outcome === 'unreachable') return;
  if (claimed.outcome === 'won') {
    const { number: attempt, createdAtMs } = claimed.attempt;
    if (!claimed.takenOver) settings.observe({ type: 'claim', operation, attempt, durationMs });
    else settings.observe({ type: 'takeover', operation, attempt, durationMs, ageMs: nowMs - createdAtMs });
    return;
  }
  const { record } = claimed;
  const attempt = record?.attempt ?? 1;
  const ageMs = record ? nowMs - record.createdAtMs : 0;
  if (claimed.outcome === 'mismatch') {
    settings.observe({ type: 'mismatch', operation, attempt, durationMs, ageMs });
  } else if (claimed.outcome === 'replay') {
    const answeredMs = nowMs - (record?.completedAtMs ?? nowMs);
    settings.observe({ type: 'replay', operation, attempt, durationMs, ageMs: answeredMs });
  } else {
    const leaseLeftMs = record ? Math.max(0, record.leaseUntilMs - nowMs) : 0;
    settings.observe({ type: 'busy', operation, attempt, durationMs, ageMs, leaseLeftMs });
  }
}

function refuseDurableExecution(context: Context | undefined): void {
  const durable = context as { executionContext?: unknown; lambdaContext?: unknown } | undefined;
  if (durable?.executionContext === undefined || durable.lambdaContext === undefined) return;
  throw new IdempotencyError(
    'UNSUPPORTED',
    'A durable execution cannot be guarded from inside: when it is resumed, it would meet its own claim as busy. Guard what starts it (start it with a name derived from the key), and use its own steps inside.',
  );
}

// On globalThis, so that two copies of the package see each other's guards.
const shared = globalThis as unknown as Record<symbol, Map<string, object> | undefined>;
const registry = Symbol.for('idemkit.namespaces');
shared[registry] ??= new Map();
const namespacesInUse = shared[registry];

function refuseSharedNamespace({ settings, subject }: Guard): void {
  const namespace = settings.namespace();
  if (!namespace.isDefault) return;
  const place = JSON.stringify([settings.store().id, namespace.name]);
  const first = namespacesInUse.get(place);
  if (first === undefined) namespacesInUse.set(place, subject);
  else if (first !== subject) {
    throw new IdempotencyError(
      'NAMESPACE_CLASH',
      `Two guards use the default namespace '${namespace.name}' on the store '${settings.store().id}': a key that one of them has seen would be answered with its answer by the other. Give each its own, e.g. { namespace: '${namespace.name}-refunds' }.`,
    );
  }
}

let warnedOfDisabled = false;

function warnOfDisabled(): void {
  if (warnedOfDisabled) return;
  warnedOfDisabled = true;
  console.warn('[idemkit] IDEMPOTENCY_DISABLED is set: handlers run unguarded.');
}
