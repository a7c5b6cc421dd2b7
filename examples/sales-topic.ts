import type { MSKRecord } from 'aws-lambda';
// outside this repository: from 'idemkit'
import { eachPartition, idempotent, type LaneOperation, type WithPayload } from '../lib/index.ts';

/** A sale as it is in the topic. */
export interface SoldItem {
  readonly id: string;
  readonly customer: string;
  readonly amount: number;
  readonly currency: string;
}

type SoldRecord = WithPayload<MSKRecord, SoldItem>;

/**
 * Sends a message to the ledger for each sale of a topic, once: messages and position are one transaction. They lie in the table's
 * outbox then, from where a pipe or a relay publishes them.
 */
export const handler = idempotent(
  eachPartition<MSKRecord, SoldItem>(async (records, op: LaneOperation<SoldRecord>) => {
    // A transaction takes 100 items.
    for (let from = 0; from < records.length; from += 90) {
      const part = records.slice(from, from + 90);
      await op.commit({
        messages: part.map(({ payload }) => ({
          destination: 'ledger',
          body: payload,
          groupId: payload.customer,
        })),
        upTo: part.at(-1),
      });
    }
  }),
  { claim: 'at-commit' },
);
