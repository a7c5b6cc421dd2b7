import type { UnavailableReason } from '../record.ts';

/**
 * What a guard did, told to the option `observe`. Fields hold counts, times and hashes, never a key, a payload or an
 * answer. `durationMs` is how long the step took, requests to the store included.
 */
export type IdempotencyEvent = {
  readonly namespace: string;
  /** Epoch milliseconds. */
  readonly atMs: number;
} & (
  | ({ readonly type: 'claim'; readonly durationMs: number } & Attempted)
  | ({
      /** An abandoned or released claim is continued. */
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
  | ({
      /** Another attempt owns the claim by now; this one changed nothing. */
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
      /** What the serialiser or `seal` said. */
      readonly cause?: unknown;
    } & Attempted)
  | ({ readonly type: 'release'; readonly durationMs: number; readonly runMs: number } & Attempted)
  | ({
      /** The handler may still be running, so its claim is left to its lease. */
      readonly type: 'abandon';
      readonly runMs: number;
    } & Attempted)
  | ({
      /** The work is done (or failed), and that could not be recorded: a repeat may run it again. */
      readonly type: 'unrecorded';
      readonly durationMs: number;
      readonly runMs: number;
      readonly cause: unknown;
    } & Attempted)
  | ({
      /** A step has been done by this attempt; `unrecorded`: a later attempt would repeat it, with the same token. */
      readonly type: 'step';
      /** Not enumerable, so that it is in no log: a name may hold an id. */
      readonly name: string;
      readonly outcome: 'recorded' | 'unrecorded';
      readonly cause?: unknown;
    } & Attempted)
  | {
      /** The handler runs without a record. */
      readonly type: 'unguarded';
      readonly reason: UnguardedReason;
      readonly cause?: unknown;
    }
);

export type UnguardedReason = 'method' | 'no-key' | 'store-failed' | 'disabled';

interface Attempted {
  /** The record's partition key: namespace and a hash. */
  readonly operation: string;
  /** Which attempt of the operation this is about, from 1. */
  readonly attempt: number;
}

// An intersection with a union: Omit alone would keep only what all members share.
type WithoutContext<T> = T extends unknown ? Omit<T, 'namespace' | 'atMs'> : never;

/** An {@link IdempotencyEvent} before the guard adds where and when. */
export type Occurrence = WithoutContext<IdempotencyEvent>;
