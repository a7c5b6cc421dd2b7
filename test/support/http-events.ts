import type { APIGatewayProxyEventV2, Context } from 'aws-lambda';
import type { HttpResponse } from '../../lib/index.ts';
import * as makers from '../../lib/testing.ts';

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

/** A guarded handler, called with whatever event, as a service would call it. */
export type HttpCall<Answer = HttpResponse> = (event: unknown, context?: Context) => Promise<Answer>;

export type HttpEvent = Readonly<Record<string, unknown>>;

/** The event that a REST API (payload format 1.0) makes of a request. */
export const restEvent = (request: HttpRequest = {}): HttpEvent => ({
  ...makers.httpEventV1(partsOf(request)),
  ...bodyOf(request),
});

/** The event that an HTTP API (payload format 2.0) makes of a request. */
export const httpApiEvent = (request: HttpRequest = {}): HttpEvent => ({
  ...makers.httpEventV2(partsOf(request)),
  ...bodyOf(request),
});

/** What a client pays with; by default one and the same payment. */
export interface Payment {
  /** `null`: the request has none. @default 'key-1' */
  readonly key?: string | null;
  /** Sent as JSON. @default { amount: 7 } */
  readonly body?: unknown;
  /** @default 'POST' */
  readonly method?: string;
}

/** The event that an HTTP API makes of a payment. */
export const paymentEvent = ({
  key = 'key-1',
  body = { amount: 7 },
  method = 'POST',
}: Payment = {}): APIGatewayProxyEventV2 =>
  makers.httpEventV2({
    ...{ method, path: '/payments', body },
    ...(key !== null && { idempotencyKey: key }),
  });

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

/** The event that a load balancer makes of a request. */
export const albEvent = (request: HttpRequest = {}): HttpEvent => ({
  ...makers.albEvent(partsOf(request)),
  ...bodyOf(request),
});

/** The same from a target group with multi-value headers. */
export const albMultiValueEvent = (request: HttpRequest = {}): HttpEvent => ({
  ...makers.albEvent({ ...partsOf(request), multiValue: true }),
  ...bodyOf(request),
});

/** Every event source by name, for `describe.each`. */
export const eventSources: readonly (readonly [string, (request?: HttpRequest) => HttpEvent])[] = [
  ['a REST API', restEvent],
  ['an HTTP API', httpApiEvent],
  ['a Function URL', functionUrlEvent],
  ['a load balancer', albEvent],
  ['a load balancer with multi-value headers', albMultiValueEvent],
];

/** Without the body, which tests give as the event is to have it: parsed already, or in Base64. */
const partsOf = ({ path = '/orders', body: _, headers = [], ...request }: HttpRequest) => ({
  ...request,
  ...{ path, headers },
});

const bodyOf = ({ body = null, isBase64Encoded = false }: HttpRequest) => ({ body, isBase64Encoded });
