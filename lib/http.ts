import { Buffer } from 'node:buffer';
import { canonicalJson, canonicalPairs, canonicalText } from './canonical.ts';
import { IdempotencyError } from './errors.ts';

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

/** Every line of the header `name`, whatever its casing. */
export function headerLines({ raw }: HttpEvent, name: string): string[] {
  const wanted = name.toLowerCase();
  // Where both are filled they say the same, and only the multi-value one shows a header that was sent twice.
  for (const headers of [raw.multiValueHeaders, raw.headers]) {
    const lines: string[] = [];
    for (const [header, value] of Object.entries(headers ?? {})) {
      if (header.toLowerCase() !== wanted || value === undefined || value === null) continue;
      if (typeof value === 'string') lines.push(value);
      else lines.push(...value);
    }
    if (lines.length > 0) return lines;
  }
  return [];
}

export const maxKeyLength = 255;

/** RFC 9651: a String as an Item. Parameters are allowed there; none is defined for a key, so none counts. */
const characters = /(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*/.source;
const bareItem = [
  `"${characters}"`,
  /-?\d{1,15}/.source,
  /-?\d{1,12}\.\d{1,3}/.source,
  /[A-Za-z*][\w!#$%&'*+.^`|~:/-]*/.source,
  /:[A-Za-z0-9+/=]*:/.source,
  /\?[01]/.source,
  /@-?\d{1,15}/.source,
  /%"(?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*"/.source,
].join('|');
const quotedKey = new RegExp(`^"(${characters})"(?:; *[a-z*][a-z0-9_.*-]*(?:=(?:${bareItem}))?)*$`);
const bareKey = /^[\x21\x23-\x2b\x2d-\x7e]+$/;

/**
 * The idempotency key in the header `name`, unquoted; `undefined` if the header is not there.
 *
 * `strict` takes an RFC 9651 String (`"k"`), as the IETF draft demands; `lenient` takes a bare `k` as well, and both
 * are the same key. 1 to 255 characters.
 *
 * @throws `BAD_KEY`, without the key: it may be personal data.
 * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
 * @see https://www.rfc-editor.org/rfc/rfc9651#section-3.3.3
 */
export function keyFromHeader(
  event: HttpEvent,
  name: string,
  syntax: 'lenient' | 'strict',
): string | undefined {
  const lines = headerLines(event, name);
  if (lines.length === 0) return undefined;
  if (lines.length > 1) throw badKey(name, `was sent ${lines.length} times`, 'Send it once.');
  const text = (lines[0] ?? '').replace(/^[ \t]+|[ \t]+$/g, '');
  const quoted = quotedKey.exec(text);
  let key: string;
  if (quoted) {
    key = (quoted[1] ?? '').replace(/\\(["\\])/g, '$1');
    if (key.trim() === '') throw badKey(name, 'is blank', 'Send a fresh UUID.');
  } else if (syntax === 'strict') {
    throw badKey(
      name,
      'is not a quoted string of printable ASCII characters',
      'Send a UUID in double quotes.',
    );
  } else if (bareKey.test(text)) {
    key = text;
  } else if (text === '') {
    throw badKey(name, 'is blank', 'Send a fresh UUID.');
  } else {
    throw badKey(
      name,
      'holds a space, a comma, a lone quote or a character outside printable ASCII',
      'Send a UUID, or quote it.',
    );
  }
  if (key.length > maxKeyLength) {
    throw badKey(
      name,
      `has ${key.length} characters, more than the ${maxKeyLength} allowed`,
      'Send a UUID, or a hash of what you have.',
    );
  }
  return key;
}

function badKey(header: string, what: string, fix: string): IdempotencyError {
  return new IdempotencyError('BAD_KEY', `The ${header} header ${what}. ${fix}`);
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
  if (format === 'v2') return canonicalPairs(new URLSearchParams(raw.rawQueryString ?? ''));
  const pairs: [string, string][] = [];
  const parameters = raw.multiValueQueryStringParameters ?? raw.queryStringParameters ?? {};
  for (const [name, values] of Object.entries(parameters)) {
    for (const value of typeof values === 'string' ? [values] : (values ?? [])) pairs.push([name, value]);
  }
  return canonicalPairs(pairs);
}

function canonicalBody(event: HttpEvent): unknown {
  const { body, isBase64Encoded } = event.raw;
  // A body parser ran first: what it made is what we have. Not a string, so it is not mistaken for an unparsed one.
  if (typeof body !== 'string') return body === undefined || body === null ? '' : [canonicalText(body)];
  const contentType = headerLines(event, 'content-type')[0] ?? '';
  const bytes = () => Buffer.from(body, isBase64Encoded ? 'base64' : 'utf8');
  // Latin-1 keeps every byte of a binary body apart; UTF-8 would fold the invalid ones into one.
  const byteText = () => bytes().toString('latin1');
  const text = isBase64Encoded ? bytes().toString('utf8') : body;
  if (/^application\/x-www-form-urlencoded\b/i.test(contentType)) {
    return { form: canonicalPairs(new URLSearchParams(text)) };
  }
  const boundary = /^multipart\/.*\bboundary=(?:"([^"]+)"|([^\s";]+))/i.exec(contentType);
  if (boundary) return { multipart: byteText().split(`--${boundary[1] ?? boundary[2]}`) };
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
 * Who is calling, as the gateway authenticated them; `undefined` where the API is open. Headers and query never
 * decide. In this order: JWT or Cognito `sub`, Cognito identity, IAM ARN (two sessions of one role are one caller),
 * Lambda authorizer's `principalId`, API key.
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
  const subject = text(claims?.sub);
  if (subject) return JSON.stringify(['jwt', text(claims?.iss) ?? '', subject]);

  const cognitoIdentity = text(fields(iam?.cognitoIdentity)?.identityId) ?? text(identity?.cognitoIdentityId);
  if (cognitoIdentity) return JSON.stringify(['cognito-identity', cognitoIdentity]);

  const arn = text(iam?.userArn) ?? text(identity?.userArn);
  if (arn) return JSON.stringify(['iam', arn.replace(/(:assumed-role\/[^/]+)\/.*$/, '$1')]);

  const principal = text(lambda?.principalId);
  if (principal) return JSON.stringify(['principal', principal]);

  const apiKey = text(identity?.apiKeyId);
  if (apiKey) return JSON.stringify(['api-key', apiKey]);

  if (authorizer === undefined) return undefined;
  throw new IdempotencyError(
    'MISSING_TENANT',
    "An authorizer let this request pass but left no identity (no `sub`, no `principalId`), so two callers with the same key could not be told apart. Return a `principalId` in the authorizer's context, or give the option `tenant`, e.g. `tenant: (event) => event.requestContext.authorizer.lambda.customerId`.",
  );
}

const isObject = (value: unknown): value is Fields => typeof value === 'object' && value !== null;
const fields = (value: unknown): Fields | undefined => (isObject(value) ? value : undefined);
const text = (value: unknown): string | undefined =>
  typeof value === 'string' && value !== '' ? value : typeof value === 'number' ? String(value) : undefined;
