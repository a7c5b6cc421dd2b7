import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Demo, type PaymentProvider, settled, startDemo, startPaymentProvider } from '../demo/index.ts';
import type { Disturbance } from '../stack/index.ts';
import { audit, type Finding, type SoakLedger } from './audit.ts';
import { Customer, payAsPeopleDo } from './customer.ts';
import { gather, type Ordered, watch } from './evidence.ts';
import { type Kill, killAtRandom } from './kills.ts';
import { randomFrom } from './random.ts';
import { timeLineOf } from './time-line.ts';

export interface SoakOptions {
  /** How long customers come, without start and audit. */
  readonly durationMs: number;
  /** Draws what customers do, what is killed, and which requests are disturbed. When things happen differs all the same. */
  readonly seed: number;
  /** Runs the same handlers with `IDEMPOTENCY_DISABLED=true`. @default false */
  readonly unguarded?: boolean;
  /** How many customers come at once. @default 6 */
  readonly customers?: number;
  /** @default `DYNAMODB_ENDPOINT`, else one is started */
  readonly dynamodbEndpoint?: string;
  /** Ends the coming of customers early. What has begun is audited. */
  readonly signal?: AbortSignal;
  /** Told every five seconds, and at the end. */
  readonly onProgress?: (figures: SoakFigures) => void;
}

export interface SoakFigures {
  readonly elapsedMs: number;
  /** Customers that have come. */
  readonly orders: number;
  /** Requests that they have sent. */
  readonly requests: number;
  readonly kills: number;
  readonly faults: Disturbance['counts'];
  readonly charges: number;
  /** Messages for the ledger that were consumed. */
  readonly messages: number;
}

export interface SoakResult {
  readonly figures: SoakFigures;
  readonly ledger: SoakLedger;
  readonly findings: readonly Finding[];
  /** Empty where it is no order of this run. */
  timeLineOf(customer: string): readonly string[];
}

/** Everybody waits this long for what may be under way: leases, retries, and messages that are in nobody's hands. */
const patienceMs = 120_000;
const progressMs = 5_000;

/**
 * The example shop under traffic that does not end, while its functions and pipes are killed and its requests are late,
 * repeated and cut. When all is quiet, each order is asked for once more, and everything is counted.
 */
export async function soak(options: SoakOptions): Promise<SoakResult> {
  const provider = await startPaymentProvider();
  try {
    const { unguarded = false, dynamodbEndpoint } = options;
    const demo = await startDemo({
      ...{ name: randomUUID().slice(0, 8), provider, unguarded, lanes: 1 },
      ...(dynamodbEndpoint !== undefined && { dynamodbEndpoint }),
    });
    try {
      return await soakShop(demo.kills, provider, options);
    } finally {
      await demo.stop();
    }
  } finally {
    await provider.stop();
  }
}

async function soakShop(
  { stack, lanes }: Demo['kills'],
  provider: PaymentProvider,
  { durationMs, seed, customers = 6, signal, onProgress = () => {} }: SoakOptions,
): Promise<SoakResult> {
  const startedAtMs = Date.now();
  const shops = lanes.map(({ shop }) => shop);
  const witness = watch(stack);
  const ordered: Customer[] = [];
  const kills: Kill[] = [];
  const disturbance = stack.disturb({ seed });
  const figures = (): SoakFigures => ({
    elapsedMs: Date.now() - startedAtMs,
    orders: ordered.length,
    requests: ordered.reduce((sum, { answers }) => sum + answers.length, 0),
    kills: kills.length,
    faults: { ...disturbance.counts },
    charges: provider.charges.length,
    messages: [...witness.consumed.values()].reduce((sum, ids) => sum + ids.size, 0),
  });
  const reporting = setInterval(() => onProgress(figures()), progressMs);
  try {
    const endsAtMs = startedAtMs + durationMs;
    const over = new AbortController();
    const isOver = (): boolean => Date.now() >= endsAtMs || signal?.aborted === true;
    const comeAndPay = async (_: unknown, index: number): Promise<void> => {
      const random = randomFrom(seed * 1_000 + index);
      while (!isOver()) {
        const { path } = shops[Math.floor(random() * shops.length)]!;
        const customer = new Customer(`${stack.url}${path}`, 100 + Math.floor(random() * 9_900));
        ordered.push(customer);
        await payAsPeopleDo(customer, random);
      }
    };
    const killing = killAtRandom(stack, lanes, randomFrom(seed), over.signal, (kill) => kills.push(kill));
    await Promise.all(Array.from({ length: customers }, comeAndPay));
    over.abort();
    await killing;
    await disturbance.stop();

    const replays = await replayAll(ordered, customers);
    const stuck: string[] = [];
    await inTime(Promise.all(shops.map((shop) => settled(stack, shop)))).catch(({ message }: Error) => {
      stuck.push(message);
    });
    const ledger = await gather(stack, provider, shops, replays, witness, stuck);
    onProgress(figures());
    return {
      ...{ figures: figures(), ledger, findings: audit(ledger) },
      timeLineOf(name) {
        const customer = ordered.find((one) => one.name === name);
        return customer === undefined ? [] : timeLineOf(customer, witness.requests, kills);
      },
    };
  } finally {
    clearInterval(reporting);
    witness.leave();
  }
}

async function replayAll(ordered: readonly Customer[], atOnce: number): Promise<Ordered[]> {
  const replays: Ordered[] = [];
  const left = ordered[Symbol.iterator]();
  const replayLeft = async (): Promise<void> => {
    for (const customer of left) replays.push({ customer, replay: await customer.replay() });
  };
  await Promise.all(Array.from({ length: atOnce }, replayLeft));
  return replays;
}

async function inTime(work: Promise<unknown>): Promise<void> {
  const over = new AbortController();
  const tooLong = sleep(patienceMs, undefined, { signal: over.signal }).then(() => {
    throw new Error(`messages were still under way after ${patienceMs / 1000} s`);
  });
  try {
    await Promise.race([work, tooLong]);
  } finally {
    over.abort();
    tooLong.catch(() => {});
  }
}
