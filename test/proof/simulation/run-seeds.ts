import { Reached } from './least.ts';
import { reportText } from './report.ts';
import { runSeed } from './run.ts';
import { shrink } from './shrink.ts';

export interface SeedsRun {
  /** The first seed that breaks a promise, shrunk, as text; empty where none does. */
  readonly broken: string;
  /** What they reach less often than they must. */
  readonly tooSeldom: readonly string[];
}

export async function runSeeds(from: number, count: number): Promise<SeedsRun> {
  const reached = new Reached();
  for (let seed = from; seed < from + count; seed++) {
    const report = await runSeed(seed);
    reached.add(report.reached);
    if (report.complaints.length > 0) {
      return { broken: reportText((await shrink(report)).report), tooSeldom: [] };
    }
  }
  return { broken: '', tooSeldom: reached.tooSeldom() };
}
