import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import { accountId } from './account.ts';
import type { Invocation } from './lambda.ts';
import { type Listening, listen } from './listen.ts';

export interface Route {
  readonly method: string;
  /** The whole path, as it is sent. */
  readonly path: string;
  /** The name of the function that answers. */
  readonly function: string;
}

export type LocalApi = Listening;

/**
 * An API Gateway HTTP API with Lambda proxy integrations, payload format 2.0, on a free port of this machine.
 *
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
 */
export async function startApi(
  routes: readonly Route[],
  invoke: (functionName: string, event: APIGatewayProxyEventV2) => Promise<Invocation>,
): Promise<LocalApi> {
  const apiId = 'local';

  async function handle(message: IncomingMessage, answer: ServerResponse): Promise<void> {
    const url = new URL(message.url ?? '/', 'http://localhost');
    const route = routes.find(({ method, path }) => method === message.method && path === url.pathname);
    const requestId = randomBytes(11).toString('base64url');
    answer.setHeader('Apigw-Requestid', requestId);
    if (route === undefined) {
      send(answer, { statusCode: 404, body: '{"message":"Not Found"}' });
      return;
    }
    const event = eventOf(message, await read(message), url, route, { apiId, requestId });
    send(answer, responseOf(await invoke(route.function, event)));
  }

  const server = createServer((message, answer) => {
    handle(message, answer).catch((error) => {
      answer.destroy();
      // A client that hangs up is its own business.
      if (!message.destroyed) process.stderr.write(`api: ${error instanceof Error ? error.stack : error}\n`);
    });
  });
  return listen(server);
}

async function read(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of message) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

function eventOf(
  message: IncomingMessage,
  body: Buffer,
  url: URL,
  route: Route,
  { apiId, requestId }: { apiId: string; requestId: string },
): APIGatewayProxyEventV2 {
  const { headers, cookies } = headersOf(message);
  const sourceIp = message.socket.remoteAddress ?? '127.0.0.1';
  const routeKey = `${route.method} ${route.path}`;
  const query = queryOf(url.searchParams);
  const isText = isTextual(headers);
  const nowMs = Date.now();
  return {
    version: '2.0',
    routeKey,
    rawPath: url.pathname,
    rawQueryString: url.search.slice(1),
    ...(cookies.length > 0 && { cookies }),
    headers: { ...headers, 'x-forwarded-for': sourceIp, 'x-forwarded-proto': 'http' },
    ...(query && { queryStringParameters: query }),
    requestContext: {
      accountId,
      apiId,
      domainName: headers.host ?? '',
      domainPrefix: apiId,
      http: {
        method: route.method,
        path: url.pathname,
        protocol: `HTTP/${message.httpVersion}`,
        sourceIp,
        userAgent: headers['user-agent'] ?? '',
      },
      requestId,
      routeKey,
      stage: '$default',
      time: commonLogTime(nowMs),
      timeEpoch: nowMs,
    },
    ...(body.length > 0 && { body: body.toString(isText ? 'utf8' : 'base64') }),
    isBase64Encoded: body.length > 0 && !isText,
  };
}

/** Names in lower case, one that was sent twice joined by commas; cookies have a field of their own. */
function headersOf({ rawHeaders }: IncomingMessage): { headers: Record<string, string>; cookies: string[] } {
  const headers: Record<string, string> = {};
  const cookies: string[] = [];
  // Node's own `headers` drops the second one of some names.
  for (let i = 0; i + 1 < rawHeaders.length; i += 2) {
    const name = (rawHeaders[i] ?? '').toLowerCase();
    const value = rawHeaders[i + 1] ?? '';
    if (name === 'cookie') cookies.push(...value.split(/; */));
    // These are between two neighbours on the line, and the gateway's other neighbour is Lambda.
    else if (name === 'connection' || name === 'keep-alive' || name === 'transfer-encoding') continue;
    else headers[name] = name in headers ? `${headers[name]},${value}` : value;
  }
  return { headers, cookies };
}

function queryOf(parameters: URLSearchParams): Record<string, string> | undefined {
  const query: Record<string, string> = {};
  for (const name of new Set(parameters.keys())) query[name] = parameters.getAll(name).join(',');
  return Object.keys(query).length > 0 ? query : undefined;
}

/** A form is not on the list: it comes in base64. */
function isTextual(headers: Readonly<Record<string, string>>): boolean {
  if (headers['content-encoding'] !== undefined) return false;
  return /^(?:text\/|application\/(?:json|xml|javascript)\b|application\/[\w.-]+\+(?:json|xml)\b)/i.test(
    headers['content-type'] ?? '',
  );
}

/** `12/Mar/2020:19:03:58 +0000` */
function commonLogTime(ms: number): string {
  const [, day, month, year, time] = new Date(ms).toUTCString().split(' ');
  return `${day}/${month}/${year}:${time} +0000`;
}

interface Response {
  readonly statusCode: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly cookies?: readonly string[];
  readonly body: string | Buffer;
}

/** Which is the function's fault: it threw, ended, ran out of time, or answered what is no answer. */
const functionFailed: Response = { statusCode: 500, body: '{"message":"Internal Server Error"}' };

function responseOf(invocation: Invocation): Response {
  if (invocation.outcome !== 'result') return functionFailed;
  const result: unknown = JSON.parse(invocation.payload);
  if (typeof result !== 'object' || result === null || !('statusCode' in result)) {
    // Without a status it is the body of a 200.
    return { statusCode: 200, body: typeof result === 'string' ? result : invocation.payload };
  }
  const { statusCode, headers, cookies, body, isBase64Encoded } = result as Record<string, unknown>;
  const status = Number(statusCode);
  const isValid =
    Number.isInteger(status) &&
    status >= 100 &&
    status <= 599 &&
    (body === undefined || body === null || typeof body === 'string') &&
    (cookies === undefined || cookies === null || Array.isArray(cookies));
  if (!isValid) return functionFailed;
  const named = Object.entries((headers ?? {}) as Record<string, unknown>).map(([name, value]) => [
    name.toLowerCase(),
    String(value),
  ]);
  return {
    statusCode: status,
    headers: { 'content-type': 'text/plain;charset=UTF-8', ...Object.fromEntries(named) },
    cookies: (cookies ?? []) as string[],
    body: isBase64Encoded === true ? Buffer.from(body ?? '', 'base64') : (body ?? ''),
  };
}

function send(answer: ServerResponse, { statusCode, headers, cookies = [], body }: Response): void {
  for (const [name, value] of Object.entries(headers ?? { 'content-type': 'application/json' })) {
    answer.setHeader(name, value);
  }
  if (cookies.length > 0) {
    const own = answer.getHeader('set-cookie');
    answer.setHeader('set-cookie', [...(own === undefined ? [] : [String(own)]), ...cookies]);
  }
  answer.statusCode = statusCode;
  answer.end(body);
}
