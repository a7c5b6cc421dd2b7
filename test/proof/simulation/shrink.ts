/** A run that fails, with the fewest faults that still make it fail. */
import { type Report, type RunOptions, runSeed } from './run.ts';

export interface Shrunk {
  readonly report: Report;
  /** How many runs it took. */
  readonly runs: number;
}

/** Takes out faults, many at once and then one by one, as long as the same promise is broken. */
export async function shrink(failing: Report, options: RunOptions = {}): Promise<Shrunk> {
  const promise = promiseOf(failing);
  let smallest = failing;
  let runs = 0;
  const fails = async (faults: readonly string[]): Promise<boolean> => {
    runs++;
    const report = await runSeed(failing.seed, {
      ...options,
      only: new Set(faults),
      workload: failing.workload,
    });
    if (promiseOf(report) !== promise) return false;
    smallest = report;
    return true;
  };
  await fails(failing.faults);
  for (let size = Math.ceil(smallest.faults.length / 2); size >= 1; size = Math.floor(size / 2)) {
    for (let at = 0; at < smallest.faults.length; ) {
      const rest = smallest.faults.filter((_, index) => index < at || index >= at + size);
      if (!(await fails(rest))) at += size;
    }
  }
  return { report: smallest, runs };
}

/** The first promise that a run breaks. */
export const promiseOf = ({ complaints: [first] }: Report): string | undefined => first?.split(': ')[0];
