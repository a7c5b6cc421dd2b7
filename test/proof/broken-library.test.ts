/** What `npm run proof` says of a library that is broken: the promise, the fewest faults, a time line, and how to have it again. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { mutants } from './mutants/mutants.ts';
import { inCopy, mutated } from './mutants/run-mutant.ts';

const broken = [
  {
    workload: 'committed and amended',
    fault: 'a commit that the claim stopped is taken for applied',
    promise: 'a commit has one effect in each window',
  },
  {
    workload: 'batches of a stream of Kinesis',
    fault: 'a group goes on after a record of it failed',
    promise: 'a group is processed in its order, and all of it',
  },
];

test.each(broken)(
  "a broken library is shrunk, told and had again by '$workload'",
  { timeout: 240_000 },
  ({ workload, fault, promise }) => {
    const mutant = mutants.find((one) => one.fault === fault)!;
    inCopy((folder) => {
      writeFileSync(join(folder, mutant.file), mutated(mutant));
      const proof = (...options: readonly string[]): string =>
        spawnSync(process.execPath, [join(folder, 'test/proof/proof.ts'), ...options], { encoding: 'utf8' })
          .stdout;

      const told = proof('--seeds', '1000', '--workload', workload);
      expect(told).toContain(`, workload '${workload}'\n  broken: ${promise}: `);
      expect(told).toMatch(/^ {2}with \d+ faults:\n( {4}.+: .+\n)+ {2}time line:\n {4} +\d+ ms /m);
      const [, before] = /^Shrunk from (\d+) faults in \d+ runs\.$/m.exec(told) ?? [];
      const [, left] = /^ {2}with (\d+) faults:$/m.exec(told) ?? [];
      expect(Number(left)).toBeLessThanOrEqual(Number(before));

      const [, seed = ''] = /^Again: npm run proof -- --seed (\d+) --workload '/m.exec(told) ?? [];
      const again = proof('--seed', seed, '--workload', workload);
      const text = (said: string): string => said.slice(0, said.lastIndexOf('\nAgain: '));
      expect(text(again)).toBe(text(told));
    });
  },
);
