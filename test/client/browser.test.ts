import { describe, expect, it } from 'vitest';
import type { Step } from './scripted-server.ts';
import { browserBench, bundled, type ClientWindow } from './site.ts';

/** What a page may weigh, minified. Raised only in the commit that needs it. */
const bundles: readonly [what: string, source: string, ceilingBytes: number][] = [
  ['all of `idemkit/client`', "export * from './lib/client.ts'", 24_650],
  ['`retryingFetch` alone', "export { retryingFetch } from './lib/client.ts'", 10_200],
];

const site = browserBench();

describe('the bundle for a browser', () => {
  it.each(bundles)(
    'stays small with %s, and has nothing of Node or of AWS in it',
    async (_, source, ceiling) => {
      const { code, metafile } = await bundled(source);
      expect(code).not.toMatch(/\bnode:|\bBuffer[.(]|\bprocess[.[]|\brequire\(/);
      const shared = Object.keys(metafile.inputs).filter((file) => !/^(?:lib\/client\/|<stdin>)/.test(file));
      expect(shared.sort()).toEqual(['lib/client.ts', 'lib/errors.ts', 'lib/validate.ts']);
      expect(Object.values(metafile.outputs).flatMap(({ imports }) => imports)).toEqual([]);
      expect(Buffer.byteLength(code)).toBeLessThanOrEqual(ceiling);
    },
  );
});

describe('the client in a browser, on a page of another origin than the API', () => {
  it('makes keys on a page without TLS', async () => {
    const keys = await site.page.evaluate(() => {
      const { idemkit } = globalThis as ClientWindow;
      return [idemkit.newIdempotencyKey(), idemkit.newIdempotencyKey()] as const;
    });
    expect(keys[0]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(keys[1] > keys[0]).toBe(true);
  });

  it('sends one key in all attempts, whether an answer or a broken connection came before', async () => {
    const { origin, received, keys } = await site.serve([{ status: 503 }, 'lose-answer', 'drop']);
    const answer = await site.page.evaluate(async (origin) => {
      const { idemkit } = globalThis as ClientWindow;
      const errors: string[] = [];
      const response = await idemkit.retryingFetch(
        `${origin}/payments`,
        { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: '{"amount":100}' },
        { baseDelayMs: 0, onRetry: ({ error }) => errors.push((error as Error)?.name) },
      );
      return { status: response.status, text: await response.text(), errors };
    }, origin);
    expect(answer).toEqual({
      status: 201,
      text: 'did {"amount":100}',
      errors: [undefined, 'TypeError', 'TypeError'],
    });
    expect(received).toHaveLength(4);
    expect(received.map(({ body }) => body.toString())).toEqual(Array(4).fill('{"amount":100}'));
    expect(new Set(keys()).size).toBe(1);
    expect(keys()[0]).toMatch(/^[0-9a-f-]{36}$/);
  });

  it('reads Retry-After and the body of a 409, and asks again no earlier', async () => {
    const { origin, received } = await site.serve([
      { status: 409, headers: { 'Retry-After': '7' } },
      {
        status: 409,
        headers: { 'Content-Type': 'application/problem+json', 'Access-Control-Expose-Headers': 'X-Other' },
        body: '{"code":"IN_PROGRESS"}',
      },
    ]);
    const answer = await site.page.evaluate(async (origin) => {
      const { idemkit } = globalThis as ClientWindow;
      const waits: number[] = [];
      const response = await idemkit.retryingFetch(
        origin,
        { method: 'POST' },
        {
          baseDelayMs: 0,
          onRetry: ({ delayMs }) => waits.push(delayMs),
          clock: {
            now: Date.now,
            after(ms, callback) {
              const timer = setTimeout(callback, ms < 10_000 ? 0 : ms);
              return () => clearTimeout(timer);
            },
          },
        },
      );
      return { status: response.status, waits };
    }, origin);
    expect(answer).toEqual({ status: 201, waits: [7000, 0] });
    expect(received).toHaveLength(3);
  });

  it('sends a form, a Request and bytes the same each time, through the `fetch` of the window', async () => {
    const { origin, received } = await site.serve(
      Array.from({ length: 3 }).flatMap((): Step[] => [{ status: 503 }, 'work']),
    );
    await site.page.evaluate(async (origin) => {
      const { idemkit } = globalThis as ClientWindow;
      const options = { baseDelayMs: 0, fetch: globalThis.fetch };
      const form = new FormData();
      form.set('receipt', new File(['%PDF'], 'receipt.pdf'));
      await idemkit.retryingFetch(origin, { method: 'POST', body: form }, options);
      const request = new Request(origin, { method: 'POST', body: 'in a request' });
      await idemkit.retryingFetch(request, {}, options);
      await idemkit.retryingFetch(origin, { method: 'POST', body: new Uint8Array([104, 105]) }, options);
    }, origin);
    expect(received).toHaveLength(6);
    for (let at = 0; at < 6; at += 2) {
      expect(received[at + 1]?.body).toEqual(received[at]?.body);
      expect(received[at + 1]?.headers['content-type']).toBe(received[at]?.headers['content-type']);
    }
    expect(received[0]?.headers['content-type']).toMatch(/^multipart\/form-data; boundary=\S+$/);
    expect(received[0]?.body.toString()).toContain('filename="receipt.pdf"');
    expect([received[2]?.body.toString(), received[4]?.body.toString()]).toEqual(['in a request', 'hi']);
  });

  it('refuses a stream before anything is sent', async () => {
    const { origin, received } = await site.serve([]);
    const code = await site.page.evaluate(async (origin) => {
      const { idemkit } = globalThis as ClientWindow;
      const init = { method: 'POST', body: new Blob(['x']).stream(), duplex: 'half' as const };
      return idemkit.retryingFetch(origin, init).catch((error) => error.code);
    }, origin);
    expect(code).toBe('UNSUPPORTED');
    expect(received).toHaveLength(0);
  });

  it('ends a wait at once when it is aborted', async () => {
    const { origin, received } = await site.serve([{ status: 503, headers: { 'Retry-After': '50' } }]);
    const name = await site.page.evaluate(async (origin) => {
      const { idemkit } = globalThis as ClientWindow;
      const abort = new AbortController();
      const pending = idemkit.retryingFetch(
        origin,
        { method: 'POST', signal: abort.signal },
        { onRetry: () => setTimeout(() => abort.abort(), 0) },
      );
      return pending.catch((error) => error.name);
    }, origin);
    expect(name).toBe('AbortError');
    expect(received).toHaveLength(1);
  });

  it('ends a hanging attempt at once when it is aborted', async () => {
    const { origin, arrived } = await site.serve(['hang']);
    const name = site.page.evaluate(async (origin) => {
      const { idemkit } = globalThis as ClientWindow;
      const abort = new AbortController();
      (globalThis as ClientWindow).leave = () => abort.abort();
      const pending = idemkit.retryingFetch(origin, { method: 'POST', signal: abort.signal });
      return pending.catch((error) => error.name);
    }, origin);
    await arrived(1);
    await site.page.evaluate(() => (globalThis as ClientWindow).leave?.());
    expect(await name).toBe('AbortError');
  });
});
