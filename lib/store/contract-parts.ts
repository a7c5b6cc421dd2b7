/** What a store must do that keeps steps, and one that writes several items at once. */
import assert from 'node:assert/strict';
import { applied, type Rule, stoppedByClaim } from './contract-hand.ts';

export function stepRules(rule: Rule): void {
  rule(
    'keeps the first record of a step, and shows it',
    async (hand) => {
      const first = hand.step('charge', { owner: 'a', value: Uint8Array.of(0, 1, 0).subarray(1, 2) });
      applied(await hand.steps.put(first));
      const again = await hand.steps.put(hand.step('charge', { owner: 'b', attempt: 2 }));
      assert.deepEqual(again, { outcome: 'stopped', found: hand.stepRecord(first) });
      assert.deepEqual(await hand.recorded(), [hand.stepRecord(first)]);
    },
    ['steps'],
  );

  rule(
    'keeps why a step has no value',
    async (hand) => {
      const step = hand.step('charge', { value: { reason: 'too-large' } });
      applied(await hand.steps.put(step));
      assert.deepEqual(await hand.recorded(), [hand.stepRecord(step)]);
      const detailed = hand.step('refund', {
        value: { reason: 'unserialisable', detail: '$ is a function' },
      });
      applied(await hand.steps.put(detailed));
      assert.deepEqual((await hand.recorded()).at(-1), hand.stepRecord(detailed));
    },
    ['steps'],
  );

  rule(
    'keeps steps of other names, windows and operations apart',
    async (hand) => {
      for (const name of ['a', 'a#b', 'A', 'ä b/c']) applied(await hand.steps.put(hand.step(name)));
      applied(await hand.steps.put(hand.step('a', { window: 'other' })));
      applied(await hand.steps.put(hand.step('a', { pk: `${hand.pk}-other` })));
      const names = (await hand.recorded()).map(({ name }) => name);
      assert.deepEqual(names.sort(), ['A', 'a', 'a#b', 'ä b/c']);
      assert.deepEqual(await hand.steps.read({ pk: hand.pk, window: 'none' }), []);
    },
    ['steps'],
  );

  rule(
    'reads more steps than one page takes',
    async (hand) => {
      const value = new Uint8Array(300_000).fill(1);
      const names = ['1', '2', '3', '4', '5', '6', '7', '8'];
      for (const name of names) applied(await hand.steps.put(hand.step(name, { value })));
      assert.deepEqual(
        (await hand.recorded()).map((step) => [step.name, (step.value as Uint8Array).length]),
        names.map((name) => [name, 300_000]),
      );
    },
    ['steps'],
  );

  rule(
    'ends a step that its owner has started, once',
    async (hand) => {
      const { value: _, ...started } = hand.step('mail', { status: 'STARTED' });
      applied(await hand.steps.put(started));
      assert.deepEqual(await hand.recorded(), [hand.stepRecord(started)]);
      const done = hand.step('mail', { value: Uint8Array.of(1) });
      applied(await hand.steps.finish(done));
      assert.deepEqual(await hand.recorded(), [hand.stepRecord(done)]);
      const again = await hand.steps.finish(hand.step('mail', { value: Uint8Array.of(2) }));
      assert.deepEqual(again, { outcome: 'stopped', found: hand.stepRecord(done) });
    },
    ['steps'],
  );

  rule(
    'ends no step of another owner, nor one that was not started',
    async (hand) => {
      assert.deepEqual(await hand.steps.finish(hand.step('mail')), {
        outcome: 'stopped',
        found: undefined,
      });
      const { value: _, ...started } = hand.step('mail', { status: 'STARTED' });
      applied(await hand.steps.put(started));
      const other = await hand.steps.finish(hand.step('mail', { owner: 'b' }));
      assert.deepEqual(other, { outcome: 'stopped', found: hand.stepRecord(started) });
    },
    ['steps'],
  );
}

export function transactionRules(rule: Rule): void {
  rule(
    'applies a transaction with a step while the claim is its owner’s',
    async (hand) => {
      applied(await hand.claim('a'));
      const step = hand.step('reserve', { value: Uint8Array.of(1) });
      const before = await hand.record();
      assert.deepEqual(await hand.transact({ claim: { kind: 'check', owner: 'a' }, step }), {
        outcome: 'applied',
      });
      assert.deepEqual(await hand.record(), before);
      assert.deepEqual(await hand.recorded(), [hand.stepRecord(step)]);
    },
    ['steps', 'transactions'],
  );

  rule(
    'applies nothing of a transaction under another’s claim, or none, and shows the claim',
    async (hand) => {
      const request = { claim: { kind: 'check', owner: 'a' }, step: hand.step('reserve') } as const;
      const message = hand.message(0);
      assert.equal(stoppedByClaim(await hand.transact({ ...request, messages: [message] })), undefined);
      applied(await hand.claim('a'));
      applied(await hand.takeOver('a', 'b', 2));
      assert.equal(stoppedByClaim(await hand.transact({ ...request, messages: [message] }))?.owner, 'b');
      assert.deepEqual(await hand.recorded(), []);
      // Nor was its message staged.
      const again = await hand.transact({ claim: { kind: 'none' }, messages: [message] });
      assert.deepEqual(again, { outcome: 'applied' });
    },
    ['steps', 'transactions'],
  );

  rule(
    'applies nothing of a transaction whose step is recorded, and shows the step',
    async (hand) => {
      applied(await hand.claim('a'));
      const first = hand.step('reserve', { value: Uint8Array.of(1) });
      applied(await hand.steps.put(first));
      const second = await hand.transact({
        claim: { kind: 'check', owner: 'a' },
        step: hand.step('reserve', { owner: 'b', value: Uint8Array.of(2) }),
      });
      assert.equal(second.outcome, 'cancelled');
      assert.deepEqual('step' in second && second.step, { found: hand.stepRecord(first) });
      assert.equal('claim' in second && second.claim !== undefined, false);
    },
    ['steps', 'transactions'],
  );

  rule(
    'tells of the claim as well when both stop a transaction',
    async (hand) => {
      applied(await hand.claim('a'));
      applied(await hand.steps.put(hand.step('reserve')));
      applied(await hand.takeOver('a', 'b', 2));
      const cancelled = await hand.transact({
        claim: { kind: 'check', owner: 'a' },
        step: hand.step('reserve'),
      });
      assert.equal(stoppedByClaim(cancelled)?.owner, 'b');
      assert.ok('step' in cancelled && cancelled.step);
    },
    ['steps', 'transactions'],
  );

  for (const size of [1, 9_000]) {
    rule(
      `completes in a transaction, with an answer of ${size} bytes`,
      async (hand) => {
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
      },
      ['transactions'],
    );
  }

  rule(
    'claims and completes in a transaction, on the condition of a claim',
    async (hand) => {
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
    },
    ['transactions'],
  );

  rule(
    'applies a transaction once, however often it is sent',
    async (hand) => {
      applied(await hand.claim('a'));
      const transaction = await hand.transactions.build({
        ...hand.request(),
        claim: { kind: 'complete', completion: hand.completion('a') },
        messages: [hand.message(0)],
      });
      assert.deepEqual(await transaction.send(), { outcome: 'applied' });
      const again = await transaction.send();
      if (again.outcome !== 'applied') assert.equal(stoppedByClaim(again)?.owner, 'a');
    },
    ['transactions'],
  );

  rule(
    'stages a message once',
    async (hand) => {
      const staged = { claim: { kind: 'none' }, messages: [hand.message(0)] } as const;
      assert.deepEqual(await hand.transact(staged), { outcome: 'applied' });
      const again = await hand.transact({ ...staged, messages: [hand.message(1), hand.message(0)] });
      assert.equal(again.outcome, 'cancelled');
      assert.deepEqual(await hand.transact({ ...staged, messages: [hand.message(1)] }), {
        outcome: 'applied',
      });
    },
    ['transactions'],
  );
}
