import { isUtf8 } from 'node:buffer';
import { callerName, missingTenant } from './caller.ts';
import { canonicalPairs, canonicalText } from './canonical.ts';
import { canonicalJson } from './canonical-json.ts';

/** An HTTP request from API Gateway (REST API, HTTP API), an Application Load Balancer or a Function URL. */
export interface HttpEvent {
  /** `v1`: REST APIs, payload format 1.0. `v2`: HTTP APIs and Function URLs, payload format 2.0. `alb`: load balancers. */
  readonly format: 'v1' | 'v2' | 'alb';
  /** Upper case. */
  readonly method: string;
  /** Whether a load balancer expects `multiValueHeaders` in answers. Its target group sends and expects either form only. */
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
  readonly rawQueryString?: unknown;
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

/** `undefined` for any event that is no HTTP request. */
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

/** What an event with `headers` lacks to be an HTTP request. Such events are made by hand, in tests. */
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
  // Where an event has both, only the multi-value one shows a header that was sent twice.
  const lines = linesIn(raw.multiValueHeaders, wanted);
  return lines.length > 0 ? lines : linesIn(raw.headers, wanted);
}

function linesIn(headers: Headers | MultiValues | undefined, wanted: string): string[] {
  const lines: string[] = [];
  // Every call looks for several headers. `Object.keys` would make a list of all names each time.
  for (const header in headers) {
    if (header.length !== wanted.length || header.toLowerCase() !== wanted) continue;
    if (!Object.hasOwn(headers, header)) continue;
    for (const line of linesOf(headers[header])) lines.push(line);
  }
  return lines;
}

/** The strings in a member that should be a string or an array of strings. An event made by hand may hold anything. */
function linesOf(value: unknown): string[] {
  if (typeof value === 'string') return [value];
  return Array.isArray(value) ? value.filter((line) => typeof line === 'string') : [];
}

/**
 * The canonical text of a request: its method, path, query and body. A JSON body counts by its meaning, a form by its pairs,
 * any other body by its bytes. A multipart form counts without its boundary, because clients draw a new one each time.
 */
export function canonicalRequest(event: HttpEvent): string {
  const { raw } = event;
  const path = event.format === 'v2' ? raw.rawPath : raw.path;
  return JSON.stringify([event.method, path ?? '', canonicalQuery(event)]) + canonicalBody(event);
}

function canonicalQuery({ format, raw }: HttpEvent): string {
  if (format === 'v2') {
    const query = raw.rawQueryString;
    return canonicalPairs(typeof query === 'string' && query !== '' ? formPairs(byteTextOf(query)) : []);
  }
  const pairs: [string, string][] = [];
  const parameters = raw.multiValueQueryStringParameters ?? raw.queryStringParameters ?? {};
  for (const [name, values] of Object.entries(parameters)) {
    for (const value of linesOf(values)) pairs.push([name, value]);
  }
  return canonicalPairs(pairs);
}

function canonicalBody(event: HttpEvent): string {
  const { body, isBase64Encoded } = event.raw;
  if (typeof body !== 'string') {
    // Otherwise a body parser ran first.
    return body === undefined || body === null ? JSON.stringify('') : markedAsJson(canonicalText(body));
  }
  const contentType = headerLines(event, 'content-type')[0] ?? '';
  const bytes = isBase64Encoded ? Buffer.from(body, 'base64') : undefined;
  const byteText = () => bytes?.toString('latin1') ?? byteTextOf(body);
  if (/^application\/x-www-form-urlencoded\b/i.test(contentType)) {
    return JSON.stringify({ form: canonicalPairs(formPairs(byteText())) });
  }
  const boundary = /^multipart\/.*\bboundary=(?:"([^"]+)"|([^\s";]+))/i.exec(contentType);
  if (boundary) {
    return JSON.stringify({ multipart: byteText().split(`--${boundary[1] ?? boundary[2]}`) });
  }
  // Decoding would turn all invalid bytes into one and the same character.
  const text = bytes && !isUtf8(bytes) ? undefined : (bytes?.toString('utf8') ?? body);
  if (text !== undefined && (/\bjson\b/i.test(contentType) || /^\s*[[{]/.test(text))) {
    try {
      return markedAsJson(canonicalJson(text));
    } catch {
      // It is not JSON, or is nested too deep. Its bytes are compared instead.
    }
  }
  return JSON.stringify(byteText());
}

/** Differs from any unparsed body. It is not quoted: quoting a long text would take as long as hashing it. */
const markedAsJson = (canonical: string): string => `json:${canonical}`;

/**
 * One character for each UTF-8 byte of `text`, so that bytes that are no UTF-8 stay different. A lone surrogate has no
 * bytes. A text with one is returned as it is, and no bytes can look like it.
 */
const byteTextOf = (text: string): string =>
  text.isWellFormed() ? Buffer.from(text, 'utf8').toString('latin1') : text;

/** The pairs of a form or a query, one character for each byte. `URLSearchParams` would make all invalid bytes equal. */
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
 * The caller that the gateway has authenticated; `undefined` where the API is open, and always behind a load balancer.
 * The first of these that is known decides: `sub` of a JWT or of Cognito, Cognito identity, IAM ARN (two sessions of one
 * role are one caller), `principalId` of a Lambda authorizer, and the API key where no authorizer ran. Headers and query
 * never decide.
 *
 * @throws `MISSING_TENANT` where an authorizer ran, but left nothing that tells callers apart
 */
export function callerOf({ format, raw }: HttpEvent): string | undefined {
  if (format === 'alb') return undefined;
  const authorizer = authorizerIn(raw);
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
    // All users of an app share its API key, so it does not replace the identity that an authorizer should have left.
    apiKeyId: authorizer === undefined ? identity?.apiKeyId : undefined,
  });
  if (caller !== undefined) return caller;
  if (authorizer === undefined) return undefined;
  throw missingTenant('no `sub`, no `principalId`', 'context', 'requestContext.authorizer.lambda');
}

/**
 * What an authorizer left; `undefined` on an open route. There an HTTP API sends `{ claims: null, scopes: null }` in payload
 * format 1.0, and no authorizer in format 2.0.
 *
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
 */
function authorizerIn({ version, requestContext }: RawHttpEvent): Fields | undefined {
  const authorizer = fields(requestContext.authorizer);
  if (authorizer === undefined || version !== '1.0') return authorizer;
  const { claims, scopes, ...others } = authorizer;
  const isOpen = claims === null && scopes === null && Object.keys(others).length === 0;
  return isOpen ? undefined : authorizer;
}

const isObject = (value: unknown): value is Fields => typeof value === 'object' && value !== null;
const fields = (value: unknown): Fields | undefined => (isObject(value) ? value : undefined);
