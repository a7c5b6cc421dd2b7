import type { ClaimRecord, Store } from '../../lib/store.ts';
import { type ManualClock, manualClock, memoryStore } from '../../lib/testing.ts';

export type Verb = 'claim' | 'takeOver' | 'complete' | 'giveBack' | 'endLease' | 'read';

/** A store that tells what it was asked for and what it holds. */
export interface RecordingStore extends Store {
  /** The verbs that the store has answered, in order. */
  readonly calls: Verb[];
  readonly clock: ManualClock;
  /** Partition keys of all operations that were ever claimed, in order, each once. */
  readonly operations: readonly string[];
  /** All records that bind anybody: what was given back does not. */
  records(): Promise<ClaimRecord[]>;
  /** The only record. @throws Error if there are none, or several */
  record(): Promise<ClaimRecord>;
  /** The bytes of the only record's answer. */
  answerBytes(): Promise<Buffer>;
}

export interface RecordingOptions extends Partial<Store> {
  /** @default one that stands still */
  readonly clock?: ManualClock;
  /** Is awaited, on the way, before a verb is passed on; what it throws is the store's failure. */
  readonly before?: (verb: Verb) => void | Promise<void>;
}

/** A `memoryStore`, parts of which the options may replace, that logs what it was asked for. */
export function recordingStore({ before, ...options }: RecordingOptions = {}): RecordingStore {
  const { clock = manualClock() } = options;
  const store: Store = { ...memoryStore({ ...options, clock }), ...options };
  const calls: Verb[] = [];
  const operations = new Set<string>();
  const recorded =
    <Args extends unknown[], Result>(verb: Verb, work: (...args: Args) => Promise<Result>) =>
    async (...args: Args): Promise<Result> => {
      // As on a network, nothing happens before the next turn: a call that nobody awaits is not in the log yet.
      await new Promise((resolve) => setImmediate(resolve));
      await before?.(verb);
      const result = await work(...args);
      calls.push(verb);
      return result;
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
    clock,
    calls,
    claim: recorded('claim', (claim) => {
      operations.add(claim.pk);
      return store.claim(claim);
    }),
    takeOver: recorded('takeOver', store.takeOver),
    complete: recorded('complete', store.complete),
    giveBack: recorded('giveBack', store.giveBack),
    endLease: recorded('endLease', store.endLease),
    read: recorded('read', store.read),
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
