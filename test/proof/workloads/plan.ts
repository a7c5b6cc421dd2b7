/** What is drawn for a run of calls: how its guard is set up, and who calls when. */
import type { IdempotentOptions } from '../../../lib/index.ts';
import type { Chance } from '../../../lib/simulate/time/chance.ts';
import { type Door, doors } from './doors.ts';
import type { Runtime } from './fleet.ts';
import type { ErrorProfile } from './http-exchange.ts';
import type { Job } from './job.ts';
import type { ShapeName } from './shapes.ts';

/** Of a handler that can be called over HTTP only, or not at all. */
export type HttpUse = 'only' | 'never';

export interface Plan {
  readonly runtime: Runtime;
  readonly door: Door;
  readonly errors: ErrorProfile;
  readonly ttlSeconds: number;
  readonly options: IdempotentOptions;
  readonly shape: ShapeName;
  readonly isSealed: boolean;
  readonly workMs: number;
}

export function planOf(chance: Chance, level: { readonly http?: HttpUse }): Plan {
  const isFunction = chance.isTrue('plan', 0.5);
  const runtime: Runtime = isFunction
    ? { kind: 'function', timeoutMs: chance.pick('plan', [1_500, 4_000, 15_000]) }
    : { kind: 'service', leaseSeconds: chance.pick('plan', [0.5, 3, 30]) };
  const door = chance.pick(
    'door',
    doors.filter(({ http }) => (http ? level.http !== 'never' : level.http !== 'only')),
  );
  return {
    ...{ runtime, door },
    errors: chance.pick('errors', ['problem', 'stripe', 'told']),
    ttlSeconds: chance.pick('plan', [2, 60, 86_400, 86_400]),
    shape: shapeOf(chance.fraction('shape'), door),
    isSealed: chance.isTrue('seal', 0.2),
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

function shapeOf(drawn: number, { http }: Door): ShapeName {
  if (drawn < 0.01) return 'huge';
  if (drawn < 0.12) return 'big';
  if (drawn < 0.22) return 'long';
  // Over HTTP there is nothing but JSON.
  return drawn < 0.42 && http === undefined ? 'rich' : 'plain';
}

export function ordersOf(chance: Chance): Job[] {
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
