import type { UnavailableReason } from '../record.ts';

/**
 * One thing that a guard did, as the option `observe` is told. Fields hold counts, times and hashes, never a key, a payload
 * or an answer. `durationMs` is how long the guard took for it, requests to the store included.
 *
 * What happened is its `type`, the usual word of events; everywhere else results have an `outcome`.
 */
export type IdempotencyEvent = {
  readonly namespace: string;
  /** Epoch milliseconds. */
  readonly atMs: number;
} & (
  | ({ readonly type: 'claim'; readonly durationMs: number } & Attempted)
  | ({
      /** A new attempt continues an abandoned or released claim. */
      readonly type: 'takeover';
      readonly durationMs: number;
      /** How long ago the window began. */
      readonly ageMs: number;
    } & Attempted)
  | ({
      readonly type: 'replay';
      readonly durationMs: number;
      /** How long ago the answer was stored. */
      readonly ageMs: number;
    } & Attempted)
  | ({
      readonly type: 'busy';
      readonly durationMs: number;
      /** How long ago the running operation's window began. */
      readonly ageMs: number;
      readonly leaseLeftMs: number;
    } & Attempted)
  | ({ readonly type: 'mismatch'; readonly durationMs: number; readonly ageMs: number } & Attempted)
  | {
      /** A newer epoch of the same numbered sender has taken over. Nothing ran. */
      readonly type: 'fenced';
      readonly durationMs: number;
      readonly operation: string;
    }
  | {
      /** A numbered operation came before its predecessor. Nothing ran. */
      readonly type: 'gap';
      readonly durationMs: number;
      readonly operation: string;
      /** The number that the sender's next operation must have. */
      readonly expectedNumber: number;
    }
  | ({
      /** Another attempt has taken over the claim. This one changed nothing in the record. */
      readonly type: 'overtaken';
      readonly durationMs: number;
      readonly runMs: number;
    } & Attempted)
  | ({
      readonly type: 'complete';
      /** How long settling took. */
      readonly durationMs: number;
      /** How long the handler ran. */
      readonly runMs: number;
      /** Size of the answer as stored; 0 if there is none. */
      readonly answerBytes: number;
      /** Why a repeat will get `RESULT_UNAVAILABLE`. */
      readonly unavailable?: UnavailableReason;
      /** The error of the serialiser or of `seal`. */
      readonly cause?: unknown;
    } & Attempted)
  | ({ readonly type: 'release'; readonly durationMs: number; readonly runMs: number } & Attempted)
  | ({
      /** The handler may still be running, so its claim stays until the lease ends. */
      readonly type: 'abandon';
      readonly runMs: number;
    } & Attempted)
  | ({
      /** The handler has ended, but that could not be recorded. A repeat may run it again. */
      readonly type: 'unrecorded';
      readonly durationMs: number;
      readonly runMs: number;
      readonly cause: unknown;
    } & Attempted)
  | ({
      /** This attempt has done a step. */
      readonly type: 'step';
      /** Not enumerable, so that no log prints it: a name may hold an id. */
      readonly name: string;
      /** `unrecorded`: a later attempt repeats the step, with the same token. */
      readonly outcome: 'recorded' | 'unrecorded';
      readonly cause?: unknown;
    } & Attempted)
  | {
      /** A lane of a stream is over, for this batch. */
      readonly type: 'position';
      /** Partition key of the lane's item: namespace and a hash. */
      readonly operation: string;
      /** How many records the position has moved over. */
      readonly moved: number;
      /** How many were at or behind it before, and no handler was given. */
      readonly dropped: number;
    }
  | {
      /** The handler runs without a record. */
      readonly type: 'unguarded';
      readonly reason: UnguardedReason;
      readonly cause?: unknown;
    }
);

/**
 * Why a handler runs without a record. `method`: the HTTP method is not guarded. `no-key`: `required` is `false` and the
 * event has no key. `store-failed`: `whenStoreFails` is `'run'`. `disabled`: `IDEMPOTENCY_DISABLED` is set.
 */
export type UnguardedReason = 'method' | 'no-key' | 'store-failed' | 'disabled';

interface Attempted {
  /** The record's partition key: namespace and a hash; of a numbered sender its epoch and number too. */
  readonly operation: string;
  /** The number of the attempt, from 1. */
  readonly attempt: number;
}

// Distributes over the union. `Omit` alone would keep only the fields that all members share.
type WithoutContext<T> = T extends unknown ? Omit<T, 'namespace' | 'atMs'> : never;

/** An {@link IdempotencyEvent} before the guard adds `namespace` and `atMs`. */
export type Occurrence = WithoutContext<IdempotencyEvent>;
