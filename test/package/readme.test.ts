import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type CodeBlock, codeBlocks } from '../support/markdown.ts';
import { compilerErrors, install, installTools, pack, pinned, root, write } from './packed.ts';

const blocks: readonly CodeBlock[] = codeBlocks('README.md', readFileSync(join(root, 'README.md'), 'utf8'));
const guide: readonly CodeBlock[] = codeBlocks(
  'docs/table.md',
  readFileSync(join(root, 'docs/table.md'), 'utf8'),
);
const commands = [...blocks, ...guide]
  .filter(({ language }) => language === 'sh')
  .flatMap(({ code }) => code.split('\n'));

let project: string;
let tools: string;

beforeAll(async () => {
  const [{ tarball, manifest }, installed] = await Promise.all([pack(), installTools()]);
  tools = installed;
  const packages = commands
    .filter((command) => command.startsWith('npm install '))
    .flatMap((command) => command.split(' ').slice(2))
    .filter((word) => !word.startsWith('--'))
    .map((name) => (name === manifest.name ? tarball : pinned(name)));
  project = await install(packages, ['--install-strategy=linked']);
}, 300_000);

afterAll(() => rmSync(project, { recursive: true, force: true }));

describe("the README's first sample", () => {
  it.each(['5.4', '7'] as const)(
    'compiles with TypeScript %s in a strict installation',
    { timeout: 60_000 },
    async (version) => {
      const sample = blocks.find(({ language }) => language === 'ts');
      write(project, {
        // Middy 7 is an ES module, and its types import a package that it does not depend on.
        'sample.mts': sample?.code ?? '',
        'tsconfig.json': {
          compilerOptions: {
            target: 'es2022',
            module: 'node16',
            strict: true,
            types: ['node'],
            skipLibCheck: true,
            noEmit: true,
          },
          files: ['sample.mts'],
        },
      });
      expect(await compilerErrors(project, version, tools)).toBe('');
    },
  );
});

describe('the commands that make a table', () => {
  it('wait for the table before they change it', () => {
    const verbs = commands.flatMap((command) => /^aws dynamodb (\S+)/.exec(command)?.[1] ?? []);
    expect(verbs).toEqual(['create-table', 'wait', 'update-time-to-live']);
    expect(commands).toContain('aws dynamodb wait table-exists --table-name idempotency');
  });
});
