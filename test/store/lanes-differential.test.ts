/** The store in memory answers for a lane as DynamoDB does, whatever is asked of it, in whatever order. */
import { randomUUID } from 'node:crypto';
import fc from 'fast-check';
import { beforeAll, expect, test } from 'vitest';
import { dynamoStore } from '../../lib/index.ts';
import type { ClaimRecord, PositionedStore, Store } from '../../lib/store.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';
import { createTable, type TestTable } from '../support/dynamodb.ts';
import { wholeStore } from '../support/whole-store.ts';

let table: TestTable;
beforeAll(async () => {
  table = await createTable();
});

const day = 86_400_000;
// DynamoDB Local deletes what is expired by its own clock.
const startMs = Date.now();
/** Where the records of each actor end. */
const ends = ['001:3', '001:5', '001:9'];
const positions = [undefined, '001:1', '001:3', '001:4', '001:5', '001:9'];

interface Asked {
  readonly verb:
    | 'claim'
    | 'takeOver'
    | 'complete'
    | 'giveBack'
    | 'endLease'
    | 'read'
    | 'advance'
    | 'transact';
  readonly actor: number;
  readonly other: number;
  readonly atMs: number;
  readonly from: string | undefined;
  readonly upTo: string;
  readonly hasClaim: boolean;
}

const asked = fc.record<Asked>({
  verb: fc.constantFrom(
    'claim',
    'claim',
    'takeOver',
    'complete',
    'giveBack',
    'endLease',
    'read',
    'advance',
    'advance',
    'transact',
  ),
  actor: fc.nat(2),
  other: fc.nat(2),
  atMs: fc.constantFrom(0, 1, 500, 1_000, 5_000),
  from: fc.constantFrom(...positions),
  upTo: fc.constantFrom('001:1', '001:3', '001:4', '001:5', '001:9'),
  hasClaim: fc.boolean(),
});

/** Three actors at one lane of a store, each with its own view and owner. */
function play(store: Store, lane: string) {
  const views = ends.map((upTo) => store.positioned?.({ lane, upTo }) as PositionedStore);
  return async ({ verb, actor, other, atMs, from, upTo, hasClaim }: Asked): Promise<unknown> => {
    const view = views[actor] as PositionedStore;
    const [owner, previousOwner] = [`owner-${actor}`, `owner-${other}`];
    const nowMs = startMs + atMs;
    const leaseUntilMs = nowMs + 700;
    const completion = {
      ...{ pk: lane, owner, window: owner, completedAtMs: nowMs, endsAtMs: nowMs + day },
      answer: { reason: 'forgotten' } as const,
    };
    const request = { pk: lane, window: owner, nowMs, endsAtMs: nowMs + day, token: randomUUID() };
    const transact = async (claim: object) =>
      (
        await view.transactions?.build({ ...request, writes: [], messages: [], claim: claim as never })
      )?.send();
    switch (verb) {
      case 'claim':
        return view.claim({ pk: lane, owner, nowMs, leaseUntilMs, endsAtMs: nowMs + day });
      case 'takeOver':
        // As the protocol does: nobody takes over what it has not seen.
        await view.read(lane);
        return view.takeOver({ pk: lane, owner, previousOwner, attempt: actor + 2, leaseUntilMs });
      case 'complete':
        await view.read(lane);
        return view.complete(completion);
      case 'giveBack':
        return view.giveBack({ pk: lane, owner, askedAtMs: nowMs });
      case 'endLease':
        return view.endLease({ pk: lane, owner });
      case 'read':
        return view.read(lane);
      case 'advance':
        return transact({ kind: 'advance', owner, upTo, ...(hasClaim ? { hasClaim } : { hasClaim, from }) });
      case 'transact':
        await view.read(lane);
        return transact(hasClaim ? { kind: 'check', owner } : { kind: 'complete', completion });
    }
  };
}

/** What was answered, without what only DynamoDB tells. */
function plain(answer: unknown): unknown {
  const { isRepeat: _, ...rest } = (answer ?? {}) as Record<string, unknown> & { found?: ClaimRecord };
  return JSON.parse(JSON.stringify(rest));
}

test('in memory a lane answers as on DynamoDB', { timeout: 120_000 }, async () => {
  const memory = memoryStore({ clock: manualClock(startMs) });
  const dynamo = wholeStore(dynamoStore(table.store));
  await fc.assert(
    fc.asyncProperty(fc.array(asked, { minLength: 3, maxLength: 14 }), async (all) => {
      const lane = `lane-${randomUUID()}`;
      const [inMemory, onDynamo] = [play(memory, lane), play(dynamo, lane)];
      for (const one of all) {
        expect(plain(await inMemory(one)), JSON.stringify(one)).toEqual(plain(await onDynamo(one)));
      }
    }),
    { numRuns: 150 },
  );
});
