import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2 } from 'aws-lambda';
import { idempotent } from '../lib/index.ts'; // outside this repository: from 'idemkit'
import { charge } from './payment-provider.ts';
import { answer, parseOrder } from './payments.ts';

/**
 * POST /payments at the guarded level: the least that there is to write. One handler runs at a time, and repeats get its
 * answer; but one that is killed after the charge has charged, and so will the one that takes over.
 */
export const handler = idempotent(pay);

export async function pay(event: APIGatewayProxyEventV2): Promise<APIGatewayProxyStructuredResultV2> {
  const order = parseOrder(event);
  if (order === undefined) return answer(400, { message: 'Expected an order' });
  console.info('Charging', order.amount, order.currency);
  const charged = await charge(order);
  return charged ? answer(201, charged) : answer(402, { message: 'The card was declined' });
}
