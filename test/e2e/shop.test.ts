import { randomUUID } from 'node:crypto';
import { SendMessageCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Demo, startDemo } from '../../local/demo/demo.ts';
import {
  creditLimit,
  type PaymentProvider,
  startPaymentProvider,
} from '../../local/demo/payment-provider.ts';
import { effectsOf, type Shop, settled } from '../../local/demo/shop.ts';
import { dynamodbEndpoint } from '../support/dynamodb.ts';

/**
 * The examples from end to end, as their template says: HTTP → transaction, charge, commit → stream → pipe, or relay → FIFO
 * queue → ledger.
 */
let provider: PaymentProvider;
let demo: Demo;

beforeAll(async () => {
  provider = await startPaymentProvider();
  demo = await startDemo({
    ...{ name: randomUUID(), provider, lanes: 0, dynamodbEndpoint: dynamodbEndpoint() },
    overrides: { 'Relayed/ChargePayment': { timeoutSeconds: 20 }, 'Relayed/Relay': { timeoutSeconds: 20 } },
  });
}, 120_000);
afterAll(async () => {
  await demo?.stop();
  await provider?.stop();
});

function newOrder(amount = 4_200) {
  const id = randomUUID().slice(0, 8);
  return { customer: `ann-${id}`, amount, currency: 'EUR', sku: `book-${id}` };
}

async function pay({ path }: Shop, order: object, key: string) {
  const response = await fetch(`${demo.stack.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
    body: JSON.stringify(order),
  });
  const replayed = response.headers.get('idempotent-replayed') === 'true';
  return { status: response.status, replayed, text: await response.text() };
}

/** Nothing of what tills send. */
const noSales = { sales: 0, takings: 0 };

const effects = (shop: Shop, order: ReturnType<typeof newOrder>) =>
  effectsOf({ stack: demo.stack, provider }, shop, order);

describe.each([
  ['a pipe', (): Shop => demo.stage.shop],
  ['a relay', (): Shop => demo.relayed],
])('with %s', (_, shopOf) => {
  test('a payment that is sent twice is charged, ordered and booked once', async () => {
    const shop = shopOf();
    const order = newOrder();
    const key = randomUUID();
    const first = await pay(shop, order, key);
    const second = await pay(shop, order, key);
    expect(first).toMatchObject({ status: 201, replayed: false });
    expect(second).toEqual({ ...first, replayed: true });
    await settled(demo.stack, shop);
    expect(await effects(shop, order)).toEqual({
      charges: 1,
      orders: 1,
      entries: 1,
      balance: 4_200,
      sold: 1,
      ...noSales,
    });
  });

  test('payments of one customer are booked in the balance together, each as an entry of its own', async () => {
    const shop = shopOf();
    const order = newOrder(1_000);
    await Promise.all([
      pay(shop, order, randomUUID()),
      pay(shop, order, randomUUID()),
      pay(shop, order, randomUUID()),
    ]);
    await settled(demo.stack, shop);
    expect(await effects(shop, order)).toEqual({
      charges: 3,
      orders: 3,
      entries: 3,
      balance: 3_000,
      sold: 3,
      ...noSales,
    });
  });

  test('a declined card leaves the stock as it was, and nothing in the ledger', async () => {
    const shop = shopOf();
    const order = newOrder(creditLimit + 1);
    const key = randomUUID();
    const first = await pay(shop, order, key);
    expect(first).toMatchObject({ status: 402, text: '{"message":"The card was declined"}' });
    expect(await pay(shop, order, key)).toEqual({ ...first, replayed: true });
    await settled(demo.stack, shop);
    expect(await effects(shop, order)).toEqual({
      charges: 0,
      orders: 0,
      entries: 0,
      balance: 0,
      sold: 0,
      ...noSales,
    });
  });
});

test('a message that the relay publishes again, after the queue has forgotten the first, is booked once', async () => {
  const { stack, relayed: shop } = demo;
  const order = newOrder();
  await pay(shop, order, randomUUID());
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
  expect(await effects(shop, order)).toMatchObject({ entries: 1, balance: 4_200 });
});
