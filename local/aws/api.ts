import { randomBytes } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import { type Listening, listen } from '../listen.ts';
import { accountId } from './account.ts';
import type { Invocation } from './lambda.ts';
import { memberOf } from './member.ts';

interface AnyRoute {
  readonly method: string;
  /** The whole path, as it is sent. */
  readonly path: string;
  /** Who may call it. @default 'NONE': everybody */
  readonly authorization?: 'NONE' | 'AWS_IAM' | 'JWT';
}

/** A Lambda proxy integration, payload format 2.0. */
export interface FunctionRoute extends AnyRoute {
  /** The name of the function that answers. */
  readonly function: string;
  /** Whether the function's policy lets API Gateway invoke it. @default true */
  readonly mayInvoke?: boolean;
}

/** The integration `SQS-SendMessage`. Values may be `$request.body`, `$request.header.<name>`, `$context.<path>`, or texts. */
export interface QueueRoute extends AnyRoute {
  /** The name of the queue. */
  readonly queue: string;
  /** The role that sends. @default none: nobody is asked */
  readonly role?: string;
  readonly messageBody: string;
  readonly messageGroupId?: string;
  readonly messageDeduplicationId?: string;
}

export type Route = FunctionRoute | QueueRoute;

/**
 * What stands for credentials, which nobody here can check: `refused`, a route that wants them answers 401 or 403;
 * `anyone`, every request to it counts as sent by one and the same caller.
 */
export type Callers = 'refused' | 'anyone';

export type LocalApi = Listening;

export interface ApiOptions {
  /** @default 'refused' */
  readonly callers?: Callers;
  /** Sends a message for a route. @default such a route answers 500 */
  readonly send?: (route: QueueRoute, message: RoutedMessage) => Promise<Response>;
  /** Told why a route cannot answer. */
  readonly onProblem?: (text: string) => void;
}

/** What is in a request where a mapping looks; nothing is left out. */
export interface RoutedMessage {
  readonly MessageBody: string;
  readonly MessageGroupId?: string;
  readonly MessageDeduplicationId?: string;
}

/**
 * An API Gateway HTTP API on a free port of this machine.
 *
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-lambda.html
 * @see https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-develop-integrations-aws-services.html
 */
export async function startApi(
  routes: readonly Route[],
  invoke: (functionName: string, event: APIGatewayProxyEventV2) => Promise<Invocation>,
  options: ApiOptions = {},
): Promise<LocalApi> {
  const {
    callers = 'refused',
    send: sendMessage = async () => functionFailed,
    onProblem = () => {},
  } = options;
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
    const { authorization = 'NONE' } = route;
    if (authorization !== 'NONE' && callers === 'refused') {
      send(answer, unauthorized[authorization]);
      return;
    }
    const event = eventOf(message, await read(message), url, route, { apiId, requestId });
    if ('queue' in route) {
      send(answer, await sendMessage(route, messageOf(route, event)));
      return;
    }
    if (route.mayInvoke === false) {
      onProblem(`${event.routeKey}: no permission lets API Gateway invoke '${route.function}'.`);
      send(answer, functionFailed);
      return;
    }
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

const unauthorized: Readonly<Record<'AWS_IAM' | 'JWT', Response>> = {
  AWS_IAM: { statusCode: 403, body: '{"message":"Forbidden"}' },
  JWT: { statusCode: 401, body: '{"message":"Unauthorized"}' },
};

/** What an event says of its caller, who is always the same here. */
const authorizers: Readonly<Record<NonNullable<Route['authorization']>, unknown>> = {
  NONE: {},
  AWS_IAM: {
    authorizer: {
      iam: {
        accessKey: 'local',
        accountId,
        callerId: 'local',
        cognitoIdentity: null,
        principalOrgId: null,
        userArn: `arn:aws:iam::${accountId}:user/local`,
        userId: 'local',
      },
    },
  },
  JWT: { authorizer: { jwt: { claims: { sub: 'local' }, scopes: null } } },
};

/** A mapping that finds nothing leaves its parameter out. */
function messageOf(route: QueueRoute, event: APIGatewayProxyEventV2): RoutedMessage {
  const { body = '', isBase64Encoded, headers, requestContext } = event;
  const text = isBase64Encoded ? Buffer.from(body, 'base64').toString() : body;
  const find = (mapping: string | undefined): string | undefined => {
    if (mapping === undefined || !mapping.startsWith('$')) return mapping;
    if (mapping === '$request.body') return text;
    const [, from, rest = ''] = /^\$(context|request\.header|request\.body)\.(.+)$/.exec(mapping) ?? [];
    if (from === 'request.header') return headers[rest.toLowerCase()];
    let value = from === 'context' ? contextOf(requestContext) : jsonOf(text);
    for (const name of rest.split('.')) value = memberOf(value, name);
    return value === undefined || value === null ? undefined : String(value);
  };
  const groupId = find(route.messageGroupId);
  const deduplicationId = find(route.messageDeduplicationId);
  return {
    MessageBody: find(route.messageBody) ?? '',
    ...(groupId !== undefined && { MessageGroupId: groupId }),
    ...(deduplicationId !== undefined && { MessageDeduplicationId: deduplicationId }),
  };
}

/** Mappings have names for the caller that events do not have. */
function contextOf(context: APIGatewayProxyEventV2['requestContext']): unknown {
  const { authorizer } = context as { authorizer?: { iam?: { userArn: string }; jwt?: { claims: unknown } } };
  return {
    ...context,
    identity: { sourceIp: context.http.sourceIp, userArn: authorizer?.iam?.userArn },
    authorizer: { claims: authorizer?.jwt?.claims },
  };
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
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
      ...(authorizers[route.authorization ?? 'NONE'] as object),
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

export interface Response {
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
