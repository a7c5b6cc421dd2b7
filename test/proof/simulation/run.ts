/** One seed: its workload and its faults are drawn, it runs to its end, and the auditors read what happened. */

import { Chance } from '../../../lib/simulate/time/chance.ts';
import { type Auditor, auditors } from '../auditors/index.ts';
import { workloadOf, workloads } from '../workloads/index.ts';
import type { Rates } from './faults.ts';
import { replaceGlobals } from './globals.ts';
import { reachedIn } from './reached.ts';
import { World } from './world.ts';

export interface Report {
  readonly seed: number;
  readonly workload: string;
  /** What the auditors found, each with the promise that is broken. */
  readonly complaints: readonly string[];
  /** Names of the faults that struck. */
  readonly faults: readonly string[];
  readonly trace: readonly string[];
  readonly events: number;
  readonly calls: number;
  /** How often each thing happened that runs are meant to reach. */
  readonly reached: ReadonlyMap<string, number>;
}

const mostEvents = 20_000;

export interface RunOptions {
  /** Names of the faults that may strike. @default all that the seed draws */
  readonly only?: ReadonlySet<string> | undefined;
  /** @default one that the seed draws */
  readonly workload?: string | undefined;
  /** Readers beside those of all runs. */
  readonly auditors?: readonly Auditor[];
}

export async function runSeed(
  seed: number,
  { only, workload: name, auditors: more = [] }: RunOptions = {},
): Promise<Report> {
  const chance = new Chance(seed);
  const workload = workloads.find((one) => one.name === name) ?? workloadOf(seed, chance);
  const world = new World(seed, ratesOf(chance), only);
  const restore = replaceGlobals(world.time, world.chance, (line) => world.log('console', line));
  const complaints: string[] = [];
  world.history.reach(`workload: ${workload.name}`);
  try {
    await workload.run(world, async () => world.time.untilQuiet(mostEvents));
    complaints.push(...audit([...(workload.auditors ?? auditors), ...more], world));
  } catch (error) {
    complaints.push(`the run ends: ${error instanceof Error ? error.stack : String(error)}`);
  } finally {
    restore();
  }
  return {
    seed,
    workload: workload.name,
    complaints,
    faults: world.faults.struck.map(({ name: fault }) => fault),
    trace: world.trace,
    events: world.time.events,
    calls: world.history.calls.length,
    reached: reachedIn(world),
  };
}

const audit = (all: readonly Auditor[], { history }: World): string[] =>
  all.flatMap(({ promise, audit: read }) => read(history).map((wrong) => `${promise}: ${wrong}`));

/** Each seed has some kinds of faults, often or seldom: runs with everything at once would end before they begin. */
function ratesOf(chance: Chance): Rates {
  const rates: Record<string, number> = {};
  const isStormy = chance.isTrue('rates', 0.2);
  for (const [kind, most] of Object.entries(mostOften)) {
    if (chance.isTrue('rates', isStormy ? 0.6 : 0.3)) rates[kind] = chance.fraction('rates') * most;
  }
  return rates;
}

/** The highest rate of each kind of fault. */
export const mostOften = {
  'lost request': 0.15,
  'lost answer': 0.15,
  late: 0.12,
  'sent twice': 0.12,
  slow: 0.2,
  throttled: 0.2,
  'failed before': 0.15,
  'failed after': 0.15,
  conflict: 0.15,
  'in two phases': 0.3,
  'crash before': 0.08,
  'crash after': 0.08,
  'crash when answered': 0.08,
  frozen: 0.1,
  'small skew': 0.5,
  'wild skew': 0.4,
  'called twice': 0.3,
  'answer not delivered': 0.2,
  'handler throws': 0.2,
  'delivered twice': 0.3,
  'relay dies': 0.2,
  'not published': 0.2,
  'passing answer': 0.2,
  'much later': 0.3,
  'seal fails': 0.1,
  'open fails': 0.1,
  'turned away': 0.1,
  'middleware throws': 0.1,
  'place is lost': 0.2,
  'other payload': 0.1,
  'sent ahead': 0.2,
  'count is lost': 0.15,
  'goes on unanswered': 0.2,
} as const;
