import { randomUUID } from 'node:crypto';
import { SendMessageCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { creditLimit, type PaymentProvider, startPaymentProvider } from '../../local/payment-provider.ts';
import { describeShop, effectsOf, settled, shopNamed } from '../../local/shop.ts';
import { type Stack, startStack } from '../../local/stack.ts';
import { dynamodbEndpoint } from '../support/dynamodb.ts';

/** The examples from end to end: HTTP → transaction, charge, commit → stream → relay → FIFO queue → ledger. */
const shop = shopNamed(`e2e-${process.pid}`);
let provider: PaymentProvider;
let stack: Stack;

beforeAll(async () => {
  provider = await startPaymentProvider();
  stack = await startStack(describeShop(shop, { paymentsUrl: provider.url, timeoutSeconds: 20 }), {
    dynamodbEndpoint: dynamodbEndpoint(),
  });
}, 60_000);
afterAll(async () => {
  await stack?.stop();
  await provider?.stop();
});

function newOrder(amount = 4_200) {
  const id = randomUUID().slice(0, 8);
  return { customer: `ann-${id}`, amount, currency: 'EUR', sku: `book-${id}` };
}

async function pay(order: object, key: string) {
  const response = await fetch(`${stack.url}${shop.path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
    body: JSON.stringify(order),
  });
  const replayed = response.headers.get('idempotent-replayed') === 'true';
  return { status: response.status, replayed, text: await response.text() };
}

const effects = (order: ReturnType<typeof newOrder>) => effectsOf({ stack, provider }, shop, order);

test('a payment that is sent twice is charged, ordered and booked once', async () => {
  const order = newOrder();
  const key = randomUUID();
  const first = await pay(order, key);
  const second = await pay(order, key);
  expect(first).toMatchObject({ status: 201, replayed: false });
  expect(second).toEqual({ ...first, replayed: true });
  await settled(stack, shop);
  expect(await effects(order)).toEqual({ charges: 1, orders: 1, entries: 1, balance: 4_200, sold: 1 });
});

test('a message that the relay publishes again, after the queue has forgotten the first, is booked once', async () => {
  const order = newOrder();
  await pay(order, randomUUID());
  await settled(stack, shop);
  const published = stack.queueFaults.requests.find(
    ({ caller, body }) => caller === shop.relay && body.MessageGroupId === order.customer,
  );
  const { MessageBody, MessageGroupId, MessageDeduplicationId } = published?.body ?? {};
  stack.queue(shop.queue).forgetDeduplicationIds();
  await stack.sqs.send(
    new SendMessageCommand({
      QueueUrl: stack.queue(shop.queue).url,
      MessageBody,
      MessageGroupId,
      MessageDeduplicationId,
    }),
  );
  expect(stack.queue(shop.queue).messages).toHaveLength(1);
  await settled(stack, shop);
  expect(await effects(order)).toMatchObject({ entries: 1, balance: 4_200 });
});

test('payments of one customer are booked in the balance together, each as an entry of its own', async () => {
  const order = newOrder(1_000);
  await Promise.all([pay(order, randomUUID()), pay(order, randomUUID()), pay(order, randomUUID())]);
  await settled(stack, shop);
  expect(await effects(order)).toEqual({ charges: 3, orders: 3, entries: 3, balance: 3_000, sold: 3 });
});

test('a declined card leaves the stock as it was, and nothing in the ledger', async () => {
  const order = newOrder(creditLimit + 1);
  const key = randomUUID();
  const first = await pay(order, key);
  expect(first).toMatchObject({ status: 402, text: '{"message":"The card was declined"}' });
  expect(await pay(order, key)).toEqual({ ...first, replayed: true });
  await settled(stack, shop);
  expect(await effects(order)).toEqual({ charges: 0, orders: 0, entries: 0, balance: 0, sold: 0 });
});
