import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const script = fileURLToPath(new URL('../../../local/soak/start.ts', import.meta.url));

const run = (...flags: string[]): Promise<{ code: number; stdout: string; stderr: string }> =>
  new Promise((resolve) => {
    execFile(process.execPath, [script, ...flags], (error, stdout, stderr) => {
      resolve({ code: error === null ? 0 : Number(error.code), stdout, stderr });
    });
  });

test('npm run soak shows its options', async () => {
  const { code, stdout } = await run('--help');
  expect(code).toBe(0);
  expect(stdout).toContain('--minutes N');
});

test.each([
  [['--minutes', '0'], '--minutes is a number above 0'],
  [['--minutes', 'long'], '--minutes is a number above 0'],
  [['--seed', '1.5'], '--seed is a whole number'],
  [['--hours', '1'], "Unknown option '--hours'"],
])('npm run soak refuses %j before it starts anything', async (flags, problem) => {
  const { code, stdout, stderr } = await run(...flags);
  expect(code).toBe(2);
  expect(stdout).toBe('');
  expect(stderr).toContain(problem);
});
