/** One execution of an operation: what it asks of the store. What the answers mean is the protocol's. */
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
import { settleTimeMs } from './in-time.ts';
import type { Lease } from './lease.ts';

/** What an attempt works with. */
export interface Deps {
  readonly store: Store;
  readonly clock: Clock;
  readonly lease: Lease;
}

/** What a claim is asked with. */
export interface ClaimRequest extends Pick<NewClaim, 'pk' | 'fingerprint' | 'rawKey' | 'rawInput'> {
  readonly deps: Deps;
  readonly ttlMs: number;
  /** How long a running duplicate is waited for; 0 is not at all. */
  readonly waitMs: number;
  /** A completed record from the cache. While its window lasts, it answers without a request. */
  readonly known?: ClaimRecord | undefined;
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
  readonly request: ClaimRequest;
  readonly #previousOwner: string | undefined;

  /** @param released what the claim replaces: one whose end lies ahead of this machine's clock must not stop it */
  static first(request: ClaimRequest, owner: string, released?: ClaimRecord): Attempt {
    const clockMs = request.deps.clock.now();
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
      request.deps.clock.now(),
      abandoned.owner,
    );
  }

  /** The attempt that `record` names, which is this owner's. */
  static recorded(record: ClaimRecord, request: ClaimRequest, askedAtMs: number): Attempt {
    const { owner, window, attempt: number, createdAtMs, endsAtMs, leaseUntilMs } = record;
    return new Attempt(
      request,
      { owner, window, number, createdAtMs, endsAtMs, leaseUntilMs },
      Math.max(askedAtMs, createdAtMs),
    );
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

  get deps(): Deps {
    return this.request.deps;
  }

  /** Until the lease is over on this machine's clock; then nothing more is begun. */
  get leaseLeftMs(): number {
    return this.leaseUntilMs - this.deps.clock.now();
  }

  /** How long recording what has happened may take. */
  get settleTimeMs(): number {
    return settleTimeMs(this.deps.lease);
  }

  /** Whether the claim, answered now, leaves time to work under it. */
  isInTime(): boolean {
    return this.leaseLeftMs > this.deps.lease.marginMs;
  }

  claim(): Promise<ClaimWritten> {
    const { pk, owner, leaseUntilMs } = this;
    const { store } = this.deps;
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
    const completedAtMs = this.deps.clock.now();
    return { pk, owner, window, completedAtMs, endsAtMs: completedAtMs + this.request.ttlMs, answer };
  }

  /** The record as a completion leaves it. */
  completedRecord({ answer, completedAtMs, endsAtMs }: Completion): ClaimRecord {
    const { pk, owner, window, number: attempt, leaseUntilMs, createdAtMs } = this;
    const { fingerprint } = this.request;
    return {
      pk,
      status: 'COMPLETED',
      owner,
      window,
      attempt,
      leaseUntilMs,
      createdAtMs,
      completedAtMs,
      endsAtMs,
      fingerprint,
      answer: ArrayBuffer.isView(answer)
        ? { kind: 'inline', bytes: answer }
        : { kind: 'unavailable', ...answer },
    };
  }

  /**
   * One conditional write that gives the claim up.
   *
   * @param begun whether the next attempt must know of this one
   */
  giveUp(begun: boolean): Promise<Written> {
    const { store } = this.deps;
    return this.number === 1 && !begun ? store.giveBack(this) : store.endLease(this);
  }
}

const leaseEnd = ({ deps: { clock, lease } }: ClaimRequest): number => clock.now() + lease.durationMs();

/** An attempt without a claim: its commit is to claim and complete at once. */
export const unclaimed = (request: ClaimRequest): Attempt => Attempt.first(request, uniqueId());
