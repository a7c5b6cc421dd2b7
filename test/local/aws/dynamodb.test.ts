import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:http';
import { createServer as createTcpServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';
import { DynamoDBClient, ListTablesCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { type DynamoDbOptions, startDynamoDb } from '../../../local/aws/dynamodb.ts';

const run = promisify(execFile);
const MODULE = pathToFileURL(join(import.meta.dirname, '../../../local/aws/dynamodb.ts')).href;
const BRING_YOUR_OWN = 'set DYNAMODB_ENDPOINT';

let shared: string;
let emulator: { spec: string; integrity: string };
let filledCache: string;
let directory: string;

beforeAll(async () => {
  shared = await mkdtemp(join(tmpdir(), 'idemkit-test-'));
  emulator = await fakeEmulator(shared);
  filledCache = join(shared, 'cache');
  await failure({ java: await fakeJava('17.0.1', undefined, shared), cacheDirectory: filledCache });
});

afterAll(async () => {
  await rm(shared, { recursive: true, force: true });
});

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'idemkit-test-'));
  vi.stubEnv('DYNAMODB_ENDPOINT', '');
});

afterEach(async () => {
  vi.unstubAllEnvs();
  await rm(directory, { recursive: true, force: true });
});

describe('a given endpoint of DynamoDB', () => {
  test('is used unchanged and not stopped', async () => {
    const server = createServer((_, answer) => answer.end('healthy')).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const endpoint = `http://127.0.0.1:${(server.address() as { port: number }).port}`;
    vi.stubEnv('DYNAMODB_ENDPOINT', endpoint);
    try {
      const dynamodb = await startDynamoDb({ java: '/nowhere/java' });
      await dynamodb.stop();
      expect(dynamodb.endpoint).toBe(endpoint);
      expect(await isUp(endpoint)).toBe(true);
    } finally {
      server.closeAllConnections();
      server.close();
    }
  });

  test('is refused with its address when nothing answers there', async () => {
    const endpoint = `http://127.0.0.1:${await unusedPort()}`;
    await expect(startDynamoDb({ endpoint })).rejects.toThrow(
      new RegExp(`DYNAMODB_ENDPOINT is '${endpoint}', but nothing answers there .*ECONNREFUSED`),
    );
  });

  test('is refused when it is no URL', async () => {
    await expect(startDynamoDb({ endpoint: 'localhost' })).rejects.toThrow(
      /DYNAMODB_ENDPOINT is 'localhost'.*correct the URL/,
    );
  });
});

describe('starting DynamoDB Local without a usable Java', () => {
  test('says that Java is missing, how to get it and what to do instead', async () => {
    const error = await failure({ java: join(directory, 'no-java') });
    expect(error).toMatch(/needs Java 17 or later, and '.*no-java' does not run \(.*ENOENT\)/);
    expect(error).toContain('apt-get install openjdk-17-jre-headless');
    expect(error).toContain(BRING_YOUR_OWN);
  });

  test.each([
    ['1.8.0_392', 'Java 8'],
    ['11.0.22', 'Java 11'],
  ])('refuses version %s by name', async (version, name) => {
    const error = await failure({ java: await fakeJava(version) });
    expect(error).toContain(`is ${name}. Install a Java 17 runtime`);
  });
});

describe('the download of DynamoDB Local', () => {
  test('is refused and leaves nothing behind when its bytes are not the expected ones', async () => {
    const error = await failure({
      java: await fakeJava('17.0.1'),
      emulator: { spec: emulator.spec, integrity: 'sha512-other' },
    });
    expect(error).toContain(`its integrity is ${emulator.integrity} instead of sha512-other`);
    expect(error).toContain(BRING_YOUR_OWN);
    expect(await readdir(join(directory, 'cache'))).toEqual([]);
  });

  test("fails with npm's own words when there is no such package", async () => {
    const spec = join(directory, 'absent.tgz');
    const error = await failure({
      java: await fakeJava('17.0.1'),
      emulator: { spec, integrity: 'sha512-x' },
    });
    expect(error).toMatch(/Could not download DynamoDB Local with 'npm pack .*absent\.tgz' \(.*ENOENT/s);
    expect(error).toContain(BRING_YOUR_OWN);
    expect(await readdir(join(directory, 'cache'))).toEqual([]);
  });

  test('is unpacked once and whole when two callers start at the same time', async () => {
    const java = await fakeJava('17.0.1');
    const errors = await Promise.all([failure({ java }), failure({ java })]);
    // Both got as far as starting it.
    for (const error of errors) expect(error).toContain('It said:\nboom');
    const installed = await readdir(join(directory, 'cache'));
    expect(installed).toHaveLength(1);
    expect(await readdir(join(directory, 'cache', installed[0]!))).toEqual(['DynamoDBLocal.jar']);
  });

  test('is not repeated when the cache has it', async () => {
    const error = await failure({
      java: await fakeJava('17.0.1'),
      emulator: { spec: join(directory, 'absent.tgz'), integrity: emulator.integrity },
      cacheDirectory: filledCache,
    });
    expect(error).toContain('It said:\nboom');
  });
});

describe('the process of DynamoDB Local', () => {
  test('fails with its own words when it ends while starting', async () => {
    const error = await failure({ java: await fakeJava('17.0.1'), cacheDirectory: filledCache });
    expect(error).toMatch(/DynamoDBLocal\.jar\) ended while starting \(exit code 3\)\. It said:\nboom/);
  });

  test('is given up when it does not answer in time', async () => {
    const java = await fakeJava('17.0.1', 'exec sleep 60');
    const error = await failure({ java, cacheDirectory: filledCache, startTimeoutMs: 200 });
    expect(error).toContain('did not answer within 200 ms');
  });

  test('is started again on another port when its port is taken', async () => {
    const java = await fakeJava('17.0.1', 'echo "Failed to bind to 0.0.0.0" >&2; exec sleep 60');
    const error = await failure({ java, cacheDirectory: filledCache });
    expect(error).toContain('found its port taken 5 times in a row');
  });

  test('answers as DynamoDB, and is gone after stop', async () => {
    const { endpoint, stop } = await startDynamoDb();
    try {
      const client = new DynamoDBClient({
        endpoint,
        region: 'eu-west-1',
        credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
      });
      expect((await client.send(new ListTablesCommand({}))).TableNames).toEqual([]);
    } finally {
      await stop();
    }
    expect(await isUp(endpoint)).toBe(false);
    await stop();
  });
});

describe('the process of DynamoDB Local ends with its parent', () => {
  test.each([
    ['which throws', 'throw new Error("on purpose")', 1],
    ['which has nothing left to do', '', 0],
    ['which exits', 'process.exit(7)', 7],
  ])('%s', async (_, then, code) => {
    const parent = await startInChild(then);
    expect(await parent.ended).toEqual([code, null]);
    expect(await isDown(parent.endpoint)).toBe(true);
  });

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('which gets %s', async (signal) => {
    const parent = await startInChild('setInterval(() => {}, 1_000)');
    expect(await isUp(parent.endpoint)).toBe(true);
    process.kill(parent.pid, signal);
    expect(await parent.ended).toEqual([null, signal]);
    expect(await isDown(parent.endpoint)).toBe(true);
  });

  test('which handles SIGTERM itself and then ends', async () => {
    const parent = await startInChild(`
      setInterval(() => {}, 1_000);
      process.on('SIGTERM', async () => process.exit((await fetch(endpoint)).status === 400 ? 5 : 6));`);
    process.kill(parent.pid, 'SIGTERM');
    expect(await parent.ended).toEqual([5, null]);
    expect(await isDown(parent.endpoint)).toBe(true);
  });
});

async function failure(options: DynamoDbOptions): Promise<string> {
  const cacheDirectory = options.cacheDirectory ?? join(directory, 'cache');
  return startDynamoDb({ emulator, ...options, cacheDirectory }).then(
    async (server) => {
      await server.stop();
      throw new Error('It started.');
    },
    (error: Error) => error.message,
  );
}

async function fakeJava(
  version: string,
  body = 'echo boom >&2; exit 3',
  folder = directory,
): Promise<string> {
  const file = join(folder, 'java');
  await writeFile(
    file,
    `#!/bin/sh\nif [ "$1" = -version ]; then echo 'openjdk version "${version}"' >&2; exit 0; fi\n${body}\n`,
  );
  await chmod(file, 0o755);
  return file;
}

/** A package of the right shape, as a tarball: npm packs it without a network. */
async function fakeEmulator(folder: string): Promise<{ spec: string; integrity: string }> {
  const source = join(folder, 'source');
  await mkdir(join(source, 'emulator'), { recursive: true });
  await writeFile(join(source, 'package.json'), '{"name":"fake-emulator","version":"1.0.0"}');
  await writeFile(join(source, 'emulator', 'DynamoDBLocal.jar'), 'not a jar');
  const { stdout } = await run('npm', ['pack', source, '--json', '--pack-destination', folder]);
  const [packed] = JSON.parse(stdout) as { filename: string; integrity: string }[];
  return { spec: join(folder, packed!.filename), integrity: packed!.integrity };
}

/** A parent whose Java is a stand-in, for speed: a process that listens and would live on by itself. */
async function startInChild(then: string) {
  const standIn = join(directory, 'stand-in.mjs');
  await writeFile(
    standIn,
    `import { createServer } from 'node:http';
    createServer((_, answer) => answer.writeHead(400, { 'x-amzn-requestid': '1' }).end()).listen(+process.argv.at(-1));`,
  );
  const options = {
    java: await fakeJava('17.0.1', `exec '${process.execPath}' '${standIn}' "$@"`),
    emulator,
    cacheDirectory: filledCache,
  };
  const script = `
    import { startDynamoDb } from ${JSON.stringify(MODULE)};
    const { endpoint } = await startDynamoDb(${JSON.stringify(options)});
    console.log(endpoint);
    ${then}`;
  const child = spawn(process.execPath, ['--input-type=module-typescript', '-e', script], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const ended = once(child, 'exit');
  const [line] = await once(child.stdout.setEncoding('utf8'), 'data');
  return { pid: child.pid!, endpoint: String(line).trim(), ended };
}

async function isUp(endpoint: string): Promise<boolean> {
  return fetch(endpoint).then(
    () => true,
    () => false,
  );
}

/** A killed process needs a moment to let go of its port. */
async function isDown(endpoint: string): Promise<boolean> {
  for (let attempt = 0; attempt < 100; attempt++) {
    if (!(await isUp(endpoint))) return true;
    await sleep(20);
  }
  return false;
}

async function unusedPort(): Promise<number> {
  const server = createTcpServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  server.close();
  await once(server, 'close');
  return port;
}
