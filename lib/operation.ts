/**
 * The protocol: how attempts of one operation take turns on its record, and how each one ends.
 *
 * ```text
 *                        claim (Put)                     complete (Update)
 *        no record ────────────────────▶ IN_PROGRESS ─────────────────────▶ COMPLETED
 *            ▲                             │  ▲  │                             │
 *            │ release, nothing begun      │  │  │ release, otherwise          │ window over:
 *            │ (Delete)                    │  │  │ (Update leaseUntil = 0)     │ claim (Put)
 *            └─────────────────────────────┘  │  ▼                             ▼
 *                                             └─ lease over ◀── crash       IN_PROGRESS
 *                                     takeover (Update owner)               of a new window
 * ```
 *
 * | write | condition |
 * |---|---|
 * | claim | no record, or its window is over and no lease holds |
 * | takeover | the owner is the one that was seen, and `IN_PROGRESS` |
 * | complete, release | the owner is me, and `IN_PROGRESS` |
 *
 * Whatever stops a write, and every re-read while waiting, is judged on the record that came back, in this order:
 *
 * | the record | a claim is | a completion is |
 * |---|---|---|
 * | is mine: the write was applied and its answer lost | won | done |
 * | is absent, or its window is over and no lease holds | put again | unrecorded |
 * | has another fingerprint | a mismatch | overtaken |
 * | is `COMPLETED` | a replay | a replay in the same window, else overtaken |
 * | is `IN_PROGRESS` and its lease holds | busy | overtaken |
 * | is `IN_PROGRESS` and its lease is over | a takeover | overtaken |
 */
import { randomUUID } from 'node:crypto';
import { bounded } from './bounded.ts';
import { IdempotencyError, type RecordSummary, storeUnavailable } from './errors.ts';
import type { ClaimRecord, Clock, Completion, NewClaim, Store, Written } from './store.ts';

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
const maxRaces = 10;
/** Kept back from the invocation's time, so that an answer can still be given. */
const reserveMs = 250;
/** A caller waits no longer than this for its answer to be recorded. */
const maxSettleMs = 10_000;
const maxForgetMs = 2_000;
const backoff = { firstMs: 50, mostMs: 1_000 } as const;

/**
 * Tries to win the right to execute.
 *
 * @throws `STORE_UNAVAILABLE`, `STORE_MISCONFIGURED`, `NO_TIME_LEFT`
 */
export async function claim(request: ClaimRequest): Promise<Claimed> {
  const { store, clock, pk, lease } = request;
  // Zero milliseconds left is a deadline, not the lack of one.
  if (lease.timeLeftMs() <= 0) throw noTimeLeft();
  const owner = randomUUID();
  const waitUntilMs = clock.now() + Math.min(request.waitMs, lease.timeLeftMs() - reserveMs);
  let standing: Standing = 'free';
  let found: ClaimRecord | undefined = request.known;
  if (found) {
    const known = stand(found, request, owner);
    if (known === 'completed') return { outcome: 'replay', record: found };
    if (known === 'mismatch') return { outcome: 'mismatch', record: found };
    found = undefined;
  }
  let pauseMs: number = backoff.firstMs;

  for (let races = 0; races < maxRaces; races++) {
    const attempt: Attempt =
      standing === 'abandoned' && found
        ? Attempt.after(found, request, owner)
        : Attempt.first(request, owner);
    let written: Written;
    try {
      written = await inTime(attempt.claim(), claimTimeMs(lease));
    } catch (error) {
      if (!IdempotencyError.is(error, 'STORE_UNAVAILABLE')) throw error;
      // It may have been applied: take it back, so that the caller's retry does not meet a claim nobody works on.
      await inTime(attempt.forget(), maxForgetMs).catch(() => {});
      if (found === undefined) return { outcome: 'unreachable', error };
      throw error;
    }
    if (written.applied) return won(attempt, standing === 'abandoned');

    found = written.found;
    standing = stand(found, request, owner);
    while (standing === 'busy' && clock.now() < waitUntilMs) {
      const jitterMs = pauseMs * (0.5 + Math.random() / 2);
      await clock.sleep(Math.max(1, Math.min(jitterMs, waitUntilMs - clock.now())));
      pauseMs = Math.min(pauseMs * 2, backoff.mostMs);
      found = await inTime(store.read(pk), claimTimeMs(lease));
      standing = stand(found, request, owner);
    }
    switch (standing) {
      case 'mine':
        return won(attempt, attempt.number > 1);
      case 'mismatch':
        return { outcome: 'mismatch', record: found! };
      case 'completed':
        return { outcome: 'replay', record: found! };
      case 'busy':
        return { outcome: 'busy', record: found };
      case 'free':
      case 'abandoned':
        continue;
    }
  }
  return { outcome: 'busy', record: found };
}

async function won(attempt: Attempt, takenOver: boolean): Promise<Claimed> {
  if (attempt.isInTime()) return { outcome: 'won', attempt, takenOver };
  await inTime(attempt.forget(), maxForgetMs).catch(() => {});
  throw noTimeLeft();
}

type Standing = 'mine' | 'free' | 'mismatch' | 'completed' | 'busy' | 'abandoned';

/** How a record stands towards a request; the order of the questions is the protocol's. */
function stand(
  record: ClaimRecord | undefined,
  request: Pick<ClaimRequest, 'clock' | 'fingerprint'>,
  owner: string,
): Standing {
  if (record === undefined) return 'free';
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
  /** Whether anything was begun that the next attempt must know of. */
  begun = false;
  readonly #request: ClaimRequest;
  readonly #previousOwner: string | undefined;
  #settled = false;

  static first(request: ClaimRequest, owner: string): Attempt {
    const nowMs = request.clock.now();
    const endsAtMs = nowMs + request.ttlMs;
    return new Attempt(request, owner, { window: owner, number: 1, createdAtMs: nowMs, endsAtMs });
  }

  static after(abandoned: ClaimRecord, request: ClaimRequest, owner: string): Attempt {
    const { window, attempt, createdAtMs, endsAtMs } = abandoned;
    return new Attempt(
      request,
      owner,
      { window, number: attempt + 1, createdAtMs, endsAtMs },
      abandoned.owner,
    );
  }

  private constructor(
    request: ClaimRequest,
    owner: string,
    place: Pick<Attempt, 'window' | 'number' | 'createdAtMs' | 'endsAtMs'>,
    previousOwner?: string,
  ) {
    this.#request = request;
    this.#previousOwner = previousOwner;
    this.pk = request.pk;
    this.owner = owner;
    this.window = place.window;
    this.number = place.number;
    this.createdAtMs = place.createdAtMs;
    this.endsAtMs = place.endsAtMs;
    this.leaseUntilMs = request.clock.now() + request.lease.durationMs();
  }

  /** Whether this attempt has been settled: it can change nothing any more. */
  get settled(): boolean {
    return this.#settled;
  }

  /** Until the lease is over on this machine's clock; then nothing more is begun. */
  get leaseLeftMs(): number {
    return this.leaseUntilMs - this.#request.clock.now();
  }

  /** How long recording what has happened may take. */
  get settleTimeMs(): number {
    return settleTimeMs(this.#request.lease);
  }

  /** Whether the claim, answered now, leaves time to work under it. */
  isInTime(): boolean {
    return this.leaseLeftMs > this.#request.lease.marginMs;
  }

  claim(): Promise<Written> {
    const { store, fingerprint, rawKey, rawInput } = this.#request;
    const { pk, owner, leaseUntilMs, endsAtMs } = this;
    if (this.#previousOwner !== undefined) {
      const previousOwner = this.#previousOwner;
      return store.takeOver({ pk, owner, previousOwner, attempt: this.number, leaseUntilMs });
    }
    return store.claim({
      pk,
      owner,
      nowMs: this.createdAtMs,
      leaseUntilMs,
      endsAtMs,
      fingerprint,
      rawKey,
      rawInput,
    });
  }

  /** Stores the answer. Repeated within the time left, since what it records has happened. */
  async complete(answer: Completion['answer']): Promise<Settled> {
    this.#settled = true;
    const { clock, store, ttlMs } = this.#request;
    const completedAtMs = clock.now();
    const completion: Completion = {
      pk: this.pk,
      owner: this.owner,
      window: this.window,
      completedAtMs,
      endsAtMs: completedAtMs + ttlMs,
      answer,
    };
    const giveUpAtMs = clock.now() + this.settleTimeMs;
    for (let pauseMs: number = backoff.firstMs; ; pauseMs = Math.min(pauseMs * 2, backoff.mostMs)) {
      try {
        const timeMs = Math.max(giveUpAtMs - clock.now(), backoff.firstMs);
        const written = await inTime(store.complete(completion), timeMs);
        return written.applied ? this.#done(completion) : this.#judgeCompletion(completion, written.found);
      } catch (error) {
        const isPassing = IdempotencyError.is(error, 'STORE_UNAVAILABLE');
        if (!isPassing || clock.now() + pauseMs >= giveUpAtMs) return { outcome: 'unrecorded', cause: error };
        await clock.sleep(pauseMs);
      }
    }
  }

  #done({ answer, completedAtMs, endsAtMs }: Completion): Settled {
    const { pk, owner, window, number: attempt, leaseUntilMs, createdAtMs } = this;
    const { fingerprint } = this.#request;
    const record: ClaimRecord = {
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
      answer:
        typeof answer === 'string'
          ? { kind: 'unavailable', reason: answer }
          : { kind: 'inline', bytes: answer },
    };
    return { outcome: 'done', record };
  }

  #judgeCompletion(completion: Completion, record: ClaimRecord | undefined): Settled {
    switch (stand(record, this.#request, this.owner)) {
      case 'mine':
        return this.#done(completion);
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
  async release(): Promise<Settled> {
    this.#settled = true;
    try {
      const written = await inTime(this.forget(), this.settleTimeMs);
      // An absent record is what a repeated Delete meets when the answer to the first one was lost.
      if (written.applied || written.found === undefined || written.found.owner === this.owner) {
        return { outcome: 'done' };
      }
      return { outcome: 'overtaken', record: written.found };
    } catch (cause) {
      return { outcome: 'unrecorded', cause };
    }
  }

  /** Leaves the claim to its lease: whoever runs under it may not have stopped. */
  abandon(): void {
    this.#settled = true;
  }

  /** @internal One conditional write that gives the claim up. */
  forget(): Promise<Written> {
    const { store } = this.#request;
    return this.number === 1 && !this.begun ? store.remove(this) : store.endLease(this);
  }
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
const inTime = <T>(work: Promise<T>, ms: number): Promise<T> => bounded(work, ms, noAnswer);
