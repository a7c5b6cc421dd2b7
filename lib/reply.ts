import type { IdempotencyError } from './errors.ts';
import type { HttpEvent } from './http.ts';
import type { Settings } from './options.ts';
import { refusal } from './refusal.ts';

/** An answer to API Gateway, a load balancer or a Function URL. */
export interface HttpResponse {
  readonly statusCode: number;
  readonly headers?: Readonly<Record<string, string | number | boolean>>;
  readonly multiValueHeaders?: Readonly<Record<string, readonly (string | number | boolean)[]>>;
  readonly body?: string;
  readonly isBase64Encoded?: boolean;
  readonly cookies?: readonly string[];
}

/** The HTTP answer to a call that is refused, or `undefined` where the error is to be thrown. */
export function refused(
  settings: Settings,
  http: HttpEvent,
  error: IdempotencyError,
): HttpResponse | undefined {
  const { errors, docsUrl, headers } = settings.http;
  const standard = refusal(typeof errors === 'function' ? 'problem' : errors, error, docsUrl);
  if (standard === undefined) return undefined;
  const answer = typeof errors === 'function' ? errors(error) : standard;
  const retryAfter = hasHeader(answer, 'retry-after') ? undefined : retryAfterOf(error, standard.statusCode);
  return withHeaders(http, answer, {
    ...(retryAfter !== undefined && { 'Retry-After': String(retryAfter) }),
    ...headers?.(http.raw),
  });
}

/** A store of the user's own may not say, but a 503 without it tells a client nothing. */
const retryAfterOf = ({ retryAfterSeconds }: IdempotencyError, status: number): number | undefined =>
  retryAfterSeconds ?? (status === 503 ? 1 : undefined);

/** A stored answer as a repeat gets it: marked as replayed, in the shape that its event source expects. */
export function replayed(settings: Settings, http: HttpEvent, answer: unknown): unknown {
  const response = http.format === 'v2' ? inferredResponse(answer) : answer;
  if (!isHttpResponse(response)) return answer;
  const { errors, headers } = settings.http;
  // A stored 5xx stays what it is: Stripe's SDKs would retry it in vain.
  const isFinal = errors === 'stripe' && Number(response.statusCode) >= 500;
  return withHeaders(http, response, {
    'Idempotent-Replayed': 'true',
    ...(isFinal && { 'Stripe-Should-Retry': 'false' }),
    ...headers?.(http.raw),
  });
}

/** The status of what a handler returned to an HTTP event. */
export function statusCodeOf(http: HttpEvent | undefined, result: unknown): number | undefined {
  if (!http || !isHttpResponse(result)) return undefined;
  return Number(result.statusCode);
}

/** Belongs to one exchange, not to the answer: cookies, dates, request ids, and what RFC 9110 §7.6.1 calls hop-by-hop. */
const notStored = new Set([
  'set-cookie',
  'date',
  'x-request-id',
  'x-correlation-id',
  'x-amzn-requestid',
  'x-amzn-request-id',
  'x-amzn-trace-id',
  'x-amz-apigw-id',
  'x-amz-cf-id',
  'apigw-requestid',
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
]);

/** An HTTP answer without the headers that must not reach a second caller, nor lie in a table. */
export function withoutPrivateHeaders(http: HttpEvent | undefined, result: unknown): unknown {
  if (!http || !isHttpResponse(result)) return result;
  const { cookies: _, ...response } = result;
  return {
    ...response,
    ...(result.headers && { headers: pickStored(result.headers) }),
    ...(result.multiValueHeaders && { multiValueHeaders: pickStored(result.multiValueHeaders) }),
  };
}

function pickStored<T>(headers: Readonly<Record<string, T>>): Record<string, T> {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !notStored.has(name.toLowerCase())));
}

const isHttpResponse = (value: unknown): value is HttpResponse =>
  typeof value === 'object' &&
  value !== null &&
  'statusCode' in value &&
  Number.isInteger(Number(value.statusCode));

/**
 * Payload format 2.0 takes any value without a `statusCode` as the body of a 200.
 *
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
 */
function inferredResponse(answer: unknown): unknown {
  if (isHttpResponse(answer) || answer === undefined || answer === null) return answer;
  return {
    statusCode: 200,
    headers: { 'Content-Type': 'application/json' },
    body: typeof answer === 'string' ? answer : JSON.stringify(answer),
  };
}

const hasHeader = ({ headers, multiValueHeaders }: HttpResponse, name: string): boolean =>
  Object.keys({ ...headers, ...multiValueHeaders }).some((one) => one.toLowerCase() === name);

function withHeaders(http: HttpEvent, response: HttpResponse, more: Record<string, string>): HttpResponse {
  const replaced = new Set(Object.keys(more).map((name) => name.toLowerCase()));
  const kept = <T>(headers: Readonly<Record<string, T>> | undefined): [string, T][] =>
    Object.entries(headers ?? {}).filter(([name]) => !replaced.has(name.toLowerCase()));

  if (http.multiValue) {
    const single = kept(response.headers).map(([name, value]): [string, unknown[]] => [name, [value]]);
    const added = Object.entries(more).map(([name, value]): [string, unknown[]] => [name, [value]]);
    const { headers: _, ...rest } = response;
    return {
      ...rest,
      multiValueHeaders: Object.fromEntries([
        ...single,
        ...kept(response.multiValueHeaders),
        ...added,
      ]) as Record<string, string[]>,
    };
  }
  return {
    ...response,
    headers: { ...Object.fromEntries(kept(response.headers)), ...more },
    ...(response.multiValueHeaders && {
      multiValueHeaders: Object.fromEntries(kept(response.multiValueHeaders)),
    }),
  };
}
