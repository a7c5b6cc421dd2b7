/** Ends the timers of invocations that are over. What has crashed then does not go on, and no test waits for it. */
import { AsyncLocalStorage } from 'node:async_hooks';

type Timers = Set<ReturnType<typeof setTimeout>>;

const current = new AsyncLocalStorage<Timers>();
let users = 0;
let theirs: typeof setTimeout | undefined;

/** Runs `work` while timers are watched. Nested and concurrent runs share one watch. */
export async function watchingTimers<T>(work: () => Promise<T>): Promise<T> {
  if (users++ === 0) {
    const original = globalThis.setTimeout;
    theirs = original;
    const watched = (...given: Parameters<typeof setTimeout>) => {
      const timer = original(...given);
      current.getStore()?.add(timer);
      return timer;
    };
    // Keeps the original's properties, where `util.promisify` looks.
    globalThis.setTimeout = Object.assign(watched, original) as typeof setTimeout;
  }
  try {
    return await work();
  } finally {
    users--;
    if (users === 0 && theirs) globalThis.setTimeout = theirs;
  }
}

/** Runs `work`, and adds its timers to `timers`. */
export const withTimers = <T>(timers: Timers, work: () => T): T => current.run(timers, work);

/** Runs `work` without noting its timers. For the explorer's own. */
export const withoutTimers = <T>(work: () => T): T => current.exit(work);
