import type { KinesisStreamRecord } from 'aws-lambda';
// outside this repository: from 'idemkit'
import { eachPartition, idempotent, type LaneOperation, type WithPayload } from '../lib/index.ts';
import { metrics } from './metrics.ts';

const { SHOP_TABLE: TableName = '' } = process.env;

/** A sale as it is in the stream, under its customer as partition key. */
export interface Sale {
  readonly customer: string;
  readonly amount: number;
  readonly currency: string;
}

type SaleRecord = WithPayload<KinesisStreamRecord, Sale>;

/** Enters each sale of a stream in the ledger once, in the order of its customer. Entries and position are one transaction. */
export const handler = idempotent(eachPartition<KinesisStreamRecord, Sale>(enter), {
  claim: 'at-commit',
  observe: metrics,
});

/** A transaction takes 100 items: the entries, a balance for each currency, and the position. */
const entriesInOne = 50;

async function enter(records: readonly SaleRecord[], op: LaneOperation<SaleRecord>): Promise<void> {
  for (let from = 0; from < records.length; from += entriesInOne) {
    const part = records.slice(from, from + entriesInOne);
    console.info('Entering', part.length, 'sales');
    await op.commit({
      writes: [...part.map(entryOf), ...balancesOf(part)],
      upTo: part.at(-1),
    });
  }
}

const entryOf = ({ eventID, payload: { customer, amount, currency } }: SaleRecord) => ({
  Put: { TableName, Item: { id: `entry#${eventID}`, customer, amount, currency } },
});

/** One for each currency: a transaction takes an item once. */
function balancesOf(records: readonly SaleRecord[]) {
  const sums = new Map<string, number>();
  for (const { payload } of records) {
    const id = `balance#${payload.customer}#${payload.currency}`;
    sums.set(id, (sums.get(id) ?? 0) + payload.amount);
  }
  return [...sums].map(([id, amount]) => ({
    Update: {
      TableName,
      Key: { id },
      UpdateExpression: 'ADD balance :amount',
      ExpressionAttributeValues: { ':amount': amount },
    },
  }));
}
