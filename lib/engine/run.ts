/** A handler's execution as the front doors see it: how it begins, and how they report its end. */
import type { Context } from 'aws-lambda';
import type { Ended } from './reply.ts';

export type Begun =
  /** `event` and `context` are what the handler is to be given. */
  | { readonly kind: 'run'; readonly event: unknown; readonly context: Context; readonly run: Run }
  | { readonly kind: 'answer'; readonly answer: unknown };

/** A handler's execution, as a front door reports how it ended: one of its first three methods is called, once. */
export interface Run {
  /** The handler returned: resolves to what the caller gets. */
  returned(result: unknown): Promise<unknown>;
  /** It threw. Never rejects; resolves to what the caller gets. */
  threw(error: unknown): Promise<Ended>;
  /** It returned `result`, which was lost on the way out: what was done must not be done again. Never rejects. */
  returnedInVain(result: unknown): Promise<void>;
  /** The handler is about to be called, as far as can be told. */
  called?(): void;
  /** What the caller gets where another middleware has answered for the handler: only a batch has to add to it. */
  completed?(answer: unknown): unknown;
}
