/** What a call answers with. The engine is given one for each call, so it knows nothing of HTTP. */
import type { IdempotencyError } from '../errors.ts';

/** What the caller of a handler gets. */
export type Ended =
  | { readonly kind: 'answer'; readonly answer: unknown }
  | { readonly kind: 'error'; readonly error: unknown };

export interface Reply {
  /** What of an answer is stored. */
  toStore(answer: unknown): unknown;
  /** The HTTP status of an answer. */
  statusOf(answer: unknown): number | undefined;
  /** What a repeat gets of a stored answer. */
  replayed(answer: unknown): unknown;
  /** What a refused caller gets. */
  refused(error: IdempotencyError): Ended;
  /** Whether other middlewares may add to an answer that was committed. */
  readonly isAmended: boolean;
}

/** A call that is no HTTP exchange: its answer is the handler's value, and a refusal is thrown. */
export const plainReply: Reply = {
  toStore: (answer) => answer,
  statusOf: () => undefined,
  replayed: (answer) => answer,
  refused: (error) => ({ kind: 'error', error }),
  isAmended: false,
};
