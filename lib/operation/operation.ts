import type { AtomicWork } from './transact.ts';

/** The operation that a handler is working on: `operation(context)`. */
export interface Operation {
  /** `false` when nothing guards this call. Everything then works, but nothing is recorded. */
  readonly guarded: boolean;
  /** The key as it was read; several parts are joined by `#`. Empty if unguarded. May be personal data. */
  readonly key: string;
  /** Namespace and tenant that the key belongs to. Empty if unguarded. */
  readonly scope: string;
  /** Which attempt this is, from 1. */
  readonly attempt: number;
  /** Until when the key belongs to this operation, as of now. Completing extends it. */
  readonly expiresAt: Date;
  /** Aborts when the lease is over. Whatever is begun after that may be done twice. */
  readonly signal: AbortSignal;
  /**
   * A UUID-shaped token to send downstream (`ClientToken`, `Idempotency-Key`, `PayPal-Request-Id`).
   * It is the same in every attempt of this operation, and another one for each `name`.
   * Unguarded, it is the same within one call.
   *
   * @throws `OVERTAKEN` once the lease is over, `NOT_GUARDED` once the operation has been settled, `BAD_STEP` for a name that is
   * missing or blank.
   */
  token(name: string): string;
  /**
   * Runs `fn` once in this operation. A later attempt gets a copy of the recorded value.
   * An interrupted step is repeated with the same `token`, so send the token downstream.
   * Where the downstream knows no tokens, use `atMostOnce`: an interrupted step then fails with `INDETERMINATE` instead.
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
   * An atomic step. Its writes, its messages and its record are one DynamoDB transaction of at most 100 items and 4 MB.
   * Resolves to `value`. A later attempt gets the recorded value and writes nothing.
   *
   * @throws `COMMIT_REJECTED` with the items that failed conditions met: nothing was written; `OUTCOME_UNKNOWN`; `BAD_WRITES`,
   * `BAD_STEP`, `OVERTAKEN`, `STORE_UNAVAILABLE`
   */
  transaction<T = undefined>(name: string, work: AtomicWork & { readonly value?: T }): Promise<T>;
  /**
   * The atomic end. Writes, messages and the completion with `result` happen together or not at all, whatever crash, retry,
   * lost answer or overtaken lease comes between. Nothing can be begun after it.
   * Return `result`, or over HTTP the answer that middlewares make of it.
   *
   * @returns `result`
   * @throws `COMMIT_REJECTED` with the items that failed conditions met: nothing was written, and the handler may answer or
   * commit something else; `OUTCOME_UNKNOWN`; `BAD_WRITES`, `BAD_STEP`, `OVERTAKEN`, `STORE_UNAVAILABLE`
   */
  commit<R>(work: AtomicWork & { readonly result: R }): Promise<R>;
}

export interface StepOptions {
  /**
   * Never repeats the step, for a downstream that knows no tokens.
   * An interrupted step fails with `INDETERMINATE`, and somebody has to look downstream.
   *
   * @default false
   */
  readonly atMostOnce?: boolean;
}
