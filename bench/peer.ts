/**
 * idemkit beside the idempotency utility of Powertools for AWS Lambda, in one run on one machine: requests and write
 * units on DynamoDB Local, own CPU per call on a stub client, size of a bundle, time of a cold import. Read the ratios;
 * absolute times are this machine's.
 *
 *   node bench/peer.ts
 */
import { spawnSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { IdempotencyConfig, makeIdempotent } from '@aws-lambda-powertools/idempotency';
import { DynamoDBPersistenceLayer } from '@aws-lambda-powertools/idempotency/dynamodb';
import {
  type AttributeValue,
  ConditionalCheckFailedException,
  CreateTableCommand,
  DynamoDBClient,
} from '@aws-sdk/client-dynamodb';
import type { Context } from 'aws-lambda';
import { buildSync } from 'esbuild';
import { dynamoStore, idempotent } from '../lib/index.ts';
import { startDynamoDb } from '../local/aws/dynamodb.ts';

interface Order {
  readonly id: string;
}
type Guarded = (order: Order) => Promise<unknown>;

const context = {
  functionName: 'bench',
  awsRequestId: 'request-1',
  getRemainingTimeInMillis: () => 30_000,
} as Context;

const contenders: Record<
  'idemkit' | 'peer',
  (client: DynamoDBClient, table: string, answer: unknown) => Guarded
> = {
  idemkit(client, tableName, answer) {
    const handler = idempotent(async (_: Order) => answer, {
      store: dynamoStore({ tableName, client }),
      namespace: 'bench',
      key: ({ id }) => id,
    });
    return (order) => handler(order, context);
  },
  peer(awsSdkV3Client, tableName, answer) {
    const handler = makeIdempotent(async (_: Order, _context: unknown) => answer as never, {
      persistenceStore: new DynamoDBPersistenceLayer({
        tableName,
        awsSdkV3Client,
        keyAttr: 'pk',
        sortKeyAttr: 'sk',
        staticPkValue: 'bench',
      }),
      config: new IdempotencyConfig({ eventKeyJmesPath: 'id', throwOnNoIdempotencyKey: true }),
    });
    return (order) => handler(order, context) as Promise<unknown>;
  },
};

const rows: { what: string; idemkit: string; peer: string; ratio: string }[] = [];
const row = (what: string, ours: number, theirs: number, unit = '') =>
  rows.push({
    what,
    idemkit: `${round(ours)}${unit}`,
    peer: `${round(theirs)}${unit}`,
    ratio: (ours / theirs).toFixed(2),
  });
const round = (value: number) => (Number.isInteger(value) ? value : Number(value.toPrecision(3)));

// --- What DynamoDB sees ---

async function onDynamoDb(): Promise<void> {
  const server = await startDynamoDb();
  const client = new DynamoDBClient({
    endpoint: server.endpoint,
    region: 'eu-west-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });
  try {
    const spent = { requests: 0, units: 0 };
    client.middlewareStack.add(
      (next) => async (args) => {
        spent.requests++;
        const withCapacity = { ...args, input: { ...args.input, ReturnConsumedCapacity: 'TOTAL' } };
        const result = await next(withCapacity);
        const { ConsumedCapacity } = result.output as { ConsumedCapacity?: { CapacityUnits?: number } };
        spent.units += ConsumedCapacity?.CapacityUnits ?? 0;
        return result;
      },
      { step: 'initialize' },
    );
    const invoice = Array.from({ length: 110 }, (_, line) => ({
      line,
      sku: `sku-${(line * 7919) % 10_007}`,
      text: 'One line of an invoice, as they are',
      amount: (line * 104_729) % 99_991,
    }));
    const answers = { 'a small answer': { paid: true }, '10 KB of JSON': invoice };
    const tables: string[] = [];
    for (const name of Object.keys(contenders)) {
      const TableName = `bench-${name}-${randomUUID()}`;
      tables.push(TableName);
      await client.send(
        new CreateTableCommand({
          TableName,
          KeySchema: [
            { AttributeName: 'pk', KeyType: 'HASH' },
            { AttributeName: 'sk', KeyType: 'RANGE' },
          ],
          AttributeDefinitions: [
            { AttributeName: 'pk', AttributeType: 'S' },
            { AttributeName: 'sk', AttributeType: 'S' },
          ],
          BillingMode: 'PAY_PER_REQUEST',
        }),
      );
    }
    for (const [what, answer] of Object.entries(answers)) {
      const measure = async (guarded: Guarded) => {
        const order = { id: randomUUID() };
        Object.assign(spent, { requests: 0, units: 0 });
        await guarded(order);
        const fresh = { ...spent };
        Object.assign(spent, { requests: 0, units: 0 });
        await guarded(order);
        return { fresh, duplicate: { ...spent } };
      };
      const ours = await measure(contenders.idemkit(client, tables[0] ?? '', answer));
      const theirs = await measure(contenders.peer(client, tables[1] ?? '', answer));
      row(`requests, fresh, ${what}`, ours.fresh.requests, theirs.fresh.requests);
      row(`requests, duplicate, ${what}`, ours.duplicate.requests, theirs.duplicate.requests);
      row(`write units, fresh, ${what}`, ours.fresh.units, theirs.fresh.units);
    }
  } finally {
    client.destroy();
    await server.stop();
  }
}

// --- Own CPU ---

type Item = Record<string, AttributeValue>;

interface Input {
  readonly Item?: Item;
  readonly Key?: Item;
  readonly UpdateExpression?: string;
  readonly ExpressionAttributeNames?: Readonly<Record<string, string>>;
  readonly ExpressionAttributeValues?: Item;
}

/** Answers at once: what is left is the guard's own work. The SDK's is not in it. */
function stubClient(): DynamoDBClient {
  const items = new Map<string, Item>();
  const send = async (command: { readonly input: Input }): Promise<unknown> => {
    const { Item, Key, ExpressionAttributeNames = {}, ExpressionAttributeValues } = command.input;
    const key = JSON.stringify([(Item ?? Key)?.pk, (Item ?? Key)?.sk]);
    if (Item) {
      const existing = items.get(key);
      if (existing) {
        throw new ConditionalCheckFailedException({ message: 'exists', $metadata: {}, Item: existing });
      }
      items.set(key, Item);
    } else if (ExpressionAttributeValues) {
      const item = { ...items.get(key) };
      for (const [, name, value] of String(command.input.UpdateExpression).matchAll(/(#\w+) = (:\w+)/g)) {
        item[ExpressionAttributeNames[name ?? ''] ?? ''] = ExpressionAttributeValues[value ?? '']!;
      }
      items.set(key, item);
    }
    return { $metadata: {} };
  };
  return Object.assign(new DynamoDBClient({ region: 'eu-west-1' }), { send });
}

async function cpu(): Promise<void> {
  const calls = 4_000;
  const samples: Record<string, number[]> = {};
  for (let round = 0; round < 7; round++) {
    for (const [name, make] of Object.entries(contenders)) {
      const guarded = make(stubClient(), 'bench', { paid: true, lines: [1, 2, 3] });
      for (const kind of ['fresh', 'duplicate']) {
        const before = process.cpuUsage();
        for (let call = 0; call < calls; call++)
          await guarded({ id: kind === 'fresh' ? `order-${call}` : 'order-1' });
        const { user, system } = process.cpuUsage(before);
        // The first rounds warm the engine up.
        if (round >= 2) {
          const sample = samples[`${kind} ${name}`] ?? [];
          sample.push((user + system) / calls);
          samples[`${kind} ${name}`] = sample;
        }
      }
    }
  }
  for (const kind of ['fresh', 'duplicate']) {
    row(
      `own CPU, ${kind} call`,
      median(samples[`${kind} idemkit`] ?? []),
      median(samples[`${kind} peer`] ?? []),
      ' µs',
    );
  }
}

const median = (values: readonly number[]) =>
  [...values].sort((left, right) => left - right)[Math.floor(values.length / 2)] ?? Number.NaN;

// --- Size and start ---

const entries = {
  idemkit: `export { dynamoStore, idempotent } from ${JSON.stringify(fileURLToPath(new URL('../lib/index.ts', import.meta.url)))};`,
  peer: [
    "export { IdempotencyConfig, makeIdempotent } from '@aws-lambda-powertools/idempotency';",
    "export { DynamoDBPersistenceLayer } from '@aws-lambda-powertools/idempotency/dynamodb';",
    "export { makeHandlerIdempotent } from '@aws-lambda-powertools/idempotency/middleware';",
  ].join('\n'),
};

function sizeAndStart(): void {
  const folder = mkdtempSync(join(tmpdir(), 'idemkit-bench-'));
  try {
    const bundles = Object.fromEntries(
      Object.entries(entries).map(([name, contents]) => {
        const outfile = join(folder, `${name}.mjs`);
        buildSync({
          stdin: { contents, resolveDir: fileURLToPath(new URL('..', import.meta.url)), loader: 'ts' },
          bundle: true,
          minify: true,
          format: 'esm',
          platform: 'node',
          external: ['@aws-sdk/*'],
          outfile,
        });
        return [name, outfile];
      }),
    );
    const size = (name: string) => readFileSync(bundles[name] ?? '').length;
    row('bundle, minified, without the SDK', size('idemkit'), size('peer'), ' B');

    // The SDK's own start would drown the difference, so it is a stub here.
    const sdk = join(folder, 'node_modules', '@aws-sdk');
    for (const name of ['client-dynamodb', 'lib-dynamodb', 'util-dynamodb']) stubPackage(join(sdk, name));
    const times: Record<string, number[]> = { idemkit: [], peer: [] };
    for (let round = 0; round < 15; round++) {
      for (const [name, bundle] of Object.entries(bundles)) {
        const script = `const t = performance.now(); await import(${JSON.stringify(bundle)}); console.log(performance.now() - t)`;
        const { stdout, stderr, status } = spawnSync(
          process.execPath,
          ['--input-type=module', '-e', script],
          {
            encoding: 'utf8',
          },
        );
        if (status !== 0) throw new Error(`The bundle of ${name} cannot be imported: ${stderr}`);
        times[name]?.push(Number(stdout));
      }
    }
    row('cold import of the bundle', median(times.idemkit ?? []), median(times.peer ?? []), ' ms');
  } finally {
    rmSync(folder, { recursive: true });
  }
}

function stubPackage(folder: string): void {
  spawnSync('mkdir', ['-p', folder]);
  writeFileSync(join(folder, 'package.json'), '{"type":"module","exports":"./index.js"}');
  const names = [
    'ConditionalCheckFailedException',
    'DeleteItemCommand',
    'DescribeTableCommand',
    'DescribeTimeToLiveCommand',
    'DynamoDBClient',
    'GetItemCommand',
    'PutItemCommand',
    'QueryCommand',
    'TransactWriteItemsCommand',
    'UpdateItemCommand',
    'marshall',
    'unmarshall',
  ];
  writeFileSync(join(folder, 'index.js'), names.map((name) => `export class ${name} {}`).join('\n'));
}

await onDynamoDb();
await cpu();
sizeAndStart();
console.log('idemkit beside @aws-lambda-powertools/idempotency 2.35.0; below 1.00 is less than the peer\n');
console.table(rows);
