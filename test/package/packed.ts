import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { defaultCache } from '../../local/setup/npm-files.ts';

export const run = promisify(execFile);

/** The repository. */
export const root = fileURLToPath(new URL('../..', import.meta.url));

/** A file, or one for each condition. */
export type Target = string | { readonly [condition: string]: Target };

export interface Manifest {
  readonly name: string;
  readonly exports: Record<string, Target>;
  readonly bin: Record<string, string>;
  readonly dependencies?: Record<string, string>;
}

export interface Packed {
  readonly tarball: string;
  /** The package as a user's `npm install` would unpack it. */
  readonly folder: string;
  readonly manifest: Manifest;
  /** All its files, relative to `folder`. */
  readonly files: readonly string[];
}

/** What is built or packed, and what builds it. */
const sources = [
  'lib',
  'constructs',
  'docs',
  'CHANGELOG.md',
  'LICENSE',
  'README.md',
  'package.json',
  'tsconfig.json',
  'tsconfig.build.json',
  'tsconfig.cjs.json',
  'build',
  'bin/idemkit.ts',
];

/**
 * The package as `npm pack` makes it. Test files run at the same time, so each builds in a copy of the sources, and the first one
 * that is ready serves all others for as long as no source changes.
 */
export async function pack(): Promise<Packed> {
  const cache = join(root, '.cache', 'packed');
  const made = join(cache, digestOf(sources));
  if (!existsSync(made)) {
    mkdirSync(cache, { recursive: true });
    const copy = mkdtempSync(join(cache, 'part-'));
    for (const source of sources) cpSync(join(root, source), join(copy, source), { recursive: true });
    symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
    const packed = join(copy, 'packed');
    mkdirSync(packed);
    // Builds too: `prepack`.
    await run('npm', ['pack', '--silent', '--pack-destination', packed], { cwd: copy });
    await run('tar', ['-xzf', tarballIn(packed)], { cwd: packed });
    moveTo(made, packed);
    rmSync(copy, { recursive: true, force: true });
  }
  const folder = join(made, 'package');
  return {
    tarball: join(made, tarballIn(made)),
    folder,
    manifest: readJson(join(folder, 'package.json')),
    files: filesIn(folder).map((file) => file.slice(folder.length + 1)),
  };
}

const tarballIn = (folder: string): string => readdirSync(folder).find((name) => name.endsWith('.tgz')) ?? '';

function digestOf(paths: readonly string[]): string {
  const digest = createHash('sha256');
  for (const file of paths.flatMap((path) => filesIn(join(root, path)))) {
    digest.update(JSON.stringify(file)).update(readFileSync(file));
  }
  return digest.digest('hex').slice(0, 16);
}

function filesIn(path: string): string[] {
  if (statSync(path).isFile()) return [path];
  return readdirSync(path, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

/**
 * Installs packages, as npm does for a user, into an empty folder outside of the repository. Takes them from npm's cache as far as they
 * are in it: `npm ci` has put them there.
 */
export async function install(packages: readonly string[], options: readonly string[] = []): Promise<string> {
  const folder = createFolder();
  await npm(folder, ['install', ...packages, ...options]);
  return folder;
}

/**
 * A user's project with the package, all that it depends on, and some of the packages that the repository has. Nothing else can be found
 * from it. What is in `tools` is there too, if it is named.
 */
export function createProject(
  packed: Packed,
  packages: readonly string[],
  files: Readonly<Record<string, string | object>> = {},
): string {
  const folder = createFolder();
  const modules = join(folder, 'node_modules');
  cpSync(packed.folder, join(modules, packed.manifest.name), { recursive: true });
  copyDependencies(packed.manifest, modules);
  for (const name of packages) link(join(root, 'node_modules', name), join(modules, name));
  write(folder, files);
  return folder;
}

/** Writes files into a folder, objects as JSON. */
export function write(folder: string, files: Readonly<Record<string, string | object>>): void {
  for (const [name, content] of Object.entries(files)) {
    mkdirSync(dirname(join(folder, name)), { recursive: true });
    writeFileSync(join(folder, name), typeof content === 'string' ? content : JSON.stringify(content));
  }
}

/** Adds all that {@link installTools} has installed. */
export function linkTools(project: string, tools: string): void {
  const modules = join(tools, 'node_modules');
  for (const name of readdirSync(modules)) {
    const names = name.startsWith('@')
      ? readdirSync(join(modules, name)).map((one) => join(name, one))
      : [name];
    for (const one of names) link(join(modules, one), join(project, 'node_modules', one));
  }
}

/**
 * What users build and test with, in the versions of `tools/package-lock.json`: Jest, and compilers that the repository does not use.
 * Installed once for as long as that file does not change.
 */
export async function installTools(): Promise<string> {
  const source = join(root, 'test', 'package', 'tools');
  const made = join(defaultCache(), `tools-${digestOf(['test/package/tools'])}`);
  if (existsSync(made)) return made;
  mkdirSync(defaultCache(), { recursive: true });
  const copy = mkdtempSync(`${made}.part-`);
  cpSync(source, copy, { recursive: true });
  await npm(copy, ['ci']);
  moveTo(made, copy);
  return made;
}

const npm = (folder: string, words: readonly string[]) =>
  run('npm', [...words, '--prefer-offline', '--ignore-scripts', '--no-audit', '--no-fund'], { cwd: folder });

function createFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'idemkit-user-'));
  write(folder, { 'package.json': { private: true } });
  return folder;
}

function copyDependencies({ dependencies = {} }: Pick<Manifest, 'dependencies'>, modules: string): void {
  for (const name of Object.keys(dependencies)) {
    const source = join(root, 'node_modules', name);
    cpSync(source, join(modules, name), { recursive: true });
    copyDependencies(readJson(join(source, 'package.json')), modules);
  }
}

export function link(target: string, place: string): void {
  if (existsSync(place)) return;
  mkdirSync(dirname(place), { recursive: true });
  symlinkSync(target, place);
}

/** Others may have been quicker; theirs is the same. */
function moveTo(made: string, copy: string): void {
  try {
    renameSync(copy, made);
  } catch (error) {
    if (!existsSync(made)) throw error;
    rmSync(copy, { recursive: true, force: true });
  }
}

/** The oldest TypeScript that is supported, the last one with the resolution `node10`, and the repository's own. */
export type CompilerVersion = '5.4' | '5.9' | '7';

/** What the compiler says against the project. */
export async function compilerErrors(
  project: string,
  version: CompilerVersion,
  tools: string,
): Promise<string> {
  const modules = join(version === '7' ? root : tools, 'node_modules');
  const compiler = join(modules, version === '5.4' ? 'typescript54' : 'typescript', 'bin', 'tsc');
  return run(process.execPath, [compiler, '--pretty', 'false'], { cwd: project }).then(
    () => '',
    (failure: { stdout?: string; message: string }) => failure.stdout || failure.message,
  );
}

/** `name@version`, as the repository has it. */
export function pinned(name: string): string {
  const { dependencies, devDependencies } = readJson(join(root, 'package.json'));
  return `${name}@${devDependencies[name] ?? dependencies[name]}`;
}

export const readJson = (path: string) => JSON.parse(readFileSync(path, 'utf8'));
