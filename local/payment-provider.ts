import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Charge, Order } from '../examples/ledger.ts';

export interface PaymentProvider {
  /** What the example calls `PAYMENTS_URL`. */
  readonly url: string;
  /** The ledger: every charge that was ever booked, in order. Live. `GET /charges` shows it, too. */
  readonly charges: readonly Charge[];
  /**
   * Called once a charge has been booked and before the answer, which waits for it: the moment at which a caller that
   * slows down or dies has had its effect. One at a time; `undefined` takes it away.
   */
  whenBooked(listener: ((charge: Charge) => void | Promise<void>) | undefined): void;
  /** Breaks all connections and ends. */
  stop(): Promise<void>;
}

/** A payment provider to try things with: it books whatever it is told to, as often as it is told. */
export async function startPaymentProvider(): Promise<PaymentProvider> {
  const charges: Charge[] = [];
  let booked: ((charge: Charge) => void | Promise<void>) | undefined;

  async function handle(message: IncomingMessage, answer: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of message) chunks.push(chunk as Buffer);
    let status = 200;
    let body: unknown = charges;
    if (message.method === 'POST') {
      const order = JSON.parse(Buffer.concat(chunks).toString()) as Order;
      const charge: Charge = { id: `ch_${randomUUID()}`, ...order };
      charges.push(charge);
      await booked?.(charge);
      status = 201;
      body = charge;
    }
    answer.writeHead(status, { 'content-type': 'application/json' });
    answer.end(`${JSON.stringify(body)}\n`);
  }

  const server = createServer((message, answer) => {
    handle(message, answer).catch(() => answer.destroy());
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('No free port.');

  return {
    url: `http://127.0.0.1:${address.port}`,
    charges,
    whenBooked(listener) {
      booked = listener;
    },
    async stop() {
      if (!server.listening) return;
      const closed = once(server, 'close');
      server.close();
      server.closeAllConnections();
      await closed;
    },
  };
}
