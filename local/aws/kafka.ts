import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { exists, installDebianFiles, reasonOf } from '../setup/index.ts';

const HOW_TO_GET_IT =
  'Install it (Debian: apt-get install kcat), or set KAFKA_BOOTSTRAP_SERVERS to brokers that run.';

export interface KafkaBrokers {
  /** `host:port` of each broker. */
  readonly bootstrapServers: readonly string[];
  /** Ends the process and waits for its end; may be called twice. Leaves brokers that we did not start alone. */
  stop(): Promise<void>;
}

/**
 * Starts two brokers that speak Kafka's protocol: those that librdkafka is tested with, in a process of `kcat`. Topics are created
 * when they are first named, with four partitions. Everything is in memory; consumer groups, generations and committed offsets are
 * those of Kafka's protocol. They are not Apache Kafka: no registry that the project's machines reach ships that.
 *
 * The process ends with its parent, however that one ends: its standard input does.
 *
 * @throws Error when kcat is missing and cannot be had; the message says how to get it
 * @see https://github.com/confluentinc/librdkafka/blob/master/src/rdkafka_mock.h
 */
export async function startKafka(): Promise<KafkaBrokers> {
  const given = process.env.KAFKA_BOOTSTRAP_SERVERS;
  if (given) return { bootstrapServers: given.split(','), stop: async () => {} };

  const { command, libraries } = await findKcat();
  const child = spawn(
    command,
    // A producer that is given nothing to send. The address in `-b` is replaced by those of the brokers in the process.
    ['-P', '-b', 'replaced', '-t', 'unused', '-X', 'test.mock.num.brokers=2', '-d', 'mock'],
    {
      stdio: ['pipe', 'ignore', 'pipe'],
      env: { ...process.env, ...(libraries !== undefined && { LD_LIBRARY_PATH: libraries }) },
    },
  );
  try {
    return { bootstrapServers: await addressesSaidBy(child), stop: () => end(child) };
  } catch (error) {
    await end(child);
    throw error;
  }
}

/** An installed kcat, else Debian's, which is downloaded once into a cache. */
async function findKcat(): Promise<{ readonly command: string; readonly libraries?: string }> {
  const installed = '/usr/bin/kcat';
  if (await exists(installed)) return { command: installed };
  try {
    const directory = await installDebianFiles({
      ...{ title: 'kcat', cacheName: 'kcat-1.7', downloadMegabytes: 0.7 },
      ...{ packages: ['kcat', 'librdkafka1', 'libyajl2'], folder: 'usr' },
    });
    const triplet = process.arch === 'arm64' ? 'aarch64-linux-gnu' : 'x86_64-linux-gnu';
    return { command: join(directory, 'bin', 'kcat'), libraries: join(directory, 'lib', triplet) };
  } catch (cause) {
    throw new Error(
      `Kafka's brokers are those of kcat, which is not installed and could not be downloaded (${reasonOf(cause)}). ${HOW_TO_GET_IT}`,
      { cause },
    );
  }
}

function addressesSaidBy(child: ChildProcess): Promise<string[]> {
  const { stderr } = child;
  if (stderr === null) throw new Error('kcat was started without its standard error');
  const said: string[] = [];
  return new Promise((resolve, reject) => {
    const fail = (reason: string): void => {
      reject(new Error(`kcat started no brokers (${reason}). ${HOW_TO_GET_IT}`));
    };
    child.once('error', ({ message }) => fail(message));
    child.once('exit', () => fail(said.join(' ') || 'it ended and said nothing'));
    // The reader stays: a pipe that nobody reads would stop the brokers, which log each request.
    createInterface({ input: stderr }).on('line', (line) => {
      const [, addresses] = /Mock cluster \S+ bootstrap\.servers=(\S+)/.exec(line) ?? [];
      if (addresses !== undefined) resolve(addresses.split(','));
      if (said.length < 5) said.push(line);
    });
  });
}

async function end(child: ChildProcess): Promise<void> {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  const exited = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGKILL');
  await exited;
}
