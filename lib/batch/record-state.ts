/** What is known of each record of a batch, from its claim to the report. */
import type { Call, Execution } from '../engine/index.ts';
import type { BatchRecord } from '../events/index.ts';
import type { Operation } from '../operation/index.ts';

export type RecordState =
  /** Claimed, and not settled yet. Without `execution` it runs unguarded. */
  | { readonly kind: 'fresh'; readonly execution: Execution | undefined; readonly operation: Operation }
  /** Of a numbered sender. It is claimed when its turn comes, after its predecessors. */
  | { readonly kind: 'waiting'; readonly call: Call }
  /** Completed, by this delivery or an earlier one. */
  | { readonly kind: 'done' }
  | { readonly kind: 'failed'; readonly error: unknown }
  /** Not started, because an earlier record of its group failed or because time ran out. */
  | { readonly kind: 'skipped' }
  /** `leader`, earlier in this batch, is the same operation. What becomes of the leader becomes of this record. */
  | { readonly kind: 'follows'; readonly leader: BatchRecord };

/** The states of all records of a batch. */
export class RecordStates {
  readonly #records: readonly BatchRecord[];
  readonly #states = new Map<BatchRecord, RecordState>();

  constructor(records: readonly BatchRecord[]) {
    this.#records = records;
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

  /** Moves a fresh record to another state and hands its execution to the caller, who settles it. A record is taken once. */
  take(record: BatchRecord, state: RecordState): Execution | undefined {
    const before = this.#states.get(record);
    if (before?.kind !== 'fresh') return undefined;
    this.#states.set(record, state);
    return before.execution;
  }

  /** The records that have a state, in their order. */
  get known(): BatchRecord[] {
    return this.#records.filter((record) => this.#states.has(record));
  }

  fresh(): BatchRecord[] {
    return this.#records.filter((record) => this.#states.get(record)?.kind === 'fresh');
  }

  comesAgain(record: BatchRecord): boolean {
    const state = this.#states.get(record);
    if (state?.kind === 'follows') return this.comesAgain(state.leader);
    return state?.kind === 'failed' || state?.kind === 'skipped' || state?.kind === 'waiting';
  }
}
