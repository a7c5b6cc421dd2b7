import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Manifest, pack, readJson, root, run, type Target } from './packed.ts';

/** What a Lambda may carry, minified and without the AWS SDK. Raised only in the commit that needs it. */
const bundles: readonly [what: string, source: string, ceilingBytes: number][] = [
  ['everything', "export * from './dist/lib/index.js'", 127_000],
  ['a guard on a table', "export { dynamoStore, idempotent } from './dist/lib/index.js'", 100_000],
  ['a relay', "export { relayOutbox } from './dist/lib/index.js'", 9_000],
];

const scratch = mkdtempSync(join(tmpdir(), 'idemkit-package-'));
let unpacked: string;
let manifest: Manifest;
let files: readonly string[];

beforeAll(async () => {
  ({ folder: unpacked, manifest, files } = await pack());
}, 120_000);

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

describe('the tarball', () => {
  it('holds the build and the documents, and nothing else', () => {
    const documents = ['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'];
    expect(files.filter((file) => !/^(?:dist|docs)\//.test(file)).sort()).toEqual(documents);
    expect(files.filter((file) => /^dist\/(?!(?:lib|constructs|cjs)\/)/.test(file))).toEqual([]);
  });

  it('has a file behind every export', () => {
    const targets = Object.values(manifest.exports).flatMap(targetsOf);
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
          /(?:from|import|import\(|require\()\s*['"](\.[^'"]+)['"]/g,
        )) {
          visit(moduleOf(join(dirname(file), specifier)));
        }
      }
    };
    for (const target of Object.values(manifest.exports).flatMap(targetsOf)) {
      if (target.endsWith('.js')) visit(moduleOf(normalize(target)));
    }
    const modules = files.filter((file) => /^dist\/.*\.js$/.test(file)).map(moduleOf);
    expect(modules.filter((module) => !reached.has(module))).toEqual([]);
  });
});

describe('the constructs', () => {
  const importsOf = (file: string): string[] =>
    [
      ...readFileSync(join(unpacked, file), 'utf8').matchAll(
        /(?:from|import|import\(|require\()\s*['"]([^'"]+)['"]/g,
      ),
    ].map(([, specifier = '']) => specifier);
  const modulesIn = (folder: RegExp): string[] =>
    files.filter((file) => folder.test(file) && /\.(?:js|d\.ts)$/.test(file));

  it('are out of reach for what runs in a Lambda', () => {
    const modules = modulesIn(/^dist\/lib\//);
    expect(modules.length).toBeGreaterThan(20);
    expect(
      modules.filter((file) => importsOf(file).some((name) => /aws-cdk-lib|constructs/.test(name))),
    ).toEqual([]);
  });

  it('take nothing but the shared names from it, and bring only these in CommonJS', () => {
    const modules = modulesIn(/^dist\/(?:cjs\/)?constructs\//);
    expect(modules.length).toBeGreaterThan(20);
    const outside = modules.flatMap((file) => importsOf(file).filter((name) => name.startsWith('..')));
    expect([...new Set(outside.map(moduleOf))]).toEqual(['../lib/record']);
    expect(modulesIn(/^dist\/cjs\/lib\//).sort()).toEqual([
      'dist/cjs/lib/record.d.ts',
      'dist/cjs/lib/record.js',
    ]);
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

describe('a CDK app', () => {
  it.each([
    ['in ESM', 'cdk-esm', 'app.mts', "import { App, Stack } from 'aws-cdk-lib';"],
    ['in CommonJS, as Jest loads it', 'cdk-cjs', 'app.cts', "import { App, Stack } from 'aws-cdk-lib';"],
  ])(
    '%s compiles, and synthesizes the constructs',
    async (_, name, file, imports) => {
      const consumer = createConsumer(name, file, `${imports}${cdkConsumer}`, {
        // With this one the CDK's own TableV2 is no ITableV2.
        exactOptionalPropertyTypes: false,
        verbatimModuleSyntax: false,
      });
      for (const dependency of ['aws-cdk-lib', 'constructs']) {
        symlinkSync(join(root, 'node_modules', dependency), join(consumer, 'node_modules', dependency));
      }
      await compile(consumer);
      const compiled = file.replace(/ts$/, 'js');
      expect(readFileSync(join(consumer, compiled), 'utf8').includes('require("idemkit/constructs")')).toBe(
        file.endsWith('.cts'),
      );
      const { stdout } = await run(process.execPath, [compiled], {
        cwd: consumer,
        env: { ...process.env, CDK_VALIDATION: 'false' },
      });
      expect(stdout).toBe('AWS::DynamoDB::GlobalTable 1, AWS::SQS::Queue 3, AWS::Pipes::Pipe 1\n');
    },
    60_000,
  );
});

describe('the bundle of a Lambda', () => {
  it.each(bundles)(
    'with %s stays small, and has in it only what runs there',
    async (_, contents, ceilingBytes) => {
      // From the repository, where what must not be reached could be.
      const { metafile, outputFiles } = await build({
        stdin: { contents, resolveDir: root },
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
      expect(outputFiles[0]?.contents.byteLength).toBeLessThanOrEqual(ceilingBytes);
    },
  );
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

const cdkConsumer = `
import { IdempotencyDashboard, IdempotencyTable, IdempotentQueue, OutboxPipe } from 'idemkit/constructs';

const app = new App();
const stack = new Stack(app, 'Shop');
const table = new IdempotencyTable(stack, 'Idempotency');
const queue = new IdempotentQueue(stack, 'Ledger');
new OutboxPipe(stack, 'Outbox', { table, queue, destination: 'ledger' });
new IdempotencyDashboard(stack, 'Guards', { table, namespaces: ['orders'] });

// @ts-expect-error a queue is no table
void (() => new OutboxPipe(stack, 'Wrong', { table: queue, queue, destination: 'ledger' }));

const { Resources } = app.synth().getStackByName('Shop').template;
const types = Object.values<{ Type: string }>(Resources).map(({ Type }) => Type);
console.log(
  ['AWS::DynamoDB::GlobalTable', 'AWS::SQS::Queue', 'AWS::Pipes::Pipe']
    .map((type) => \`\${type} \${types.filter((one) => one === type).length}\`)
    .join(', '),
);
`;

/** A project of its own, with the package, what it depends on and Node's types: all that is in its node_modules. */
function createConsumer(
  name: string,
  file: string,
  code: string,
  compilerOptions: Readonly<Record<string, unknown>> = {},
): string {
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
        ...compilerOptions,
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

const targetsOf = (target: Target): string[] =>
  typeof target === 'string' ? [target] : Object.values(target).flatMap(targetsOf);

const moduleOf = (path: string): string => path.replace(/(?:\.d)?\.[jt]s$/, '');
