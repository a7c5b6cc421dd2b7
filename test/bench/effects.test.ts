import { readFileSync } from 'node:fs';
import { beforeAll, describe, expect, test } from 'vitest';
import { peerPackage, peerVersion } from '../../bench/effects/contenders.ts';
import { type Report, told, withTable } from '../../bench/effects/page.ts';
import { countEffects, type Row } from '../../bench/effects/run.ts';
import { scenarios } from '../../bench/effects/scenarios.ts';
import { dynamodbEndpoint } from '../support/dynamodb.ts';

const kept: Report = JSON.parse(readFileSync('bench/effects/counted.json', 'utf8'));
const keptRow = (name: string) => kept.rows.find(({ scenario }) => scenario === name);

describe('the comparison with the peer', () => {
  let rows: readonly Row[];
  beforeAll(async () => {
    rows = await countEffects(dynamodbEndpoint());
  }, 60_000);

  test.each(scenarios)('is as it was counted: $name', ({ name }) => {
    const row = rows.find(({ scenario }) => scenario === name);
    expect(row).toBeDefined();
    expect(row).toEqual(keptRow(name));
  });

  test('keeps a count of every scenario, and of no other', () => {
    expect(kept.rows.map(({ scenario }) => scenario)).toEqual(scenarios.map(({ name }) => name));
  });
});

test('the page has the table of what was counted', () => {
  const page = readFileSync('docs/comparison.md', 'utf8');
  expect(page).toBe(withTable(page, kept));
});

test.each([
  [
    'one effect and one answer',
    { effects: 1, callers: ['answer 1', 'busy', 'answer 1'] },
    1,
    ['1', 'answer 1, busy, answer 1'],
  ],
  ['an effect too many', { effects: 2, callers: ['refused', 'answer 2'] }, 1, ['**2**', 'refused, answer 2']],
  ['an effect too few', { effects: 0, callers: ['busy'] }, 1, ['**0**', 'busy']],
  [
    'two answers to one operation',
    { effects: 1, callers: ['answer 1', 'nothing'] },
    1,
    ['1', '**answer 1, nothing**'],
  ],
  [
    'an answer for each operation',
    { effects: 2, callers: ['answer 1', 'answer 2'] },
    2,
    ['2', 'answer 1, answer 2'],
  ],
] as const)('marks what clean calls do not leave: %s', (_name, counted, cleanEffects, cells) => {
  expect(told(counted, cleanEffects)).toEqual(cells);
});

test('the version of the peer that was counted is the one that is installed', () => {
  expect([kept.peer, kept.version]).toEqual([peerPackage, peerVersion]);
});

test('the README quotes what was counted, with version and date', () => {
  const readme = readFileSync('README.md', 'utf8');
  const overtaken = keptRow(
    'An attempt outlives its lease, and throws after its successor finished; then a repeat',
  );
  const inside = keptRow('A middleware inside the guard fails after the handler; a repeat');
  expect(readme).toContain(`\`${peerPackage}\` ${kept.version}`);
  expect(readme).toContain(
    `On ${kept.date} an attempt that outlived its lease and then threw left ` +
      `${overtaken?.idemkit.effects} effects with idemkit, and ${overtaken?.peer.effects} with the peer.`,
  );
  expect(readme).toContain(
    `A middleware that failed inside the guard left ${inside?.idemkit.effects} and ${inside?.peer.effects}; ` +
      `the repeat then got \`${inside?.idemkit.callers[1]}\`, and an ${inside?.peer.callers[1]?.split(' ')[0]}.`,
  );
});
