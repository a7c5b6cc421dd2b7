import { createServer, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { build, type Metafile } from 'esbuild';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, beforeEach } from 'vitest';
import type * as client from '../../lib/client.ts';
import { launchChromium } from '../../local/setup/chromium.ts';
import {
  type Answer,
  type Received,
  type ScriptedServer,
  type Step,
  scriptedServer,
} from './scripted-server.ts';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** What the page has: the module's exports, under a name. */
export type ClientWindow = typeof globalThis & {
  idemkit: typeof client;
  location: { origin: string };
  leave?(): void;
};

/** Bundles code that exports parts of the client, as a page would load it. */
export async function bundled(contents: string): Promise<{ code: string; metafile: Metafile }> {
  const { outputFiles, metafile } = await build({
    stdin: { contents, resolveDir: root, loader: 'ts' },
    absWorkingDir: root,
    bundle: true,
    minify: true,
    platform: 'browser',
    format: 'iife',
    globalName: 'idemkit',
    target: 'es2022',
    metafile: true,
    write: false,
    logLevel: 'silent',
  });
  return { code: outputFiles[0]?.text ?? '', metafile };
}

export interface Site {
  /** A tab, new for each test. */
  readonly page: Page;
  /** Opens another tab, which shares the first one's storage. */
  openTab(): Promise<Page>;
  /** Starts an API on an origin of its own, which misbehaves by script. */
  serve(script: readonly Step[], work?: (request: Received) => Promise<Answer>): Promise<ScriptedServer>;
}

/** A site that has the client on its page, in Chromium, for the tests of a file. */
export function browserBench(): Site {
  let site: Server;
  let siteOrigin: string;
  let browser: Browser;
  let context: BrowserContext;
  let page: Page;
  let api: ScriptedServer | undefined;

  beforeAll(async () => {
    const { code } = await bundled("export * from './lib/client.ts'");
    site = createServer((request, response) => {
      const isScript = request.url === '/client.js';
      response
        .writeHead(200, { 'Content-Type': isScript ? 'text/javascript' : 'text/html' })
        .end(isScript ? code : '<!doctype html><script src="/client.js"></script>');
    });
    await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve));
    siteOrigin = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
    browser = await launchChromium();
  });

  afterAll(async () => {
    await browser?.close();
    site?.closeAllConnections();
    site?.close();
  });

  const openTab = async (): Promise<Page> => {
    const tab = await context.newPage();
    await tab.goto(siteOrigin);
    return tab;
  };

  beforeEach(async () => {
    context = await browser.newContext();
    page = await openTab();
  });

  afterEach(async () => {
    await context?.close();
    await api?.[Symbol.asyncDispose]();
    api = undefined;
  });

  /** Headers by which the API lets pages of the site call it, and read when to come back. */
  const cors = (): Record<string, string> => ({
    'Access-Control-Allow-Origin': siteOrigin,
    'Access-Control-Allow-Headers': 'content-type, idempotency-key, idempotency-sequence',
    'Access-Control-Allow-Methods': 'POST',
    'Access-Control-Expose-Headers': 'Retry-After',
    // Chromium sends a request again by itself when a connection that it keeps breaks.
    Connection: 'close',
  });
  const allowed = (answer: Answer): Answer => ({ ...answer, headers: { ...cors(), ...answer.headers } });
  const didIt = async ({ body }: Received): Promise<Answer> => ({ status: 201, body: `did ${body}` });

  return {
    get page() {
      return page;
    },
    openTab,
    async serve(script, work = didIt) {
      api = await scriptedServer(
        script.map((step) => (typeof step === 'object' ? allowed(step) : step)),
        async (request) => allowed(await work(request)),
        (response: ServerResponse) => response.writeHead(204, cors()).end(),
      );
      return api;
    },
  };
}
