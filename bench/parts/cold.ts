/** The start of a process: import of the bundle, the time to the end of the first guarded call, and the computing of the first 300. */
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { build, type Plugin } from 'esbuild';
import { root } from '../result.ts';
import { type ContenderName, compare, contenderNames, orderIn, type Part } from '../runner.ts';

const run = promisify(execFile);

const event = JSON.stringify({ id: 'order-1', amount: 4_200 });
const context = '{ functionName: "bench", awsRequestId: "1", getRemainingTimeInMillis: () => 30_000 }';

/** The handler of a function, with its client, as a file of its own. */
const functions: Readonly<Record<ContenderName, string>> = {
  idemkit: `
    import { dynamoStore, idempotent } from './lib/index.ts';
    import { client } from 'client';
    export const handler = idempotent(async () => ({ paid: true }), {
      store: dynamoStore({ tableName: 'records', client }), namespace: 'bench', key: ({ id }) => id,
    });`,
  peer: `
    import { IdempotencyConfig, makeIdempotent } from '@aws-lambda-powertools/idempotency';
    import { DynamoDBPersistenceLayer } from '@aws-lambda-powertools/idempotency/dynamodb';
    import { client } from 'client';
    export const handler = makeIdempotent(async (event, context) => ({ paid: true }), {
      persistenceStore: new DynamoDBPersistenceLayer({ tableName: 'records', awsSdkV3Client: client }),
      config: new IdempotencyConfig({ eventKeyJmesPath: 'id', payloadValidationJmesPath: '@' }),
    });`,
};

const withSdk = `
  import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
  const requestHandler = { async handle() {
    await new Promise((resolve) => setImmediate(resolve));
    return { response: { statusCode: 200, headers: {}, body: Buffer.from('{}') } };
  } };
  export const client = new DynamoDBClient({
    region: 'eu-west-1', credentials: { accessKeyId: 'local', secretAccessKey: 'local' }, requestHandler,
  });`;

/** The SDK takes most of a start and would hide the rest. */
const withoutSdk = `
  export const client = {
    config: {}, middlewareStack: { addRelativeTo() {}, use() {}, identify: () => [] },
    send: () => new Promise((resolve) => setImmediate(resolve, {})),
  };`;

const sdkClasses = [
  ...['ConditionalCheckFailedException', 'DynamoDBClient', 'GetItemCommand', 'PutItemCommand'],
  ...['UpdateItemCommand', 'DeleteItemCommand', 'QueryCommand', 'TransactWriteItemsCommand'],
  ...['DescribeTableCommand', 'DescribeTimeToLiveCommand'],
];

const stubbedSdk: Plugin = {
  name: 'stubbed-sdk',
  setup(steps) {
    steps.onResolve({ filter: /^@aws-sdk\// }, ({ path }) => ({ path, namespace: 'stub' }));
    steps.onLoad({ filter: /.*/, namespace: 'stub' }, () => ({
      contents: `
        const plain = (value) => value;
        class Command { constructor(input) { this.input = input; } }
        module.exports = { marshall: plain, unmarshall: plain };
        for (const name of ${JSON.stringify(sdkClasses)}) module.exports[name] = class extends Command {};`,
    }));
  },
};

const clientOf = (source: string): Plugin => ({
  name: 'client',
  setup(steps) {
    steps.onResolve({ filter: /^client$/ }, ({ path }) => ({ path, namespace: 'client' }));
    steps.onLoad({ filter: /.*/, namespace: 'client' }, () => ({ contents: source, resolveDir: root }));
  },
});

/** V8 compiles what it finds hot meanwhile. */
const firstCalls = 300;

const starter = (bundle: string): string => `
  const before = performance.now();
  const { handler } = await import(${JSON.stringify(bundle)});
  const imported = performance.now();
  await handler(${event}, ${context});
  const called = performance.now();
  const { user, system } = process.cpuUsage();
  for (let call = 2; call <= ${firstCalls}; call++) await handler({ id: 'order-' + call, amount: call }, ${context});
  const after = process.cpuUsage({ user, system });
  console.log(JSON.stringify([imported - before, called - before, (after.user + after.system) / 1_000]));`;

export const cold: Part = {
  name: 'cold',
  title: 'Start of a process, bundled',
  async run(bench) {
    const folder = mkdtempSync(join(tmpdir(), 'idemkit-bench-'));
    try {
      const rows = [];
      for (const isReal of [false, true]) {
        const what = isReal ? 'with the SDK' : 'without the SDK';
        for (const name of contenderNames) {
          await build({
            stdin: { contents: functions[name], resolveDir: root, loader: 'ts' },
            ...{ bundle: true, minify: true, format: 'esm', platform: 'node', target: 'node22' },
            plugins: isReal ? [clientOf(withSdk)] : [clientOf(withoutSdk), stubbedSdk],
            external: ['@aws-sdk/client-sqs', '@aws-sdk/client-sns', '@aws-sdk/client-eventbridge'],
            banner: {
              js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
            },
            outfile: join(folder, `${name}-${isReal}.mjs`),
            logLevel: 'silent',
          });
          writeFileSync(join(folder, `start-${name}-${isReal}.mjs`), starter(`./${name}-${isReal}.mjs`));
        }
        const imported: Record<ContenderName, number[]> = { idemkit: [], peer: [] };
        const called: Record<ContenderName, number[]> = { idemkit: [], peer: [] };
        const warming: Record<ContenderName, number[]> = { idemkit: [], peer: [] };
        const rounds = bench.quick ? 6 : 40;
        for (let round = 0; round < rounds; round++) {
          bench.progress(`${what}, round ${round + 1} of ${rounds}`);
          for (const name of orderIn(round)) {
            const { stdout } = await run(process.execPath, [join(folder, `start-${name}-${isReal}.mjs`)]);
            const [importMs = Number.NaN, callMs = Number.NaN, cpuMs = Number.NaN] = JSON.parse(
              stdout,
            ) as number[];
            imported[name].push(importMs);
            called[name].push(callMs);
            warming[name].push(cpuMs);
          }
        }
        rows.push(compare(`import, ${what}`, 'ms', imported));
        rows.push(compare(`import and first call, ${what}`, 'ms', called));
        rows.push(compare(`calls 2 to ${firstCalls}, ${what}: CPU`, 'ms', warming));
      }
      return { rows };
    } finally {
      rmSync(folder, { recursive: true });
    }
  },
};
