/**
 * `npm run proof:mutants [-- --seeds 3000] [--only TEXT] [--new]`: runs all mutants and writes what found each into
 * docs/proof.md. With `--only` those whose fault contains the text, with `--new` those that have no row there; all other rows
 * stay as they are.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import type { Mutant } from './mutant.ts';
import { mutants } from './mutants.ts';
import { type Found, notPassing, runMutant } from './run-mutant.ts';

const { values } = parseArgs({
  options: {
    seeds: { type: 'string', default: '3000' },
    only: { type: 'string', default: '' },
    new: { type: 'boolean', default: false },
  },
});
const seeds = Number(values.seeds);
const file = 'docs/proof.md';
const begin = '<!-- mutants: begin -->';
const end = '<!-- mutants: end -->';
const startedAtMs = Date.now();

const rowStart = ({ fault, file }: Mutant) => `| ${fault} | \`${file}\` | `;
const text = readFileSync(file, 'utf8');
const earlierRow = (mutant: Mutant) => text.split('\n').find((line) => line.startsWith(rowStart(mutant)));
const isToRun = (mutant: Mutant) =>
  mutant.fault.includes(values.only) && !(values.new && earlierRow(mutant) !== undefined);

const chosen = mutants.filter(isToRun);
const failing = notPassing(chosen.flatMap(({ test }) => test ?? []));
if (failing.length > 0) {
  throw new Error(`These tests do not pass in a copy without a fault:\n${failing.join('\n')}`);
}

let living = 0;
const rows = mutants.flatMap((mutant) => {
  if (!chosen.includes(mutant)) return earlierRow(mutant) ?? [];
  const found = runMutant(mutant, seeds);
  if (found.by === 'nothing') living++;
  const row = `${rowStart(mutant)}${told(found)} |`;
  console.log(row);
  return row;
});
const table = ['| fault put in | where | found by |', '|---|---|---|', ...rows].join('\n');
const before = text.slice(0, text.indexOf(begin) + begin.length);
const after = text.slice(text.indexOf(end));
writeFileSync(file, `${before}\n\n${table}\n\n${after}`);
const seconds = Math.round((Date.now() - startedAtMs) / 1000);
console.log(
  `${chosen.length} of ${mutants.length} mutants, ${living} live, ${seeds} seeds at most, ${seconds} s.`,
);
process.exitCode = living > 0 ? 1 : 0;

function told(found: Found): string {
  switch (found.by) {
    case 'seed':
      return `seed ${found.seed}: ${found.promise}`;
    case 'test':
      return `\`${found.test.replace(': ', '`: ')}`;
    case 'failure':
      return 'the run itself fails';
    case 'nothing':
      return '**nothing**';
  }
}
