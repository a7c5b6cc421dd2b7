import type { IdempotencyError, IdempotencyErrorCode } from '../errors.ts';
import type { HttpResponse } from './response.ts';

/** How refusals look: RFC 9457 problem details, the same with a `Link` to the documentation, or Stripe's errors. */
export type ErrorProfile = 'problem' | 'problem-link' | 'stripe';

/** How Stripe's API answers. */
interface StripeRefusal {
  readonly status: number;
  readonly type: 'idempotency_error' | 'api_error';
  readonly code?: string;
  /** Stripe's SDKs retry every 409, unless a header says that this one is final. */
  readonly isFinal?: true;
}

type Refusal = readonly [status: number, title: string, stripe: StripeRefusal];

/** Written out, because importing `node:http` would double the time of a cold import. */
export const statusPhrase: Readonly<Record<number, string>> = {
  400: 'Bad Request',
  409: 'Conflict',
  410: 'Gone',
  422: 'Unprocessable Entity',
  503: 'Service Unavailable',
};

const misuse = { status: 400, type: 'idempotency_error' } as const;
const inUse = { status: 409, type: 'idempotency_error', code: 'idempotency_key_in_use' } as const;
const outOfOrder = { status: 409, type: 'idempotency_error' } as const;
const outage = { status: 503, type: 'api_error' } as const;

/**
 * The codes that a caller is answered with. All other codes are faults of the application. They are thrown, so that the
 * invocation fails and somebody notices.
 *
 * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ section 2.7
 * @see https://docs.stripe.com/api/errors
 */
export const refusals: Partial<Record<IdempotencyErrorCode, Refusal>> = {
  MISSING_KEY: [400, 'Idempotency key is missing', misuse],
  BAD_KEY: [400, 'Idempotency key is malformed', misuse],
  IN_PROGRESS: [409, 'A request with this idempotency key is in progress', inUse],
  FENCED: [409, 'A newer epoch of this sender has taken over', { ...outOfOrder, isFinal: true }],
  SEQUENCE_GAP: [409, 'An operation before this one is missing', outOfOrder],
  OVERTAKEN: [409, 'Another attempt with this idempotency key took over', inUse],
  RESULT_UNAVAILABLE: [410, 'The answer to this idempotency key is no longer available', misuse],
  PAYLOAD_MISMATCH: [422, 'Idempotency key was used with other parameters', misuse],
  STORE_UNAVAILABLE: [503, 'Idempotency cannot be guaranteed at the moment', outage],
  OUTCOME_UNKNOWN: [503, 'What became of the request is not known yet', outage],
  NO_TIME_LEFT: [503, 'There is no time left to process the request', outage],
};

/** The HTTP answer for `error`, or `undefined` where the error must be thrown. */
export function refusal(
  profile: ErrorProfile,
  error: IdempotencyError,
  docsUrl: string | undefined,
): HttpResponse | undefined {
  const refused = refusals[error.code];
  if (refused === undefined) return undefined;
  const [status, title, stripe] = refused;
  // A numbered sender goes on from there.
  const expected = error.expectedNumber === undefined ? {} : { expected: error.expectedNumber };
  if (profile === 'stripe') {
    const { status, isFinal, ...shape } = stripe;
    return answer(status, 'json', isFinal && { 'Stripe-Should-Retry': 'false' }, {
      error: { ...shape, message: error.message, ...expected },
    });
  }
  const link = { Link: `<${docsUrl}>; rel="describedby"; type="text/html"` };
  return answer(status, 'problem+json', profile === 'problem-link' && link, {
    type: docsUrl ?? 'about:blank',
    // RFC 9457 §4.2.1: with `about:blank` the title is the status's own phrase.
    title: docsUrl ? title : statusPhrase[status],
    status,
    detail: error.message,
    code: error.code,
    ...expected,
  });
}

const answer = (
  statusCode: number,
  format: 'json' | 'problem+json',
  more: Record<string, string> | false | undefined,
  body: object,
): HttpResponse => ({
  statusCode,
  headers: { 'Content-Type': `application/${format}`, 'Cache-Control': 'no-store', ...more },
  body: JSON.stringify(body),
});
