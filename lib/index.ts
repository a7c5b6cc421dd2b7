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
export { IdempotencyError, type IdempotencyErrorCode, type RecordSummary } from './errors.ts';
export { type Answer, type GuardedHandler, idempotent } from './idempotent.ts';
export { wholePayload } from './identity.ts';
export { type MemoryStoreOptions, memoryStore } from './memory-store.ts';
export type { IdempotentMiddleware, MiddyRequest } from './middy.ts';
export type { IdempotencyEvent, UnguardedReason } from './observe.ts';
export { type OpenApiFragment, openApi } from './openapi.ts';
export type { HttpOptions, IdempotentOptions, Key, Outcome } from './options.ts';
export type { ErrorProfile } from './refusal.ts';
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
export type {
  ClaimRecord,
  Clock,
  Completion,
  NewClaim,
  Seal,
  Store,
  StoredAnswer,
  Takeover,
  UnavailableReason,
  Written,
} from './store.ts';
