export type { CacheOptions } from './cache.ts';
export {
  type Created,
  type CreateOnceOptions,
  createOnce,
  type PutEntry,
  type Updated,
  type UpdateEntry,
  type UpdateVersionOptions,
  updateVersion,
} from './conditional-writes.ts';
export { type IdempotentContext, type Operation, operation } from './context.ts';
export { type DynamoStore, type DynamoStoreOptions, dynamoStore } from './dynamo-store.ts';
export {
  type BatchAnswer,
  type EachRecordOptions,
  type EventOf,
  eachRecord,
  type Schema,
  type SourceRecord,
  type WithPayload,
} from './each-record.ts';
export { type EmfOptions, emf } from './emf.ts';
export { IdempotencyError, type IdempotencyErrorCode, type RecordSummary } from './errors.ts';
export { type Answer, type GuardedHandler, idempotent, type SubjectOf } from './idempotent.ts';
export { type Key, wholePayload } from './identity.ts';
export { type MemoryRecord, type MemoryStore, type MemoryStoreOptions, memoryStore } from './memory-store.ts';
export { messageKey } from './message-key.ts';
export type { IdempotentMiddleware, MiddyRequest } from './middy.ts';
export type { IdempotencyEvent, UnguardedReason } from './observe.ts';
export { type OpenApiFragment, openApi } from './openapi.ts';
export type { HttpOptions, IdempotentOptions } from './options.ts';
export type { Message } from './outbox.ts';
export type { ErrorProfile } from './refusal.ts';
export { type Destination, type RelayOptions, relayOutbox } from './relay.ts';
export type { HttpResponse } from './reply.ts';
export {
  deduplicationId,
  type MessageAttribute,
  type MessageClient,
  type MessageIdentity,
  type QueueMessage,
  type SentMessage,
  sendOnce,
  type TopicMessage,
} from './send-once.ts';
export type { Outcome } from './settings.ts';
export type {
  ClaimRecord,
  ClaimWritten,
  Clock,
  Completion,
  NewClaim,
  NewStep,
  Rejection,
  Seal,
  StagedMessage,
  StepRecord,
  StepWritten,
  Store,
  StoredAnswer,
  Takeover,
  Transacted,
  Transaction,
  TransactionRequest,
  TransactWrite,
  Unavailable,
  UnavailableReason,
  Written,
} from './store.ts';
export type { AtomicWork } from './transact.ts';
