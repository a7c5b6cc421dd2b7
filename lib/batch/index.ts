/**
 * Guards a batch record by record: claims the records that its handler takes, all at once, settles each by itself, and reports once to the service.
 * This room decides which records the handler gets, in what order, and which ones the service must deliver again.
 * It never decides what makes two records the same (`events` does), nor how an attempt ends (`engine` does).
 */
export { type EachPartitionOptions, eachPartition, type StreamRecord } from './each-partition.ts';
export {
  type BatchAnswer,
  type EachRecordOptions,
  type EventOf,
  eachRecord,
  type Schema,
  type SourceRecord,
  type WithPayload,
} from './each-record.ts';
export { freshRecords } from './fresh-records.ts';
