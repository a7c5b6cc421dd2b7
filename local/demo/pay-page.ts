import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import type { Charge } from '../../examples/payment-provider.ts';
import { type Listening, listen } from '../listen.ts';
import { shown } from './payment-provider.ts';

export interface PayPage extends Listening {
  /** Tells the page where to send payments. Not an option: the API has to know the page's origin first. */
  connect(paymentsUrl: string): void;
}

const folder = fileURLToPath(new URL('../../examples/pay-page/', import.meta.url));

/**
 * Serves `examples/pay-page` from an origin of its own, as a web site is beside its API. `GET /charges?customer=…` lets
 * the page look into the payment provider's ledger.
 */
export async function startPayPage(ledger: readonly Charge[]): Promise<PayPage> {
  let paymentsUrl: string | undefined;
  const files: Record<string, { type: string; content: string }> = {
    '/': { type: 'text/html', content: await readFile(`${folder}index.html`, 'utf8') },
    '/pay.css': { type: 'text/css', content: await readFile(`${folder}pay.css`, 'utf8') },
    '/pay.js': { type: 'text/javascript', content: await bundle(`${folder}pay.ts`) },
  };

  function handle(message: IncomingMessage, answer: ServerResponse): void {
    const url = new URL(message.url ?? '/', 'http://localhost');
    const send = (status: number, type: string, content: string): void => {
      answer.writeHead(status, { 'content-type': `${type}; charset=utf-8`, 'cache-control': 'no-store' });
      answer.end(content);
    };
    const file = files[url.pathname];
    if (file) send(200, file.type, file.content);
    else if (url.pathname === '/config.json') send(200, 'application/json', JSON.stringify({ paymentsUrl }));
    else if (url.pathname === '/charges') {
      send(200, 'application/json', JSON.stringify(shown(ledger, message.url)));
    } else send(404, 'text/plain', 'Not found');
  }

  return {
    ...(await listen(createServer(handle))),
    connect(url) {
      paymentsUrl = url;
    },
  };
}

async function bundle(entry: string): Promise<string> {
  const { outputFiles } = await build({
    entryPoints: [entry],
    bundle: true,
    format: 'esm',
    platform: 'browser',
    target: 'es2022',
    sourcemap: 'inline',
    write: false,
    logLevel: 'silent',
  });
  return outputFiles[0]?.text ?? '';
}
