export type { CacheOptions } from './cache.ts';
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
export { IdempotencyError, type IdempotencyErrorCode, type RecordSummary } from './errors.ts';
export { type Answer, type GuardedHandler, idempotent, type SubjectOf } from './idempotent.ts';
export { wholePayload } from './identity.ts';
export { type MemoryStoreOptions, memoryStore } from './memory-store.ts';
export type { IdempotentMiddleware, MiddyRequest } from './middy.ts';
export type { IdempotencyEvent, UnguardedReason } from './observe.ts';
export { type OpenApiFragment, openApi } from './openapi.ts';
export type { HttpOptions, IdempotentOptions, Key, Outcome } from './options.ts';
export type { ErrorProfile } from './refusal.ts';
export type { HttpResponse } from './reply.ts';
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
