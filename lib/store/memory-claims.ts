/** The verbs on claims of a store in memory, wherever a record lies. */
import type { ClaimRecord, Completion, NewClaim, Store, TransactionRequest, Written } from './store.ts';

/** Where the record of an operation lies, and when a claim is put there. */
export interface MemoryPlace {
  /** The operation's own record, which its owner's writes change. */
  own(pk: string): ClaimRecord | undefined;
  /** Whether a claim that is asked for at `nowMs` is put. */
  isFree(pk: string, nowMs: number): boolean;
  put(record: ClaimRecord): void;
  /** What an owner's write is stopped by. */
  metByOwner(pk: string): ClaimRecord | undefined;
  /** What a claim is stopped by. */
  metByClaim(pk: string): ClaimRecord | undefined;
}

export type ClaimVerbs = Pick<
  Store,
  'claim' | 'takeOver' | 'complete' | 'claimCompleted' | 'amend' | 'giveBack' | 'endLease' | 'read'
>;

export interface MemoryClaims {
  readonly verbs: ClaimVerbs;
  /** What the claim's part of a transaction comes to; applied only with `isReal`. */
  apply(request: TransactionRequest, isReal: boolean): Written;
}

export function memoryClaims(place: MemoryPlace): MemoryClaims {
  const put = (record: ClaimRecord): Written => {
    place.put(record);
    return { outcome: 'applied' };
  };
  const ifOwned = (
    { pk, owner }: Pick<Completion, 'pk' | 'owner'>,
    status: ClaimRecord['status'],
    then: (record: ClaimRecord) => Written,
  ): Written => {
    const record = place.own(pk);
    return record?.owner === owner && record.status === status
      ? then(record)
      : { outcome: 'stopped', found: place.metByOwner(pk) };
  };
  const ifFree = ({ pk, nowMs }: Pick<NewClaim, 'pk' | 'nowMs'>, then: () => Written): Written =>
    place.isFree(pk, nowMs) ? then() : { outcome: 'stopped', found: place.metByClaim(pk) };

  return {
    verbs: {
      async claim(claim) {
        return ifFree(claim, () => put(newRecord(claim)));
      },

      async takeOver({ pk, owner, previousOwner, attempt, leaseUntilMs }) {
        const written = ifOwned({ pk, owner: previousOwner }, 'IN_PROGRESS', (record) =>
          put({ ...record, owner, attempt, leaseUntilMs }),
        );
        return written.outcome === 'applied' ? written : { outcome: 'stopped', found: place.metByClaim(pk) };
      },

      async complete(completion) {
        return ifOwned(completion, 'IN_PROGRESS', (record) => put(completed(record, completion)));
      },

      async claimCompleted(claim, completion) {
        return ifFree(claim, () => put(completed(newRecord(claim), completion)));
      },

      async amend(completion) {
        return ifOwned(completion, 'COMPLETED', (record) => put({ ...record, answer: answerOf(completion) }));
      },

      async giveBack({ pk, owner, askedAtMs }) {
        const released: ClaimRecord = {
          ...{ pk, owner, window: owner, attempt: 1, status: 'RELEASED', leaseUntilMs: 0 },
          ...{ createdAtMs: askedAtMs, endsAtMs: askedAtMs + 1 },
        };
        if (place.isFree(pk, askedAtMs)) return put(released);
        return ifOwned({ pk, owner }, 'IN_PROGRESS', () => put(released));
      },

      async endLease(claim) {
        return ifOwned(claim, 'IN_PROGRESS', (record) => put({ ...record, leaseUntilMs: 0 }));
      },

      async read(pk) {
        return place.metByClaim(pk);
      },
    },

    apply({ claim, pk }, isReal) {
      const applied: Written = { outcome: 'applied' };
      switch (claim.kind) {
        case 'none':
          return applied;
        case 'check':
          return ifOwned({ pk, owner: claim.owner }, 'IN_PROGRESS', () => applied);
        case 'complete':
          return ifOwned(claim.completion, 'IN_PROGRESS', (record) =>
            isReal ? put(completed(record, claim.completion)) : applied,
          );
        case 'record':
          return ifFree(claim.claim, () =>
            isReal ? put(completed(newRecord(claim.claim), claim.completion)) : applied,
          );
        case 'advance':
          // Only a lane has a position.
          return { outcome: 'stopped', found: place.metByOwner(pk) };
      }
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
