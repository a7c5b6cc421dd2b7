import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, normalize } from 'node:path';
import { build } from 'esbuild';
import { beforeAll, describe, expect, it } from 'vitest';
import { type Manifest, pack, root, run, type Target } from './packed.ts';

/** What a Lambda may carry, minified and without the AWS SDK. Raised only in the commit that needs it. */
const bundles: readonly [what: string, source: string, ceilingBytes: number][] = [
  ['everything', "export * from './dist/lib/index.js'", 179_800],
  ['a guard on a table', "export { dynamoStore, idempotent } from './dist/lib/index.js'", 73_000],
  [
    'a guard on a table, with its operation',
    "export { dynamoStore, idempotent, operation } from './dist/lib/index.js'",
    107_600,
  ],
  [
    'a guard of records on a table',
    "export { dynamoStore, eachRecord, idempotent } from './dist/lib/index.js'",
    125_100,
  ],
  [
    'a guard of lanes on a table',
    "export { dynamoStore, eachPartition, idempotent } from './dist/lib/index.js'",
    132_600,
  ],
  [
    'a guard of numbered senders on a table',
    "export { dynamoStore, idempotent, numbered } from './dist/lib/index.js'",
    88_000,
  ],
  ['a relay', "export { relayOutbox } from './dist/lib/index.js'", 8_550],
];

let unpacked: string;
let manifest: Manifest;
let files: readonly string[];

beforeAll(async () => {
  ({ folder: unpacked, manifest, files } = await pack());
}, 120_000);

describe('the tarball', () => {
  it('holds the build and the documents and nothing else', () => {
    const documents = ['CHANGELOG.md', 'LICENSE', 'README.md', 'package.json'];
    expect(files.filter((file) => !/^(?:dist|docs)\//.test(file)).sort()).toEqual(documents);
    expect(files.filter((file) => /^dist\/(?!(?:lib|constructs|cjs)\/|bin\/idemkit\.)/.test(file))).toEqual(
      [],
    );
  });

  it('has a file behind every export', () => {
    const targets = Object.values(manifest.exports).flatMap(targetsOf);
    expect(targets.map((target) => normalize(target)).filter((target) => !files.includes(target))).toEqual(
      [],
    );
  });

  it('has no module that neither an export nor the command reaches', () => {
    const reached = new Set<string>();
    const visit = (module: string): void => {
      if (reached.has(module)) return;
      reached.add(module);
      for (const file of [`${module}.js`, `${module}.d.ts`]) {
        for (const [, specifier = ''] of readFileSync(join(unpacked, file), 'utf8').matchAll(
          // A worker's file is named by a URL.
          /(?:from|import|import\(|require\(|: (?='\.\/worker\.js', import\.meta))\s*['"](\.[^'"]+)['"]/g,
        )) {
          visit(moduleOf(join(dirname(file), specifier)));
        }
      }
    };
    for (const target of [
      ...Object.values(manifest.exports).flatMap(targetsOf),
      ...Object.values(manifest.bin),
    ]) {
      if (target.endsWith('.js')) visit(moduleOf(normalize(target)));
    }
    // The page's script is a bundle of its own, which a browser loads.
    const modules = files
      .filter((file) => /^dist\/.*\.js$/.test(file) && file !== 'dist/lib/page/app/app.js')
      .map(moduleOf);
    expect(modules.filter((module) => !reached.has(module))).toEqual([]);
  });

  it('has the command', async () => {
    const { idemkit = '' } = manifest.bin;
    expect(readFileSync(join(unpacked, idemkit), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
    const { stdout } = await run('node', [idemkit, 'simulate', '--operations=200', '--json'], {
      cwd: unpacked,
    });
    expect(JSON.parse(stdout)).toMatchObject({ lanes: { with: { counts: { operations: 200 } } } });
    const early = await run(
      'bash',
      ['-o', 'pipefail', '-c', `node ${idemkit} simulate --operations=2000 --json | head -c 1`],
      {
        cwd: unpacked,
      },
    );
    expect(early).toMatchObject({ stdout: '{', stderr: '' });
    await expect(
      run('node', [idemkit, 'simulate', '--operation=200'], { cwd: unpacked }),
    ).rejects.toMatchObject({ code: 2, stdout: '', stderr: expect.stringContaining('--operations') });
  });

  it('has the page of the command, and plays its runs', async () => {
    const child = spawn('node', [manifest.bin.idemkit ?? '', 'simulate', '--operations=100', '--page'], {
      cwd: unpacked,
    });
    try {
      const [line] = (await once(child.stdout, 'data')) as [Buffer];
      const { origin } = new URL(String(line).trim());
      const texts = await Promise.all(
        ['/', '/page.css', '/app.js'].map(async (path) => (await fetch(`${origin}${path}`)).text()),
      );
      const parts = ['<script type="module" src="app.js">', '.uplot', '"uplot"'];
      expect(texts.map((text, index) => text.includes(parts[index] ?? ''))).toEqual([true, true, true]);
      const played = await fetch(`${origin}/runs`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ operations: 100 }),
      });
      expect((await played.text()).trim().split('\n').at(-1)).toMatch(/^\{"kind":"report"/);
    } finally {
      child.kill('SIGKILL');
    }
  });

  it('has a command that names the package that it misses', async () => {
    const alone = mkdtempSync(join(tmpdir(), 'idemkit-command-'));
    try {
      cpSync(unpacked, alone, { recursive: true });
      await expect(run('node', [manifest.bin.idemkit ?? '', '--help'], { cwd: alone })).rejects.toMatchObject(
        {
          ...{ code: 2, stderr: expect.stringContaining('npx -p idemkit -p @aws-sdk/client-dynamodb') },
        },
      );
    } finally {
      rmSync(alone, { recursive: true });
    }
  });

  it('leaves the simulation out of every entry', () => {
    const entries = Object.values(manifest.exports)
      .flatMap(targetsOf)
      .filter((target) => target.endsWith('.js'));
    for (const entry of entries)
      expect(readFileSync(join(unpacked, entry), 'utf8')).not.toContain('simulate');
    expect(files.filter((file) => /cjs\/lib\/(?:simulate|command)/.test(file))).toEqual([]);
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

  it('cannot be reached by what runs in a Lambda', () => {
    const modules = modulesIn(/^dist\/(?:cjs\/)?lib\//);
    expect(modules.length).toBeGreaterThan(20);
    expect(
      modules.filter((file) => importsOf(file).some((name) => /aws-cdk-lib|constructs/.test(name))),
    ).toEqual([]);
  });

  it('take nothing but the shared names from lib', () => {
    const modules = modulesIn(/^dist\/(?:cjs\/)?constructs\//);
    expect(modules.length).toBeGreaterThan(20);
    const outside = modules.flatMap((file) => importsOf(file).filter((name) => name.startsWith('..')));
    expect([...new Set(outside.map(moduleOf))]).toEqual(['../lib/record']);
  });
});

describe('the bundle of a Lambda', () => {
  it.each(bundles)(
    'stays small with %s, and contains only what runs there',
    async (_, contents, ceilingBytes) => {
      // In the repository, where what must not be reached could be.
      const { metafile, outputFiles } = await build({
        stdin: { contents, resolveDir: unpacked },
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

const targetsOf = (target: Target): string[] =>
  typeof target === 'string' ? [target] : Object.values(target).flatMap(targetsOf);

const moduleOf = (path: string): string => path.replace(/(?:\.d)?\.[jt]s$/, '');
