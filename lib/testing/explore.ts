/** Runs a user's handler through every fault at every point, and reports the worst for each effect. */
import { IdempotencyError } from '../errors.ts';
import { complete, isBetween, isFunction, isOneOf, isRecord, type Rules } from '../validate.ts';
import type { MemoryTable } from './memory-tables.ts';
import { watchingTimers } from './own-timers.ts';
import { adviceFor, type EffectReport, printed } from './report.ts';
import { type Fault, faultKinds, type MakeHandler, type Point, type Ran, runSchedule } from './schedule.ts';

export interface ExploreOptions {
  /**
   * Effects that the test counts itself, by name. Each function tells how often its effect has happened so far.
   * Calls of `effect()`, and the writes and messages of commits, are counted without this.
   */
  readonly effects?: Readonly<Record<string, () => number>>;
  /** Effects that a fault may leave undone, such as a step with `atMostOnce`. @default none */
  readonly mayBeMissing?: readonly string[];
  /** Tables that writes are applied to. Each schedule has its own. @default none: writes are only counted */
  readonly tables?: Readonly<Record<string, MemoryTable>>;
  /** The most faults in one schedule. With 2 all pairs are tried: about 12 000 schedules for ten steps. @default 1 */
  readonly faults?: 1 | 2;
  /** Called before each schedule, to reset what the test keeps outside of the handler. */
  readonly setUp?: () => unknown;
  /** The function's timeout in milliseconds. @default 30_000 */
  readonly timeoutMs?: number;
  /** After so many schedules it stops, and `isComplete` is false. @default 20_000 */
  readonly maxSchedules?: number;
}

/** What `explore` found. */
export interface ExploreReport {
  readonly effects: readonly EffectReport[];
  /** Whether every schedule had each effect as often as a clean run. Those of `mayBeMissing` may be fewer. */
  readonly isIdempotent: boolean;
  /** How many schedules were run. */
  readonly schedules: number;
  /** Whether all schedules were run. */
  readonly isComplete: boolean;
  /** A table of the effects. Each wrong one has the time line of its worst schedule, and advice. */
  toString(): string;
}

const isPlan = (value: unknown): boolean => isRecord(value) && !Array.isArray(value);

const rules: Rules<ExploreOptions> = {
  effects: {
    expected: 'an object of functions that count, e.g. { charge: () => charges.length }',
    isFine: (value) => isPlan(value) && Object.values(value as object).every(isFunction),
  },
  mayBeMissing: { expected: 'an array of effects', isFine: Array.isArray },
  tables: { expected: "an object of tables, e.g. { orders: { key: 'id' } }", isFine: isPlan },
  faults: { expected: '1 or 2', isFine: isOneOf(1, 2) },
  setUp: { expected: 'a function', isFine: isFunction },
  timeoutMs: {
    expected: 'milliseconds above 0, at most 900000',
    isFine: (value) => isBetween(value, 0, 900_000),
  },
  maxSchedules: {
    expected: 'a number above 0, at most 1000000',
    isFine: (value) => isBetween(value, 0, 1_000_000),
  },
};

/**
 * Runs a handler through every crash, lost answer, duplicate and overtaken lease, at every request to the store and at every
 * effect. Each schedule has its own store, tables and time. Each delivery has its own handler.
 * After the fault the event is delivered until it is done, and then once more.
 *
 * @param make makes the handler for one delivery: `({ store, effect, tables, clock }) => handler`
 * @param event given to the handler, as a copy for each delivery
 * @throws `BAD_OPTION`; `NOT_GUARDED` if the handler sends nothing to the store; Error if no effect was seen, or if two clean
 * runs differ
 */
export async function explore(
  make: MakeHandler,
  event: unknown,
  options: ExploreOptions = {},
): Promise<ExploreReport> {
  if (!isFunction(make)) {
    throw new IdempotencyError(
      'BAD_OPTION',
      'explore() needs a function that makes the handler: ({ store }) => handler.',
    );
  }
  complete(options, rules);
  return watchingTimers(() => exploreAll(make, event, options));
}

async function exploreAll(
  make: MakeHandler,
  event: unknown,
  options: ExploreOptions,
): Promise<ExploreReport> {
  const { faults: mostFaults = 1, maxSchedules = 20_000, mayBeMissing = [] } = options;
  const given = {
    effects: options.effects ?? {},
    tables: options.tables ?? {},
    setUp: options.setUp ?? (() => {}),
    timeoutMs: options.timeoutMs ?? 30_000,
  };
  const run = (faults: readonly Fault[]) => runSchedule(make, event, faults, given);
  const clean = await run([]);
  checkClean(clean, await run([]), given.effects);
  const worst = new Map<string, { most: Ran; least: Ran }>();
  const note = (ran: Ran): void => {
    for (const name of new Set([...clean.first.keys(), ...ran.counts.keys()])) {
      const known = worst.get(name) ?? { most: ran, least: ran };
      const count = countIn(ran, name);
      worst.set(name, {
        most: count > countIn(known.most, name) ? ran : known.most,
        least: count < countIn(known.least, name) ? ran : known.least,
      });
    }
  };
  note(clean);
  let schedules = 1;
  let isComplete = true;
  let level: Ran[] = [clean];
  for (let faults = 1; faults <= mostFaults; faults++) {
    const next: Ran[] = [];
    for (const ran of level) {
      for (const point of pointsAfter(ran)) {
        for (const kind of faultKinds) {
          if (schedules >= maxSchedules) {
            isComplete = false;
            continue;
          }
          const fault: Fault = { kind, delivery: point.delivery, point: point.point };
          const after = await run([...ran.faults, fault]);
          checkReached(after, point);
          schedules++;
          note(after);
          if (faults < mostFaults) next.push(after);
        }
      }
    }
    level = next;
  }
  const effects = [...worst].map(([name, { most, least }]): EffectReport => {
    const expected = clean.first.get(name) ?? 0;
    const [highest, lowest] = [countIn(most, name), countIn(least, name)];
    const counts = { name, expected, most: highest, least: lowest };
    if (highest > expected) {
      return {
        ...counts,
        verdict: 'repeated',
        timeLine: most.timeLine,
        advice: adviceFor(name, clean.points),
      };
    }
    if (lowest < expected && !mayBeMissing.includes(name)) {
      return {
        ...counts,
        ...{ verdict: 'missing', timeLine: least.timeLine },
        advice:
          'The event was answered as done, or given up, without it. Let the handler throw where it fails, so that the event comes again; or name it in `mayBeMissing`.',
      };
    }
    return { ...counts, verdict: 'as-once' };
  });
  const report = {
    effects,
    isIdempotent: effects.every(({ verdict }) => verdict === 'as-once'),
    schedules,
    isComplete,
  };
  return { ...report, toString: () => printed(report) };
}

const countIn = ({ counts }: Ran, name: string): number => counts.get(name) ?? 0;
const labelsOf = ({ points }: Ran): string[] => points.map(({ label }) => label);

/** Points after the last fault. */
function pointsAfter({ faults, points }: Ran): readonly Point[] {
  const last = faults.at(-1);
  if (!last) return points;
  const at = points.findIndex(({ delivery, point }) => delivery === last.delivery && point === last.point);
  return points.slice(at + 1);
}

function checkClean(clean: Ran, again: Ran, effects: Readonly<Record<string, unknown>>): void {
  const [labels, others] = [labelsOf(clean), labelsOf(again)];
  const parting = labels.findIndex((label, index) => label !== others[index]);
  if (parting !== -1 || labels.length !== others.length) {
    const at = parting === -1 ? labels.length : parting;
    throw new Error(
      `Two runs without a fault differ at point ${at + 1}: '${labels[at] ?? 'the end'}' and '${others[at] ?? 'the end'}'. explore() needs a handler that does the same each time: reset what it keeps in \`setUp\`, and take chance and time out of it.`,
    );
  }
  if (!labels.some((label) => !label.startsWith('effect '))) {
    throw new IdempotencyError(
      'NOT_GUARDED',
      'explore() found no store request: the handler has no guard, or a guard on another store, or the event has no key. Make it with the store that it is given: ({ store }) => idempotent(handler, { store }).',
    );
  }
  const unseen = Object.keys(effects).filter((name) => countIn(clean, name) === 0);
  if (unseen.length > 0 || clean.counts.size === 0) {
    const what = unseen.length > 0 ? `these effects: ${unseen.join(', ')}` : 'an effect';
    const end = clean.timeLine
      .map(({ what: told }) => told)
      .find((told) => /^(?:throws|answers) /.test(told));
    throw new Error(
      `A run without a fault did not have ${what}. ${end ? `The handler ${end}. ` : ''}Play effects by effect('charge', token), count them in \`effects\`, or let commit() write them.`,
    );
  }
}

function checkReached({ points, faults }: Ran, wanted: Point): void {
  const found = points.find(({ delivery, point }) => delivery === wanted.delivery && point === wanted.point);
  if (found?.label === wanted.label) return;
  throw new Error(
    `With ${faults.length === 1 ? 'a fault' : 'faults'} the handler came to '${found?.label ?? 'its end'}' where it came to '${wanted.label}' before. explore() needs a handler that does the same each time: take chance and time out of it.`,
  );
}
