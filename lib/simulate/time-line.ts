/** What happened to one operation, in order: enough to show why it was doubled. */

/** Who does something: the caller, the network, the function, its guard, or the service that has the effect. */
export type Actor = 'caller' | 'network' | 'function' | 'guard' | 'effect';

/** What happened. `request` is the number of the operation's request, from 1. */
export interface TimeLineEvent {
  /** Milliseconds since the run began. */
  readonly atMs: number;
  readonly request: number;
  readonly kind: TimeLineKind;
  /** Which execution environment; absent outside of one. */
  readonly environment?: number;
}

export const timeLineKinds = {
  sent: { actor: 'caller', words: 'sends the request' },
  'request-lost': { actor: 'network', words: 'loses the request' },
  'request-late': { actor: 'network', words: 'holds the request back' },
  arrived: { actor: 'function', words: 'is called' },
  claim: { actor: 'guard', words: 'claims the operation' },
  takeover: { actor: 'guard', words: 'takes over what an earlier attempt left' },
  replay: { actor: 'guard', words: 'answers from the record; the handler does not run' },
  busy: { actor: 'guard', words: 'refuses a repeat of a running call' },
  mismatch: { actor: 'guard', words: 'refuses the key: it belongs to another operation' },
  fenced: { actor: 'guard', words: 'refuses the number: a newer epoch of its sender has taken over' },
  gap: { actor: 'guard', words: 'refuses the number: its predecessor is missing' },
  overtaken: { actor: 'guard', words: 'finds that another attempt has taken over' },
  complete: { actor: 'guard', words: 'records the answer' },
  release: { actor: 'guard', words: 'gives the claim up, so that a retry may run' },
  abandon: { actor: 'guard', words: 'leaves the claim to its lease' },
  unrecorded: { actor: 'guard', words: 'could not record the outcome' },
  step: { actor: 'guard', words: 'records the step' },
  position: { actor: 'guard', words: 'has moved the position of the lane' },
  unguarded: { actor: 'guard', words: 'lets the call through' },
  began: { actor: 'function', words: 'starts the handler' },
  effect: { actor: 'effect', words: 'is charged' },
  'effect-again': { actor: 'effect', words: 'is charged AGAIN' },
  'effect-known': { actor: 'effect', words: 'knows the token, and charges nothing more' },
  crashed: { actor: 'function', words: 'crashes' },
  killed: { actor: 'function', words: 'is killed at its timeout' },
  threw: { actor: 'function', words: 'throws' },
  answered: { actor: 'function', words: 'answers' },
  'answer-lost': { actor: 'network', words: 'loses the answer' },
  'answer-late': { actor: 'network', words: 'holds the answer back' },
  'got-answer': { actor: 'caller', words: 'is told that it succeeded' },
  'got-error': { actor: 'caller', words: 'gets an error' },
  'timed-out': { actor: 'caller', words: 'has waited long enough' },
  'gave-up': { actor: 'caller', words: 'gives up' },
} as const satisfies Record<string, { readonly actor: Actor; readonly words: string }>;

export type TimeLineKind = keyof typeof timeLineKinds;

/** One operation in both lanes. */
export interface TimeLine {
  /** The number of the operation, from 0, in the order of arrival. */
  readonly operation: number;
  /** Why it was kept. */
  readonly because: 'doubled' | 'lost' | 'retried';
  readonly lanes: readonly {
    readonly lane: LaneName;
    readonly effects: number;
    readonly events: readonly TimeLineEvent[];
  }[];
}

/** `without`: the handler alone. `with`: the same traffic behind idemkit. */
export type LaneName = 'without' | 'with';
