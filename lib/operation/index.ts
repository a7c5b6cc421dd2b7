/**
 * What a handler may do under its claim: tokens, steps, transactions, the commit and its messages.
 * This room decides what a later attempt does not repeat. It never decides who runs: the engine does.
 * A guard works without it: the import of `operation` brings it along.
 */
export type { GuardedOperation } from './guarded-operation.ts';
export {
  GuardedLaneOperation,
  type LaneOperation,
  UnguardedLaneOperation,
} from './lane-operation.ts';
export { type Lane, type LaneCommit, laneStore } from './lane-work.ts';
export {
  type BatchOperations,
  guardedOperation,
  operation,
  unguardedOperation,
} from './of-context.ts';
export type { Operation, StepOptions } from './operation.ts';
export type { Message } from './outbox.ts';
export type { AtomicWork } from './transact.ts';
export { UnguardedOperation } from './unguarded-operation.ts';
