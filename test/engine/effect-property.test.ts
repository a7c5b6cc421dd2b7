import middy from '@middy/core';
import type { Context } from 'aws-lambda';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { SourceRecord } from '../../lib/index.ts';
import {
  deduplicationId,
  eachRecord,
  IdempotencyError,
  type IdempotencyErrorCode,
  type IdempotentOptions,
  idempotent,
  type Operation,
  operation,
} from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { type ManualClock, type MemoryStore, manualClock } from '../../lib/testing.ts';
import { snsEvent, snsNotification } from '../support/batch-events.ts';
import {
  type Fault,
  type FaultyStore,
  type FaultyVerb,
  faultKinds,
  faultyStore,
} from '../support/faulty-store.ts';
import { turn } from '../support/hands.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';

/** What a handler has at hand. */
interface Hands {
  readonly op: Operation;
  readonly context: unknown;
  readonly clock: ManualClock;
  /** One effect that nothing but this counts. */
  act(): number;
  /** Another delivery of the same event, which is worked off and answers with this. */
  successor(answer: unknown): Promise<unknown>;
  /** Looks at an error that the handler goes on from. */
  caught(error: unknown): void;
}

type Handler = (hands: Hands) => unknown;

const message = { destination: 'ledger', body: 'entry', groupId: 'g' };
const elsewhere = { ...message, destination: 'nowhere' };
const refused = { statusCode: 402 };
const notStorable = { close: () => {} };

/** Under a claim a handler may act whenever it likes, within steps and outside of them. */
const eager: Record<string, Handler> = {
  returns: ({ act }) => act(),
  'throws an error of its own': ({ act }) => {
    act();
    throw new Error('down');
  },
  'commits an answer': ({ op, act }) => {
    act();
    return op.commit({ result: 1 });
  },
  'commits a message': ({ op, act }) => {
    act();
    return op.commit({ result: 1, messages: [message] });
  },
  'commits nothing but a message': ({ op }) => op.commit({ result: 1, messages: [message] }),
  'commits after a step': async ({ op, act }) => {
    await op.step('charge', act);
    return op.commit({ result: 1, messages: [message] });
  },
  'commits to an unknown destination after a step': async ({ op, act }) => {
    await op.step('charge', act);
    return op.commit({ result: 1, messages: [elsewhere] });
  },
  'commits twice': async ({ op, act }) => {
    act();
    await op.commit({ result: 1 });
    return op.commit({ result: 2 });
  },
  'commits, and returns something else': async ({ op, act }) => {
    act();
    await op.commit({ result: 1 });
    return 2;
  },
  'sends a token, then gives a step no name': ({ op, act }) => {
    op.token('charge');
    act();
    return op.step('', act);
  },
  'gives two steps one name': async ({ op, act }) => {
    await op.step('charge', act);
    return op.step('charge', act);
  },
  'takes two steps': async ({ op, act }) => {
    await op.step('charge', act);
    return op.step('ship', act);
  },
  'takes a step that is never repeated': ({ op, act }) => op.step('charge', act, { atMostOnce: true }),
  'makes a transaction after a step': async ({ op, act }) => {
    await op.step('charge', act);
    await op.transaction('book', { messages: [message] });
    return op.commit({ result: 1 });
  },
  'outlives its lease, then takes a step': async ({ op, clock, act }) => {
    act();
    clock.advance(61_000);
    return op.step('charge', act);
  },
  'is overtaken, and returns': async ({ act, successor }) => {
    act();
    await successor('theirs');
    return 'mine';
  },
  'is overtaken by one whose answer cannot be stored': async ({ act, successor }) => {
    act();
    await successor(notStorable);
    return 'mine';
  },
  'is overtaken in its commit': async ({ op, act, successor }) => {
    act();
    await successor(notStorable);
    return op.commit({ result: 'mine' });
  },
  'asks another context for the operation': ({ act }) => {
    act();
    return operation({}).key;
  },
  'gives a message no name': ({ op, act }) => {
    act();
    return deduplicationId(op, '');
  },
};

/** Options of a guard for one place of a sender. */
const numberedOptions = (
  store: IdempotentOptions['store'],
  epoch: number,
  number: number,
): IdempotentOptions => {
  const place = { sender: 'till', epoch, number, startsAnywhere: false };
  return {
    store: (store as MemoryStore).numbered(place),
    namespace: 'tills',
    key: () => `${epoch}:${number}`,
  };
};

/** Refusals of another guard or batch that a handler calls after it has acted. */
const inner: Record<string, (options: IdempotentOptions) => Promise<unknown>> = {
  'another payload': async (options) => {
    let print = 0;
    const call = idempotent(async () => 'inner', { ...options, fingerprint: () => ++print });
    await call({});
    return call({});
  },
  'a durable execution': (options) =>
    idempotent(async () => 'inner', options)({}, { executionContext: {}, lambdaContext: {} } as never),
  'no time left': (options) => idempotent(async () => 'inner', options)({}, lambdaContext(0)),
  'no key': (options) => idempotent(async () => 'inner', { ...options, key: () => undefined })({}),
  'no tenant': (options) => idempotent(async () => 'inner', { ...options, tenant: () => undefined })({}),
  'a payload that cannot be compared': (options) =>
    idempotent(async () => 'inner', { ...options, fingerprint: () => () => {} })({}),
  'a wrong option': async (options) => idempotent(async () => 'inner', { ...options, ttlSeconds: 0 }),
  'a namespace of its own that it has not': async ({ store }) => {
    const shared = { store: { ...(store as Store), defaultNamespace: 'inner' }, key: () => 'k' };
    await idempotent(async () => 'first', shared)({});
    return idempotent(async () => 'second', shared)({});
  },
  'a fenced sender': async ({ store }) => {
    await idempotent(async () => 'newer', numberedOptions(store, 2, 0))({});
    return idempotent(async () => 'older', numberedOptions(store, 1, 0))({});
  },
  'a gap in a sequence': ({ store }) => idempotent(async () => 'inner', numberedOptions(store, 1, 1))({}),
  'a batch that fails': () => {
    const handler = eachRecord<SourceRecord>(
      () => {
        throw new Error('down');
      },
      { onFailure: () => {} },
    );
    return handler(snsEvent(snsNotification('1'), snsNotification('2')), lambdaContext(30_000));
  },
};
for (const [reason, refuse] of Object.entries(inner)) {
  eager[`calls what refuses: ${reason}`] = async ({ act, clock }) => {
    act();
    return refuse({ store: faultyStore(clock), namespace: 'inner', key: () => 'k' });
  };
}

/** With a claim at the commit, a handler has no effect outside of it. */
const atCommit: Record<string, Handler> = {
  'commits an answer': ({ op }) => op.commit({ result: 1 }),
  'commits a message': ({ op }) => op.commit({ result: 1, messages: [message] }),
  'commits to an unknown destination': ({ op }) => op.commit({ result: 1, messages: [elsewhere] }),
  'commits again what failed': ({ op, caught }) =>
    op.commit({ result: 1, messages: [message] }).catch((error) => {
      caught(error);
      return op.commit({ result: 2, messages: [elsewhere] });
    }),
  'asks for a token': ({ op }) => op.token('charge'),
  refuses: () => refused,
  'refuses what could not be committed': ({ op, caught }) =>
    op.commit({ result: 1, messages: [message] }).catch((error) => {
      caught(error);
      return refused;
    }),
  'does not await its commit and asks for a token': ({ op }) => {
    op.commit({ result: 1 }).catch(() => {});
    return op.token('charge');
  },
  'returns without a commit': ({ act }) => act(),
};

/** How things stand when the call comes; resolves once they do. */
const circumstances: Record<string, (call: Circumstance) => Promise<unknown>> = {
  'is new': async () => {},
  'was abandoned': async ({ crash, clock }) => {
    await crash();
    clock.advance(61_000);
  },
  'is running elsewhere': ({ crash }) => crash(),
  'was abandoned in a step that must not be repeated': async ({ crash, clock }) => {
    await crash((op) => op.step('charge', () => new Promise(() => {}), { atMostOnce: true }));
    clock.advance(61_000);
  },
  'was completed': ({ complete }) => complete('done'),
  'was completed with an answer that cannot be stored': ({ complete }) => complete(notStorable),
  'was used with another payload': ({ complete }) => complete('done', 'another payload'),
};

interface Circumstance {
  readonly clock: ManualClock;
  /** An attempt that begins `work` and is never heard of again. */
  crash(work?: (op: Operation) => unknown): Promise<unknown>;
  complete(answer: unknown, payload?: string): Promise<unknown>;
}

type Door = (
  handler: (event: never, context: never) => unknown,
  options: IdempotentOptions,
) => (event: unknown) => Promise<unknown>;

const doors: Record<string, Door> = {
  wrapper: (handler, options) => {
    const call = idempotent(handler as Parameters<typeof idempotent>[0], options);
    return (event) => call(event as never);
  },
  Middy: (handler, options) => {
    const call = middy()
      .use(idempotent(options))
      .handler(handler as never);
    return async (event) => call(event, {} as never);
  },
};

interface Scene {
  readonly claim: 'eager' | 'at-commit';
  readonly handler: Handler;
  readonly arrange: (call: Circumstance) => Promise<unknown>;
  readonly door: Door;
  readonly event: unknown;
}

interface Seen {
  readonly calls: readonly FaultyVerb[];
  /** Errors that said `none`, with the number of effects there had been in the end. */
  readonly none: readonly { readonly error: IdempotencyError; readonly effects: number }[];
  readonly codes: readonly IdempotencyErrorCode[];
}

async function play(scene: Scene, fault: Fault | undefined): Promise<Seen> {
  const clock = manualClock();
  const store: FaultyStore = faultyStore(clock);
  const errors: { error: IdempotencyError; effects(): number }[] = [];
  let acted = 0;
  let payload = 'payload';
  const before = { applied: 0, messages: 0 };
  /** Under a claim, its completion comes after the effect and is none; in a commit it is all there is. */
  const effects = () =>
    acted +
    (scene.claim === 'at-commit' ? store.applied - before.applied : store.messages.length - before.messages);
  const note = (error: unknown) => {
    if (IdempotencyError.is(error)) errors.push({ error, effects });
    return error;
  };
  const caught = (error: unknown) => {
    const sofar = effects();
    if (IdempotencyError.is(error)) errors.push({ error, effects: () => sofar });
  };
  const options = (claim: IdempotentOptions['claim']): IdempotentOptions => ({
    ...{ store, claim, namespace: 'orders', destinations: ['ledger'], lease: { seconds: 60 } },
    key: () => 'key',
    fingerprint: () => payload,
    http: {
      errors: (error) => {
        note(error);
        return { statusCode: 500 };
      },
    },
  });
  const finished = (answer: unknown) => idempotent(() => answer, options('eager'))({});
  const hands = (context: Context): Hands => ({
    op: operation(context),
    context,
    clock,
    caught,
    act: () => ++acted,
    async successor(answer) {
      clock.advance(61_000);
      return finished(answer);
    },
  });
  const call = scene.door((_, context) => scene.handler(hands(context)), options(scene.claim));

  await scene.arrange({
    clock,
    crash: (work) =>
      new Promise((resolve) => {
        const running = idempotent(async (_: unknown, context) => {
          void work?.(operation(context));
          // By now the store has what was begun.
          await turn();
          resolve(undefined);
          return new Promise(() => {});
        }, options('eager'));
        void running({});
      }),
    async complete(answer, used = 'payload') {
      payload = used;
      await finished(answer);
      payload = 'payload';
    },
  });
  store.calls.length = 0;
  store.inject(fault);
  Object.assign(before, { applied: store.applied, messages: store.messages.length });
  await call(scene.event).catch(note);
  await store.arrive();
  const none = errors
    .filter(({ error }) => error.effect === 'none')
    .map(({ error, effects: done }) => ({ error, effects: done() }));
  return { calls: [...store.calls], none, codes: errors.map(({ error }) => error.code) };
}

/** Each request of the undisturbed course, failing in each way. */
function faultsOf(calls: readonly FaultyVerb[]): Fault[] {
  const counts = new Map<FaultyVerb, number>();
  return calls.flatMap((verb): Fault[] => {
    const nth = (counts.get(verb) ?? 0) + 1;
    counts.set(verb, nth);
    const faults = faultKinds.map((kind): Fault => ({ verb, nth, kind }));
    if (verb !== 'send') return faults;
    const cancelled = { outcome: 'cancelled', conflict: false, rejections: [] } as const;
    return [
      ...faults,
      { verb, nth, kind: { ...cancelled, conflict: true } },
      { verb, nth, kind: { ...cancelled, rejections: [{ index: 0, code: 'ConditionalCheckFailed' }] } },
      { verb, nth, kind: { ...cancelled, isRepeat: true, rejections: [{ index: 0, code: 'X' }] } },
      { verb, nth, kind: { outcome: 'in-progress' } },
      { verb, nth, kind: { outcome: 'token-reused' } },
    ];
  });
}

const scenes = [
  ...Object.entries(eager).map(([name, handler]) => ['eager', name, handler] as const),
  ...Object.entries(atCommit).map(([name, handler]) => ['at-commit', name, handler] as const),
];
const events = { 'a direct call': {}, 'an HTTP request': paymentEvent({ key: 'key' }) };

beforeEach(() => {
  // That an answer could not be recorded, or kept, is told, and here it is meant.
  for (const level of ['error', 'warn'] as const) vi.spyOn(console, level).mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

/** A numbered sender's own codes come from no guard. */
const everyCode: Record<Exclude<IdempotencyErrorCode, 'QUEUE_FULL' | 'STORAGE_FAILED'>, true> = {
  ...{ MISSING_KEY: true, BAD_KEY: true, MISSING_TENANT: true, BAD_PAYLOAD: true, PAYLOAD_MISMATCH: true },
  ...{ FENCED: true, SEQUENCE_GAP: true },
  ...{ IN_PROGRESS: true, OVERTAKEN: true, NO_TIME_LEFT: true, STORE_UNAVAILABLE: true },
  ...{ STORE_MISCONFIGURED: true, RESULT_UNAVAILABLE: true, COMMIT_REJECTED: true, OUTCOME_UNKNOWN: true },
  ...{ INDETERMINATE: true, NOT_COMMITTED: true, RESULT_DIFFERS: true, BAD_STEP: true, BAD_WRITES: true },
  ...{ BATCH_FAILED: true, NAMESPACE_CLASH: true, UNSUPPORTED: true, NOT_GUARDED: true, BAD_OPTION: true },
};
const seenCodes = new Set<IdempotencyErrorCode>();
const seenNone = new Set<IdempotencyErrorCode>();

describe("no error says `effect: 'none'` where something was done:", () => {
  it.each(scenes)('%s, a handler that %s', async (claim, _, handler) => {
    const lies: unknown[] = [];
    for (const [circumstance, arrange] of Object.entries(circumstances)) {
      for (const [doorName, door] of Object.entries(doors)) {
        for (const [eventName, event] of Object.entries(events)) {
          const scene: Scene = { claim, handler, arrange, door, event };
          const undisturbed = await play(scene, undefined);
          for (const fault of [undefined, ...faultsOf(undisturbed.calls)]) {
            const { none, codes } = await play(scene, fault);
            for (const code of codes) seenCodes.add(code);
            for (const { error, effects } of none) {
              seenNone.add(error.code);
              if (effects > 0) lies.push([error.code, effects, circumstance, doorName, eventName, fault]);
            }
          }
        }
      }
    }
    expect(lies).toEqual([]);
  });

  it('which was asked of every code that there is', () => {
    expect([...seenCodes].sort()).toEqual(Object.keys(everyCode).sort());
  });

  it('and `none` is still said where that is certain', () => {
    expect([...seenNone].sort()).toEqual([
      'BAD_STEP',
      'BAD_WRITES',
      'COMMIT_REJECTED',
      'IN_PROGRESS',
      'PAYLOAD_MISMATCH',
      'RESULT_UNAVAILABLE',
      'STORE_MISCONFIGURED',
      'STORE_UNAVAILABLE',
    ]);
  });
});
