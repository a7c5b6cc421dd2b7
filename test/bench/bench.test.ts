import { execFile } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Result } from '../../bench/result.ts';
import { compare, inTurn, orderIn } from '../../bench/runner.ts';
import { svgOf } from '../../lib/svg-chart.ts';

const run = promisify(execFile);
const folder = mkdtempSync(join(tmpdir(), 'idemkit-bench-test-'));
const parts = ['cpu', 'bundles', 'requests', 'sdk'];
let printed: string;
let result: Result;

beforeAll(async () => {
  const file = join(folder, 'result.json');
  const options = ['--quick', '--only', parts.join(), '--json', file];
  ({ stdout: printed } = await run(process.execPath, ['bench/bench.ts', ...options]));
  result = JSON.parse(readFileSync(file, 'utf8'));
});

afterAll(() => rmSync(folder, { recursive: true }));

describe('a quick run of the bench', () => {
  it('says which versions it measured, on which machine', () => {
    expect(result.machine).toMatchObject({ node: process.version, quick: true });
    expect(result.machine.packages['@aws-lambda-powertools/idempotency']).toBe('2.35.0');
    expect(printed).toContain(result.machine.cpu);
  });

  it('has a positive figure of idemkit in every row, with its quartiles around it', () => {
    expect(result.parts.map(({ name }) => name)).toEqual(parts);
    for (const { name, rows } of result.parts) {
      expect(rows.length, name).toBeGreaterThan(3);
      for (const { what, idemkit } of rows) {
        const { median = -1, lower = -1, upper = -1 } = idemkit ?? {};
        if (!what.startsWith('cached duplicate: ')) expect(median, what).toBeGreaterThan(0);
        expect(lower, what).toBeLessThanOrEqual(median);
        expect(upper, what).toBeGreaterThanOrEqual(median);
      }
    }
  });

  it('counts two requests of a fresh call, one of a duplicate, and none of a cached one', () => {
    const { rows = [] } = result.parts.find(({ name }) => name === 'requests') ?? {};
    const requestsOf = (what: string) =>
      rows.find((row) => row.what === `${what}: requests`)?.idemkit?.median;
    expect(['fresh', 'at commit', 'duplicate', 'cached duplicate'].map(requestsOf)).toEqual([2, 1, 1, 0]);
  });
});

it('an unknown part is refused with the names of those there are', async () => {
  const refused = run(process.execPath, ['bench/bench.ts', '--only', 'cpus']);
  await expect(refused).rejects.toMatchObject({ code: 2, stderr: expect.stringContaining('cpu, bundles') });
});

it('each round measures both, who goes first in turn', async () => {
  const order: string[] = [];
  await inTurn(2, async (name) => order.push(name));
  expect(order).toEqual(['idemkit', 'peer', 'peer', 'idemkit']);
  expect(orderIn(3)).toEqual(['peer', 'idemkit']);
});

it('a ratio is the median of the ratios of each round, not the ratio of the medians', () => {
  const { ratio } = compare('a call', 'µs', { idemkit: [1, 20, 3], peer: [1, 10, 6] });
  expect(ratio).toEqual({ median: 1, lower: 0.75, upper: 1.5 });
});

it('a chart draws each point of each line, and escapes its words', () => {
  const svg = svgOf({
    title: 'Time <b> & "more"',
    x: { title: 'size', scale: 'logarithmic' },
    y: { title: 'ms', scale: 'linear' },
    lines: [
      {
        name: 'one',
        points: [
          [1, 0],
          [1_000, 4],
        ],
      },
    ],
  });
  expect(svg).toContain('points="70.0,272.0 620.0,56.0"');
  expect(svg).toContain('Time &lt;b&gt; &amp; &quot;more&quot;');
  expect(svg).toContain('prefers-color-scheme:dark');
});
