/** Waiting that an abort signal ends, and how long to wait. */
import type { RetryClock, Timing } from './options.ts';

export function anyOf(first: AbortSignal | undefined, second: AbortSignal): AbortSignal {
  return first ? AbortSignal.any([first, second]) : second;
}

export function pause(clock: RetryClock, ms: number, signal: AbortSignal): Promise<void> {
  let cancel = (): void => {};
  const over = new Promise<void>((resolve) => {
    cancel = clock.after(ms, resolve);
  });
  return orAborted(over, signal).finally(cancel);
}

export async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

/** A random wait after an attempt: full jitter. */
export const backoffMs = ({ random, baseDelayMs, maxDelayMs }: Timing, attempt: number): number =>
  random() * Math.min(maxDelayMs, baseDelayMs * 2 ** (attempt - 1));
