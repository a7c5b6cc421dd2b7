/** What the engine needs to know of a guard's options, resolved. */

import type { Context } from 'aws-lambda';
import type { Occurrence } from '../observe/index.ts';
import type { Clock, SequencePlace, Store } from '../store/index.ts';
import type { AnswerCache } from './cache.ts';

/** What a handler returned, as `remember` judges it. */
export interface Outcome {
  readonly value: unknown;
  /** The status of an HTTP answer to an HTTP event. */
  readonly statusCode: number | undefined;
}

/** Which operation a call belongs to. */
export interface OperationIdentity {
  readonly key: string;
  readonly scope: string;
  readonly pk: string;
  readonly fingerprint: string | undefined;
  /** Its place in the sequence of a numbered sender. */
  readonly place?: Omit<SequencePlace, 'startsAnywhere'>;
}

export interface Settings {
  /** The store; the default one is opened on first use, so that a module can be imported without a table. */
  readonly store: () => Store;
  /** The store as one operation sees it. That of a numbered sender sees its place in the sender's item. */
  readonly storeOf: (operation: Pick<OperationIdentity, 'place'>) => Store;
  readonly namespace: () => { readonly name: string; readonly isDefault: boolean };
  readonly clock: () => Clock;
  readonly ttlMs: number;
  readonly leaseMs: number | undefined;
  /** 0: refuse at once. */
  readonly waitMs: number;
  readonly remember: (outcome: Outcome) => boolean;
  readonly claim: 'eager' | 'at-commit';
  /** `undefined`: those of the environment. */
  readonly destinations: readonly string[] | undefined;
  readonly whenStoreFails: 'refuse' | 'run';
  readonly keep: { readonly key: boolean; readonly input: boolean };
  readonly cache: AnswerCache | undefined;
  readonly onReplay: ((answer: never, event: never, context: Context) => unknown) | undefined;
  /** Never throws. `undefined` where nobody observes: then no event is made. */
  readonly observe: ((occurrence: Occurrence) => void) | undefined;
  /** Tells the observer of an error that the store has refused an operation with. `numbered` brings it. */
  readonly observeRefusal?: ((error: unknown, operation: string, durationMs: number) => void) | undefined;
}
