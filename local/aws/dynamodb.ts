import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  defaultCache,
  defaultJava,
  findJavaProblem,
  howToGetJava,
  installNpmFiles,
  javaVersion,
  reasonOf,
} from '../setup/index.ts';

const EMULATOR = {
  spec: 'amplify-dynamodb-simulator@2.9.30',
  integrity:
    'sha512-xTeeRLvzEfqyd5lh3bH4c0kHvSHHmmhD5ZDsHFKAQ5g2Zl6JqlFdutaQhCLHzxEp6Ry1o7TB6niIoXuQAnSewQ==',
};
const OR_BRING_YOUR_OWN =
  'or set DYNAMODB_ENDPOINT to a running DynamoDB Local (Docker: amazon/dynamodb-local) or to a real AWS endpoint.';

export interface DynamoDbOptions {
  /**
   * An endpoint that already runs; nothing is started then.
   *
   * @default process.env.DYNAMODB_ENDPOINT
   */
  readonly endpoint?: string;
  /**
   * The Java launcher.
   *
   * @default `$JAVA_HOME/bin/java`, else `java` from the PATH
   */
  readonly java?: string;
  /**
   * The npm package that holds DynamoDB Local under `emulator/`, and the integrity its tarball must have.
   *
   * @default amplify-dynamodb-simulator@2.9.30, which ships AWS's own DynamoDB Local 1.25.1
   */
  readonly emulator?: { readonly spec: string; readonly integrity: string };
  /**
   * Where DynamoDB Local is unpacked, once.
   *
   * @default process.env.IDEMKIT_CACHE, else `$XDG_CACHE_HOME/idemkit`, else `~/.cache/idemkit`
   */
  readonly cacheDirectory?: string;
  /**
   * How long the Java process may take until it answers.
   *
   * @default 60_000
   */
  readonly startTimeoutMs?: number;
}

export interface DynamoDbServer {
  /** Base URL for a DynamoDB client. */
  readonly endpoint: string;
  /** Ends the process and waits for its end; may be called twice. Leaves an endpoint we did not start alone. */
  stop(): Promise<void>;
}

/**
 * Starts AWS's own DynamoDB Local: in memory, one database for all regions and credentials, on a free port.
 * The first start downloads it (57 MB, through the user's own npm configuration) into a cache.
 *
 * The process does not keep its parent alive, and ends with it: on `stop()`, on exit for whatever reason, and
 * on SIGINT, SIGTERM and SIGHUP. (A parent killed with SIGKILL leaves it behind; nothing can be run then.)
 *
 * @throws Error when a given endpoint does not answer, or when Java, npm, the network or the right bytes are
 * missing; the message says what is missing and how to get it.
 */
export async function startDynamoDb(options: DynamoDbOptions = {}): Promise<DynamoDbServer> {
  const endpoint = options.endpoint ?? (process.env.DYNAMODB_ENDPOINT || undefined);
  if (endpoint !== undefined) {
    await checkReachable(endpoint);
    return { endpoint, stop: async () => {} };
  }

  const java = options.java ?? defaultJava();
  await checkJava(java);
  const directory = await installNpmFiles(
    {
      ...{ title: 'DynamoDB Local', cacheName: 'dynamodb-local', folder: 'emulator' },
      ...{ downloadMegabytes: 57, diskMegabytes: 150, otherwise: OR_BRING_YOUR_OWN },
      ...(options.emulator ?? EMULATOR),
    },
    { cache: options.cacheDirectory ?? defaultCache() },
  );

  for (let attempt = 1; ; attempt++) {
    const started = await launch(java, directory, options.startTimeoutMs ?? 60_000);
    if (started !== 'port taken') return started;
    if (attempt === 5) throw new Error(`DynamoDB Local found its port taken ${attempt} times in a row.`);
  }
}

async function checkReachable(endpoint: string): Promise<void> {
  try {
    // Any answer will do: DynamoDB Local refuses an unsigned request, AWS says "healthy".
    const response = await fetch(endpoint, { signal: AbortSignal.timeout(5_000) });
    await response.arrayBuffer();
  } catch (cause) {
    throw new Error(
      `DYNAMODB_ENDPOINT is '${endpoint}', but nothing answers there (${reasonOf(cause)}). ` +
        'Start DynamoDB Local at that address, correct the URL, or unset DYNAMODB_ENDPOINT to let us start one.',
      { cause },
    );
  }
}

async function checkJava(java: string): Promise<void> {
  const problem = await findJavaProblem('jre', java);
  if (problem === undefined) return;
  throw new Error(
    `DynamoDB Local needs Java ${javaVersion} or later, and ${problem}. ${howToGetJava('jre')}, ${OR_BRING_YOUR_OWN}`,
  );
}

async function launch(
  java: string,
  directory: string,
  timeoutMs: number,
): Promise<DynamoDbServer | 'port taken'> {
  const port = await freePort();
  const endpoint = `http://127.0.0.1:${port}`;
  const child = spawn(
    java,
    [
      // For a short life on few cores: starts about a second earlier than with Java's defaults.
      '-XX:TieredStopAtLevel=1',
      '-XX:+UseSerialGC',
      '-Djava.library.path=./DynamoDBLocal_lib',
      '-jar',
      'DynamoDBLocal.jar',
      '-inMemory',
      '-sharedDb',
      '-disableTelemetry',
      '-port',
      `${port}`,
    ],
    { cwd: directory, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  endWithParent(child);

  let said = '';
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    said = (said + text).slice(0, 4_000);
  });
  let ended: string | undefined;
  child.once('error', (error) => {
    ended = error.message;
  });
  child.once('exit', (code, signal) => {
    ended ??= signal ?? `exit code ${code}`;
  });

  const giveUpAtMs = Date.now() + timeoutMs;
  while (!(await answers(endpoint))) {
    // With its port taken the Java process complains but lives on, so only its words tell.
    const portTaken = /BindException|Failed to bind/.test(said);
    const problem =
      ended !== undefined
        ? `ended while starting (${ended})`
        : Date.now() > giveUpAtMs
          ? `did not answer within ${timeoutMs} ms`
          : undefined;
    if (portTaken || problem !== undefined) {
      await end(child);
      if (portTaken) return 'port taken';
      throw new Error(
        `DynamoDB Local (${join(directory, 'DynamoDBLocal.jar')}) ${problem}. It said:\n${said.trim() || '(nothing)'}`,
      );
    }
    await sleep(50);
  }

  child.unref();
  (child.stderr as unknown as { unref(): void }).unref();
  return { endpoint, stop: () => end(child) };
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0);
  await once(server, 'listening');
  const address = server.address();
  server.close();
  await once(server, 'close');
  if (address === null || typeof address === 'string') throw new Error('No free port.');
  return address.port;
}

async function answers(endpoint: string): Promise<boolean> {
  try {
    const response = await fetch(endpoint, { signal: AbortSignal.timeout(1_000) });
    await response.arrayBuffer();
    return response.headers.has('x-amzn-requestid');
  } catch {
    return false;
  }
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  // Otherwise the parent could run out of work, and exit, while it waits here.
  child.ref();
  const exited = once(child, 'exit');
  child.kill('SIGKILL'); // nothing to save: the database is in memory
  await exited;
}

const children = new Set<ChildProcess>();
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

function endWithParent(child: ChildProcess): void {
  if (children.size === 0) {
    process.on('exit', killAll);
    for (const signal of SIGNALS) process.on(signal, onSignal);
  }
  children.add(child);
  const forget = () => {
    children.delete(child);
    if (children.size === 0) stopListening();
  };
  child.once('exit', forget);
  child.once('error', forget);
}

function killAll(): void {
  for (const child of children) child.kill('SIGKILL');
}

function onSignal(signal: NodeJS.Signals): void {
  // Whoever else listens decides whether, and when, the process ends; the exit hook covers that.
  if (process.listenerCount(signal) > 1) return;
  killAll();
  stopListening();
  process.kill(process.pid, signal);
}

function stopListening(): void {
  process.off('exit', killAll);
  for (const signal of SIGNALS) process.off(signal, onSignal);
}
