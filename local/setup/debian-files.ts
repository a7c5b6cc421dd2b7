import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { defaultCache, exists } from './npm-files.ts';

const run = promisify(execFile);

/** Files that Debian's packages bring along, and that are of use where these are not installed. */
export interface DebianFiles {
  /** What they are, in messages. */
  readonly title: string;
  /** Their folder's name in the cache. */
  readonly cacheName: string;
  readonly packages: readonly string[];
  /** Where in the packages they are, e.g. `usr/share/java`. */
  readonly folder: string;
  readonly downloadMegabytes: number;
}

/**
 * Downloads the files into a cache, where they are not there yet. Callers may do so at the same time.
 * APT checks the signatures. No rights of root are needed.
 *
 * @returns their folder
 * @throws Error with what apt-get said
 */
export async function installDebianFiles(files: DebianFiles): Promise<string> {
  const directory = join(defaultCache(), files.cacheName);
  if (await exists(directory)) return directory;
  await mkdir(join(directory, '..'), { recursive: true });
  // Next to its final place, so that the rename stays within one file system and is atomic.
  const temporary = await mkdtemp(`${directory}.part-`);
  const apt = (...words: string[]) =>
    run('apt-get', ['-o', 'APT::Sandbox::User=root', ...words], { cwd: temporary, timeout: 5 * 60_000 });
  try {
    process.stderr.write(
      `Downloading ${files.title} (${files.downloadMegabytes} MB, once) to ${directory}\n`,
    );
    await apt('download', ...files.packages).catch(async () => {
      // The machine's lists of packages are missing or old, and only root may renew them.
      await mkdir(join(temporary, 'lists', 'partial'), { recursive: true });
      await mkdir(join(temporary, 'cache', 'archives', 'partial'), { recursive: true });
      const lists = ['-o', `Dir::State::Lists=${temporary}/lists`, '-o', `Dir::Cache=${temporary}/cache`];
      await apt(...lists, 'update');
      await apt(...lists, 'download', ...files.packages);
    });
    for (const file of await readdir(temporary)) {
      if (file.endsWith('.deb')) await run('dpkg-deb', ['-x', file, 'unpacked'], { cwd: temporary });
    }
    await rename(join(temporary, 'unpacked', files.folder), directory).catch(async (cause) => {
      // Another process was quicker.
      if (!(await exists(directory))) throw cause;
    });
    return directory;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}
