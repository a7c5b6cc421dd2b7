import { once } from 'node:events';
import type { Server } from 'node:http';

export interface Listening {
  /** Base URL, without a slash at its end. */
  readonly url: string;
  /** Breaks all connections and ends. May be called twice. */
  stop(): Promise<void>;
}

/** Has a server listen on a free port, for this machine only. */
export async function listen(server: Server): Promise<Listening> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('No free port.');
  return {
    url: `http://127.0.0.1:${address.port}`,
    async stop() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
