import { type ChildProcess, spawn } from 'node:child_process';
import { delimiter, join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { defaultJava, exists, howToGetJava, installDebianFiles, javaVersion } from '../setup/index.ts';

/** What Velocity 1.7 consists of: Debian's packages, and the file that each of them puts into `/usr/share/java`. */
const PARTS = [
  { debianPackage: 'velocity', jar: 'velocity.jar' },
  { debianPackage: 'libcommons-collections3-java', jar: 'commons-collections3.jar' },
  { debianPackage: 'libcommons-lang-java', jar: 'commons-lang.jar' },
] as const;

const HOW_TO_GET_IT =
  'Install it (Debian: apt-get install velocity), or set VELOCITY_CLASSPATH to the jars of Velocity 1.7, commons-collections 3.2 and commons-lang 2.6.';

/** One request, or one answer of an integration, as a mapping template sees it. */
export interface TemplateInput {
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly query?: Readonly<Record<string, string>>;
  readonly pathParameters?: Readonly<Record<string, string>>;
  /** `$context`, each value by its dotted name: `authorizer.claims.sub`. */
  readonly context?: Readonly<Record<string, string>>;
  /** What `$input.path` finds, each value by its JSONPath. */
  readonly values?: Readonly<Record<string, string | number>>;
}

export type Rendered =
  | { readonly kind: 'rendered'; readonly text: string; readonly statusOverride?: number }
  /** Velocity does not read the template. */
  | { readonly kind: 'refused'; readonly message: string };

/** Velocity in a Java process of its own, with the variables that API Gateway gives its mapping templates. */
export interface VelocityEngine {
  render(template: string, input: TemplateInput): Promise<Rendered>;
  /** Ends the process and waits for its end. */
  stop(): Promise<void>;
}

/**
 * Starts Velocity: that of `VELOCITY_CLASSPATH`, else the installed one, else Debian's packages, which are downloaded once into a cache and
 * unpacked there. No rights of root are needed for that.
 *
 * @throws Error when Java or Velocity is missing and cannot be had; the message says how to get it.
 */
export async function startVelocity(): Promise<VelocityEngine> {
  const classPath = await findVelocity();
  const java = defaultJava();
  const source = fileURLToPath(new URL('VelocityTemplates.java', import.meta.url));
  const child = spawn(java, ['-XX:TieredStopAtLevel=1', '-cp', classPath, source], {
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(0, 4_000);
  });
  let startError: Error | undefined;
  child.once('error', (error) => {
    startError = error;
  });
  // Writing to a process that has ended; its end is told below.
  child.stdin.on('error', () => {});
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();

  return {
    async render(template, input) {
      child.stdin.write(linesOf(template, input));
      const { value } = await lines.next();
      if (value !== undefined) return renderedOf(value);
      throw new Error(
        startError
          ? `Velocity needs Java ${javaVersion} or later, and '${java}' does not run (${startError.message}). ${howToGetJava('jdk')}.`
          : `Velocity ended. '${java}' said:\n${said.trim() || '(nothing)'}`,
      );
    },
    stop: () => end(child),
  };
}

async function findVelocity(): Promise<string> {
  if (process.env.VELOCITY_CLASSPATH) return process.env.VELOCITY_CLASSPATH;
  const installed = await classPathIn('/usr/share/java');
  if (installed !== undefined) return installed;
  const classPath = await classPathIn(await download());
  if (classPath === undefined) {
    throw new Error(`The packages of Velocity do not hold its jars any more. ${HOW_TO_GET_IT}`);
  }
  return classPath;
}

async function download(): Promise<string> {
  try {
    return await installDebianFiles({
      ...{ title: 'Velocity', cacheName: 'velocity-1.7', downloadMegabytes: 1.2 },
      ...{ packages: PARTS.map(({ debianPackage }) => debianPackage), folder: 'usr/share/java' },
    });
  } catch (cause) {
    throw new Error(
      `The mapping templates are tested in Velocity, which is not installed and could not be downloaded (${reasonOf(cause)}). ${HOW_TO_GET_IT}`,
      { cause },
    );
  }
}

async function classPathIn(directory: string): Promise<string | undefined> {
  const jars = PARTS.map(({ jar }) => join(directory, jar));
  const found = await Promise.all(jars.map(exists));
  return found.every(Boolean) ? jars.join(delimiter) : undefined;
}

function linesOf(template: string, input: TemplateInput): string {
  const { body = '', headers = {}, query = {}, pathParameters = {}, context = {}, values = {} } = input;
  const lines = [
    ['template', template],
    ['body', body],
    ...Object.entries(headers).map((entry) => ['header', ...entry]),
    ...Object.entries(query).map((entry) => ['querystring', ...entry]),
    ...Object.entries(pathParameters).map((entry) => ['path', ...entry]),
    ...Object.entries(context).map((entry) => ['context', ...entry]),
    ...Object.entries(values).map(([path, value]) => [
      typeof value === 'number' ? 'number' : 'text',
      path,
      String(value),
    ]),
    ['render'],
  ];
  return lines
    .map(([verb, ...words]) => `${[verb, ...words.map((word) => encode(word))].join(' ')}\n`)
    .join('');
}

function renderedOf(line: string): Rendered {
  const [kind, text = '', status] = line.split(' ');
  if (kind === 'error') return { kind: 'refused', message: decode(text) };
  return {
    kind: 'rendered',
    text: decode(text),
    ...(status !== undefined && { statusOverride: Number(decode(status)) }),
  };
}

const encode = (text: string): string => Buffer.from(text).toString('base64');
const decode = (word: string): string => Buffer.from(word, 'base64').toString();

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
}

function reasonOf(error: unknown): string {
  const { message, stderr } = error as Error & { stderr?: string };
  return (stderr?.trim() || message).split('\n').slice(-3).join(' ');
}
