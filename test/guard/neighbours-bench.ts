import middy, { type MiddlewareObj } from '@middy/core';
import httpCors from '@middy/http-cors';
import httpErrorHandler from '@middy/http-error-handler';
import httpResponseSerializer from '@middy/http-response-serializer';
import { transpileSchema } from '@middy/validator/transpile';
import type { Context } from 'aws-lambda';
import { beforeEach } from 'vitest';
import { type HttpResponse, type IdempotentOptions, idempotent } from '../../lib/index.ts';
import { type HttpRequest, httpApiEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { type RecordingStore, recordingStore } from '../support/recording-store.ts';

/** What loggers of Middy's and its error handler print. */
export interface Logged {
  readonly context?: object;
  readonly response?: HttpResponse;
}

// biome-ignore lint/suspicious/noExplicitAny: the types of event, answer, error and context are each middleware's own
export type Middlewares = readonly MiddlewareObj<any, any, any, any, any>[];

export const shop = 'https://shop.example.com';
export const key = 'key-that-nobody-else-may-see';

export const cors = () => httpCors({ origins: [shop, 'https://other.example.com'] });
export const corsHeaders = (event: { headers: Record<string, string> }) => ({
  'Access-Control-Allow-Origin': event.headers.origin ?? 'none',
  'Access-Control-Expose-Headers': 'Retry-After, Idempotent-Replayed',
  Vary: 'Origin',
});
export const jsonSerializer = (serialize: (body: unknown) => string = JSON.stringify) =>
  httpResponseSerializer({
    defaultContentType: 'application/json',
    serializers: [{ regex: /^application\/json$/, serializer: ({ body }) => serialize(body) }],
  });
export const amountSchema = (amount: object = { type: 'number' }) =>
  transpileSchema({
    type: 'object',
    required: ['body'],
    properties: {
      body: { type: 'object', required: ['amount'], properties: { amount, currency: { default: 'EUR' } } },
    },
  });
export const takesAmounts = amountSchema();
export const takesSmallAmounts = amountSchema({ type: 'number', maximum: 5 });
export const givesIds = transpileSchema({
  type: 'object',
  properties: { body: { type: 'string', pattern: '"id"' } },
});

export const order = (
  body: string = '{"amount":7}',
  { origin = shop, idempotencyKey = key as string | null } = {},
) =>
  ({
    headers: [
      ['Content-Type', 'application/json'],
      ['Origin', origin],
      ...(idempotencyKey === null ? [] : [['Idempotency-Key', idempotencyKey] as const]),
    ],
    body,
  }) satisfies HttpRequest;

export const replayOf = (first: HttpResponse): HttpResponse => ({
  ...first,
  headers: { ...first.headers, 'Idempotent-Replayed': 'true' },
});
export const codeOf = (answer: HttpResponse) => JSON.parse(answer.body ?? '{}').code;

/** `idempotent()` among Middy's own middlewares for HTTP, as they are published. To be called at the top of a test file. */
export function neighboursBench() {
  const state = {
    store: undefined as unknown as RecordingStore,
    runs: 0,
    /** Each answer as it lies in the store, taken when it is replayed. */
    stored: [] as HttpResponse[],
    logged: [] as Logged[],
  };
  const handlers = {
    /** A handler that counts, and answers with the count and what it was given. */
    async charge({ body }: { body: unknown }): Promise<{ statusCode: number; body: unknown }> {
      state.runs++;
      return { statusCode: 201, body: { id: state.runs, charged: body } };
    },

    /** The same, but what it returns needs no serialiser. */
    async chargeInText(event: { body: unknown }): Promise<HttpResponse> {
      const answer = await handlers.charge(event);
      return { ...answer, body: JSON.stringify(answer.body) };
    },
  };
  const bench = Object.assign(state, handlers, {
    guard: (options: IdempotentOptions = {}): Middlewares[number] =>
      idempotent({
        store: state.store,
        // Given, for two Lambdas of one test are two versions of one function.
        namespace: 'orders',
        onReplay: (answer) => {
          state.stored.push(structuredClone(answer));
          return answer;
        },
        ...options,
      }),

    errorHandler: (): Middlewares[number] =>
      httpErrorHandler({ logger: (error) => state.logged.push(error as Logged) }),

    /** A Lambda of these middlewares around a handler, called with requests. */
    api(
      middlewares: Middlewares,
      handler: (event: { body: unknown }, context: Context) => Promise<unknown> = handlers.chargeInText,
      eventOf: (request: HttpRequest) => unknown = httpApiEvent,
    ): (request?: HttpRequest) => Promise<HttpResponse> {
      const lambda = middy()
        .use([...middlewares])
        .handler(handler as never);
      return async (request = order()) => lambda(eventOf(request), lambdaContext());
    },
  });

  beforeEach(() => {
    bench.store = recordingStore();
    bench.runs = 0;
    bench.stored = [];
    bench.logged = [];
  });
  return bench;
}
