/**
 * Guarding a batch record by record: claiming all of them at once, settling each by itself, and one report to the service.
 * It decides which records a handler is given, in what order, and which are to be delivered again.
 * It does not decide what makes two records the same (events), nor how an attempt ends (engine).
 */
export { beginBatch } from './begin-batch.ts';
export {
  type BatchAnswer,
  type EachRecordOptions,
  type EventOf,
  eachRecord,
  type Schema,
  type SourceRecord,
  type WithPayload,
} from './each-record.ts';
export { UnguardedBatch } from './settling.ts';
