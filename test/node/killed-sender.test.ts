import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { numberedApi } from '../client/numbered-api.ts';
import { scriptedServer } from '../client/scripted-server.ts';

const program = fileURLToPath(new URL('sender-process.ts', import.meta.url));
const messages = 4;

let folder: string;
let child: ChildProcess | undefined;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'idemkit-killed-'));
});
afterEach(() => {
  child?.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
});

it('loses and repeats no message though its process is killed before or after every request', async () => {
  const file = join(folder, 'sales.json');
  const { work, payloads } = numberedApi();
  let arrivals = 0;
  await using api = await scriptedServer([], async (request) => {
    // Each message is killed once before it is processed, once after that, and then gets through.
    const phase = arrivals++ % 3;
    if (phase === 0) child?.kill('SIGKILL');
    const answer = await (phase === 0 ? { status: 503 } : work(request));
    if (phase === 1) child?.kill('SIGKILL');
    return answer;
  });

  const isTaken = (payload: number): boolean => {
    const { numbered = [], queue = [] } = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
    const held = [...numbered.map((one: { payload: string }) => one.payload), ...queue];
    return held.includes(String(payload)) || payloads().includes(payload);
  };
  let kills = 0;
  for (;;) {
    let from = 0;
    while (from < messages && isTaken(from)) from++;
    child = spawn(process.execPath, [program, api.origin, file, String(from), String(messages)], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const signal = await new Promise((resolve) => child?.on('exit', (_, signal) => resolve(signal)));
    if (signal === null) break;
    kills++;
  }
  expect(child.exitCode).toBe(0);
  expect(payloads()).toEqual(Array.from({ length: messages }, (_, payload) => payload));
  expect(kills).toBe(messages * 2);
}, 120_000);
