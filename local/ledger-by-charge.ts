import middy from '@middy/core';
import type { SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda';
import { book } from '../examples/ledger.ts';
import { eachRecord, idempotent } from '../lib/index.ts';

/** The ledger example for a queue without deduplication ids: two messages are one if they tell of one charge. */
export const handler = middy<SQSEvent, SQSBatchResponse>()
  .use(idempotent({ key: ({ body }: SQSRecord) => JSON.parse(body).id }))
  .handler(eachRecord(book));
