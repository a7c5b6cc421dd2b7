/** A scenario, and how it is played: its outcome is compared with what the guarantee says. */
import { randomUUID } from 'node:crypto';
import type { Order } from '../../examples/payment-provider.ts';
import type { Stack } from '../stack/index.ts';
import type { PaymentProvider } from './payment-provider.ts';
import { type Effects, effectsOf, type Shop, settled } from './shop.ts';

/** What the scenarios are played on. */
export interface Stage {
  readonly stack: Stack;
  readonly provider: PaymentProvider;
  readonly shop: Shop;
  /** Function names by their path in the template, the variants of the payments included. */
  readonly functions: Readonly<Record<string, string>>;
  /** A standard queue of charges, beside the shop's FIFO queue. */
  readonly charges: string;
  readonly deadCharges: string;
}

/** What can be observed from outside. */
export interface Observed {
  /** How often the handler began. It logs one line each time, for a payment or for a record of a batch. */
  readonly runs: number;
  /** What the scenario's customer has in the end: `1 charge, 1 order, 1 entry`. */
  readonly effects: string;
  /** Statuses in order. One is followed by ` replayed` where the answer says so. */
  readonly answers: readonly string[];
}

export interface Scenario {
  readonly name: string;
  /** What the handler's level promises. */
  readonly guarantee: string;
  /** What must be observed, exactly. */
  readonly expected: Observed;
  /** @param order its customer and its article are in no other scenario */
  play(stage: Stage, order: Order): Promise<Played>;
}

/** An answer of the HTTP API. */
export interface Answer {
  readonly status: number;
  readonly label: string;
  readonly body: Buffer;
  readonly code: string | undefined;
  readonly retryAfterSeconds: number;
}

/** The answers of a scenario, and checks of its own. */
export interface Played {
  readonly answers: readonly Answer[];
  /** Conditions that must hold besides the expected observations, by their description. */
  readonly checks: Readonly<Record<string, boolean>>;
}

export interface Row {
  readonly scenario: Scenario;
  readonly observed: Observed;
  /** Empty where everything is as the guarantee says. */
  readonly problems: readonly string[];
  /** Warnings and errors that the functions logged meanwhile. They help to find the cause of a problem. */
  readonly complaints: readonly string[];
}

export async function playScenario(scenario: Scenario, stage: Stage): Promise<Row> {
  const { stack, provider, shop } = stage;
  stack.faults.reset();
  stack.upstreamFaults('payments').reset();
  const logged = stack.logs.length;
  const id = randomUUID().slice(0, 8);
  const order: Order = { customer: `ada-${id}`, amount: 4200, currency: 'EUR', sku: `book-${id}` };
  let played: Played;
  try {
    played = await scenario.play(stage, order);
  } catch (error) {
    // Such as an answer that never came. The other scenarios can still be played.
    played = { answers: [], checks: { [`it can be played (${error})`]: false } };
  } finally {
    provider.whenBooked(undefined);
    stack.faults.reset();
    stack.upstreamFaults('payments').reset();
  }
  await settled(stack, shop);
  await stack.queue(stage.charges).drained();

  const lines = stack.logs.slice(logged);
  const effects = await effectsOf(stage, shop, order);
  const observed: Observed = {
    // The handlers log one line each, at this level, and the guard none.
    runs: lines.filter(({ level, functionName }) => level === 'info' && isOf(scenario, stage, functionName))
      .length,
    effects: worded(effects),
    answers: played.answers.map(({ label }) => label),
  };
  const { expected } = scenario;
  const checks = {
    ...played.checks,
    'the balance is the sum of the entries': effects.balance === effects.entries * order.amount,
    'the takings are the sum of the sales': effects.takings === effects.sales * order.amount,
  };
  const problems = [
    ...differences('handler runs', observed.runs, expected.runs),
    ...differences('side effects', observed.effects, expected.effects),
    ...differences('answers', summary(observed.answers).join(', '), summary(expected.answers).join(', ')),
    ...Object.entries(checks).flatMap(([what, holds]) => (holds ? [] : [`not so: ${what}`])),
  ];
  const complaints = lines
    .filter(({ level, text }) => level !== 'info' && !isMetric(text))
    .map(({ functionName, text }) => `${functionName}: ${text}`);
  return { scenario, observed, problems, complaints: [...new Set(complaints)] };
}

export async function answerOf(response: Response): Promise<Answer> {
  const body = Buffer.from(await response.arrayBuffer());
  const { status, headers } = response;
  return {
    status,
    label: headers.get('idempotent-replayed') === 'true' ? `${status} replayed` : `${status}`,
    body,
    code: headers.get('content-type') === 'application/problem+json' ? parse(body).code : undefined,
    retryAfterSeconds: Number(headers.get('retry-after') ?? 0),
  };
}

export const parse = (body: Buffer): { readonly id?: string; readonly code?: string } =>
  JSON.parse(body.toString());

export const areSame = (...answers: readonly Answer[]): boolean =>
  answers.every(({ body }) => answers[0]?.body.equals(body));

/** What `emf()` writes for CloudWatch. */
export const isMetric = (text: string): boolean => text.startsWith('{"_aws":');

/** A scenario without answers is about the consumer of a queue or a stream, any other one about the payments. */
const isOf = ({ expected }: Scenario, { functions }: Stage, functionName: string): boolean =>
  [functions.EnterInLedger, functions.EnterFromStandardQueue, functions.EnterSales].includes(functionName) ===
  (expected.answers.length === 0);

const worded = ({ charges, orders, entries, sales }: Effects): string =>
  [
    counted(charges, 'charge', 'charges'),
    counted(orders, 'order', 'orders'),
    counted(entries, 'entry', 'entries'),
    counted(sales, 'sale', 'sales'),
  ]
    .filter((words) => words !== '')
    .join(', ') || 'none';

const counted = (count: number, one: string, more: string): string =>
  count === 0 ? '' : `${count} ${count === 1 ? one : more}`;

const differences = (what: string, observed: unknown, expected: unknown): string[] =>
  observed === expected ? [] : [`${what}: ${observed} instead of ${expected}`];

/** `201`, `49 × 409` */
export function summary(answers: readonly string[]): string[] {
  const runs: { label: string; count: number }[] = [];
  for (const label of answers) {
    const last = runs.at(-1);
    if (last?.label === label) last.count++;
    else runs.push({ label, count: 1 });
  }
  return runs.map(({ label, count }) => (count === 1 ? label : `${count} × ${label}`));
}
