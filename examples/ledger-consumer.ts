import type { SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda';
import { idempotent } from '../lib/index.ts'; // outside this repository: from 'idemkit'
import { metrics } from './metrics.ts';

/** Enters one message, once for each deduplication id, however often the queue delivers it. */
const enter = idempotent(
  async (record: SQSRecord) => {
    console.info('Entering', record.body);
  },
  {
    namespace: 'ledger',
    key: ({ attributes }) => [attributes.MessageGroupId, attributes.MessageDeduplicationId],
    fingerprint: ({ body }) => body,
    observe: metrics,
  },
);

/** Consumes the ledger's FIFO queue: after a failure, the rest of that message's group comes back too, in its order. */
export async function handler({ Records }: SQSEvent, context: object): Promise<SQSBatchResponse> {
  const blocked = new Set<string | undefined>();
  const batchItemFailures: { itemIdentifier: string }[] = [];
  for (const record of Records) {
    const group = record.attributes.MessageGroupId;
    try {
      if (!blocked.has(group)) {
        await enter(record, context as never);
        continue;
      }
    } catch (error) {
      console.error(error);
      blocked.add(group);
    }
    batchItemFailures.push({ itemIdentifier: record.messageId });
  }
  return { batchItemFailures };
}
