import assert from 'node:assert/strict';
import { applied, day, Hand, type Rule, refused, type StorePart } from './contract-hand.ts';
import { laneRules } from './contract-lanes.ts';
import { stepRules, transactionRules } from './contract-parts.ts';
import { onAPlace, sequenceRules } from './contract-sequence.ts';
import type { Store } from './store.ts';

/** One rule of the {@link Store} port: run it in a test of its name. */
export interface ContractCase {
  readonly name: string;
  run(): Promise<void>;
}

export interface ContractOptions {
  /**
   * The parts that the store does not have. A case fails where it has one of them after all.
   *
   * @default none: the store has steps, transactions, numbered senders and positions
   */
  readonly without?: readonly StorePart[];
}

/**
 * What every store must do, as cases for any test runner. Each case uses a key of its own, so one store serves all.
 *
 * @example
 * for (const { name, run } of storeContract(() => myStore())) test(name, run);
 */
export function storeContract(
  createStore: () => Store | Promise<Store>,
  { without = [] }: ContractOptions = {},
): readonly ContractCase[] {
  const cases: ContractCase[] = [];
  const rule: Rule = (name, body, needs = []) => {
    if (needs.some((part) => part !== 'windows' && without.includes(part))) return;
    cases.push({ name, run: async () => body(new Hand(await createStore())) });
  };

  for (const part of ['steps', 'transactions', 'numbered', 'positioned'] as const) {
    const isThere = !without.includes(part);
    rule(`has ${isThere ? '' : 'no '}${part}`, async ({ store }) => {
      assert.equal(store[part] !== undefined, isThere);
    });
  }

  claimRules(rule);
  stepRules(rule);
  transactionRules(rule);
  sequenceRules(rule);
  laneRules(rule);
  const ofAPlace = onAPlace(rule);
  claimRules(ofAPlace);
  stepRules(ofAPlace);
  transactionRules(ofAPlace);
  return cases;
}

function claimRules(rule: Rule): void {
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

  rule(
    'claims anew at the very moment when a completed window is over, whatever the lease',
    async (hand) => {
      applied(await hand.claim('a', { leaseUntilMs: hand.nowMs + 10 * day }));
      applied(await hand.complete('a'));
      const { endsAtMs } = await hand.record();
      assert.equal(refused(await hand.claim('b', { nowMs: endsAtMs - 1 }))?.status, 'COMPLETED');
      applied(await hand.claim('b', { nowMs: endsAtMs, endsAtMs: endsAtMs + day }));
      const record = await hand.record();
      assert.equal(record.status, 'IN_PROGRESS');
      assert.equal(record.answer, undefined, "the new window must not show the old one's answer");
      assert.equal(record.completedAtMs, undefined);
    },
    ['windows'],
  );

  rule('lets one of fifty concurrent claims win', async (hand) => {
    const all = await Promise.all(Array.from({ length: 50 }, (_, i) => hand.claim(`owner-${i}`)));
    assert.equal(all.filter((written) => written.outcome === 'applied').length, 1);
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
    assert.equal(all.filter((written) => written.outcome === 'applied').length, 1);
  });

  rule('refuses a takeover from another owner, of a completed operation and of none', async (hand) => {
    assert.equal(refused(await hand.takeOver('a', 'b', 2)), undefined);
    applied(await hand.claim('a'));
    assert.equal(refused(await hand.takeOver('x', 'b', 2))?.owner, 'a');
    applied(await hand.complete('a'));
    assert.equal(refused(await hand.takeOver('a', 'b', 2))?.status, 'COMPLETED');
  });

  rule(
    "stores its owner's answer and moves the window's end",
    async (hand) => {
      applied(await hand.claim('a'));
      applied(await hand.complete('a', Uint8Array.of(1, 2, 3)));
      const record = await hand.record();
      assert.equal(record.status, 'COMPLETED');
      assert.equal(record.completedAtMs, hand.nowMs + 100);
      assert.equal(record.endsAtMs, hand.nowMs + 100 + day);
      assert.deepEqual(await hand.answer(), Uint8Array.of(1, 2, 3));
    },
    ['windows'],
  );

  rule('stores why there is no answer', async (hand) => {
    applied(await hand.claim('a'));
    const why = { reason: 'unserialisable', detail: '$.total is a Money' } as const;
    applied(await hand.complete('a', why));
    assert.deepEqual((await hand.record()).answer, { kind: 'unavailable', ...why });
    applied(await hand.store.amend(hand.completion('a', { reason: 'too-large' })));
    assert.deepEqual((await hand.record()).answer, { kind: 'unavailable', reason: 'too-large' });
  });

  for (const size of [0, 4_096, 4_097, 380_001, 1_000_000]) {
    rule(`stores an answer of ${size} bytes`, async (hand) => {
      const memory = Uint8Array.from({ length: size + 2 }, (_, i) => (i * 31 + (i >> 8)) % 256);
      const answer = memory.subarray(1, size + 1);
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

  rule('keeps of a claim that its owner gives back only what keeps its late requests out', async (hand) => {
    applied(await hand.claim('a'));
    applied(await hand.giveBack('a'));
    assert.deepEqual(
      { ...(await hand.record()), pk: '' },
      {
        pk: '',
        status: 'RELEASED',
        owner: 'a',
        window: 'a',
        attempt: 1,
        leaseUntilMs: 0,
        endsAtMs: hand.nowMs + 1,
        createdAtMs: hand.nowMs,
      },
    );
    assert.equal(refused(await hand.claim('a'))?.status, 'RELEASED');
    applied(await hand.claim('b', { nowMs: hand.nowMs + 1 }));
  });

  rule('gives back a claim that has not arrived yet', async (hand) => {
    applied(await hand.giveBack('a'));
    assert.equal(refused(await hand.claim('a'))?.status, 'RELEASED');
    applied(await hand.claim('b', { nowMs: hand.nowMs + 1 }));
    assert.equal(refused(await hand.giveBack('a'))?.owner, 'b');
  });

  rule('gives back nothing for another owner, nor what is completed', async (hand) => {
    applied(await hand.claim('a'));
    assert.equal(refused(await hand.giveBack('b'))?.owner, 'a');
    applied(await hand.complete('a'));
    assert.equal(refused(await hand.giveBack('a'))?.status, 'COMPLETED');
    assert.equal((await hand.record()).status, 'COMPLETED');
  });

  rule('takes over, completes and ends nothing of what was given back', async (hand) => {
    applied(await hand.claim('a'));
    applied(await hand.giveBack('a'));
    assert.equal(refused(await hand.takeOver('a', 'b', 2))?.status, 'RELEASED');
    assert.equal(refused(await hand.complete('a'))?.status, 'RELEASED');
    assert.equal(refused(await hand.amend('a'))?.status, 'RELEASED');
    assert.equal(refused(await hand.store.endLease({ pk: hand.pk, owner: 'a' }))?.status, 'RELEASED');
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

  rule(
    'puts a claim that is completed at once',
    async (hand) => {
      applied(await hand.claimCompleted('a', Uint8Array.of(1)));
      const record = await hand.record();
      assert.deepEqual(
        { ...record, pk: '', answer: await hand.answer() },
        {
          pk: '',
          status: 'COMPLETED',
          owner: 'a',
          window: 'a',
          attempt: 1,
          leaseUntilMs: hand.nowMs + 1_000,
          endsAtMs: hand.nowMs + 100 + day,
          createdAtMs: hand.nowMs,
          completedAtMs: hand.nowMs + 100,
          fingerprint: 'print',
          answer: Uint8Array.of(1),
        },
      );
    },
    ['windows'],
  );

  rule(
    'puts a completed claim on the condition of a claim',
    async (hand) => {
      applied(await hand.claim('a'));
      assert.equal(refused(await hand.claimCompleted('b'))?.owner, 'a');
      applied(await hand.complete('a'));
      const { endsAtMs } = await hand.record();
      assert.equal(refused(await hand.claimCompleted('b', undefined, endsAtMs - 1))?.owner, 'a');
      applied(await hand.claimCompleted('b', new Uint8Array(9_000).fill(2), endsAtMs));
      assert.equal((await hand.record()).window, 'b');
      assert.deepEqual(await hand.answer(), new Uint8Array(9_000).fill(2));
    },
    ['windows'],
  );

  for (const [before, after] of [
    [1, 9_000],
    [9_000, 1],
    [9_000, 9_000],
  ] as const) {
    rule(`replaces an answer of ${before} bytes by one of ${after}, and nothing else`, async (hand) => {
      applied(await hand.claim('a'));
      applied(await hand.complete('a', new Uint8Array(before).fill(1)));
      const { answer: _, ...first } = await hand.record();
      applied(await hand.amend('a', new Uint8Array(after).fill(2)));
      applied(await hand.amend('a', new Uint8Array(after).fill(3)));
      const { answer: __, ...second } = await hand.record();
      assert.deepEqual(second, first);
      assert.deepEqual(await hand.answer(), new Uint8Array(after).fill(3));
    });
  }

  rule('replaces no answer for another owner, nor of what is in progress or absent', async (hand) => {
    assert.equal(refused(await hand.amend('a')), undefined);
    applied(await hand.claim('a'));
    assert.equal(refused(await hand.amend('a'))?.status, 'IN_PROGRESS');
    applied(await hand.complete('a'));
    assert.equal(refused(await hand.amend('b'))?.owner, 'a');
    assert.deepEqual(await hand.answer(), Uint8Array.of(7));
  });
}
