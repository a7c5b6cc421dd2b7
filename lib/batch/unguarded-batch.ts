import type { Settings } from '../engine/index.ts';
import { asBatch, asRecord, type Batch, type BatchRecord, rawsIn } from '../events/index.ts';
import { type Operation, unguardedOperation } from '../operation/index.ts';
import type { RecordByRecord } from './guarded-batch.ts';
import { lanesOf } from './lanes.ts';

/** A batch under a guard that is switched off (`IDEMPOTENCY_DISABLED`). Each record has an unguarded operation. */
export class UnguardedBatch implements RecordByRecord {
  readonly batch: Batch;
  readonly #operations = new Map<unknown, Operation>();
  readonly #settings: Settings;

  constructor(settings: Settings, batch: Batch) {
    this.#settings = settings;
    this.batch = batch;
  }

  lanesIn(event: unknown): BatchRecord[][] | undefined {
    if (rawsIn(event)?.length === 0) return [];
    const batch = asBatch(event);
    return batch && lanesOf(batch.records);
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

  async recordReturned(): Promise<void> {}
  async recordThrew(): Promise<void> {}
  recordSkipped(): void {}
}
