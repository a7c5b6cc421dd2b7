/**
 * The protocol: how attempts take turns on a record, and how each attempt ends.
 * This room decides who runs, who waits and who gets a stored answer, for every front door. It knows neither HTTP, nor
 * Middy, nor the shapes of events: a call comes with its identity and its reply.
 */
export type { Attempt } from './attempt.ts';
export { AnswerCache, type CacheOptions } from './cache.ts';
export { type Carried, carriedBy, carrying } from './carried.ts';
export { answerIn, decode, type Encoded, encode } from './codec.ts';
export { commit, type RecordWrite } from './commit.ts';
export { commits } from './committed.ts';
export type { Companion } from './ending.ts';
export {
  answerOrThrow,
  type Call,
  type Entered,
  type Execution,
  enter,
} from './execution.ts';
export { backoff, insist, inTime } from './in-time.ts';
export { remainingTimeOf } from './lease.ts';
export { type Guard, refuseSharedNamespace } from './namespace.ts';
export { claimOccurrence } from './occurrence.ts';
export { parts } from './parts.ts';
export { type Progress, storeFailedMidway } from './progress.ts';
export { replay, tellUnavailable, whyNot } from './recall.ts';
export { leaseIsOver, outcomeUnknown, overtaken, refusalOf } from './refusals.ts';
export { type Ended, plainReply, type Reply } from './reply.ts';
export type { Begun, Run } from './run.ts';
export type { OperationIdentity, Outcome, Settings } from './settings.ts';
