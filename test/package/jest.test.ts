import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createProject, installTools, linkTools, type Packed, pack, root, run } from './packed.ts';

let packed: Packed;
let tools: string;
const projects: string[] = [];

beforeAll(async () => {
  [packed, tools] = await Promise.all([pack(), installTools()]);
}, 300_000);

afterAll(() => {
  for (const project of projects) rmSync(project, { recursive: true, force: true });
});

/** Where the CDK's command line keeps what `cdk init` writes. */
const template = (file: string): string =>
  readFileSync(
    join(root, 'node_modules', 'aws-cdk', 'lib', 'init-templates', 'app', 'typescript', file),
    'utf8',
  );

/** What `cdk init` wrote for years, until Jest came with swc. */
const earlier = {
  'jest.config.js': `module.exports = {
    testEnvironment: 'node',
    roots: ['<rootDir>/test'],
    testMatch: ['**/*.test.ts'],
    transform: { '^.+\\\\.tsx?$': 'ts-jest' },
  };`,
  'tsconfig.json': {
    compilerOptions: {
      target: 'ES2022',
      module: 'commonjs',
      lib: ['es2022'],
      declaration: true,
      strict: true,
      inlineSourceMap: true,
      inlineSources: true,
      experimentalDecorators: true,
      strictPropertyInitialization: false,
      skipLibCheck: true,
      typeRoots: ['./node_modules/@types'],
    },
    exclude: ['node_modules', 'cdk.out'],
  },
};

const now = { 'jest.config.js': template('jest.config.js'), 'tsconfig.json': template('tsconfig.json') };

const stack = `
import * as cdk from 'aws-cdk-lib/core';
import { Construct } from 'constructs';
import { IdempotencyTable } from 'idemkit/constructs';

export class ShopStack extends cdk.Stack {
  constructor(scope: Construct, id: string, props?: cdk.StackProps) {
    super(scope, id, props);
    new IdempotencyTable(this, 'Idempotency');
  }
}
`;

const handler = `
import { idempotent, operation } from 'idemkit';
import { memoryStore } from 'idemkit/testing';

export const charges: string[] = [];

export const pay = idempotent(
  async (order: { readonly id: string }, context) => {
    await operation(context).step('charge', async ({ token }) => charges.push(token));
    return { order: order.id, at: new Date(0), receipts: new Map([[order.id, 1n]]) };
  },
  { key: (order) => order.id, store: memoryStore() },
);
`;

const test = `
import * as cdk from 'aws-cdk-lib/core';
import { Template } from 'aws-cdk-lib/assertions';
import { IdempotencyError, idempotent, operation, sendOnce } from 'idemkit';
import { newIdempotencyKey } from 'idemkit/client';
import { storeContract } from 'idemkit/store';
import { type ExploredWorld, type IdempotencyMatchers, idempotencyMatchers, manualClock, memoryStore } from 'idemkit/testing';
import { charges, pay } from '../lib/pay';
import { ShopStack } from '../lib/shop-stack';

test('the stack has the table', () => {
  const template = Template.fromStack(new ShopStack(new cdk.App(), 'Shop'));
  template.hasResourceProperties('AWS::DynamoDB::GlobalTable', { TimeToLiveSpecification: { Enabled: true } });
});

test('a repeat gets the first answer', async () => {
  const first = await pay({ id: 'a' });
  expect(await pay({ id: 'a' })).toEqual(first);
  expect(charges).toHaveLength(1);
});

test('a repeated request gets the first response', async () => {
  const event = { version: '2.0', headers: { 'idempotency-key': newIdempotencyKey() }, rawPath: '/', body: '{}', requestContext: { http: { method: 'POST' } } };
  const post = idempotent(async (_: typeof event) => ({ statusCode: 201, body: 'charged' }), { store: memoryStore() });
  await post(event);
  expect(await post(event)).toMatchObject({ statusCode: 201, headers: { 'Idempotent-Replayed': 'true' } });
});

test('an error has its code', async () => {
  const error = await pay({ id: '' }).catch((error: unknown) => error);
  expect(IdempotencyError.is(error, 'BAD_KEY')).toBe(true);
});

test('a missing package is named', async () => {
  const message = { QueueUrl: 'https://sqs.test/1/mail.fifo', MessageBody: 'x', MessageGroupId: 'g' };
  await expect(sendOnce({ send: async () => ({}) }, message, ['receipt', 1])).rejects.toThrow('npm install @aws-sdk/client-sqs');
});

declare global {
  namespace jest {
    interface Matchers<R, T> extends IdempotencyMatchers {}
  }
}
expect.extend(idempotencyMatchers);

test('a handler is explored', async () => {
  const make = (repeats: boolean) => ({ store, effect }: ExploredWorld) =>
    idempotent(
      async (_: { readonly id: string }, context) => {
        await operation(context).step('charge', ({ token }) => effect('charge', repeats ? undefined : token));
      },
      { store, key: (order) => order.id },
    );
  await expect(make(false)).toBeIdempotent({ id: 'a' });
  await expect(make(true)).not.toBeIdempotent({ id: 'a' });
});

describe('the memory store', () => {
  for (const { name, run } of storeContract(() => memoryStore({ clock: manualClock() }))) {
    test(name, run);
  }
});
`;

describe('a project of `cdk init`', () => {
  it.each([
    ['with ts-jest, in CommonJS', earlier],
    ['as it is now', now],
  ])('%s tests handlers, stores and stacks with Jest', { timeout: 180_000 }, async (_, config) => {
    const packages = ['@aws-sdk/client-dynamodb', 'aws-cdk-lib', 'constructs'];
    const project = createProject(packed, packages, {
      ...config,
      'lib/shop-stack.ts': stack,
      'lib/pay.ts': handler,
      'test/shop.test.ts': test,
    });
    projects.push(project);
    linkTools(project, tools);
    const output = await jest(project);
    const [, passed, all] = /^Tests: +(\d+) passed, (\d+) total$/m.exec(output) ?? [];
    expect(passed, output).toBe(all);
    expect(Number(passed), output).toBeGreaterThan(20);
  });
});

/** What Jest says, whether the tests pass or fail. */
async function jest(project: string): Promise<string> {
  const command = join(project, 'node_modules', 'jest', 'bin', 'jest.js');
  const environment = { ...process.env, CDK_VALIDATION: 'false', NODE_ENV: 'test', FORCE_COLOR: '0' };
  return run(process.execPath, [command, '--ci', '--runInBand'], { cwd: project, env: environment }).then(
    ({ stderr }) => stderr,
    (failure: { stdout: string; stderr: string }) => failure.stdout + failure.stderr,
  );
}
