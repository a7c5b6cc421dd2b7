/** Plays every schedule of a small world, depth first, each from its start. */
import { type Auditor, auditors } from '../auditors/index.ts';
import { replaceGlobals } from '../simulation/globals.ts';
import type { Budget } from './budget.ts';
import { Choices } from './choices.ts';
import { digestOf } from './digest.ts';
import { Scene } from './scene.ts';
import type { SmallWorld } from './small-world.ts';

export interface Schedule {
  readonly world: string;
  readonly choices: readonly number[];
  /** What the auditors found, each with the promise that is broken. */
  readonly complaints: readonly string[];
  readonly trace: readonly string[];
  /** How it ended, apart from moments. */
  readonly end: string;
}

export interface Explored {
  readonly world: string;
  readonly schedules: number;
  readonly states: number;
  /** How schedules can end. */
  readonly ends: ReadonlySet<string>;
  readonly seconds: number;
  /** The first schedule that breaks a promise; then the others were not played. */
  readonly broken: Schedule | undefined;
}

export interface ExploreOptions {
  readonly budget: Budget;
  /** Readers beside the world's own. */
  readonly auditors?: readonly Auditor[];
  /** Is told now and then how far it is. */
  readonly progress?: (schedules: number, states: number) => void;
}

interface PlayOptions extends ExploreOptions {
  readonly atChoice?: (scene: Scene) => void;
}

const clock = performance.now.bind(performance);

export async function explore(small: SmallWorld, options: ExploreOptions): Promise<Explored> {
  const startedAtMs = clock();
  const states = new Set<string>();
  const ends = new Set<string>();
  const atChoice = (scene: Scene) => void states.add(digestOf(scene.world, scene.state));
  let broken: Schedule | undefined;
  let schedules = 0;
  let choices: Choices | undefined = new Choices([]);
  while (choices && !broken) {
    const schedule = await play(small, choices, { ...options, atChoice });
    schedules++;
    ends.add(schedule.end);
    if (schedule.complaints.length > 0) broken = schedule;
    if (schedules % 1_000 === 0) options.progress?.(schedules, states.size);
    const next = choices.next();
    choices = next && new Choices(next);
  }
  const seconds = (clock() - startedAtMs) / 1_000;
  return { world: small.name, schedules, states: states.size, ends, seconds, broken };
}

/** One schedule again, from the list of its choices. */
export const replay = (
  small: SmallWorld,
  choices: readonly number[],
  options: ExploreOptions,
): Promise<Schedule> => play(small, new Choices(choices), options);

async function play(small: SmallWorld, choices: Choices, options: PlayOptions): Promise<Schedule> {
  const scene = new Scene(small, choices, options);
  const { world } = scene;
  const restore = replaceGlobals(world.time, world.chance, (line) => world.log('console', line));
  const complaints: string[] = [];
  try {
    await scene.play();
    for (const { promise, audit } of [...(small.auditors ?? auditors), ...(options.auditors ?? [])]) {
      complaints.push(...audit(world.history).map((wrong) => `${promise}: ${wrong}`));
    }
  } catch (error) {
    complaints.push(`the run ends: ${error instanceof Error ? error.stack : String(error)}`);
  } finally {
    restore();
  }
  return {
    ...{ world: small.name, choices: choices.made, complaints, trace: world.trace },
    end: digestOf(world, scene.outcomes),
  };
}

/** A schedule as text: what is broken, its time line, and how to have it again. */
export function scheduleText({ world, choices, complaints, trace }: Schedule, budget: Budget): string {
  const { faults, passes, holds } = budget;
  return [
    `World '${world}', choices ${choices.join(',')}`,
    ...complaints.map((complaint) => `  broken: ${complaint}`),
    '  time line:',
    ...trace.map((line) => `    ${line}`),
    `Again: npm run proof -- --explore --world '${world}' --faults ${faults} --passes ${passes} --holds ${holds} --choices '${choices.join(',')}'`,
  ].join('\n');
}
