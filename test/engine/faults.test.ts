import type { Context } from 'aws-lambda';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { sha256 } from '../../lib/hash.ts';
import {
  dynamoStore,
  IdempotencyError,
  type IdempotentOptions,
  idempotent,
  operation,
} from '../../lib/index.ts';
import { type FaultProxy, type ProxiedRequest, startFaultProxy } from '../../local/faults/fault-proxy.ts';
import { clientFor, createTable, dynamodbEndpoint, type TestTable } from '../support/dynamodb.ts';
import { deferred, incompressible, observer } from '../support/hands.ts';
import type { HttpCall } from '../support/http-events.ts';
import { paymentEvent } from '../support/http-events.ts';
import { invocationOf } from '../support/invocation.ts';

interface Order {
  readonly id: string;
}

const attempts = 3;
let table: TestTable;
let proxy: FaultProxy;
let sequence = 0;
let id: string;
let runs = 0;
let seen: ReturnType<typeof observer>;

beforeAll(async () => {
  table = await createTable();
  proxy = await startFaultProxy(dynamodbEndpoint());
});
afterAll(() => proxy.stop());
beforeEach(() => {
  proxy.reset();
  id = `order-${++sequence}`;
  runs = 0;
  seen = observer();
});

/** A guard of which the requests go through the proxy. */
function guarded(
  work: (order: Order, context: Context) => unknown = () => 'done',
  more: IdempotentOptions<Order> = {},
) {
  const client = clientFor(proxy.endpoint, {
    maxAttempts: attempts,
    requestHandler: { connectionTimeout: 1_000, requestTimeout: 2_000, throwOnRequestTimeout: true },
  });
  return idempotent(
    async (order: Order, context: Context) => {
      runs++;
      return work(order, context);
    },
    {
      store: dynamoStore({ tableName: table.tableName, client }),
      namespace: 'orders',
      key: (order) => order.id,
      observe: seen.observe,
      ...more,
    },
  );
}

const sent = () => proxy.requests.map(({ operation, status }) => `${operation} ${status}`);
const records = async () => (await table.dump()).filter((item) => item.status?.S === 'IN_PROGRESS').length;
const failure = (work: Promise<unknown>) => work.then(() => undefined).catch((error: unknown) => error);

/** Another test's request may still be on its way. */
const isOwn = ({ body }: ProxiedRequest) =>
  body.Item?.pk.S === `orders#${sha256(JSON.stringify([null, id]))}`;
const isGivenBack = ({ body }: ProxiedRequest) => body.Item?.status.S === 'RELEASED';

const retry = { status: 400, type: 'ConditionalCheckFailedException' };

describe('a lost answer', () => {
  test('to a claim is recognised: the repeated Put meets its own record', async () => {
    proxy.inject({ operation: 'PutItem', fault: 'drop-after' });
    expect(await guarded()({ id })).toBe('done');
    expect(sent()).toEqual(['PutItem 200', `PutItem ${retry.status}`, 'UpdateItem 200']);
    expect(runs).toBe(1);
  });

  test('to a takeover is recognised', async () => {
    const stuck = deferred();
    void guarded(
      () => {
        stuck.resolve();
        return new Promise(() => {});
      },
      { lease: { seconds: 0.2 } },
    )({ id });
    await stuck.promise;
    await expect.poll(() => failure(guarded()({ id }))).toBeUndefined();
    expect(runs).toBe(2);

    id = `${id}-again`;
    void guarded(() => new Promise(() => {}), { lease: { seconds: 0.2 } })({ id });
    proxy.inject({
      operation: 'UpdateItem',
      match: ({ body }) => ':newOwner' in body.ExpressionAttributeValues,
      fault: 'drop-after',
    });
    const waits = guarded((_, context) => operation(context).attempt, { whenBusy: { waitMs: 10_000 } });
    await expect.poll(() => runs).toBe(3);
    expect(await waits({ id })).toBe(2);
    expect(sent().slice(-3)).toEqual(['UpdateItem 200', 'UpdateItem 400', 'UpdateItem 200']);
  });

  test('to a completion is recognised, and nothing runs again', async () => {
    proxy.inject({ operation: 'UpdateItem', fault: 'drop-after' });
    const handler = guarded();
    expect(await handler({ id })).toBe('done');
    expect(await handler({ id })).toBe('done');
    expect(sent()).toEqual(['PutItem 200', 'UpdateItem 200', 'UpdateItem 400', 'PutItem 400']);
    expect(runs).toBe(1);
    expect(seen.types()).toEqual(['claim', 'complete', 'replay']);
  });

  test('to every try of a completion leaves the answer stored and the caller with its result', async () => {
    proxy.inject({ operation: 'UpdateItem', fault: 'drop-after', times: attempts });
    const handler = guarded();
    expect(await handler({ id })).toBe('done');
    expect(await handler({ id })).toBe('done');
    expect(runs).toBe(1);
  });

  test('to a release is a release', async () => {
    proxy.inject({ match: isGivenBack, fault: 'drop-after' });
    const failing = guarded(() => {
      throw new Error('declined');
    });
    await expect(failing({ id })).rejects.toThrow('declined');
    expect(seen.types()).toEqual(['claim', 'release']);
    expect(await guarded()({ id })).toBe('done');
  });

  test('to the chunks of an answer leaves one whole answer', async () => {
    const answer = incompressible(900_000);
    proxy.inject({
      operation: 'PutItem',
      match: ({ body }) => 'data' in body.Item,
      fault: 'drop-after',
      times: 5,
    });
    const handler = guarded(() => answer);
    await handler({ id });
    expect((await handler({ id })) === answer).toBe(true);
    expect(runs).toBe(1);
  });
});

describe('a request that never arrived', () => {
  test('is repeated, for a claim and for a completion', async () => {
    proxy.inject({ operation: 'PutItem', fault: 'drop-before' });
    proxy.inject({ operation: 'UpdateItem', fault: 'drop-before' });
    const handler = guarded();
    expect(await handler({ id })).toBe('done');
    expect(await handler({ id })).toBe('done');
    expect(runs).toBe(1);
  });
});

describe('a store that fails to claim', () => {
  test('is a refusal: nothing has happened', async () => {
    proxy.inject({ operation: 'PutItem', fault: 'drop-before', times: Infinity });
    const error = await failure(guarded()({ id }));
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE', effect: 'none', retryAfterSeconds: 1 });
    expect(IdempotencyError.is(error) && error.cause).toBeInstanceOf(Error);
    expect(runs).toBe(0);
  });

  test('is a 503 with Retry-After over HTTP, which tells nothing of the table', async () => {
    proxy.inject({
      operation: 'PutItem',
      fault: { status: 400, type: 'ThrottlingException' },
      times: Infinity,
    });
    const handler = guarded(undefined, { key: undefined as never }) as HttpCall;
    const answer = await handler(paymentEvent({ key: id }));
    expect(answer).toMatchObject({ statusCode: 503, headers: { 'Retry-After': '1' } });
    expect(answer.body).not.toContain(table.tableName);
    expect(runs).toBe(0);
  });

  test('is tried as often as the SDK is set to, no more', async () => {
    proxy.inject({ fault: { status: 500, type: 'InternalServerError' }, times: Infinity });
    const client = clientFor(proxy.endpoint);
    await failure(guarded(undefined, { store: dynamoStore({ tableName: table.tableName, client }) })({ id }));
    const configured = await client.config.maxAttempts();
    expect(proxy.requests.filter(({ body }) => body.Item.status.S === 'IN_PROGRESS')).toHaveLength(
      configured,
    );
  });

  test('does not leave a claim behind that was applied without an answer', async () => {
    proxy.inject({ operation: 'PutItem', match: isOwn, fault: 'drop-after', times: attempts });
    expect(await failure(guarded()({ id }))).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(runs).toBe(0);
    expect(await guarded()({ id })).toBe('done');
  });

  test('does not end a window of which it took over the claim without an answer', async () => {
    let token = '';
    const failing = guarded((_, context) => {
      token = operation(context).token('charge');
      throw new Error('provider down');
    });
    await failure(failing({ id }));
    proxy.inject({ operation: 'UpdateItem', fault: 'drop-after', times: attempts });
    expect(await failure(guarded()({ id }))).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    const [attempt, same] = (await guarded((_, context) => [
      operation(context).attempt,
      operation(context).token('charge') === token,
    ])({ id })) as [number, boolean];
    expect([attempt, same]).toEqual([3, true]);
  });

  test('lets the handler run unguarded where that was asked for, and says so', async () => {
    proxy.inject({ fault: { status: 500, type: 'InternalServerError' }, times: Infinity });
    const handler = guarded((_, context) => operation(context).guarded, { whenStoreFails: 'run' });
    expect(await handler({ id })).toBe(false);
    expect(seen.seen).toMatchObject([
      { type: 'unguarded', reason: 'store-failed', cause: { code: 'STORE_UNAVAILABLE' } },
    ]);
  });

  test('never lets it run unguarded once the operation is known to be running or done', async () => {
    const answer = incompressible(9_000);
    const handler = guarded(() => answer, { whenStoreFails: 'run' });
    await handler({ id });
    proxy.inject({
      operation: 'Query',
      fault: { status: 500, type: 'InternalServerError' },
      times: Infinity,
    });
    expect(await failure(handler({ id }))).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(runs).toBe(1);

    const other = { id: `${id}-running` };
    const started = deferred();
    void guarded(() => {
      started.resolve();
      return new Promise(() => {});
    })(other);
    await started.promise;
    proxy.inject({
      operation: 'GetItem',
      fault: { status: 500, type: 'InternalServerError' },
      times: Infinity,
    });
    const waiting = guarded(undefined, { whenStoreFails: 'run', whenBusy: { waitMs: 5_000 } });
    expect(await failure(waiting(other))).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(runs).toBe(2);
  });

  test('that answers after the lease is nearly over does not let the handler begin', async () => {
    proxy.inject({ operation: 'PutItem', fault: { delayAfterMs: 350 } });
    expect(await failure(guarded(undefined, { lease: { seconds: 0.5 } })({ id }))).toMatchObject({
      code: 'NO_TIME_LEFT',
      effect: 'none',
    });
    expect(runs).toBe(0);
    const own = proxy.requests.filter(isOwn);
    expect(own.map(({ body }) => body.Item.status.S)).toEqual(['IN_PROGRESS', 'RELEASED']);
    expect(await guarded()({ id })).toBe('done');
  });

  test('that hangs does not take the invocation with it', async () => {
    proxy.inject({ operation: 'PutItem', fault: 'hang', times: Infinity });
    const invocation = invocationOf(1_500);
    const handler = guarded();
    const error = await failure(handler({ id }, invocation.context));
    expect(error).toMatchObject({ code: 'STORE_UNAVAILABLE' });
    expect(invocation.isOver()).toBe(false);
  });

  test('that hangs is given up by the default client, too', async () => {
    vi.stubEnv('AWS_ENDPOINT_URL_DYNAMODB', proxy.endpoint);
    vi.stubEnv('AWS_REGION', 'eu-west-1');
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'local');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', 'local');
    proxy.inject({ operation: 'PutItem', fault: 'hang', times: 1 });
    const startedAtMs = Date.now();
    const handler = guarded(undefined, { store: dynamoStore({ tableName: table.tableName }) });
    expect(await handler({ id })).toBe('done');
    const tookMs = Date.now() - startedAtMs;
    expect(tookMs).toBeGreaterThan(1_900);
    expect(tookMs).toBeLessThan(5_000);
  });
});

afterEach(() => {
  vi.unstubAllEnvs();
});

describe('a conflict between Regions', () => {
  test('is repeated, and the handler runs once', async () => {
    proxy.inject({ operation: 'PutItem', fault: { status: 400, type: 'ReplicatedWriteConflictException' } });
    proxy.inject({
      operation: 'UpdateItem',
      fault: { status: 400, type: 'ReplicatedWriteConflictException' },
    });
    expect(await guarded()({ id })).toBe('done');
    expect(runs).toBe(1);
    expect(seen.types()).toEqual(['claim', 'complete']);
  });
});

describe('a transaction that holds the record', () => {
  test('is waited for', async () => {
    proxy.inject({
      operation: 'PutItem',
      fault: { status: 400, type: 'TransactionConflictException' },
      times: 2,
    });
    proxy.inject({
      operation: 'UpdateItem',
      fault: { status: 400, type: 'TransactionConflictException' },
      times: 2,
    });
    expect(await guarded()({ id })).toBe('done');
    expect(runs).toBe(1);
  });
});

describe('a store that fails to complete', () => {
  test('is tried again after the SDK has given up, and the answer is stored', async () => {
    proxy.inject({ operation: 'UpdateItem', fault: 'drop-before', times: attempts + 1 });
    const handler = guarded();
    expect(await handler({ id })).toBe('done');
    expect(await handler({ id })).toBe('done');
    expect(runs).toBe(1);
    expect(seen.types()).toEqual(['claim', 'complete', 'replay']);
  });

  test('leaves the caller with its result, the record in progress, and tells the observer', async () => {
    const before = await records();
    proxy.inject({
      operation: 'UpdateItem',
      fault: { status: 500, type: 'InternalServerError' },
      times: Infinity,
    });
    const invocation = invocationOf(3_000);
    const handler = guarded();
    expect(await handler({ id }, invocation.context)).toBe('done');
    expect(invocation.isOver()).toBe(false);
    expect(seen.seen.at(-1)).toMatchObject({ type: 'unrecorded', cause: { code: 'STORE_UNAVAILABLE' } });
    expect(sent().filter((one) => one.startsWith('UpdateItem')).length).toBeGreaterThan(attempts);
    expect(sent().some((one) => one.startsWith('DeleteItem'))).toBe(false);
    expect(await records()).toBe(before + 1);
    expect(await failure(handler({ id }))).toMatchObject({ code: 'IN_PROGRESS' });
  });

  test('by hanging leaves the caller with its result before the deadline', async () => {
    proxy.inject({ operation: 'UpdateItem', fault: 'hang', times: Infinity });
    const invocation = invocationOf(1_500);
    const handler = guarded();
    expect(await handler({ id }, invocation.context)).toBe('done');
    expect(invocation.isOver()).toBe(false);
    expect(seen.types()).toEqual(['claim', 'unrecorded']);
  });

  test('for want of permission is not tried again, and the caller has its result', async () => {
    proxy.inject({
      operation: 'UpdateItem',
      fault: { status: 400, type: 'AccessDeniedException' },
      times: Infinity,
    });
    expect(await guarded()({ id })).toBe('done');
    expect(sent()).toEqual(['PutItem 200', 'UpdateItem 400']);
    expect(seen.seen.at(-1)).toMatchObject({ type: 'unrecorded', cause: { code: 'STORE_MISCONFIGURED' } });
  });
});

describe('a store that fails to release', () => {
  test("does not hide the handler's error", async () => {
    proxy.inject({
      match: isGivenBack,
      fault: { status: 500, type: 'InternalServerError' },
      times: Infinity,
    });
    const failing = guarded(() => {
      throw new Error('declined');
    });
    await expect(failing({ id })).rejects.toThrow('declined');
    expect(seen.types()).toEqual(['claim', 'unrecorded']);
  });
});
