import { afterEach, beforeEach } from 'vitest';
import type { Retry, RetryingFetchOptions } from '../../lib/client.ts';
import { type ManualTimers, manualTimers } from './manual-timers.ts';
import {
  type Answer,
  type Received,
  type ScriptedServer,
  type Step,
  scriptedServer,
} from './scripted-server.ts';

/** What a test of `retryingFetch` works with. */
export interface Bench {
  readonly timers: ManualTimers;
  /** What `onRetry` was told. */
  readonly retries: readonly Retry[];
  readonly servers: readonly ScriptedServer[];
  /** Starts a server that ends with the test. */
  serve(script: readonly Step[], work?: (request: Received) => Promise<Answer>): Promise<ScriptedServer>;
  /** Options under which waits pass by themselves. Timeouts come only where a test moves the clock. */
  instantly(options?: RetryingFetchOptions): RetryingFetchOptions;
}

/** A bench for the tests of a file, cleared for each of them. */
export function retryingBench(): Bench {
  let timers: ManualTimers;
  let retries: Retry[];
  let servers: ScriptedServer[];
  beforeEach(() => {
    timers = manualTimers();
    retries = [];
    servers = [];
  });
  afterEach(async () => {
    for (const server of servers) await server[Symbol.asyncDispose]();
  });
  return {
    get timers() {
      return timers;
    },
    get retries() {
      return retries;
    },
    get servers() {
      return servers;
    },
    async serve(script, work) {
      const server = await scriptedServer(script, work);
      servers.push(server);
      return server;
    },
    instantly: (options = {}) => ({
      clock: timers,
      random: () => 0.5,
      ...options,
      onRetry: (retry) => {
        retries.push(retry);
        options.onRetry?.(retry);
        setImmediate(() => timers.advance(retry.delayMs));
      },
    }),
  };
}

export const post: RequestInit = {
  method: 'POST',
  headers: { 'Content-Type': 'application/json', 'X-Trace': 't-1' },
  body: '{"amount":100}',
};

export const problem = (status: number, code: string, headers: Record<string, string> = {}): Answer => ({
  status,
  headers: { 'Content-Type': 'application/problem+json', ...headers },
  body: JSON.stringify({ status, code }),
});
export const json = (status: number, body: unknown): Answer => ({
  status,
  headers: { 'Content-Type': 'application/json; charset=utf-8' },
  body: JSON.stringify(body),
});
