/** What is done while a part of the stack is killed, and what must come of it: one effect of everything. */
import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Order } from '../../examples/payment-provider.ts';
import { openTill } from '../../examples/till.ts';
import { retryingFetch } from '../../lib/client.ts';
import type { Stack } from '../stack/index.ts';
import type { PaymentProvider } from './payment-provider.ts';
import { type Effects, effectsOf, type Shop } from './shop.ts';
import { deliver, salesOf } from './stream.ts';

/** What a client wants done once, over every kill. */
export interface Errand {
  /** What the client got, each try. */
  readonly statuses: readonly number[];
  /** Does it, as often as it takes. */
  run(): Promise<void>;
  /** The same once more, when it is all over. */
  repeat(): Promise<void>;
  /** Counts the effects. Resolves to what is wrong with them. */
  count(): Promise<string[]>;
}

interface Place {
  readonly stack: Stack;
  readonly provider: PaymentProvider;
}

const newOrder = (): Order => {
  const id = randomUUID().slice(0, 8);
  return { customer: `killed-${id}`, amount: 4200, currency: 'EUR', sku: `book-${id}` };
};

/** A payment with a key. */
export function payment(place: Place, shop: Shop): Errand {
  const { stack } = place;
  const order = newOrder();
  const taken = new Taken();
  const key = randomUUID();
  const pay = async (): Promise<void> => {
    const init = {
      ...{ method: 'POST', headers: { 'content-type': 'application/json' } },
      body: JSON.stringify(order),
    };
    await retryingFetch(`${stack.url}${shop.path}`, init, { key, maxAttempts: 10, fetch: taken.fetch });
  };
  return {
    ...{ statuses: taken.statuses, run: pay, repeat: pay },
    async count() {
      const dead = stack.queue(shop.deadLetters).messages.length;
      return [
        ...differing(await effectsOf(place, shop, order), {
          ...{ charges: 1, orders: 1, entries: 1, balance: order.amount, sold: 1 },
        }),
        ...taken.problems(),
        ...(dead > 0 ? [`dead letters: ${dead} instead of 0`] : []),
      ];
    },
  };
}

/** A sale of a till. The till crashes with the function: its next life goes on from its file. */
export function sale(place: Place, shop: Shop): Errand {
  const { stack } = place;
  const order = newOrder();
  const taken = new Taken();
  return {
    statuses: taken.statuses,
    async run() {
      const folder = await mkdtemp(join(tmpdir(), 'idemkit-till-'));
      try {
        const live = () => {
          const till = openTill(order.customer, stack.url, join(folder, 'sales.json'), {
            async fetch(...request) {
              const response = await taken.fetch(...request);
              if (response.status >= 500) void till.pause();
              return response;
            },
          });
          return till;
        };
        const sent = await live().send(order);
        if (sent.outcome === 'queued') while ((await live().resume()) > 0) await sleep(100);
      } finally {
        await rm(folder, { recursive: true, force: true });
      }
    },
    /** A copy of the request that was answered last, which was late on its way. */
    repeat: () => taken.again(),
    async count() {
      return [
        ...differing(await effectsOf(place, shop, order), { sales: 1, takings: order.amount }),
        ...taken.problems(),
      ];
    },
  };
}

/** Sales of a stream. The batch comes until it is handled, and then together with the next ones. */
export function streamed(place: Place, shop: Shop, functionName: string): Errand {
  const order = newOrder();
  const records = salesOf(order, 6);
  const untilHandled = async (batch: typeof records): Promise<void> => {
    while (!(await deliver(place.stack, functionName, batch))) await sleep(100);
  };
  return {
    statuses: [],
    run: () => untilHandled(records.slice(0, 4)),
    repeat: () => untilHandled(records),
    count: async () =>
      differing(await effectsOf(place, shop, order), { entries: 6, balance: 6 * order.amount }),
  };
}

function differing(effects: Effects, expected: Partial<Effects>): string[] {
  return Object.entries(expected).flatMap(([what, count]) => {
    const found = effects[what as keyof Effects];
    return found === count ? [] : [`${what}: ${found} instead of ${count}`];
  });
}

/** The answers that a client got. */
class Taken {
  readonly statuses: number[] = [];
  readonly #successes: string[] = [];
  #last: Parameters<typeof fetch> | undefined;

  readonly fetch = async (...request: Parameters<typeof fetch>): Promise<Response> => {
    const response = await fetch(...request);
    this.statuses.push(response.status);
    if (response.ok) {
      this.#last = request;
      this.#successes.push(await response.clone().text());
    }
    return response;
  };

  /** Sends the request again that has succeeded, until it does. */
  async again(): Promise<void> {
    if (this.#last === undefined) return;
    const [url, init = {}] = this.#last;
    const { signal: _, ...rest } = init;
    while (!(await this.fetch(url, rest)).ok) await sleep(100);
  }

  problems(): string[] {
    const count = this.#successes.length;
    return [
      ...(count === 2 ? [] : [`answers that it is done: ${count} instead of 2`]),
      ...(new Set(this.#successes).size > 1 ? ['the answers are not the same'] : []),
    ];
  }
}
