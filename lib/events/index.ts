/**
 * Reads events and records: which service sent them, and which operation they belong to.
 * This room decides key, tenant and fingerprint by an event's shape. It never decides whether the operation runs.
 * All that it reads was sent by callers: it reads in linear time, and shows none of it in a message or a log.
 */
export { asHttpEvent, type HttpEvent } from './http-event.ts';
export {
  batchNotTaken,
  headerLinesOf,
  type Identity,
  type IdentitySettings,
  identify,
  identifyRecord,
  type SenderPlace,
  wholePayload,
} from './identity.ts';
export type { Key } from './key.ts';
export { maxKeyLength } from './key-syntax.ts';
export { identifyLane, type LaneIdentity, streamPlaceOf } from './lane.ts';
export {
  asBatch,
  asRecord,
  type Batch,
  type BatchRecord,
  isBelow,
  itemFailures,
  lowestOf,
  rawsIn,
  refuseIncomplete,
  shownId,
} from './records.ts';
export type { SourceRecord } from './services.ts';
