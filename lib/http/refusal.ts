import type { IdempotencyError, IdempotencyErrorCode } from '../errors.ts';
import type { HttpResponse } from './response.ts';

/** How refusals look: RFC 9457 problem details, the same with a `Link` to the documentation, or Stripe's errors. */
export type ErrorProfile = 'problem' | 'problem-link' | 'stripe';

interface Refusal {
  readonly status: number;
  readonly title: string;
  readonly stripe: {
    readonly status: number;
    readonly type: 'idempotency_error' | 'api_error';
    readonly code?: string;
    /** Stripe's SDKs retry every 409, unless a header says that this one is final. */
    readonly isFinal?: true;
  };
}

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
const outage = { status: 503, type: 'api_error' } as const;

/**
 * The codes that a caller is answered with. All other codes are faults of the application. They are thrown, so that the
 * invocation fails and somebody notices.
 *
 * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ section 2.7
 * @see https://docs.stripe.com/api/errors
 */
export const refusals: Partial<Record<IdempotencyErrorCode, Refusal>> = {
  MISSING_KEY: { status: 400, title: 'Idempotency key is missing', stripe: misuse },
  BAD_KEY: { status: 400, title: 'Idempotency key is malformed', stripe: misuse },
  IN_PROGRESS: {
    status: 409,
    title: 'A request with this idempotency key is in progress',
    stripe: inUse,
  },
  FENCED: {
    status: 409,
    title: 'A newer epoch of this sender has taken over',
    stripe: { status: 409, type: 'idempotency_error', isFinal: true },
  },
  SEQUENCE_GAP: {
    status: 409,
    title: 'An operation before this one is missing',
    stripe: { status: 409, type: 'idempotency_error' },
  },
  OVERTAKEN: {
    status: 409,
    title: 'Another attempt with this idempotency key took over',
    stripe: inUse,
  },
  RESULT_UNAVAILABLE: {
    status: 410,
    title: 'The answer to this idempotency key is no longer available',
    stripe: misuse,
  },
  PAYLOAD_MISMATCH: {
    status: 422,
    title: 'Idempotency key was used with other parameters',
    stripe: misuse,
  },
  STORE_UNAVAILABLE: {
    status: 503,
    title: 'Idempotency cannot be guaranteed at the moment',
    stripe: outage,
  },
  OUTCOME_UNKNOWN: {
    status: 503,
    title: 'What became of the request is not known yet',
    stripe: outage,
  },
  NO_TIME_LEFT: {
    status: 503,
    title: 'There is no time left to process the request',
    stripe: outage,
  },
};

/** The HTTP answer for `error`, or `undefined` where the error must be thrown. */
export function refusal(
  profile: ErrorProfile,
  error: IdempotencyError,
  docsUrl: string | undefined,
): HttpResponse | undefined {
  const refused = refusals[error.code];
  if (refused === undefined) return undefined;
  return profile === 'stripe'
    ? stripeError(refused, error)
    : problem(refused, error, docsUrl, profile === 'problem-link');
}

function problem(
  { status, title }: Refusal,
  error: IdempotencyError,
  docsUrl: string | undefined,
  isLinked: boolean,
): HttpResponse {
  return {
    statusCode: status,
    headers: {
      'Content-Type': 'application/problem+json',
      'Cache-Control': 'no-store',
      ...(isLinked && { Link: `<${docsUrl}>; rel="describedby"; type="text/html"` }),
    },
    body: JSON.stringify({
      type: docsUrl ?? 'about:blank',
      // RFC 9457 §4.2.1: with `about:blank` the title is the status's own phrase.
      title: docsUrl ? title : statusPhrase[status],
      status,
      detail: error.message,
      code: error.code,
      ...expected(error),
    }),
  };
}

function stripeError({ stripe }: Refusal, error: IdempotencyError): HttpResponse {
  const { status, isFinal, ...shape } = stripe;
  return {
    statusCode: status,
    headers: {
      'Content-Type': 'application/json',
      'Cache-Control': 'no-store',
      ...(isFinal && { 'Stripe-Should-Retry': 'false' }),
    },
    body: JSON.stringify({ error: { ...shape, message: error.message, ...expected(error) } }),
  };
}

/** A numbered sender goes on from there. */
const expected = ({ expectedNumber }: IdempotencyError): { readonly expected?: number } =>
  expectedNumber === undefined ? {} : { expected: expectedNumber };
