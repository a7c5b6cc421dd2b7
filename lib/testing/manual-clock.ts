import type { Clock } from '../store/index.ts';

/** A clock that moves only when it is told to. */
export interface ManualClock extends Clock {
  /** Moves the clock on by `ms` milliseconds. */
  advance(ms: number): void;
}

/**
 * A clock for `memoryStore({ clock })` and `dynamoStore({ clock })`: expiry and leases without waiting. `sleep` moves it
 * on by itself, so that a guard that waits does not hang.
 *
 * @param startMs Epoch milliseconds. Default: now, for a table's own TTL deletes what lies in the past.
 */
export function manualClock(startMs = Date.now()): ManualClock {
  let nowMs = startMs;
  return {
    now: () => nowMs,
    advance(ms) {
      nowMs += ms;
    },
    async sleep(ms) {
      nowMs += ms;
      // Others get a turn, as they would in real time.
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}
