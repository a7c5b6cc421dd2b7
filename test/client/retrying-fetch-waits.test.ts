import fc from 'fast-check';
import { describe, expect, expectTypeOf, it } from 'vitest';
import { type Retry, retryingFetch } from '../../lib/client.ts';
import { deferred } from '../support/hands.ts';
import { post, problem, retryingBench } from './retrying.ts';

const bench = retryingBench();
const { serve, instantly } = bench;

describe('a wait between attempts', () => {
  it('is a random part of a bound that doubles up to a ceiling', async () => {
    const server = await serve(Array(7).fill('drop'));
    const options = { maxAttempts: 8, baseDelayMs: 100, maxDelayMs: 1000, random: () => 0.5 };
    await retryingFetch(server.origin, post, instantly(options));
    expect(bench.retries.map(({ delayMs }) => delayMs)).toEqual([50, 100, 200, 400, 500, 500, 500]);
    expect(bench.retries.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  it('stays within its bounds under any options and any Retry-After', async () => {
    const part = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          maxAttempts: fc.integer({ min: 1, max: 100 }),
          baseDelayMs: fc.integer({ min: 0, max: 5000 }),
          aboveBaseMs: fc.integer({ min: 0, max: 100_000 }),
          parts: fc.array(part, { minLength: 1 }),
          afterSeconds: fc.array(fc.option(fc.nat(100)), { minLength: 1 }),
        }),
        async ({ maxAttempts, baseDelayMs, aboveBaseMs, parts, afterSeconds }) => {
          const maxDelayMs = baseDelayMs + aboveBaseMs;
          const waits: number[] = [];
          const seconds: number[] = [];
          let drawn = 0;
          // Every wait is over at once; no timeout ever comes.
          const clock = {
            now: () => 0,
            after: (ms: number, callback: () => void) => {
              if (ms !== Number.POSITIVE_INFINITY) queueMicrotask(callback);
              return () => {};
            },
          };
          const response = await retryingFetch('https://api.test/', post, {
            maxAttempts,
            baseDelayMs,
            maxDelayMs,
            attemptTimeoutMs: Number.POSITIVE_INFINITY,
            deadlineMs: Number.POSITIVE_INFINITY,
            clock,
            random: () => parts[drawn++ % parts.length] ?? 0,
            onRetry: ({ delayMs }) => waits.push(delayMs),
            fetch: async () => {
              const after = afterSeconds[seconds.length % afterSeconds.length] ?? undefined;
              seconds.push(after ?? 0);
              const headers = after === undefined ? undefined : { 'Retry-After': String(after) };
              return new Response(null, { status: 503, ...(headers && { headers }) });
            },
          });
          expect(response.status).toBe(503);
          expect(waits).toHaveLength(maxAttempts - 1);
          for (const [n, waitMs] of waits.entries()) {
            const leastMs = (seconds[n] ?? 0) * 1000;
            expect(waitMs).toBeGreaterThanOrEqual(leastMs);
            expect(waitMs - leastMs).toBeLessThanOrEqual(Math.min(maxDelayMs, baseDelayMs * 2 ** n));
          }
        },
      ),
    );
  });

  it('spreads over the whole of its bound', async () => {
    const options = { maxAttempts: 2, baseDelayMs: 100, random: Math.random };
    const waits: number[] = [];
    for (let n = 0; n < 300; n++) {
      await retryingFetch(
        'https://api.test/',
        post,
        instantly({
          ...options,
          fetch: async () => new Response(null, { status: 503 }),
          onRetry: ({ delayMs }) => waits.push(delayMs),
        }),
      );
    }
    expect(Math.min(...waits)).toBeLessThan(10);
    expect(Math.max(...waits)).toBeGreaterThan(90);
    expect(Math.max(...waits)).toBeLessThan(100);
  });

  const afterwards: [string, Record<string, string>, number][] = [
    ['seconds', { 'Retry-After': '7' }, 7000],
    ['a date, by the clock of the server', { 'Retry-After': httpDate(7), Date: httpDate(-3) }, 10_000],
    ['a date, by the own clock where the server tells none', { 'Retry-After': httpDate(7) }, 7000],
    ['a date that is past', { 'Retry-After': httpDate(-7) }, 0],
    ['nothing that can be read', { 'Retry-After': '1.5' }, 0],
    ['a date in no form of HTTP', { 'Retry-After': '2026-01-01T00:00:07Z' }, 0],
    ['a day that does not exist', { 'Retry-After': 'Sun, 99 Nov 2026 08:49:37 GMT' }, 0],
    ['a negative number', { 'Retry-After': '-5' }, 0],
  ];
  for (const [what, headers, leastMs] of afterwards) {
    it(`is no shorter than Retry-After says, where that is ${what}`, async () => {
      const server = await serve([
        (response) => {
          response.sendDate = false;
          response.writeHead(429, headers).end();
        },
      ]);
      await retryingFetch(server.origin, post, instantly({ random: () => 0 }));
      expect(bench.retries.map(({ delayMs }) => delayMs)).toEqual([leastMs]);
    });
  }

  it('is reported to `onRetry` with the answer or the error before it', async () => {
    const server = await serve([problem(409, 'IN_PROGRESS'), 'drop']);
    const seen: unknown[] = [];
    await retryingFetch(
      server.origin,
      post,
      instantly({
        onRetry: ({ response, error }) => {
          if (response) expectTypeOf(response).toEqualTypeOf<Response>();
          seen.push(response?.status ?? (error as Error).name);
        },
      }),
    );
    expect(seen).toEqual([409, 'TypeError']);
  });

  it('does not begin when `onRetry` throws; the caller gets that error', async () => {
    const closed = deferred();
    const server = await serve([
      (response) => {
        response.on('close', closed.resolve).writeHead(503).write('unfinished');
      },
    ]);
    const onRetry = (): never => {
      throw new RangeError('enough');
    };
    await expect(retryingFetch(server.origin, post, { onRetry, clock: bench.timers })).rejects.toThrow(
      'enough',
    );
    await closed.promise;
    expect(server.received).toHaveLength(1);
    expect(bench.timers.pending).toBe(0);
  });

  it('lets `onRetry` read the body of the answer', async () => {
    const server = await serve([problem(409, 'IN_PROGRESS'), { status: 503, body: 'overloaded' }]);
    const bodies: Promise<string>[] = [];
    const onRetry = ({ response }: Retry): void => {
      if (response) bodies.push(response.text());
    };
    expect((await retryingFetch(server.origin, post, instantly({ onRetry }))).status).toBe(200);
    expect(await Promise.all(bodies)).toEqual(['{"status":409,"code":"IN_PROGRESS"}', 'overloaded']);
  });
});

function httpDate(seconds: number): string {
  return new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toUTCString();
}
