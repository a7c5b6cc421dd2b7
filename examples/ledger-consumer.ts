import type { SQSRecord } from 'aws-lambda';
import { eachRecord, idempotent } from '../lib/index.ts'; // outside this repository: from 'idemkit'
import { metrics } from './metrics.ts';

/** Consumes the ledger's FIFO queue: enters each message once, however often the queue delivers it, in its group's order. */
export const handler = idempotent(
  eachRecord<SQSRecord>(async ({ body }) => {
    console.info('Entering', body);
  }),
  { observe: metrics },
);
