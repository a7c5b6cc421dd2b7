import type { ClaimRecord } from '../store/index.ts';

/** Bounds of a cache of completed answers. */
export interface CacheOptions {
  /** How many answers are kept at most; the one used longest ago goes first. */
  readonly maxItems: number;
  /**
   * How many bytes of answers, as stored, are kept at most.
   *
   * @default 10 000 000
   */
  readonly maxBytes?: number;
}

export const defaultCacheBytes = 10_000_000;

/**
 * Completed records with their answers as stored, in this process: a repeat of one costs no request. What is handed out
 * is decoded each time, so no caller can change what the next one gets. Records in progress are never kept.
 */
export class AnswerCache {
  readonly #maxItems: number;
  readonly #maxBytes: number;
  // A map iterates in the order of insertion, so the first one is the one used longest ago.
  readonly #records = new Map<string, ClaimRecord>();
  #bytes = 0;

  constructor({ maxItems, maxBytes = defaultCacheBytes }: CacheOptions) {
    this.#maxItems = maxItems;
    this.#maxBytes = maxBytes;
  }

  /** The completed record under `pk`. Whether it still stands is judged as for any other: its window may have ended. */
  get(pk: string): ClaimRecord | undefined {
    const record = this.#records.get(pk);
    if (record === undefined) return undefined;
    this.#drop(pk);
    this.#add(record);
    return record;
  }

  /** Keeps a completed record, with its answer if that is at hand. */
  put(record: ClaimRecord): void {
    // One in progress has no answer.
    if (record.answer === undefined || sizeOf(record) > this.#maxBytes) return;
    if (this.#records.get(record.pk) === record) return;
    this.#drop(record.pk);
    this.#add(withOwnMemory(record));
    for (const pk of this.#records.keys()) {
      if (this.#records.size <= this.#maxItems && this.#bytes <= this.#maxBytes) return;
      this.#drop(pk);
    }
  }

  #add(record: ClaimRecord): void {
    this.#records.set(record.pk, record);
    this.#bytes += sizeOf(record);
  }

  #drop(pk: string): void {
    const record = this.#records.get(pk);
    if (record === undefined) return;
    this.#records.delete(pk);
    this.#bytes -= sizeOf(record);
  }
}

const sizeOf = ({ answer }: ClaimRecord): number => (answer?.kind === 'inline' ? answer.bytes.length : 0);

/** A short answer may lie in a pool of many, which it would keep from being freed. */
const withOwnMemory = (record: ClaimRecord): ClaimRecord =>
  record.answer?.kind === 'inline'
    ? { ...record, answer: { kind: 'inline', bytes: new Uint8Array(record.answer.bytes) } }
    : record;
