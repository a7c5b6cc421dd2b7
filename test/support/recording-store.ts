import type { Store } from '../../lib/store.ts';
import { type ManualClock, manualClock, memoryStore } from '../../lib/testing.ts';

export type Verb = 'claim' | 'takeOver' | 'complete' | 'giveBack' | 'endLease' | 'read' | 'readChunks';

export interface RecordingStore extends Store {
  /** The verbs that the store has answered, in order. */
  readonly calls: Verb[];
  readonly clock: ManualClock;
}

export interface RecordingOptions {
  readonly clock?: ManualClock;
  /** Is awaited, on the way, before a verb is passed on; what it throws is the store's failure. */
  readonly before?: (verb: Verb) => void | Promise<void>;
}

/** A `memoryStore` on a clock that stands still, which logs what it was asked for. */
export function recordingStore({ clock = manualClock(), before }: RecordingOptions = {}): RecordingStore {
  const store = memoryStore({ clock });
  const calls: Verb[] = [];
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

  return {
    ...store,
    clock,
    calls,
    claim: recorded('claim', store.claim),
    takeOver: recorded('takeOver', store.takeOver),
    complete: recorded('complete', store.complete),
    giveBack: recorded('giveBack', store.giveBack),
    endLease: recorded('endLease', store.endLease),
    read: recorded('read', store.read),
    readChunks: recorded('readChunks', store.readChunks),
  };
}
