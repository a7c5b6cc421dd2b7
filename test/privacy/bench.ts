import { randomBytes } from 'node:crypto';
import { inspect } from 'node:util';
import type { Context } from 'aws-lambda';
import { afterEach, beforeEach, expect, vi } from 'vitest';
import {
  IdempotencyError,
  type IdempotencyEvent,
  type IdempotentOptions,
  idempotent,
  type Operation,
  operation,
} from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';

/** What a test calls a guard with, right or wrong. */
interface Told {
  readonly key?: unknown;
  readonly tenant?: unknown;
  readonly payload?: unknown;
  readonly Records?: unknown;
}

/**
 * Makes secrets, and after each test looks for them where somebody may read: in errors, on the console, at observers.
 * To be called at the top of a test file.
 */
export function privacyBench() {
  let secrets: string[];
  const bench = {
    /** Everything that came out where somebody may read it. */
    out: [] as string[],

    /** A value that is found again wherever it turns up, whole or in part. */
    secret(): string {
      const text = `zq${randomBytes(9).toString('hex')}`;
      secrets.push(text);
      return text;
    },

    observe(event: IdempotencyEvent): void {
      bench.out.push(JSON.stringify(event), inspect(event, { depth: 9 }));
    },

    /** Runs it, and keeps what an error of ours shows. */
    async told(work: () => unknown, code?: string): Promise<void> {
      try {
        await work();
      } catch (error) {
        if (!IdempotencyError.is(error)) throw error;
        bench.out.push(
          error.message,
          String(error),
          JSON.stringify(error),
          inspect(error, { depth: 9 }),
          error.stack ?? '',
        );
        if (code !== undefined) expect(error.code).toBe(code);
        return;
      }
      if (code !== undefined) throw new Error(`No ${code}.`);
    },

    /** A guard that is told everything in secrets. */
    guard<Result>(
      store: Store,
      handler: (event: Told, op: Operation, context: Context) => Result,
      options: IdempotentOptions = {},
    ) {
      return idempotent((event: Told, context: Context) => handler(event, operation(context), context), {
        store,
        namespace: 'privacy',
        key: (event) => (event as { key: string }).key,
        tenant: (event) => (event as { tenant: string }).tenant,
        destinations: ['ledger'],
        observe: bench.observe,
        ...options,
      });
    },
  };

  beforeEach(() => {
    bench.out = [];
    secrets = [];
    for (const method of ['log', 'info', 'warn', 'error', 'debug'] as const) {
      vi.spyOn(console, method).mockImplementation((...values: unknown[]) => {
        bench.out.push(...values.map((value) => inspect(value, { depth: 9, showHidden: false })));
      });
    }
  });

  afterEach(() => {
    vi.restoreAllMocks();
    const said = bench.out.join('\n');
    // Half of a value gives it away as well.
    const leaked = secrets
      .flatMap((text) => [text, text.slice(0, 10), text.slice(-10)])
      .filter((part) => said.includes(part));
    expect(leaked, said).toEqual([]);
  });
  return bench;
}
