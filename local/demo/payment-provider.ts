import { randomUUID } from 'node:crypto';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Charge, Order } from '../../examples/payment-provider.ts';
import { type Listening, listen } from '../listen.ts';

/** Its URL is what the examples call `PAYMENTS_URL`. */
export interface PaymentProvider extends Listening {
  /** The ledger: every charge that was ever booked, in order. Live. `GET /charges` shows it, the latest first. */
  readonly charges: readonly Charge[];
  /**
   * Called once a charge has been booked and before the answer, which waits for it: the moment at which a caller that
   * slows down or dies has had its effect. One at a time; `undefined` takes it away.
   */
  whenBooked(listener: ((charge: Charge) => void | Promise<void>) | undefined): void;
}

/** Nobody's card is good for more. */
export const creditLimit = 1_000_000;

/** The answer to `GET /charges` or `GET /charges?customer=…`. The latest charge is first: the caller has just made it. */
export function shown(charges: readonly Charge[], url: string | undefined): Charge[] {
  const customer = new URL(url ?? '/', 'http://localhost').searchParams.get('customer');
  return charges.filter((charge) => customer === null || charge.customer === customer).toReversed();
}

/**
 * A payment provider to try things with. It books what it is told to, as often as it is told; what comes with an
 * `Idempotency-Key`, once for each key: then the charge is its answer every time. Above the credit limit it declines.
 */
export async function startPaymentProvider(): Promise<PaymentProvider> {
  const charges: Charge[] = [];
  const byKey = new Map<string, Charge>();
  let booked: ((charge: Charge) => void | Promise<void>) | undefined;

  async function book(order: Order, key: string | undefined): Promise<Charge> {
    const known = key === undefined ? undefined : byKey.get(key);
    if (known) return known;
    const charge: Charge = { id: `ch_${randomUUID()}`, ...order };
    charges.push(charge);
    if (key !== undefined) byKey.set(key, charge);
    await booked?.(charge);
    return charge;
  }

  async function handle(message: IncomingMessage, answer: ServerResponse): Promise<void> {
    const chunks: Buffer[] = [];
    for await (const chunk of message) chunks.push(chunk as Buffer);
    let status = 200;
    let body: unknown = shown(charges, message.url);
    if (message.method === 'POST') {
      const order = JSON.parse(Buffer.concat(chunks).toString()) as Order;
      const isDeclined = order.amount > creditLimit;
      status = isDeclined ? 402 : 201;
      body = isDeclined
        ? { message: 'Declined' }
        : await book(order, message.headers['idempotency-key']?.toString());
    }
    answer.writeHead(status, { 'content-type': 'application/json' });
    answer.end(`${JSON.stringify(body)}\n`);
  }

  const server = createServer((message, answer) => {
    handle(message, answer).catch(() => answer.destroy());
  });

  return {
    ...(await listen(server)),
    charges,
    whenBooked(listener) {
      booked = listener;
    },
  };
}
