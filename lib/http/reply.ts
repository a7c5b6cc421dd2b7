import type { Ended, Reply } from '../engine/index.ts';
import { type IdempotencyError, withoutMessage } from '../errors.ts';
import type { HttpEvent } from '../events/index.ts';
import { isFunction, isRecord, kindOf } from '../validate.ts';
import { type ErrorProfile, refusal } from './refusal.ts';
import type { HttpResponse } from './response.ts';

/** How the guard's own answers look: refusals and replays. */
export interface ReplySettings {
  readonly errors: ErrorProfile | ((error: IdempotencyError) => HttpResponse);
  readonly answerHeaders: ((event: never) => Record<string, string>) | undefined;
  readonly docsUrl: string | undefined;
}

/** The reply of a call that came over HTTP. */
export const httpReply = (settings: ReplySettings, http: HttpEvent): Reply => ({
  isAmended: true,
  toStore: (answer) => withoutPrivateHeaders(http, answer),
  statusOf(answer) {
    const { statusCode } = responseOf(http, answer) ?? {};
    return statusCode === undefined ? undefined : Number(statusCode);
  },
  replayed: (answer) => replayed(settings, http, answer),
  refused: (error) => refused(settings, http, error),
});

/** The HTTP answer to a refused call; the error itself where it must be thrown. */
function refused(settings: ReplySettings, http: HttpEvent, error: IdempotencyError): Ended {
  const { errors, docsUrl } = settings;
  const isOwn = typeof errors === 'function';
  const standard = refusal(isOwn ? 'problem' : errors, error, docsUrl);
  if (standard === undefined) return { kind: 'error', error };
  const answer = isOwn ? refusedBy(settings, errors, error, standard) : standard;
  const retryAfter = hasHeader(answer, 'retry-after') ? undefined : retryAfterOf(error, standard.statusCode);
  return {
    kind: 'answer',
    answer: {
      ...withHeaders(http, answer, {
        ...(retryAfter !== undefined && { 'Retry-After': String(retryAfter) }),
        ...headersFor(settings, http),
      }),
      statusCode: answer.statusCode,
    },
  };
}

/** The answer that `http.errors` makes. If it makes none, the standard one: the caller must learn what happened. */
function refusedBy(
  settings: ReplySettings,
  errors: (error: IdempotencyError) => HttpResponse,
  error: IdempotencyError,
  standard: HttpResponse,
): HttpResponse {
  try {
    const answer: unknown = errors(error);
    const status = (answer as Partial<HttpResponse> | null | undefined)?.statusCode;
    if (isStatus(status)) return answer as HttpResponse;
    tellOnce(settings, 'errors', 'returned no response with a `statusCode`', kindOf(answer));
  } catch (thrown) {
    tellOnce(settings, 'errors', 'threw', withoutMessage(thrown));
  }
  return standard;
}

/** The headers that `http.answerHeaders` returns; none where it throws. */
function headersFor(settings: ReplySettings, http: HttpEvent): Record<string, string> {
  try {
    return settings.answerHeaders?.(http.raw as never) ?? {};
  } catch (thrown) {
    tellOnce(settings, 'answerHeaders', 'threw', withoutMessage(thrown));
    return {};
  }
}

const told = { errors: new WeakSet<ReplySettings>(), answerHeaders: new WeakSet<ReplySettings>() };

function tellOnce(settings: ReplySettings, option: keyof typeof told, what: string, value: string): void {
  if (told[option].has(settings)) return;
  told[option].add(settings);
  console.warn(`[idemkit] Option \`http.${option}\` ${what}, so the answer goes out without it: ${value}`);
}

/** A store of the user's own may not say when to retry. A 503 without `Retry-After` does not tell a client that it may. */
const retryAfterOf = ({ retryAfterSeconds }: IdempotencyError, status: number): number | undefined =>
  retryAfterSeconds ?? (status === 503 ? 1 : undefined);

/** A stored answer for a repeat: marked as replayed, in the shape that the event source expects. */
function replayed(settings: ReplySettings, http: HttpEvent, answer: unknown): unknown {
  const response = responseOf(http, http.format === 'v2' ? inferredResponse(answer) : answer);
  if (response === undefined) return answer;
  const { errors } = settings;
  // Every repeat gets this same 5xx, and Stripe's SDKs would retry it in vain.
  const isFinal = errors === 'stripe' && Number(response.statusCode) >= 500;
  return withHeaders(http, response, {
    'Idempotent-Replayed': 'true',
    ...(isFinal && { 'Stripe-Should-Retry': 'false' }),
    ...headersFor(settings, http),
  });
}

/** Headers of one exchange, not of the answer: cookies, dates, request ids, and the connection's own (RFC 9110 §7.6.1). */
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

/** An HTTP answer without the headers that must reach neither the table nor another caller. */
function withoutPrivateHeaders(http: HttpEvent, result: unknown): unknown {
  const found = responseOf(http, result);
  if (found === undefined) return asSent(result);
  const { cookies: _, ...response } = found;
  return withHeadersAs(response, (headers) => without(notStored, headers));
}

/** `response` with both kinds of its headers as `change` makes them. */
function withHeadersAs(response: Response, change: <T extends object>(headers: T) => T): Response {
  const { headers, multiValueHeaders } = response;
  return {
    ...response,
    ...(isRecord(headers) && { headers: change(headers) }),
    ...(isRecord(multiValueHeaders) && { multiValueHeaders: change(multiValueHeaders) }),
  };
}

/** `headers` without those of `names`, which are in lower case. Most have none of them, and need no copy. */
function without<T extends object>(names: ReadonlySet<string>, headers: T): T {
  const isKept = (name: string): boolean => !names.has(name.toLowerCase());
  if (Object.keys(headers).every(isKept)) return headers;
  return Object.fromEntries(Object.entries(headers).filter(([name]) => isKept(name))) as T;
}

/** An HTTP answer that may lack a status. */
type Response = Partial<HttpResponse>;

/** The HTTP answer that the event source makes of `result`; `undefined` where it makes none. */
function responseOf({ format }: HttpEvent, result: unknown): Response | undefined {
  const response = asSent(result);
  if (!isRecord(response) || Array.isArray(response)) return undefined;
  const { statusCode } = response;
  // A REST API answers 200 where a status is missing. Data with other members may still become an answer, in a middleware.
  const isBare = format !== 'v2' && statusCode === undefined && isNothingButResponse(response);
  return isStatus(statusCode) || isBare ? withHeadersAs(response, asSent) : undefined;
}

const isStatus = (given: unknown): boolean => given !== undefined && Number.isInteger(Number(given));

const responseMembers = new Set(['headers', 'multiValueHeaders', 'body', 'isBase64Encoded', 'cookies']);

function isNothingButResponse(value: Readonly<Record<string, unknown>>): boolean {
  const names = Object.keys(value).filter((name) => value[name] !== undefined);
  return names.length > 0 && names.every((name) => responseMembers.has(name));
}

/** A value as JSON writes it. The first caller gets what `toJSON` returns, so a repeat must get the same. */
function asSent<T>(value: T): T {
  if (!hasToJson(value)) return value;
  try {
    return withoutToJson(value.toJSON('')) as T;
  } catch {
    return value;
  }
}

const hasToJson = (value: unknown): value is { toJSON(name: string): unknown } =>
  isRecord(value) && isFunction(value.toJSON);

/** JSON calls `toJSON` once. Of an object that has another one, such as a Date, it writes the members. */
function withoutToJson(sent: unknown): unknown {
  if (!hasToJson(sent)) return sent;
  return Array.isArray(sent) ? [...sent] : { ...sent, toJSON: undefined };
}

/**
 * In payload format 2.0, a value without a `statusCode` is the body of a 200.
 *
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
 */
function inferredResponse(answer: unknown): unknown {
  const sent = asSent(answer);
  const hasStatus = isRecord(sent) && sent.statusCode !== undefined;
  if (hasStatus || sent === undefined || sent === null) return sent;
  return {
    statusCode: 200,
    headers: { 'Content-Type': 'application/json' },
    body: typeof sent === 'string' ? sent : JSON.stringify(sent),
  };
}

const hasHeader = ({ headers, multiValueHeaders }: Response, name: string): boolean =>
  Object.keys({ ...headers, ...multiValueHeaders }).some((one) => one.toLowerCase() === name);

function withHeaders(http: HttpEvent, response: Response, more: Record<string, string>): Response {
  const added = Object.entries(more).filter(isSent);
  const replaced = new Set(added.map(([name]) => name.toLowerCase()));
  const { headers, ...rest } = withHeadersAs(response, (given) => without(replaced, given));
  if (http.multiValue) {
    const listed = ([name, value]: [string, unknown]): [string, unknown[]] => [name, [value]];
    return {
      ...rest,
      multiValueHeaders: Object.fromEntries([
        ...Object.entries(headers ?? {})
          .filter(isSent)
          .map(listed),
        ...Object.entries(rest.multiValueHeaders ?? {}),
        ...added.map(listed),
      ]) as Record<string, string[]>,
    };
  }
  return { ...rest, headers: { ...headers, ...Object.fromEntries(added) } };
}

/** JSON leaves a header without a value out. In a list it would be `null`, of which a load balancer makes a 502. */
const isSent = ([, value]: [string, unknown]): boolean => value !== undefined && value !== null;
