/**
 * For tests of handlers: a clock that stands still, complete events as services send them, tables in memory, and what
 * faults do to a handler. This room decides what an event looks like where a test does not say. No handler needs it at run time.
 */
export {
  type DynamoChange,
  dynamoStreamEvent,
  type KinesisData,
  kinesisEvent,
  type SnsNotification,
  type SqsMessage,
  snsEvent,
  sqsEvent,
} from './batch-events.ts';
export { type ExploreOptions, type ExploreReport, explore } from './explore.ts';
export {
  type AlbRequest,
  albEvent,
  type HttpRequest,
  httpEventV1,
  httpEventV2,
  type RestRequest,
} from './http-events.ts';
export { assertIdempotent, type IdempotencyMatchers, idempotencyMatchers } from './idempotency-matchers.ts';
export { type ManualClock, manualClock } from './manual-clock.ts';
export { type MemoryTable, type MemoryTables, memoryTables } from './memory-tables.ts';
export type { EffectReport } from './report.ts';
export type { ExploredWorld, MakeHandler, Moment } from './schedule.ts';
