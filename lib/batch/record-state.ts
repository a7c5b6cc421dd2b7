/** What becomes of a record of a batch. */

import type { Execution, Operation } from '../engine/index.ts';
import type { BatchRecord } from '../events/index.ts';

export type RecordState =
  /** To be given to the handler; `execution` is absent where it runs without a record. */
  | { readonly kind: 'fresh'; readonly execution: Execution | undefined; readonly operation: Operation }
  /** Completed, earlier or by now. */
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly error: unknown }
  /** Not started, because of one before it in its group or for lack of time. */
  | { readonly kind: 'skipped' }
  /** The same operation comes earlier in this batch: this one has its fate. */
  | { readonly kind: 'follows'; readonly leader: BatchRecord };

/** The states of all records of a batch. */
export class RecordStates {
  readonly records: readonly BatchRecord[];
  readonly #states = new Map<BatchRecord, RecordState>();

  constructor(records: readonly BatchRecord[]) {
    this.records = records;
  }

  get(record: BatchRecord): RecordState | undefined {
    return this.#states.get(record);
  }

  set(record: BatchRecord, state: RecordState): void {
    this.#states.set(record, state);
  }

  fail(record: BatchRecord, error: unknown): void {
    this.#states.set(record, { kind: 'failed', error });
  }

  /** The execution of a record that is fresh, and from now on is in another state. */
  take(record: BatchRecord, state: RecordState): Execution | undefined {
    const before = this.#states.get(record);
    if (before?.kind !== 'fresh') return undefined;
    this.#states.set(record, state);
    return before.execution;
  }

  fresh(): BatchRecord[] {
    return this.records.filter((record) => this.#states.get(record)?.kind === 'fresh');
  }

  comesAgain(record: BatchRecord): boolean {
    const state = this.#states.get(record);
    if (state?.kind === 'follows') return this.comesAgain(state.leader);
    return state?.kind === 'failed' || state?.kind === 'skipped';
  }
}
