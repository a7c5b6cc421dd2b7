/** idemkit and its peer behind the same doors: each guards the same handler, under the same events and contexts. */
import { BatchProcessor, EventType, processPartialResponse } from '@aws-lambda-powertools/batch';
import { IdempotencyConfig, makeIdempotent } from '@aws-lambda-powertools/idempotency';
import { DynamoDBPersistenceLayer } from '@aws-lambda-powertools/idempotency/dynamodb';
import { makeHandlerIdempotent } from '@aws-lambda-powertools/idempotency/middleware';
import { type DynamoDBClient, PutItemCommand } from '@aws-sdk/client-dynamodb';
import middy from '@middy/core';
import type { Context, SQSEvent, SQSRecord } from 'aws-lambda';
import { dynamoStore, eachRecord, idempotent, operation } from '../lib/index.ts';
import { type HttpRequestEvent, lambdaContext, type Order } from './events.ts';
import type { ContenderName } from './runner.ts';

export interface HttpAnswer {
  readonly statusCode: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body: string;
}

export interface Guarding {
  readonly client: DynamoDBClient;
  /** @default a name that only a stub takes */
  readonly tableName?: string;
  readonly cache?: boolean;
  /** A repeat with another payload is refused. idemkit always does that, the peer where it is asked to. @default true */
  readonly checksPayload?: boolean;
}

export interface HttpGuarding extends Guarding {
  readonly door?: 'wrapper' | 'middy';
  /** Of idemkit alone. */
  readonly claim?: 'eager' | 'at-commit';
  readonly whenBusy?: { readonly waitMs: number };
  readonly answer?: (event: HttpRequestEvent) => HttpAnswer | Promise<HttpAnswer>;
}

export interface BatchGuarding extends Guarding {
  readonly handle?: (record: SQSRecord) => unknown;
}

export interface OrderGuarding extends Guarding {
  readonly handle?: (order: Order) => unknown;
}

export interface Contender {
  /** A handler behind an HTTP API. */
  http(guarding: HttpGuarding): (event: HttpRequestEvent) => Promise<unknown>;
  /** A function that is called directly, with a field of its event as key. */
  order(guarding: OrderGuarding): (order: Order) => Promise<unknown>;
  /** A handler of a queue's records. */
  batch(guarding: BatchGuarding): (event: SQSEvent) => Promise<unknown>;
}

const created = (): HttpAnswer => ({
  statusCode: 201,
  headers: { 'content-type': 'application/json' },
  body: '{"order":"order-4711","status":"PAID","amount":4200}',
});

const paid = (): unknown => ({ order: 'order-4711', status: 'PAID', amount: 4_200 });

/** Guards of one process must not share a namespace. */
let guards = 0;
const nextName = (): string => `bench-${++guards}`;

const idemkit: Contender = {
  http({ client, tableName = 'stub', cache = false, door = 'wrapper', claim, whenBusy, answer = created }) {
    const options = {
      store: dynamoStore({ tableName, client }),
      namespace: nextName(),
      ...(cache && { cache: { maxItems: 1_000 } }),
      ...(claim && { claim }),
      ...(whenBusy && { whenBusy }),
    };
    const handle = async (event: HttpRequestEvent, context: Context): Promise<HttpAnswer> => {
      const result = await answer(event);
      return claim === 'at-commit' ? operation(context).commit({ result }) : result;
    };
    const guarded =
      door === 'middy'
        ? middy<HttpRequestEvent, HttpAnswer>().use(idempotent(options)).handler(handle)
        : idempotent(handle, options);
    return (event) => called(guarded, event);
  },
  order({ client, tableName = 'stub', cache = false, handle = paid }) {
    const guarded = idempotent(async (order: Order) => handle(order), {
      store: dynamoStore({ tableName, client }),
      namespace: nextName(),
      key: ({ id }) => id,
      ...(cache && { cache: { maxItems: 1_000 } }),
    });
    return (order) => guarded(order, lambdaContext());
  },
  batch({ client, tableName = 'stub', cache = false, handle = paid }) {
    const guarded = idempotent(
      eachRecord(async (record: SQSRecord) => {
        await handle(record);
      }),
      {
        store: dynamoStore({ tableName, client }),
        namespace: nextName(),
        ...(cache && { cache: { maxItems: 1_000 } }),
      },
    );
    return (event) => guarded(event, lambdaContext());
  },
};

const peerParts = (
  { client, tableName = 'stub', cache = false, checksPayload = true }: Guarding,
  key: string,
  payload: string,
) => ({
  persistenceStore: new DynamoDBPersistenceLayer({ tableName, awsSdkV3Client: client }),
  keyPrefix: nextName(),
  config: new IdempotencyConfig({
    eventKeyJmesPath: key,
    throwOnNoIdempotencyKey: true,
    useLocalCache: cache,
    maxLocalCacheSize: 1_000,
    expiresAfterSeconds: 86_400,
    ...(checksPayload && { payloadValidationJmesPath: payload }),
  }),
});

const peer: Contender = {
  http(guarding) {
    const { door = 'wrapper', answer = created } = guarding;
    const parts = peerParts(guarding, 'headers."idempotency-key"', 'body');
    const handle = async (event: HttpRequestEvent, _context: Context): Promise<HttpAnswer> => answer(event);
    const guarded =
      door === 'middy'
        ? middy<HttpRequestEvent, HttpAnswer>().use(makeHandlerIdempotent(parts)).handler(handle)
        : (makeIdempotent(handle as never, parts) as unknown as typeof handle);
    return (event) => called(guarded, event);
  },
  order(guarding) {
    const { handle = paid } = guarding;
    const parts = peerParts(guarding, 'id', '@');
    const run = async (order: Order, _context: Context): Promise<unknown> => handle(order);
    const guarded = makeIdempotent(run as never, parts) as unknown as typeof run;
    return (order) => guarded(order, lambdaContext());
  },
  batch(guarding) {
    const { handle = paid } = guarding;
    const parts = peerParts(guarding, 'messageId', 'body');
    const processor = new BatchProcessor(EventType.SQS);
    const run = async (record: SQSRecord): Promise<unknown> => handle(record);
    const recordHandler = makeIdempotent(run as never, parts) as unknown as typeof run;
    return async (event) => {
      const context = lambdaContext();
      parts.config.registerLambdaContext(context);
      return processPartialResponse(event, recordHandler, processor, { context });
    };
  },
};

/** A request of which a client that remembers refuses the second sending. */
const putOnce = new PutItemCommand({
  TableName: 'stub',
  Item: { pk: { S: 'once' } },
  ConditionExpression: 'attribute_not_exists(pk)',
});

/** Nobody guards the handlers, and each call sends as many requests as a guard does. */
export function unguarded(requests: number): Contender {
  const send = async (client: DynamoDBClient): Promise<void> => {
    for (let count = 0; count < requests; count++) await client.send(putOnce).catch(() => {});
  };
  return {
    http({ client, door = 'wrapper', answer = created }) {
      const handle = async (event: HttpRequestEvent, _context: Context): Promise<HttpAnswer> => {
        await send(client);
        return answer(event);
      };
      const handler = door === 'middy' ? middy<HttpRequestEvent, HttpAnswer>().handler(handle) : handle;
      return (event) => called(handler, event);
    },
    order({ client, handle = paid }) {
      const run = async (order: Order, _context: Context): Promise<unknown> => {
        await send(client);
        return handle(order);
      };
      return (order) => run(order, lambdaContext());
    },
    batch({ client, handle = paid }) {
      const run = async ({ Records }: SQSEvent, _context: Context): Promise<unknown> =>
        Promise.all(
          Records.map(async (record) => {
            await send(client);
            return handle(record);
          }),
        );
      return (event) => run(event, lambdaContext());
    },
  };
}

const called = (guarded: unknown, event: HttpRequestEvent): Promise<unknown> =>
  (guarded as (event: HttpRequestEvent, context: Context) => Promise<unknown>)(event, lambdaContext());

export const contenders: Readonly<Record<ContenderName, Contender>> = { idemkit, peer };
