import { execFile } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

const run = promisify(execFile);
const root = fileURLToPath(new URL('../..', import.meta.url));
let scratch: string;

beforeAll(async () => {
  const cache = join(root, '.cache');
  mkdirSync(cache, { recursive: true });
  scratch = mkdtempSync(join(cache, 'client-consumers-'));
  writeConfig('declarations', {
    extends: '../../tsconfig.build.json',
    compilerOptions: { emitDeclarationOnly: true, rootDir: join(root, 'lib'), outDir: 'types' },
    files: [join(root, 'lib', 'client.ts')],
    include: [],
  });
  expect(await compile('declarations')).toBe('');
});

afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** What a consumer writes, checked against the types of the platform that it has. */
const consumer = `
import {
  browserStorage, memoryStorage, newIdempotencyKey, numberedSender, overHttp, RequestTimeoutError, retryingFetch,
  type Delivery, type NumberedMessage, type Retry, type RetryingFetchOptions,
} from './types/client.js';

const key: string = newIdempotencyKey();
const options: RetryingFetchOptions = { key, fetch, onRetry: (retry: Retry) => retry.response?.status };
const init = { method: 'POST', body: '{}', signal: AbortSignal.timeout(1000) };
export const response: Response = await retryingFetch('https://api.test/', init, options);
export const sameAsFetch: typeof fetch = (input, init) => retryingFetch(input, init);
await retryingFetch(new URL('https://api.test/'));
await retryingFetch(new Request('https://api.test/', init), { body: new FormData() });

// @ts-expect-error a misspelt option
await retryingFetch('https://api.test/', init, { maxAttempt: 3 });
// @ts-expect-error a method is a string
await retryingFetch('https://api.test/', { method: 1 });

const producer = 'till-7';
const sales = numberedSender({ producer, storage: browserStorage('sales'), send: overHttp<{ amount: number }>('/sales') });
const sent = await sales.send({ amount: 100 });
export const status: number = sent.outcome === 'answered' ? sent.answer.status : 0;
const readings = numberedSender({
  producer,
  storage: memoryStorage(),
  send: async ({ payload }: NumberedMessage<number>): Promise<Delivery<string>> => ({ outcome: 'answered', answer: String(payload) }),
  observe: (event) => event.type === 'settled' && event.sent.outcome === 'failed' && event.sent.error.code === 'PAYLOAD_MISMATCH',
});
export const reading: Promise<number> = readings.enqueue(21).then(() => readings.resume());
// @ts-expect-error a payload of another type
await sales.send({ amount: '100' });
// @ts-expect-error an answer that may not be there
export const answer: Response = sent.answer;
// @ts-expect-error a sender has a storage
numberedSender({ producer, send: overHttp('/sales') });

export const limitOf = (error: unknown) => (error instanceof RequestTimeoutError ? error.limit : undefined);
`;

describe('the types of the client', () => {
  const platforms: [string, { lib: string[]; types: string[] }][] = [
    ['a browser: the DOM alone', { lib: ['es2023', 'dom', 'dom.iterable'], types: [] }],
    ['a worker: its own library alone', { lib: ['es2023', 'webworker'], types: [] }],
    ['Node: its types alone', { lib: ['es2023'], types: ['node'] }],
    ['both at once', { lib: ['es2023', 'dom', 'dom.iterable'], types: ['node'] }],
  ];
  for (const [name, platform] of platforms) {
    it(`compile and refuse wrong arguments with ${name}`, { timeout: 60_000 }, async () => {
      const folder = name.replace(/\W.*/, '');
      writeFileSync(join(scratch, `${folder}.ts`), consumer);
      writeConfig(folder, {
        compilerOptions: {
          ...platform,
          target: 'es2023',
          module: 'nodenext',
          strict: true,
          exactOptionalPropertyTypes: true,
          skipLibCheck: false,
          noEmit: true,
        },
        files: [`${folder}.ts`],
      });
      expect(await compile(folder)).toBe('');
    });
  }
});

function writeConfig(name: string, config: object): void {
  writeFileSync(join(scratch, `tsconfig.${name}.json`), JSON.stringify(config));
}

async function compile(name: string): Promise<string> {
  const compiler = join(root, 'node_modules', 'typescript', 'bin', 'tsc');
  const args = [compiler, '--pretty', 'false', '-p', `tsconfig.${name}.json`];
  return run(process.execPath, args, { cwd: scratch }).then(
    () => '',
    (failure: { stdout?: string; message: string }) => failure.stdout || failure.message,
  );
}
