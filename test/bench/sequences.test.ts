import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { updateDocument } from '../../bench/document.ts';
import type { Result } from '../../bench/result.ts';

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'idemkit-bench-test-'));
let result: Result;

beforeAll(async () => {
  const file = join(folder, 'result.json');
  await run(process.execPath, ['bench/bench.ts', '--quick', '--only', 'sequences', '--json', file]);
  result = JSON.parse(readFileSync(file, 'utf8'));
}, 120_000);

afterAll(() => rmSync(folder, { recursive: true }));

/** Of a thousand records in ten lanes, a batch each. */
it.each([
  ['by key', { requests: 2_000, units: 2_000, items: 1_000 }],
  ['by sequence', { requests: 2_000, units: 2_000, items: 10 }],
  ['by position, guarded', { requests: 20, units: 20, items: 10 }],
  ['by position, committed', { requests: 20, units: 20, items: 10 }],
])('counts what records cost %s, beside the peer', (way, { requests, units, items }) => {
  const rows = new Map(result.parts[0]?.rows.map((row) => [row.what, row]));
  const countsOf = (what: string) => {
    const { idemkit, peer } = rows.get(`${way}: ${what}`) ?? {};
    return [idemkit?.median, peer?.median];
  };
  expect(countsOf('requests')).toEqual([requests, 2_000]);
  expect(countsOf('write units')).toEqual([units, 2_000]);
  expect(countsOf('items in the table')).toEqual([items, 1_000]);
});

it('replaces its own section of the page, and leaves the others', () => {
  const file = join(folder, 'performance.md');
  const title = result.parts[0]?.title;
  writeFileSync(file, `# Performance\n\nText.\n\n## ${title}\n\n| old |\n\n## Other\n\n| kept |\n`);
  updateDocument(result, folder);
  const page = readFileSync(file, 'utf8');
  expect(page).toContain('# Performance\n\nText.\n\n## Numbered records');
  expect(page).toContain('| by key: requests | 2,000 | 2,000 | 1.00 |');
  expect(page).toMatch(/\n\n## Other\n\n\| kept \|\n$/);
  expect(page).not.toContain('| old |');
});
