/** Clients that call, call again where they are not answered, and call at once from two places. */
import type { Context } from 'aws-lambda';
import { IdempotencyError, type IdempotentOptions, operation } from '../../../lib/index.ts';
import { http } from '../auditors/http.ts';
import { auditors } from '../auditors/index.ts';
import { effectsTable } from '../simulation/database.ts';
import type { CallOutcome } from '../simulation/history.ts';
import type { Sandbox } from '../simulation/sandbox.ts';
import { namespace, type World } from '../simulation/world.ts';
import { type Guarded, openDoor, pkAt } from './doors.ts';
import { Fleet } from './fleet.ts';
import type { Job } from './job.ts';
import type { Level } from './levels.ts';
import { ordersOf, type Plan, planOf } from './plan.ts';
import { sealIn } from './seal.ts';
import { Stream } from './stream.ts';
import type { Workload } from './workload.ts';

const hourMs = 3_600_000;

export const callsOf = (level: Level): Workload => ({
  name: level.name,
  auditors: [...auditors, http],
  async run(world, untilQuiet) {
    const plan = planOf(world.chance, level);
    world.log('', `--- ${plan.door.name}, ${plan.shape}${plan.isSealed ? ', sealed' : ''}`);
    world.history.reach(`door: ${plan.door.name}`);
    world.history.reach(`answers: ${plan.shape}`);
    const calls = new Calls(world, level, plan);
    const orders = ordersOf(world.chance);
    for (const [index, order] of orders.entries()) {
      const startsAtMs = startOf(world, plan, index);
      world.time.after(startsAtMs, () => calls.client(order, `client ${index + 1}`, 1));
    }
    await untilQuiet();

    world.faults.areOver = true;
    const keys = new Map(orders.map((order) => [`${order.tenant} ${order.key}`, order]));
    world.time.nowMs = Math.max(world.time.nowMs, lastLease(world)) + 61_000;
    for (let round = 0; round < 2; round++) {
      world.log('', `--- every lease is over, no fault strikes any more: round ${round + 1}`);
      const probe = calls.fleet.pick('probe');
      for (const order of keys.values()) {
        calls.invoke(probe, order, { isProbe: true });
        await untilQuiet();
      }
    }
    calls.stream.check();
    for (const order of orders) {
      const pk = pkAt(plan.door, order);
      const times = (world.database.item(effectsTable, pk, 'counter')?.times as { N?: string } | undefined)
        ?.N;
      world.history.counters.set(pk, Number(times ?? 0));
    }
  },
});

class Calls {
  readonly fleet: Fleet<Guarded>;
  readonly stream: Stream;
  readonly #world: World;
  readonly #level: Level;
  readonly #plan: Plan;

  constructor(world: World, level: Level, plan: Plan) {
    this.#world = world;
    this.#level = level;
    this.#plan = plan;
    const seal = plan.isSealed ? sealIn(world) : undefined;
    this.stream = new Stream(world, seal);
    this.fleet = new Fleet(world, plan.runtime, (sandbox) => {
      const options: IdempotentOptions = {
        store: world.store(sandbox, seal),
        namespace,
        observe: world.observe,
        ttlSeconds: plan.ttlSeconds,
        destinations: ['mail'],
        // Over HTTP the status says it.
        ...(plan.door.http === undefined && { remember: ({ value }) => !isPassing(value) }),
        ...plan.options,
        ...level.options,
        ...(sandbox.name.startsWith('probe') && { lease: { seconds: 60 } }),
      };
      return openDoor(world, plan.door, plan.errors, (job, context) => this.#handle(job, context), options);
    });
  }

  client(order: Job, name: string, tries: number): void {
    const { time, chance } = this.#world;
    const place = `${name} try ${tries}`;
    const again = () => {
      if (tries === 4) return;
      time.after(chance.between(place, 200, 4_000), () => this.client(order, name, tries + 1));
    };
    let isOver = false;
    const over = (isToBeRepeated: boolean) => {
      if (isOver) return;
      isOver = true;
      stopWaiting();
      if (isToBeRepeated) again();
    };
    const stopWaiting = time.after(20_000, () => over(true));
    this.invoke(this.fleet.pick(), order, {
      deadline: this.fleet.deadline,
      ended: (outcome) => {
        if (this.#world.fault(place, 'answer not delivered')) return;
        over(isToBeRepeated(outcome));
      },
    });
    if (this.#world.fault(`${place} again`, 'called twice')) {
      const laterMs = chance.pick(`${place} twice`, [0, 5, 200, 3_000]);
      time.after(laterMs, () => this.invoke(this.fleet.pick(), order, { deadline: this.fleet.deadline }));
    }
  }

  invoke(
    { sandbox, guarded }: { readonly sandbox: Sandbox; readonly guarded: Guarded },
    order: Job,
    how: {
      readonly isProbe?: boolean;
      readonly deadline?: Fleet<Guarded>['deadline'];
      readonly ended?: (outcome: CallOutcome) => void;
    },
  ): void {
    const { isProbe = false, deadline, ended = () => {} } = how;
    const claimsAtCommit = this.#level.claimsAtCommit === true;
    const about = { ...order, pks: [pkAt(this.#plan.door, order)], isProbe, claimsAtCommit };
    this.#world.invoke(sandbox, about, (context) => guarded(order, context), deadline, ended);
  }

  async #handle(job: Job, context: Context): Promise<unknown> {
    const world = this.#world;
    const plan = this.#plan;
    const op = operation(context);
    const execution = world.begin(op, job.key, pkAt(plan.door, job));
    try {
      const answer = await this.#level.handle({ world, execution, op, job, plan });
      const isOverHttp = plan.door.http !== undefined;
      world.returned(execution, isOverHttp ? JSON.parse((answer as { body: string }).body) : answer);
      return answer;
    } catch (error) {
      world.threw(execution);
      throw error;
    }
  }
}

const isToBeRepeated = (outcome: CallOutcome): boolean =>
  outcome.kind === 'failed' && !IdempotencyError.is(outcome.error, 'PAYLOAD_MISMATCH');

const isPassing = (value: unknown): boolean =>
  (value as { isPassing?: boolean } | undefined)?.isPassing === true;

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
