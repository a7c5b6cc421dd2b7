/** What a simulation must be able to do before it proves anything: replay, shrink, tell, and reach what it is about. */
import { expect, test } from 'vitest';
import type { Auditor } from './simulation/history.ts';
import { least, Reached } from './simulation/least.ts';
import { reportText } from './simulation/report.ts';
import { mostOften, runSeed } from './simulation/run.ts';
import { promiseOf, shrink } from './simulation/shrink.ts';
import { doors } from './workloads/doors.ts';
import { workloads } from './workloads/index.ts';
import { shapes } from './workloads/shapes.ts';

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

test('every workload, door, shape of an answer and kind of fault must be reached', () => {
  for (const { name } of workloads) expect(least[`workload: ${name}`]).toBeGreaterThan(0);
  for (const { name } of doors) expect(least[`door: ${name}`]).toBeGreaterThan(0);
  for (const name of Object.keys(shapes)) expect(least[`answers: ${name}`]).toBeGreaterThan(0);
  for (const kind of Object.keys(mostOften)) expect(least[`fault: ${kind}`]).toBeGreaterThan(0);
});

test('what a run reaches is counted, and what many reach too seldom is told', async () => {
  const { reached, faults, workload } = await runSeed(1);
  expect(faults.length).toBeGreaterThan(0);
  expect(reached.get(`workload: ${workload}`)).toBe(1);
  const counted = [...reached].filter(([what]) => what.startsWith('fault: '));
  expect(counted.reduce((sum, [, times]) => sum + times, 0)).toBe(faults.length);

  const nothing = new Reached();
  const all = new Reached();
  for (let seed = 1; seed <= 5_000; seed++) {
    nothing.add(new Map());
    all.add(new Map(seed === 1 ? Object.entries({ ...least, 'fault: late': 7 }) : []));
  }
  expect(nothing.tooSeldom()).toHaveLength(Object.keys(least).length);
  expect(all.tooSeldom()).toEqual([`fault: late: 7 times, expected at least ${least['fault: late']}`]);
});
