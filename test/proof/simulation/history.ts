/** What happened in a run, as the auditors read it. */
import type { IdempotencyEvent } from '../../../lib/index.ts';
import type { Value } from '../dynamodb-model/index.ts';

/** A claim item, as far as auditors look into it. */
export interface ClaimItem {
  readonly status: string;
  readonly owner: string;
  readonly window: string;
  readonly attempt: number;
  readonly leaseUntilMs: number;
  readonly endsAtMs: number;
  readonly createdAtMs: number;
  /** All that the item says of its answer, as one text. */
  readonly answer: string;
}

/** A claim item was changed by one request. */
export interface Transition {
  readonly atMs: number;
  readonly pk: string;
  readonly before: ClaimItem | undefined;
  readonly after: ClaimItem | undefined;
  readonly operation: string;
  /** The call whose request it was. */
  readonly call: Call | undefined;
  /** What the sender's clock said when it sent the request. */
  readonly sentAtClockMs: number;
}

export type CallOutcome =
  | { readonly kind: 'answered'; readonly value: unknown }
  | { readonly kind: 'failed'; readonly error: unknown };

/** One invocation of a guarded handler. */
export interface Call {
  readonly id: string;
  readonly tenant: string;
  readonly key: string;
  /** Of its keys' records. */
  readonly pks: ReadonlySet<string>;
  readonly payload: string;
  readonly sandbox: string;
  readonly startedAtMs: number;
  readonly startedAtClockMs: number;
  /** Made once all faults are over. */
  readonly isProbe: boolean;
  outcome: CallOutcome | undefined;
  endedAtMs: number | undefined;
  readonly observed: IdempotencyEvent[];
  /** Partitions of records that its requests touched. */
  readonly touched: Set<string>;
  requests: number;
}

/** A handler's run, from its first line on. */
export interface Execution {
  readonly id: string;
  readonly call: Call;
  readonly key: string;
  readonly pk: string;
  readonly isGuarded: boolean;
  readonly attempt: number;
  readonly startedAtMs: number;
  readonly startedAtClockMs: number;
  /** By the last claim that this call has won; absent where nothing was claimed before. */
  readonly claim: ClaimItem | undefined;
  readonly claimedAtMs: number | undefined;
  readonly owner: string | undefined;
  readonly window: string | undefined;
  /** When its window ends, as it was told at its start. */
  readonly endsAtMs: number;
  endedAtMs: number | undefined;
  ended: 'returned' | 'threw' | undefined;
  /** Copies of what it committed and returned. */
  readonly answers: unknown[];
}

/** A handler's own function of a step was called. */
export interface StepRun {
  readonly execution: Execution;
  readonly name: string;
  readonly token: string;
  readonly atMs: number;
}

/** A step's record was written. */
export interface StepRecorded {
  readonly pk: string;
  readonly sk: string;
  readonly atMs: number;
  /** Whether its value could not be kept. */
  readonly isUnavailable: boolean;
}

export interface StagedItem {
  readonly sk: string;
  readonly pk: string;
  readonly destination: string;
  /** As it was before it was sealed. */
  readonly body: string;
  /** As the table has it. */
  readonly stored: Value | undefined;
  readonly groupId: string;
  readonly deduplicationId: string;
  readonly atMs: number;
}

export interface Published {
  readonly body: string;
  readonly groupId: string;
  readonly deduplicationId: string;
  readonly atMs: number;
}

/** One try of a relay to publish a message. */
export interface Publication {
  /** One invocation of the relay. */
  readonly relay: string;
  readonly groupId: string;
  readonly deduplicationId: string;
  readonly begunAtMs: number;
  /** When the relay knew that it was published; `undefined` if never. */
  publishedAtMs: number | undefined;
}

/** A message or a stream's record that is waiting to be processed. */
export interface Queued {
  /** Its messages are processed in their order; `undefined` where there is none. */
  readonly group: string | undefined;
  readonly key: string;
  readonly pk: string;
}

/** Names what a workload writes down for auditors of its own. */
export interface Kind<Fact> {
  readonly name: string;
  /** Never there: it keeps the type of the facts. */
  readonly fact?: Fact;
}

/** @example const arrivals = kindOfFact<{ atMs: number }>('arrivals'); history.facts(arrivals).push({ atMs: 1 }); */
export const kindOfFact = <Fact>(name: string): Kind<Fact> => ({ name });

/**
 * Calls of which the network made a second copy of a request, unknown to the sender, and the table took it. Its first copy may have
 * been refused. Without a claim, nothing stops the second one once its conditions hold.
 */
export const copiesApplied = kindOfFact<string>('copies that were applied');

export class History {
  readonly transitions: Transition[] = [];
  readonly calls: Call[] = [];
  readonly executions: Execution[] = [];
  /** Calls of guards with `claim: 'at-commit'`. */
  readonly claimsAtCommit = new Set<string>();
  /** What each execution stages with its commit. */
  readonly expectedMessages = new Map<string, readonly string[]>();
  readonly stepRuns: StepRun[] = [];
  readonly stepsRecorded: StepRecorded[] = [];
  /** Steps that may run once at most, from when that was written. */
  readonly stepsStarted: StepRecorded[] = [];
  readonly staged: StagedItem[] = [];
  readonly published: Published[] = [];
  /** Names of effects outside of commits, by execution. */
  readonly effects: { readonly execution: Execution; readonly name: string; readonly atMs: number }[] = [];
  /** Effects of commits: which execution's transaction was applied. */
  readonly committed: { readonly execution: string; readonly pk: string; readonly atMs: number }[] = [];
  /** The same of transactions within the operation. */
  readonly reserved: {
    readonly execution: string;
    readonly pk: string;
    readonly atMs: number;
    /** How many transitions there had been. */
    readonly transitions: number;
  }[] = [];
  /** Executions whose commit was refused: nothing of it was written, they were told. */
  readonly refused: string[] = [];
  /** The counter that every commit of a key adds to, as it stands at the end. */
  readonly counters = new Map<string, number>();
  readonly publications: Publication[] = [];
  /** What a queue or a stream was sent, in its order. */
  readonly queued: Queued[] = [];
  /** Of that, what the handler has acknowledged, in the order in which it was. */
  readonly acknowledged: { readonly key: string; readonly atMs: number }[] = [];
  /** Of that, what was taken out after too many failures: others do not wait for it any more. */
  readonly takenOut: { readonly key: string; readonly atMs: number }[] = [];
  /** How often each thing happened that a run is meant to reach. */
  readonly reached = new Map<string, number>();
  readonly #facts = new Map<Kind<unknown>, unknown[]>();

  /** What was written down of a kind, to be added to and read. */
  facts<Fact>(kind: Kind<Fact>): Fact[] {
    const known = this.#facts.get(kind);
    if (known) return known as Fact[];
    const made: Fact[] = [];
    this.#facts.set(kind, made);
    return made;
  }

  reach(what: string): void {
    this.reached.set(what, (this.reached.get(what) ?? 0) + 1);
  }

  /** The window that an execution's owner, or else its commit, belongs to. */
  windowOf(execution: Execution): string | undefined {
    if (execution.window !== undefined) return execution.window;
    return this.transitions.find(
      ({ call, after, before }) => call === execution.call && after?.owner !== before?.owner,
    )?.after?.window;
  }
}

/** Says what is wrong with a history, in a sentence for each fault found. */
export interface Auditor {
  readonly promise: string;
  audit(history: History): string[];
}
