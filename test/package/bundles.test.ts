import { cpSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build, type Format } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { install, installTools, pack, pinned, root, run, write } from './packed.ts';

/** A user's project, which has the package and the one client that the README installs. */
let project: string;
/** The same project, with the other clients added. */
let projectWithAll: string;
let tools: string;
const scratch = mkdtempSync(join(tmpdir(), 'idemkit-bundles-'));
const optional = ['client-sqs', 'client-sns', 'client-eventbridge', 'util-dynamodb'];

beforeAll(async () => {
  let tarball: string;
  [{ tarball }, tools] = await Promise.all([pack(), installTools()]);
  project = await install([tarball, pinned('@aws-sdk/client-dynamodb')]);
  projectWithAll = mkdtempSync(join(tmpdir(), 'idemkit-user-'));
  cpSync(project, projectWithAll, { recursive: true, verbatimSymlinks: true });
  for (const name of optional) {
    const place = join(projectWithAll, 'node_modules', '@aws-sdk', name);
    rmSync(place, { recursive: true, force: true });
    symlinkSync(join(root, 'node_modules', '@aws-sdk', name), place);
  }
}, 300_000);

afterAll(() => {
  for (const folder of [project, projectWithAll, scratch]) rmSync(folder, { recursive: true, force: true });
});

interface Bundled {
  /** Where the bundle is, `idemkit.js`, and no package can be found. */
  readonly folder: string;
  readonly warnings: readonly string[];
}

const everything = "export * from 'idemkit'; export { memoryStore } from 'idemkit/testing';";

/** How a user bundles the package whole, with the SDK. */
const ways: [name: string, bundle: (from: string) => Promise<Bundled>, warning?: RegExp][] = [
  ['as an ES module', (from) => withEsbuild(from, everything, 'esm')],
  ['as CommonJS', (from) => withEsbuild(from, everything, 'cjs')],
  [
    'as CommonJS that requires it',
    (from) =>
      withEsbuild(from, "module.exports = { ...require('idemkit'), ...require('idemkit/testing') };", 'cjs'),
  ],
  [
    'by webpack',
    (from) => withWebpack(from, everything, 'none'),
    /^Module not found: Error: Can't resolve '@aws-sdk\//,
  ],
];

async function withEsbuild(from: string, contents: string, format: Format): Promise<Bundled> {
  const { warnings, outputFiles } = await build({
    stdin: { contents, resolveDir: from },
    absWorkingDir: from,
    bundle: true,
    platform: 'node',
    format,
    target: 'node22',
    write: false,
    logLevel: 'silent',
    // CommonJS dependencies in an ES module still call `require` for Node's own modules.
    ...(format === 'esm' && {
      mainFields: ['module', 'main'],
      banner: {
        js: "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);",
      },
    }),
  });
  const folder = mkdtempSync(join(scratch, 'esbuild-'));
  write(folder, {
    'package.json': { type: format === 'esm' ? 'module' : 'commonjs' },
    'idemkit.js': outputFiles[0]?.text ?? '',
  });
  return { folder, warnings: warnings.map(({ text }) => text) };
}

async function withWebpack(from: string, contents: string, mode: 'none' | 'production'): Promise<Bundled> {
  const folder = mkdtempSync(join(scratch, 'webpack-'));
  write(from, { 'main.mjs': contents });
  write(folder, {
    'package.json': { type: 'commonjs' },
    'bundle.js': `
      const webpack = require(${JSON.stringify(join(tools, 'node_modules', 'webpack'))});
      const output = { path: __dirname, filename: 'idemkit.js', library: { type: 'commonjs2' } };
      const config = { mode: '${mode}', target: 'node', context: ${JSON.stringify(from)}, entry: './main.mjs', output };
      webpack(config, (error, stats) => {
        if (error) throw error;
        const { errors, warnings } = stats.toJson({ all: false, errors: true, warnings: true });
        if (errors.length > 0) throw new Error(JSON.stringify(errors));
        console.log(JSON.stringify(warnings.map(({ message }) => message)));
      });`,
  });
  const { stdout } = await run(process.execPath, ['bundle.js'], { cwd: folder });
  return { folder, warnings: JSON.parse(stdout) };
}

/** Runs `code` beside a bundle; what it prints. */
async function runBeside(folder: string, code: string): Promise<unknown> {
  write(folder, {
    'main.mjs': `import * as namespace from './idemkit.js'; const idemkit = namespace.default ?? namespace;\n${code}`,
  });
  const { stdout } = await run(process.execPath, ['main.mjs'], { cwd: folder });
  return JSON.parse(stdout);
}

/** Everything that needs an optional package, with clients that keep what they are given to send. */
const uses = `
const sent = [];
const client = { send: async (command) => (sent.push(command.constructor.name.replace(/\\d+$/, '')), {}) };
const wrapping = { ...client, config: { translateConfig: { unmarshallOptions: { wrapNumbers: true } } } };
const { createOnce, relayOutbox, sendOnce } = idemkit;
const image = (destination) => ({
  eventName: 'INSERT',
  dynamodb: {
    SequenceNumber: '1',
    Keys: { pk: { S: 'orders#1' }, sk: { S: 'w#outbox#commit#0001' } },
    NewImage: { destination: { S: destination }, body: { S: '{}' }, groupId: { S: 'g' }, deduplicationId: { S: 'd' } },
  },
});
const relay = (destination) =>
  relayOutbox({ destinations: { to: destination }, clients: { sqs: client, sns: client, eventBridge: client } })({
    Records: [image('to')],
  });
const QueueUrl = 'https://sqs.test/1/mail.fifo';
const TopicArn = 'arn:aws:sns:eu-west-1:1:mail.fifo';
const tries = {
  'client-sqs': [
    () => relay({ queueUrl: QueueUrl }),
    () => sendOnce(client, { QueueUrl, MessageBody: 'x', MessageGroupId: 'g' }, ['a']),
  ],
  'client-sns': [
    () => relay({ topicArn: TopicArn }),
    () => sendOnce(client, { TopicArn, Message: 'x', MessageGroupId: 'g' }, ['a']),
  ],
  'client-eventbridge': [() => relay({ eventBusName: 'bus', source: 'shop', detailType: 'paid' })],
  'util-dynamodb': [
    () => createOnce(client, { tableName: 't', partitionKey: 'id', item: { id: 'a' } }),
    () => createOnce(wrapping, { tableName: 't', partitionKey: 'id', item: { id: 'a' } }),
  ],
};
const said = {};
for (const [name, calls] of Object.entries(tries)) {
  said[name] = [];
  for (const call of calls) {
    said[name].push(await call().then(() => 'done', ({ code, message }) => \`\${code}: \${message}\`));
  }
}
console.log(JSON.stringify({ said, sent }));
`;

/** The smallest handler. */
const handler = `
const { idempotent, memoryStore } = idemkit;
let runs = 0;
const handle = idempotent(async ({ id }) => ({ id, runs: ++runs, at: new Date(0) }), { store: memoryStore(), key: ({ id }) => id });
await handle({ id: 'a' });
console.log(JSON.stringify(await handle({ id: 'a' })));
`;

describe.each(ways)('the package, bundled whole %s', (_, bundle, warning = /^$/) => {
  it('needs no optional package to be bundled and to guard a handler', async () => {
    const { warnings, folder } = await bundle(project);
    expect(warnings.filter((text) => !warning.test(text))).toEqual([]);
    expect(await runBeside(folder, handler)).toEqual({ id: 'a', runs: 1, at: new Date(0).toISOString() });
  });

  it('names a missing optional package at the first call, before anything is sent', async () => {
    const { folder } = await bundle(project);
    const missing = (name: string): string =>
      `UNSUPPORTED: @aws-sdk/${name} cannot be loaded. Install it beside idemkit: npm install @aws-sdk/${name}`;
    expect(await runBeside(folder, uses)).toEqual({
      said: {
        'client-sqs': [missing('client-sqs'), missing('client-sqs')],
        'client-sns': [missing('client-sns'), missing('client-sns')],
        'client-eventbridge': [missing('client-eventbridge')],
        // It is needed for the class that numbers are wrapped in, and for nothing else.
        'util-dynamodb': ['done', missing('util-dynamodb')],
      },
      sent: ['PutItemCommand'],
    });
  });

  it('takes in the optional packages that are installed', async () => {
    const { warnings, folder } = await bundle(projectWithAll);
    expect(warnings).toEqual([]);
    expect(await runBeside(folder, uses)).toEqual({
      said: {
        'client-sqs': ['done', 'done'],
        'client-sns': ['done', 'done'],
        'client-eventbridge': ['done'],
        'util-dynamodb': ['done', 'done'],
      },
      sent: [
        'SendMessageCommand',
        'SendMessageCommand',
        'PublishCommand',
        'PublishCommand',
        'PutEventsCommand',
        'PutItemCommand',
        'PutItemCommand',
      ],
    });
  });
});

/** A batch for a handler of whole batches, and for one that takes what is fresh. */
const batches = `
const { eachRecord, freshRecords, idempotent, memoryStore } = idemkit;
const Records = [{ eventSource: 'aws:sqs', eventSourceARN: 'arn', messageId: 'a', body: '1' }];
const seen = [];
const see = () => async ({ Records }) => void seen.push(...Records.map(({ messageId }) => messageId));
const handler = freshRecords ? freshRecords(see()) : eachRecord ? eachRecord((record) => see()({ Records: [record] })) : see();
const guarded = idempotent(handler, { store: memoryStore() });
const call = () => guarded({ Records }).then((answer) => answer ?? 'nothing', ({ code, effect }) => code + ' ' + effect);
console.log(JSON.stringify([await call(), await call(), seen]));
`;

/** A handler that is to commit, and refuses what is not for it with an answer that is remembered. */
const committing = `
const { idempotent, memoryStore, operation } = idemkit;
const event = (key, body) => ({
  version: '2.0', rawPath: '/', headers: { 'idempotency-key': key }, body,
  requestContext: { http: { method: 'POST' } },
});
let runs = 0;
const guarded = idempotent(async ({ body }, context) => {
  runs++;
  if (body === 'refuse') return { statusCode: 422, body: String(runs) };
  if (!operation) return { statusCode: 200, body: String(runs) };
  return operation(context).commit({ result: { statusCode: 200, body: String(runs) } });
}, { store: memoryStore(), claim: 'at-commit' });
const call = (...of) => guarded(event(...of)).then(({ statusCode, body }) => [statusCode, body], ({ code }) => code);
console.log(JSON.stringify([
  await call('a', 'do'), await call('a', 'do'), await call('b', 'refuse'), await call('b', 'refuse'),
]));
`;

/** Whether a handler is given the context of its call itself, and finds its operation there. */
const contexts = `
const { idempotent, memoryStore, operation } = idemkit;
const given = { awsRequestId: '1' };
const seen = async (_, context) => [context === given, operation ? operation(context).guarded : typeof context];
const guarded = idempotent(seen, { store: memoryStore(), key: ({ id }) => id });
console.log(JSON.stringify([await guarded({ id: 'a' }, given), await guarded({ id: 'b' })]));
`;

const importing = (names: string): string =>
  `export { ${names} } from 'idemkit'; export { memoryStore } from 'idemkit/testing';`;

describe.each<[name: string, bundle: (from: string, contents: string) => Promise<Bundled>]>([
  ['esbuild', (from, contents) => withEsbuild(from, contents, 'esm')],
  ['webpack', (from, contents) => withWebpack(from, contents, 'production')],
])('a handler, bundled by %s', { timeout: 60_000 }, (_, bundle) => {
  it('refuses a batch before it is called, where it imports nothing that takes one', async () => {
    const { folder } = await bundle(projectWithAll, importing('idempotent'));
    const refused = 'UNSUPPORTED none';
    expect(await runBeside(folder, batches)).toEqual([refused, refused, []]);
  });

  it.each(['eachRecord', 'freshRecords'])(
    'is guarded record by record, where it imports %s',
    async (taker) => {
      const { folder } = await bundle(projectWithAll, importing(`idempotent, ${taker}`));
      const done = { batchItemFailures: [] };
      expect(await runBeside(folder, batches)).toEqual([done, done, ['a']]);
    },
  );

  it('commits, and remembers a refusal instead of a commit, where it imports operation', async () => {
    const { folder } = await bundle(projectWithAll, importing('idempotent, operation'));
    expect(await runBeside(folder, committing)).toEqual([
      [200, '1'],
      [200, '1'],
      [422, '3'],
      [422, '3'],
    ]);
  });

  it('is given a context that holds its operation, where it imports operation', async () => {
    const { folder } = await bundle(projectWithAll, importing('idempotent, operation'));
    expect(await runBeside(folder, contexts)).toEqual(Array(2).fill([false, true]));
  });

  it('is given its context as it came, where it imports nothing that finds an operation there', async () => {
    const { folder } = await bundle(projectWithAll, importing('idempotent'));
    expect(await runBeside(folder, contexts)).toEqual([
      [true, 'object'],
      [false, 'object'],
    ]);
  });

  it('is told that it has not committed, where it imports nothing that commits', async () => {
    const { folder } = await bundle(projectWithAll, importing('idempotent'));
    expect(await runBeside(folder, committing)).toEqual(Array(4).fill('NOT_COMMITTED'));
  });
});
