/** What a store must do that keeps numbered senders. */
import assert from 'node:assert/strict';
import { IdempotencyError, type IdempotencyErrorCode } from '../errors.ts';
import { uniqueId } from '../unique-id.ts';
import { applied, day, Hand, type Rule, refused, stoppedByClaim } from './contract-hand.ts';
import type { ClaimRecord, SequencePlace, Store } from './store.ts';

const mostNumber = Number.MAX_SAFE_INTEGER;

/** The same rules for the first operation of a sender, as far as they do not need a window that ends. */
export const onAPlace =
  (rule: Rule): Rule =>
  (name, body, needs = []) => {
    if (needs.includes('windows')) return;
    rule(`of a numbered sender: ${name}`, ({ store }) => body(new Sender(store).at(0)), [
      ...needs,
      'numbered',
    ]);
  };

/** One sender of a store, at a fixed time. */
class Sender {
  readonly #store: Store;
  readonly name = `contract#${uniqueId()}`;

  readonly #nowMs: number;

  constructor(store: Store) {
    this.#store = store;
    this.#nowMs = store.clock?.now() ?? Date.now();
  }

  at(number: number, place: Partial<Omit<SequencePlace, 'sender' | 'number'>> = {}): Hand {
    const { epoch = 3, startsAnywhere = false } = place;
    assert.ok(this.#store.numbered, 'the store must have numbered senders');
    const store = this.#store.numbered({ sender: this.name, epoch, number, startsAnywhere });
    return new Hand(store, `${this.name}:${epoch}:${number}`, this.#nowMs);
  }

  /** Completes these numbers, one after the other. */
  async complete(first: number, last: number, place?: Partial<SequencePlace>): Promise<void> {
    for (let number = first; number <= last; number++) {
      const hand = this.at(number, place);
      const owner = `owner-${number}`;
      applied(await hand.claim(owner));
      applied(await hand.complete(owner, Uint8Array.of(number % 256)));
    }
  }
}

/** What a verb rejects with. */
async function rejection(work: Promise<unknown>, code: IdempotencyErrorCode): Promise<IdempotencyError> {
  const error: unknown = await work.then(
    (written) => assert.fail(`It must reject with ${code}, but was ${JSON.stringify(written)}`),
    (thrown: unknown) => thrown,
  );
  assert.ok(IdempotencyError.is(error, code), `It must reject with ${code}, but did with ${error}`);
  return error;
}

async function gap(work: Promise<unknown>, expectedNumber: number): Promise<void> {
  const error = await rejection(work, 'SEQUENCE_GAP');
  assert.equal(error.expectedNumber, expectedNumber);
  assert.ok(error.retryAfterSeconds !== undefined && error.retryAfterSeconds > 0);
}

async function fenced(work: Promise<unknown>): Promise<void> {
  const error = await rejection(work, 'FENCED');
  assert.equal(error.retryAfterSeconds, undefined);
}

/** Every verb that asks for a place. */
const asking = (hand: Hand, owner = 'b'): readonly (() => Promise<unknown>)[] => [
  () => hand.claim(owner),
  () => hand.takeOver('a', owner, 2),
  () => hand.claimCompleted(owner),
  () => hand.store.read(hand.pk),
];

/** Every verb of the owner `a`, who has a place. */
const owning = (hand: Hand): readonly (() => Promise<unknown>)[] => [
  () => hand.complete('a'),
  () => hand.amend('a'),
  () => hand.giveBack('a'),
  () => hand.store.endLease({ pk: hand.pk, owner: 'a' }),
];

const lasts = ({ endsAtMs }: ClaimRecord): boolean => !Number.isNaN(new Date(endsAtMs).getTime());

export function sequenceRules(rule: Rule): void {
  const sequence = (
    name: string,
    body: (sender: Sender) => Promise<void>,
    needs: Parameters<Rule>[2] = [],
  ): void => rule(`numbered sender: ${name}`, ({ store }) => body(new Sender(store)), [...needs, 'numbered']);

  sequence('begins with number 0, or is told so', async (sender) => {
    for (const ask of asking(sender.at(1))) await gap(ask(), 0);
    assert.equal(await sender.at(0).store.read(sender.at(0).pk), undefined);
    applied(await sender.at(0).claim('a'));
  });

  sequence('begins with any number where it may', async (sender) => {
    applied(await sender.at(41, { startsAnywhere: true }).claim('a'));
    applied(await sender.at(41).complete('a'));
    await gap(sender.at(43, { startsAnywhere: true }).claim('a'), 42);
    applied(await sender.at(42, { startsAnywhere: true }).claim('b'));
    assert.equal(refused(await sender.at(40, { startsAnywhere: true }).claim('c'))?.status, 'COMPLETED');
  });

  sequence('wins a number only once its predecessor is completed', async (sender) => {
    applied(await sender.at(0).claim('a'));
    for (const ask of asking(sender.at(1))) await gap(ask(), 0);
    applied(await sender.at(0).complete('a'));
    for (const ask of asking(sender.at(2))) await gap(ask(), 1);
    applied(await sender.at(1).claim('b'));
    await gap(sender.at(2).claim('c'), 1);
    applied(await sender.at(1).complete('b'));
    applied(await sender.at(2).claim('c'));
  });

  sequence('completes a number without work only once its predecessor is completed', async (sender) => {
    await gap(sender.at(1).claimCompleted('a'), 0);
    applied(await sender.at(0).claimCompleted('a'));
    applied(await sender.at(1).claimCompleted('b', Uint8Array.of(1)));
    assert.deepEqual(await sender.at(1).answer(), Uint8Array.of(1));
    assert.equal(refused(await sender.at(1).claimCompleted('c'))?.owner, 'b');
    applied(await sender.at(2).claim('c'));
  });

  sequence('has a number in flight as an operation with a key has its claim', async (sender) => {
    await sender.complete(0, 0);
    const hand = sender.at(1);
    applied(await hand.claim('a'));
    assert.deepEqual(await hand.record(), {
      ...{ pk: hand.pk, status: 'IN_PROGRESS', owner: 'a', window: 'a', attempt: 1 },
      ...{ leaseUntilMs: hand.nowMs + 1_000, endsAtMs: hand.nowMs + day, createdAtMs: hand.nowMs },
      fingerprint: 'print',
    });
    applied(await hand.takeOver('a', 'b', 2));
    const { owner, window, attempt } = await hand.record();
    assert.deepEqual({ owner, window, attempt }, { owner: 'b', window: 'a', attempt: 2 });
    assert.equal(refused(await hand.complete('a'))?.owner, 'b');
    applied(await hand.complete('b'));
    const record = await hand.record();
    assert.deepEqual([record.owner, record.window, record.attempt], ['b', 'a', 2]);
  });

  sequence('shows a number that is done, in a window that does not end', async (sender) => {
    const hand = sender.at(0);
    applied(await hand.claim('a'));
    applied(await hand.complete('a', Uint8Array.of(1)));
    const { answer: _, endsAtMs, ...record } = await hand.record();
    assert.deepEqual(record, {
      ...{ pk: hand.pk, status: 'COMPLETED', owner: 'a', window: 'a', attempt: 1, fingerprint: 'print' },
      ...{ leaseUntilMs: hand.nowMs + 1_000, createdAtMs: hand.nowMs + 100, completedAtMs: hand.nowMs + 100 },
    });
    assert.ok(endsAtMs > hand.nowMs + 100 * 365 * day && lasts(await hand.record()));
    assert.deepEqual(await hand.answer(), Uint8Array.of(1));
    const found = refused(await hand.claim('b', { nowMs: hand.nowMs + 50 * 365 * day }));
    assert.equal(found?.status, 'COMPLETED');
  });

  sequence('keeps the last five answers, and knows of all others that they are done', async (sender) => {
    await sender.complete(0, 6);
    for (const number of [2, 3, 4, 5, 6]) {
      const hand = sender.at(number);
      assert.deepEqual(await hand.answer(), Uint8Array.of(number));
      const found = refused(await hand.claim('b'));
      assert.deepEqual([found?.owner, found?.fingerprint], [`owner-${number}`, 'print']);
    }
    for (const number of [0, 1]) {
      const record = refused(await sender.at(number).claim('b'));
      assert.equal(record?.status, 'COMPLETED');
      assert.equal(record?.fingerprint, undefined);
      assert.deepEqual(record?.answer, { kind: 'unavailable', reason: 'forgotten' });
      assert.notEqual(record?.owner, `owner-${number}`);
      assert.ok(record && record.endsAtMs > sender.at(0).nowMs + day && lasts(record));
    }
  });

  sequence(
    'keeps its five answers while the next number is in flight, and once it is given back',
    async (sender) => {
      await sender.complete(0, 4);
      applied(await sender.at(5).claim('a'));
      const kept = async () => Promise.all([0, 1, 2, 3, 4].map((number) => sender.at(number).answer()));
      const answers = [0, 1, 2, 3, 4].map((number) => Uint8Array.of(number));
      assert.deepEqual(await kept(), answers);
      applied(await sender.at(5).giveBack('a'));
      assert.deepEqual(await kept(), answers);
    },
  );

  sequence('keeps large answers of several numbers apart', async (sender) => {
    const answers = [3_000, 6_000, 400_000].map((size, at) => new Uint8Array(size).fill(at));
    for (const [number, answer] of answers.entries()) {
      applied(await sender.at(number).claim('a'));
      applied(await sender.at(number).complete('a', answer));
    }
    for (const [number, answer] of answers.entries())
      assert.deepEqual(await sender.at(number).answer(), answer);
  });

  sequence('replaces the answer of its own number only', async (sender) => {
    await sender.complete(0, 2);
    const middle = sender.at(1);
    applied(await middle.amend('owner-1', Uint8Array.of(9)));
    assert.equal(refused(await middle.amend('owner-2'))?.owner, 'owner-1');
    const answers = await Promise.all([0, 1, 2].map((number) => sender.at(number).answer()));
    assert.deepEqual(answers, [Uint8Array.of(0), Uint8Array.of(9), Uint8Array.of(2)]);
    await gap(sender.at(4).claim('a'), 3);
  });

  sequence('replaces no answer that is forgotten', async (sender) => {
    await sender.complete(0, 4);
    applied(await sender.at(5).claim('a'));
    applied(await sender.at(5).complete('a'));
    const found = refused(await sender.at(0).amend('owner-0'));
    assert.deepEqual(found?.answer, { kind: 'unavailable', reason: 'forgotten' });
  });

  sequence('applies no late request of a number that is done, to it or to the next one', async (sender) => {
    const hand = sender.at(0);
    applied(await hand.claim('a'));
    applied(await hand.complete('a', Uint8Array.of(1)));
    const next = sender.at(1);
    for (const arrange of [async () => {}, async () => applied(await next.claim('a'))]) {
      await arrange();
      const before = [await hand.record(), await next.store.read(next.pk)];
      assert.equal(refused(await hand.claim('a'))?.status, 'COMPLETED');
      assert.equal(refused(await hand.takeOver('a', 'b', 2))?.status, 'COMPLETED');
      assert.equal(refused(await hand.complete('a', Uint8Array.of(2)))?.status, 'COMPLETED');
      assert.equal(refused(await hand.claimCompleted('a'))?.status, 'COMPLETED');
      assert.equal(refused(await hand.giveBack('a'))?.status, 'COMPLETED');
      assert.equal(refused(await hand.store.endLease({ pk: hand.pk, owner: 'a' }))?.status, 'COMPLETED');
      assert.deepEqual([await hand.record(), await next.store.read(next.pk)], before);
    }
  });

  sequence('applies no late request of a number to the one that has its place now', async (sender) => {
    for (let number = 0; number < 6; number++) {
      applied(await sender.at(number).claim('a'));
      applied(await sender.at(number).complete('a'));
    }
    const sixth = sender.at(6);
    applied(await sixth.claim('a'));
    const before = await sixth.record();
    const late = sender.at(0);
    for (const request of [() => late.takeOver('a', 'b', 2), ...owning(late)]) {
      const found = refused((await request()) as never);
      assert.deepEqual(found?.answer, { kind: 'unavailable', reason: 'forgotten' });
    }
    assert.deepEqual(await sixth.record(), before);
  });

  sequence('keeps a late claim of a number out that was given back, in flight or not yet', async (sender) => {
    await sender.complete(0, 0);
    const hand = sender.at(1);
    applied(await hand.giveBack('a'));
    assert.equal(refused(await hand.claim('a'))?.status, 'RELEASED');
    applied(await hand.claim('b', { nowMs: hand.nowMs + 1 }));
    assert.equal(refused(await hand.giveBack('a'))?.owner, 'b');
    await gap(sender.at(2).claim('c'), 1);
  });

  sequence('gives back no number before its turn', async (sender) => {
    await sender.complete(0, 0);
    assert.equal(refused(await sender.at(2).giveBack('a')), undefined);
    assert.equal(await sender.at(1).store.read(sender.at(1).pk), undefined);
  });

  sequence(
    'takes an abandoned number over as long as its window lasts, and begins it anew after that',
    async (sender) => {
      await sender.complete(0, 0);
      const hand = sender.at(1);
      applied(await hand.claim('a'));
      const overMs = hand.nowMs + day;
      assert.equal(refused(await hand.claim('b', { nowMs: overMs - 1 }))?.owner, 'a');
      applied(await hand.claim('b', { nowMs: overMs, leaseUntilMs: overMs + 1_000, endsAtMs: overMs + day }));
      const { owner, window, attempt } = await hand.record();
      assert.deepEqual({ owner, window, attempt }, { owner: 'b', window: 'b', attempt: 1 });
    },
  );

  sequence('begins a higher epoch anew, and forgets the one before', async (sender) => {
    await sender.complete(0, 3);
    await gap(sender.at(1, { epoch: 4 }).claim('a'), 0);
    const hand = sender.at(0, { epoch: 4 });
    assert.equal(await hand.store.read(hand.pk), undefined);
    applied(await hand.claim('a'));
    applied(await hand.complete('a', Uint8Array.of(9)));
    assert.deepEqual(await hand.answer(), Uint8Array.of(9));
    await gap(sender.at(2, { epoch: 4 }).claim('a'), 1);
    await gap(sender.at(3, { epoch: 4 }).claim('a'), 1);
    applied(await sender.at(1, { epoch: 4 }).claim('b'));
  });

  sequence('fences every request of an older epoch', async (sender) => {
    await sender.complete(0, 0);
    applied(await sender.at(1).claim('a'));
    const newer = sender.at(0, { epoch: 4 });
    applied(await newer.claim('n', { nowMs: newer.nowMs + 1_000, leaseUntilMs: newer.nowMs + 9_000 }));
    const before = await newer.record();
    for (const number of [0, 1, 2, 7]) {
      const older = sender.at(number);
      for (const ask of asking(older)) await fenced(ask());
      for (const write of owning(older)) {
        const found = refused((await write()) as never);
        assert.equal(found?.status, 'IN_PROGRESS');
        assert.notEqual(found?.owner, 'a');
      }
    }
    assert.deepEqual(await newer.record(), before);
    // The number and the owner are the same, and the epoch is not.
    applied(await newer.complete('n'));
    for (const ask of asking(sender.at(0))) await fenced(ask());
    applied(await sender.at(1, { epoch: 4 }).claim('a'));
    assert.notEqual(refused(await sender.at(1).complete('a'))?.owner, 'a');
    assert.equal((await sender.at(1, { epoch: 4 }).record()).status, 'IN_PROGRESS');
  });

  sequence('waits with a higher epoch for the lease of the attempt in flight', async (sender) => {
    await sender.complete(0, 0);
    applied(await sender.at(1).claim('a'));
    const newer = sender.at(0, { epoch: 4 });
    const found = refused(await newer.claim('n', { nowMs: newer.nowMs + 999 }));
    assert.deepEqual(found, {
      ...{ pk: newer.pk, status: 'IN_PROGRESS', owner: 'a', window: 'a', attempt: 1 },
      ...{ leaseUntilMs: newer.nowMs + 1_000, endsAtMs: 0, createdAtMs: newer.nowMs },
    });
    assert.deepEqual(await newer.record(), found);
    // It is not taken over: its steps are another operation's.
    assert.equal(refused(await newer.takeOver('a', 'n', 2))?.owner, 'a');
    assert.equal(refused(await newer.complete('a'))?.owner, 'a');
    applied(await newer.claim('n', { nowMs: newer.nowMs + 1_000 }));
    const { owner, window, attempt } = await newer.record();
    assert.deepEqual({ owner, window, attempt }, { owner: 'n', window: 'n', attempt: 1 });
  });

  sequence(
    'lets a higher epoch begin at once after a completion, a release, and a lease that was ended',
    async (sender) => {
      await sender.complete(0, 0);
      applied(await sender.at(0, { epoch: 4 }).claim('a'));
      applied(await sender.at(0, { epoch: 4 }).giveBack('a'));
      const released = sender.at(0, { epoch: 5 });
      assert.equal(await released.store.read(released.pk), undefined);
      applied(await released.claim('a'));
      applied(await released.store.endLease({ pk: released.pk, owner: 'a' }));
      applied(await sender.at(0, { epoch: 6 }).claim('a'));
    },
  );

  sequence('counts a higher epoch that was given back before it arrived', async (sender) => {
    await sender.complete(0, 0);
    const newer = sender.at(0, { epoch: 4 });
    applied(await newer.giveBack('a'));
    assert.equal(refused(await newer.claim('a'))?.status, 'RELEASED');
    await fenced(sender.at(1).claim('b'));
    await gap(sender.at(1, { epoch: 4 }).claim('b'), 0);
    applied(await newer.claim('b', { nowMs: newer.nowMs + 1 }));
  });

  sequence('counts to 2^53 − 1, in numbers and epochs', async (sender) => {
    const place = { startsAnywhere: true, epoch: mostNumber - 1 };
    applied(await sender.at(mostNumber - 1, place).claim('a'));
    await gap(sender.at(mostNumber, place).claim('b'), mostNumber - 1);
    applied(await sender.at(mostNumber - 1, place).complete('a', Uint8Array.of(1)));
    await sender.complete(mostNumber, mostNumber, place);
    assert.deepEqual(await sender.at(mostNumber - 1, place).answer(), Uint8Array.of(1));
    assert.equal(refused(await sender.at(mostNumber, place).claim('b'))?.owner, `owner-${mostNumber}`);
    const found = refused(await sender.at(mostNumber - 5, place).claim('b'));
    assert.deepEqual(found?.answer, { kind: 'unavailable', reason: 'forgotten' });
    const highest = sender.at(0, { epoch: mostNumber });
    applied(await highest.claim('a'));
    await fenced(sender.at(0, place).claim('b'));
    assert.equal((await highest.record()).owner, 'a');
  });

  sequence(
    'lets one of twenty concurrent claims of a number win, and none of the next one',
    async (sender) => {
      await sender.complete(0, 0);
      const [first, second] = [sender.at(1), sender.at(2)];
      const claims = Array.from({ length: 20 }, (_, at) => at);
      const written = await Promise.all(claims.map((at) => first.claim(`owner-${at}`)));
      assert.equal(written.filter(({ outcome }) => outcome === 'applied').length, 1);
      await Promise.all(claims.slice(0, 5).map((at) => gap(second.claim(`owner-${at}`), 1)));
    },
  );

  rule(
    'numbered sender: is told apart from others, and from operations with keys',
    async (hand) => {
      const [one, other] = [new Sender(hand.store), new Sender(hand.store)];
      await one.complete(0, 1);
      await gap(other.at(1).claim('a'), 0);
      applied(await other.at(0).claim('a'));
      const ofKey = new Hand(hand.store, one.name);
      applied(await ofKey.claim('a'));
      applied(await one.at(2).claim('a'));
    },
    ['numbered'],
  );

  sequence(
    'checks, completes and records its number in transactions',
    async (sender) => {
      await sender.complete(0, 0);
      const hand = sender.at(1);
      const check = { claim: { kind: 'check', owner: 'a' } } as const;
      assert.equal(stoppedByClaim(await hand.transact({ ...check, messages: [hand.message(0)] })), undefined);
      applied(await hand.claim('a'));
      assert.deepEqual(await hand.transact({ ...check, messages: [hand.message(0)] }), {
        outcome: 'applied',
      });
      const complete = { kind: 'complete', completion: hand.completion('a', Uint8Array.of(1)) } as const;
      assert.deepEqual(await hand.transact({ claim: complete, messages: [hand.message(1)] }), {
        outcome: 'applied',
      });
      assert.deepEqual(await hand.answer(), Uint8Array.of(1));
      assert.equal(
        stoppedByClaim(await hand.transact({ ...check, messages: [hand.message(2)] }))?.status,
        'COMPLETED',
      );
      const next = sender.at(2);
      const record = {
        kind: 'record',
        claim: next.newClaim('b'),
        completion: { ...next.completion('b', Uint8Array.of(2)), window: 'b' },
      } as const;
      assert.deepEqual(await next.transact({ claim: record, messages: [next.message(0)] }), {
        outcome: 'applied',
      });
      assert.deepEqual(await next.answer(), Uint8Array.of(2));
      applied(await sender.at(3).claim('c'));
    },
    ['transactions'],
  );

  sequence(
    'refuses a transaction that claims a number out of turn or in an older epoch, and stops its owner’s',
    async (sender) => {
      applied(await sender.at(0).claim('a'));
      const record = (hand: Hand) => ({
        claim: {
          kind: 'record',
          claim: hand.newClaim('b'),
          completion: { ...hand.completion('b'), window: 'b' },
        } as const,
        messages: [hand.message(0)],
      });
      await gap(sender.at(1).transact(record(sender.at(1))), 0);
      applied(await sender.at(0).store.endLease({ pk: sender.at(0).pk, owner: 'a' }));
      applied(await sender.at(0, { epoch: 4 }).claim('n'));
      await fenced(sender.at(0).transact(record(sender.at(0))));
      const hand = sender.at(0);
      for (const claim of [
        { kind: 'check', owner: 'a' },
        { kind: 'complete', completion: hand.completion('a') },
      ] as const) {
        const found = stoppedByClaim(await hand.transact({ claim, messages: [hand.message(0)] }));
        assert.ok(found?.owner !== 'a' && found?.status === 'IN_PROGRESS');
      }
      // Nothing of them was staged.
      assert.deepEqual(await hand.transact({ claim: { kind: 'none' }, messages: [hand.message(0)] }), {
        outcome: 'applied',
      });
    },
    ['transactions'],
  );

  sequence(
    'keeps the steps of its numbers apart',
    async (sender) => {
      const [first, second] = [sender.at(0), sender.at(1)];
      applied(await first.claim('a'));
      applied(await first.steps.put(first.step('charge')));
      applied(await first.complete('a'));
      applied(await second.claim('a'));
      assert.deepEqual(await second.recorded(), []);
      assert.equal((await first.recorded()).length, 1);
    },
    ['steps'],
  );
}
