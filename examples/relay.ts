import { relayOutbox } from '../lib/index.ts'; // outside this repository: from 'idemkit'

/** Publishes the messages that payments have committed. Invoked by the stream of the idempotency table. */
export const handler = relayOutbox({
  destinations: { ledger: { queueUrl: process.env.LEDGER_QUEUE_URL ?? '' } },
});
