import { execFile } from 'node:child_process';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** What '.' may weigh in a Lambda, minified and without the AWS SDK. Raised only in the commit that needs it. */
const bundleCeilingBytes = 71_000;

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), 'idemkit-package-'));
/** The package as a user's `npm install` would unpack it. */
const unpacked = join(scratch, 'package');

interface Manifest {
  readonly name: string;
  readonly exports: Record<string, string | Record<string, string>>;
  readonly dependencies?: Record<string, string>;
}
let manifest: Manifest;
let files: string[];

beforeAll(async () => {
  // Builds too: `prepack`.
  await run('npm', ['pack', '--silent', '--pack-destination', scratch], { cwd: root });
  const tarball = readdirSync(scratch).find((name) => name.endsWith('.tgz')) ?? '';
  await run('tar', ['-xzf', tarball], { cwd: scratch });
  manifest = readJson(join(unpacked, 'package.json'));
  files = readdirSync(unpacked, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(unpacked.length + 1));
}, 120_000);

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('the tarball', () => {
  it('holds the build and the documents, and nothing else', () => {
    const documents = ['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'];
    expect(files.filter((file) => !/^(?:dist|docs)\//.test(file)).sort()).toEqual(documents);
    expect(files.filter((file) => /^dist\/(?!lib\/)/.test(file))).toEqual([]);
  });

  it('has a file behind every export', () => {
    const targets = Object.values(manifest.exports).flatMap((target) =>
      typeof target === 'string' ? [target] : Object.values(target),
    );
    expect(targets.map((target) => normalize(target)).filter((target) => !files.includes(target))).toEqual(
      [],
    );
  });

  it('has no module that no export reaches', () => {
    const reached = new Set<string>();
    const visit = (module: string): void => {
      if (reached.has(module)) return;
      reached.add(module);
      for (const file of [`${module}.js`, `${module}.d.ts`]) {
        for (const [, specifier = ''] of readFileSync(join(unpacked, file), 'utf8').matchAll(
          /(?:from|import|import\()\s*['"](\.[^'"]+)['"]/g,
        )) {
          visit(moduleOf(join(dirname(file), specifier)));
        }
      }
    };
    for (const target of Object.values(manifest.exports)) {
      if (typeof target !== 'string') visit(moduleOf(normalize(target.default ?? '')));
    }
    const modules = files.filter((file) => /^dist\/.*\.js$/.test(file)).map(moduleOf);
    expect(modules.filter((module) => !reached.has(module))).toEqual([]);
  });
});

describe('a consumer', () => {
  it('in ESM, without Middy and without the types of the AWS SDK, compiles and runs', async () => {
    const consumer = createConsumer('esm', 'main.mts', esmConsumer);
    await compile(consumer);
    addAwsSdk(consumer);
    const { stdout } = await run(process.execPath, ['main.mjs'], { cwd: consumer });
    expect(stdout).toBe('charged o-1 1\ncharged o-1 1\n');
  });

  it('in CommonJS compiles, and gets the package through require', async () => {
    const consumer = createConsumer('cjs', 'main.cts', cjsConsumer);
    await compile(consumer);
    addAwsSdk(consumer);
    const { stdout } = await run(process.execPath, ['main.cjs'], { cwd: consumer });
    expect(stdout).toBe('function function MISSING_KEY\n');
  });
});

describe('the bundle of a Lambda', () => {
  it('stays small, and has in it only what runs there', async () => {
    // From the repository, where what must not be reached could be.
    const { metafile, outputFiles } = await build({
      entryPoints: [join(root, 'dist', 'lib', 'index.js')],
      absWorkingDir: root,
      bundle: true,
      minify: true,
      platform: 'node',
      format: 'esm',
      target: 'node22',
      external: ['@aws-sdk/*'],
      metafile: true,
      write: false,
      logLevel: 'silent',
    });
    const inputs = Object.keys(metafile.inputs);
    const external = Object.values(metafile.outputs).flatMap(({ imports }) =>
      imports.map(({ path }) => path),
    );
    for (const name of ['aws-cdk-lib', '@middy/core', 'lib-dynamodb', 'fast-check', 'vitest']) {
      expect(
        [...inputs, ...external].filter((path) => path.includes(name)),
        name,
      ).toEqual([]);
    }
    expect(outputFiles[0]?.contents.byteLength).toBeLessThanOrEqual(bundleCeilingBytes);
  });
});

const esmConsumer = `
import { createOnce, deduplicationId, dynamoStore, IdempotencyError, idempotent, memoryStore, operation, sendOnce, updateVersion, wholePayload } from 'idemkit';
import { manualClock, storeContract, memoryStore as testStore } from 'idemkit/testing';

interface Order { readonly id: string }

let charges = 0;
export const handler = idempotent(
  async (order: Order, context) => {
    charges++;
    return \`charged \${order.id} \${operation(context).attempt}\`;
  },
  { store: memoryStore(), key: (order) => order.id },
);
console.log(await handler({ id: 'o-1' }));
console.log(await handler({ id: 'o-1' }));
if (charges !== 1) throw new Error(\`charged \${charges} times\`);

// @ts-expect-error an order's id is no number
void (() => handler({ id: 1 }));

const store = testStore({ clock: manualClock() });
for (const { name, run } of storeContract(() => store)) {
  await run().catch((cause: unknown) => {
    throw new Error(name, { cause });
  });
}

export const others = { createOnce, deduplicationId, dynamoStore, IdempotencyError, sendOnce, updateVersion, wholePayload };
`;

const cjsConsumer = `
import idemkit = require('idemkit');
import testing = require('idemkit/testing');

const handler = idemkit.idempotent(async (order: { id?: string }) => order, {
  store: idemkit.memoryStore(),
  key: ({ id }) => id,
});
handler({}).catch((error: unknown) => {
  const code = idemkit.IdempotencyError.is(error) ? error.code : error;
  console.log(typeof idemkit.idempotent, typeof testing.storeContract, code);
});
`;

/** A project of its own, with the package, what it depends on and Node's types: all that is in its node_modules. */
function createConsumer(name: string, file: string, code: string): string {
  const folder = join(scratch, name);
  const modules = join(folder, 'node_modules');
  mkdirSync(modules, { recursive: true });
  cpSync(unpacked, join(modules, manifest.name), { recursive: true });
  copyDependencies(manifest, modules);
  copyDependencies({ dependencies: { '@types/node': '*' } }, modules);
  writeFileSync(join(folder, 'package.json'), '{ "private": true }');
  writeFileSync(join(folder, file), code);
  writeFileSync(
    join(folder, 'tsconfig.json'),
    JSON.stringify({
      compilerOptions: {
        target: 'es2023',
        module: 'nodenext',
        types: ['node'],
        strict: true,
        exactOptionalPropertyTypes: true,
        verbatimModuleSyntax: true,
        skipLibCheck: false,
      },
      files: [file],
    }),
  );
  return folder;
}

function copyDependencies({ dependencies = {} }: Pick<Manifest, 'dependencies'>, modules: string): void {
  for (const name of Object.keys(dependencies)) {
    const source = join(root, 'node_modules', name);
    cpSync(source, join(modules, name), { recursive: true });
    copyDependencies(readJson(join(source, 'package.json')), modules);
  }
}

/** What Lambda's own runtime provides; the compiler has not seen it. */
function addAwsSdk(consumer: string): void {
  symlinkSync(join(root, 'node_modules', '@aws-sdk'), join(consumer, 'node_modules', '@aws-sdk'));
}

async function compile(consumer: string): Promise<void> {
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const errors = await run(process.execPath, [compiler], { cwd: consumer }).then(
    () => '',
    (failure: { stdout?: string; message: string }) => failure.stdout || failure.message,
  );
  expect(errors).toBe('');
}

const moduleOf = (path: string): string => path.replace(/(?:\.d)?\.[jt]s$/, '');

const readJson = (path: string) => JSON.parse(readFileSync(path, 'utf8'));
