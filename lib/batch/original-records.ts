/** The records of a batch as they arrived. Middlewares may have removed or copied some of them since. */
import { asRecord, type BatchRecord, rawsIn } from '../events/index.ts';

export class OriginalRecords {
  readonly #byRaw = new Map<unknown, BatchRecord>();
  readonly #byId = new Map<unknown, BatchRecord>();

  constructor(records: readonly BatchRecord[]) {
    for (const record of records) {
      this.#byRaw.set(record.raw, record);
      // The first record of an id leads. What becomes of it becomes of the others.
      if (!this.#byId.has(record.id)) this.#byId.set(record.id, record);
    }
  }

  /**
   * The records of `event`; `undefined` where it has no place for any, or one that has not arrived. A copy is processed as it is
   * now, under the id that arrived.
   */
  recordsIn(event: unknown): BatchRecord[] | undefined {
    const records = rawsIn(event)?.map((raw) => this.#copyOf(raw));
    // An unknown one may be what is left of any record. Were it passed over, that record would be done unprocessed.
    return records?.every((record) => record !== undefined) ? records : undefined;
  }

  /** The record as it was read when the event arrived. */
  of(record: BatchRecord): BatchRecord {
    return this.#byRaw.get(record.raw) ?? record;
  }

  /** @param raw as the event has it, or a copy */
  find(raw: unknown): BatchRecord | undefined {
    return this.#byRaw.get(raw) ?? this.#byId.get(asRecord(raw)?.id);
  }

  /** The first record of an id. */
  first(id: unknown): BatchRecord | undefined {
    return this.#byId.get(id);
  }

  #copyOf(raw: unknown): BatchRecord | undefined {
    const known = this.#byRaw.get(raw);
    if (known) return known;
    const copy = asRecord(raw);
    const original = copy && this.#byId.get(copy.id);
    if (copy === undefined || original === undefined) return undefined;
    this.#byRaw.set(raw, original);
    return { ...copy, id: original.id, group: original.group };
  }
}
