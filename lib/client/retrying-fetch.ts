import { discard, mayChange, retryAfterMsOf } from './answer.ts';
import { type RetryingFetchOptions, resolveOptions, type Settings } from './options.ts';
import { prepare, withBody } from './request.ts';
import { RequestTimeoutError } from './timeout-error.ts';
import { anyOf, backoffMs, pause } from './waiting.ts';

/**
 * `fetch` that sends a request again while its outcome is unknown, with one idempotency key for all attempts.
 *
 * It retries after network errors and timeouts, after 409 while the operation is in progress, and after 425, 429 and 5xx.
 * It waits with full jitter, and never less than `Retry-After` demands.
 *
 * Resolves to the first answer that is final. If attempts or time run out between two attempts, it resolves to the last
 * answer, or throws the last network error.
 *
 * @throws {RequestTimeoutError} when the deadline comes during an attempt, or the last attempt times out
 * @throws {IdempotencyError} before anything is sent: `BAD_OPTION`, `BAD_KEY`, or `UNSUPPORTED` for a request that cannot
 * be sent twice
 * @throws the reason of the caller's `signal`, at once, during a wait too
 *
 * @example
 * const response = await retryingFetch('/payments', { method: 'POST', body: JSON.stringify({ amount: 100 }) });
 */
export async function retryingFetch(
  input: string | URL | Request,
  init: RequestInit = {},
  options?: RetryingFetchOptions,
): Promise<Response> {
  const settings = resolveOptions(options);
  const draft = prepare(settings, input, init);
  const { key } = draft;
  const { clock, deadlineMs } = settings;

  let attempt = 0;
  let lastError: unknown;
  const deadline = new AbortController();
  const signal = anyOf(draft.signal, deadline.signal);
  signal.throwIfAborted();
  const endsAtMs = clock.now() + deadlineMs;
  const stopDeadline = clock.after(deadlineMs, () =>
    deadline.abort(new RequestTimeoutError('deadline', deadlineMs, attempt, key, lastError)),
  );

  try {
    const send = await withBody(settings, draft, signal);
    for (;;) {
      attempt++;
      const outcome = await tryOnce(settings, send, signal, attempt, key);
      lastError = outcome.error;
      const delayMs = (outcome.retryAfterMs ?? 0) + backoffMs(settings, attempt);
      const isLast = attempt >= settings.maxAttempts || clock.now() + delayMs >= endsAtMs;
      if (outcome.isFinal || isLast) {
        if (outcome.response) return outcome.response;
        throw outcome.error;
      }

      const { response, error } = outcome;
      try {
        settings.onRetry?.({ attempt, delayMs, key, ...(response ? { response } : { error }) });
      } finally {
        discard(response);
      }
      await pause(clock, delayMs, signal);
    }
  } finally {
    stopDeadline();
  }
}

type Outcome = { readonly isFinal: boolean; readonly retryAfterMs?: number | undefined } & (
  | { readonly response: Response; readonly error?: undefined }
  | { readonly error: unknown; readonly response?: undefined }
);

async function tryOnce(
  { clock, attemptTimeoutMs }: Settings,
  send: (signal: AbortSignal) => Promise<Response>,
  signal: AbortSignal,
  attempt: number,
  key: string,
): Promise<Outcome> {
  const timeout = new AbortController();
  const stopTimeout = clock.after(attemptTimeoutMs, () =>
    timeout.abort(new RequestTimeoutError('attempt', attemptTimeoutMs, attempt, key)),
  );
  try {
    const response = await send(anyOf(signal, timeout.signal));
    const retryAfterMs = retryAfterMsOf(response.headers, clock.now());
    return { response, retryAfterMs, isFinal: !(await mayChange(response, retryAfterMs)) };
  } catch (error) {
    signal.throwIfAborted();
    if (timeout.signal.aborted) return { error: timeout.signal.reason, isFinal: false };
    // `fetch` reports network errors as TypeError. It is compared by name, because each realm has its own class.
    return { error, isFinal: (error as Error | undefined)?.name !== 'TypeError' };
  } finally {
    stopTimeout();
  }
}
