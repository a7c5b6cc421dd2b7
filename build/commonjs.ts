/**
 * Finishes what the compiler has made for CommonJS in `dist/cjs`. Jest and others can load it by `require` only then:
 * packages that only some users have are required directly inside a `try`, where bundlers look for `require`.
 */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const folder = join(root, 'dist', 'cjs');

writeFileSync(join(folder, 'package.json'), '{ "type": "commonjs" }\n');
rewrite(
  'lib/peers.js',
  /await Promise\.resolve\(\)\.then\(\(\) => __importStar\((require\('[^']+'\))\)\)/g,
  '$1',
  4,
);
for (const file of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
  if (!file.endsWith('.js')) continue;
  const left = /\bimport\(|\.then\(\(\) => .*require\(/.exec(textOf(file));
  if (left) throw new Error(`dist/cjs/${file} has ${left[0]}, which CommonJS or a bundler cannot follow.`);
}

function rewrite(file: string, pattern: RegExp, replacement: string, times: number): void {
  const text = textOf(file);
  const found = text.match(pattern)?.length ?? 0;
  if (found !== times) throw new Error(`dist/cjs/${file} has ${pattern} ${found} times, not ${times}.`);
  writeFileSync(join(folder, file), text.replaceAll(pattern, replacement));
}

function textOf(file: string): string {
  return readFileSync(join(folder, file), 'utf8');
}
