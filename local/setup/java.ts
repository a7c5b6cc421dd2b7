import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { aptInstall } from './debian.ts';
import { reasonOf } from './npm-files.ts';

const run = promisify(execFile);

export const javaVersion = 17;

/** What is needed of Java: `jre` runs what is compiled, `jdk` runs sources as well. */
export type JavaKind = 'jre' | 'jdk';

/** Releases after Debian 12 have a later Java only. */
const debianPackages = (kind: JavaKind): string[] => [
  `openjdk-${javaVersion}-${kind}-headless`,
  `default-${kind}-headless`,
];

/** How to get it: a sentence's beginning, to be ended. */
export const howToGetJava = (kind: JavaKind): string =>
  `Install a Java ${javaVersion} ${kind === 'jre' ? 'runtime' : 'development kit'} (Debian: apt-get install ${debianPackages(kind)[0]})`;

/** The Java launcher: `$JAVA_HOME/bin/java`, else `java` from the PATH. */
export const defaultJava = (): string =>
  process.env.JAVA_HOME ? join(process.env.JAVA_HOME, 'bin', 'java') : 'java';

/** What is wrong with a Java launcher, as the end of a sentence; `undefined`: nothing. */
export async function findJavaProblem(kind: JavaKind, java = defaultJava()): Promise<string | undefined> {
  let output: string;
  try {
    const { stdout, stderr } = await run(java, ['-version'], { timeout: 30_000 });
    output = stdout + stderr;
  } catch (cause) {
    return `'${java}' does not run (${reasonOf(cause)})`;
  }
  const version = /version "(?:1\.)?(\d+)/.exec(output)?.[1];
  if (version === undefined) return `'${java}' is unknown: ${output.trim()}`;
  if (Number(version) < javaVersion) return `'${java}' is Java ${version}`;
  if (kind === 'jre') return undefined;
  const modules = await run(java, ['--list-modules'], { timeout: 30_000 }).then(
    ({ stdout }) => stdout,
    () => '',
  );
  return modules.includes('jdk.compiler') ? undefined : `'${java}' has no compiler`;
}

/** Installs Java where root can with `apt-get`. @returns why it did not, or `undefined` */
export const installJava = (kind: JavaKind): Promise<string | undefined> =>
  aptInstall(...debianPackages(kind));
