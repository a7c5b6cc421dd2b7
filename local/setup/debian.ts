import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { reasonOf } from './npm-files.ts';

const run = promisify(execFile);

/**
 * Installs the first of these packages that this release of Debian, or of one of its relatives, has.
 *
 * @returns why it did not, or `undefined`
 */
export async function aptInstall(...packages: readonly string[]): Promise<string | undefined> {
  if (process.getuid?.() !== 0) return 'only root can install packages';
  const environment = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  const apt = (...words: string[]) =>
    run('apt-get', words, { env: environment, timeout: 10 * 60_000, maxBuffer: 64 * 1024 * 1024 });
  let reason = '';
  // A list that cannot be renewed may still name what is wanted.
  await apt('update').catch(() => {});
  for (const name of packages) {
    process.stderr.write(`Installing ${name} with apt-get\n`);
    try {
      await apt('install', '-y', '--no-install-recommends', name);
      return undefined;
    } catch (error) {
      const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT';
      reason = isMissing
        ? 'this is no Debian: there is no apt-get'
        : (reasonOf(error).split('\n').at(-1) ?? '');
      if (isMissing) break;
    }
  }
  return reason;
}
