import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  type Deployed,
  type Synthesized,
  startDeployedStack,
  synthesize,
} from '../../local/demo/deployed.ts';
import { type PaymentProvider, startPaymentProvider } from '../../local/demo/payment-provider.ts';
import { dynamodbEndpoint } from '../support/dynamodb.ts';
import { deferred } from '../support/hands.ts';
import { HttpStack } from './http-app.ts';

/** Every request here goes over HTTP to functions in processes of their own, on a real DynamoDB. */
let provider: PaymentProvider;
let synthesized: Synthesized;
let deployed: Deployed;

beforeAll(async () => {
  provider = await startPaymentProvider();
  const paymentsUrl = provider.url;
  synthesized = await synthesize((app) => new HttpStack(app, 'Http', { paymentsUrl }));
  deployed = await startDeployedStack({
    assembly: synthesized.assembly,
    upstreams: { payments: paymentsUrl },
    stackName: `Http-${randomUUID()}`,
    callers: 'anyone',
    overrides: Object.fromEntries(
      ['picture', 'plain', 'declined', 'mine'].map((path) => [path, { maxConcurrency: 2 }]),
    ),
    dynamodbEndpoint: dynamodbEndpoint(),
  });
}, 120_000);
afterAll(async () => {
  await deployed?.stop();
  await synthesized?.remove();
  await provider?.stop();
});

const order = { customer: 'ann', amount: 4_200, currency: 'EUR' };

interface Sent {
  readonly path?: string;
  readonly key?: string;
  readonly headers?: Record<string, string>;
  readonly body?: unknown;
  readonly method?: string;
}

async function send({ path = '/payments', key, headers, body = order, method = 'POST' }: Sent) {
  const response = await fetch(`${deployed.stack.url}${path}`, {
    method,
    headers: {
      'content-type': 'application/json',
      ...(key !== undefined && { 'Idempotency-Key': key }),
      ...headers,
    },
    ...(method !== 'GET' && { body: typeof body === 'string' ? body : JSON.stringify(body) }),
  });
  const bytes = Buffer.from(await response.arrayBuffer());
  return { status: response.status, headers: response.headers, bytes, text: bytes.toString() };
}

const isReplayed = ({ headers }: { headers: Headers }) => headers.get('idempotent-replayed') === 'true';

/** Sends `first`, and `then` while its charge is being booked. */
async function whileRunning<T>(first: Sent, then: () => Promise<T>) {
  const booked = deferred();
  const gate = deferred();
  provider.whenBooked(() => {
    booked.resolve();
    return gate.promise;
  });
  const running = send(first);
  await booked.promise;
  provider.whenBooked(undefined);
  const during = await then();
  gate.resolve();
  return { first: await running, during };
}

describe('the key of an HTTP request', () => {
  test('is answered with 400 problem+json where it is missing, and nothing is charged', async () => {
    const before = provider.charges.length;
    const { status, headers, text } = await send({});
    expect(status).toBe(400);
    expect(headers.get('content-type')).toBe('application/problem+json');
    expect(JSON.parse(text)).toMatchObject({ status: 400, code: 'MISSING_KEY' });
    expect(provider.charges).toHaveLength(before);
  });

  test.each(['secret b', 'secret,b', '"secret', '""', 'secret'.repeat(50), '"secret", "b"'])(
    'is answered with 400 where it is like %j',
    async (key) => {
      const before = provider.charges.length;
      const { status, text } = await send({ key });
      expect([status, JSON.parse(text).code]).toEqual([400, 'BAD_KEY']);
      expect(text).not.toContain('secret');
      expect(provider.charges).toHaveLength(before);
    },
  );

  test('is the same with and without quotes, in any casing of the header', async () => {
    const key = randomUUID();
    const first = await send({ key });
    for (const [name, value] of [
      ['IDEMPOTENCY-KEY', `"${key}"`],
      ['idempotency-key', key],
    ] as const) {
      const again = await send({ headers: { [name]: value } });
      expect([again.status, again.text, isReplayed(again)]).toEqual([201, first.text, true]);
    }
  });

  test('is accepted with 255 characters', async () => {
    expect((await send({ key: randomUUID().padEnd(255, 'x') })).status).toBe(201);
  });

  test('is ignored where the method changes nothing', async () => {
    const { status } = await send({ key: 'a b', method: 'GET' });
    // The handler's own answer to a request without an order.
    expect(status).toBe(400);
    expect((await send({ key: 'a b', method: 'GET' })).text).toContain('Expected');
  });
});

describe('a repeated HTTP request', () => {
  test('gets the first answer, marked as replayed, and charges nothing', async () => {
    const key = randomUUID();
    const before = provider.charges.length;
    const first = await send({ key });
    const second = await send({ key });
    expect(first.status).toBe(201);
    expect(isReplayed(first)).toBe(false);
    expect(isReplayed(second)).toBe(true);
    expect([second.status, second.text]).toEqual([first.status, first.text]);
    expect(second.headers.get('content-type')).toBe(first.headers.get('content-type'));
    expect(provider.charges).toHaveLength(before + 1);
  });

  test('gets the same bytes without cookies and headers of one exchange', async () => {
    const key = randomUUID();
    const first = await send({ path: '/pictures', key });
    const second = await send({ path: '/pictures', key });
    expect(first.headers.getSetCookie()).toHaveLength(2);
    expect(first.bytes.subarray(0, 4)).toEqual(Buffer.from([0x89, 0x50, 0x4e, 0x47]));
    expect(second.bytes).toEqual(first.bytes);
    expect(second.headers.get('content-type')).toBe('image/png');
    expect(second.headers.get('x-picture')).toBe(first.headers.get('x-picture'));
    expect(second.headers.getSetCookie()).toEqual([]);
    expect(second.headers.get('x-request-id')).toBeNull();
  });

  test('gets what API Gateway makes of an answer without a status, marked as replayed', async () => {
    const key = randomUUID();
    const first = await send({ path: '/plain', key });
    const second = await send({ path: '/plain', key });
    expect([second.status, second.text]).toEqual([200, first.text]);
    expect(second.headers.get('content-type')).toBe(first.headers.get('content-type'));
    expect(isReplayed(second)).toBe(true);
  });

  test('gets a definite refusal again', async () => {
    const key = randomUUID();
    const first = await send({ path: '/declined', key });
    const second = await send({ path: '/declined', key });
    expect([first.status, second.status, second.text]).toEqual([402, 402, first.text]);
  });

  test('is the same with members in another order or 4200.0, and answered with 422 for another amount', async () => {
    const key = randomUUID();
    const first = await send({ key });
    const same = await send({ key, body: '{ "currency": "EUR",  "amount": 4200.0, "customer": "ann" }' });
    expect([same.status, same.text]).toEqual([201, first.text]);
    const other = await send({ key, body: { ...order, amount: 4_201 } });
    expect([other.status, JSON.parse(other.text).code]).toEqual([422, 'PAYLOAD_MISMATCH']);
    expect((await send({ key })).text).toBe(first.text);
  });
});

describe('a duplicate of a running request', () => {
  test('is answered with 409 and Retry-After, and later gets the answer', async () => {
    const key = randomUUID();
    const { first, during } = await whileRunning({ key }, () => send({ key }));
    expect([during.status, JSON.parse(during.text).code]).toEqual([409, 'IN_PROGRESS']);
    expect(during.headers.get('retry-after')).toBe('5');
    expect((await send({ key })).text).toBe(first.text);
  });

  test('is answered with 422 where its amount is another', async () => {
    const key = randomUUID();
    const other = { key, body: { ...order, amount: 1 } };
    const { first, during } = await whileRunning({ key }, () => send(other));
    expect([first.status, during.status]).toEqual([201, 422]);
  });

  test('is never charged, even with fifty at once', async () => {
    const key = randomUUID();
    const before = provider.charges.length;
    const all = await Promise.all(Array.from({ length: 50 }, () => send({ key })));
    expect(provider.charges).toHaveLength(before + 1);
    expect(all.filter(({ status }) => status !== 201 && status !== 409)).toEqual([]);
    const after = await Promise.all(Array.from({ length: 50 }, () => send({ key })));
    expect(new Set(after.map(({ status, text }) => `${status} ${text}`)).size).toBe(1);
    expect(provider.charges).toHaveLength(before + 1);
  }, 60_000);
});

describe('two callers with one key', () => {
  test("never see each other's answers", async () => {
    const key = randomUUID();
    const as = (caller: string, body: unknown = order) =>
      send({ path: '/mine', key, body, headers: { authorization: caller } });
    const ann = await as('ann');
    const bob = await as('bob');
    const eve = await as('eve', { ...order, amount: 1 });
    expect([ann.status, bob.status, eve.status]).toEqual([201, 201, 201]);
    expect([ann, bob, eve].map(isReplayed)).toEqual([false, false, false]);
    expect(bob.text).toMatch(/^bob /);
    expect(eve.text).toMatch(/^eve /);
    expect((await as('ann')).text).toBe(ann.text);
  });
});
