import { Buffer, isUtf8 } from 'node:buffer';
import { IdempotencyError } from '../errors.ts';
import { callerName } from './caller.ts';
import { canonicalPairs, canonicalText } from './canonical.ts';
import { canonicalJson } from './canonical-json.ts';

/** An HTTP request as API Gateway (REST v1, HTTP v2), an Application Load Balancer or a Function URL hand it over. */
export interface HttpEvent {
  /** `v2` is HTTP API's payload format 2.0, which Function URLs share. */
  readonly format: 'v1' | 'v2' | 'alb';
  /** Upper case. */
  readonly method: string;
  /** Whether answers to a load balancer must use `multiValueHeaders` too: it is all or nothing per target group. */
  readonly multiValue: boolean;
  readonly raw: RawHttpEvent;
}

type Headers = Readonly<Record<string, string | undefined>> | null;
type MultiValues = Readonly<Record<string, readonly string[] | undefined>> | null;
type Fields = Readonly<Record<string, unknown>>;

interface RawHttpEvent {
  readonly version?: string;
  readonly httpMethod?: string;
  readonly path?: string;
  readonly rawPath?: string;
  readonly rawQueryString?: string;
  readonly headers?: Headers;
  readonly multiValueHeaders?: MultiValues;
  readonly queryStringParameters?: Headers;
  readonly multiValueQueryStringParameters?: MultiValues;
  readonly body?: unknown;
  readonly isBase64Encoded?: boolean;
  readonly requestContext: {
    readonly elb?: unknown;
    readonly http?: { readonly method?: string };
    readonly authorizer?: Fields | null;
    readonly identity?: Fields | null;
  };
}

/** `undefined` for anything that is not an HTTP request. */
export function asHttpEvent(event: unknown): HttpEvent | undefined {
  const raw = event as RawHttpEvent | null | undefined;
  if (typeof raw !== 'object' || raw === null || !isObject(raw.requestContext)) return undefined;
  if (raw.version === '2.0' && typeof raw.requestContext.http?.method === 'string') {
    return { format: 'v2', method: raw.requestContext.http.method.toUpperCase(), multiValue: false, raw };
  }
  if (typeof raw.httpMethod !== 'string') return undefined;
  const method = raw.httpMethod.toUpperCase();
  return raw.requestContext.elb === undefined
    ? { format: 'v1', method, multiValue: false, raw }
    : { format: 'alb', method, multiValue: isObject(raw.multiValueHeaders), raw };
}

/** What `event` lacks to be an HTTP request, though it has `headers`: a test has made it by hand. */
export function whyNoHttpEvent(event: unknown): string | undefined {
  if (!isObject(event) || !isObject(event.headers)) return undefined;
  if (event.version === '2.0') {
    return 'it has `headers` and `version: "2.0"`, but no `requestContext.http.method`, which an HTTP API and a Function URL send';
  }
  if (typeof event.httpMethod === 'string') {
    return 'it has `headers` and `httpMethod`, but no `requestContext`, which a REST API and a load balancer send';
  }
  return 'it has `headers`, but neither `version: "2.0"` with `requestContext.http.method` (HTTP API, Function URL) nor `httpMethod` with `requestContext` (REST API, load balancer)';
}

/** Every line of the header `name`, whatever its casing. */
export function headerLines({ raw }: HttpEvent, name: string): string[] {
  const wanted = name.toLowerCase();
  // Where both are filled they say the same, and only the multi-value one shows a header that was sent twice.
  for (const headers of [raw.multiValueHeaders, raw.headers]) {
    const lines: string[] = [];
    for (const [header, value] of Object.entries(headers ?? {})) {
      if (header.toLowerCase() !== wanted) continue;
      for (const line of linesOf(value)) lines.push(line);
    }
    if (lines.length > 0) return lines;
  }
  return [];
}

/** Of a member that may be a text, a list of texts, or in an event made by hand anything. */
function linesOf(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return Array.isArray(value) ? value.filter((line) => typeof line === 'string') : [];
}

/**
 * What makes two requests the same: method, path, query and body, canonically. A JSON body counts by its meaning, a
 * form by its pairs, a multipart form without its boundary (a client draws a new one each time), all else by its bytes.
 */
export function canonicalRequest(event: HttpEvent): string {
  const { raw } = event;
  const path = event.format === 'v2' ? raw.rawPath : raw.path;
  return JSON.stringify([event.method, path ?? '', canonicalQuery(event), canonicalBody(event)]);
}

function canonicalQuery({ format, raw }: HttpEvent): string {
  if (format === 'v2') return canonicalPairs(formPairs(byteTextOf(raw.rawQueryString ?? '')));
  const pairs: [string, string][] = [];
  const parameters = raw.multiValueQueryStringParameters ?? raw.queryStringParameters ?? {};
  for (const [name, values] of Object.entries(parameters)) {
    for (const value of linesOf(values)) pairs.push([name, value]);
  }
  return canonicalPairs(pairs);
}

function canonicalBody(event: HttpEvent): unknown {
  const { body, isBase64Encoded } = event.raw;
  // A body parser ran first: what it made is what we have. Not a string, so it is not mistaken for an unparsed one.
  if (typeof body !== 'string') return body === undefined || body === null ? '' : [canonicalText(body)];
  const contentType = headerLines(event, 'content-type')[0] ?? '';
  const bytes = isBase64Encoded ? Buffer.from(body, 'base64') : undefined;
  const byteText = () => bytes?.toString('latin1') ?? byteTextOf(body);
  if (/^application\/x-www-form-urlencoded\b/i.test(contentType)) {
    return { form: canonicalPairs(formPairs(byteText())) };
  }
  const boundary = /^multipart\/.*\bboundary=(?:"([^"]+)"|([^\s";]+))/i.exec(contentType);
  if (boundary) return { multipart: byteText().split(`--${boundary[1] ?? boundary[2]}`) };
  // Read as UTF-8, all bytes that are not would be one.
  if (bytes && !isUtf8(bytes)) return byteText();
  const text = bytes?.toString('utf8') ?? body;
  if (/\bjson\b/i.test(contentType) || /^\s*[[{]/.test(text)) {
    try {
      return [canonicalJson(text)];
    } catch {
      // Not JSON, or nested beyond reason: its bytes can tell in any case.
    }
  }
  return byteText();
}

/**
 * One character for each byte of `text`, so that bytes that are no UTF-8 stay apart. Half a surrogate pair has no bytes:
 * then it is the text itself, which no bytes look like.
 */
const byteTextOf = (text: string): string =>
  text.isWellFormed() ? Buffer.from(text, 'utf8').toString('latin1') : text;

/** The pairs of a form or a query, one character for each byte. `URLSearchParams` would fold all that is no UTF-8. */
function formPairs(byteText: string): [string, string][] {
  const pairs: [string, string][] = [];
  for (const pair of byteText.split('&')) {
    if (pair === '') continue;
    const sign = pair.indexOf('=');
    const end = sign === -1 ? pair.length : sign;
    pairs.push([percentDecoded(pair.slice(0, end)), percentDecoded(pair.slice(end + 1))]);
  }
  return pairs;
}

const percentDecoded = (text: string): string =>
  text
    .replaceAll('+', ' ')
    .replace(/%([0-9a-f]{2})/gi, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));

/**
 * Who is calling, as the gateway authenticated them; `undefined` where the API is open. Headers and query never
 * decide. In this order: JWT or Cognito `sub`, Cognito identity, IAM ARN (two sessions of one role are one caller),
 * Lambda authorizer's `principalId`; where no authorizer ran, the API key. A load balancer tells of nobody.
 *
 * @throws `MISSING_TENANT` where an authorizer ran and left nothing to tell callers apart by.
 */
export function callerOf({ format, raw }: HttpEvent): string | undefined {
  if (format === 'alb') return undefined;
  const authorizer = fields(raw.requestContext.authorizer);
  const identity = fields(raw.requestContext.identity);
  const iam = fields(authorizer?.iam);
  const lambda = format === 'v2' ? fields(authorizer?.lambda) : authorizer;

  const claims = fields(fields(authorizer?.jwt)?.claims) ?? fields(authorizer?.claims);
  const caller = callerName({
    subject: claims?.sub,
    issuer: claims?.iss,
    cognitoIdentityId: fields(iam?.cognitoIdentity)?.identityId ?? identity?.cognitoIdentityId,
    userArn: iam?.userArn ?? identity?.userArn,
    principalId: lambda?.principalId,
    // An app's key, which all its users share: nobody's identity where an authorizer was to tell them apart.
    apiKeyId: authorizer === undefined ? identity?.apiKeyId : undefined,
  });
  if (caller !== undefined) return caller;
  if (authorizer === undefined) return undefined;
  throw new IdempotencyError(
    'MISSING_TENANT',
    "An authorizer let this request pass but left no identity (no `sub`, no `principalId`), so two callers with the same key could not be told apart. Return a `principalId` in the authorizer's context, or give the option `tenant`, e.g. `tenant: (event) => event.requestContext.authorizer.lambda.customerId`.",
  );
}

const isObject = (value: unknown): value is Fields => typeof value === 'object' && value !== null;
const fields = (value: unknown): Fields | undefined => (isObject(value) ? value : undefined);
