import middy from '@middy/core';
import httpCors from '@middy/http-cors';
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2, Context } from 'aws-lambda';
// outside this repository: from 'idemkit'
import { createOnce, IdempotencyError, idempotent, type Operation, operation } from '../lib/index.ts';
import { metrics } from './metrics.ts';
import { charge, type Order } from './payment-provider.ts';

const { SHOP_TABLE = '' } = process.env;
const origin = process.env.PAGE_ORIGIN ?? 'https://shop.example.com';
const exposeHeaders = 'Idempotent-Replayed, Retry-After';

/** Answers preflights, and lets the page read each answer of the handler. */
export const cors = httpCors({
  origin,
  exposeHeaders,
  headers: 'Content-Type, Idempotency-Key',
  methods: 'POST',
  maxAge: 600,
  disableBeforePreflightResponse: false,
});

/** Lets the page read refusals and replays too. The guard answers with them before `cors` has its turn. */
export const corsHeaders = (): Record<string, string> => ({
  'Access-Control-Allow-Origin': origin,
  'Access-Control-Expose-Headers': exposeHeaders,
});

/** POST /payments: sells one piece for each `Idempotency-Key`, whatever crashes and however often the request is sent. */
export const handler = middy<APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2>()
  .use(idempotent({ http: { answerHeaders: corsHeaders }, observe: metrics }))
  .use(cors)
  .handler(pay);

export async function pay(
  event: APIGatewayProxyEventV2,
  context: Context,
): Promise<APIGatewayProxyStructuredResultV2> {
  const order = parseOrder(event);
  if (order === undefined) {
    return answer(400, { message: 'Expected { "customer": "ada", "amount": 4200, "currency": "EUR" }' });
  }
  console.info('Charging', order.amount, order.currency);
  const op = operation(context);

  if (!(await reserve(op, order))) return answer(402, { message: 'Out of stock' });

  const charged = await op.step('charge', ({ token }) => charge(order, token));
  if (charged === undefined) {
    const declined = answer(402, { message: 'The card was declined' });
    return op.commit({ result: declined, writes: [putBack(order)] });
  }

  const id = op.token('order');
  return op.commit({
    result: answer(201, { ...charged, order: id }),
    writes: [
      createOnce.write({
        tableName: SHOP_TABLE,
        partitionKey: 'id',
        item: { ...order, id: `order#${id}`, charge: charged.id },
      }),
    ],
    messages: [{ destination: 'ledger', body: charged, groupId: order.customer }],
  });
}

/** The stock of an article of which nothing has been sold yet. */
export const initialStock = 1_000;

const stockOf = ({ sku = 'book' }: Order) => ({
  TableName: SHOP_TABLE,
  Key: { id: `stock#${sku}` },
});

/** Takes one piece from the stock. Resolves to whether one was left. */
async function reserve(op: Operation, order: Order): Promise<boolean> {
  const takeOne = {
    ...stockOf(order),
    UpdateExpression: 'SET stock = if_not_exists(stock, :initial) - :one',
    ConditionExpression: 'attribute_not_exists(stock) OR stock >= :one',
    ExpressionAttributeValues: { ':initial': initialStock, ':one': 1 },
  };
  try {
    await op.transaction('reserve', { writes: [{ Update: takeOne }] });
    return true;
  } catch (error) {
    if (IdempotencyError.is(error, 'COMMIT_REJECTED')) return false;
    throw error;
  }
}

const putBack = (order: Order) => ({
  Update: {
    ...stockOf(order),
    UpdateExpression: 'ADD stock :one',
    ExpressionAttributeValues: { ':one': 1 },
  },
});

export function parseOrder({ body = '', isBase64Encoded }: APIGatewayProxyEventV2): Order | undefined {
  try {
    const json = isBase64Encoded ? Buffer.from(body, 'base64').toString() : body;
    const { customer, amount, currency, sku } = JSON.parse(json);
    const isOrder =
      isName(customer) &&
      Number.isSafeInteger(amount) &&
      amount > 0 &&
      /^[A-Z]{3}$/.test(currency) &&
      (sku === undefined || isName(sku));
    return isOrder ? { customer, amount, currency, ...(sku && { sku }) } : undefined;
  } catch {
    return undefined;
  }
}

/** Checked before the charge: the customer becomes a message group, and a name with a space would fail after it. */
const isName = (value: unknown): boolean => typeof value === 'string' && /^[\w-]{1,100}$/.test(value);

export function answer(statusCode: number, body: object): APIGatewayProxyStructuredResultV2 {
  return { statusCode, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
}
