/** The explorer on demand. */
import type { Budget } from './budget.ts';
import { explore, replay, scheduleText } from './explore.ts';
import { smallWorlds } from './worlds/index.ts';

export interface ExplorerOptions {
  readonly faults: string;
  readonly passes: string;
  readonly holds: string;
  /** @default all */
  readonly world?: string | undefined;
  /** Ends with the first schedule that breaks a promise, and only says which. */
  readonly first: boolean;
  /** Of one schedule, to have it again. */
  readonly choices?: string | undefined;
}

/** @returns whether every schedule keeps every promise */
export async function runExplorer({ world, choices, first, ...numbers }: ExplorerOptions): Promise<boolean> {
  const budget: Budget = {
    faults: wholeNumber('faults', numbers.faults),
    passes: wholeNumber('passes', numbers.passes),
    holds: wholeNumber('holds', numbers.holds),
  };
  const worlds = smallWorlds.filter(({ name }) => world === undefined || name === world);
  if (worlds.length === 0) {
    throw new Error(`Expected --world to be one of ${smallWorlds.map(({ name }) => name).join(', ')}.`);
  }
  if (choices !== undefined) {
    if (worlds.length > 1) throw new Error('Expected --world beside --choices: each world has its own.');
    const taken = choices === '' ? [] : choices.split(',').map((text) => wholeNumber('choices', text));
    const schedule = await replay(worlds[0]!, taken, { budget });
    console.log(scheduleText(schedule, budget));
    return schedule.complaints.length === 0;
  }
  let isKept = true;
  for (const small of worlds) {
    const progress = (schedules: number, states: number) => {
      if (schedules % 10_000 === 0)
        console.error(`  '${small.name}': ${schedules} schedules, ${states} states so far`);
    };
    const { broken, schedules, states, ends, seconds } = await explore(small, { budget, progress });
    console.log(
      `World '${small.name}': ${schedules} schedules, ${states} states, ${ends.size} ends, ${seconds.toFixed(1)} s`,
    );
    if (!broken) continue;
    if (first) {
      console.log(`World '${small.name}', choices ${broken.choices.join(',')}: ${broken.complaints[0]}`);
      return false;
    }
    console.log(scheduleText(broken, budget));
    isKept = false;
  }
  return isKept;
}

function wholeNumber(name: string, text: string): number {
  const number = Number(text);
  if (text === '' || !Number.isSafeInteger(number) || number < 0) {
    throw new Error(`Expected --${name} to be a whole number, got '${text}'.`);
  }
  return number;
}
