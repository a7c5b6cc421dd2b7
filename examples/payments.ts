import middy from '@middy/core';
import httpCors from '@middy/http-cors';
import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { idempotent } from '../lib/index.ts'; // outside this repository: from 'idemkit'
import { charge, type Order } from './ledger.ts';
import { metrics } from './metrics.ts';

const origin = process.env.PAGE_ORIGIN ?? 'https://shop.example.com';
const exposeHeaders = 'Idempotent-Replayed, Retry-After';

/** Answers preflights, and lets the page read every answer that comes from the handler. */
export const cors = httpCors({
  origin,
  exposeHeaders,
  headers: 'Content-Type, Idempotency-Key',
  methods: 'POST',
  maxAge: 600,
  disableBeforePreflightResponse: false,
});

/** The same for refusals and replays: the guard gives them before `cors` has its turn. */
export const corsHeaders = (): Record<string, string> => ({
  'Access-Control-Allow-Origin': origin,
  'Access-Control-Expose-Headers': exposeHeaders,
});

/** POST /payments: charges a customer, once for each `Idempotency-Key`. */
export const handler = middy<APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2>()
  .use(idempotent({ http: { headers: corsHeaders }, observe: metrics }))
  .use(cors)
  .handler(pay);

export async function pay(event: APIGatewayProxyEventV2): Promise<APIGatewayProxyStructuredResultV2> {
  const order = parseOrder(event);
  if (order === undefined) {
    return answer(400, { message: 'Expected { "customer": "…", "amount": 4200, "currency": "EUR" }' });
  }
  console.info('Charging', order.amount, order.currency);
  return answer(201, await charge(order));
}

function parseOrder({ body = '', isBase64Encoded }: APIGatewayProxyEventV2): Order | undefined {
  try {
    const json = isBase64Encoded ? Buffer.from(body, 'base64').toString() : body;
    const { customer, amount, currency } = JSON.parse(json);
    const isOrder =
      typeof customer === 'string' &&
      Number.isSafeInteger(amount) &&
      amount > 0 &&
      /^[A-Z]{3}$/.test(currency);
    return isOrder ? { customer, amount, currency } : undefined;
  } catch {
    return undefined;
  }
}

function answer(statusCode: number, body: object): APIGatewayProxyStructuredResultV2 {
  return { statusCode, headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) };
}
