/**
 * `npm run proof -- --seeds 1000 [--seed 42] [--workload 'at commit'] [--all]`: runs seeds until one breaks a promise, shrinks it, and prints
 * its time line. With `--seed` alone it runs that one. With `--all` it goes on after a failure and prints no time lines;
 * with `--first` it only says which seed fails first. With `--reached` it says how often each thing happened.
 * `npm run proof -- --explore [--faults 1] [--passes 1] [--holds 1] [--world guarded]` plays every schedule of the small worlds
 * until one breaks a promise; `--choices 1,0,2` plays one schedule again, with the same numbers; `--first` only says which fails first.
 * `npm run proof -- --compare 100000` compares the model of DynamoDB with DynamoDB Local on as many random requests instead.
 * `npm run proof -- --fuzz 1000000 [--seed 42] [--reader 'canonical JSON']` has as many inputs read instead.
 */
import { parseArgs } from 'node:util';
import { runComparison } from './comparison/run.ts';
import { runExplorer } from './explorer/run.ts';
import { fuzz, fuzzedText } from './fuzz/run.ts';
import { Reached } from './simulation/least.ts';
import { reportText } from './simulation/report.ts';
import { runSeed } from './simulation/run.ts';
import { shrink } from './simulation/shrink.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string' },
    seed: { type: 'string' },
    workload: { type: 'string' },
    compare: { type: 'string' },
    explore: { type: 'boolean', default: false },
    world: { type: 'string' },
    faults: { type: 'string', default: '1' },
    passes: { type: 'string', default: '1' },
    holds: { type: 'string', default: '1' },
    choices: { type: 'string' },
    fuzz: { type: 'string' },
    reader: { type: 'string' },
    all: { type: 'boolean', default: false },
    first: { type: 'boolean', default: false },
    reached: { type: 'boolean', default: false },
  },
});
const from = Number(values.seed ?? 1);
const count = Number(values.seeds ?? (values.seed === undefined ? 1_000 : 1));
if (!Number.isSafeInteger(from) || !Number.isSafeInteger(count) || count < 1) {
  throw new Error('Expected --seed and --seeds to be whole numbers, e.g. --seed 42 --seeds 1000.');
}

if (values.compare !== undefined) {
  const requests = Number(values.compare);
  if (!Number.isSafeInteger(requests) || requests < 1) {
    throw new Error('Expected --compare to be a number of requests, e.g. --compare 100000.');
  }
  process.exit((await runComparison(requests, from)) ? 0 : 1);
}

if (values.explore) process.exit((await runExplorer(values)) ? 0 : 1);
if (values.fuzz !== undefined) {
  const inputs = Number(values.fuzz);
  if (!Number.isSafeInteger(inputs) || inputs < 1) {
    throw new Error('Expected --fuzz to be a number of inputs, e.g. --fuzz 1000000.');
  }
  const beganAtMs = performance.now();
  const fuzzed = await fuzz({ from, count: inputs, only: values.reader });
  console.log(fuzzedText(fuzzed));
  console.log(`${((performance.now() - beganAtMs) / 1000).toFixed(1)} s`);
  process.exit(fuzzed.outcome === 'sound' ? 0 : 1);
}

const startedAtMs = performance.now();
const counts = { seeds: 0, calls: 0, faults: 0, events: 0 };
const failed: number[] = [];
const reached = new Reached();
for (let seed = from; seed < from + count; seed++) {
  const report = await runSeed(seed, { workload: values.workload });
  counts.seeds++;
  reached.add(report.reached);
  counts.calls += report.calls;
  counts.faults += report.faults.length;
  counts.events += report.events;
  if (report.complaints.length === 0) continue;
  failed.push(seed);
  if (values.all || values.first) {
    console.log(`Seed ${seed}, workload '${report.workload}': ${report.complaints[0]}`);
    if (values.first) break;
    continue;
  }
  const { report: smallest, runs } = await shrink(report);
  console.log(reportText(smallest));
  console.log(`Shrunk from ${report.faults.length} faults in ${runs} runs.`);
  console.log(`Again: npm run proof -- --seed ${seed} --workload '${report.workload}'`);
  break;
}
if (values.reached) for (const [what, times] of [...reached.counts].sort()) console.log(`${times} ${what}`);
const seconds = ((performance.now() - startedAtMs) / 1000).toFixed(1);
console.log(
  `${counts.seeds} seeds, ${counts.calls} calls, ${counts.faults} faults, ${counts.events} events, ${failed.length} failed, ${seconds} s`,
);
process.exitCode = failed.length > 0 ? 1 : 0;
