import { open, readFile, rename } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { SenderStorage } from '../client/index.ts';
import { IdempotencyError } from '../errors.ts';

/**
 * Keeps the state of a numbered sender in a file, readable by its owner only. Each save writes another file beside it, flushes that to
 * the disk, and renames it: a crash or a power failure leaves the state before or after, never a part.
 *
 * The file belongs to one process. A process that finds that another one has saved since stops with `FENCED`.
 *
 * @param path the file; its folder must be there
 */
export function fileStorage(path: string): SenderStorage {
  let known: string | undefined;
  return {
    async load() {
      known = await textOf(path);
      return known;
    },
    async save(state) {
      const temporary = `${path}.${process.pid}.tmp`;
      await write(temporary, state);
      if ((await textOf(path)) !== known) throw taken();
      await rename(temporary, path);
      known = state;
      await flushFolder(dirname(path));
    },
  };
}

async function textOf(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

async function write(path: string, text: string): Promise<void> {
  const file = await open(path, 'w', 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
  } finally {
    await file.close();
  }
}

/** A rename survives a power failure once the folder is on the disk. Windows cannot flush a folder. */
async function flushFolder(path: string): Promise<void> {
  if (process.platform === 'win32') return;
  const folder = await open(path, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

const taken = (): IdempotencyError =>
  new IdempotencyError(
    'FENCED',
    'Another process has written the state of this sender, so this one has stopped for ever. Give each process a file and a producer of its own.',
  );
