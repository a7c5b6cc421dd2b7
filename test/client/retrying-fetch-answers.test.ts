import { describe, expect, it } from 'vitest';
import { retryingFetch } from '../../lib/client.ts';
import { deferred } from '../support/hands.ts';
import { json, post, problem, retryingBench } from './retrying.ts';
import type { Step } from './scripted-server.ts';

const bench = retryingBench();
const { serve, instantly } = bench;

describe('an answer that is final', () => {
  for (const status of [200, 201, 204, 304, 400, 401, 403, 404, 408, 410, 412, 422, 501, 505]) {
    it(`is one of status ${status}, and comes back after one attempt`, async () => {
      const server = await serve([{ status, headers: { 'Retry-After': '1' } }]);
      const response = await retryingFetch(server.origin, post, instantly());
      expect(response.status).toBe(status);
      expect(server.received).toHaveLength(1);
    });
  }

  it('is a 409 that names no operation in progress; the caller can still read its body', async () => {
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

  it('is any replayed answer, as every repeat gets the same', async () => {
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
      expect(bench.retries).toHaveLength(1);
    });
  }
});

describe('the last attempt', () => {
  it('returns its answer with the body unread', async () => {
    const server = await serve(['drop', { status: 500 }, { status: 503, body: 'third' }, 'work']);
    const response = await retryingFetch(server.origin, post, instantly({ maxAttempts: 3 }));
    expect([response.status, await response.text()]).toEqual([503, 'third']);
    expect(server.received).toHaveLength(3);
  });

  it('returns a 409 whose body can still be read', async () => {
    const server = await serve([problem(409, 'IN_PROGRESS')]);
    const response = await retryingFetch(server.origin, post, { maxAttempts: 1 });
    expect(await response.json()).toEqual({ status: 409, code: 'IN_PROGRESS' });
  });

  it('throws the network error that `fetch` threw', async () => {
    const server = await serve([{ status: 503 }, 'drop', 'drop']);
    const failure = await retryingFetch(server.origin, post, instantly({ maxAttempts: 3 })).catch(
      (error) => error,
    );
    expect(failure).toBeInstanceOf(TypeError);
    expect(server.received).toHaveLength(3);
  });

  it('leaves no timer behind', async () => {
    const server = await serve(['drop', { status: 503 }]);
    await retryingFetch(server.origin, post, instantly());
    await retryingFetch(server.origin, post, instantly());
    expect(bench.timers.pending).toBe(0);
  });

  it('leaves no connection of earlier answers behind', async () => {
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
