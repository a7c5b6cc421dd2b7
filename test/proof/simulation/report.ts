/** A failing seed as text: what is broken, which faults it takes, and the time line. */
import type { Report } from './run.ts';

export function reportText({ seed, workload, complaints, faults, trace }: Report): string {
  return [
    `Seed ${seed}, workload '${workload}'`,
    ...complaints.map((complaint) => `  broken: ${complaint}`),
    faults.length === 0 ? '  without any fault' : `  with ${faults.length} faults:`,
    ...faults.map((fault) => `    ${fault}`),
    '  time line:',
    ...trace.map((line) => `    ${line}`),
  ].join('\n');
}
