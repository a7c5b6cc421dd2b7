import type { SQSRecord } from 'aws-lambda';
// outside this repository: from 'idemkit'
import { eachRecord, idempotent, type Operation, type WithPayload } from '../lib/index.ts';
import { metrics } from './metrics.ts';
import type { Charge } from './payment-provider.ts';

const { SHOP_TABLE: TableName = '' } = process.env;

/** Books each charge of a queue in the ledger once, however often it comes and under whatever ids. */
export const handler = idempotent(eachRecord<SQSRecord, Charge>(book), { key: chargeIn, observe: metrics });

/** The charge's own id. A message that is redriven from the dead-letter queue has other ids than before. */
function chargeIn({ body }: SQSRecord): string {
  const { id }: Charge = JSON.parse(body);
  return id;
}

async function book({ payload: charge }: WithPayload<SQSRecord, Charge>, op: Operation): Promise<void> {
  const { id, customer, amount, currency } = charge;
  console.info('Booking', customer, amount, currency);
  const entry = { id: `entry#${op.token('entry')}`, charge: id, customer, amount, currency };
  const balance = {
    TableName,
    Key: { id: `balance#${customer}#${currency}` },
    UpdateExpression: 'ADD balance :amount',
    ExpressionAttributeValues: { ':amount': amount },
  };
  await op.commit({ result: entry, writes: [{ Put: { TableName, Item: entry } }, { Update: balance }] });
}
