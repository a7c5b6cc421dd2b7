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
export const httpReply = (settings: ReplySettings, http: HttpEvent): Reply => new HttpReply(settings, http);

class HttpReply implements Reply {
  readonly isAmended = true;
  readonly #settings: ReplySettings;
  readonly #http: HttpEvent;

  constructor(settings: ReplySettings, http: HttpEvent) {
    this.#settings = settings;
    this.#http = http;
  }

  toStore(answer: unknown): unknown {
    return withoutPrivateHeaders(this.#http, answer);
  }

  statusOf(answer: unknown): number | undefined {
    return statusCodeOf(this.#http, answer);
  }

  replayed(answer: unknown): unknown {
    return replayed(this.#settings, this.#http, answer);
  }

  refused(error: IdempotencyError): Ended {
    const answer = refused(this.#settings, this.#http, error);
    return answer ? { kind: 'answer', answer } : { kind: 'error', error };
  }
}

/** The HTTP answer to a refused call, or `undefined` where the error must be thrown. */
function refused(
  settings: ReplySettings,
  http: HttpEvent,
  error: IdempotencyError,
): HttpResponse | undefined {
  const { errors, docsUrl } = settings;
  const standard = refusal(typeof errors === 'function' ? 'problem' : errors, error, docsUrl);
  if (standard === undefined) return undefined;
  const answer = typeof errors === 'function' ? refusedBy(settings, errors, error, standard) : standard;
  const retryAfter = hasHeader(answer, 'retry-after') ? undefined : retryAfterOf(error, standard.statusCode);
  return {
    ...withHeaders(http, answer, {
      ...(retryAfter !== undefined && { 'Retry-After': String(retryAfter) }),
      ...headersFor(settings, http),
    }),
    statusCode: answer.statusCode,
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
    if (status !== undefined && Number.isInteger(Number(status))) return answer as HttpResponse;
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

/** The HTTP status of a handler's answer. */
function statusCodeOf(http: HttpEvent, result: unknown): number | undefined {
  const { statusCode } = responseOf(http, result) ?? {};
  return statusCode === undefined ? undefined : Number(statusCode);
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
  return {
    ...response,
    ...(response.headers && { headers: pickStored(response.headers) }),
    ...(response.multiValueHeaders && { multiValueHeaders: pickStored(response.multiValueHeaders) }),
  };
}

const pickStored = <T>(headers: Readonly<Record<string, T>>) => without(notStored, headers);

/** `headers` without those of `names`, which are in lower case. Most have none of them, and need no copy. */
function without<T>(
  names: ReadonlySet<string>,
  headers: Readonly<Record<string, T>>,
): Readonly<Record<string, T>> {
  const isKept = (name: string): boolean => !names.has(name.toLowerCase());
  if (Object.keys(headers).every(isKept)) return headers;
  return Object.fromEntries(Object.entries(headers).filter(([name]) => isKept(name)));
}

/** An HTTP answer that may lack a status. */
type Response = Partial<HttpResponse>;

/** The HTTP answer that the event source makes of `result`; `undefined` where it makes none. */
function responseOf({ format }: HttpEvent, result: unknown): Response | undefined {
  const response = asSent(result);
  if (!isRecord(response) || Array.isArray(response)) return undefined;
  const { statusCode, headers, multiValueHeaders } = response;
  const isWhole = statusCode !== undefined && Number.isInteger(Number(statusCode));
  // A REST API answers 200 where a status is missing. Data with other members may still become an answer, in a middleware.
  const isBare = format !== 'v2' && statusCode === undefined && isNothingButResponse(response);
  if (!isWhole && !isBare) return undefined;
  return {
    ...response,
    ...(isRecord(headers) && { headers: asSent(headers) as HttpResponse['headers'] }),
    ...(isRecord(multiValueHeaders) && {
      multiValueHeaders: asSent(multiValueHeaders) as HttpResponse['multiValueHeaders'],
    }),
  };
}

const responseMembers = new Set(['headers', 'multiValueHeaders', 'body', 'isBase64Encoded', 'cookies']);

function isNothingButResponse(value: Readonly<Record<string, unknown>>): boolean {
  const names = Object.keys(value).filter((name) => value[name] !== undefined);
  return names.length > 0 && names.every((name) => responseMembers.has(name));
}

/** A value as JSON writes it. The first caller gets what `toJSON` returns, so a repeat must get the same. */
function asSent(value: unknown): unknown {
  if (!isRecord(value) || !isFunction(value.toJSON)) return value;
  try {
    return withoutToJson((value as { toJSON(name: string): unknown }).toJSON(''));
  } catch {
    return value;
  }
}

/** JSON calls `toJSON` once. Of an object that has another one, such as a Date, it writes the members. */
function withoutToJson(sent: unknown): unknown {
  if (!isRecord(sent) || !isFunction(sent.toJSON)) return sent;
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
  const kept = <T>(headers: Readonly<Record<string, T>> | undefined) => without(replaced, headers ?? {});

  if (http.multiValue) {
    const listed = ([name, value]: [string, unknown]): [string, unknown[]] => [name, [value]];
    const { headers: single, ...rest } = response;
    return {
      ...rest,
      multiValueHeaders: Object.fromEntries([
        ...Object.entries(kept(single)).filter(isSent).map(listed),
        ...Object.entries(kept(response.multiValueHeaders)),
        ...added.map(listed),
      ]) as Record<string, string[]>,
    };
  }
  return {
    ...response,
    headers: { ...kept(response.headers), ...Object.fromEntries(added) },
    ...(response.multiValueHeaders && {
      multiValueHeaders: kept(response.multiValueHeaders),
    }),
  };
}

/** JSON leaves a header without a value out. In a list it would be `null`, of which a load balancer makes a 502. */
const isSent = ([, value]: [string, unknown]): boolean => value !== undefined && value !== null;
