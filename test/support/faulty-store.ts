import { IdempotencyError } from '../../lib/index.ts';
import type { StepStore, Store, Transacted } from '../../lib/store.ts';
import { type ManualClock, type MemoryStore, memoryStore } from '../../lib/testing.ts';

const verbs = [
  'claim',
  'takeOver',
  'complete',
  'giveBack',
  'endLease',
  'read',
  'claimCompleted',
  'amend',
] as const;

const stepVerbs = ['put', 'finish', 'read'] as const;

/** `send` is a transaction's own. */
export type FaultyVerb =
  | (typeof verbs)[number]
  | `steps.${(typeof stepVerbs)[number]}`
  | 'transactions.build'
  | 'send';

/** What becomes of a request, and what its sender is told. */
export type FaultKind =
  /** It never arrives. */
  | 'unreachable'
  /** It is applied, and the answer is lost. */
  | 'answer lost'
  /** It arrives when the call is over. */
  | 'late'
  | 'misconfigured'
  /** It is applied, the answer is lost, and every later one of this verb is refused. */
  | 'answer lost, then misconfigured'
  /** Neither it nor anything after it arrives. */
  | 'down';

export const faultKinds: readonly FaultKind[] = [
  'unreachable',
  'answer lost',
  'late',
  'misconfigured',
  'answer lost, then misconfigured',
  'down',
];

export interface Fault {
  readonly verb: FaultyVerb;
  /** Which call of the verb, from 1. */
  readonly nth: number;
  readonly kind: FaultKind | Exclude<Transacted, { outcome: 'applied' }>;
}

export interface FaultyStore extends Store {
  /** Every verb that was called, in order. */
  readonly calls: FaultyVerb[];
  /** Completions and transactions that have been applied. */
  applied: number;
  readonly messages: MemoryStore['messages'];
  /** From now on; the counts start anew. */
  inject(fault: Fault | undefined): void;
  /** Lets arrive what is late. */
  arrive(): Promise<void>;
}

/** A memory store that fails as it is told to. */
export function faultyStore(clock: ManualClock): FaultyStore {
  const memory = memoryStore({ clock });
  const counts = new Map<FaultyVerb, number>();
  const late: (() => Promise<unknown>)[] = [];
  let injected: Fault | undefined;
  let isDown = false;
  let isRefusing = false;

  const faulty = async <Result>(verb: FaultyVerb, work: () => Promise<Result>): Promise<Result> => {
    store.calls.push(verb);
    const count = (counts.get(verb) ?? 0) + 1;
    counts.set(verb, count);
    if (isDown) throw unreachable();
    if (isRefusing && verb === injected?.verb) throw misconfigured();
    if (injected?.verb !== verb || injected.nth !== count) return work();
    const { kind } = injected;
    switch (kind) {
      case 'unreachable':
        throw unreachable();
      case 'down':
        isDown = true;
        throw unreachable();
      case 'misconfigured':
        throw misconfigured();
      case 'late':
        late.push(work);
        throw unreachable();
      case 'answer lost, then misconfigured':
        isRefusing = true;
        await work();
        throw unreachable();
      case 'answer lost':
        await work();
        throw unreachable();
      default:
        return kind as Result;
    }
  };
  /** Counts what was applied. */
  const counted = async <Result extends { readonly outcome: string }>(
    result: Promise<Result>,
  ): Promise<Result> => {
    const settled = await result;
    if (settled.outcome === 'applied') store.applied++;
    return settled;
  };

  const passOn =
    (verb: FaultyVerb, work: (of: never) => Promise<unknown>) =>
    (input: never): Promise<unknown> =>
      faulty(verb, () => work(input));
  const wrapped = Object.fromEntries(
    verbs.map((verb) => [verb, passOn(verb, memory[verb] as (of: never) => Promise<unknown>)]),
  ) as unknown as Store;
  const steps = Object.fromEntries(
    stepVerbs.map((verb) => [verb, passOn(`steps.${verb}`, memory.steps[verb])]),
  ) as unknown as StepStore;
  const store: FaultyStore = {
    ...memory,
    ...wrapped,
    complete: (completion) => faulty('complete', () => counted(memory.complete(completion))),
    claimCompleted: (claim, completion) =>
      faulty('claimCompleted', () => counted(memory.claimCompleted(claim, completion))),
    steps,
    transactions: {
      async build(request) {
        const transaction = await faulty('transactions.build', () => memory.transactions.build(request));
        return { send: () => faulty('send', () => counted(transaction.send())) };
      },
    },
    calls: [],
    applied: 0,
    inject(fault) {
      injected = fault;
      isDown = false;
      isRefusing = false;
      counts.clear();
    },
    async arrive() {
      for (const work of late.splice(0)) await work();
    },
  };
  return store;
}

const unreachable = () => new IdempotencyError('STORE_UNAVAILABLE', 'No answer.', { retryAfterSeconds: 1 });
const misconfigured = () => new IdempotencyError('STORE_MISCONFIGURED', 'It may not.');
