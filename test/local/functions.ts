import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Stack } from '../../local/stack/index.ts';

export interface WrittenFunctions {
  /** Of its own, for what a test writes beside them. */
  readonly directory: string;
  /** The module, for `FunctionDescription.entry`. */
  readonly entry: string;
  remove(): Promise<void>;
}

/** Writes handlers into a module. They run in processes of their own, so they cannot be closures of a test. */
export async function writeFunctions(source: string): Promise<WrittenFunctions> {
  const directory = await mkdtemp(join(tmpdir(), 'idemkit-functions-'));
  const entry = join(directory, 'functions.mjs');
  await writeFile(entry, source);
  return { directory, entry, remove: () => rm(directory, { recursive: true, force: true }) };
}

/** What a function has said by `console.info(JSON.stringify(…))`, line by line. */
export function saidBy<Line>(stack: Stack, functionName: string): Line[] {
  const lines = stack.logs.filter((line) => line.functionName === functionName && line.level === 'info');
  return lines.map(({ text }) => JSON.parse(text));
}

export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
