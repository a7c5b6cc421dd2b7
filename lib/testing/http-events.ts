/**
 * Makes complete HTTP events, as API Gateway, load balancers and Function URLs send them. A request id is new with every event.
 */
import { Buffer } from 'node:buffer';
import { randomUUID } from 'node:crypto';
import type {
  ALBEvent,
  APIGatewayEventIdentity,
  APIGatewayEventRequestContextV2,
  APIGatewayProxyEventBase,
  APIGatewayProxyEventV2WithRequestContext,
} from 'aws-lambda';
import { account, type Line, listsOf, region, textOf } from './event-parts.ts';

/** A request as a client sends it. Each member has a default. */
export interface HttpRequest<Authorizer = undefined> {
  /** @default 'POST' */
  readonly method?: string;
  /** @default '/' */
  readonly path?: string;
  /** As it is in the URL, without `?`. @default none */
  readonly query?: string;
  /** By name, or one pair for each line. @default none */
  readonly headers?: Readonly<Record<string, string>> | readonly (readonly [name: string, value: string])[];
  /** Sent in the header `Idempotency-Key`. @default none */
  readonly idempotencyKey?: string;
  /** A string as it is, bytes as Base64, anything else as JSON with its content type. @default none */
  readonly body?: unknown;
  /** What the gateway's authorizer leaves in `requestContext.authorizer`. @default none */
  readonly authorizer?: Authorizer;
}

const address = { sourceIp: '192.0.2.1', userAgent: 'idemkit/testing' } as const;

/** The event of an HTTP API or a Function URL (payload format 2.0). Lines of one header are joined by commas. */
export function httpEventV2<Authorizer = undefined>(
  request: HttpRequest<Authorizer> = {},
): APIGatewayProxyEventV2WithRequestContext<APIGatewayEventRequestContextV2 & { authorizer: Authorizer }> {
  const { method = 'POST', path = '/', query = '', authorizer } = request;
  const headers: Record<string, string> = {};
  for (const [name, value] of linesOf(request)) {
    const wanted = name.toLowerCase();
    headers[wanted] = Object.hasOwn(headers, wanted) ? `${headers[wanted]},${value}` : value;
  }
  const parameters: Record<string, string> = {};
  for (const [name, values] of Object.entries(listsOf(new URLSearchParams(query)))) {
    parameters[name] = values.join();
  }
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath: path,
    rawQueryString: query,
    headers,
    ...(query !== '' && { queryStringParameters: parameters }),
    requestContext: {
      accountId: account,
      apiId: 'api',
      domainName: `api.execute-api.${region}.amazonaws.com`,
      domainPrefix: 'api',
      http: { method, path, protocol: 'HTTP/1.1', ...address },
      requestId: randomUUID(),
      routeKey: '$default',
      stage: '$default',
      time: new Date().toUTCString(),
      timeEpoch: Date.now(),
      ...(authorizer !== undefined && { authorizer }),
    } as APIGatewayEventRequestContextV2 & { authorizer: Authorizer },
    ...bodyOf(request),
  };
}

/** A request to a REST API, which can identify callers without an authorizer. */
export interface RestRequest<Authorizer = undefined> extends HttpRequest<Authorizer> {
  /** Goes to `requestContext.identity`: `userArn` with IAM, `apiKeyId` with a usage plan, … @default nobody */
  readonly identity?: Partial<APIGatewayEventIdentity>;
}

/** The event of a REST API (payload format 1.0). */
export function httpEventV1<Authorizer = undefined>(
  request: RestRequest<Authorizer> = {},
): APIGatewayProxyEventBase<Authorizer> {
  const { method = 'POST', path = '/', query = '', authorizer } = request;
  const lines = linesOf(request);
  const parameters = [...new URLSearchParams(query)];
  return {
    resource: '/{proxy+}',
    path,
    httpMethod: method,
    headers: Object.fromEntries(lines),
    multiValueHeaders: listsOf(lines),
    queryStringParameters: parameters.length === 0 ? null : Object.fromEntries(parameters),
    multiValueQueryStringParameters: parameters.length === 0 ? null : listsOf(parameters),
    pathParameters: { proxy: path.slice(1) },
    stageVariables: null,
    requestContext: {
      accountId: account,
      apiId: 'api',
      httpMethod: method,
      path: `/prod${path}`,
      protocol: 'HTTP/1.1',
      stage: 'prod',
      requestId: randomUUID(),
      requestTimeEpoch: Date.now(),
      resourceId: 'resource',
      resourcePath: '/{proxy+}',
      identity: { ...nobody, ...address, ...request.identity },
      ...(authorizer !== undefined && { authorizer }),
    } as APIGatewayProxyEventBase<Authorizer>['requestContext'],
    ...{ body: null, ...bodyOf(request) },
  };
}

const nobody = {
  ...{ accessKey: null, accountId: null, apiKey: null, apiKeyId: null, caller: null, clientCert: null },
  ...{ cognitoAuthenticationProvider: null, cognitoAuthenticationType: null, cognitoIdentityId: null },
  ...{ cognitoIdentityPoolId: null, principalOrgId: null, user: null, userArn: null },
} as const;

/** A request to a load balancer. */
export interface AlbRequest extends Omit<HttpRequest, 'authorizer'> {
  /**
   * Whether the target group has multi-value headers switched on. Without them, only the last line of a header counts.
   *
   * @default false
   */
  readonly multiValue?: boolean;
}

/** The event of an Application Load Balancer, which leaves the query encoded. */
export function albEvent(request: AlbRequest = {}): ALBEvent {
  const { method = 'POST', path = '/', query = '', multiValue = false } = request;
  const lines = linesOf(request).map(([name, value]): Line => [name.toLowerCase(), value]);
  const parameters = query
    .split('&')
    .filter((pair) => pair !== '')
    .map((pair): Line => {
      const [name = '', ...value] = pair.split('=');
      return [name, value.join('=')];
    });
  return {
    requestContext: {
      elb: { targetGroupArn: `arn:aws:elasticloadbalancing:${region}:${account}:targetgroup/test/1` },
    },
    httpMethod: method,
    path,
    ...(multiValue
      ? { multiValueHeaders: listsOf(lines), multiValueQueryStringParameters: listsOf(parameters) }
      : { headers: Object.fromEntries(lines), queryStringParameters: Object.fromEntries(parameters) }),
    ...{ body: null, ...bodyOf(request) },
  };
}

function linesOf({ headers = {}, idempotencyKey, body }: HttpRequest<unknown>): Line[] {
  const lines: Line[] = Array.isArray(headers) ? [...headers] : Object.entries(headers);
  if (idempotencyKey !== undefined) lines.push(['Idempotency-Key', idempotencyKey]);
  const isJson = body !== undefined && typeof body !== 'string' && !(body instanceof Uint8Array);
  if (isJson && !lines.some(([name]) => name.toLowerCase() === 'content-type')) {
    lines.push(['Content-Type', 'application/json']);
  }
  return lines;
}

const bodyOf = ({ body }: HttpRequest<unknown>): { body?: string; isBase64Encoded: boolean } => ({
  ...(body instanceof Uint8Array
    ? { body: Buffer.from(body).toString('base64') }
    : body !== undefined && { body: textOf(body) }),
  isBase64Encoded: body instanceof Uint8Array,
});
