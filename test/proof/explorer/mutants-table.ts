/** `npm run proof:explored`: explores every fault on the explorer's list, and writes what found it into docs/proof.md. */
import { readFileSync, writeFileSync } from 'node:fs';
import { exploredMutants, exploreMutant } from './mutants.ts';

const file = 'docs/proof.md';
const begin = '<!-- explored: begin -->';
const end = '<!-- explored: end -->';

let living = 0;
const rows = exploredMutants.map((mutant) => {
  const found = exploreMutant(mutant);
  if (!found) living++;
  const promise = found?.complaint.split(': ')[0] ?? '**nothing**';
  const choices = found ? `\`${found.choices || 'none'}\`` : '';
  const row = `| ${mutant.fault} | ${mutant.world} | ${choices} | ${promise} |`;
  console.log(row);
  return row;
});
const table = ['| fault put in | world | choices | breaks |', '|---|---|---|---|', ...rows].join('\n');
const text = readFileSync(file, 'utf8');
const before = text.slice(0, text.indexOf(begin) + begin.length);
writeFileSync(file, `${before}\n\n${table}\n\n${text.slice(text.indexOf(end))}`);
console.log(`${rows.length} mutants, ${living} live.`);
process.exitCode = living > 0 ? 1 : 0;
