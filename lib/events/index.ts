/**
 * Reading what came: which operation an event, or a record of a batch, belongs to. It decides keys, tenants and fingerprints by the
 * event's shape. Everything in here is text that a caller sent: it is read in linear time and never shown.
 */
export { asHttpEvent, type HttpEvent } from './http-event.ts';
export { type Identity, type IdentitySettings, identify, identifyRecord, wholePayload } from './identity.ts';
export type { Key } from './key.ts';
export { maxKeyLength } from './key-syntax.ts';
export {
  asBatch,
  asRecord,
  type Batch,
  type BatchRecord,
  isBelow,
  itemFailures,
  lowestOf,
  rawsIn,
  shownId,
} from './records.ts';
