import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** A request as the server got it. */
export interface Received {
  readonly method: string;
  readonly url: string;
  readonly headers: IncomingMessage['headers'];
  readonly body: Buffer;
}

export interface Answer {
  readonly status: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string;
}

/**
 * What becomes of one request: an answer, `work` (do the work, answer), or a fault: `drop` breaks the connection before
 * the work, `lose-answer` after it, `hang` never answers. A function writes the answer itself.
 */
export type Step = Answer | 'work' | 'drop' | 'lose-answer' | 'hang' | ((response: ServerResponse) => void);

export interface ScriptedServer extends AsyncDisposable {
  readonly origin: string;
  readonly received: readonly Received[];
  /** The values of the header `idempotency-key`, in order. */
  keys(): (string | undefined)[];
  /** Resolves when `count` requests have arrived in full. */
  arrived(count: number): Promise<void>;
}

const done = async (): Promise<Answer> => ({ status: 200, body: 'done' });

/** An HTTP server that misbehaves by script, one step per request but preflights; after the script it works. */
export async function scriptedServer(
  script: readonly Step[],
  work: (request: Received) => Promise<Answer> = done,
  preflight: (response: ServerResponse) => void = (response) => response.writeHead(404).end(),
): Promise<ScriptedServer> {
  const received: Received[] = [];
  const waiting: { count: number; resolve(): void }[] = [];

  const server = createServer(async (request, response) => {
    if (request.method === 'OPTIONS') return preflight(response);
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const { method = '', url = '', headers } = request;
    const step = script[received.length] ?? 'work';
    const arrival: Received = { method, url, headers, body: Buffer.concat(chunks) };
    received.push(arrival);
    for (const { count, resolve } of waiting) if (received.length >= count) resolve();

    if (step === 'hang') return;
    if (typeof step === 'function') return step(response);
    if (step === 'drop') return request.socket.resetAndDestroy();
    const answer = typeof step === 'object' ? step : await work(arrival);
    if (step === 'lose-answer') return request.socket.resetAndDestroy();
    response.writeHead(answer.status, answer.headers).end(answer.body);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));

  return {
    origin: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    received,
    keys: () => received.map(({ headers }) => headers['idempotency-key'] as string | undefined),
    arrived: (count) =>
      new Promise((resolve) => {
        if (received.length >= count) resolve();
        else waiting.push({ count, resolve });
      }),
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}
