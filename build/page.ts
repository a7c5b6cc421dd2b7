/** Bundles the simulator's page: its script with the chart library, and its styles. Run by itself, it writes them into `dist`. */
import { cp, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Texts } from '../lib/page/assets.ts';

const root = fileURLToPath(new URL('..', import.meta.url));
const source = join(root, 'lib', 'page', 'app');

export async function buildPage(): Promise<Texts> {
  const { outputFiles } = await build({
    ...{ entryPoints: [join(source, 'app.ts')], bundle: true, format: 'esm', platform: 'browser' },
    // What the page takes of the simulator needs none of these, and the bundle has none of them.
    external: ['node:*', '@aws-sdk/*'],
    ...{ target: 'es2022', minify: true, legalComments: 'inline', write: false, logLevel: 'silent' },
  });
  return {
    'index.html': await readFile(join(source, 'index.html'), 'utf8'),
    'page.css': `${await readFile(join(root, 'node_modules/uplot/dist/uPlot.min.css'), 'utf8')}\n${await readFile(join(source, 'page.css'), 'utf8')}`,
    'app.js': outputFiles[0]?.text ?? '',
  };
}

if (import.meta.main) {
  const folder = join(root, 'dist', 'lib', 'page', 'app');
  await mkdir(folder, { recursive: true });
  for (const [name, text] of Object.entries(await buildPage())) await writeFile(join(folder, name), text);
  await cp(join(root, 'node_modules/uplot/LICENSE'), join(folder, 'uplot.LICENSE'));
}
