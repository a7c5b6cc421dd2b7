import type { APIGatewayProxyEventV2, APIGatewayProxyStructuredResultV2, Context } from 'aws-lambda';
// outside this repository: from 'idemkit'
import { idempotent, numbered, operation } from '../lib/index.ts';
import { metrics } from './metrics.ts';
import { answer, parseOrder } from './payments.ts';

const { SHOP_TABLE: TableName = '' } = process.env;

/**
 * POST /sales: books what a till has sold, each sale once, in the till's own order, however long ago it was sent first. The till
 * numbers its sales (`till.ts`).
 */
export const handler = idempotent(book, { sequence: numbered(), observe: metrics });

async function book(
  event: APIGatewayProxyEventV2,
  context: Context,
): Promise<APIGatewayProxyStructuredResultV2> {
  const sale = parseOrder(event);
  if (sale === undefined) return answer(400, { message: 'Expected a customer, an amount and a currency' });
  console.info('Booking a sale', sale.amount, sale.currency);
  const op = operation(context);
  const { customer, amount, currency } = sale;
  const id = op.token('sale');
  const takings = {
    TableName,
    Key: { id: `takings#${customer}#${currency}` },
    UpdateExpression: 'ADD takings :amount',
    ExpressionAttributeValues: { ':amount': amount },
  };
  return op.commit({
    result: answer(201, { sale: id }),
    writes: [{ Put: { TableName, Item: { ...sale, id: `sale#${id}` } } }, { Update: takings }],
  });
}
