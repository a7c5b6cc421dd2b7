/**
 * The protocol: how attempts take turns on a record, what a handler may do under its claim, and how an attempt ends.
 * This room decides who runs, who waits and who gets a stored answer, for every front door. It knows neither HTTP, nor
 * Middy, nor the shapes of events: a call comes with its identity and its reply.
 */
export { AnswerCache, type CacheOptions } from './cache.ts';
export { answerOrThrow, type Call, type Execution, enter, sendUnrecorded } from './execution.ts';
export { remainingTimeOf } from './lease.ts';
export { type Guard, refuseSharedNamespace } from './namespace.ts';
export {
  type BatchOperations,
  batchOf,
  type GuardedOperation,
  type IdempotentContext,
  type Operation,
  operation,
  UnguardedOperation,
  withBatch,
  withOperation,
} from './operation.ts';
export type { Message } from './outbox.ts';
export { replay } from './recall.ts';
export { refusalOf } from './refusals.ts';
export { type Ended, plainReply, type Reply } from './reply.ts';
export type { Begun, Run } from './run.ts';
export type { Outcome, Settings } from './settings.ts';
export type { AtomicWork } from './transact.ts';
