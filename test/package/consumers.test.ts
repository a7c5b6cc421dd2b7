import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  type CompilerVersion,
  compilerErrors,
  createProject,
  installTools,
  link,
  linkTools,
  type Packed,
  pack,
  root,
  run,
} from './packed.ts';

let packed: Packed;
let tools: string;
const projects: string[] = [];

beforeAll(async () => {
  [packed, tools] = await Promise.all([pack(), installTools()]);
}, 300_000);

afterAll(() => {
  for (const project of projects) rmSync(project, { recursive: true, force: true });
});

/** A project with the package and Node's types, and with these packages of the repository. */
function createConsumer(
  packages: readonly string[],
  sources: Readonly<Record<string, string>>,
  compilerOptions: Readonly<Record<string, unknown>>,
): string {
  const project = createProject(packed, [...packages, '@types/node', 'undici-types'], {
    ...sources,
    'tsconfig.json': {
      compilerOptions: {
        target: 'es2022',
        lib: ['es2022'],
        types: ['node'],
        strict: true,
        ...compilerOptions,
      },
      files: Object.keys(sources),
    },
  });
  projects.push(project);
  return project;
}

const output = async (project: string, words: readonly string[]): Promise<string> => {
  const env = { ...process.env, CDK_VALIDATION: 'false' };
  const { stdout } = await run(process.execPath, words, { cwd: project, env });
  return stdout;
};

type Row = readonly [version: CompilerVersion, resolution: string, options: object, files: readonly string[]];

describe('a handler and its test, without Middy and without the types of the AWS SDK', () => {
  it.each<Row>([
    ['5.4', 'node10', { module: 'commonjs', moduleResolution: 'node10' }, ['main.ts']],
    ['5.4', 'node16', { module: 'node16' }, ['main.mts', 'main.cts']],
    ['5.4', 'bundler', { module: 'esnext', moduleResolution: 'bundler' }, ['main.ts']],
    ['5.9', 'node10', { module: 'commonjs', moduleResolution: 'node10' }, ['main.ts']],
    ['5.9', 'node18', { module: 'node18' }, ['main.mts', 'main.cts']],
    ['7', 'bundler', { module: 'esnext', moduleResolution: 'bundler' }, ['main.ts']],
  ])(
    'compile with TypeScript %s and the resolution %s',
    { timeout: 60_000 },
    async (version, _, options, files) => {
      const sources = Object.fromEntries(files.map((file) => [file, handler]));
      const project = createConsumer([], sources, { ...strictest, ...options, noEmit: true });
      expect(await compilerErrors(project, version, tools)).toBe('');
    },
  );

  it('compile and run as an ES module and in CommonJS', { timeout: 60_000 }, async () => {
    const sources = { 'main.mts': handler, 'main.cts': handler };
    const project = createConsumer([], sources, { ...strictest, module: 'nodenext' });
    expect(await compilerErrors(project, '7', tools)).toBe('');
    // What Lambda's own runtime provides; the compiler has not seen it.
    link(join(root, 'node_modules', '@aws-sdk'), join(project, 'node_modules', '@aws-sdk'));
    for (const file of ['main.mjs', 'main.cjs']) {
      expect(await output(project, [file])).toBe('charged o-1 1\ncharged o-1 1\n');
    }
  });
});

describe('a CDK app', () => {
  const cdk = ['aws-cdk-lib', 'constructs'];
  const synthesised = 'AWS::DynamoDB::GlobalTable 1, AWS::SQS::Queue 3, AWS::Pipes::Pipe 1\n';

  it('compiles and synthesizes the constructs, as an ES module and in CommonJS', {
    timeout: 60_000,
  }, async () => {
    const sources = { 'app.mts': app, 'app.cts': app };
    // With `exactOptionalPropertyTypes` the CDK's own TableV2 is no ITableV2.
    const project = createConsumer(cdk, sources, { skipLibCheck: false, module: 'nodenext' });
    expect(await compilerErrors(project, '7', tools)).toBe('');
    for (const file of ['app.mjs', 'app.cjs']) expect(await output(project, [file])).toBe(synthesised);
  });

  it('compiles with TypeScript 5.4 and the resolution node10', { timeout: 60_000 }, async () => {
    const options = { module: 'commonjs', moduleResolution: 'node10', skipLibCheck: true, noEmit: true };
    expect(await compilerErrors(createConsumer(cdk, { 'app.ts': app }, options), '5.4', tools)).toBe('');
  });

  it('runs from its sources with ts-node, in CommonJS with the resolution node10', {
    timeout: 60_000,
  }, async () => {
    const options = { module: 'commonjs', moduleResolution: 'node10', skipLibCheck: true };
    const project = createConsumer(cdk, { 'app.ts': app }, options);
    linkTools(project, tools);
    const tsNode = join('node_modules', 'ts-node', 'dist', 'bin.js');
    expect(await output(project, [tsNode, '--prefer-ts-exts', 'app.ts'])).toBe(synthesised);
  });
});

const strictest = { exactOptionalPropertyTypes: true, skipLibCheck: false };

const handler = `
import {
  createOnce, deduplicationId, dynamoStore, IdempotencyError, idempotent, operation, sendOnce, updateVersion, wholePayload,
} from 'idemkit';
import { newIdempotencyKey, retryingFetch } from 'idemkit/client';
import { storeContract } from 'idemkit/store';
import { assertIdempotent, idempotencyMatchers, manualClock, memoryStore, memoryTables } from 'idemkit/testing';

interface Order { readonly id: string }

let charges = 0;
export const handler = idempotent(
  async (order: Order, context) => {
    charges++;
    return \`charged \${order.id} \${operation(context).attempt}\`;
  },
  { store: memoryStore(), key: (order) => order.id },
);

// @ts-expect-error an order's id is no number
void (() => handler({ id: 1 }));
// @ts-expect-error a misspelt option
void (() => retryingFetch('https://api.test/', {}, { maxAttempt: 3 }));
// @ts-expect-error a clock moves by a number
void (() => manualClock().advance('1'));

async function main(): Promise<void> {
  console.log(await handler({ id: 'o-1' }));
  console.log(await handler({ id: 'o-1' }));
  if (charges !== 1) throw new Error(\`charged \${charges} times\`);
  const error = await handler({ id: '' }).catch((error: unknown) => error);
  if (!IdempotencyError.is(error, 'BAD_KEY')) throw error;
  const key: string = newIdempotencyKey();
  if (key.length !== 36) throw new Error(key);
  const report = await assertIdempotent(
    ({ store, effect }) =>
      idempotent(async (order: Order, context) => effect('charge', operation(context).token('charge')), {
        store,
        key: (order) => order.id,
      }),
    { id: 'o-1' },
  );
  if (report.schedules < 10) throw new Error(report.toString());
  const store = memoryStore({ clock: manualClock() });
  for (const { name, run } of storeContract(() => store)) {
    await run().catch((cause: unknown) => {
      throw new Error(name, { cause });
    });
  }
}
main();

export const others = {
  createOnce, deduplicationId, dynamoStore, idempotencyMatchers, memoryTables, sendOnce, updateVersion, wholePayload,
};
`;

const app = `
import { App, Stack } from 'aws-cdk-lib';
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
