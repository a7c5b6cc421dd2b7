/** What a simulation must be able to do before it proves anything: replay, shrink, tell, and reach what it is about. */
import { expect, test } from 'vitest';
import type { Auditor } from './simulation/history.ts';
import { reportText } from './simulation/report.ts';
import { mostOften, runSeed } from './simulation/run.ts';
import { promiseOf, shrink } from './simulation/shrink.ts';
import { workloads } from './workloads/index.ts';

/** A promise that nobody makes, so that runs break it. */
const neverOvertaken: Auditor = {
  promise: 'nothing is ever taken over',
  audit: ({ transitions }) =>
    transitions.flatMap(({ after }) => (after && after.attempt > 1 ? [`attempt ${after.attempt}`] : [])),
};

async function failingRun() {
  for (let seed = 1; ; seed++) {
    const report = await runSeed(seed, { auditors: [neverOvertaken] });
    if (report.complaints.length > 0 && report.faults.length > 3) return report;
  }
}

test('a seed run again gives the same trace byte for byte, whatever ran between', async () => {
  const first = [];
  for (let seed = 1; seed <= 20; seed++) first.push(await runSeed(seed));
  for (const { seed, trace, faults } of first.toReversed()) {
    const again = await runSeed(seed);
    expect(again.trace.join('\n')).toBe(trace.join('\n'));
    expect(again.faults).toEqual(faults);
  }
});

test('a failing seed shrinks to fewer faults, none of which can be left out, and replays from those', async () => {
  const options = { auditors: [neverOvertaken] };
  const failing = await failingRun();
  const { report } = await shrink(failing, options);
  expect(report.faults.length).toBeLessThan(failing.faults.length);
  const { seed, workload, faults } = report;
  const replay = await runSeed(seed, { ...options, workload, only: new Set(faults) });
  expect(replay.trace.join('\n')).toBe(report.trace.join('\n'));
  for (const left of faults) {
    const only = new Set(faults.filter((fault) => fault !== left));
    expect(promiseOf(await runSeed(seed, { ...options, workload, only }))).toBeUndefined();
  }
});

test('a failing seed is told with what is broken, its faults and its time line', async () => {
  const failing = await failingRun();
  const text = reportText(failing);
  expect(text).toContain(`Seed ${failing.seed}, workload '${failing.workload}'`);
  expect(text).toContain('broken: nothing is ever taken over: attempt 2');
  for (const fault of failing.faults) expect(text).toContain(fault);
  expect(text).toMatch(/^ +\d+ ms {2}sandbox \d+ +call 1 begins/m);
});

test('a few hundred seeds reach every workload and every kind of fault', async () => {
  const kinds = new Set<string>();
  const reached = new Set<string>();
  for (let seed = 1; seed <= 400; seed++) {
    const { faults, workload } = await runSeed(seed);
    reached.add(workload);
    for (const fault of faults) kinds.add(fault.slice(fault.lastIndexOf(': ') + 2));
  }
  expect([...reached].sort()).toEqual(workloads.map(({ name }) => name).sort());
  expect([...kinds].sort()).toEqual(Object.keys(mostOften).sort());
});
