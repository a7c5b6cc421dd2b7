import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import Stripe from 'stripe';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { HttpResponse } from '../../lib/index.ts';
import { type IdempotentOptions, idempotent } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { type LocalApi, startApi } from '../../local/aws/api.ts';
import { deferred } from '../support/hands.ts';
import { lambdaContext } from '../support/invocation.ts';

/**
 * A stock Stripe client, pointed at an API that a guard protects: it sends bare keys, retries by itself and turns errors
 * into exceptions by Stripe's own rules.
 */
let api: LocalApi;
let handle: (event: APIGatewayProxyEventV2) => Promise<unknown>;
let effects: number[];
let requests: { key: string; status: number }[];

class Reset extends Error {}

const guarded = (
  work: (event: APIGatewayProxyEventV2) => Promise<unknown>,
  options: IdempotentOptions = { http: { errors: 'stripe' } },
) => idempotent(work, { store: memoryStore(), ...options });

const charge = async (event: APIGatewayProxyEventV2) => {
  // API Gateway hands a form over in base64.
  const amount = Number(
    new URLSearchParams(Buffer.from(event.body ?? '', 'base64').toString()).get('amount'),
  );
  effects.push(amount);
  return { statusCode: 200, body: JSON.stringify({ id: `ch_${effects.length}`, object: 'charge', amount }) };
};

const stripe = (config: Stripe.StripeConfig = {}) => {
  const { hostname, port } = new URL(api.url);
  return new Stripe('sk_test_1', {
    host: hostname,
    port: Number(port),
    protocol: 'http',
    telemetry: false,
    ...config,
  });
};

beforeAll(async () => {
  api = await startApi([{ method: 'POST', path: '/v1/charges', function: 'charges' }], async (_, event) => {
    const request = { key: event.headers['idempotency-key'] ?? '', status: 0 };
    requests.push(request);
    try {
      const result = (await handle(event)) as HttpResponse;
      request.status = result.statusCode;
      return { outcome: 'result', payload: JSON.stringify(result) };
    } catch (error) {
      // What an invocation throws, the API does not answer: it resets the connection.
      if (error instanceof Reset) throw error;
      return { outcome: 'error', errorType: 'Error', errorMessage: String(error) };
    }
  });
});
afterAll(() => api.stop());
beforeEach(() => {
  effects = [];
  requests = [];
});
afterEach(() => {
  handle = async () => ({ statusCode: 500 });
});

describe("a guard with errors: 'stripe'", () => {
  test('gives a repeat with one key one effect, and marks the second answer', async () => {
    const handler = guarded(charge);
    handle = (event) => handler(event, lambdaContext(3_000));
    const create = () =>
      stripe().charges.create({ amount: 42, currency: 'eur' }, { idempotencyKey: 'key-1' });
    const first = await create();
    const second = await create();
    expect(second.id).toBe(first.id);
    expect(second.lastResponse.headers['idempotent-replayed']).toBe('true');
    expect(first.lastResponse.headers['idempotent-replayed']).toBeUndefined();
    expect(effects).toEqual([42]);
    expect(requests.map(({ key }) => key)).toEqual(['key-1', 'key-1']);
  });

  test('makes other parameters a StripeIdempotencyError, after one request', async () => {
    const handler = guarded(charge);
    handle = (event) => handler(event, lambdaContext(3_000));
    await stripe().charges.create({ amount: 42, currency: 'eur' }, { idempotencyKey: 'key-1' });
    requests.length = 0;
    const error = await stripe()
      .charges.create({ amount: 43, currency: 'eur' }, { idempotencyKey: 'key-1' })
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Stripe.errors.StripeIdempotencyError);
    expect(error).toMatchObject({ statusCode: 400, message: expect.stringContaining('other parameters') });
    expect(requests).toHaveLength(1);
    expect(effects).toEqual([42]);
  });

  test('has a client that timed out retry with the same key until the first answer is there', async () => {
    const gate = deferred();
    const handler = guarded(async (event) => {
      await gate.promise;
      return charge(event);
    });
    handle = (event) => {
      if (requests.length === 3) gate.resolve();
      return handler(event, lambdaContext(1_000));
    };
    const paid = await stripe({ timeout: 300, maxNetworkRetries: 4 }).charges.create({
      amount: 42,
      currency: 'eur',
    });
    expect(paid.amount).toBe(42);
    expect(paid.lastResponse.headers['idempotent-replayed']).toBe('true');
    expect(effects).toEqual([42]);
    expect(new Set(requests.map(({ key }) => key)).size).toBe(1);
    expect(requests.map(({ status }) => status)).toContain(409);
  });

  test('has a client whose connection broke after the effect retry, and charges once', async () => {
    const handler = guarded(charge);
    handle = async (event) => {
      const result = await handler(event, lambdaContext(3_000));
      if (requests.length === 1) throw new Reset();
      return result;
    };
    const paid = await stripe({ maxNetworkRetries: 2 }).charges.create({ amount: 42, currency: 'eur' });
    expect(paid.amount).toBe(42);
    expect(paid.lastResponse.headers['idempotent-replayed']).toBe('true');
    expect(effects).toEqual([42]);
    expect(requests).toHaveLength(2);
  });

  test('tells a conflict that outlasts the retries', async () => {
    const handler = guarded(() => new Promise(() => {}));
    handle = (event) => handler(event, lambdaContext(1_000));
    const event = await eventOf();
    void handle({ ...event, headers: { ...event.headers, 'idempotency-key': 'key-1' } });
    const error = await stripe({ maxNetworkRetries: 0 })
      .charges.create({ amount: 42, currency: 'eur' }, { idempotencyKey: 'key-1' })
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Stripe.errors.StripeAPIError);
    expect(error).toMatchObject({ statusCode: 409, code: 'idempotency_key_in_use' });
    expect((error as Stripe.errors.StripeError).headers?.['retry-after']).toBe('2');
  });

  test('has a remembered failure replayed once, and not retried', async () => {
    const handler = guarded(
      async () => {
        effects.push(1);
        return { statusCode: 500, body: JSON.stringify({ error: { type: 'api_error', message: 'broken' } }) };
      },
      { remember: () => true, http: { errors: 'stripe' } },
    );
    handle = (event) => handler(event, lambdaContext(3_000));
    const error = await stripe({ maxNetworkRetries: 3 })
      .charges.create({ amount: 42, currency: 'eur' }, { idempotencyKey: 'key-1' })
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Stripe.errors.StripeAPIError);
    expect(effects).toEqual([1]);
    // The first answer is the handler's own, so it was retried once; the replay says that it is in vain.
    expect(requests).toHaveLength(2);
  });

  test('makes a key that is not there, and a store that fails, what they are', async () => {
    const handler = guarded(charge);
    handle = (event) => handler({ ...event, headers: {} }, lambdaContext(3_000));
    await expect(stripe().charges.create({ amount: 1, currency: 'eur' })).rejects.toBeInstanceOf(
      Stripe.errors.StripeIdempotencyError,
    );
    const broken = { ...memoryStore(), claim: () => Promise.reject(unavailable()) };
    const failing = guarded(charge, { store: broken, http: { errors: 'stripe' } });
    handle = (event) => failing(event, lambdaContext(3_000));
    const error = await stripe({ maxNetworkRetries: 0 })
      .charges.create({ amount: 1, currency: 'eur' })
      .catch((thrown: unknown) => thrown);
    expect(error).toBeInstanceOf(Stripe.errors.StripeAPIError);
    expect(error).toMatchObject({ statusCode: 503 });
    expect(effects).toEqual([]);
  });
});

describe("a guard with errors: 'problem'", () => {
  test('is not for a Stripe client: it takes a refusal for a success', async () => {
    const handler = guarded(charge, {});
    handle = (event) => handler(event, lambdaContext(3_000));
    await stripe().charges.create({ amount: 42, currency: 'eur' }, { idempotencyKey: 'key-1' });
    const taken: unknown = await stripe().charges.create(
      { amount: 43, currency: 'eur' },
      { idempotencyKey: 'key-1' },
    );
    expect(taken).toMatchObject({ status: 422, code: 'PAYLOAD_MISMATCH' });
  });
});

const unavailable = () =>
  Object.assign(new Error('no store'), { code: 'STORE_UNAVAILABLE', [Symbol.for('idemkit.error')]: true });

/** The event of one plain request of this client's. */
async function eventOf(): Promise<APIGatewayProxyEventV2> {
  const before = handle;
  const seen = deferred<APIGatewayProxyEventV2>();
  handle = async (event) => {
    seen.resolve(event);
    return { statusCode: 200, body: '{}' };
  };
  await stripe().charges.create({ amount: 42, currency: 'eur' });
  handle = before;
  requests.length = 0;
  return seen.promise;
}
