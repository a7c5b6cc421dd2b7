/** What a store must do that keeps positions of lanes. */
import assert from 'node:assert/strict';
import { applied, day, type Hand, type Rule, refused, stoppedByClaim } from './contract-hand.ts';
import type { Advance, ClaimRecord, PositionedStore, Transacted } from './store.ts';

/** One view of a case's lane, up to a position. */
class LaneHand {
  readonly hand: Hand;
  readonly view: PositionedStore;

  constructor(hand: Hand, upTo: string) {
    assert.ok(hand.store.positioned, 'the store must have `positioned`');
    this.hand = hand;
    this.view = hand.store.positioned({ lane: hand.pk, upTo });
  }

  claim(owner: string, nowMs = this.hand.nowMs) {
    const { fingerprint: _, ...claim } = this.hand.newClaim(owner, nowMs);
    return this.view.claim(claim);
  }

  takeOver(previousOwner: string, owner: string, attempt: number) {
    const leaseUntilMs = this.hand.nowMs + 5_000;
    return this.view.takeOver({ pk: this.hand.pk, previousOwner, owner, attempt, leaseUntilMs });
  }

  complete(owner: string) {
    return this.view.complete(this.hand.completion(owner));
  }

  giveBack(owner: string) {
    return this.view.giveBack({ pk: this.hand.pk, owner, askedAtMs: this.hand.nowMs });
  }

  endLease(owner: string) {
    return this.view.endLease({ pk: this.hand.pk, owner });
  }

  read(): Promise<ClaimRecord | undefined> {
    return this.view.read(this.hand.pk);
  }

  /** @param nowMs when the commit is made */
  async advance(move: Advance, nowMs = this.hand.nowMs): Promise<Transacted> {
    assert.ok(this.view.transactions, 'the view must have transactions');
    const claim = { kind: 'advance', ...move } as const;
    const request = { ...this.hand.request(), nowMs, endsAtMs: nowMs + day };
    return (await this.view.transactions.build({ ...request, claim })).send();
  }
}

const isApplied = (transacted: Transacted): void => {
  assert.deepEqual(transacted, { outcome: 'applied' });
};

export function laneRules(rule: Rule): void {
  const laneRule = (name: string, body: (lane: (upTo: string) => LaneHand, hand: Hand) => Promise<void>) =>
    rule(name, (hand) => body((upTo) => new LaneHand(hand, upTo), hand), ['positioned', 'transactions']);

  laneRule('claims a lane that is not known, and moves its position when it completes', async (lane) => {
    const first = lane('001:5');
    assert.equal(await first.read(), undefined);
    applied(await first.claim('a'));
    assert.equal(first.view.position(), undefined);
    applied(await first.complete('a'));
    const next = lane('001:7');
    applied(await next.claim('b'));
    assert.equal(next.view.position(), '001:5');
    const record = await next.read();
    assert.deepEqual(
      [record?.status, record?.owner, record?.window, record?.attempt],
      ['IN_PROGRESS', 'b', 'b', 1],
    );
  });

  laneRule('shows what is at or behind the position as completed, and lets nobody claim it', async (lane) => {
    applied(await lane('002:10').claim('a'));
    applied(await lane('002:10').complete('a'));
    for (const upTo of ['002:10', '001:9']) {
      const found = refused(await lane(upTo).claim('b'));
      assert.deepEqual([found?.status, found?.owner, found?.position], ['COMPLETED', 'a', '002:10']);
      assert.ok((found?.endsAtMs ?? 0) > lane(upTo).hand.nowMs + 1_000 * day);
    }
    assert.equal((await lane('002:11').read())?.status, 'RELEASED');
    applied(await lane('002:11').claim('b'));
  });

  laneRule(
    'refuses a claim while an attempt is in flight, and lets another owner take it over',
    async (lane) => {
      applied(await lane('001:5').claim('a'));
      const second = lane('001:6');
      const found = refused(await second.claim('b'));
      assert.deepEqual([found?.status, found?.owner], ['IN_PROGRESS', 'a']);
      applied(await second.takeOver('a', 'b', 2));
      const record = await second.read();
      assert.deepEqual([record?.owner, record?.window, record?.attempt], ['b', 'a', 2]);
      assert.equal(refused(await lane('001:5').complete('a'))?.owner, 'b');
      applied(await second.complete('b'));
      assert.equal((await lane('001:6').read())?.status, 'COMPLETED');
    },
  );

  laneRule('goes on with a window until all that its attempts were given is done', async (lane) => {
    applied(await lane('001:9').claim('a'));
    applied(await lane('001:9').endLease('a'));
    const part = lane('001:5');
    assert.equal(refused(await part.claim('b'))?.leaseUntilMs, 0);
    applied(await part.takeOver('a', 'b', 2));
    applied(await part.complete('b'));
    const rest = lane('001:9');
    const found = refused(await rest.claim('c'));
    assert.deepEqual(
      [found?.status, found?.window, found?.attempt, found?.leaseUntilMs, found?.position],
      ['IN_PROGRESS', 'a', 2, 0, '001:5'],
    );
    applied(await rest.takeOver('b', 'c', 3));
    assert.equal(rest.view.position(), '001:5');
    applied(await rest.complete('c'));
    applied(await lane('002:10').claim('d'));
  });

  laneRule(
    'keeps the position of a claim that is given back, and keeps out its late copies',
    async (lane, hand) => {
      applied(await lane('001:5').claim('a'));
      applied(await lane('001:5').complete('a'));
      applied(await lane('001:9').claim('b'));
      applied(await lane('001:9').giveBack('b'));
      const late = refused(await lane('001:9').claim('b'));
      assert.deepEqual([late?.status, late?.position], ['RELEASED', '001:5']);
      applied(await lane('001:9').claim('c', hand.nowMs + 1));
      assert.equal(refused(await lane('001:9').giveBack('b'))?.owner, 'c');
    },
  );

  laneRule('keeps out the late copies of a claim that never arrived', async (lane, hand) => {
    applied(await lane('001:9').giveBack('a'));
    assert.equal(refused(await lane('001:9').claim('a'))?.status, 'RELEASED');
    applied(await lane('001:9').claim('b', hand.nowMs + 1));
  });

  laneRule('moves the position under a claim, which goes on', async (lane, hand) => {
    const claimed = lane('001:9');
    applied(await claimed.claim('a'));
    isApplied(await claimed.advance({ owner: 'a', upTo: '001:4', hasClaim: true }));
    isApplied(await claimed.advance({ owner: 'a', upTo: '001:6', hasClaim: true }));
    const record = await claimed.read();
    assert.deepEqual(
      [record?.status, record?.owner, record?.position, record?.leaseUntilMs],
      ['IN_PROGRESS', 'a', '001:6', hand.nowMs + 1_000],
    );
    for (const move of [
      { owner: 'a', upTo: '001:6', hasClaim: true },
      { owner: 'a', upTo: '001:5', hasClaim: true },
      { owner: 'b', upTo: '001:7', hasClaim: true },
    ] as const) {
      assert.equal(stoppedByClaim(await claimed.advance(move))?.position, '001:6');
    }
    applied(await claimed.complete('a'));
    assert.equal(claimed.view.position(), '001:9');
  });

  laneRule('moves the position without a claim, from the one that was read only', async (lane) => {
    const first = lane('001:9');
    isApplied(await first.advance({ owner: 'a', upTo: '001:4', hasClaim: false, from: undefined }));
    for (const from of [undefined, '001:3', '001:5']) {
      const stopped = stoppedByClaim(
        await first.advance({ owner: 'b', upTo: '001:9', hasClaim: false, from }),
      );
      assert.deepEqual([stopped?.owner, stopped?.position], ['a', '001:4']);
    }
    isApplied(await first.advance({ owner: 'b', upTo: '001:9', hasClaim: false, from: '001:4' }));
    assert.equal((await first.read())?.status, 'COMPLETED');
  });

  laneRule(
    'moves the position without a claim only once the lease of a claim is over, and fences it',
    async (lane, hand) => {
      const claimed = lane('001:9');
      applied(await claimed.claim('a'));
      const move = { owner: 'b', upTo: '001:4', hasClaim: false, from: undefined } as const;
      const other = lane('001:9');
      assert.equal(stoppedByClaim(await other.advance(move, hand.nowMs + 999))?.owner, 'a');
      isApplied(await other.advance(move, hand.nowMs + 1_000));
      // Another one has come and gone: to the former owner that is not free.
      const met = refused(await claimed.complete('a'));
      assert.deepEqual([met?.status, met?.owner], ['IN_PROGRESS', 'b']);
      assert.ok(stoppedByClaim(await claimed.advance({ owner: 'a', upTo: '001:9', hasClaim: true })));
      applied(await lane('001:9').claim('c', hand.nowMs + 1_000));
    },
  );

  laneRule('lets nobody take over what its attempt has done meanwhile', async (lane) => {
    applied(await lane('001:9').claim('a'));
    isApplied(await lane('001:9').advance({ owner: 'a', upTo: '001:5', hasClaim: true }));
    assert.equal(refused(await lane('001:5').takeOver('a', 'b', 2))?.status, 'COMPLETED');
    applied(await lane('001:6').takeOver('a', 'b', 2));
  });

  laneRule('completes in a transaction, by its owner only', async (lane, hand) => {
    const claimed = lane('001:9');
    applied(await claimed.claim('a'));
    const complete = async (owner: string) => {
      const claim = { kind: 'complete', completion: hand.completion(owner) } as const;
      const transaction = await claimed.view.transactions?.build({ ...hand.request(), claim });
      return transaction?.send() as Promise<Transacted>;
    };
    assert.equal(stoppedByClaim(await complete('b'))?.owner, 'a');
    isApplied(await complete('a'));
    const again = stoppedByClaim(await complete('a'));
    assert.deepEqual([again?.status, again?.owner, again?.position], ['COMPLETED', 'a', '001:9']);
  });

  laneRule('keeps lanes apart, from each other and from operations of the same key', async (lane, hand) => {
    applied(await hand.claim('key'));
    applied(await lane('001:9').claim('a'));
    const other = hand.store.positioned?.({ lane: `${hand.pk}-other`, upTo: '001:9' });
    assert.equal(await other?.read(`${hand.pk}-other`), undefined);
    assert.equal((await hand.record()).owner, 'key');
  });
}
