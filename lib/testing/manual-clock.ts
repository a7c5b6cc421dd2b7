import type { Clock } from '../store/index.ts';

/** A clock that moves only when a test says so, or when somebody sleeps on it. */
export interface ManualClock extends Clock {
  /** Moves the clock on by `ms` milliseconds. */
  advance(ms: number): void;
}

/**
 * A clock for `memoryStore({ clock })` and `dynamoStore({ clock })`, so that tests of expiry and leases need not wait.
 * `sleep(ms)` moves the clock on and returns, so that a guard that waits does not hang.
 *
 * @param startMs epoch milliseconds; by default now, because a table's TTL deletes what lies in the past
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
      // Other work gets its turn, as it would in real time.
      await new Promise((resolve) => setImmediate(resolve));
    },
  };
}
