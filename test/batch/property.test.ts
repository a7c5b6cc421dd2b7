import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import type { Context, KinesisStreamRecord, SQSRecord } from 'aws-lambda';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { SourceRecord } from '../../lib/index.ts';
import {
  dynamoStore,
  eachRecord,
  freshRecords,
  idempotent,
  type Operation,
  operation,
} from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { type ManualClock, manualClock, memoryStore } from '../../lib/testing.ts';
import {
  failedIn,
  fifoMessage,
  kinesisEvent,
  kinesisRecord,
  sqsEvent,
  sqsMessage,
} from '../support/batch-events.ts';
import { createTable } from '../support/dynamodb.ts';
import { turn } from '../support/hands.ts';
import { lambdaContext } from '../support/invocation.ts';
import { byRecord, type Named } from './bench.ts';

type Source = 'standard' | 'fifo' | 'stream';
type Fate = 'works' | 'fails' | 'is killed' | 'is found to have failed';

interface Scenario {
  readonly source: Source;
  readonly claim: 'eager' | 'at-commit';
  /** In the order in which they were sent; equal keys are the same work. */
  readonly sent: readonly { readonly group: number; readonly key: number }[];
  readonly deliveries: readonly Delivery[];
}

interface Delivery {
  readonly handler: 'each record' | 'plain';
  /** Which of the messages that could come do come. */
  readonly picks: readonly number[];
  /** What becomes of the records that are worked on, in that order; after that, all works. */
  readonly fates: readonly Fate[];
  /** Whether it begins before the one before it has ended. */
  readonly overlaps: boolean;
  /** Whether the answer is lost, so that all of it comes again. */
  readonly isAnswerLost: boolean;
  /** Whether leases that are left end before it. */
  readonly isLate: boolean;
}

const fates = fc.constantFrom<Fate>(
  ...(['works', 'works', 'works', 'fails', 'is killed', 'is found to have failed'] as const),
);

const scenarios: fc.Arbitrary<Scenario> = fc.record({
  source: fc.constantFrom<Source>('standard', 'fifo', 'stream'),
  claim: fc.constantFrom<Scenario['claim']>('eager', 'eager', 'at-commit'),
  sent: fc.array(fc.record({ group: fc.nat(2), key: fc.nat(7) }), { minLength: 1, maxLength: 10 }),
  deliveries: fc.array(
    fc.record({
      handler: fc.constantFrom<Delivery['handler']>('each record', 'each record', 'plain'),
      picks: fc.array(fc.nat(9), { minLength: 1, maxLength: 8 }),
      fates: fc.array(fates, { maxLength: 8 }),
      overlaps: fc.boolean(),
      isAnswerLost: fc.boolean(),
      isLate: fc.boolean(),
    }),
    { maxLength: 8 },
  ),
});

/** A message, and whether the service still has it. */
interface Sent {
  readonly at: number;
  readonly id: string;
  readonly group: string;
  readonly key: string;
  isAcknowledged: boolean;
}

/** What the effects of all invocations must add up to. */
class Ledger {
  /** Kept, for an error thrown in a handler would only fail its record. */
  readonly problems: string[] = [];
  readonly #effects = new Map<string, number>();
  readonly #inOrder: boolean;
  readonly #sent: readonly Sent[];

  constructor(sent: readonly Sent[], inOrder: boolean) {
    this.#sent = sent;
    this.#inOrder = inOrder;
  }

  record(message: Sent): void {
    const count = (this.#effects.get(message.key) ?? 0) + 1;
    this.#effects.set(message.key, count);
    if (count > 1) this.problems.push(`${message.key} has had effect ${count}`);
    if (!this.#inOrder) return;
    for (const { at, group, key, id } of this.#sent) {
      if (at < message.at && group === message.group && !this.#effects.has(key)) {
        this.problems.push(`${message.id} was done before ${id}`);
      }
    }
  }

  /** Every message's work is done, and what is acknowledged has been done. */
  isComplete(): boolean {
    return this.#sent.every(({ key }) => this.#effects.has(key));
  }

  has({ key }: Sent): boolean {
    return this.#effects.has(key);
  }
}

const leaseMs = 31_000;

async function play(
  { source, claim, sent, deliveries }: Scenario,
  store: Store,
  clock: ManualClock,
): Promise<void> {
  const messages: Sent[] = sent.map(({ group, key }, at) => ({
    at,
    id: source === 'stream' ? `${at + 5}` : `m-${at}`,
    group: source === 'stream' ? 'shard' : `g-${group}`,
    key: `key-${key}`,
    isAcknowledged: false,
  }));
  const byId = new Map(messages.map((message) => [message.id, message]));
  const ledger = new Ledger(messages, source !== 'standard');

  const pks = new Map<string, string>();
  /** Which record's commit it is. */
  const committing = new AsyncLocalStorage<string>();
  let last: Promise<unknown> = Promise.resolve();
  /** Nobody sees a commit before the ledger does. */
  function oneByOne<Result>(work: () => Promise<Result>): Promise<Result> {
    const result = last.then(work);
    last = result.catch(() => {});
    return result;
  }

  /** Somebody whose clock is ahead takes the lease for over, and dies. */
  async function takeOver(key: string): Promise<void> {
    const { pk, owner, attempt } = (await store.read(pks.get(key)!))!;
    await store.takeOver({
      ...{ pk, owner: randomUUID(), previousOwner: owner, attempt: attempt + 1 },
      leaseUntilMs: clock.now() + leaseMs,
    });
  }

  /** What the service can deliver at this moment: queues keep order per group, streams go from a position on. */
  function batchOf(picks: readonly number[]): Sent[] {
    const pending = messages.filter(({ isAcknowledged }) => !isAcknowledged);
    switch (source) {
      case 'standard':
        // At least once: also what was acknowledged, and in any order.
        return [...new Set(picks.map((pick) => messages[pick % messages.length]!))];
      case 'fifo': {
        const counts = new Map<string, number>();
        for (const pick of picks) {
          const { group } = messages[pick % messages.length]!;
          counts.set(group, (counts.get(group) ?? 0) + 1);
        }
        return pending.filter(({ group }) => {
          const left = counts.get(group) ?? 0;
          counts.set(group, left - 1);
          return left > 0;
        });
      }
      case 'stream': {
        // From the checkpoint, or once more from somewhere before it.
        const [back = 0, length = 1] = picks;
        const checkpoint = pending[0]?.at ?? messages.length - 1;
        const from = Math.max(0, checkpoint - (picks.length > 4 ? back : 0));
        return messages.slice(from, from + length + 1);
      }
    }
  }

  function acknowledge(batch: readonly Sent[], failed: readonly string[]): void {
    for (const id of failed) expect(batch.map((message) => message.id)).toContain(id);
    expect(failed).not.toContain('');
    const lowest = Math.min(...failed.map((id) => byId.get(id)!.at));
    for (const message of batch) {
      const isDone =
        source === 'stream' ? message.at < lowest || failed.length === 0 : !failed.includes(message.id);
      if (!isDone) continue;
      expect(ledger.has(message), `${message.id} is acknowledged, and done`).toBe(true);
      message.isAcknowledged = true;
    }
  }

  /** One invocation; resolves when it has ended or was killed. */
  async function invoke(batch: readonly Sent[], { handler, fates, isAnswerLost }: Delivery): Promise<void> {
    let worked = 0;
    let effects = 0;
    let completions = 0;
    let isDead = false;
    let kill!: () => void;
    const killed = new Promise<'killed'>((resolve) => {
      kill = () => resolve('killed');
    });
    const never = new Promise<never>(() => {});
    const alive =
      <Args extends unknown[], Result>(verb: (...args: Args) => Promise<Result>) =>
      async (...args: Args): Promise<Result> => {
        await turn();
        return isDead ? never : verb(...args);
      };
    const mortal: Store = {
      ...store,
      takeOver: alive(store.takeOver),
      giveBack: alive(store.giveBack),
      endLease: alive(store.endLease),
      claim: alive(async (newClaim) => {
        pks.set(newClaim.rawKey!, newClaim.pk);
        return store.claim(newClaim);
      }),
      async complete(completion) {
        const written = await store.complete(completion);
        if (written.outcome === 'applied') completions++;
        return written;
      },
      claimCompleted: alive(async (...args) =>
        oneByOne(async () => {
          const written = await store.claimCompleted(...args);
          if (written.outcome === 'applied') {
            completions++;
            takeEffect(committing.getStore()!);
          }
          return written;
        }),
      ),
    };
    const takeEffect = (id: string): void => {
      effects++;
      ledger.record(byId.get(id)!);
    };
    const work = async (id: string, op: Operation): Promise<void> => {
      const fate = fates[worked++] ?? 'works';
      for (let pause = 0; pause < (worked * 7) % 4; pause++) await turn();
      if (isDead) await never;
      if (fate === 'is killed' && handler === 'each record') {
        isDead = true;
        // What has had its effect is recorded by now: the moment between the two is what steps and tokens are for.
        while (completions < effects) await turn();
        kill();
        await never;
      }
      // A plain handler's records are settled together, so stopping its groups is its own business.
      if (fate === 'fails' || (fate === 'is found to have failed' && handler === 'plain')) {
        throw new Error(`${id} failed`);
      }
      if (fate === 'is found to have failed') {
        if (claim === 'eager') await takeOver(op.key);
        return;
      }
      if (claim === 'eager') takeEffect(id);
      else await committing.run(id, () => op.commit({ result: undefined }));
    };
    const idOf = (record: unknown): string => byRecord(record as Named);
    const each = eachRecord<SourceRecord>((record, op) => work(idOf(record), op), { onFailure: () => {} });
    const plain = async ({ Records }: { Records: unknown[] }, context: unknown) => {
      const stopped = new Set<string>();
      const failed: string[] = [];
      for (const record of Records) {
        const { id, group } = byId.get(idOf(record))!;
        try {
          if (source !== 'standard' && stopped.has(group)) throw new Error('stopped');
          await work(id, operation(context, record));
        } catch {
          stopped.add(group);
          failed.push(id);
        }
      }
      return { batchItemFailures: failed.map((itemIdentifier) => ({ itemIdentifier })) };
    };
    const guarded = idempotent(
      (handler === 'plain' ? freshRecords(plain) : each) as (event: object, context: Context) => unknown,
      {
        store: mortal,
        ...{ namespace: 'property', claim, keep: { key: true } },
        key: (record) => {
          const { body, kinesis } = record as Partial<SQSRecord & KinesisStreamRecord>;
          return JSON.parse(body ?? Buffer.from(kinesis!.data, 'base64').toString()).key;
        },
      },
    );
    const ended = guarded(eventOf(source, batch), lambdaContext());
    ended.catch(() => {});
    const outcome = await Promise.race([ended, killed]);
    if (outcome !== 'killed' && !isAnswerLost) acknowledge(batch, failedIn(outcome));
  }

  let before = Promise.resolve();
  for (const delivery of deliveries) {
    if (!delivery.overlaps) await before;
    if (delivery.isLate) {
      // Nobody outlives a lease here: that two may run then is what the README says.
      await before;
      clock.advance(leaseMs);
    }
    const batch = batchOf(delivery.picks);
    if (batch.length > 0) before = Promise.all([before, invoke(batch, delivery)]).then(() => {});
    before.catch(() => {});
  }
  await before;
  expect(ledger.problems).toEqual([]);

  const calm: Delivery = {
    ...{ handler: 'each record', picks: [], fates: [], overlaps: false, isAnswerLost: false, isLate: true },
  };
  for (let round = 0; messages.some(({ isAcknowledged }) => !isAcknowledged); round++) {
    expect(round, 'rounds until everything is acknowledged').toBeLessThan(2 * messages.length + 2);
    clock.advance(leaseMs);
    await invoke(
      messages.filter(({ isAcknowledged }) => !isAcknowledged),
      calm,
    );
  }
  expect(ledger.problems).toEqual([]);
  expect(ledger.isComplete()).toBe(true);
}

function eventOf(source: Source, batch: readonly Sent[]): object {
  switch (source) {
    case 'standard':
      return sqsEvent(...batch.map(({ id, key }) => sqsMessage(id, { key })));
    case 'fifo':
      return sqsEvent(...batch.map(({ id, group, key }) => fifoMessage(id, group, { body: { key } })));
    case 'stream':
      return kinesisEvent(...batch.map(({ id, key }) => kinesisRecord(Number(id), { key })));
  }
}

describe('whatever fails, is killed, overlaps or comes again, in whatever batches', () => {
  beforeEach(() => {
    vi.spyOn(console, 'error').mockImplementation(() => {});
  });
  afterEach(() => {
    vi.restoreAllMocks();
  });

  it('every key has one effect, in order, and in the end all is acknowledged', {
    timeout: 60_000,
  }, async () => {
    await fc.assert(
      fc.asyncProperty(scenarios, async (scenario) => {
        const clock = manualClock();
        await play(scenario, memoryStore({ clock }), clock);
      }),
      { numRuns: 2_000 },
    );
  });

  it('every key has one effect, in order, on DynamoDB too', { timeout: 60_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(scenarios, async (scenario) => {
        const { store } = await createTable();
        const clock = manualClock();
        await play(scenario, dynamoStore({ ...store, clock }), clock);
      }),
      { numRuns: 8 },
    );
  });
});
