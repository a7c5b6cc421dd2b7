/** What is played with each guard. */
import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { MiddlewareObj } from '@middy/core';
import { wholePayload } from '../../lib/index.ts';
import { httpEventV2 } from '../../lib/testing.ts';
import type { Chain, Event, Handler, Use } from './contenders.ts';
import type { Stage } from './stage.ts';

export interface Scenario {
  readonly name: string;
  /** How many operations the callers ask for: one clean call of each leaves so many effects. @default 1 */
  readonly operations?: number;
  play(stage: Stage): Promise<void>;
}

/** Orders with a key of their own; the payload is compared. */
const order: Use = {
  idemkit: { key: ({ id }: { id: string }) => id, fingerprint: ({ payload }: Event) => payload },
  peer: { eventKeyJmesPath: 'id', payloadValidationJmesPath: 'payload' },
};
/** Equal events are one operation. */
const whole: Use = { idemkit: { key: wholePayload }, peer: {} };
const header = 'headers."idempotency-key"';
/** Requests with an `Idempotency-Key`; bodies are compared as JSON. */
const request: Use = {
  idemkit: {},
  peer: { eventKeyJmesPath: header, payloadValidationJmesPath: 'powertools_json(body)' },
};
/** The same, but the peer compares bodies as text. */
const requestAsText: Use = { ...request, peer: { ...request.peer, payloadValidationJmesPath: 'body' } };
/** The same, and the peer is told where the caller's name is. */
const requestOfCaller: Use = {
  ...request,
  peer: { ...request.peer, eventKeyJmesPath: `[requestContext.authorizer.jwt.claims.sub, ${header}]` },
};

const newOrder = (): Event => ({ id: randomUUID(), payload: { amount: 12, currency: 'eur' } });
const middy: Chain = {};

const acts =
  (stage: Stage): Handler =>
  async () => ({ receipt: stage.act() });
const actsOverHttp =
  (stage: Stage): Handler =>
  async () => ({ statusCode: 201, body: JSON.stringify({ receipt: stage.act() }) });

/** The same call, so many times, one after the other. */
const repeats = async (
  stage: Stage,
  handler: Handler,
  use: Use,
  { count = 2, chain, event = newOrder() }: { count?: number; chain?: Chain; event?: Event } = {},
): Promise<void> => {
  for (let call = 0; call < count; call++) await stage.call(handler, event, use, chain);
};

const lostWrites: readonly Scenario[] = [
  {
    name: 'The answer to the claim is lost; one repeat at once, one after the lease',
    async play(stage) {
      const event = newOrder();
      stage.lose('answers', 0, 1);
      await repeats(stage, acts(stage), order, { event });
      stage.afterTheLease();
      await stage.call(acts(stage), event, order);
    },
  },
  {
    name: 'The answer to the completion is lost; a repeat',
    async play(stage) {
      stage.lose('answers', 1, 1);
      await repeats(stage, acts(stage), order);
    },
  },
  ...(['wrapper', 'Middy'] as const).map(
    (door): Scenario => ({
      name: `DynamoDB cannot be reached after the claim (${door}); one repeat at once, one after the lease`,
      async play(stage) {
        const event = newOrder();
        const chain = door === 'Middy' ? middy : undefined;
        stage.lose('requests', 1, Number.POSITIVE_INFINITY);
        await stage.call(acts(stage), event, order, chain);
        stage.mendNetwork();
        await stage.call(acts(stage), event, order, chain);
        stage.afterTheLease();
        await stage.call(acts(stage), event, order, chain);
      },
    }),
  ),
];

/** A handler whose runs act at once, and end when they are told to, each in its own way. */
function heldRuns(stage: Stage) {
  const runs: { end(): void; fail(): void }[] = [];
  const begun: (() => void)[] = [];
  const handler: Handler = () => {
    const receipt = stage.act();
    return new Promise((resolve, reject) => {
      runs.push({ end: () => resolve({ receipt }), fail: () => reject(stage.failing()) });
      begun.shift()?.();
    });
  };
  return {
    handler,
    runs,
    /** A call that is on the way, once its handler has acted or it has got its answer. */
    async begin(event: Event): Promise<{ answered: Promise<void> }> {
      const hasBegun = new Promise<void>((resolve) => begun.push(resolve));
      const answered = stage.call(handler, event, order);
      await Promise.race([hasBegun, answered]);
      return { answered };
    },
  };
}

const overtaken: readonly Scenario[] = [
  {
    name: 'An attempt outlives its lease, and finishes after its successor; then a repeat',
    async play(stage) {
      const event = newOrder();
      const { begin, runs } = heldRuns(stage);
      const first = await begin(event);
      stage.afterTheLease();
      await stage.call(acts(stage), event, order);
      runs[0]?.end();
      await first.answered;
      await stage.call(acts(stage), event, order);
    },
  },
  {
    name: 'An attempt outlives its lease, and throws after its successor finished; then a repeat',
    async play(stage) {
      const event = newOrder();
      const { begin, runs } = heldRuns(stage);
      const first = await begin(event);
      stage.afterTheLease();
      await stage.call(acts(stage), event, order);
      runs[0]?.fail();
      await first.answered;
      await stage.call(acts(stage), event, order);
    },
  },
  {
    name: 'An attempt outlives its lease, and throws while its successor runs; a repeat meanwhile, and one later',
    async play(stage) {
      const event = newOrder();
      const { begin, runs } = heldRuns(stage);
      const first = await begin(event);
      stage.afterTheLease();
      const second = await begin(event);
      runs[0]?.fail();
      await first.answered;
      await stage.call(acts(stage), event, order);
      runs[1]?.end();
      await second.answered;
      await stage.call(acts(stage), event, order);
    },
  },
  {
    name: 'Ten duplicates, one every 20 ms, while the first call runs; then a repeat',
    async play(stage) {
      const event = newOrder();
      const { begin, runs, handler } = heldRuns(stage);
      const first = await begin(event);
      const duplicates: Promise<void>[] = [];
      for (let count = 0; count < 10; count++) {
        duplicates.push(stage.call(handler, event, order));
        await sleep(20);
      }
      await Promise.all(duplicates);
      runs[0]?.end();
      await first.answered;
      await stage.call(acts(stage), event, order);
    },
  },
];

const failsAfter = (stage: Stage): MiddlewareObj => ({
  after: () => {
    throw stage.failing();
  },
});

/** A middleware that fails the first time only. */
function failsOnce(stage: Stage): MiddlewareObj {
  let isFirst = true;
  return {
    after: (call) => {
      if (!isFirst) return;
      isFirst = false;
      failsAfter(stage).after?.(call);
    },
  };
}

const results: readonly Scenario[] = (['wrapper', 'Middy'] as const).flatMap((door) => {
  const chain = door === 'Middy' ? middy : undefined;
  return [
    {
      name: `A result of 450 KB that cannot be compressed (${door}); a repeat`,
      async play(stage) {
        const handler: Handler = async () => ({
          receipt: stage.act(),
          report: randomBytes(337_500).toString('base64'),
        });
        await repeats(stage, handler, order, { chain });
      },
    },
    {
      name: `\`undefined\` in a result (${door}); a repeat`,
      async play(stage) {
        await repeats(stage, async () => ({ receipt: stage.act(), note: undefined }), order, { chain });
      },
    },
    {
      name: `A handler that returns nothing (${door}); a repeat`,
      async play(stage) {
        const handler: Handler = async () => {
          stage.act();
        };
        await repeats(stage, handler, order, { chain });
      },
    },
  ] satisfies Scenario[];
});

const handlers: readonly Scenario[] = [
  {
    name: 'The handler changes the payload of its event; a repeat',
    async play(stage) {
      await repeats(stage, changing(stage), order);
    },
  },
  {
    name: 'The same, where the whole event is the key; one repeat at once, one after the lease',
    async play(stage) {
      const event = newOrder();
      await repeats(stage, changing(stage), whole, { event });
      stage.afterTheLease();
      await stage.call(changing(stage), event, whole);
    },
  },
  ...(['inner', 'outer'] as const).map(
    (place): Scenario => ({
      name: `${place === 'inner' ? 'A middleware inside the guard' : 'A middleware outside the guard'} fails after the handler; a repeat`,
      async play(stage) {
        await repeats(stage, acts(stage), order, { chain: { [place]: failsOnce(stage) } });
      },
    }),
  ),
];

const changing =
  (stage: Stage): Handler =>
  async (event) => {
    const payload = event.payload as { currency: string };
    payload.currency = payload.currency.toUpperCase();
    return { receipt: stage.act() };
  };

const post = (body: string, key: string, caller = 'alice'): Event =>
  httpEventV2({
    path: '/payments',
    headers: { 'content-type': 'application/json' },
    idempotencyKey: key,
    authorizer: { jwt: { claims: { iss: 'https://issuer.example', sub: caller } } },
    body,
  }) as unknown as Event;

const amount = (digits: string): string => `{"amount":${digits}}`;

/** Two requests with one key, in both ways in which the peer can compare their bodies. */
const pairs = (name: string, [first, second]: readonly [string, string]): readonly Scenario[] =>
  [['JSON', request] as const, ['text', requestAsText] as const].map(([way, use]) => ({
    name: `${name} (the peer compares bodies as ${way})`,
    async play(stage) {
      const key = randomUUID();
      for (const body of [first, second]) await stage.call(actsOverHttp(stage), post(body, key), use);
    },
  }));

const deep = `{"list":${'['.repeat(20_000)}${']'.repeat(20_000)}}`;
const digits: readonly [string, string] = [amount('12345678901234567890'), amount('12345678901234567891')];
const otherOrder: readonly [string, string] = ['{"amount":1,"to":"bob"}', '{ "to": "bob", "amount": 1 }'];
const prototypes: readonly [string, string] = [
  '{"amount":1,"__proto__":{"to":"bob"}}',
  '{"amount":1,"__proto__":{"to":"eve"}}',
];

const callersAndBodies: readonly Scenario[] = [
  ...(
    [
      ['Two tenants use one key', request],
      ['Two tenants use one key; the peer is told to read the caller as well', requestOfCaller],
    ] as const
  ).map(
    ([name, use]): Scenario => ({
      name,
      operations: 2,
      async play(stage) {
        const key = randomUUID();
        for (const caller of ['alice', 'bob']) {
          await stage.call(actsOverHttp(stage), post(amount('1'), key, caller), use);
        }
      },
    }),
  ),
  ...pairs('A repeat has its members in another order', otherOrder),
  ...pairs('Another amount, in its 20th digit', digits),
  ...pairs('Another value below `__proto__`', prototypes),
  ...pairs('A body of 20 000 levels; a repeat', [deep, deep]),
];

export const scenarios: readonly Scenario[] = [
  ...lostWrites,
  ...overtaken,
  ...results,
  ...handlers,
  ...callersAndBodies,
];
