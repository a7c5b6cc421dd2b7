import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type { ClaimRecord, Completion, NewClaim, Store, Written } from './store.ts';

/** One rule of the {@link Store} port: run it in a test of its name. */
export interface ContractCase {
  readonly name: string;
  run(): Promise<void>;
}

const day = 86_400_000;

/**
 * What every store must do, as cases for any test runner. Each case uses a key of its own, so one store serves all.
 *
 * @example
 * for (const { name, run } of storeContract(() => myStore())) test(name, run);
 */
export function storeContract(createStore: () => Store | Promise<Store>): readonly ContractCase[] {
  const cases: ContractCase[] = [];
  const rule = (name: string, body: (hand: Hand) => Promise<void>) => {
    cases.push({ name, run: async () => body(new Hand(await createStore())) });
  };

  rule('claims what has no record', async (hand) => {
    applied(await hand.claim('a'));
    const record = await hand.record();
    assert.deepEqual(
      { ...record, pk: '' },
      {
        pk: '',
        status: 'IN_PROGRESS',
        owner: 'a',
        window: 'a',
        attempt: 1,
        leaseUntilMs: hand.nowMs + 1_000,
        endsAtMs: hand.nowMs + day,
        createdAtMs: hand.nowMs,
        fingerprint: 'print',
      },
    );
  });

  rule('keeps no fingerprint where there is none', async (hand) => {
    applied(await hand.claim('a', { fingerprint: undefined }));
    assert.equal((await hand.record()).fingerprint, undefined);
  });

  rule('reads nothing where there is nothing', async (hand) => {
    assert.equal(await hand.store.read(hand.pk), undefined);
  });

  rule('refuses a claim on a running operation and hands out its record', async (hand) => {
    applied(await hand.claim('a'));
    const found = refused(await hand.claim('b'));
    assert.equal(found?.owner, 'a');
    assert.deepEqual(found, await hand.record());
  });

  rule('shows a repeated claim its own record', async (hand) => {
    applied(await hand.claim('a'));
    assert.equal(refused(await hand.claim('a'))?.owner, 'a');
  });

  rule('refuses a claim while the window lasts, though the lease is over', async (hand) => {
    applied(await hand.claim('a'));
    assert.equal(refused(await hand.claim('b', { nowMs: hand.nowMs + 2_000 }))?.owner, 'a');
  });

  rule('refuses a claim while the lease holds, though the window is over', async (hand) => {
    applied(await hand.claim('a', { endsAtMs: hand.nowMs + 500 }));
    assert.equal(refused(await hand.claim('b', { nowMs: hand.nowMs + 999 }))?.owner, 'a');
  });

  rule('claims anew at the very moment when window and lease are over', async (hand) => {
    applied(await hand.claim('a', { endsAtMs: hand.nowMs + 1_000 }));
    applied(await hand.claim('b', { nowMs: hand.nowMs + 1_000 }));
    const { owner, window, attempt } = await hand.record();
    assert.deepEqual({ owner, window, attempt }, { owner: 'b', window: 'b', attempt: 1 });
  });

  rule('claims anew at the very moment when a completed window is over, whatever the lease', async (hand) => {
    applied(await hand.claim('a', { leaseUntilMs: hand.nowMs + 10 * day }));
    applied(await hand.complete('a'));
    const { endsAtMs } = await hand.record();
    assert.equal(refused(await hand.claim('b', { nowMs: endsAtMs - 1 }))?.status, 'COMPLETED');
    applied(await hand.claim('b', { nowMs: endsAtMs, endsAtMs: endsAtMs + day }));
    const record = await hand.record();
    assert.equal(record.status, 'IN_PROGRESS');
    assert.equal(record.answer, undefined, "the new window must not show the old one's answer");
    assert.equal(record.completedAtMs, undefined);
  });

  rule('lets one of fifty concurrent claims win', async (hand) => {
    const all = await Promise.all(Array.from({ length: 50 }, (_, i) => hand.claim(`owner-${i}`)));
    assert.equal(all.filter((written) => written.applied).length, 1);
  });

  rule('takes over from the owner that was seen, in the same window', async (hand) => {
    applied(await hand.claim('a'));
    applied(await hand.takeOver('a', 'b', 2));
    const { owner, window, attempt, leaseUntilMs, endsAtMs, createdAtMs } = await hand.record();
    assert.deepEqual(
      { owner, window, attempt, leaseUntilMs, endsAtMs, createdAtMs },
      {
        owner: 'b',
        window: 'a',
        attempt: 2,
        leaseUntilMs: hand.nowMs + 5_000,
        endsAtMs: hand.nowMs + day,
        createdAtMs: hand.nowMs,
      },
    );
  });

  rule('lets one of twenty concurrent takeovers win', async (hand) => {
    applied(await hand.claim('a'));
    const all = await Promise.all(Array.from({ length: 20 }, (_, i) => hand.takeOver('a', `owner-${i}`, 2)));
    assert.equal(all.filter((written) => written.applied).length, 1);
  });

  rule('refuses a takeover from another owner, of a completed operation and of none', async (hand) => {
    assert.equal(refused(await hand.takeOver('a', 'b', 2)), undefined);
    applied(await hand.claim('a'));
    assert.equal(refused(await hand.takeOver('x', 'b', 2))?.owner, 'a');
    applied(await hand.complete('a'));
    assert.equal(refused(await hand.takeOver('a', 'b', 2))?.status, 'COMPLETED');
  });

  rule("stores its owner's answer and moves the window's end", async (hand) => {
    applied(await hand.claim('a'));
    applied(await hand.complete('a', Uint8Array.of(1, 2, 3)));
    const record = await hand.record();
    assert.equal(record.status, 'COMPLETED');
    assert.equal(record.completedAtMs, hand.nowMs + 100);
    assert.equal(record.endsAtMs, hand.nowMs + 100 + day);
    assert.deepEqual(await hand.answer(), Uint8Array.of(1, 2, 3));
  });

  rule('stores why there is no answer', async (hand) => {
    applied(await hand.claim('a'));
    applied(await hand.complete('a', 'too-large'));
    assert.deepEqual((await hand.record()).answer, { kind: 'unavailable', reason: 'too-large' });
  });

  for (const size of [0, 4_096, 4_097, 380_001, 1_000_000]) {
    rule(`stores an answer of ${size} bytes`, async (hand) => {
      const answer = Uint8Array.from({ length: size }, (_, i) => (i * 31 + (i >> 8)) % 256);
      applied(await hand.claim('a'));
      applied(await hand.complete('a', answer));
      assert.deepEqual(await hand.answer(), answer);
    });
  }

  rule('keeps the first completion when it is repeated, and shows it', async (hand) => {
    applied(await hand.claim('a'));
    applied(await hand.complete('a', new Uint8Array(5_000).fill(1)));
    assert.equal(refused(await hand.complete('a', new Uint8Array(5_000).fill(2)))?.owner, 'a');
    assert.deepEqual(await hand.answer(), new Uint8Array(5_000).fill(1));
  });

  rule('refuses the completion of an overtaken owner and of none', async (hand) => {
    assert.equal(refused(await hand.complete('a')), undefined);
    applied(await hand.claim('a'));
    applied(await hand.takeOver('a', 'b', 2));
    const before = await hand.record();
    assert.equal(refused(await hand.complete('a'))?.owner, 'b');
    assert.deepEqual(await hand.record(), before);
  });

  rule('removes what its owner gives up', async (hand) => {
    applied(await hand.claim('a'));
    applied(await hand.store.remove({ pk: hand.pk, owner: 'a' }));
    assert.equal(await hand.store.read(hand.pk), undefined);
  });

  rule('removes nothing for another owner, nor what is completed', async (hand) => {
    assert.equal(refused(await hand.store.remove({ pk: hand.pk, owner: 'a' })), undefined);
    applied(await hand.claim('a'));
    assert.equal(refused(await hand.store.remove({ pk: hand.pk, owner: 'b' }))?.owner, 'a');
    applied(await hand.complete('a'));
    assert.equal(refused(await hand.store.remove({ pk: hand.pk, owner: 'a' }))?.status, 'COMPLETED');
    assert.equal((await hand.record()).status, 'COMPLETED');
  });

  rule("ends its owner's lease and keeps the window", async (hand) => {
    applied(await hand.claim('a'));
    applied(await hand.store.endLease({ pk: hand.pk, owner: 'a' }));
    applied(await hand.store.endLease({ pk: hand.pk, owner: 'a' }));
    const { leaseUntilMs, owner, window, status } = await hand.record();
    assert.deepEqual(
      { leaseUntilMs, owner, window, status },
      { leaseUntilMs: 0, owner: 'a', window: 'a', status: 'IN_PROGRESS' },
    );
  });

  rule('ends no lease for another owner, nor of what is completed', async (hand) => {
    assert.equal(refused(await hand.store.endLease({ pk: hand.pk, owner: 'a' })), undefined);
    applied(await hand.claim('a'));
    assert.equal(refused(await hand.store.endLease({ pk: hand.pk, owner: 'b' }))?.owner, 'a');
    assert.equal((await hand.record()).leaseUntilMs, hand.nowMs + 1_000);
    applied(await hand.complete('a'));
    assert.equal(refused(await hand.store.endLease({ pk: hand.pk, owner: 'a' }))?.status, 'COMPLETED');
  });

  return cases;
}

/** A store and one key of its own, at a fixed time. */
class Hand {
  readonly store: Store;
  readonly pk = `contract#${randomUUID()}`;
  readonly nowMs: number;

  constructor(store: Store) {
    this.store = store;
    this.nowMs = store.clock?.now() ?? Date.now();
  }

  claim(owner: string, more: Partial<NewClaim> = {}): Promise<Written> {
    return this.store.claim({
      pk: this.pk,
      owner,
      nowMs: this.nowMs,
      leaseUntilMs: this.nowMs + 1_000,
      endsAtMs: this.nowMs + day,
      fingerprint: 'print',
      ...more,
    });
  }

  takeOver(previousOwner: string, owner: string, attempt: number): Promise<Written> {
    const leaseUntilMs = this.nowMs + 5_000;
    return this.store.takeOver({ pk: this.pk, previousOwner, owner, attempt, leaseUntilMs });
  }

  complete(owner: string, answer: Completion['answer'] = Uint8Array.of(7)): Promise<Written> {
    const completedAtMs = this.nowMs + 100;
    return this.store.complete({
      pk: this.pk,
      owner,
      window: 'a',
      completedAtMs,
      endsAtMs: completedAtMs + day,
      answer,
    });
  }

  async record(): Promise<ClaimRecord> {
    const record = await this.store.read(this.pk);
    assert.ok(record, 'there must be a record');
    return record;
  }

  async answer(): Promise<Uint8Array | undefined> {
    const record = await this.record();
    const bytes =
      record.answer?.kind === 'inline' ? record.answer.bytes : await this.store.readChunks(record);
    return bytes && Uint8Array.from(bytes);
  }
}

function applied(written: Written): void {
  assert.deepEqual(written, { applied: true });
}

function refused(written: Written): ClaimRecord | undefined {
  assert.equal(written.applied, false);
  return (written as Extract<Written, { applied: false }>).found;
}
