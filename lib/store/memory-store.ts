import type { Attributes } from '../errors.ts';
import { cleanupAtSeconds } from '../record.ts';
import { uniqueId } from '../unique-id.ts';
import { fromStored, toStored } from './attribute-values.ts';
import { type MemoryClaims, memoryClaims } from './memory-claims.ts';
import { memoryLanes } from './memory-lanes.ts';
import { memorySequences } from './memory-sequence.ts';
import {
  type ClaimRecord,
  type Clock,
  type LanePlace,
  type NewStep,
  type PositionedStore,
  type Rejection,
  type SequencePlace,
  type StagedMessage,
  type StepRecord,
  type StepStore,
  type StepWritten,
  type Store,
  systemClock,
  type Transacted,
  type TransactionRequest,
  type TransactionStore,
  type TransactWrite,
} from './store.ts';
import { refuseTooMany, type StoredWrite, storedWrites } from './writes.ts';

export interface MemoryStoreOptions {
  /** @default the system's */
  readonly clock?: Clock;
  /**
   * Decides of one of a handler's writes whether its condition fails, which stops the whole transaction (`COMMIT_REJECTED`):
   * `true`, or the item that the condition met, as `rejections` is to show it.
   *
   * @default no condition fails
   */
  readonly conditionFails?: (write: TransactWrite) => boolean | Attributes | undefined;
  /**
   * The user's own tables, as `memoryTables` makes them: writes are applied to them, and their expressions are evaluated.
   *
   * @default none: writes are listed only
   */
  readonly tables?: WritableTables;
  /**
   * Whether `writes` and `messages` list what was applied.
   *
   * @internal
   * @default true
   */
  readonly keepsHistory?: boolean;
}

/** Tables that a handler's writes are applied to. */
export interface WritableTables {
  /**
   * Judges writes that happen together or not at all.
   *
   * @throws `BAD_WRITES` for what DynamoDB would not take
   */
  prepare(writes: readonly StoredWrite[]): {
    /** Those whose condition fails. */
    readonly rejections: readonly Rejection[];
    /** Writes them. Only where there are no rejections. */
    apply(): void;
  };
}

/** An operation as the store has it. */
export interface MemoryRecord extends ClaimRecord {
  /** Steps and transactions of its window, in the order in which they were recorded. */
  readonly steps: readonly StepRecord[];
}

export interface MemoryStore extends Store {
  numbered(place: SequencePlace): MemoryStore;
  positioned(place: LanePlace): MemoryStore & PositionedStore;
  readonly steps: StepStore;
  readonly transactions: TransactionStore;
  /** All messages that transactions and commits have staged, in their order. */
  readonly messages: readonly StagedMessage[];
  /** All writes of transactions and commits that were applied, in their order, with values as DynamoDB would give them back. */
  readonly writes: readonly TransactWrite[];
  /** All operations that are there now, in the order in which they were first claimed, and then all lanes of streams. */
  readonly records: readonly MemoryRecord[];
  /**
   * Deletes an operation's record and steps, as a table's TTL does one day. For stores that live through millions of operations.
   *
   * @internal
   */
  forget(pk: string): void;
}

/**
 * A store in this process's memory, for tests: the same conditions on records as on DynamoDB, and records that are cleaned up once
 * their TTL is over. It protects nothing beyond the process.
 *
 * `writes` are checked as for DynamoDB (`BAD_WRITES`) and listed, with `Put`, `Update`, `Delete` and `ConditionCheck` as they were
 * given. With `tables` they are applied to these. Without, their expressions are not evaluated: neither that they are well formed, nor
 * whether a condition holds, nor what an update makes of an item. `conditionFails` plays a condition that fails.
 */
export function memoryStore(options: MemoryStoreOptions = {}): MemoryStore {
  const { clock = systemClock, conditionFails, tables, keepsHistory = true } = options;
  const claims = new Map<string, ClaimRecord>();
  /** By operation, then by window and name. */
  const steps = new Map<string, Map<string, NewStep>>();
  const messages: StagedMessage[] = [];
  const messagePlaces = new Set<string>();
  const writes: TransactWrite[] = [];

  const isOver = (endsAtMs: number): boolean => cleanupAtSeconds(endsAtMs) * 1000 <= clock.now();
  const current = (pk: string): ClaimRecord | undefined => {
    const record = claims.get(pk);
    if (record && isOver(record.endsAtMs)) claims.delete(pk);
    return claims.get(pk);
  };
  const placeOf = ({ window, name }: Pick<NewStep, 'window' | 'name'>): string =>
    JSON.stringify([window, name]);
  const stepAt = ({ pk }: Pick<NewStep, 'pk'>, place: string): NewStep | undefined => {
    const step = steps.get(pk)?.get(place);
    if (step && isOver(step.endsAtMs)) steps.get(pk)?.delete(place);
    return steps.get(pk)?.get(place);
  };
  const setStep = (step: NewStep): void => {
    const others = steps.get(step.pk);
    if (others) others.set(placeOf(step), step);
    else steps.set(step.pk, new Map([[placeOf(step), step]]));
  };
  const stepsOf = ({ pk, window }: Pick<NewStep, 'pk' | 'window'>): StepRecord[] =>
    [...(steps.get(pk)?.values() ?? [])].filter((step) => step.window === window).map(asRecord);
  const putStep = (step: NewStep): StepWritten => {
    const found = stepAt(step, placeOf(step));
    if (found) return { outcome: 'stopped', found: asRecord(found) };
    setStep(step);
    return { outcome: 'applied' };
  };

  const rejectionsOf = (theirs: readonly TransactWrite[]): Rejection[] =>
    theirs.flatMap((write, index) => {
      const met = conditionFails?.(write) ?? false;
      if (met === false) return [];
      return [{ index, code: 'ConditionalCheckFailed', ...(met !== true && { item: met }) }];
    });

  const send = (
    ofClaims: MemoryClaims,
    request: TransactionRequest,
    stored: readonly StoredWrite[],
    theirs: readonly TransactWrite[],
  ): Transacted => {
    const claim = ofClaims.apply(request, false);
    const step = request.step && stepAt(request.step, placeOf(request.step));
    const { pk, window } = request;
    const places = request.messages.map(({ name, position }) => JSON.stringify([pk, window, name, position]));
    const isStaged = places.some((place) => messagePlaces.has(place));
    if (claim.outcome === 'stopped' || step || isStaged) {
      return {
        outcome: 'cancelled',
        ...(claim.outcome === 'stopped' && { claim: { found: claim.found } }),
        ...(step && { step: { found: asRecord(step) } }),
        conflict: false,
        rejections: [],
      };
    }
    const prepared = tables?.prepare(stored);
    const played = rejectionsOf(theirs);
    const rejections = played.length > 0 ? played : (prepared?.rejections ?? []);
    if (rejections.length > 0) return { outcome: 'cancelled', conflict: false, rejections };
    ofClaims.apply(request, true);
    prepared?.apply();
    if (keepsHistory) writes.push(...theirs);
    if (request.step) putStep(request.step);
    if (keepsHistory) messages.push(...request.messages);
    for (const place of places) messagePlaces.add(place);
    return { outcome: 'applied' };
  };

  const id = `memory:${uniqueId()}`;
  const sequences = memorySequences(claims, clock);
  const lanes = memoryLanes(isOver);
  const storeOf = (ofClaims: MemoryClaims): MemoryStore => ({
    ...ofClaims.verbs,
    id,
    numbered: (of) => storeOf(memoryClaims(sequences(of))),
    positioned(of) {
      const lane = lanes.view(of);
      return { ...storeOf(lane), position: lane.position };
    },
    defaultNamespace: 'memory',
    clock,
    maxAnswerBytes: Number.POSITIVE_INFINITY,
    messages,
    writes,

    get records() {
      const held = [...claims.keys()].map(current).filter((record) => record !== undefined);
      return [...held, ...lanes.records()].map((record) => ({ ...record, steps: stepsOf(record) }));
    },

    forget(pk) {
      claims.delete(pk);
      steps.delete(pk);
    },

    steps: {
      async put(step) {
        return putStep(step);
      },

      async finish(step) {
        const found = stepAt(step, placeOf(step));
        if (found?.owner !== step.owner || found.status !== 'STARTED') {
          return { outcome: 'stopped', found: found && asRecord(found) };
        }
        setStep(step);
        return { outcome: 'applied' };
      },

      async read(of) {
        return stepsOf(of);
      },
    },

    transactions: {
      async build(request) {
        refuseTooMany(request);
        const stored = storedWrites(request.writes, toStored);
        const theirs = stored.map(asGiven);
        return { send: async () => send(ofClaims, request, stored, theirs) };
      },
    },
  });

  return storeOf(
    memoryClaims({
      own: current,
      isFree(pk, nowMs) {
        const found = current(pk);
        if (found === undefined) return true;
        return found.endsAtMs <= nowMs && (found.status === 'COMPLETED' || found.leaseUntilMs <= nowMs);
      },
      put(record) {
        claims.set(record.pk, record);
      },
      metByOwner: current,
      metByClaim: current,
    }),
  );
}

const asRecord = ({ name, status, owner, attempt, value }: NewStep): StepRecord => ({
  ...{ name, status, owner, attempt },
  ...(value !== undefined && { value }),
});

/** The write as it was given, with values as DynamoDB would give them back: a copy that the handler cannot change. */
function asGiven(stored: StoredWrite): TransactWrite {
  const [[kind, action] = ['', {}]] = Object.entries(stored);
  const { ReturnValuesOnConditionCheckFailure: _, ...given } = action;
  for (const name of ['Item', 'Key', 'ExpressionAttributeValues']) {
    if (given[name]) given[name] = fromStored(given[name]);
  }
  return { [kind]: given };
}
