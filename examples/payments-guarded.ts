import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { idempotent } from '../lib/index.ts'; // outside this repository: from 'idemkit'
import { charge } from './payment-provider.ts';
import { answer, parseOrder } from './payments.ts';

/**
 * POST /payments at the guarded level, which needs one line. One handler runs at a time for each key, and repeats get its
 * answer. But if it is killed after the charge, the attempt that takes over charges again.
 */
export const handler = idempotent(pay);

export async function pay(event: APIGatewayProxyEventV2): Promise<APIGatewayProxyStructuredResultV2> {
  const order = parseOrder(event);
  if (order === undefined) return answer(400, { message: 'Expected an order' });
  console.info('Charging', order.amount, order.currency);
  const charged = await charge(order);
  return charged ? answer(201, charged) : answer(402, { message: 'The card was declined' });
}
