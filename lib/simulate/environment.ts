/** Execution environments: processes with clocks of their own, in which one call runs at a time. */
import type { Clock } from '../store/index.ts';
import type { OpenOperation } from './open-operation.ts';
import type { Place } from './time/timers.ts';
import type { Cancel, VirtualTime } from './time/virtual-time.ts';

/** What a call of the function came to, as its caller is told. */
export type Answer =
  | { readonly kind: 'done' }
  | { readonly kind: 'refused' }
  | { readonly kind: 'failed'; readonly retryAfterMs: number };

/** One call of the function. */
export interface Invocation {
  readonly operation: OpenOperation;
  /** The number of the operation's request, from 1. */
  readonly request: number;
  /** What is drawn for it: the same for the same attempt in both lanes, whenever it is sent. */
  readonly fate: number;
  /** What the payload says. */
  readonly amount: number;
  readonly reply: (answer: Answer) => void;
}

export type Guarded = (event: FunctionEvent, context: FunctionContext) => Promise<unknown>;

export interface FunctionEvent {
  readonly key: string;
  readonly body: { readonly order: number; readonly amount: number };
}

export interface FunctionContext {
  getRemainingTimeInMillis(): number;
}

export class Environment implements Place {
  readonly number: number;
  readonly clock: Clock;
  readonly guarded: Guarded;
  /** What runs in it now. */
  invocation: Invocation | undefined;
  isDead = false;
  readonly #time: VirtualTime;
  readonly #drawn: () => number;

  constructor(
    number: number,
    time: VirtualTime,
    skewMs: number,
    drawn: () => number,
    guardIn: (environment: Environment) => Guarded,
  ) {
    this.number = number;
    this.#time = time;
    this.#drawn = drawn;
    this.clock = {
      now: () => time.nowMs + skewMs,
      sleep: (ms) => this.pause(ms),
    };
    this.guarded = guardIn(this);
  }

  /** Lets something happen here, unless it is dead by then. */
  after(delayMs: number, happen: () => void): Cancel {
    return this.#time.after(delayMs, () => {
      if (!this.isDead) happen();
    });
  }

  pause(ms: number): Promise<void> {
    return new Promise((resolve) => void this.after(ms, resolve));
  }

  random(): number {
    return this.#drawn();
  }
}

/** All environments of a function. */
export class Fleet {
  readonly #make: (number: number) => Environment;
  readonly #warm: number;
  readonly #free: Environment[] = [];
  #made = 0;

  /** @param warm how many are kept when they are idle */
  constructor(warm: number, make: (number: number) => Environment) {
    this.#warm = warm;
    this.#make = make;
  }

  /** One that is idle. A new one where there are fewer than are kept warm, or none is idle. */
  take(fraction: number): Environment {
    if (this.#made < this.#warm || this.#free.length === 0) return this.#make(this.#made++);
    const index = Math.floor(fraction * this.#free.length);
    const taken = this.#free[index]!;
    const last = this.#free.pop()!;
    if (last !== taken) this.#free[index] = last;
    return taken;
  }

  /** It is idle again. */
  giveBack(environment: Environment): void {
    if (!environment.isDead && this.#free.length < this.#warm) this.#free.push(environment);
  }
}
