/** What is counted while a lane runs. Everything that is shown of it is a formula over these numbers. */
import type { IdempotencyEvent } from '../observe/index.ts';
import { Histogram } from './histogram.ts';

/** How often an observer was told each type of event, and how often a completion was a second or later attempt's. */
export type ObservedCounts = Readonly<Record<IdempotencyEvent['type'] | 'retrySuccess', number>>;

/** Counts of one lane. They only grow. */
export interface LaneCounts {
  readonly observed: ObservedCounts;
  /** Operations that callers have begun. */
  readonly operations: number;
  /** Requests that were sent, those that were lost included. */
  readonly requests: number;
  /** Calls of the function: requests that arrived. */
  readonly calls: number;
  /** Calls of an operation after its first one. */
  readonly repeats: number;
  /** Runs of the handler. */
  readonly runs: number;
  readonly effects: number;
  /** Effects of an operation after its first one: charged twice. */
  readonly doubleEffects: number;
  /** Operations with more than one effect. */
  readonly doubledOperations: number;
  /** Operations whose caller was told that it succeeded, though nothing was done for it. */
  readonly lostEffects: number;
  /** Operations whose caller was told that it succeeded. */
  readonly answered: number;
  /** Operations that took more than one request, and whose caller was told in the end that it succeeded. */
  readonly answeredAfterRetry: number;
  /** Operations that took more than one request, double sendings included. */
  readonly retried: number;
  /** Operations refused because their key belongs to another operation. */
  readonly refused: number;
  /** Operations whose caller gave up. */
  readonly abandoned: number;
  /** Of these, operations that had taken effect all the same. */
  readonly abandonedWithEffect: number;
  readonly crashes: number;
  /** Functions that were killed at their timeout. */
  readonly timeouts: number;
  readonly storeRequests: number;
  readonly writeUnits: number;
  readonly readUnits: number;
}

type Writable<T> = { -readonly [Name in keyof T]: T[Name] };

export class Counts {
  readonly observed: Writable<ObservedCounts> = {
    ...{ claim: 0, takeover: 0, replay: 0, busy: 0, mismatch: 0, fenced: 0, gap: 0 },
    ...{ overtaken: 0, complete: 0, retrySuccess: 0 },
    ...{ release: 0, abandon: 0, unrecorded: 0, step: 0, position: 0, unguarded: 0 },
  };
  operations = 0;
  requests = 0;
  calls = 0;
  repeats = 0;
  runs = 0;
  effects = 0;
  doubleEffects = 0;
  doubledOperations = 0;
  lostEffects = 0;
  answered = 0;
  answeredAfterRetry = 0;
  retried = 0;
  refused = 0;
  abandoned = 0;
  abandonedWithEffect = 0;
  crashes = 0;
  timeouts = 0;
  storeRequests = 0;
  writeUnits = 0;
  readUnits = 0;
  /** From an operation's beginning until its caller is told that it succeeded. */
  readonly latency = new Histogram();

  observe(event: IdempotencyEvent): void {
    this.observed[event.type]++;
    if (event.type === 'complete' && event.attempt > 1) this.observed.retrySuccess++;
  }

  /** As they are now. */
  snapshot(): LaneCounts {
    const { latency: _, observed, ...counts } = this;
    return { ...counts, observed: { ...observed } };
  }
}
