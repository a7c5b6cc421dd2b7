/** A copy of the library with one fault in it, and what is run over that copy: the simulation, or the test that is named. */
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { auditors } from '../auditors/index.ts';
import { workloads } from '../workloads/index.ts';
import { escaped, type Mutant, namedTest } from './mutant.ts';

export type Found =
  | { readonly by: 'seed'; readonly seed: number; readonly promise: string }
  | { readonly by: 'test'; readonly test: string }
  /** It does not come to a run: the fault is found when the library is loaded, or the run does not end. */
  | { readonly by: 'failure'; readonly said: string }
  | { readonly by: 'nothing' };

/** @throws where the fault's place is not in the file, or more than once */
export function mutated({ file, find, replace }: Mutant): string {
  const source = readFileSync(file, 'utf8');
  const times = source.split(find).length - 1;
  if (times !== 1)
    throw new Error(`Expected ${JSON.stringify(find)} once in ${file}, and it is there ${times} times.`);
  return source.replace(find, () => replace);
}

/** Runs the mutant's own test, or else up to `seeds` seeds, until one fails. */
export function runMutant(mutant: Mutant, seeds: number): Found {
  return inCopy((folder) => {
    writeFileSync(join(folder, mutant.file), mutated(mutant));
    return mutant.test === undefined ? bySeeds(folder, seeds) : byTest(folder, mutant.test);
  });
}

/** Those of the named tests that do not pass in a copy without a fault: a failure of theirs would say nothing of a mutant. */
export function notPassing(tests: readonly string[]): readonly string[] {
  const wanted = tests.map(namedTest);
  const files = [...new Set(wanted.map(({ file }) => file))];
  const run = files.length === 0 ? [] : inCopy((folder) => runTests(folder, files));
  return tests.filter((_, index) => {
    const ran = run.filter(
      ({ file, title }) => file === wanted[index]?.file && title === wanted[index]?.title,
    );
    return ran.length === 0 || ran.some(({ status }) => status !== 'passed');
  });
}

export function inCopy<Outcome>(work: (folder: string) => Outcome): Outcome {
  mkdirSync('.cache', { recursive: true });
  const folder = mkdtempSync('.cache/mutant-');
  try {
    for (const name of ['lib', 'test', 'local', 'package.json', 'vitest.config.ts', 'tsconfig.json']) {
      cpSync(name, join(folder, name), { recursive: true });
    }
    return work(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function bySeeds(folder: string, seeds: number): Found {
  const proof = join(folder, 'test/proof/proof.ts');
  const { stdout, stderr, status } = run([proof, '--seeds', String(seeds), '--first'], process.cwd());
  const [, seed, complaint = ''] = /^Seed (\d+), workload '[^']*': (.*)/m.exec(stdout) ?? [];
  if (seed !== undefined) return { by: 'seed', seed: Number(seed), promise: promiseIn(complaint) };
  return status === 0 ? { by: 'nothing' } : { by: 'failure', said: stderr.split('\n')[0] ?? '' };
}

function byTest(folder: string, test: string): Found {
  const { file, title } = namedTest(test);
  const ran = runTests(folder, [file], title);
  const isFound = ran.some((one) => one.title === title && one.status === 'failed');
  return isFound ? { by: 'test', test } : { by: 'nothing' };
}

interface Ran {
  readonly file: string;
  readonly title: string;
  readonly status: string;
}

/** @param title of the tests that are to run. @default all */
function runTests(folder: string, files: readonly string[], title?: string): readonly Ran[] {
  const vitest = resolve('node_modules/vitest/vitest.mjs');
  const only = title === undefined ? [] : ['--testNamePattern', escaped(title)];
  const output = ['--reporter=json', '--outputFile=results.json'];
  run([vitest, 'run', ...files, ...only, '--maxWorkers=1', '--testTimeout=60000', ...output], folder);
  const results = join(folder, 'results.json');
  if (!existsSync(results)) return [];
  const { testResults } = JSON.parse(readFileSync(results, 'utf8')) as {
    testResults: { name: string; assertionResults: { title: string; status: string }[] }[];
  };
  const root = `${resolve(folder)}/`;
  return testResults.flatMap(({ name, assertionResults }) =>
    assertionResults.map(({ title, status }) => ({ file: name.replace(root, ''), title, status })),
  );
}

const run = (args: readonly string[], cwd: string) =>
  spawnSync(process.execPath, args, { cwd, encoding: 'utf8', timeout: 300_000 });

const promises = new Set(
  workloads.flatMap((workload) => (workload.auditors ?? auditors).map(({ promise }) => promise)),
);

const promiseIn = (complaint: string): string =>
  [...promises].find((promise) => complaint.startsWith(`${promise}: `)) ?? 'the run itself';
