/** How a numbered message goes over HTTP, and what its answers mean. */
import { IdempotencyError } from '../errors.ts';
import { check, checkKnown, isFunction } from '../validate.ts';
import { discard, mayChange, type Problem, problemOf, retryAfterMsOf } from './answer.ts';
import type { RetryingFetchOptions } from './options.ts';
import { retryingFetch } from './retrying-fetch.ts';
import type { Delivery, SendOnce } from './sender-options.ts';
import { sequenceHeader } from './sequence-header.ts';

const headerName = 'Idempotency-Sequence';

/** Options of {@link overHttp}. */
export interface OverHttpOptions<Payload> {
  /**
   * What to give `fetch` for a payload: method, headers, credentials, body. It must be the same for every attempt.
   *
   * @default a POST of the payload as JSON
   */
  readonly request?: (payload: Payload) => RequestInit;
  /**
   * The function that sends the requests.
   *
   * @default the global `fetch`
   */
  readonly fetch?: NonNullable<RetryingFetchOptions['fetch']>;
}

/**
 * Makes the `send` of a numbered sender: one request for each attempt, with the header `Idempotency-Sequence`.
 *
 * @param url in a page it may be relative; a function is given the payload
 * @throws {IdempotencyError} `BAD_OPTION`
 *
 * @example
 * numberedSender({ producer, storage, send: overHttp('https://api.example.com/sales') })
 */
export function overHttp<Payload = unknown>(
  url: string | URL | ((payload: Payload) => string | URL),
  options: OverHttpOptions<Payload> = {},
): SendOnce<Payload, Response> {
  const { request, fetch } = checked(url, options);
  return async ({ payload, signal, ...place }) => {
    const { headers: given, ...init } = request?.(payload) ?? {};
    const headers = new Headers(given);
    headers.set(headerName, sequenceHeader(place));
    const hasBody = init.body !== undefined && init.body !== null;
    if (!hasBody && !headers.has('Content-Type')) headers.set('Content-Type', 'application/json');
    const once = { header: headerName, maxAttempts: 1, ...(fetch && { fetch }) };
    try {
      const response = await retryingFetch(
        typeof url === 'function' ? url(payload) : url,
        { method: 'POST', body: JSON.stringify(payload), ...init, headers, signal },
        // The sender's own timeouts end the attempt.
        { ...once, attemptTimeoutMs: Number.POSITIVE_INFINITY, deadlineMs: Number.POSITIVE_INFINITY },
      );
      const delivery = await deliveryOf(response);
      const isRead = delivery.outcome === 'answered' || delivery.outcome === 'not-accepted';
      if (!isRead) discard(response);
      return delivery;
    } catch (cause) {
      // A request that cannot be sent twice, for example. It has not been sent.
      if (IdempotencyError.is(cause)) return { outcome: 'not-accepted', cause };
      throw cause;
    }
  };
}

/** Each mistake here would otherwise be met by the first message, which would stay queued. */
function checked<Payload>(url: unknown, options: OverHttpOptions<Payload>): OverHttpOptions<Payload> {
  check('url', url ?? null, 'a string, a URL or a function', (value) => {
    return (typeof value === 'string' && value !== '') || value instanceof URL || isFunction(value);
  });
  checkKnown('', options, ['request', 'fetch'], { elsewhere: { headers: 'request', method: 'request' } });
  check('request', options.request, 'a function that returns what fetch() takes for a payload', isFunction);
  check('fetch', options.fetch, 'a function', isFunction);
  return options;
}

/** What an answer says of the message. */
async function deliveryOf(response: Response): Promise<Delivery<Response>> {
  const { status, headers, ok } = response;
  const answered = { outcome: 'answered', answer: response, ...(!ok && { isRefusal: true }) } as const;
  if (ok || headers.get('Idempotent-Replayed') === 'true') return answered;
  const retryAfterMs = retryAfterMsOf(headers, Date.now());
  const problem = await problemOf(response);
  const { expected } = problem;
  switch (problem.code ?? stripeCode(response, problem)) {
    case 'FENCED':
      return { outcome: 'fenced' };
    case 'PAYLOAD_MISMATCH':
      return { outcome: 'mismatch' };
    case 'RESULT_UNAVAILABLE':
      return { outcome: 'done' };
    case 'SEQUENCE_GAP':
      if (Number.isSafeInteger(expected) && (expected as number) >= 0) {
        return { outcome: 'gap', expectedNumber: expected as number, retryAfterMs };
      }
      return { outcome: 'not-accepted', cause: response };
    case 'BAD_REQUEST':
    case 'MISSING_KEY':
    case 'BAD_KEY':
      return { outcome: 'not-accepted', cause: response };
  }
  // Without credentials, nothing has been done (RFC 9110 §15.5.2). Somebody must renew them.
  if (status === 401 || status === 407) return { outcome: 'not-accepted', cause: response };
  if (status === 408 || (await mayChange(response, retryAfterMs))) {
    return { outcome: 'unanswered', cause: response, retryAfterMs };
  }
  return answered;
}

/** Stripe's errors have no codes for these. A 400 has several meanings, in none of which the message may be given up. */
function stripeCode({ status, headers }: Response, { type, expected }: Problem): string | undefined {
  if (type !== 'idempotency_error') return undefined;
  if (status === 400) return 'BAD_REQUEST';
  if (expected !== undefined) return 'SEQUENCE_GAP';
  return headers.get('Stripe-Should-Retry') === 'false' ? 'FENCED' : undefined;
}
