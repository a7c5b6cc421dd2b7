/** What an explorer must be able to do before it proves anything: miss no schedule, replay each, and tell of one that fails. */
import { spawnSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Auditor } from './auditors/index.ts';
import { Choices } from './explorer/choices.ts';
import { explore, replay, scheduleText } from './explorer/explore.ts';
import { exploredMutants, exploreMutant } from './explorer/mutants.ts';
import { guarded } from './explorer/worlds/guarded.ts';
import { released } from './explorer/worlds/released.ts';
import { mutants } from './mutants/mutants.ts';
import { inCopy, mutated } from './mutants/run-mutant.ts';

const budget = { faults: 1, passes: 1, holds: 0 };

/** A promise that nobody makes, so that some schedules break it. */
const neverOvertaken: Auditor = {
  promise: 'nothing is ever taken over',
  audit: ({ transitions }) =>
    transitions.flatMap(({ after }) => (after && after.attempt > 1 ? [`attempt ${after.attempt}`] : [])),
};

test('every list of choices is played once, whatever choices open up by others', () => {
  const lists: string[] = [];
  for (let choices: Choices | undefined = new Choices([]); choices; ) {
    const first = choices.pick(['a', 'b', 'c']);
    const second = first === 'b' ? '' : choices.pick(['d', 'e']);
    choices.pick(['decided']);
    const third = second === 'e' ? choices.pick(['f', 'g']) : '';
    lists.push(first + second + third);
    const next = choices.next();
    choices = next && new Choices(next);
  }
  expect(lists).toEqual(['ad', 'aef', 'aeg', 'b', 'cd', 'cef', 'ceg']);
});

test('a list of choices that the world does not have is refused', async () => {
  const { complaints } = await replay(guarded, [99], { budget });
  expect(complaints[0]).toContain('Choice 1 is 99');
});

test('the orders of two claims and their completions are as many as can be counted by hand', async () => {
  // Either claim comes first; its completion may come before the other claim, or after it.
  const { schedules, ends } = await explore(guarded, { budget: { faults: 0, passes: 0, holds: 0 } });
  expect({ schedules, ends: ends.size }).toEqual({ schedules: 4, ends: 4 });
});

test('more that is held back only adds ends', async () => {
  const ends = [];
  for (const holds of [0, 1, 2]) {
    ends.push((await explore(guarded, { budget: { faults: 0, passes: 1, holds } })).ends);
  }
  const [none, one, two] = ends as [ReadonlySet<string>, ReadonlySet<string>, ReadonlySet<string>];
  expect([...none].filter((end) => !one.has(end))).toEqual([]);
  expect([...one].filter((end) => !two.has(end))).toEqual([]);
  expect(two.size).toBeGreaterThan(none.size);
});

test('a call that another one has refused is not blamed for its own request that is applied afterwards', async () => {
  const choices = [0, 0, 0, 5, 0, 0, 1, 1, 1, 0, 0];
  const { complaints, trace } = await replay(released, choices, {
    budget: { faults: 1, passes: 1, holds: 1 },
  });
  const told = trace.join('\n');
  expect(told).toMatch(/call 2 request 1 \(.*: applied\n[\s\S]*call 2 fails: IN_PROGRESS, effect none/);
  expect(complaints).toEqual([]);
});

describe('a schedule that breaks a promise', () => {
  const failing = async () => {
    const { broken } = await explore(guarded, { budget, auditors: [neverOvertaken] });
    return broken!;
  };

  test('is told with its choices, its time line and how to have it again', async () => {
    const schedule = await failing();
    const text = scheduleText(schedule, budget);
    const choices = schedule.choices.join(',');
    expect(text).toContain(`World 'guarded', choices ${choices}`);
    expect(text).toContain('broken: nothing is ever taken over: attempt 2');
    expect(text).toMatch(/^ +\d+ ms {2}time +the lease passes/m);
    expect(text).toContain(
      `--explore --world 'guarded' --faults 1 --passes 1 --holds 0 --choices '${choices}'`,
    );
  });

  test('replays from its choices byte for byte, whatever was played before', async () => {
    const { choices, trace } = await failing();
    await explore(guarded, { budget: { faults: 0, passes: 1, holds: 0 } });
    const again = await replay(guarded, choices, { budget, auditors: [neverOvertaken] });
    expect(again.trace.join('\n')).toBe(trace.join('\n'));
    expect(again.complaints).toContain('nothing is ever taken over: attempt 2');
  });
});

describe('a fault that is put in on purpose is found by a schedule', () => {
  const quick = [
    'every write under a claim is made without asking whose it is',
    'a record is not recognised as its own after a lost answer',
    'other parameters get the stored answer',
    'a later attempt does not read what was recorded',
  ];
  test.each(exploredMutants.filter(({ fault }) => quick.includes(fault)))(
    '$fault',
    { timeout: 120_000 },
    (mutant) => {
      expect(exploreMutant(mutant)?.complaint).toMatch(/^[a-z].*: /);
    },
  );

  test('which the command prints, and plays again from what it printed', { timeout: 120_000 }, () => {
    const mutant = mutants.find(({ fault }) => fault === quick[0])!;
    inCopy((folder) => {
      writeFileSync(join(folder, mutant.file), mutated(mutant));
      const proof = (...options: readonly string[]): string =>
        spawnSync(process.execPath, [join(folder, 'test/proof/proof.ts'), '--explore', ...options], {
          encoding: 'utf8',
        }).stdout;
      const told = proof('--world', 'guarded');
      const text = told.slice(told.indexOf("World 'guarded', choices "));
      expect(text).toContain('  broken: a record changes as the protocol says: ');
      const [, choices = ''] = /--choices '([\d,]+)'$/m.exec(text) ?? [];
      expect(proof('--world', 'guarded', '--choices', choices)).toBe(text);
    });
  });

  test('and the table in the documents has every one', () => {
    const text = readFileSync('docs/proof.md', 'utf8');
    for (const { fault, world } of exploredMutants) expect(text).toContain(`| ${fault} | ${world} | \``);
  });
});
