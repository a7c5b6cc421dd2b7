/** The guards that are compared. Each is used as its documentation says, and each call comes to a sandbox of its own. */
import { readFileSync } from 'node:fs';
import { IdempotencyConfig, makeIdempotent } from '@aws-lambda-powertools/idempotency';
import { DynamoDBPersistenceLayer } from '@aws-lambda-powertools/idempotency/dynamodb';
import { makeHandlerIdempotent } from '@aws-lambda-powertools/idempotency/middleware';
import type { IdempotencyConfigOptions } from '@aws-lambda-powertools/idempotency/types';
import type { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import middy, { type MiddlewareObj } from '@middy/core';
import type { Context } from 'aws-lambda';
import { dynamoStore, IdempotencyError, type IdempotentOptions, idempotent } from '../../lib/index.ts';

export type Event = Readonly<Record<string, unknown>>;
export type Handler = (event: Event, context: Context) => Promise<unknown>;

/** What both guards are told: the same in the words of each. */
export interface Use {
  readonly idemkit: IdempotentOptions<never>;
  readonly peer: IdempotencyConfigOptions;
}

/** The middlewares beside the guard. Absent: the handler is wrapped, without Middy. */
export interface Chain {
  readonly outer?: MiddlewareObj;
  readonly inner?: MiddlewareObj;
}

export interface Contender {
  readonly name: 'idemkit' | 'peer';
  readonly table: { readonly name: string; readonly partitionKey?: string };
  guard(client: DynamoDBClient, handler: Handler, use: Use, chain?: Chain): Handler;
  /** A word for an error that the guard throws; `undefined` for anybody else's. */
  wordFor(error: unknown): string | undefined;
}

export const peerPackage = '@aws-lambda-powertools/idempotency';
export const peerVersion: string = JSON.parse(
  readFileSync(new URL(`../../node_modules/${peerPackage}/package.json`, import.meta.url), 'utf8'),
).version;

// `Date.now` is looked up at each call, because the scenarios move it.
const clock = {
  now: () => Date.now(),
  sleep: (ms: number) => new Promise<void>((resolve) => setTimeout(resolve, ms)),
};

const idemkit: Contender = {
  name: 'idemkit',
  table: { name: 'effects-idemkit' },
  guard(client, handler, use, chain) {
    const options = {
      ...use.idemkit,
      store: dynamoStore({ tableName: this.table.name, client, clock }),
      namespace: 'effects',
    } as IdempotentOptions;
    return chain ? chained(handler, idempotent(options), chain) : (idempotent(handler, options) as Handler);
  },
  wordFor(error) {
    if (!IdempotencyError.is(error)) return undefined;
    if (error.code === 'IN_PROGRESS') return 'busy';
    return error.code === 'PAYLOAD_MISMATCH' ? 'refused' : error.code;
  },
};

const peer: Contender = {
  name: 'peer',
  table: { name: 'effects-peer', partitionKey: 'id' },
  guard(client, handler, use, chain) {
    const persistenceStore = new DynamoDBPersistenceLayer({
      tableName: this.table.name,
      awsSdkV3Client: client,
    });
    const config = new IdempotencyConfig({ throwOnNoIdempotencyKey: true, ...use.peer });
    if (chain) return chained(handler, makeHandlerIdempotent({ persistenceStore, config }), chain);
    return makeIdempotent(handler as (event: Event, context: Context) => Promise<never>, {
      persistenceStore,
      config,
    }) as Handler;
  },
  wordFor(error) {
    const { name } = error as Error;
    if (name === 'IdempotencyAlreadyInProgressError') return 'busy';
    if (name === 'IdempotencyValidationError') return 'refused';
    return name.startsWith('Idempotency') || name === 'RangeError' ? name : undefined;
  },
};

export const contenders: readonly Contender[] = [idemkit, peer];

function chained(handler: Handler, guard: unknown, { outer, inner }: Chain): Handler {
  const chain = middy<Event, unknown>();
  for (const middleware of [outer, guard, inner]) {
    if (middleware !== undefined) chain.use(middleware as MiddlewareObj<Event, unknown>);
  }
  return chain.handler(handler as never) as unknown as Handler;
}
