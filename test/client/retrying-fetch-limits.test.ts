import { describe, expect, it, vi } from 'vitest';
import { RequestTimeoutError, retryingFetch } from '../../lib/client.ts';
import { deferred } from '../support/hands.ts';
import { post, retryingBench } from './retrying.ts';

const bench = retryingBench();
const { serve, instantly } = bench;

describe('the timeout of an attempt', () => {
  it('ends an attempt that hangs, and the request is sent again', async () => {
    const server = await serve(['hang']);
    const pending = retryingFetch(server.origin, post, instantly({ attemptTimeoutMs: 2000 }));
    await server.arrived(1);
    bench.timers.advance(1999);
    expect(bench.retries).toHaveLength(0);
    bench.timers.advance(1);
    expect((await pending).status).toBe(200);
    expect(bench.retries[0]?.error).toMatchObject({ name: 'TimeoutError', limit: 'attempt', attempts: 1 });
    expect(server.keys()[1]).toBe(server.keys()[0]);
  });

  it('ends an attempt that hangs in the body of a 409', async () => {
    const begun = deferred();
    const server = await serve([
      (response) => {
        response.writeHead(409, { 'Content-Type': 'application/problem+json' });
        response.write('{"code":', () => begun.resolve());
      },
    ]);
    const pending = retryingFetch(server.origin, post, instantly({ attemptTimeoutMs: 2000 }));
    await begun.promise;
    bench.timers.advance(2000);
    expect((await pending).status).toBe(200);
    expect(bench.retries[0]?.error).toMatchObject({ limit: 'attempt' });
  });

  it('is the error of the last attempt, with the key for another try', async () => {
    const server = await serve(['hang']);
    const pending = retryingFetch(server.origin, post, { clock: bench.timers, maxAttempts: 1, key: 'k-1' });
    await server.arrived(1);
    bench.timers.advance(30_000);
    const error = await pending.catch((error: unknown) => error);
    expect(error).toBeInstanceOf(RequestTimeoutError);
    expect(error).toMatchObject({ name: 'TimeoutError', limit: 'attempt', attempts: 1, key: 'k-1' });
    expect((error as Error).message).toContain('`attemptTimeoutMs`');
  });

  it('does not limit the body of an answer that has arrived', async () => {
    const finish = deferred();
    const server = await serve([
      async (response) => {
        response.writeHead(200).write('slow ');
        await finish.promise;
        response.end('body');
      },
    ]);
    const response = await retryingFetch(server.origin, post, { clock: bench.timers });
    bench.timers.advance(1_000_000);
    finish.resolve();
    expect(await response.text()).toBe('slow body');
  });
});

describe('the deadline of all attempts', () => {
  it('ends a running attempt with an error that names the deadline and the last failure', async () => {
    const server = await serve(['drop', 'hang']);
    const pending = retryingFetch(server.origin, post, instantly({ deadlineMs: 5000, key: 'k-1' }));
    await server.arrived(2);
    bench.timers.advance(5000);
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

  it('returns an answer at once whose Retry-After is beyond it', async () => {
    const server = await serve([{ status: 503, headers: { 'Retry-After': '60' }, body: 'later' }]);
    const response = await retryingFetch(server.origin, post, instantly({ deadlineMs: 59_000 }));
    expect(response.headers.get('Retry-After')).toBe('60');
    expect(await response.text()).toBe('later');
    expect(bench.retries).toHaveLength(0);
  });

  it('throws a network error at once where the next wait would not fit', async () => {
    const server = await serve(Array(5).fill('drop'));
    const options = { deadlineMs: 1000, baseDelayMs: 800, random: () => 0.9 };
    await expect(retryingFetch(server.origin, post, instantly(options))).rejects.toThrow(TypeError);
    expect(bench.retries.map(({ delayMs }) => delayMs)).toEqual([720]);
  });

  it('covers reading the body of a Request, and then says that nothing was sent', async () => {
    const stream = new ReadableStream({});
    const request = new Request('http://api.test/', { method: 'POST', body: stream, duplex: 'half' });
    const pending = retryingFetch(request, undefined, { clock: bench.timers });
    bench.timers.advance(60_000);
    await expect(pending).rejects.toMatchObject({
      limit: 'deadline',
      attempts: 0,
      message: expect.stringContaining('Nothing has been sent'),
    });
  });

  it('can be switched off together with the timeout of an attempt', async () => {
    const server = await serve(['hang']);
    const options = { deadlineMs: Number.POSITIVE_INFINITY, attemptTimeoutMs: Number.POSITIVE_INFINITY };
    const abort = new AbortController();
    const pending = retryingFetch(server.origin, { ...post, signal: abort.signal }, instantly(options));
    await server.arrived(1);
    bench.timers.advance(1e12);
    abort.abort(new Error('the test is over'));
    await expect(pending).rejects.toThrow('the test is over');
  });
});

describe("the caller's signal", () => {
  it('sends nothing where it is aborted already', async () => {
    const server = await serve([]);
    const signal = AbortSignal.abort();
    await expect(retryingFetch(server.origin, { ...post, signal })).rejects.toMatchObject({
      name: 'AbortError',
    });
    expect(server.received).toHaveLength(0);
  });

  it('is heeded before the first attempt even if the given `fetch` takes no signal', async () => {
    const fetch = vi.fn(async () => new Response('done'));
    const signal = AbortSignal.abort();
    await expect(retryingFetch('https://api.test/', { ...post, signal }, { fetch })).rejects.toMatchObject({
      name: 'AbortError',
    });
    expect(fetch).not.toHaveBeenCalled();
  });

  it('ends an attempt at once, and its reason is the error', async () => {
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
    expect(bench.retries).toHaveLength(0);
  });

  it('ends a wait at once, and nothing is sent after it', async () => {
    const server = await serve([{ status: 503, headers: { 'Retry-After': '30' } }]);
    const abort = new AbortController();
    const waiting = deferred();
    const pending = retryingFetch(
      server.origin,
      { ...post, signal: abort.signal },
      { clock: bench.timers, onRetry: () => setImmediate(waiting.resolve) },
    );
    await waiting.promise;
    abort.abort();
    await expect(pending).rejects.toMatchObject({ name: 'AbortError' });
    expect(bench.timers.pending).toBe(0);
    bench.timers.advance(60_000);
    expect(server.received).toHaveLength(1);
  });

  it('ends the call when `onRetry` aborts it', async () => {
    const server = await serve([{ status: 503 }]);
    const abort = new AbortController();
    const onRetry = (): void => abort.abort();
    const init = { ...post, signal: abort.signal };
    await expect(retryingFetch(server.origin, init, { onRetry, clock: bench.timers })).rejects.toMatchObject({
      name: 'AbortError',
    });
    expect(server.received).toHaveLength(1);
  });

  it('is the one of the Request unless `init` replaces or removes it', async () => {
    const server = await serve([]);
    const request = () => new Request(server.origin, { ...post, signal: AbortSignal.abort() });
    await expect(retryingFetch(request())).rejects.toMatchObject({ name: 'AbortError' });
    expect((await retryingFetch(request().url, { ...post, signal: null })).status).toBe(200);
    expect(server.received).toHaveLength(1);
  });

  it('still ends the body of an answer that came back', async () => {
    const server = await serve([(response) => void response.writeHead(200).write('endless')]);
    const abort = new AbortController();
    const response = await retryingFetch(server.origin, { ...post, signal: abort.signal });
    abort.abort();
    await expect(response.text()).rejects.toMatchObject({ name: 'AbortError' });
  });
});
