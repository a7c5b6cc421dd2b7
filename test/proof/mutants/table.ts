/** `npm run proof:mutants [-- --seeds 3000]`: runs all mutants and writes what found each into docs/proof.md. */
import { readFileSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { mutants } from './mutants.ts';
import { type Found, runMutant } from './run-mutant.ts';

const { values } = parseArgs({ options: { seeds: { type: 'string', default: '3000' } } });
const seeds = Number(values.seeds);
const file = 'docs/proof.md';
const begin = '<!-- mutants: begin -->';
const end = '<!-- mutants: end -->';

const rows: string[] = [];
let living = 0;
for (const mutant of mutants) {
  const found = runMutant(mutant, seeds);
  if (found.by === 'nothing') living++;
  const row = `| ${mutant.fault} | \`${mutant.file}\` | ${told(found)} |`;
  console.log(row);
  rows.push(row);
}
const table = ['| fault put in | where | found by |', '|---|---|---|', ...rows].join('\n');
const text = readFileSync(file, 'utf8');
const before = text.slice(0, text.indexOf(begin) + begin.length);
const after = text.slice(text.indexOf(end));
writeFileSync(file, `${before}\n\n${table}\n\n${after}`);
console.log(`${mutants.length} mutants, ${living} live, ${seeds} seeds at most.`);
process.exitCode = living > 0 ? 1 : 0;

function told(found: Found): string {
  switch (found.by) {
    case 'seed':
      return `seed ${found.seed}: ${found.promise}`;
    case 'test':
      return `\`${found.test}\``;
    case 'failure':
      return 'the run itself fails';
    case 'nothing':
      return '**nothing**';
  }
}
