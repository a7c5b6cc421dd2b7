import { execFile } from 'node:child_process';
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { build } from 'esbuild';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';

const run = promisify(execFile);
const lib = new URL('../../lib/', import.meta.url);

/** A process that has guarded a call, and guards another one when it is restored. */
const program = `
import { startupSnapshot } from 'node:v8';
import { idempotent } from './guard/idempotent.ts';
import { operation } from './operation/index.ts';
import { memoryStore } from './store/memory-store.ts';

async function idsOfCall(key) {
  const ids = [];
  const memory = memoryStore();
  const store = {
    ...memory,
    claim(claim) {
      ids.push(claim.owner);
      return memory.claim(claim);
    },
    transactions: {
      build(request) {
        ids.push(request.token);
        return memory.transactions.build(request);
      },
    },
  };
  const guarded = idempotent(
    async (_, context) =>
      operation(context).transaction('book', {
        messages: [{ destination: 'ledger', body: 'b', groupId: 'g' }],
      }),
    { store, namespace: 'orders', key: () => key, destinations: ['ledger'], lease: { seconds: 60 } },
  );
  await guarded({}, {});
  return ids;
}

idsOfCall('before');
startupSnapshot.setDeserializeMainFunction(async () => {
  console.log(JSON.stringify(await idsOfCall('after')));
});
`;

describe('two processes restored from one snapshot', () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), 'idemkit-snapshot-'));
  });
  afterAll(() => rm(folder, { recursive: true }));

  it('draw different owners and tokens: an equal owner would take the other one’s claim for its own', async () => {
    const script = join(folder, 'program.cjs');
    await build({
      stdin: { contents: program, resolveDir: lib.pathname, loader: 'ts' },
      ...{ bundle: true, platform: 'node', format: 'cjs', outfile: script, logLevel: 'error' },
      plugins: [
        {
          // Its clients are not called, and a snapshot can load no packages.
          name: 'no-sdk',
          setup({ onResolve, onLoad }) {
            onResolve({ filter: /^@aws-sdk\// }, ({ path }) => ({ path, namespace: 'none' }));
            onLoad({ filter: /.*/, namespace: 'none' }, () => ({ contents: 'module.exports = {};' }));
          },
        },
      ],
    });
    const blob = join(folder, 'snapshot.blob');
    await run(process.execPath, ['--snapshot-blob', blob, '--build-snapshot', script]);
    const [first, second] = await Promise.all(
      [1, 2].map(async () => {
        const { stdout } = await run(process.execPath, ['--snapshot-blob', blob]);
        return JSON.parse(stdout) as string[];
      }),
    );
    expect(first).toHaveLength(2);
    expect(new Set([...(first ?? []), ...(second ?? [])]).size).toBe(4);
  });
});

describe('an id that is drawn', () => {
  it('is drawn in one place, which keeps none in store', async () => {
    const files = (await readdir(lib, { recursive: true })).filter((name) => name.endsWith('.ts'));
    const drawing: string[] = [];
    for (const name of files) {
      if ((await readFile(new URL(name, lib), 'utf8')).includes('randomUUID(')) drawing.push(name);
    }
    // The contract and the makers of events are for tests: they run in no snapshot.
    expect(drawing.sort()).toEqual([
      ...['store/contract-hand.ts', 'testing/batch-events.ts', 'testing/http-events.ts', 'unique-id.ts'],
    ]);
  });

  it.each([
    ['on-demand', false],
    ['provisioned-concurrency', false],
    ['snap-start', true],
    ['lambda-managed-instances', true],
    ['', true],
  ])('in a process that Lambda has started %j, is drawn when it is asked for: %s', async (type, isDrawn) => {
    vi.stubEnv('AWS_LAMBDA_INITIALIZATION_TYPE', type);
    vi.resetModules();
    const randomUUID = vi.fn();
    vi.doMock('node:crypto', () => ({ randomUUID }));
    try {
      const { uniqueId } = await import('../../lib/unique-id.ts');
      uniqueId();
      expect(randomUUID.mock.calls).toEqual([[{ disableEntropyCache: isDrawn }]]);
    } finally {
      vi.doUnmock('node:crypto');
      vi.resetModules();
      vi.unstubAllEnvs();
    }
  });
});
