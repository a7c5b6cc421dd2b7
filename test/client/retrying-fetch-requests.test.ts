import { describe, expect, it, vi } from 'vitest';
import { retryingFetch } from '../../lib/client.ts';
import { post, problem, retryingBench } from './retrying.ts';
import type { Step } from './scripted-server.ts';

const bench = retryingBench();
const { serve, instantly } = bench;

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
    expect(bench.retries.map(({ key }) => key)).toEqual(Array(4).fill(server.keys()[0]));
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
    expect(bench.servers.at(-1)?.received[2]?.headers['content-type']).toMatch(
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

  it('carries no body where the Request has none', async () => {
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

describe('the key that is sent', () => {
  it('is a new one for each call', async () => {
    const server = await serve([]);
    await retryingFetch(server.origin, post);
    await retryingFetch(server.origin, post);
    expect(new Set(server.keys()).size).toBe(2);
  });

  it('is the given one, without quotes by default', async () => {
    const server = await serve(['drop']);
    await retryingFetch(server.origin, post, instantly({ key: 'order-1' }));
    expect(server.keys()).toEqual(['order-1', 'order-1']);
  });

  it('is quoted and escaped as a string of RFC 9651 on demand', async () => {
    const server = await serve([{ status: 503 }]);
    await retryingFetch(server.origin, post, instantly({ key: 'a "b", \\c', quote: true }));
    expect(server.keys()).toEqual(Array(2).fill('"a \\"b\\", \\\\c"'));
    expect(bench.retries[0]?.key).toBe('a "b", \\c');
  });

  it('is the one in the headers of `init` or of a Request, unchanged', async () => {
    const server = await serve([{ status: 503 }, 'work', { status: 503 }]);
    await retryingFetch(server.origin, { ...post, headers: { 'idempotency-key': '"k 1"' } }, instantly());
    const request = new Request(server.origin, { ...post, headers: { 'Idempotency-Key': 'k-2' } });
    await retryingFetch(request, undefined, instantly({ quote: true }));
    expect(server.keys()).toEqual(['"k 1"', '"k 1"', 'k-2', 'k-2']);
    expect(bench.retries.map(({ key }) => key)).toEqual(['k 1', 'k-2']);
  });

  it('may be given in the headers and in the options if both are equal', async () => {
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

  it('is sent in the header that the option `header` names', async () => {
    const server = await serve(['drop']);
    await retryingFetch(server.origin, post, instantly({ header: 'PayPal-Request-Id', key: 'k' }));
    expect(server.received.map(({ headers }) => headers['paypal-request-id'])).toEqual(['k', 'k']);
    expect(server.keys()).toEqual([undefined, undefined]);
  });
});

describe('a body that cannot be sent twice', () => {
  const sendNothing = (input: string | Request, init: RequestInit) => {
    const fetch = vi.fn(async () => new Response('done'));
    return { fetch, result: retryingFetch(input, init, { fetch }) };
  };

  it('is refused before anything is sent, with the way out, where it is a stream or a generator', async () => {
    const { Readable, Stream } = await import('node:stream');
    async function* parts(): AsyncGenerator<Uint8Array> {
      yield new Uint8Array(1);
    }
    for (const body of [new Blob(['x']).stream(), Readable.from(['x']), new Stream(), parts()]) {
      const { fetch, result } = sendNothing('https://api.test/', {
        method: 'POST',
        body,
        duplex: 'half',
      } as RequestInit);
      await expect(result).rejects.toMatchObject({
        code: 'UNSUPPORTED',
        message: expect.stringContaining('await new Response(stream).arrayBuffer()'),
      });
      expect(fetch).not.toHaveBeenCalled();
    }
  });

  it('is refused where it belongs to a Request that has been read', async () => {
    const request = new Request('https://api.test/', post);
    await request.text();
    const { fetch, result } = sendNothing(request, {});
    await expect(result).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: expect.stringContaining('clone()'),
    });
    expect(fetch).not.toHaveBeenCalled();
  });

  it('can be sent once it is buffered as the message says', async () => {
    const server = await serve([{ status: 503 }]);
    const stream = new Blob(['streamed']).stream();
    const body = await new Response(stream).arrayBuffer();
    await retryingFetch(server.origin, { method: 'POST', body }, instantly());
    expect(server.received.map(({ body }) => body.toString())).toEqual(['streamed', 'streamed']);
  });
});
