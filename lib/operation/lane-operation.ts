/** What a handler may do with the records of one lane. `eachPartition` brings it. */
import type { Execution, Settings } from '../engine/index.ts';
import { GuardedOperation } from './guarded-operation.ts';
import { type Lane, type LaneCommit, LaneWork } from './lane-work.ts';
import type { Operation } from './operation.ts';
import { transactUnrecorded } from './transact.ts';
import { UnguardedOperation } from './unguarded-operation.ts';

/** The operation of a handler of {@link eachPartition}: that of its records of one lane. */
export interface LaneOperation<Record = unknown> extends Omit<Operation, 'commit'> {
  /**
   * Writes, messages and the lane's position in one transaction: all of it happens, once, or nothing. The records up to `upTo` are
   * not given to any handler again. Where they need more than a transaction takes, call it again and again, each time with the
   * next `upTo`. A handler that calls it must commit to the end: what is beyond its last commit is delivered again.
   *
   * @returns `result`
   * @throws `OVERTAKEN` where another invocation has moved the position: nothing was written; `COMMIT_REJECTED` with the items
   * that failed conditions met: nothing was written; `OUTCOME_UNKNOWN`; `BAD_WRITES`, `BAD_STEP`, `STORE_UNAVAILABLE`
   */
  commit<Result = undefined>(work?: LaneCommit<Record, Result>): Promise<Result>;
}

export class GuardedLaneOperation extends GuardedOperation implements LaneOperation {
  readonly #lane: LaneWork;

  constructor(execution: Execution, lane: Lane) {
    const work = new LaneWork(execution.progress, lane);
    super(execution.progress, execution.identity, work);
    this.#lane = work;
  }

  override commit<Result = undefined>(work: LaneCommit<unknown, Result> = {}): Promise<Result> {
    return this.#lane.commitUpTo(work);
  }

  /**
   * Moves the position over all that the handler was given, which has returned.
   *
   * @throws `OVERTAKEN`, `OUTCOME_UNKNOWN`, `STORE_UNAVAILABLE`
   */
  advanceToLast(): Promise<void> {
    return this.#lane.advanceToLast();
  }
}

/** The operation of a lane whose records a guard lets through unguarded, or that no guard has seen. */
export class UnguardedLaneOperation extends UnguardedOperation implements LaneOperation {
  constructor(settings?: Settings) {
    super(settings && ((name, work) => transactUnrecorded(settings, name, work)));
  }

  override commit<Result = undefined>(work: LaneCommit<unknown, Result> = {}): Promise<Result> {
    return super.commit(work as LaneCommit<unknown, Result> & { readonly result: Result });
  }
}
