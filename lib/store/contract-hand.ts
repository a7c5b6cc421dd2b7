/** What the rules of the contract share. */
import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type {
  ClaimRecord,
  ClaimWritten,
  Completion,
  NewClaim,
  NewStep,
  StagedMessage,
  StepRecord,
  StepStore,
  StepWritten,
  Store,
  Transacted,
  TransactionRequest,
  TransactionStore,
  Written,
} from './store.ts';

/** A part that a store may do without. */
export type StorePart = 'steps' | 'transactions' | 'numbered' | 'positioned';

/** What a case is about. `windows`: one that ends, which a numbered operation has not. */
export type Need = StorePart | 'windows';

/** Adds a case to the contract. @param needs the parts without which there is no such case */
export type Rule = (name: string, body: (hand: Hand) => Promise<void>, needs?: readonly Need[]) => void;

export const day = 86_400_000;

/** A store and one key of its own, at a fixed time. */
export class Hand {
  readonly store: Store;
  readonly pk: string;
  readonly nowMs: number;

  constructor(store: Store, pk = `contract#${randomUUID()}`, nowMs = store.clock?.now() ?? Date.now()) {
    this.store = store;
    this.pk = pk;
    this.nowMs = nowMs;
  }

  get steps(): StepStore {
    assert.ok(this.store.steps, 'the store must have steps');
    return this.store.steps;
  }

  get transactions(): TransactionStore {
    assert.ok(this.store.transactions, 'the store must have transactions');
    return this.store.transactions;
  }

  claim(owner: string, more: Partial<NewClaim> = {}): Promise<ClaimWritten> {
    return this.store.claim({ ...this.newClaim(owner), ...more });
  }

  newClaim(owner: string, nowMs = this.nowMs): NewClaim {
    return {
      pk: this.pk,
      owner,
      nowMs,
      leaseUntilMs: nowMs + 1_000,
      endsAtMs: nowMs + day,
      fingerprint: 'print',
    };
  }

  claimCompleted(owner: string, answer?: Completion['answer'], nowMs = this.nowMs): Promise<Written> {
    const completion = { ...this.completion(owner, answer), window: owner };
    return this.store.claimCompleted(this.newClaim(owner, nowMs), completion);
  }

  amend(owner: string, answer: Completion['answer'] = Uint8Array.of(9)): Promise<Written> {
    return this.store.amend({ ...this.completion(owner, answer), endsAtMs: this.nowMs + 2 * day });
  }

  step(name: string, more: Partial<NewStep> = {}): NewStep {
    const { pk, nowMs } = this;
    return {
      ...{ pk, window: 'a', name, status: 'DONE', owner: 'a', attempt: 1, endsAtMs: nowMs + day },
      value: Uint8Array.of(0),
      ...more,
    };
  }

  stepRecord({ name, status, owner, attempt, value }: NewStep): StepRecord {
    return { name, status, owner, attempt, ...(value !== undefined && { value }) };
  }

  async recorded(): Promise<StepRecord[]> {
    const steps = await this.steps.read({ pk: this.pk, window: 'a' });
    return steps.map((step) =>
      step.value instanceof Uint8Array ? { ...step, value: Uint8Array.from(step.value) } : step,
    );
  }

  message(position: number): StagedMessage {
    const text = `message ${position}`;
    return { name: 'commit', position, destination: 'mail', body: text, groupId: 'g', deduplicationId: 'd' };
  }

  request(): Omit<TransactionRequest, 'claim'> {
    const { pk, nowMs } = this;
    return {
      ...{ pk, window: 'a', nowMs, endsAtMs: nowMs + day, token: randomUUID(), writes: [], messages: [] },
    };
  }

  async transact(
    request: Pick<TransactionRequest, 'claim'> & Partial<TransactionRequest>,
  ): Promise<Transacted> {
    return (await this.transactions.build({ ...this.request(), ...request })).send();
  }

  giveBack(owner: string): Promise<Written> {
    return this.store.giveBack({ pk: this.pk, owner, askedAtMs: this.nowMs });
  }

  takeOver(previousOwner: string, owner: string, attempt: number): Promise<ClaimWritten> {
    const leaseUntilMs = this.nowMs + 5_000;
    return this.store.takeOver({ pk: this.pk, previousOwner, owner, attempt, leaseUntilMs });
  }

  complete(owner: string, answer?: Completion['answer']): Promise<Written> {
    return this.store.complete(this.completion(owner, answer));
  }

  completion(owner: string, answer: Completion['answer'] = Uint8Array.of(7)): Completion {
    const completedAtMs = this.nowMs + 100;
    return { pk: this.pk, owner, window: 'a', completedAtMs, endsAtMs: completedAtMs + day, answer };
  }

  async record(): Promise<ClaimRecord> {
    const record = await this.store.read(this.pk);
    assert.ok(record, 'there must be a record');
    return record;
  }

  async answer(): Promise<Uint8Array | undefined> {
    const { answer } = await this.record();
    if (answer === undefined || answer.kind === 'unavailable') return undefined;
    const bytes = answer.kind === 'inline' ? answer.bytes : await answer.read();
    return bytes && Uint8Array.from(bytes);
  }
}

export function applied(written: ClaimWritten | StepWritten): void {
  assert.deepEqual(written, { outcome: 'applied' });
}

/** The record that stopped a write. */
export function refused(written: ClaimWritten): ClaimRecord | undefined {
  assert.equal(written.outcome, 'stopped');
  return (written as Extract<Written, { outcome: 'stopped' }>).found;
}

export function stoppedByClaim(transacted: Transacted): ClaimRecord | undefined {
  assert.equal(transacted.outcome, 'cancelled');
  const { claim } = transacted as Extract<Transacted, { outcome: 'cancelled' }>;
  assert.ok(claim, 'the claim must have stopped it');
  return claim.found;
}
