import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { Worker } from 'node:worker_threads';
import { type Assets, pageAssets } from './assets.ts';
import type { RunMessage } from './protocol.ts';

export interface SimulatorPage {
  /** Where the page is, e.g. `http://127.0.0.1:51234/`. */
  readonly url: string;
  /** Ends all runs and connections. */
  close(): Promise<void>;
}

/** A request for a run is a few hundred bytes. */
const mostRequestBytes = 10_000;
/** A page asks for one at a time; more are other tabs. */
const mostRuns = 4;

/**
 * Serves the page to this machine only.
 *
 * @param port 0 takes a free one
 * @throws what listening throws, e.g. `EADDRINUSE`
 */
export async function servePage(port = 0): Promise<SimulatorPage> {
  const runs = new Set<Worker>();
  const assets = await pageAssets();
  const server = createServer((request, response) => {
    answer(request, response, assets, runs).catch((error: unknown) => {
      console.error('[idemkit] The page could not be answered:', error);
      response.destroy();
    });
  });
  server.listen(port, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('The page has no port.');
  return {
    url: `http://127.0.0.1:${address.port}/`,
    async close() {
      await Promise.all([...runs].map((run) => run.terminate()));
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  assets: Assets,
  runs: Set<Worker>,
): Promise<void> {
  // Another site's page may have its own name point here, and must not use this server.
  if (!/^(?:127\.0\.0\.1|localhost):\d+$/.test(request.headers.host ?? '')) {
    return end(response, 421, 'This page is served to http://127.0.0.1 only.');
  }
  if (request.method === 'POST' && request.url === '/runs') return play(request, response, runs);
  const asset = request.method === 'GET' ? assets.get(request.url?.split('?')[0] ?? '') : undefined;
  if (asset === undefined) return end(response, 404, 'There is nothing here.');
  response.writeHead(200, { ...safe, 'content-type': `${asset.type}; charset=utf-8` });
  response.end(asset.content);
}

const safe = {
  'cache-control': 'no-store',
  'content-security-policy': "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:",
  'x-content-type-options': 'nosniff',
  'referrer-policy': 'no-referrer',
};

function end(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { ...safe, 'content-type': 'text/plain; charset=utf-8' });
  response.end(`${text}\n`);
}

/** Plays a run and tells of it line by line. A page that goes away, or asks for another run, ends it. */
async function play(request: IncomingMessage, response: ServerResponse, runs: Set<Worker>): Promise<void> {
  // A form of another site cannot send this type without asking first.
  if (request.headers['content-type'] !== 'application/json') return end(response, 415, 'Send JSON.');
  const settings = await bodyOf(request);
  if (settings === undefined) return end(response, 400, 'This is no run that can be played.');
  if (runs.size >= mostRuns) return end(response, 429, 'Too many runs at once. Close another tab.');
  const run = new Worker(workerUrl, { workerData: { settings } });
  runs.add(run);
  response.writeHead(200, { ...safe, 'content-type': 'application/x-ndjson; charset=utf-8' });
  run.on('message', (message: RunMessage) => response.write(`${JSON.stringify(message)}\n`));
  run.on('error', (error) => {
    console.error('[idemkit] A run failed:', error);
    response.destroy();
  });
  response.on('close', () => void run.terminate());
  await once(run, 'exit').catch(() => {});
  runs.delete(run);
  response.end();
}

/** The file's ending tells whether this is the source or the package. */
const workerUrl = new URL(import.meta.url.endsWith('.ts') ? './worker.ts' : './worker.js', import.meta.url);

async function bodyOf(request: IncomingMessage): Promise<object | undefined> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > mostRequestBytes) return undefined;
    parts.push(part);
  }
  try {
    const body: unknown = JSON.parse(Buffer.concat(parts).toString('utf8'));
    return typeof body === 'object' && body !== null ? body : undefined;
  } catch {
    return undefined;
  }
}
