/** Timers and chance of the code that a run calls: both come from the run, while everybody else's stay the system's. */
import { AsyncLocalStorage } from 'node:async_hooks';
import type { Cancel } from './virtual-time.ts';

/** Whose code is running. */
export interface Place {
  after(delayMs: number, happen: () => void): Cancel;
  /** From 0 up to, not including, 1. */
  random(): number;
}

const places = new AsyncLocalStorage<Place>();
let users = 0;
let restore = () => {};

/** Runs `work` while code in a place has that place's timers. Concurrent runs share one replacement. */
export async function withPlaces<T>(work: () => Promise<T>): Promise<T> {
  if (users++ === 0) restore = replaced();
  try {
    return await work();
  } finally {
    if (--users === 0) restore();
  }
}

export const inPlace = <T>(place: Place, work: () => T): T => places.run(place, work);

export const currentPlace = (): Place | undefined => places.getStore();

function replaced(): () => void {
  const { setTimeout: set, clearTimeout: clear } = globalThis;
  const { random } = Math;
  const setHere = (happen: () => void, ms = 0, ...rest: unknown[]) => {
    const place = places.getStore();
    if (place === undefined) return set(happen, ms, ...(rest as []));
    return new Timer(place.after(ms, happen));
  };
  // Keeps the original's properties, where `util.promisify` looks.
  globalThis.setTimeout = Object.assign(setHere, set) as unknown as typeof setTimeout;
  globalThis.clearTimeout = ((timer?: unknown) => {
    if (timer instanceof Timer) timer.cancel();
    else clear(timer as NodeJS.Timeout);
  }) as typeof clearTimeout;
  Math.random = () => places.getStore()?.random() ?? random();
  return () => {
    globalThis.setTimeout = set;
    globalThis.clearTimeout = clear;
    Math.random = random;
  };
}

/** What `setTimeout` returns: a timer of a run. */
export class Timer {
  readonly cancel: Cancel;
  constructor(cancel: Cancel) {
    this.cancel = cancel;
  }
  unref(): this {
    return this;
  }
  ref(): this {
    return this;
  }
}
