import { relayOutbox } from '../../lib/index.ts';

/** The other way out for staged messages, in `deployed-app.ts`: pipes publish those for the ledger. */
export const relay = relayOutbox({
  destinations: { mail: { queueUrl: process.env.QUEUE_URL ?? '' } },
  otherDestinations: 'skip',
});
