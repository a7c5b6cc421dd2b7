import { reportText } from './report.ts';
import { runSeed } from './run.ts';
import { shrink } from './shrink.ts';

/** The first seed that breaks a promise, shrunk, as text; empty where none does. */
export async function brokenSeeds(from: number, count: number): Promise<string> {
  for (let seed = from; seed < from + count; seed++) {
    const report = await runSeed(seed);
    if (report.complaints.length > 0) return reportText((await shrink(report)).report);
  }
  return '';
}
