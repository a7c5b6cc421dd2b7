import type { Attributes } from '../errors.ts';
import { cleanupAtSeconds } from '../record.ts';
import { uniqueId } from '../unique-id.ts';
import { fromStored, toStored } from './attribute-values.ts';
import {
  type ClaimRecord,
  type Clock,
  type Completion,
  type NewClaim,
  type NewStep,
  type Rejection,
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
  type Written,
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
  readonly steps: StepStore;
  readonly transactions: TransactionStore;
  /** All messages that transactions and commits have staged, in their order. */
  readonly messages: readonly StagedMessage[];
  /** All writes of transactions and commits that were applied, in their order, with values as DynamoDB would give them back. */
  readonly writes: readonly TransactWrite[];
  /** All operations that are there now, in the order in which they were first claimed. */
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
export function memoryStore({
  clock = systemClock,
  conditionFails,
  tables,
  keepsHistory = true,
}: MemoryStoreOptions = {}): MemoryStore {
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
  const put = (record: ClaimRecord): Written => {
    claims.set(record.pk, record);
    return { outcome: 'applied' };
  };
  const ifOwned = (pk: string, owner: string, then: (record: ClaimRecord) => Written): Written => {
    const record = current(pk);
    return record?.owner === owner && record.status === 'IN_PROGRESS'
      ? then(record)
      : { outcome: 'stopped', found: record };
  };
  const ifFree = ({ pk, nowMs }: Pick<NewClaim, 'pk' | 'nowMs'>, then: () => Written): Written => {
    const found = current(pk);
    const isFree =
      found === undefined ||
      (found.endsAtMs <= nowMs && (found.status === 'COMPLETED' || found.leaseUntilMs <= nowMs));
    return isFree ? then() : { outcome: 'stopped', found };
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

  /** What the claim's part of a transaction comes to; applied only with `isReal`. */
  const applyClaim = (request: TransactionRequest, isReal: boolean): Written => {
    const { claim, pk } = request;
    const applied: Written = { outcome: 'applied' };
    switch (claim.kind) {
      case 'none':
        return applied;
      case 'check':
        return ifOwned(pk, claim.owner, () => applied);
      case 'complete':
        return ifOwned(pk, claim.completion.owner, (record) =>
          isReal ? put(completed(record, claim.completion)) : applied,
        );
      case 'record':
        return ifFree(claim.claim, () =>
          isReal ? put(completed(newRecord(claim.claim), claim.completion)) : applied,
        );
    }
  };

  const rejectionsOf = (theirs: readonly TransactWrite[]): Rejection[] =>
    theirs.flatMap((write, index) => {
      const met = conditionFails?.(write) ?? false;
      if (met === false) return [];
      return [{ index, code: 'ConditionalCheckFailed', ...(met !== true && { item: met }) }];
    });

  const send = (
    request: TransactionRequest,
    stored: readonly StoredWrite[],
    theirs: readonly TransactWrite[],
  ): Transacted => {
    const claim = applyClaim(request, false);
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
    applyClaim(request, true);
    prepared?.apply();
    if (keepsHistory) writes.push(...theirs);
    if (request.step) putStep(request.step);
    if (keepsHistory) messages.push(...request.messages);
    for (const place of places) messagePlaces.add(place);
    return { outcome: 'applied' };
  };

  return {
    id: `memory:${uniqueId()}`,
    defaultNamespace: 'memory',
    clock,
    maxAnswerBytes: Number.POSITIVE_INFINITY,
    messages,
    writes,

    get records() {
      const held = [...claims.keys()].map(current).filter((record) => record !== undefined);
      return held.map((record) => ({ ...record, steps: stepsOf(record) }));
    },

    forget(pk) {
      claims.delete(pk);
      steps.delete(pk);
    },

    async claim(claim) {
      return ifFree(claim, () => put(newRecord(claim)));
    },

    async takeOver({ pk, owner, previousOwner, attempt, leaseUntilMs }) {
      return ifOwned(pk, previousOwner, (record) => put({ ...record, owner, attempt, leaseUntilMs }));
    },

    async complete(completion) {
      const { pk, owner } = completion;
      return ifOwned(pk, owner, (record) => put(completed(record, completion)));
    },

    async claimCompleted(claim, completion) {
      return ifFree(claim, () => put(completed(newRecord(claim), completion)));
    },

    async amend(completion) {
      const record = current(completion.pk);
      return record?.owner === completion.owner && record.status === 'COMPLETED'
        ? put({ ...record, answer: answerOf(completion) })
        : { outcome: 'stopped', found: record };
    },

    async giveBack({ pk, owner, askedAtMs }) {
      const record: ClaimRecord = {
        ...{ pk, owner, window: owner, attempt: 1, status: 'RELEASED', leaseUntilMs: 0 },
        ...{ createdAtMs: askedAtMs, endsAtMs: askedAtMs + 1 },
      };
      const owned = ifOwned(pk, owner, () => put(record));
      return owned.outcome === 'applied' ? owned : ifFree({ pk, nowMs: askedAtMs }, () => put(record));
    },

    async endLease({ pk, owner }) {
      return ifOwned(pk, owner, (record) => put({ ...record, leaseUntilMs: 0 }));
    },

    async read(pk) {
      return current(pk);
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
        return { send: async () => send(request, stored, theirs) };
      },
    },
  };
}

const newRecord = (claim: NewClaim): ClaimRecord => ({
  pk: claim.pk,
  status: 'IN_PROGRESS',
  owner: claim.owner,
  window: claim.owner,
  attempt: 1,
  leaseUntilMs: claim.leaseUntilMs,
  endsAtMs: claim.endsAtMs,
  createdAtMs: claim.nowMs,
  ...(claim.fingerprint !== undefined && { fingerprint: claim.fingerprint }),
});

const completed = (record: ClaimRecord, completion: Completion): ClaimRecord => ({
  ...record,
  status: 'COMPLETED',
  completedAtMs: completion.completedAtMs,
  endsAtMs: completion.endsAtMs,
  answer: answerOf(completion),
});

const answerOf = ({ answer }: Completion): NonNullable<ClaimRecord['answer']> =>
  ArrayBuffer.isView(answer) ? { kind: 'inline', bytes: answer } : { kind: 'unavailable', ...answer };

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
