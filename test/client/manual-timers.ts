import type { RetryClock } from '../../lib/client.ts';

interface Timer {
  readonly atMs: number;
  readonly callback: () => void;
}

/** A clock whose timers fire when the test says so. */
export interface ManualTimers extends RetryClock {
  /** Moves the clock on by `ms` milliseconds, and fires what is due on the way, in order. */
  advance(ms: number): void;
  /** How many timers are set. */
  readonly pending: number;
}

export function manualTimers(startMs = Date.UTC(2026, 0, 1)): ManualTimers {
  let nowMs = startMs;
  const timers = new Set<Timer>();
  return {
    now: () => nowMs,
    after(ms, callback) {
      const timer = { atMs: nowMs + ms, callback };
      timers.add(timer);
      return () => timers.delete(timer);
    },
    advance(ms) {
      const untilMs = nowMs + ms;
      for (;;) {
        const [next] = [...timers].filter(({ atMs }) => atMs <= untilMs).sort((a, b) => a.atMs - b.atMs);
        if (next === undefined) break;
        timers.delete(next);
        nowMs = next.atMs;
        next.callback();
      }
      nowMs = untilMs;
    },
    get pending() {
      return timers.size;
    },
  };
}
