import { randomUUID } from 'node:crypto';
import { cleanupAtSeconds } from './record.ts';
import { type ClaimRecord, type Clock, type Store, systemClock, type Written } from './store.ts';

export interface MemoryStoreOptions {
  /** @default the system's */
  readonly clock?: Clock;
}

/**
 * A store in this process's memory, for tests: the same conditions as on DynamoDB, and records that are cleaned up once
 * their TTL is over. It protects nothing beyond the process.
 */
export function memoryStore({ clock = systemClock }: MemoryStoreOptions = {}): Store {
  const claims = new Map<string, ClaimRecord>();

  const current = (pk: string): ClaimRecord | undefined => {
    const record = claims.get(pk);
    if (record && cleanupAtSeconds(record.endsAtMs) * 1000 <= clock.now()) claims.delete(pk);
    return claims.get(pk);
  };
  const put = (record: ClaimRecord): Written => {
    claims.set(record.pk, record);
    return { applied: true };
  };
  const ifOwned = (pk: string, owner: string, then: (record: ClaimRecord) => Written): Written => {
    const record = current(pk);
    return record?.owner === owner && record.status === 'IN_PROGRESS'
      ? then(record)
      : { applied: false, found: record };
  };

  return {
    id: `memory:${randomUUID()}`,
    defaultNamespace: 'memory',
    clock,
    maxAnswerBytes: Number.POSITIVE_INFINITY,

    async claim({ pk, owner, nowMs, leaseUntilMs, endsAtMs, fingerprint }) {
      const found = current(pk);
      const isOver =
        found === undefined ||
        (found.endsAtMs <= nowMs && (found.status === 'COMPLETED' || found.leaseUntilMs <= nowMs));
      if (!isOver) return { applied: false, found };
      return put({
        pk,
        status: 'IN_PROGRESS',
        owner,
        window: owner,
        attempt: 1,
        leaseUntilMs,
        endsAtMs,
        createdAtMs: nowMs,
        ...(fingerprint !== undefined && { fingerprint }),
      });
    },

    async takeOver({ pk, owner, previousOwner, attempt, leaseUntilMs }) {
      return ifOwned(pk, previousOwner, (record) => put({ ...record, owner, attempt, leaseUntilMs }));
    },

    async complete({ pk, owner, completedAtMs, endsAtMs, answer }) {
      return ifOwned(pk, owner, (record) =>
        put({
          ...record,
          status: 'COMPLETED',
          completedAtMs,
          endsAtMs,
          answer:
            typeof answer === 'string'
              ? { kind: 'unavailable', reason: answer }
              : { kind: 'inline', bytes: answer },
        }),
      );
    },

    async remove({ pk, owner }) {
      return ifOwned(pk, owner, () => {
        claims.delete(pk);
        return { applied: true };
      });
    },

    async endLease({ pk, owner }) {
      return ifOwned(pk, owner, (record) => put({ ...record, leaseUntilMs: 0 }));
    },

    async read(pk) {
      return current(pk);
    },

    async readChunks() {
      return undefined;
    },
  };
}
