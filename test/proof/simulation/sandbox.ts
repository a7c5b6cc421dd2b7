import { AsyncLocalStorage } from 'node:async_hooks';
import type { Clock } from '../../../lib/index.ts';
import type { Cancel, VirtualTime } from '../../../lib/simulate/time/virtual-time.ts';
import type { Call } from './history.ts';

/** A process that runs handlers. What happens in it stops when it is dead, and waits while it is frozen. */
export class Sandbox {
  readonly name: string;
  /** How far its clock is ahead of the true time. */
  readonly skewMs: number;
  readonly clock: Clock;
  isDead = false;
  /** Handlers that are running. */
  running = 0;
  #frozenUntilMs = 0;
  /** What came due while it is held; absent where it is not. */
  #kept: { readonly delayed: () => Cancel; cancel: Cancel }[] | undefined;
  readonly #time: VirtualTime;

  constructor(name: string, time: VirtualTime, skewMs: number) {
    this.name = name;
    this.skewMs = skewMs;
    this.#time = time;
    this.clock = {
      now: () => time.nowMs + skewMs,
      sleep: (ms) => new Promise((resolve) => this.after(ms, resolve)),
    };
  }

  /** Lets something happen in this process. */
  after(delayMs: number, happen: () => void): Cancel {
    let cancel = this.#time.after(delayMs, () => {
      if (this.isDead) return;
      if (this.#kept) {
        cancel = this.#keep(happen);
        return;
      }
      const leftMs = this.#frozenUntilMs - this.#time.nowMs;
      if (leftMs > 0) cancel = this.after(leftMs, happen);
      else happen();
    });
    return () => cancel();
  }

  /** Keeps back all that comes due, until `letGo`. */
  hold(): void {
    this.#kept ??= [];
  }

  letGo(): void {
    const kept = this.#kept ?? [];
    this.#kept = undefined;
    for (const one of kept) one.cancel = one.delayed();
  }

  #keep(happen: () => void): Cancel {
    let isCancelled = false;
    const kept = { delayed: () => (isCancelled ? () => {} : this.after(0, happen)), cancel: () => {} };
    this.#kept?.push(kept);
    return () => {
      isCancelled = true;
      kept.cancel();
    };
  }

  freeze(forMs: number): void {
    this.#frozenUntilMs = Math.max(this.#frozenUntilMs, this.#time.nowMs + forMs);
  }
}

/** Whose code is running. */
export interface Invocation {
  readonly sandbox: Sandbox;
  /** Absent where no guarded handler was called. */
  readonly call: Call | undefined;
}

export const invocation = new AsyncLocalStorage<Invocation>();
