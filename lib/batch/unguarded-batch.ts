import type { Ended, Settings } from '../engine/index.ts';
import { asRecord, type Batch, type BatchRecord, rawsIn } from '../events/index.ts';
import { type Operation, unguardedOperation } from '../operation/index.ts';
import type { ArrivedBatch, TakenBatch } from './arrived-batch.ts';
import type { RecordByRecord } from './guarded-batch.ts';

/** A batch under a guard that is switched off (`IDEMPOTENCY_DISABLED`). Each record has an unguarded operation. */
export class UnguardedBatch implements TakenBatch, RecordByRecord {
  readonly batch: Batch;
  readonly #operations = new Map<unknown, Operation>();
  readonly #settings: Settings;

  constructor({ settings, batch }: ArrivedBatch) {
    this.#settings = settings;
    this.batch = batch;
  }

  async take(event: unknown): Promise<BatchRecord[] | undefined> {
    const records = rawsIn(event)?.map(asRecord);
    return records?.every((record) => record !== undefined) ? records : undefined;
  }

  operationOf(raw: unknown): Operation | undefined {
    const record = asRecord(raw);
    return record && this.operationFor(record);
  }

  operationFor({ id }: BatchRecord): Operation {
    const operation = this.#operations.get(id) ?? unguardedOperation(this.#settings);
    this.#operations.set(id, operation);
    return operation;
  }

  placeOf = (): undefined => undefined;
  turnOf = (): undefined => undefined;
  async recordReturned(): Promise<void> {}
  async recordThrew(): Promise<void> {}
  recordSkipped(): void {}

  returned = async (answer: unknown): Promise<unknown> => answer;
  threw = async (error: unknown): Promise<Ended> => ({ kind: 'error', error });
  async returnedInVain(): Promise<void> {}
  completed = (answer: unknown): unknown => answer;
}
