/** Clients that call, call again where they are not answered, and call at once from two places. */
import type { Context } from 'aws-lambda';
import { IdempotencyError, type IdempotentOptions, idempotent, operation } from '../../../lib/index.ts';
import type { Chance } from '../simulation/chance.ts';
import { effectsTable } from '../simulation/database.ts';
import type { CallOutcome } from '../simulation/history.ts';
import { namespace, pkOf, type World } from '../simulation/world.ts';
import { Fleet, type Runtime } from './fleet.ts';
import type { Job, Level, Plan } from './levels.ts';
import { Stream } from './stream.ts';
import type { Workload } from './workload.ts';

interface Order {
  readonly tenant: string;
  readonly key: string;
  readonly payload: string;
}

type Guarded = (order: Order, context: Context | undefined) => Promise<unknown>;

const hourMs = 3_600_000;

export const callsOf = (level: Level): Workload => ({
  name: level.name,
  async run(world, untilQuiet) {
    const plan = planOf(world.chance);
    const fleet = new Fleet(world, plan.runtime, (sandbox): Guarded => {
      const options: IdempotentOptions = {
        store: world.store(sandbox),
        namespace,
        observe: world.observe,
        ttlSeconds: plan.ttlSeconds,
        destinations: ['mail'],
        remember: ({ value }) => !isPassing(level, value),
        ...plan.options,
        ...level.options,
        ...(sandbox.name.startsWith('probe') && { lease: { seconds: 60 } }),
      };
      const handler = (job: Job, context: Context) => handled(world, level, plan, job, context);
      return level.isHttp ? overHttp(handler, options) : direct(handler, options);
    });
    const stream = new Stream(world);
    const orders = ordersOf(world.chance);
    for (const [index, order] of orders.entries()) {
      const startsAtMs = startOf(world, plan, index);
      world.time.after(startsAtMs, () => client(world, level, fleet, order, `client ${index + 1}`, 1));
    }
    await untilQuiet();

    world.faults.areOver = true;
    const keys = new Map(orders.map((order) => [`${order.tenant} ${order.key}`, order]));
    world.time.nowMs = Math.max(world.time.nowMs, lastLease(world)) + 61_000;
    for (let round = 0; round < 2; round++) {
      world.log('', `--- every lease is over, no fault strikes any more: round ${round + 1}`);
      const { sandbox, guarded } = fleet.pick('probe');
      for (const order of keys.values()) {
        const about = { ...order, isProbe: true, claimsAtCommit: level.claimsAtCommit === true };
        world.invoke(
          sandbox,
          about,
          (context) => guarded(order, context),
          undefined,
          () => {},
        );
        await untilQuiet();
      }
    }
    stream.check();
    for (const { tenant, key } of orders) {
      const pk = pkOf(tenant, key);
      const times = (world.database.item(effectsTable, pk, 'counter')?.times as { N?: string } | undefined)
        ?.N;
      world.history.counters.set(pk, Number(times ?? 0));
    }
  },
});

function client(
  world: World,
  level: Level,
  fleet: Fleet<Guarded>,
  order: Order,
  name: string,
  tries: number,
): void {
  const { sandbox, guarded } = fleet.pick();
  const about = { ...order, claimsAtCommit: level.claimsAtCommit === true };
  const place = `${name} try ${tries}`;
  const again = () => {
    if (tries === 4) return;
    const pauseMs = world.chance.between(place, 200, 4_000);
    world.time.after(pauseMs, () => client(world, level, fleet, order, name, tries + 1));
  };
  let isOver = false;
  const over = (isToBeRepeated: boolean) => {
    if (isOver) return;
    isOver = true;
    stopWaiting();
    if (isToBeRepeated) again();
  };
  const stopWaiting = world.time.after(20_000, () => over(true));
  world.invoke(
    sandbox,
    about,
    (context) => guarded(order, context),
    fleet.deadline,
    (outcome) => {
      if (world.fault(place, 'answer not delivered')) return;
      over(isToBeRepeated(outcome));
    },
  );
  if (world.fault(`${place} again`, 'called twice')) {
    const laterMs = world.chance.pick(`${place} twice`, [0, 5, 200, 3_000]);
    world.time.after(laterMs, () => {
      const other = fleet.pick();
      world.invoke(
        other.sandbox,
        about,
        (context) => other.guarded(order, context),
        fleet.deadline,
        () => {},
      );
    });
  }
}

const isToBeRepeated = (outcome: CallOutcome): boolean =>
  outcome.kind === 'failed' && !IdempotencyError.is(outcome.error, 'PAYLOAD_MISMATCH');

function planOf(chance: Chance): Plan {
  const isFunction = chance.isTrue('plan', 0.5);
  const runtime: Runtime = isFunction
    ? { kind: 'function', timeoutMs: chance.pick('plan', [1_500, 4_000, 15_000]) }
    : { kind: 'service', leaseSeconds: chance.pick('plan', [0.5, 3, 30]) };
  return {
    runtime,
    ttlSeconds: chance.pick('plan', [2, 60, 86_400, 86_400]),
    isBig: chance.isTrue('plan', 0.15),
    workMs: chance.pick('plan', [0, 50, 1_000, 5_000]),
    options: {
      ...(runtime.kind === 'service' && { lease: { seconds: runtime.leaseSeconds } }),
      ...(chance.isTrue('plan', 0.3) && { whenBusy: { waitMs: chance.pick('plan', [500, 5_000]) } }),
      ...(chance.isTrue('plan', 0.3) && { cache: { maxItems: 10 } }),
      ...(chance.isTrue('plan', 0.1) && { whenStoreFails: 'run' }),
      ...(chance.isTrue('plan', 0.1) && { keep: { key: true, input: true } }),
    },
  };
}

function ordersOf(chance: Chance): Order[] {
  const tenants = chance.pick('orders', [['ann'], ['ann', 'bob']]);
  const clients = chance.between('orders', 1, 4);
  return tenants.flatMap((tenant) =>
    Array.from({ length: clients }, () => ({
      tenant,
      key: chance.isTrue('orders', 0.8) ? 'k1' : 'k2',
      payload: chance.isTrue('orders', 0.93) ? 'paid' : 'paid twice',
    })),
  );
}

/** Most clients come at once; some when the window is about to end, or days later, when TTL has deleted some of it. */
function startOf(world: World, plan: Plan, index: number): number {
  const { chance, time, database } = world;
  const soonMs = chance.between('start', 0, 3_000);
  if (!world.fault(`start of client ${index + 1}`, 'much later')) return soonMs;
  const windowMs = plan.ttlSeconds * 1_000;
  const laterMs = chance.pick('later', [windowMs - 500, windowMs + 200, windowMs + 20_000, 49 * hourMs]);
  for (const sweepMs of [30 * hourMs, 48 * hourMs, 49 * hourMs]) {
    if (sweepMs > laterMs) continue;
    time.after(sweepMs, () => {
      for (const key of database.expirable()) {
        const place = `TTL of ${Object.values(key)
          .map((value) => Object.values(value))
          .join(' ')}`;
        if (chance.isTrue(place, 0.4)) database.expire(key);
      }
    });
  }
  return laterMs + soonMs;
}

/** When the last lease is over on every clock. */
const lastLease = ({ history }: World): number =>
  Math.max(0, ...history.transitions.map(({ after }) => after?.leaseUntilMs ?? 0));

async function handled(world: World, level: Level, plan: Plan, job: Job, context: Context): Promise<unknown> {
  const op = operation(context);
  const execution = world.begin(op, job.tenant, job.key);
  try {
    const answer = await level.handle({ world, execution, op, job, plan });
    world.end(execution, 'returned');
    return answer;
  } catch (error) {
    world.end(execution, 'threw');
    throw error;
  }
}

type Handler = (job: Job, context: Context) => Promise<unknown>;

function direct(handler: Handler, options: IdempotentOptions): Guarded {
  const guarded = idempotent(handler, {
    ...options,
    key: (job) => job.key,
    tenant: (job) => job.tenant,
  });
  return (order, context) => guarded({ ...order }, context);
}

/** The same as an HTTP exchange: the answer is in the body. */
function overHttp(handler: Handler, options: IdempotentOptions): Guarded {
  const guarded = idempotent(
    (event: { readonly body: string }, context: Context) => handler(JSON.parse(event.body), context),
    { ...options, tenant: (event: any) => event.headers['x-tenant'] },
  );
  return async (order, context) => {
    const answer: any = await guarded(httpEvent(order) as never, context);
    const body = JSON.parse(answer.body);
    if (answer.statusCode === 200) return body;
    throw Object.assign(new Error(`HTTP ${answer.statusCode}`), { code: body.code ?? body.type });
  };
}

const httpEvent = (order: Order) => ({
  version: '2.0',
  routeKey: 'POST /orders',
  rawPath: '/orders',
  rawQueryString: '',
  headers: { 'idempotency-key': order.key, 'x-tenant': order.tenant, 'content-type': 'application/json' },
  requestContext: { http: { method: 'POST', path: '/orders' } },
  body: JSON.stringify(order),
  isBase64Encoded: false,
});

function isPassing({ isHttp }: Level, value: any): boolean {
  return isHttp ? value?.body?.includes('isPassing') : value?.isPassing === true;
}
