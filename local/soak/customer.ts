import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { retryingFetch } from '../../lib/client.ts';

/** What a customer has seen of one request. */
export interface Answer {
  readonly sentAtMs: number;
  readonly answeredAtMs: number;
  /** Absent where the connection broke. */
  readonly status?: number;
  readonly isReplay: boolean;
  /** Of an acknowledgement. */
  readonly body?: string;
}

/** Buys one piece, under one key, and asks as often as it takes. */
export class Customer {
  readonly name = `soak-${randomUUID().slice(0, 12)}`;
  readonly key = randomUUID();
  readonly amount: number;
  readonly answers: Answer[] = [];
  readonly #url: string;

  constructor(url: string, amount: number) {
    this.#url = url;
    this.amount = amount;
  }

  get sku(): string {
    return `book-${this.name}`;
  }

  /** Resolves once it has its answer, or has given up. */
  async pay(): Promise<void> {
    const body = JSON.stringify({
      ...{ customer: this.name, amount: this.amount, currency: 'EUR', sku: this.sku },
    });
    const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body };
    const send: typeof fetch = (input, init) => this.#send(input, init);
    await retryingFetch(this.#url, init, { key: this.key, maxAttempts: 10, fetch: send }).catch(() => {});
  }

  /** Asks when all is quiet. What was given up before is done now, and its replay is the one after that. */
  async replay(): Promise<{ readonly body: string } | { readonly missing: string }> {
    for (let tries = 0; tries < 2; tries++) {
      await this.pay();
      const last = this.answers.at(-1);
      if (last?.body !== undefined && last.isReplay) return { body: last.body };
    }
    return { missing: `the last answer is ${this.answers.at(-1)?.status ?? 'none'}, and no replay` };
  }

  async #send(input: Parameters<typeof fetch>[0], init: RequestInit | undefined): Promise<Response> {
    const sentAtMs = Date.now();
    const told = (rest: Partial<Answer>): void => {
      this.answers.push({ sentAtMs, answeredAtMs: Date.now(), isReplay: false, ...rest });
    };
    try {
      const response = await fetch(input, init);
      const { status, ok } = response;
      const body = ok ? await response.clone().text() : undefined;
      const isReplay = response.headers.get('idempotent-replayed') === 'true';
      told({ status, isReplay, ...(body !== undefined && { body }) });
      return response;
    } catch (error) {
      told({});
      throw error;
    }
  }
}

/** A double click now and then, and now and then a request that comes again later. */
export async function payAsPeopleDo(customer: Customer, random: () => number): Promise<void> {
  const isDouble = random() < 0.3;
  const secondAfterMs = random() * 500;
  const isRepeated = random() < 0.3;
  const repeatAfterMs = random() * 2_000;
  await Promise.all([customer.pay(), isDouble ? sleep(secondAfterMs).then(() => customer.pay()) : undefined]);
  if (!isRepeated) return;
  await sleep(repeatAfterMs);
  await customer.pay();
}
