import type { ClaimRecord, Store } from '../../lib/store.ts';
import { memoryStore } from '../../lib/testing.ts';

/** A store that tells what is asked of it and what it holds. */
export interface WatchedStore extends Store {
  /** The names of all calls so far, in order. */
  readonly calls: readonly string[];
  /** Partition keys of all operations that were ever claimed, in order, each once. */
  readonly operations: readonly string[];
  /** All records that bind anybody: what was given back does not. */
  records(): Promise<ClaimRecord[]>;
  /** The only record. Fails if there are none, or several. */
  record(): Promise<ClaimRecord>;
  /** The bytes of the only record's answer. */
  answerBytes(): Promise<Buffer>;
}

/** Watches a memory store; `overrides` replace parts of it. */
export function watchedStore(overrides: Partial<Store> = {}): WatchedStore {
  const store: Store = { ...memoryStore(overrides), ...overrides };
  const calls: string[] = [];
  const operations = new Set<string>();
  const told =
    <Args extends unknown[], Result>(name: string, verb: (...args: Args) => Result) =>
    (...args: Args): Result => {
      calls.push(name);
      return verb(...args);
    };

  const records = async () => {
    const found = await Promise.all([...operations].map((pk) => store.read(pk)));
    return found.filter(
      (record): record is ClaimRecord => record !== undefined && record.status !== 'RELEASED',
    );
  };
  const record = async () => {
    const [only, ...others] = await records();
    if (only === undefined || others.length > 0)
      throw new Error(`There are ${(await records()).length} records.`);
    return only;
  };

  return {
    ...store,
    claim: told('claim', (claim) => {
      operations.add(claim.pk);
      return store.claim(claim);
    }),
    takeOver: told('takeOver', store.takeOver),
    complete: told('complete', store.complete),
    giveBack: told('giveBack', store.giveBack),
    endLease: told('endLease', store.endLease),
    read: told('read', store.read),
    readChunks: told('readChunks', store.readChunks),
    calls,
    get operations() {
      return [...operations];
    },
    records,
    record,
    async answerBytes() {
      const { answer } = await record();
      if (answer?.kind !== 'inline') throw new Error(`The answer is ${answer?.kind ?? 'not there'}.`);
      return Buffer.from(answer.bytes);
    },
  };
}
