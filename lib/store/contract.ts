import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import type {
  ClaimRecord,
  Completion,
  NewClaim,
  NewStep,
  StagedMessage,
  StepRecord,
  StepWritten,
  Store,
  Transacted,
  TransactionRequest,
  Written,
} from './store.ts';

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
    const why = { reason: 'unserialisable', detail: '$.total is a Money' } as const;
    applied(await hand.complete('a', why));
    assert.deepEqual((await hand.record()).answer, { kind: 'unavailable', ...why });
    applied(await hand.store.amend(hand.completion('a', { reason: 'too-large' })));
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

  rule('puts a claim that is completed at once', async (hand) => {
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
  });

  rule('puts a completed claim on the condition of a claim', async (hand) => {
    applied(await hand.claim('a'));
    assert.equal(refused(await hand.claimCompleted('b'))?.owner, 'a');
    applied(await hand.complete('a'));
    const { endsAtMs } = await hand.record();
    assert.equal(refused(await hand.claimCompleted('b', undefined, endsAtMs - 1))?.owner, 'a');
    applied(await hand.claimCompleted('b', new Uint8Array(9_000).fill(2), endsAtMs));
    assert.equal((await hand.record()).window, 'b');
    assert.deepEqual(await hand.answer(), new Uint8Array(9_000).fill(2));
  });

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

  rule('keeps the first record of a step, and shows it', async (hand) => {
    const first = hand.step('charge', { owner: 'a', value: Uint8Array.of(1) });
    applied(await hand.store.putStep(first));
    const again = await hand.store.putStep(hand.step('charge', { owner: 'b', attempt: 2 }));
    assert.deepEqual(again, { applied: false, found: hand.stepRecord(first) });
    assert.deepEqual(await hand.steps(), [hand.stepRecord(first)]);
  });

  rule('keeps why a step has no value', async (hand) => {
    const step = hand.step('charge', { value: { reason: 'too-large' } });
    applied(await hand.store.putStep(step));
    assert.deepEqual(await hand.steps(), [hand.stepRecord(step)]);
    const detailed = hand.step('refund', { value: { reason: 'unserialisable', detail: '$ is a function' } });
    applied(await hand.store.putStep(detailed));
    assert.deepEqual((await hand.steps()).at(-1), hand.stepRecord(detailed));
  });

  rule('keeps steps of other names, windows and operations apart', async (hand) => {
    for (const name of ['a', 'a#b', 'A', 'ä b/c']) applied(await hand.store.putStep(hand.step(name)));
    applied(await hand.store.putStep(hand.step('a', { window: 'other' })));
    applied(await hand.store.putStep(hand.step('a', { pk: `${hand.pk}-other` })));
    const names = (await hand.steps()).map(({ name }) => name);
    assert.deepEqual(names.sort(), ['A', 'a', 'a#b', 'ä b/c']);
    assert.deepEqual(await hand.store.readSteps({ pk: hand.pk, window: 'none' }), []);
  });

  rule('reads more steps than one page takes', async (hand) => {
    const value = new Uint8Array(300_000).fill(1);
    for (const name of ['1', '2', '3', '4']) applied(await hand.store.putStep(hand.step(name, { value })));
    assert.deepEqual(
      (await hand.steps()).map((step) => [step.name, (step.value as Uint8Array).length]),
      ['1', '2', '3', '4'].map((name) => [name, 300_000]),
    );
  });

  rule('ends a step that its owner has started, once', async (hand) => {
    const { value: _, ...started } = hand.step('mail', { status: 'STARTED' });
    applied(await hand.store.putStep(started));
    assert.deepEqual(await hand.steps(), [hand.stepRecord(started)]);
    const done = hand.step('mail', { value: Uint8Array.of(1) });
    applied(await hand.store.finishStep(done));
    assert.deepEqual(await hand.steps(), [hand.stepRecord(done)]);
    const again = await hand.store.finishStep(hand.step('mail', { value: Uint8Array.of(2) }));
    assert.deepEqual(again, { applied: false, found: hand.stepRecord(done) });
  });

  rule('ends no step of another owner, nor one that was not started', async (hand) => {
    assert.deepEqual(await hand.store.finishStep(hand.step('mail')), { applied: false, found: undefined });
    const { value: _, ...started } = hand.step('mail', { status: 'STARTED' });
    applied(await hand.store.putStep(started));
    const other = await hand.store.finishStep(hand.step('mail', { owner: 'b' }));
    assert.deepEqual(other, { applied: false, found: hand.stepRecord(started) });
  });

  rule('applies a transaction with a step while the claim is its owner’s', async (hand) => {
    applied(await hand.claim('a'));
    const step = hand.step('reserve', { value: Uint8Array.of(1) });
    const before = await hand.record();
    assert.deepEqual(await hand.transact({ claim: { kind: 'check', owner: 'a' }, step }), {
      outcome: 'applied',
    });
    assert.deepEqual(await hand.record(), before);
    assert.deepEqual(await hand.steps(), [hand.stepRecord(step)]);
  });

  rule(
    'applies nothing of a transaction under another’s claim, or none, and shows the claim',
    async (hand) => {
      const request = { claim: { kind: 'check', owner: 'a' }, step: hand.step('reserve') } as const;
      const message = hand.message(0);
      assert.equal(stoppedByClaim(await hand.transact({ ...request, messages: [message] })), undefined);
      applied(await hand.claim('a'));
      applied(await hand.takeOver('a', 'b', 2));
      assert.equal(stoppedByClaim(await hand.transact({ ...request, messages: [message] }))?.owner, 'b');
      assert.deepEqual(await hand.steps(), []);
      // Nor was its message staged.
      const again = await hand.transact({ claim: { kind: 'none' }, messages: [message] });
      assert.deepEqual(again, { outcome: 'applied' });
    },
  );

  rule('applies nothing of a transaction whose step is recorded, and shows the step', async (hand) => {
    applied(await hand.claim('a'));
    const first = hand.step('reserve', { value: Uint8Array.of(1) });
    applied(await hand.store.putStep(first));
    const second = await hand.transact({
      claim: { kind: 'check', owner: 'a' },
      step: hand.step('reserve', { owner: 'b', value: Uint8Array.of(2) }),
    });
    assert.equal(second.outcome, 'cancelled');
    assert.deepEqual('step' in second && second.step, { found: hand.stepRecord(first) });
    assert.equal('claim' in second && second.claim !== undefined, false);
  });

  rule('tells of the claim as well when both stop a transaction', async (hand) => {
    applied(await hand.claim('a'));
    applied(await hand.store.putStep(hand.step('reserve')));
    applied(await hand.takeOver('a', 'b', 2));
    const cancelled = await hand.transact({
      claim: { kind: 'check', owner: 'a' },
      step: hand.step('reserve'),
    });
    assert.equal(stoppedByClaim(cancelled)?.owner, 'b');
    assert.ok('step' in cancelled && cancelled.step);
  });

  for (const size of [1, 9_000]) {
    rule(`completes in a transaction, with an answer of ${size} bytes`, async (hand) => {
      applied(await hand.claim('a'));
      const completion = hand.completion('a', new Uint8Array(size).fill(1));
      const claim = { kind: 'complete', completion } as const;
      assert.deepEqual(await hand.transact({ claim, messages: [hand.message(0), hand.message(1)] }), {
        outcome: 'applied',
      });
      assert.equal((await hand.record()).status, 'COMPLETED');
      assert.deepEqual(await hand.answer(), new Uint8Array(size).fill(1));
      // A second one, of the same attempt, finds it completed.
      const found = stoppedByClaim(await hand.transact({ claim, messages: [hand.message(2)] }));
      assert.deepEqual([found?.owner, found?.status], ['a', 'COMPLETED']);
    });
  }

  rule('claims and completes in a transaction, on the condition of a claim', async (hand) => {
    const record = (owner: string) =>
      ({
        kind: 'record',
        claim: hand.newClaim(owner),
        completion: { ...hand.completion(owner), window: owner },
      }) as const;
    assert.deepEqual(await hand.transact({ claim: record('a'), messages: [hand.message(0)] }), {
      outcome: 'applied',
    });
    assert.deepEqual(await hand.answer(), Uint8Array.of(7));
    const found = stoppedByClaim(
      await hand.transact({ claim: record('b'), window: 'b', messages: [hand.message(0)] }),
    );
    assert.deepEqual([found?.owner, found?.status], ['a', 'COMPLETED']);
  });

  rule('applies a transaction once, however often it is sent', async (hand) => {
    applied(await hand.claim('a'));
    const transaction = await hand.store.transact({
      ...hand.request(),
      claim: { kind: 'complete', completion: hand.completion('a') },
      messages: [hand.message(0)],
    });
    assert.deepEqual(await transaction.send(), { outcome: 'applied' });
    const again = await transaction.send();
    if (again.outcome !== 'applied') assert.equal(stoppedByClaim(again)?.owner, 'a');
  });

  rule('stages a message once', async (hand) => {
    const staged = { claim: { kind: 'none' }, messages: [hand.message(0)] } as const;
    assert.deepEqual(await hand.transact(staged), { outcome: 'applied' });
    const again = await hand.transact({ ...staged, messages: [hand.message(1), hand.message(0)] });
    assert.equal(again.outcome, 'cancelled');
    assert.deepEqual(await hand.transact({ ...staged, messages: [hand.message(1)] }), { outcome: 'applied' });
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

  async steps(): Promise<StepRecord[]> {
    const steps = await this.store.readSteps({ pk: this.pk, window: 'a' });
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
    return (await this.store.transact({ ...this.request(), ...request })).send();
  }

  giveBack(owner: string): Promise<Written> {
    return this.store.giveBack({ pk: this.pk, owner, askedAtMs: this.nowMs });
  }

  takeOver(previousOwner: string, owner: string, attempt: number): Promise<Written> {
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
    const record = await this.record();
    const bytes =
      record.answer?.kind === 'inline' ? record.answer.bytes : await this.store.readChunks(record);
    return bytes && Uint8Array.from(bytes);
  }
}

function applied(written: Written | StepWritten): void {
  assert.deepEqual(written, { applied: true });
}

function refused(written: Written): ClaimRecord | undefined {
  assert.equal(written.applied, false);
  return (written as Extract<Written, { applied: false }>).found;
}

function stoppedByClaim(transacted: Transacted): ClaimRecord | undefined {
  assert.equal(transacted.outcome, 'cancelled');
  const { claim } = transacted as Extract<Transacted, { outcome: 'cancelled' }>;
  assert.ok(claim, 'the claim must have stopped it');
  return claim.found;
}
