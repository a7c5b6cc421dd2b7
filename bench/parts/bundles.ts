/** What a function carries: minified, without the AWS SDK. */
import { build } from 'esbuild';
import { root } from '../result.ts';
import { counted, type Part } from '../runner.ts';

const lib = (names: string, entry = 'index'): string => `export { ${names} } from './lib/${entry}.ts';`;
const all = (entry: string): string => `export * from './lib/${entry}.ts';`;

const powertools = '@aws-lambda-powertools';
const peerGuard = [
  `export { IdempotencyConfig, makeIdempotent } from '${powertools}/idempotency';`,
  `export { DynamoDBPersistenceLayer } from '${powertools}/idempotency/dynamodb';`,
];
const peerMiddleware = `export { makeHandlerIdempotent } from '${powertools}/idempotency/middleware';`;
const peerBatch = `export { BatchProcessor, EventType, processPartialResponse } from '${powertools}/batch';`;

/** One file for each side that does the same. */
export const bundleEntries: Readonly<Record<string, { readonly idemkit: string; readonly peer?: string }>> = {
  'a guard, wrapper and Middy': {
    idemkit: lib('dynamoStore, idempotent'),
    peer: [...peerGuard, peerMiddleware].join('\n'),
  },
  'a guard and its operation': {
    idemkit: lib('dynamoStore, idempotent, operation'),
  },
  'a guard of batches, record by record': {
    idemkit: lib('dynamoStore, eachRecord, idempotent'),
    peer: [...peerGuard, peerMiddleware, peerBatch].join('\n'),
  },
  'everything of the main entry': { idemkit: all('index') },
  client: { idemkit: all('client') },
  store: { idemkit: all('store') },
  testing: { idemkit: all('testing') },
};

export async function bundleBytes(contents: string): Promise<number> {
  const { outputFiles } = await build({
    stdin: { contents, resolveDir: root, loader: 'ts' },
    bundle: true,
    minify: true,
    format: 'esm',
    platform: 'node',
    target: 'node22',
    external: ['@aws-sdk/*'],
    write: false,
    logLevel: 'silent',
  });
  return outputFiles[0]?.contents.byteLength ?? Number.NaN;
}

export const bundles: Part = {
  name: 'bundles',
  title: 'Bundle, minified, without the SDK',
  async run(bench) {
    const rows = [];
    for (const [what, { idemkit, peer }] of Object.entries(bundleEntries)) {
      bench.progress(what);
      const ours = await bundleBytes(idemkit);
      rows.push(counted(what, 'B', ours, peer === undefined ? undefined : await bundleBytes(peer)));
    }
    return { rows };
  },
};
