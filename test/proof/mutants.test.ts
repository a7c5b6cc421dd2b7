/** That the faults which the proof is measured with are still faults of this library, and are the ones in the documents. */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { hasTest, namedTest } from './mutants/mutant.ts';
import { mutants } from './mutants/mutants.ts';
import { mutated, runMutant } from './mutants/run-mutant.ts';

/** A test of the store's contract is written in the contract. */
function sourcesOf(file: string): string {
  const source = readFileSync(file, 'utf8');
  const contract = source.includes('storeContract(')
    ? ['contract', 'contract-parts', 'contract-sequence', 'contract-lanes']
    : [];
  return [source, ...contract.map((name) => readFileSync(`lib/store/${name}.ts`, 'utf8'))].join('\n');
}

test.each(mutants)('a fault can be put in: $fault', (mutant) => {
  expect(mutated(mutant)).not.toBe(readFileSync(mutant.file, 'utf8'));
});

test.each(mutants.filter(({ test }) => test !== undefined))(
  'the test that is to find it is there: $fault',
  ({ test = '' }) => {
    const { file, title } = namedTest(test);
    expect(sourcesOf(file)).toSatisfy((source: string) => hasTest(source, title), title);
  },
);

test('a test is found by its title, written out or made of a table, and not where it is not', () => {
  const source = "test('is told', () => {}); test.each(['NaN'])('equals the first: %s', () => {});";
  expect(hasTest(source, 'is told')).toBe(true);
  expect(hasTest(source, 'equals the first: NaN')).toBe(true);
  expect(hasTest(source, 'is tol')).toBe(false);
  expect(hasTest(source, 'equals the first: Infinity')).toBe(false);
});

test('the table in the documents has every fault, and what found it', () => {
  const text = readFileSync('docs/proof.md', 'utf8');
  for (const { fault, file } of mutants) expect(text).toContain(`| ${fault} | \`${file}\` |`);
  expect(text).not.toContain('**nothing**');
});

describe('a fault is found by a few hundred seeds', () => {
  const quick = [
    'a claim replaces what is completed before its window is over',
    'a commit does not complete the operation',
    'a group goes on after a record of it failed',
  ];
  test.each(mutants.filter(({ fault }) => quick.includes(fault)))(
    '$fault',
    { timeout: 120_000 },
    (mutant) => {
      expect(runMutant(mutant, 400)).toMatchObject({ by: 'seed' });
    },
  );

  test('and the library without one is not', { timeout: 120_000 }, () => {
    const harmless = { fault: 'none', file: 'lib/pool.ts', find: 'limit: number', replace: 'limit: number' };
    expect(runMutant(harmless, 100)).toEqual({ by: 'nothing' });
  });
});
