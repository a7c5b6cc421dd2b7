/** What the engine needs to know of a guard's options, resolved. */

import type { Context } from 'aws-lambda';
import type { Occurrence } from '../observe/index.ts';
import type { Clock, Store } from '../store/index.ts';
import type { AnswerCache } from './cache.ts';

/** What a handler returned, as `remember` judges it. */
export interface Outcome {
  readonly value: unknown;
  /** The status of an HTTP answer to an HTTP event. */
  readonly statusCode: number | undefined;
}

export interface Settings {
  /** The store; the default one is opened on first use, so that a module can be imported without a table. */
  readonly store: () => Store;
  readonly namespace: () => { readonly name: string; readonly isDefault: boolean };
  readonly clock: () => Clock;
  readonly ttlMs: number;
  readonly leaseMs: number | undefined;
  /** 0: refuse at once. */
  readonly waitMs: number;
  readonly remember: (outcome: Outcome) => boolean;
  readonly claim: 'eager' | 'at-commit';
  readonly destinations: () => readonly string[];
  readonly whenStoreFails: 'refuse' | 'run';
  readonly keep: { readonly key: boolean; readonly input: boolean };
  readonly cache: AnswerCache | undefined;
  readonly onReplay: ((answer: never, event: never, context: Context) => unknown) | undefined;
  /** Never throws. `undefined` where nobody observes: then no event is made. */
  readonly observe: ((occurrence: Occurrence) => void) | undefined;
}
