/**
 * The protocol: how attempts of one operation take turns on its record, and how each one ends.
 *
 * ```text
 *                        claim (Put)                     complete (Update)
 *        no record ────────────────────▶ IN_PROGRESS ─────────────────────▶ COMPLETED
 *            ┌────────────────────────▶    │  ▲  │                             │
 *      claim │ release, nothing begun      │  │  │ release, otherwise          │ window over:
 *      (Put) │ (Put RELEASED)              │  │  │ (Update leaseUntil = 0)     │ claim (Put)
 *        RELEASED ◀────────────────────────┘  │  ▼                             ▼
 *                                             └─ lease over ◀── crash       IN_PROGRESS
 *                                     takeover (Update owner)               of a new window
 * ```
 *
 * | write | condition |
 * |---|---|
 * | claim | no record, or its window is over and no lease holds |
 * | give back: a release by attempt 1 with nothing begun, and a claim of which nobody knows what became | that of the claim, or the owner is me and `IN_PROGRESS` |
 * | takeover | the owner is the one that was seen, and `IN_PROGRESS` |
 * | complete, any other release, and the claim's part in a transaction or a commit | the owner is me, and `IN_PROGRESS` |
 * | complete without a claim (`claim: 'at-commit'`): from no record to `COMPLETED` at once | that of a claim |
 * | amend: the answer of a commit, once other middlewares have added to it | the owner is me, and `COMPLETED` |
 * | a step's record, a staged message | there is none |
 *
 * Whatever stops a write, and every re-read while waiting, is judged on the record that came back, in this order:
 *
 * | the record | a claim is | a completion is |
 * |---|---|---|
 * | is absent or released | put again | unrecorded |
 * | is mine: the write was applied and its answer lost | won, as the attempt that the record names | done |
 * | its window is over and no lease holds | put again | unrecorded |
 * | has another fingerprint | a mismatch | overtaken |
 * | is `COMPLETED` | a replay | a replay in the same window, else overtaken |
 * | is `IN_PROGRESS` and its lease holds | busy | overtaken |
 * | is `IN_PROGRESS` and its lease is over | a takeover | overtaken |
 *
 * A request can arrive long after its sender gave up on it, so nothing is deleted: a `RELEASED` record ends later than the moment
 * at which its claim was asked for, and stops whatever of that claim is still on its way.
 */

import { IdempotencyError, type RecordSummary, storeUnavailable } from '../errors.ts';
import type {
  ClaimRecord,
  ClaimWritten,
  Clock,
  Completion,
  NewClaim,
  Store,
  Written,
} from '../store/index.ts';
import { uniqueId } from '../unique-id.ts';
import { bounded } from './bounded.ts';

export interface ClaimRequest extends Pick<NewClaim, 'pk' | 'fingerprint' | 'rawKey' | 'rawInput'> {
  readonly store: Store;
  readonly clock: Clock;
  readonly ttlMs: number;
  readonly lease: Lease;
  /** How long a running duplicate is waited for; 0 is not at all. */
  readonly waitMs: number;
  /** A completed record of this operation that is at hand: while it stands, the store is not asked. */
  readonly known?: ClaimRecord | undefined;
}

/** How long a claim made now holds, and how long its maker has. */
export interface Lease {
  /** From the claim to its end, the margin included. */
  durationMs(): number;
  /** Allowance for clocks that differ: a claim answered later than this before its end is not used. */
  readonly marginMs: number;
  /** Until the invocation is killed; infinite where no deadline is known. */
  timeLeftMs(): number;
}

export type Claimed =
  | { readonly outcome: 'won'; readonly attempt: Attempt; readonly takenOver: boolean }
  | { readonly outcome: 'replay'; readonly record: ClaimRecord }
  | { readonly outcome: 'mismatch'; readonly record: ClaimRecord }
  /** `record` is absent where races were lost until there was no point in another. */
  | { readonly outcome: 'busy'; readonly record: ClaimRecord | undefined }
  /** The store did not answer, and nothing is known of the operation. */
  | { readonly outcome: 'unreachable'; readonly error: IdempotencyError };

export type Settled =
  /** `record` is the completed one. */
  | { readonly outcome: 'done'; readonly record?: ClaimRecord }
  /** The attempt that took over has answered: theirs is the answer. */
  | { readonly outcome: 'replay'; readonly record: ClaimRecord }
  | { readonly outcome: 'overtaken'; readonly record: ClaimRecord | undefined }
  | { readonly outcome: 'unrecorded'; readonly cause: unknown };

/** Losing this many races on one record means that others are making progress on it. */
export const maxRaces = 10;
/** Kept back from the invocation's time, so that an answer can still be given. */
const reserveMs = 250;
/** A caller waits no longer than this for its answer to be recorded. */
const maxSettleMs = 10_000;
const maxGiveUpMs = 2_000;
export const backoff = { firstMs: 50, mostMs: 1_000 } as const;

/**
 * Tries to win the right to execute.
 *
 * @throws `STORE_UNAVAILABLE`, `STORE_MISCONFIGURED`, `NO_TIME_LEFT`
 */
export async function claim(request: ClaimRequest): Promise<Claimed> {
  const { store, clock, pk, lease } = request;
  // Zero milliseconds left is a deadline, not the lack of one.
  if (lease.timeLeftMs() <= 0) throw noTimeLeft();
  let owner = uniqueId();
  /** Of requests that were refused: a sending of one may have been applied before, or may be yet. */
  const earlierOwners = new Set<string>();
  const standingOf = (record: ClaimRecord | undefined): Standing =>
    stand(record, request, record && earlierOwners.has(record.owner) ? record.owner : owner);
  const waitUntilMs = clock.now() + Math.min(request.waitMs, lease.timeLeftMs() - reserveMs);
  const settled = recognised(request);
  if (settled) return settled;
  let standing: Standing = 'free';
  let found: ClaimRecord | undefined;
  let pauseMs: number = backoff.firstMs;

  for (let races = 0; races < maxRaces; races++) {
    const attempt: Attempt =
      standing === 'abandoned' && found
        ? Attempt.after(found, request, owner)
        : Attempt.first(request, owner, found);
    let written: ClaimWritten;
    try {
      written = await inTime(attempt.claim(), claimTimeMs(lease));
    } catch (error) {
      if (!IdempotencyError.is(error, 'STORE_UNAVAILABLE')) throw error;
      // It may have been applied: take it back, so that the caller's retry does not meet a claim nobody works on.
      await giveUp(attempt);
      if (found === undefined) return { outcome: 'unreachable', error };
      throw error;
    }
    if (written.outcome === 'applied') return won(attempt, standing === 'abandoned');

    if (written.outcome === 'blocked') {
      if (written.isRepeat) {
        await giveUp(attempt);
        // A late copy of that request must not end what is claimed after it.
        owner = uniqueId();
      }
      standing = 'busy';
    } else {
      found = written.found;
      standing = standingOf(found);
    }
    while (standing === 'busy' && clock.now() < waitUntilMs) {
      const jitterMs = pauseMs * (0.5 + Math.random() / 2);
      await clock.sleep(Math.max(1, Math.min(jitterMs, waitUntilMs - clock.now())));
      pauseMs = Math.min(pauseMs * 2, backoff.mostMs);
      found = await inTime(store.read(pk), claimTimeMs(lease));
      standing = standingOf(found);
    }
    switch (standing) {
      case 'mine': {
        // Perhaps by an earlier request of this call: the record says which attempt this is.
        const recorded = Attempt.recorded(found!, request, attempt.askedAtMs);
        return won(recorded, recorded.number > 1);
      }
      case 'mismatch':
        return { outcome: 'mismatch', record: found! };
      case 'completed':
        return { outcome: 'replay', record: found! };
      case 'busy':
        return { outcome: 'busy', record: found };
      case 'free':
      case 'abandoned':
        // Under one name, what another attempt sent to take over from the last request would apply to the next one as well.
        earlierOwners.add(owner);
        owner = uniqueId();
    }
  }
  return { outcome: 'busy', record: found };
}

/** What the record at hand decides; nothing where there is none, or it no longer stands. */
export function recognised(
  request: ClaimRequest,
): Extract<Claimed, { outcome: 'replay' | 'mismatch' }> | undefined {
  const { known } = request;
  if (known === undefined) return undefined;
  switch (stand(known, request, '')) {
    case 'completed':
      return { outcome: 'replay', record: known };
    case 'mismatch':
      return { outcome: 'mismatch', record: known };
    default:
      return undefined;
  }
}

async function won(attempt: Attempt, takenOver: boolean): Promise<Claimed> {
  if (attempt.isInTime()) return { outcome: 'won', attempt, takenOver };
  await giveUp(attempt);
  throw noTimeLeft();
}

/** Never rejects: the lease ends what could not be given up. */
async function giveUp(attempt: Attempt): Promise<void> {
  await inTime(attempt.giveUp(false), Math.min(maxGiveUpMs, attempt.settleTimeMs)).catch(() => {});
}

export type Standing = 'mine' | 'free' | 'mismatch' | 'completed' | 'busy' | 'abandoned';

/** How a record stands towards a request; the order of the questions is the protocol's. */
export function stand(
  record: ClaimRecord | undefined,
  request: Pick<ClaimRequest, 'clock' | 'fingerprint'>,
  owner: string,
): Standing {
  // A released record is nobody's, not even its owner's, who may ask again.
  if (record === undefined || record.status === 'RELEASED') return 'free';
  if (record.owner === owner) return 'mine';
  const nowMs = request.clock.now();
  const leaseHolds = record.status === 'IN_PROGRESS' && record.leaseUntilMs > nowMs;
  if (record.endsAtMs <= nowMs && !leaseHolds) return 'free';
  const { fingerprint } = request;
  if (fingerprint !== undefined && record.fingerprint !== undefined && record.fingerprint !== fingerprint) {
    return 'mismatch';
  }
  if (record.status === 'COMPLETED') return 'completed';
  return leaseHolds ? 'busy' : 'abandoned';
}

/** One execution of an operation, by the owner of its claim. All it writes is conditional on that. */
export class Attempt {
  readonly pk: string;
  readonly owner: string;
  readonly window: string;
  readonly number: number;
  readonly createdAtMs: number;
  readonly endsAtMs: number;
  readonly leaseUntilMs: number;
  /** The latest time in any of this owner's requests for the claim. */
  readonly askedAtMs: number;
  /** What it was asked for with: store, clock, lease, fingerprint. */
  readonly request: ClaimRequest;
  readonly #previousOwner: string | undefined;

  /** @param released what the claim replaces: one whose end lies ahead of this machine's clock must not stop it */
  static first(request: ClaimRequest, owner: string, released?: ClaimRecord): Attempt {
    const clockMs = request.clock.now();
    const nowMs = released?.status === 'RELEASED' ? Math.max(clockMs, released.endsAtMs) : clockMs;
    const endsAtMs = nowMs + request.ttlMs;
    return new Attempt(
      request,
      { owner, window: owner, number: 1, createdAtMs: nowMs, endsAtMs, leaseUntilMs: leaseEnd(request) },
      nowMs,
    );
  }

  static after(abandoned: ClaimRecord, request: ClaimRequest, owner: string): Attempt {
    const { window, attempt, createdAtMs, endsAtMs } = abandoned;
    return new Attempt(
      request,
      { owner, window, number: attempt + 1, createdAtMs, endsAtMs, leaseUntilMs: leaseEnd(request) },
      request.clock.now(),
      abandoned.owner,
    );
  }

  /** The attempt that `record` names, which is this owner's. */
  static recorded(record: ClaimRecord, request: ClaimRequest, askedAtMs: number): Attempt {
    const { owner, window, attempt: number, createdAtMs, endsAtMs, leaseUntilMs } = record;
    return new Attempt(request, { owner, window, number, createdAtMs, endsAtMs, leaseUntilMs }, askedAtMs);
  }

  private constructor(
    request: ClaimRequest,
    place: Pick<Attempt, 'owner' | 'window' | 'number' | 'createdAtMs' | 'endsAtMs' | 'leaseUntilMs'>,
    askedAtMs: number,
    previousOwner?: string,
  ) {
    this.request = request;
    this.#previousOwner = previousOwner;
    this.pk = request.pk;
    this.owner = place.owner;
    this.window = place.window;
    this.number = place.number;
    this.createdAtMs = place.createdAtMs;
    this.endsAtMs = place.endsAtMs;
    this.leaseUntilMs = place.leaseUntilMs;
    this.askedAtMs = askedAtMs;
  }

  /** Until the lease is over on this machine's clock; then nothing more is begun. */
  get leaseLeftMs(): number {
    return this.leaseUntilMs - this.request.clock.now();
  }

  /** How long recording what has happened may take. */
  get settleTimeMs(): number {
    return settleTimeMs(this.request.lease);
  }

  /** Whether the claim, answered now, leaves time to work under it. */
  isInTime(): boolean {
    return this.leaseLeftMs > this.request.lease.marginMs;
  }

  claim(): Promise<ClaimWritten> {
    const { pk, owner, leaseUntilMs } = this;
    const { store } = this.request;
    if (this.#previousOwner !== undefined) {
      const previousOwner = this.#previousOwner;
      return store.takeOver({ pk, owner, previousOwner, attempt: this.number, leaseUntilMs });
    }
    return store.claim(this.newClaim);
  }

  /** A first attempt's claim, as it is put. */
  get newClaim(): NewClaim {
    const { pk, owner, createdAtMs: nowMs, leaseUntilMs, endsAtMs } = this;
    const { fingerprint, rawKey, rawInput } = this.request;
    return { pk, owner, nowMs, leaseUntilMs, endsAtMs, fingerprint, rawKey, rawInput };
  }

  /** The completion of this attempt with `answer`, as of now. */
  completion(answer: Completion['answer']): Completion {
    const { pk, owner, window } = this;
    const completedAtMs = this.request.clock.now();
    return { pk, owner, window, completedAtMs, endsAtMs: completedAtMs + this.request.ttlMs, answer };
  }

  /**
   * Stores the answer. Repeated within the time left, since what it records has happened.
   *
   * @param isInDoubt whether a commit of this attempt may have been applied
   */
  async complete(answer: Completion['answer'], isInDoubt: boolean): Promise<Settled> {
    const { clock, store } = this.request;
    const completion = this.completion(answer);
    try {
      const written = await insist(clock, this.settleTimeMs, () => store.complete(completion));
      if (written.outcome === 'applied') return { outcome: 'done', record: this.completedRecord(completion) };
      return this.#judgeCompletion(completion, written.found, isInDoubt);
    } catch (cause) {
      return { outcome: 'unrecorded', cause };
    }
  }

  /** The record as a completion leaves it. */
  completedRecord({ answer, completedAtMs, endsAtMs }: Completion): ClaimRecord {
    const { pk, owner, window, number: attempt, leaseUntilMs, createdAtMs } = this;
    const { fingerprint } = this.request;
    return {
      ...{
        pk,
        status: 'COMPLETED',
        owner,
        window,
        attempt,
        leaseUntilMs,
        createdAtMs,
        completedAtMs,
        endsAtMs,
      },
      ...(fingerprint !== undefined && { fingerprint }),
      answer: ArrayBuffer.isView(answer)
        ? { kind: 'inline', bytes: answer }
        : { kind: 'unavailable', ...answer },
    };
  }

  /** Replaces the answer of `record`, a completion of our own. A failure costs repeats the last additions, no more. */
  async amend(record: ClaimRecord, answer: Uint8Array): Promise<Settled> {
    try {
      const written = await inTime(this.request.store.amend(this.completion(answer)), this.settleTimeMs);
      if (written.outcome === 'applied')
        return { outcome: 'done', record: { ...record, answer: { kind: 'inline', bytes: answer } } };
      return { outcome: 'unrecorded', cause: new Error('The completed record was gone.') };
    } catch (cause) {
      return { outcome: 'unrecorded', cause };
    }
  }

  #judgeCompletion(completion: Completion, record: ClaimRecord | undefined, isInDoubt: boolean): Settled {
    switch (stand(record, this.request, this.owner)) {
      case 'mine':
        // Ours either way, but a commit may have been applied without our knowing: then its result is the answer.
        return isInDoubt && record
          ? { outcome: 'replay', record }
          : { outcome: 'done', record: this.completedRecord(completion) };
      case 'free':
        return {
          outcome: 'unrecorded',
          cause: new Error('The claim was gone before the answer could be stored.'),
        };
      case 'completed':
        return record?.window === this.window
          ? { outcome: 'replay', record }
          : { outcome: 'overtaken', record };
      case 'mismatch':
      case 'busy':
      case 'abandoned':
        return { outcome: 'overtaken', record };
    }
  }

  /** Lets the next attempt start at once: with a clean slate if this one has begun nothing, else in its window. */
  async release(begun: boolean): Promise<Settled> {
    try {
      const written = await inTime(this.giveUp(begun), this.settleTimeMs);
      if (written.outcome === 'applied' || written.found === undefined) return { outcome: 'done' };
      const { found } = written;
      if (found.owner !== this.owner) return { outcome: 'overtaken', record: found };
      // A commit of which the outcome was unknown has been applied.
      return found.status === 'COMPLETED' ? { outcome: 'replay', record: found } : { outcome: 'done' };
    } catch (cause) {
      return { outcome: 'unrecorded', cause };
    }
  }

  /** @internal One conditional write that gives the claim up. */
  giveUp(begun: boolean): Promise<Written> {
    const { store } = this.request;
    return this.number === 1 && !begun ? store.giveBack(this) : store.endLease(this);
  }
}

const leaseEnd = ({ clock, lease }: ClaimRequest): number => clock.now() + lease.durationMs();

/** An attempt without a claim: its commit is to claim and complete at once. */
export const unclaimed = (request: ClaimRequest): Attempt => Attempt.first(request, uniqueId());

export const overtaken = (record: ClaimRecord | undefined, nowMs: number): IdempotencyError =>
  new IdempotencyError(
    'OVERTAKEN',
    'This attempt outlived its lease and another one has taken over. What it did may have happened; try again with the same key for the answer.',
    {
      effect: 'possible',
      retryAfterSeconds: secondsUntilFree(record, nowMs),
      ...(record && { record: summarise(record) }),
    },
  );

export const leaseIsOver = (): IdempotencyError =>
  new IdempotencyError(
    'OVERTAKEN',
    'The lease of this attempt is over: another attempt may be running. What was begun may have happened.',
    { effect: 'possible' },
  );

/** Why a call that is not to run is refused. */
export function refusalOf(
  claimed: Extract<Claimed, { outcome: 'mismatch' | 'busy' }>,
  nowMs: number,
): IdempotencyError {
  if (claimed.outcome === 'mismatch') {
    return new IdempotencyError(
      'PAYLOAD_MISMATCH',
      'This idempotency key was used before with other parameters. Nothing has been done; use a new key for a new operation.',
      { record: summarise(claimed.record) },
    );
  }
  return new IdempotencyError(
    'IN_PROGRESS',
    'An earlier request with this idempotency key is still being processed. Nothing has been done by this one; try again later.',
    {
      retryAfterSeconds: secondsUntilFree(claimed.record, nowMs),
      ...(claimed.record && { record: summarise(claimed.record) }),
    },
  );
}

/** A lease is as long as its owner can take; most owners are done long before, and asking again is cheap. */
const mostRetryAfterSeconds = 5;

function secondsUntilFree(record: ClaimRecord | undefined, nowMs: number): number {
  const leftMs = record?.status === 'IN_PROGRESS' ? record.leaseUntilMs - nowMs : 0;
  return Math.min(Math.max(1, Math.ceil(leftMs / 1000)), mostRetryAfterSeconds);
}

/** What an error may tell about a record. */
export function summarise(record: ClaimRecord): RecordSummary {
  return {
    status: record.status,
    attempt: record.attempt,
    createdAt: new Date(record.createdAtMs),
    ...(record.completedAtMs !== undefined && { completedAt: new Date(record.completedAtMs) }),
    leaseUntil: new Date(record.leaseUntilMs),
    endsAt: new Date(record.endsAtMs),
  };
}

const noTimeLeft = (): IdempotencyError =>
  new IdempotencyError(
    'NO_TIME_LEFT',
    'There is no time left to process this request. Nothing has been done; try again.',
    { retryAfterSeconds: 1 },
  );

const noAnswer = (): IdempotencyError =>
  storeUnavailable(new Error('No answer from the store in the time that is left.'));

const claimTimeMs = (lease: Lease): number => Math.max(lease.timeLeftMs() - reserveMs, backoff.firstMs);

const settleTimeMs = (lease: Lease): number => {
  const leftMs = lease.timeLeftMs();
  return Math.min(Math.max(leftMs - Math.min(reserveMs, leftMs / 2), backoff.firstMs), maxSettleMs);
};

/** `work`, or `STORE_UNAVAILABLE` once `ms` have passed. */
export const inTime = <T>(work: Promise<T>, ms: number): Promise<T> => bounded(work, ms, noAnswer);

/**
 * Repeats a conditional write for at most `ms`, while it cannot be told what became of it.
 *
 * @throws the last failure; after one sending that was not answered always `STORE_UNAVAILABLE`, for that one may have been
 * applied, whatever became of the last one
 */
export async function insist<T>(clock: Clock, ms: number, write: () => Promise<T>): Promise<T> {
  const giveUpAtMs = clock.now() + ms;
  let isInDoubt = false;
  for (let pauseMs: number = backoff.firstMs; ; pauseMs = Math.min(pauseMs * 2, backoff.mostMs)) {
    try {
      return await inTime(write(), Math.max(giveUpAtMs - clock.now(), backoff.firstMs));
    } catch (error) {
      const isPassing = IdempotencyError.is(error, 'STORE_UNAVAILABLE');
      if (!isPassing) throw isInDoubt ? storeUnavailable(error) : error;
      if (clock.now() + pauseMs >= giveUpAtMs) throw error;
      isInDoubt = true;
      await clock.sleep(pauseMs);
    }
  }
}
