import { relayOutbox } from '../lib/index.ts'; // outside this repository: from 'idemkit'

/** For the stream of the idempotency table: publishes the messages that payments have committed. */
export const handler = relayOutbox({
  destinations: { ledger: { queueUrl: process.env.LEDGER_QUEUE_URL ?? '' } },
});
