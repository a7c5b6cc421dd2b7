/** A request as a client sends it. */
export interface HttpRequest {
  /** @default 'POST' */
  readonly method?: string;
  /** @default '/orders' */
  readonly path?: string;
  /** As it stands in the URL. @default '' */
  readonly query?: string;
  /** One entry for each line. */
  readonly headers?: readonly (readonly [name: string, value: string])[] | undefined;
  readonly body?: unknown;
  readonly isBase64Encoded?: boolean;
  /** `requestContext.authorizer`, as the gateway leaves it. */
  readonly authorizer?: Readonly<Record<string, unknown>>;
  /** `requestContext.identity`, as a REST API leaves it. */
  readonly identity?: Readonly<Record<string, unknown>>;
}

export type HttpEvent = Readonly<Record<string, unknown>>;

/** The event that a REST API (payload format 1.0) makes of a request. */
export function restEvent(request: HttpRequest = {}): HttpEvent {
  const { method = 'POST', path = '/orders', query = '' } = request;
  return {
    resource: '/{proxy+}',
    path,
    httpMethod: method,
    ...singleAndMulti(request, query),
    pathParameters: { proxy: path.slice(1) },
    stageVariables: null,
    requestContext: {
      accountId: '123456789012',
      apiId: 'api',
      httpMethod: method,
      path: `/prod${path}`,
      stage: 'prod',
      requestId: 'request-1',
      identity: { sourceIp: '192.0.2.1', userAgent: 'test', ...request.identity },
      ...(request.authorizer && { authorizer: request.authorizer }),
    },
    ...bodyOf(request),
  };
}

/** The event that an HTTP API (payload format 2.0) makes of a request: lower-case names, lines joined by commas. */
export function httpApiEvent(request: HttpRequest = {}): HttpEvent {
  const { method = 'POST', path = '/orders', query = '' } = request;
  const headers: Record<string, string> = {};
  for (const [name, value] of request.headers ?? []) {
    const known = headers[name.toLowerCase()];
    headers[name.toLowerCase()] = known === undefined ? value : `${known},${value}`;
  }
  return {
    version: '2.0',
    routeKey: '$default',
    rawPath: path,
    rawQueryString: query,
    headers,
    requestContext: {
      accountId: '123456789012',
      apiId: 'api',
      domainName: 'api.example.com',
      http: { method, path, protocol: 'HTTP/1.1', sourceIp: '192.0.2.1', userAgent: 'test' },
      requestId: 'request-1',
      routeKey: '$default',
      stage: '$default',
      ...(request.authorizer && { authorizer: request.authorizer }),
    },
    ...bodyOf(request),
  };
}

/** A Function URL's event: payload format 2.0 with other context. */
export function functionUrlEvent(request: HttpRequest = {}): HttpEvent {
  const event = httpApiEvent(request);
  const requestContext = event.requestContext as Record<string, unknown>;
  return {
    ...event,
    requestContext: {
      ...requestContext,
      accountId: 'anonymous',
      domainName: 'abc.lambda-url.eu-west-1.on.aws',
      authentication: null,
    },
  };
}

/** The event that a load balancer makes of a request: lower-case names; only the last of several lines. */
export function albEvent(request: HttpRequest = {}): HttpEvent {
  const { multiValueHeaders: _, multiValueQueryStringParameters: __, ...event } = albMultiValueEvent(request);
  const { headers, queryStringParameters } = singleAndMulti(request, request.query ?? '');
  const lowerCase = Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]);
  return { ...event, headers: Object.fromEntries(lowerCase), queryStringParameters };
}

/** The same from a target group with multi-value headers. */
export function albMultiValueEvent(request: HttpRequest = {}): HttpEvent {
  const { method = 'POST', path = '/orders', query = '' } = request;
  const headers = request.headers?.map(([name, value]) => [name.toLowerCase(), value] as const);
  const { multiValueHeaders, multiValueQueryStringParameters } = singleAndMulti(
    { ...request, headers },
    query,
  );
  return {
    requestContext: {
      elb: { targetGroupArn: 'arn:aws:elasticloadbalancing:eu-west-1:123456789012:targetgroup/orders/1' },
    },
    httpMethod: method,
    path,
    multiValueHeaders,
    multiValueQueryStringParameters,
    ...bodyOf(request),
  };
}

/** Every event source by name, for `describe.each`. */
export const eventSources: readonly (readonly [string, (request?: HttpRequest) => HttpEvent])[] = [
  ['a REST API', restEvent],
  ['an HTTP API', httpApiEvent],
  ['a Function URL', functionUrlEvent],
  ['a load balancer', albEvent],
  ['a load balancer with multi-value headers', albMultiValueEvent],
];

function singleAndMulti(request: Pick<HttpRequest, 'headers'>, query: string) {
  const pairs = [...new URLSearchParams(query)];
  return {
    headers: Object.fromEntries(request.headers ?? []),
    multiValueHeaders: byName(request.headers ?? []),
    queryStringParameters: pairs.length === 0 ? null : Object.fromEntries(pairs),
    multiValueQueryStringParameters: pairs.length === 0 ? null : byName(pairs),
  };
}

function byName(pairs: readonly (readonly [string, string])[]): Record<string, string[]> {
  const lines: Record<string, string[]> = {};
  for (const [name, value] of pairs) lines[name] = [...(lines[name] ?? []), value];
  return lines;
}

const bodyOf = ({ body = null, isBase64Encoded = false }: HttpRequest) => ({ body, isBase64Encoded });
