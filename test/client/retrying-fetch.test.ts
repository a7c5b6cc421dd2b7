import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, expectTypeOf, it, vi } from 'vitest';
import {
  RequestTimeoutError,
  type Retry,
  type RetryingFetchOptions,
  retryingFetch,
} from '../../lib/client.ts';
import { idempotent, memoryStore } from '../../lib/index.ts';
import { deferred, httpEvent } from '../support/hands.ts';
import { type ManualTimers, manualTimers } from './manual-timers.ts';
import {
  type Answer,
  type Received,
  type ScriptedServer,
  type Step,
  scriptedServer,
} from './scripted-server.ts';

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

async function serve(
  script: readonly Step[],
  work?: (request: Received) => Promise<Answer>,
): Promise<ScriptedServer> {
  const server = await scriptedServer(script, work);
  servers.push(server);
  return server;
}

/** Waits pass by themselves; timeouts only where a test moves the clock. */
function instantly(options: RetryingFetchOptions = {}): RetryingFetchOptions {
  return {
    clock: timers,
    random: () => 0.5,
    ...options,
    onRetry: (retry) => {
      retries.push(retry);
      options.onRetry?.(retry);
      setImmediate(() => timers.advance(retry.delayMs));
    },
  };
}

const post: RequestInit = {
  method: 'POST',
  headers: { 'Content-Type': 'application/json', 'X-Trace': 't-1' },
  body: '{"amount":100}',
};

const problem = (status: number, code: string, headers: Record<string, string> = {}): Answer => ({
  status,
  headers: { 'Content-Type': 'application/problem+json', ...headers },
  body: JSON.stringify({ status, code }),
});
const json = (status: number, body: unknown): Answer => ({
  status,
  headers: { 'Content-Type': 'application/json; charset=utf-8' },
  body: JSON.stringify(body),
});

describe('an answer that is final', () => {
  for (const status of [200, 201, 204, 304, 400, 401, 403, 404, 408, 410, 412, 422, 501, 505]) {
    it(`of status ${status} comes back after one attempt`, async () => {
      const server = await serve([{ status, headers: { 'Retry-After': '1' } }]);
      const response = await retryingFetch(server.origin, post, instantly());
      expect(response.status).toBe(status);
      expect(server.received).toHaveLength(1);
    });
  }

  it('is a 409 that says nothing of an operation in progress, and its body is left to the caller', async () => {
    const server = await serve([json(409, { code: 'VERSION_CONFLICT' })]);
    const response = await retryingFetch(server.origin, post, instantly());
    expect(await response.json()).toEqual({ code: 'VERSION_CONFLICT' });
    expect(server.received).toHaveLength(1);
  });

  for (const [what, body] of [
    ['no JSON', 'conflict'],
    ['JSON null', 'null'],
    ['JSON without an error', '{"error":null}'],
  ] as const) {
    it(`is a 409 with ${what} in it`, async () => {
      const server = await serve([{ status: 409, headers: { 'Content-Type': 'application/json' }, body }]);
      const response = await retryingFetch(server.origin, post, instantly());
      expect(await response.text()).toBe(body);
      expect(server.received).toHaveLength(1);
    });
  }

  it('is whatever the server replays: every repeat gets the same', async () => {
    for (const status of [409, 429, 500, 503]) {
      const server = await serve([
        { status, headers: { 'Idempotent-Replayed': 'true', 'Retry-After': '1' } },
      ]);
      expect((await retryingFetch(server.origin, post, instantly())).status).toBe(status);
      expect(server.received).toHaveLength(1);
    }
  });
});

describe('an answer that is not final', () => {
  const cases: [string, Step][] = [
    ['409 IN_PROGRESS', problem(409, 'IN_PROGRESS')],
    ['409 OVERTAKEN', problem(409, 'OVERTAKEN')],
    ["409 in Stripe's shape", json(409, { error: { type: 'x', code: 'idempotency_key_in_use' } })],
    ['409 that says when to come back, and nothing else', { status: 409, headers: { 'Retry-After': '0' } }],
    ['425', { status: 425 }],
    ['429', { status: 429 }],
    ['500', { status: 500 }],
    ['502', { status: 502 }],
    ['503', { status: 503 }],
    ['504', { status: 504 }],
    ['520 of a content delivery network', { status: 520 }],
    ['connection that breaks before the work', 'drop'],
    ['connection that breaks after the work', 'lose-answer'],
    [
      '409 whose body breaks off',
      (response) => {
        response.writeHead(409, { 'Content-Type': 'application/json', 'Content-Length': '100' });
        response.write('{"code":', () => response.socket?.resetAndDestroy());
      },
    ],
  ];
  for (const [name, step] of cases) {
    it(`is a ${name}`, async () => {
      const server = await serve([step, 'work']);
      const response = await retryingFetch(server.origin, post, instantly());
      expect([response.status, await response.text()]).toEqual([200, 'done']);
      expect(server.received).toHaveLength(2);
      expect(retries).toHaveLength(1);
    });
  }
});

describe('every attempt', () => {
  const faults: Step[] = ['drop', { status: 503 }, problem(409, 'IN_PROGRESS'), 'lose-answer'];

  it('carries the same key, headers and body, to the same URL with the same method', async () => {
    const server = await serve(faults);
    await retryingFetch(`${server.origin}/payments?x=1`, post, instantly());
    expect(server.received).toHaveLength(5);
    const [first, ...others] = server.received.map(({ method, url, headers, body }) => ({
      method,
      url,
      headers,
      body: body.toString(),
    }));
    expect(first).toMatchObject({ method: 'POST', url: '/payments?x=1', body: '{"amount":100}' });
    expect(first?.headers).toMatchObject({ 'content-type': 'application/json', 'x-trace': 't-1' });
    for (const other of others) expect(other).toEqual(first);
    expect(server.keys()[0]).toMatch(/^[0-9a-f-]{36}$/);
    expect(retries.map(({ key }) => key)).toEqual(Array(4).fill(server.keys()[0]));
  });

  it('carries what was passed, though the caller changes it during a wait', async () => {
    const bytes = new Uint8Array([0, 1, 2, 3]);
    const pairs = new URLSearchParams({ amount: '1' });
    const url = new URL('http://unknown.invalid/a');
    for (const body of [bytes, bytes.subarray(1, 3), bytes.buffer, pairs]) {
      const server = await serve([{ status: 503 }, { status: 503 }]);
      url.host = new URL(server.origin).host;
      url.pathname = '/a';
      const headers = new Headers({ 'X-Trace': '1' });
      bytes.set([0, 1, 2, 3]);
      pairs.set('amount', '1');
      const onRetry = (): void => {
        bytes.fill(9);
        pairs.set('amount', '9');
        headers.set('X-Trace', '9');
        url.pathname = '/z';
      };
      await retryingFetch(url, { method: 'POST', body, headers }, instantly({ onRetry }));
      const sent = server.received.map(({ url, headers, body }) => [
        url,
        headers['x-trace'],
        body.toString('hex'),
      ]);
      expect(sent).toHaveLength(3);
      expect(sent).toEqual(Array(3).fill(['/a', '1', body === pairs ? '616d6f756e743d31' : sent[0]?.[2]]));
      expect(sent[0]?.[2]).not.toContain('09');
    }
    expect(servers.at(-1)?.received[2]?.headers['content-type']).toMatch(
      /^application\/x-www-form-urlencoded/,
    );
  });

  it('carries a form in the same bytes, boundary included', async () => {
    const server = await serve([{ status: 503 }, 'drop']);
    const form = new FormData();
    form.set('amount', '100');
    form.set('receipt', new Blob(['%PDF'], { type: 'application/pdf' }), 'receipt.pdf');
    await retryingFetch(server.origin, { method: 'POST', body: form }, instantly());
    const [first, second, third] = server.received;
    const boundary = /^multipart\/form-data; boundary=(\S+)$/.exec(first?.headers['content-type'] ?? '')?.[1];
    expect(first?.body.toString()).toContain(`--${boundary}\r\n`);
    expect(first?.body.toString()).toContain('filename="receipt.pdf"');
    for (const other of [second, third]) {
      expect(other?.headers['content-type']).toBe(first?.headers['content-type']);
      expect(other?.body).toEqual(first?.body);
    }
  });

  it('carries a Blob and its type', async () => {
    const server = await serve([{ status: 503 }]);
    const body = new Blob(['a,b'], { type: 'text/csv' });
    await retryingFetch(server.origin, { method: 'PUT', body }, instantly());
    for (const { headers, body } of server.received) {
      expect([headers['content-type'], body.toString()]).toEqual(['text/csv', 'a,b']);
    }
    expect(server.received).toHaveLength(2);
  });

  it('carries what a Request holds, its body read once, unless `init` says otherwise', async () => {
    const server = await serve([{ status: 503 }, 'drop', 'work', { status: 503 }]);
    const request = new Request(`${server.origin}/r`, { ...post, method: 'PATCH' });
    await retryingFetch(request, undefined, instantly());
    expect(request.bodyUsed).toBe(true);
    await retryingFetch(
      new Request(`${server.origin}/r`, post),
      { body: 'other', method: 'PUT' },
      instantly(),
    );
    expect(
      server.received.map(({ method, headers, body }) => [method, headers['x-trace'], body.toString()]),
    ).toEqual([
      ...Array(3).fill(['PATCH', 't-1', '{"amount":100}']),
      ...Array(2).fill(['PUT', 't-1', 'other']),
    ]);
    expect(new Set(server.keys().slice(0, 3)).size).toBe(1);
  });

  it('of a Request without a body has none', async () => {
    const server = await serve([{ status: 503 }]);
    await retryingFetch(new Request(server.origin, { method: 'DELETE' }), undefined, instantly());
    const sent = server.received.map(({ method, headers, body }) => [
      method,
      headers['content-length'],
      body.length,
    ]);
    expect(sent).toEqual(Array(2).fill(['DELETE', undefined, 0]));
  });

  it('keeps the referrer and its policy that a Request has', async () => {
    const sent: RequestInit[] = [];
    const request = new Request('https://api.test/', {
      method: 'POST',
      referrerPolicy: 'no-referrer',
      referrer: '',
    });
    const fetch = async (_: unknown, init: RequestInit = {}): Promise<Response> => {
      sent.push(init);
      return new Response('done');
    };
    await retryingFetch(request, {}, instantly({ fetch }));
    expect(sent[0]).toMatchObject({ referrerPolicy: 'no-referrer', referrer: request.referrer });
  });
});

describe('the key', () => {
  it('is a new one for each call', async () => {
    const server = await serve([]);
    await retryingFetch(server.origin, post);
    await retryingFetch(server.origin, post);
    expect(new Set(server.keys()).size).toBe(2);
  });

  it('is the one given, bare by default', async () => {
    const server = await serve(['drop']);
    await retryingFetch(server.origin, post, instantly({ key: 'order-1' }));
    expect(server.keys()).toEqual(['order-1', 'order-1']);
  });

  it('is quoted on demand, with what a string of RFC 9651 has to escape', async () => {
    const server = await serve([{ status: 503 }]);
    await retryingFetch(server.origin, post, instantly({ key: 'a "b", \\c', quote: true }));
    expect(server.keys()).toEqual(Array(2).fill('"a \\"b\\", \\\\c"'));
    expect(retries[0]?.key).toBe('a "b", \\c');
  });

  it('is the one in the headers, as it stands there, of a Request too', async () => {
    const server = await serve([{ status: 503 }, 'work', { status: 503 }]);
    await retryingFetch(server.origin, { ...post, headers: { 'idempotency-key': '"k 1"' } }, instantly());
    const request = new Request(server.origin, { ...post, headers: { 'Idempotency-Key': 'k-2' } });
    await retryingFetch(request, undefined, instantly({ quote: true }));
    expect(server.keys()).toEqual(['"k 1"', '"k 1"', 'k-2', 'k-2']);
    expect(retries.map(({ key }) => key)).toEqual(['k 1', 'k-2']);
  });

  it('may be in the headers and in the options, if it is the same', async () => {
    const server = await serve([]);
    const init = { ...post, headers: { 'Idempotency-Key': '"k"' } };
    await retryingFetch(server.origin, init, { key: 'k' });
    expect(server.keys()).toEqual(['"k"']);
    await expect(retryingFetch(server.origin, init, { key: 'other' })).rejects.toMatchObject({
      code: 'BAD_KEY',
      message: expect.stringContaining('two different keys'),
    });
    expect(server.received).toHaveLength(1);
  });

  it('goes into another header where the API names it otherwise', async () => {
    const server = await serve(['drop']);
    await retryingFetch(server.origin, post, instantly({ header: 'PayPal-Request-Id', key: 'k' }));
    expect(server.received.map(({ headers }) => headers['paypal-request-id'])).toEqual(['k', 'k']);
    expect(server.keys()).toEqual([undefined, undefined]);
  });
});

describe('a wait', () => {
  it('is a random part of a bound that doubles up to its ceiling', async () => {
    const server = await serve(Array(7).fill('drop'));
    const options = { maxAttempts: 8, baseDelayMs: 100, maxDelayMs: 1000, random: () => 0.5 };
    await retryingFetch(server.origin, post, instantly(options));
    expect(retries.map(({ delayMs }) => delayMs)).toEqual([50, 100, 200, 400, 500, 500, 500]);
    expect(retries.map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  it('stays within its bounds, whatever the options and whatever Retry-After says', async () => {
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
    it(`is no shorter than Retry-After says: ${what}`, async () => {
      const server = await serve([
        (response) => {
          response.sendDate = false;
          response.writeHead(429, headers).end();
        },
      ]);
      await retryingFetch(server.origin, post, instantly({ random: () => 0 }));
      expect(retries.map(({ delayMs }) => delayMs)).toEqual([leastMs]);
    });
  }

  it('is told to `onRetry`, with the answer or the error', async () => {
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

  it('does not begin when `onRetry` throws, whose error the caller gets', async () => {
    const closed = deferred();
    const server = await serve([
      (response) => {
        response.on('close', closed.resolve).writeHead(503).write('unfinished');
      },
    ]);
    const onRetry = (): never => {
      throw new RangeError('enough');
    };
    await expect(retryingFetch(server.origin, post, { onRetry, clock: timers })).rejects.toThrow('enough');
    await closed.promise;
    expect(server.received).toHaveLength(1);
    expect(timers.pending).toBe(0);
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

describe('when attempts run out', () => {
  it('the last answer comes back, its body unread', async () => {
    const server = await serve(['drop', { status: 500 }, { status: 503, body: 'third' }, 'work']);
    const response = await retryingFetch(server.origin, post, instantly({ maxAttempts: 3 }));
    expect([response.status, await response.text()]).toEqual([503, 'third']);
    expect(server.received).toHaveLength(3);
  });

  it('a 409 comes back with the body that was looked into', async () => {
    const server = await serve([problem(409, 'IN_PROGRESS')]);
    const response = await retryingFetch(server.origin, post, { maxAttempts: 1 });
    expect(await response.json()).toEqual({ status: 409, code: 'IN_PROGRESS' });
  });

  it('the last network error is thrown as `fetch` threw it', async () => {
    const server = await serve([{ status: 503 }, 'drop', 'drop']);
    const failure = await retryingFetch(server.origin, post, instantly({ maxAttempts: 3 })).catch(
      (error) => error,
    );
    expect(failure).toBeInstanceOf(TypeError);
    expect(server.received).toHaveLength(3);
  });

  it('no timer is left behind', async () => {
    const server = await serve(['drop', { status: 503 }]);
    await retryingFetch(server.origin, post, instantly());
    await retryingFetch(server.origin, post, instantly());
    expect(timers.pending).toBe(0);
  });

  it('no connection is left behind by the answers that were passed over', async () => {
    const closed = deferred();
    const server = await serve([
      (response) => {
        // Never ends: only the client can let go.
        response.on('close', closed.resolve).writeHead(503).write('x');
      },
    ]);
    expect((await retryingFetch(server.origin, post, instantly())).status).toBe(200);
    await closed.promise;
  });
});

describe('an error that is no network error', () => {
  it('is thrown at once', async () => {
    let calls = 0;
    const fetch = async (): Promise<Response> => {
      calls++;
      throw new RangeError('not from the network');
    };
    await expect(retryingFetch('https://api.test/', post, instantly({ fetch }))).rejects.toThrow(RangeError);
    expect(calls).toBe(1);
  });
});

describe('an attempt', () => {
  it('that hangs is given up after `attemptTimeoutMs`, and the request is sent again', async () => {
    const server = await serve(['hang']);
    const pending = retryingFetch(server.origin, post, instantly({ attemptTimeoutMs: 2000 }));
    await server.arrived(1);
    timers.advance(1999);
    expect(retries).toHaveLength(0);
    timers.advance(1);
    expect((await pending).status).toBe(200);
    expect(retries[0]?.error).toMatchObject({ name: 'TimeoutError', limit: 'attempt', attempts: 1 });
    expect(server.keys()[1]).toBe(server.keys()[0]);
  });

  it('that hangs in the body of a 409 is given up too', async () => {
    const begun = deferred();
    const server = await serve([
      (response) => {
        response.writeHead(409, { 'Content-Type': 'application/problem+json' });
        response.write('{"code":', () => begun.resolve());
      },
    ]);
    const pending = retryingFetch(server.origin, post, instantly({ attemptTimeoutMs: 2000 }));
    await begun.promise;
    timers.advance(2000);
    expect((await pending).status).toBe(200);
    expect(retries[0]?.error).toMatchObject({ limit: 'attempt' });
  });

  it('that hangs is the error when it was the last, with the key for another try', async () => {
    const server = await serve(['hang']);
    const pending = retryingFetch(server.origin, post, { clock: timers, maxAttempts: 1, key: 'k-1' });
    await server.arrived(1);
    timers.advance(30_000);
    const error = await pending.catch((error: unknown) => error);
    expect(error).toBeInstanceOf(RequestTimeoutError);
    expect(error).toMatchObject({ name: 'TimeoutError', limit: 'attempt', attempts: 1, key: 'k-1' });
    expect((error as Error).message).toContain('`attemptTimeoutMs`');
  });

  it('has no timeout any more once its answer is there: the body may take its time', async () => {
    const finish = deferred();
    const server = await serve([
      async (response) => {
        response.writeHead(200).write('slow ');
        await finish.promise;
        response.end('body');
      },
    ]);
    const response = await retryingFetch(server.origin, post, { clock: timers });
    timers.advance(1_000_000);
    finish.resolve();
    expect(await response.text()).toBe('slow body');
  });
});

describe('the deadline', () => {
  it('ends an attempt that runs, with an error that names it and the last failure', async () => {
    const server = await serve(['drop', 'hang']);
    const pending = retryingFetch(server.origin, post, instantly({ deadlineMs: 5000, key: 'k-1' }));
    await server.arrived(2);
    timers.advance(5000);
    const error = await pending.catch((error: unknown) => error);
    expect(error).toBeInstanceOf(RequestTimeoutError);
    expect(error).toMatchObject({
      name: 'TimeoutError',
      limit: 'deadline',
      attempts: 2,
      key: 'k-1',
      cause: { name: 'TypeError' },
    });
    expect(server.received).toHaveLength(2);
  });

  it('is not waited for: an answer that asks for a longer wait comes back at once', async () => {
    const server = await serve([{ status: 503, headers: { 'Retry-After': '60' }, body: 'later' }]);
    const response = await retryingFetch(server.origin, post, instantly({ deadlineMs: 59_000 }));
    expect(response.headers.get('Retry-After')).toBe('60');
    expect(await response.text()).toBe('later');
    expect(retries).toHaveLength(0);
  });

  it('is not waited for: a network error is thrown where the next wait would not fit', async () => {
    const server = await serve(Array(5).fill('drop'));
    const options = { deadlineMs: 1000, baseDelayMs: 800, random: () => 0.9 };
    await expect(retryingFetch(server.origin, post, instantly(options))).rejects.toThrow(TypeError);
    expect(retries.map(({ delayMs }) => delayMs)).toEqual([720]);
  });

  it('covers the reading of the body of a Request, and says that nothing was sent', async () => {
    const stream = new ReadableStream({});
    const request = new Request('http://api.test/', { method: 'POST', body: stream, duplex: 'half' });
    const pending = retryingFetch(request, undefined, { clock: timers });
    timers.advance(60_000);
    await expect(pending).rejects.toMatchObject({
      limit: 'deadline',
      attempts: 0,
      message: expect.stringContaining('Nothing has been sent'),
    });
  });

  it('may be off, and the timeout of an attempt too', async () => {
    const server = await serve(['hang']);
    const options = { deadlineMs: Number.POSITIVE_INFINITY, attemptTimeoutMs: Number.POSITIVE_INFINITY };
    const abort = new AbortController();
    const pending = retryingFetch(server.origin, { ...post, signal: abort.signal }, instantly(options));
    await server.arrived(1);
    timers.advance(1e12);
    abort.abort(new Error('the test is over'));
    await expect(pending).rejects.toThrow('the test is over');
  });
});

describe("the caller's signal", () => {
  it('that is aborted already keeps everything from being sent', async () => {
    const server = await serve([]);
    const signal = AbortSignal.abort();
    await expect(retryingFetch(server.origin, { ...post, signal })).rejects.toMatchObject({
      name: 'AbortError',
    });
    expect(server.received).toHaveLength(0);
  });

  it('that is aborted already is heeded though the given `fetch` takes no signal', async () => {
    const fetch = vi.fn(async () => new Response('done'));
    const signal = AbortSignal.abort();
    await expect(retryingFetch('https://api.test/', { ...post, signal }, { fetch })).rejects.toMatchObject({
      name: 'AbortError',
    });
    expect(fetch).not.toHaveBeenCalled();
  });

  it('ends an attempt at once, with its own reason', async () => {
    const closed = deferred();
    const server = await serve([(response) => void response.on('close', closed.resolve)]);
    const abort = new AbortController();
    const pending = retryingFetch(server.origin, { ...post, signal: abort.signal }, instantly());
    await server.arrived(1);
    // What a broken connection would be thrown as.
    const reason = new TypeError('left the page');
    abort.abort(reason);
    expect(await pending.catch((error: unknown) => error)).toBe(reason);
    await closed.promise;
    expect(retries).toHaveLength(0);
  });

  it('ends a wait at once, and nothing is sent after it', async () => {
    const server = await serve([{ status: 503, headers: { 'Retry-After': '30' } }]);
    const abort = new AbortController();
    const waiting = deferred();
    const pending = retryingFetch(
      server.origin,
      { ...post, signal: abort.signal },
      { clock: timers, onRetry: () => setImmediate(waiting.resolve) },
    );
    await waiting.promise;
    abort.abort();
    await expect(pending).rejects.toMatchObject({ name: 'AbortError' });
    expect(timers.pending).toBe(0);
    timers.advance(60_000);
    expect(server.received).toHaveLength(1);
  });

  it('ends it all when `onRetry` aborts it', async () => {
    const server = await serve([{ status: 503 }]);
    const abort = new AbortController();
    const onRetry = (): void => abort.abort();
    const init = { ...post, signal: abort.signal };
    await expect(retryingFetch(server.origin, init, { onRetry, clock: timers })).rejects.toMatchObject({
      name: 'AbortError',
    });
    expect(server.received).toHaveLength(1);
  });

  it('of a Request counts, unless `init` has another or none', async () => {
    const server = await serve([]);
    const request = () => new Request(server.origin, { ...post, signal: AbortSignal.abort() });
    await expect(retryingFetch(request())).rejects.toMatchObject({ name: 'AbortError' });
    expect((await retryingFetch(request().url, { ...post, signal: null })).status).toBe(200);
    expect(server.received).toHaveLength(1);
  });

  it('still reaches the body of the answer', async () => {
    const server = await serve([(response) => void response.writeHead(200).write('endless')]);
    const abort = new AbortController();
    const response = await retryingFetch(server.origin, { ...post, signal: abort.signal });
    abort.abort();
    await expect(response.text()).rejects.toMatchObject({ name: 'AbortError' });
  });
});

describe('what cannot be sent twice', () => {
  const sendNothing = (input: string | Request, init: RequestInit) => {
    const fetch = vi.fn(async () => new Response('done'));
    return { fetch, result: retryingFetch(input, init, { fetch }) };
  };

  it('is refused before anything is sent, with the way out: streams of the web, of Node, and generators', async () => {
    const { Readable, Stream } = await import('node:stream');
    async function* parts(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(1);
    }
    for (const body of [new Blob(['x']).stream(), Readable.from(['x']), new Stream(), parts()]) {
      const { fetch, result } = sendNothing('https://api.test/', {
        method: 'POST',
        body,
        duplex: 'half',
      } as any);
      await expect(result).rejects.toMatchObject({
        code: 'UNSUPPORTED',
        message: expect.stringContaining('await new Response(stream).arrayBuffer()'),
      });
      expect(fetch).not.toHaveBeenCalled();
    }
  });

  it('is a Request that has been read', async () => {
    const request = new Request('https://api.test/', post);
    await request.text();
    const { fetch, result } = sendNothing(request, {});
    await expect(result).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: expect.stringContaining('clone()'),
    });
    expect(fetch).not.toHaveBeenCalled();
  });

  it('can be sent after buffering, as the message says', async () => {
    const server = await serve([{ status: 503 }]);
    const stream = new Blob(['streamed']).stream();
    const body = await new Response(stream).arrayBuffer();
    await retryingFetch(server.origin, { method: 'POST', body }, instantly());
    expect(server.received.map(({ body }) => body.toString())).toEqual(['streamed', 'streamed']);
  });
});

describe('with an API that idemkit guards', () => {
  /** One handler behind a guard, called as a gateway would call it. */
  function guarded(handler: () => Promise<{ statusCode: number; body: string }>) {
    const guard = idempotent(handler as (event: APIGatewayProxyEventV2) => ReturnType<typeof handler>, {
      store: memoryStore(),
    });
    return async ({ headers, body }: Received): Promise<Answer> => {
      const event = { ...httpEvent(undefined), headers, body: body.toString() };
      const { statusCode, ...answer } = (await guard(event)) as any;
      return { status: statusCode, headers: answer.headers, body: answer.body };
    };
  }

  it('charges once though the answer is lost', async () => {
    let charges = 0;
    const work = guarded(async () => ({ statusCode: 201, body: `charge ${++charges}` }));
    for (const quote of [false, true]) {
      const server = await serve(['lose-answer', 'drop'], work);
      const response = await retryingFetch(server.origin, post, instantly({ quote }));
      expect(response.headers.get('Idempotent-Replayed')).toBe('true');
      expect([response.status, await response.text()]).toEqual([201, `charge ${quote ? 2 : 1}`]);
    }
    expect(charges).toBe(2);
  });

  it('gets the first answer when it comes while the first request runs', async () => {
    let charges = 0;
    const running = deferred();
    const finish = deferred();
    const work = guarded(async () => {
      running.resolve();
      await finish.promise;
      return { statusCode: 201, body: `charge ${++charges}` };
    });
    const server = await serve([], work);
    const first = retryingFetch(server.origin, post, { key: 'k-1' });
    await running.promise;
    const busy = deferred();
    const second = retryingFetch(
      server.origin,
      post,
      instantly({
        key: 'k-1',
        deadlineMs: 3_600_000,
        onRetry: ({ response }) => {
          expect(response?.status).toBe(409);
          finish.resolve();
          busy.resolve();
        },
      }),
    );
    await busy.promise;
    const [one, two] = await Promise.all([first, second]);
    expect([await one.text(), await two.text()]).toEqual(['charge 1', 'charge 1']);
    expect(charges).toBe(1);
  });
});

function httpDate(seconds: number): string {
  return new Date(Date.UTC(2026, 0, 1) + seconds * 1000).toUTCString();
}
