/** Which of the faults that are put in on purpose the explorer finds, where, and with how little that goes wrong. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { mutants } from '../mutants/mutants.ts';
import { inCopy, mutated } from '../mutants/run-mutant.ts';
import type { Budget } from './budget.ts';

export interface ExploredMutant {
  /** As `mutants` names it. */
  readonly fault: string;
  readonly world: string;
  readonly budget: Budget;
}

const orders: Budget = { faults: 0, passes: 1, holds: 0 };
const oneFault: Budget = { faults: 1, passes: 1, holds: 0 };
const oneHeld: Budget = { faults: 0, passes: 1, holds: 1 };

export const exploredMutants: readonly ExploredMutant[] = [
  {
    fault: 'a claim replaces what is completed before its window is over',
    world: 'guarded',
    budget: orders,
  },
  {
    fault: 'every write under a claim is made without asking whose it is',
    world: 'guarded',
    budget: orders,
  },
  { fault: 'a lease never holds', world: 'guarded', budget: orders },
  { fault: 'a takeover does not count', world: 'guarded', budget: orders },
  { fault: 'a takeover forgets the window that it takes over', world: 'stepped', budget: orders },
  { fault: 'other parameters get the stored answer', world: 'mismatched', budget: orders },
  {
    fault: 'a record is not recognised as its own after a lost answer',
    world: 'guarded',
    budget: oneFault,
  },
  { fault: 'a lease never ends', world: 'guarded', budget: oneFault },
  { fault: 'a claim that is answered too late is used', world: 'guarded', budget: oneHeld },
  { fault: 'a commit does not complete the operation', world: 'committed', budget: orders },
  { fault: 'a later attempt does not read what was recorded', world: 'stepped', budget: orders },
  { fault: 'every attempt has a token of its own', world: 'stepped', budget: orders },
  {
    fault: 'a commit without a claim moves the position from wherever it is',
    world: 'lane at commit',
    budget: orders,
  },
  {
    fault: 'a transaction of a lane does not move its position',
    world: 'lane at commit',
    budget: orders,
  },
  {
    fault: 'the first number of a sender is won again in the same epoch',
    world: 'numbered',
    budget: orders,
  },
  {
    fault: 'a higher epoch of a sender does not wait for the lease of the attempt in flight',
    world: 'numbered, two epochs',
    budget: orders,
  },
  { fault: 'an older epoch of a sender takes its item back', world: 'numbered, two epochs', budget: orders },
];

export interface FoundBySchedule {
  readonly choices: string;
  readonly complaint: string;
}

/** Explores one world in a copy of the library that has the fault. `undefined` where every schedule keeps every promise. */
export function exploreMutant({ fault, world, budget }: ExploredMutant): FoundBySchedule | undefined {
  const mutant = mutants.find((one) => one.fault === fault);
  if (!mutant) throw new Error(`There is no mutant '${fault}'.`);
  return inCopy((folder) => {
    writeFileSync(join(folder, mutant.file), mutated(mutant));
    return exploreIn(folder, world, budget);
  });
}

/** @throws where the explorer did not come to its end */
function exploreIn(
  folder: string,
  world: string,
  { faults, passes, holds }: Budget,
): FoundBySchedule | undefined {
  const proof = join(folder, 'test/proof/proof.ts');
  const numbers = Object.entries({ faults, passes, holds }).flatMap(([name, value]) => [
    `--${name}`,
    String(value),
  ]);
  const args = [proof, '--explore', '--first', '--world', world, ...numbers];
  const { stdout, stderr, status } = spawnSync(process.execPath, args, {
    encoding: 'utf8',
    timeout: 300_000,
  });
  const [, choices, complaint] = /^World '[^']*', choices ([\d,]*): (.*)/m.exec(stdout) ?? [];
  if (choices !== undefined && complaint !== undefined) return { choices, complaint };
  if (status === 0) return undefined;
  throw new Error(`The explorer failed: ${stderr}`);
}
