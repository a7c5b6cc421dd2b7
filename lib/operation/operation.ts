import type { AtomicWork } from './transact.ts';

/** The operation that a handler is working on: `operation(context)`. */
export interface Operation {
  /** `false` when nothing guards this call: everything works, without a record. */
  readonly guarded: boolean;
  /** The key as it was read; several parts are joined by `#`. Empty if unguarded. May be personal data. */
  readonly key: string;
  /** Namespace and tenant that the key belongs to. Empty if unguarded. */
  readonly scope: string;
  /** Which attempt this is, from 1. */
  readonly attempt: number;
  /** Until when this operation's key cannot be used for another, as of now; completing extends it. */
  readonly expiresAt: Date;
  /** Aborts when the lease is over: whatever is begun after that may be done twice. */
  readonly signal: AbortSignal;
  /**
   * A UUID-shaped token to send downstream (`ClientToken`, `Idempotency-Key`, `PayPal-Request-Id`): the same in every
   * attempt of this operation, another one for each `name`. Unguarded, it is the same within one call.
   *
   * @throws `OVERTAKEN` once the lease is over, `NOT_GUARDED` once the operation has been settled, `BAD_STEP` for a name that is
   * missing or blank.
   */
  token(name: string): string;
  /**
   * Runs `fn` once in this operation: a later attempt gets the value that was recorded, as a copy. One that is interrupted
   * is repeated with the same `token`, so send that downstream. With `atMostOnce` it is never repeated: an interrupted one fails
   * with `INDETERMINATE`, for somebody to look into; for a downstream that knows no tokens.
   *
   * @param name the same in every attempt, another one for each step; 1 to 255 characters
   * @throws what `fn` throws; `BAD_STEP`, `OVERTAKEN`, `INDETERMINATE`, `RESULT_UNAVAILABLE` (done before, value not kept),
   * `STORE_UNAVAILABLE`
   */
  step<T>(
    name: string,
    fn: (step: { readonly token: string }) => Promise<T> | T,
    options?: StepOptions,
  ): Promise<T>;
  /**
   * An atomic step: its writes, its messages and its record are one DynamoDB transaction, at most 100 items and 4 MB.
   * Resolves to `value`; a later attempt gets the recorded one and writes nothing.
   *
   * @throws `COMMIT_REJECTED` with the items that conditions met, when nothing was written; `OUTCOME_UNKNOWN`; `BAD_WRITES`,
   * `BAD_STEP`, `OVERTAKEN`, `STORE_UNAVAILABLE`
   */
  transaction<T = undefined>(name: string, work: AtomicWork & { readonly value?: T }): Promise<T>;
  /**
   * The atomic end: writes, messages and the operation's completion with `result` happen at once or not at all, under every
   * crash, retry, lost answer and overtaken lease. Return `result`, or over HTTP what becomes of it; nothing can be begun
   * after it.
   *
   * @returns `result`
   * @throws `COMMIT_REJECTED` with the items that conditions met: nothing was written, and the handler may still answer, or
   * commit something else; `OUTCOME_UNKNOWN`; `BAD_WRITES`, `BAD_STEP`, `OVERTAKEN`, `STORE_UNAVAILABLE`
   */
  commit<R>(work: AtomicWork & { readonly result: R }): Promise<R>;
}

export interface StepOptions {
  /**
   * Never repeats the step, for a downstream that knows no tokens: one that was interrupted fails with `INDETERMINATE`, for somebody
   * to look into.
   *
   * @default false
   */
  readonly atMostOnce?: boolean;
}
