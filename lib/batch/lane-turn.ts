/** A lane's turn: what a handler is given its records under, from the claim of the lane to its position. */
import type { Context } from 'aws-lambda';
import {
  type Call,
  claimOccurrence,
  type Execution,
  enter,
  inTime,
  plainReply,
  refusalOf,
  type Settings,
} from '../engine/index.ts';
import { afterActing, IdempotencyError } from '../errors.ts';
import type { LaneIdentity } from '../events/index.ts';
import {
  GuardedLaneOperation,
  type Lane,
  type LaneOperation,
  laneStore,
  UnguardedLaneOperation,
} from '../operation/index.ts';

/** Exactly one of `returned`, `threw` and `notStarted` ends it. */
export interface LaneTurn {
  /** The position up to which the lane is done, as far as is known. */
  readonly reached: string | undefined;
  /** @param positions of the records that the handler is given, in their order */
  operationFor(positions: ReadonlyMap<unknown, string>): LaneOperation;
  /** @throws `OVERTAKEN`, `NOT_COMMITTED`, `OUTCOME_UNKNOWN` */
  returned(): Promise<void>;
  /** Never rejects. Resolves to the error as it may leave the call. */
  threw(error: unknown): Promise<unknown>;
  /** The handler was not called, and will not be. Never rejects. */
  notStarted(): Promise<void>;
}

/**
 * Begins the turn of a lane's records up to the position `end`: claims the lane, or with `claim: 'at-commit'` reads its position.
 * Resolves to `undefined` where all of them are done.
 *
 * @throws `IN_PROGRESS`, what a claim throws
 */
export async function beginTurn(
  settings: Settings,
  identity: LaneIdentity,
  end: string,
  context: Context | undefined,
): Promise<LaneTurn | undefined> {
  const view = laneStore(settings.store(), { lane: identity.pk, upTo: end });
  const startedAtMs = settings.clock().now();
  const call: Call = {
    settings: { ...settings, store: () => view, storeOf: () => view },
    ...{ event: undefined, context, reply: plainReply, startedAtMs },
    identity: { ...identity, fingerprint: undefined },
  };
  const entered = await enter(call);
  switch (entered.outcome) {
    case 'run': {
      const { execution } = entered;
      const read = execution.progress.claimsAtCommit ? await readPosition(call, execution) : 'ahead';
      if (read === 'done') return undefined;
      if (read !== 'ahead') return unreachable(settings, read.error);
      return new GuardedTurn(execution, view.position(), end, startedAtMs);
    }
    case 'replay':
      return undefined;
    case 'mismatch':
    case 'busy':
      throw refusalOf(entered, settings.clock().now());
    case 'unreachable':
      return unreachable(settings, entered.error);
  }
}

/** @throws `error`, unless the guard is to run all the same */
function unreachable(settings: Settings, error: IdempotencyError): LaneTurn {
  if (settings.whenStoreFails === 'refuse') throw error;
  settings.observe?.({ type: 'unguarded', reason: 'store-failed', cause: error });
  return new UnguardedTurn(settings);
}

/**
 * Reads the position of a lane that is not claimed: whether all is done, or some of it is ahead.
 *
 * @throws `IN_PROGRESS` where another invocation has claimed the lane
 */
async function readPosition(
  { settings, startedAtMs }: Call,
  { progress }: Execution,
): Promise<'done' | 'ahead' | { readonly error: IdempotencyError }> {
  const { pk, settleTimeMs } = progress.attempt;
  const store = settings.store();
  let record: Awaited<ReturnType<typeof store.read>>;
  try {
    record = await inTime(store.read(pk), settleTimeMs);
  } catch (error) {
    if (IdempotencyError.is(error, 'STORE_UNAVAILABLE')) return { error };
    throw error;
  }
  const nowMs = settings.clock().now();
  const isBusy = record?.status === 'IN_PROGRESS' && record.leaseUntilMs > nowMs;
  if (record === undefined || (record.status !== 'COMPLETED' && !isBusy)) return 'ahead';
  const claimed = { outcome: isBusy ? 'busy' : 'replay', record } as const;
  const occurrence = settings.observe && claimOccurrence(pk, claimed, nowMs, startedAtMs);
  if (occurrence) settings.observe?.(occurrence);
  if (isBusy) throw refusalOf({ outcome: 'busy', record }, nowMs);
  return 'done';
}

class GuardedTurn implements LaneTurn {
  readonly #execution: Execution;
  readonly #end: string;
  readonly #startedAtMs: number;
  readonly #from: string | undefined;
  #lane: Lane | undefined;
  #operation: GuardedLaneOperation | undefined;
  #isSettled = false;

  constructor(execution: Execution, from: string | undefined, end: string, startedAtMs: number) {
    this.#execution = execution;
    this.#from = from;
    this.#end = end;
    this.#startedAtMs = startedAtMs;
  }

  get reached(): string | undefined {
    return this.#lane ? this.#lane.reached : this.#from;
  }

  operationFor(positions: ReadonlyMap<unknown, string>): LaneOperation {
    const lane: Lane = {
      reached: this.#from,
      hasMoved: false,
      hasAsked: false,
      last: [...positions.values()].at(-1) ?? this.#end,
      end: this.#end,
      startedAtMs: this.#startedAtMs,
      positionOf: (record) => positions.get(record),
    };
    this.#lane = lane;
    this.#operation = new GuardedLaneOperation(this.#execution, lane);
    this.#execution.companion = this.#operation;
    return this.#operation;
  }

  async returned(): Promise<void> {
    const lane = this.#lane;
    if (this.#isSettled || lane === undefined) return;
    const isClaimed = !this.#execution.progress.claimsAtCommit;
    if (lane.reached !== lane.last && (lane.hasAsked || !isClaimed)) throw notCommitted();
    // Not all records of the claim were given: what is beyond them is not done.
    const isPart = isClaimed && lane.last !== lane.end;
    if (isPart && !lane.hasAsked) await this.#operation?.advanceToLast();
    this.#isSettled = true;
    if (isPart) return this.#execution.notStarted();
    await this.#execution.recordReturned(undefined);
    lane.reached = lane.last;
  }

  async threw(error: unknown): Promise<unknown> {
    if (this.#isSettled) return error;
    this.#isSettled = true;
    const ended = await this.#execution.threw(error);
    const left = ended.kind === 'error' ? ended.error : error;
    return this.#lane?.hasMoved ? afterActing(left) : left;
  }

  async notStarted(): Promise<void> {
    if (this.#isSettled) return;
    this.#isSettled = true;
    await this.#execution.notStarted();
  }
}

/** The turn of a lane without a guard, or whose guard lets it through. */
export class UnguardedTurn implements LaneTurn {
  readonly reached = undefined;
  readonly #settings: Settings | undefined;

  constructor(settings?: Settings) {
    this.#settings = settings;
  }

  operationFor(): LaneOperation {
    return new UnguardedLaneOperation(this.#settings);
  }

  async returned(): Promise<void> {}
  threw = async (error: unknown): Promise<unknown> => (this.#settings ? afterActing(error) : error);
  async notStarted(): Promise<void> {}
}

const notCommitted = (): IdempotencyError =>
  new IdempotencyError(
    'NOT_COMMITTED',
    "The handler returned before it had committed all records of its lane. Those beyond its last commit are delivered again. Commit up to the last record; where the handler's work needs no commit, leave out `claim: 'at-commit'` and call no commit().",
    { effect: 'possible' },
  );
