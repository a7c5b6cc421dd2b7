import { execFile } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, inject, it } from 'vitest';
import { createTable } from '../support/dynamodb.ts';
import { type CodeBlock, codeBlocks } from '../support/markdown.ts';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
// Inside the repository, so that samples find its node_modules.
const workspace = join(root, '.cache', 'samples');

/** How a block's fence says that it is to be treated: ` ```ts `, ` ```ts run ` or ` ```ts no-check=reason `. */
const treatments = /^(?:run|no-check=\S.*)?$/;

const { name, exports } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as {
  name: string;
  exports: Record<string, string | { default: string }>;
};
/** What the package offers, and the source that each of it is built from. */
const entries = Object.entries(exports).flatMap(([subpath, target]) =>
  typeof target === 'string'
    ? []
    : [{ subpath, source: join(root, target.default.replace('./dist/', '').replace(/\.js$/, '.ts')) }],
);

const samples = documents()
  .flatMap((document) => codeBlocks(document, readFileSync(join(root, document), 'utf8')))
  .filter(({ language }) => /^(?:ts|typescript)$/i.test(language));
const checked = samples.filter(({ info }) => !info.startsWith('no-check'));
const runnable = samples.filter(({ info }) => info === 'run');

describe('the samples of the documentation', () => {
  beforeAll(prepareWorkspace);

  it('begin in the README', () => {
    expect(existsSync(join(root, 'README.md')), 'README.md is there').toBe(true);
    expect(samples.filter(({ document }) => document === 'README.md')).not.toHaveLength(0);
  });

  it('are compiled, or say why not', () => {
    const refused = samples.filter(({ language, info }) => language !== 'ts' || !treatments.test(info));
    expect(
      refused.map(
        ({ document, line, language, info }) =>
          `${document}:${line}: \`${language} ${info}\` is none of \`ts\`, \`ts run\`, \`ts no-check=reason\``,
      ),
    ).toEqual([]);
  });

  it('compile each on its own', { timeout: 120_000 }, async () => {
    expect(await compilerErrors()).toEqual([]);
  });

  for (const sample of runnable) {
    it(`run without an error: ${sample.document}:${sample.line}`, { timeout: 60_000 }, async () => {
      await run(process.execPath, [fileOf(sample)], {
        cwd: workspace,
        env: await environment(),
        timeout: 50_000,
      });
    });
  }
});

function documents(): string[] {
  const docs = existsSync(join(root, 'docs')) ? readdirSync(join(root, 'docs'), { recursive: true }) : [];
  return ['README.md', ...docs.map((name) => `docs/${String(name).replaceAll('\\', '/')}`).sort()].filter(
    (name) => name.endsWith('.md') && existsSync(join(root, name)),
  );
}

function fileOf({ document, line }: CodeBlock): string {
  return join(workspace, `${document.replaceAll('/', '.')}.${line}.ts`);
}

/** Writes each sample to a file of its own, on the same lines as in its document. */
async function prepareWorkspace(): Promise<void> {
  await rm(workspace, { recursive: true, force: true });
  await mkdir(workspace, { recursive: true });
  for (const sample of checked) {
    await writeFile(fileOf(sample), '\n'.repeat(sample.line) + sample.code);
  }

  const compilerOptions = {
    // A sample shows a piece of a program: what it declares is used elsewhere.
    noUnusedLocals: false,
    noUnusedParameters: false,
    paths: Object.fromEntries(entries.map(({ subpath, source }) => [join(name, subpath), [source]])),
  };
  await writeFile(
    join(workspace, 'tsconfig.json'),
    JSON.stringify({ extends: '../../tsconfig.json', compilerOptions, include: ['*.ts'] }),
  );

  // `paths` is the compiler's. Node takes the samples for a part of the package whose name they import.
  const exports = Object.fromEntries(entries.map(({ subpath }, at) => [subpath, `./entry-${at}.js`]));
  await writeFile(join(workspace, 'package.json'), JSON.stringify({ name, type: 'module', exports }));
  for (const [at, { source }] of entries.entries()) {
    const code = `export * from ${JSON.stringify(pathToFileURL(source))};\n`;
    await writeFile(join(workspace, `entry-${at}.js`), code);
  }
}

/** What a deployed function would find: tables of its own, on this run's DynamoDB. */
async function environment(): Promise<NodeJS.ProcessEnv> {
  const env: NodeJS.ProcessEnv = {
    AWS_REGION: 'eu-west-1',
    AWS_ACCESS_KEY_ID: 'local',
    AWS_SECRET_ACCESS_KEY: 'local',
    IDEMPOTENCY_NAMESPACE: 'samples',
    ...process.env,
  };
  // A sample on the memory store does without it, any other one fails by itself.
  const endpoint = inject('dynamodbEndpoint');
  if (endpoint === undefined) return env;
  const { tableName } = await createTable(endpoint);
  const { tableName: ordersTable } = await createTable(endpoint);
  return {
    ...env,
    AWS_ENDPOINT_URL_DYNAMODB: endpoint,
    IDEMPOTENCY_TABLE: tableName,
    ORDERS_TABLE: ordersTable,
  };
}

/** The compiler's complaints, each beginning with the document and the line. */
async function compilerErrors(): Promise<string[]> {
  if (checked.length === 0) return [];
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const output = await run(process.execPath, [compiler, '--pretty', 'false'], { cwd: workspace }).then(
    () => '',
    (failure: { stdout?: string; message: string }) => failure.stdout || failure.message,
  );
  const lines = output.split('\n').filter((line) => line.trim() !== '');
  return lines.map((line) => {
    const sample = checked.find((candidate) => line.startsWith(`${basename(fileOf(candidate))}(`));
    return sample === undefined
      ? line
      : line.replace(/^.*?\((\d+),(\d+)\)/, (_, row, column) => `${sample.document}:${row}:${column}`);
  });
}
