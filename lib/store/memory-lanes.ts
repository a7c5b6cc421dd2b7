/** Lanes and their positions in this process's memory: what the store in memory shows of each. */
import type { MemoryClaims } from './memory-claims.ts';
import { neverMs } from './sequence.ts';
import type {
  Advance,
  ClaimRecord,
  Completion,
  LanePlace,
  NewClaim,
  TransactionRequest,
  Written,
} from './store.ts';

/** A lane's item. Its attempt is as a claim's, and its cleanup comes with `cleanupAtMs`. */
interface Lane extends ClaimRecord {
  readonly reach?: string;
  readonly cleanupEndsAtMs: number;
}

const applied: Written = { outcome: 'applied' };

/** One lane, up to a position. */
export interface MemoryLane extends MemoryClaims {
  position(): string | undefined;
}

export interface MemoryLanes {
  view(place: LanePlace): MemoryLane;
  /** All lanes that are there now. */
  records(): ClaimRecord[];
}

/** @param isOver whether an item whose window ends so would be cleaned up by now */
export function memoryLanes(isOver: (endsAtMs: number) => boolean): MemoryLanes {
  const lanes = new Map<string, Lane>();
  return {
    view: (place) => verbsOf(lanes, isOver, place),
    records: () => [...lanes.values()].filter((lane) => !isOver(lane.cleanupEndsAtMs)).map(claimOf),
  };
}

const claimOf = ({ reach: _, cleanupEndsAtMs: __, ...record }: Lane): ClaimRecord => record;

function verbsOf(
  lanes: Map<string, Lane>,
  isOver: (endsAtMs: number) => boolean,
  { lane: pk, upTo }: LanePlace,
): MemoryLane {
  let position: string | undefined;
  const current = (): Lane | undefined => {
    const lane = lanes.get(pk);
    if (lane && isOver(lane.cleanupEndsAtMs)) lanes.delete(pk);
    return lanes.get(pk);
  };
  const put = (lane: Lane): Written => {
    lanes.set(pk, lane);
    position = lane.position;
    return applied;
  };
  const isBehind = (lane: Lane | undefined, other = upTo): boolean =>
    lane?.position === undefined || lane.position < other;

  const recordOf = (lane: Lane): ClaimRecord => {
    const record = claimOf(lane);
    if (!isBehind(lane)) {
      const { completedAtMs = record.createdAtMs } = record;
      const answer = { kind: 'unavailable', reason: 'forgotten' } as const;
      return { ...record, status: 'COMPLETED', completedAtMs, endsAtMs: neverMs, answer };
    }
    const { completedAtMs: ___, ...claim } = record;
    return claim.status === 'COMPLETED' ? { ...claim, status: 'RELEASED', endsAtMs: 0 } : claim;
  };
  const read = (): ClaimRecord | undefined => {
    const lane = current();
    position = lane?.position;
    return lane && recordOf(lane);
  };
  const stopped = (): Written => ({ outcome: 'stopped', found: read() });
  /** Where nothing is in flight, another one has come and gone. */
  const stoppedOwner = (owner: string): Written => {
    const found = read();
    const isGone = found?.status === 'RELEASED' && found.owner !== owner;
    return {
      outcome: 'stopped',
      found: isGone ? { ...found, status: 'IN_PROGRESS', leaseUntilMs: 0, endsAtMs: neverMs } : found,
    };
  };

  const isFree = (nowMs: number): boolean => {
    const lane = current();
    if (lane === undefined) return true;
    if (!isBehind(lane)) return false;
    return lane.status === 'COMPLETED' || (lane.endsAtMs <= nowMs && lane.leaseUntilMs <= nowMs);
  };
  const owned = (owner: string): Lane | undefined => {
    const lane = current();
    return lane?.owner === owner && lane.status === 'IN_PROGRESS' ? lane : undefined;
  };

  const attempted = (claim: NewClaim): Lane => ({
    ...kept(current()),
    ...{ pk, status: 'IN_PROGRESS', owner: claim.owner, window: claim.owner, attempt: 1, reach: upTo },
    ...{ leaseUntilMs: claim.leaseUntilMs, endsAtMs: claim.endsAtMs, createdAtMs: claim.nowMs },
    cleanupEndsAtMs: claim.endsAtMs,
  });
  const completed = (lane: Lane, { completedAtMs, endsAtMs }: Completion): Lane => ({
    ...lane,
    ...{ completedAtMs, endsAtMs, cleanupEndsAtMs: endsAtMs, position: upTo },
    // The window goes on, for the next attempt, while it is behind what an attempt was given.
    ...((lane.reach ?? '') <= upTo ? { status: 'COMPLETED' } : { leaseUntilMs: 0 }),
  });

  const advance = (
    move: Advance,
    { nowMs, endsAtMs }: Pick<TransactionRequest, 'nowMs' | 'endsAtMs'>,
    isReal: boolean,
  ): Written => {
    const { owner } = move;
    if (move.hasClaim) {
      const lane = owned(owner);
      if (lane === undefined || !isBehind(lane, move.upTo)) return stopped();
      return isReal ? put({ ...lane, position: move.upTo, cleanupEndsAtMs: endsAtMs }) : applied;
    }
    const lane = current();
    const isHeld = lane?.status === 'IN_PROGRESS' && lane.leaseUntilMs > nowMs;
    if (isHeld || lane?.position !== move.from) return stopped();
    if (!isReal) return applied;
    return put({
      ...kept(lane),
      ...{ pk, status: 'COMPLETED', owner, window: owner, attempt: 1, leaseUntilMs: 0, endsAtMs },
      ...{ createdAtMs: nowMs, completedAtMs: nowMs, position: move.upTo, cleanupEndsAtMs: endsAtMs },
    });
  };

  return {
    position: () => position,

    verbs: {
      async claim(claim) {
        return isFree(claim.nowMs) ? put(attempted(claim)) : stopped();
      },

      async takeOver({ owner, previousOwner, attempt, leaseUntilMs }) {
        const lane = owned(previousOwner);
        if (lane === undefined || !isBehind(lane)) return stopped();
        const reach = lane.reach !== undefined && lane.reach > upTo ? lane.reach : upTo;
        return put({ ...lane, owner, attempt, leaseUntilMs, reach });
      },

      async complete(completion) {
        const lane = owned(completion.owner);
        return lane ? put(completed(lane, completion)) : stoppedOwner(completion.owner);
      },

      async claimCompleted(claim, completion) {
        return isFree(claim.nowMs) ? put(completed(attempted(claim), completion)) : stopped();
      },

      async giveBack({ owner, askedAtMs }) {
        if (!owned(owner) && !isFree(askedAtMs)) return stoppedOwner(owner);
        const lane = current();
        return put({
          ...kept(lane),
          ...{ pk, status: 'RELEASED', owner, window: owner, attempt: 1, leaseUntilMs: 0 },
          ...{ createdAtMs: askedAtMs, endsAtMs: askedAtMs + 1 },
          // The position stays for as long as it would have.
          cleanupEndsAtMs: lane?.cleanupEndsAtMs ?? askedAtMs + 1,
        });
      },

      async endLease({ owner }) {
        const lane = owned(owner);
        return lane ? put({ ...lane, leaseUntilMs: 0 }) : stoppedOwner(owner);
      },

      async read() {
        return read();
      },

      async amend() {
        return stopped();
      },
    },

    apply(request, isReal) {
      const { claim } = request;
      switch (claim.kind) {
        case 'none':
          return applied;
        case 'check':
          return owned(claim.owner) ? applied : stopped();
        case 'complete': {
          const lane = owned(claim.completion.owner);
          if (lane === undefined) return stopped();
          return isReal ? put(completed(lane, claim.completion)) : applied;
        }
        case 'record':
          if (!isFree(claim.claim.nowMs)) return stopped();
          return isReal ? put(completed(attempted(claim.claim), claim.completion)) : applied;
        case 'advance':
          return advance(claim, request, isReal);
      }
    },
  };
}

/** What a lane keeps under every attempt. */
const kept = (lane: Lane | undefined): Pick<Lane, 'position' | 'reach'> => ({
  ...(lane?.position !== undefined && { position: lane.position }),
  ...(lane?.reach !== undefined && { reach: lane.reach }),
});
