/** What the author of a handler imports, as `idemkit`. */
export {
  type BatchAnswer,
  type EachPartitionOptions,
  type EachRecordOptions,
  type EventOf,
  eachPartition,
  eachRecord,
  freshRecords,
  type Schema,
  type SourceRecord,
  type StreamRecord,
  type WithPayload,
} from './batch/index.ts';
export {
  type Created,
  type CreateOnceOptions,
  checkTable,
  createOnce,
  type DynamoStore,
  type DynamoStoreOptions,
  dynamoStore,
  type PutEntry,
  type Updated,
  type UpdateEntry,
  type UpdateVersionOptions,
  updateVersion,
} from './dynamo/index.ts';
export type {
  CacheOptions,
  Outcome,
} from './engine/index.ts';
export { IdempotencyError, type IdempotencyErrorCode, type RecordSummary } from './errors.ts';
export { type Key, wholePayload } from './events/index.ts';
export {
  type Answer,
  type GuardedHandler,
  type HttpOptions,
  type IdempotentMiddleware,
  type IdempotentOptions,
  idempotent,
  type MiddyRequest,
  type OpenApiFragment,
  openApi,
  type SequencedOptions,
  type SubjectOf,
} from './guard/index.ts';
export type { ErrorProfile, HttpResponse } from './http/index.ts';
export { messageKey } from './message-key.ts';
export {
  type Destination,
  deduplicationId,
  type MessageAttribute,
  type MessageClient,
  type MessageIdentity,
  type QueueMessage,
  type RelayOptions,
  relayOutbox,
  type SentMessage,
  sendOnce,
  type TopicMessage,
} from './messages/index.ts';
export { type EmfOptions, emf, type IdempotencyEvent, type UnguardedReason } from './observe/index.ts';
export {
  type AtomicWork,
  type LaneCommit,
  type LaneOperation,
  type Message,
  type Operation,
  operation,
  type StepOptions,
} from './operation/index.ts';
export { type NumberedOptions, type Numbering, numbered, type Sequence } from './sequence/index.ts';
export type { Clock, Rejection, Seal, TransactWrite } from './store/index.ts';
