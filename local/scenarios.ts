import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { deflateRawSync } from 'node:zlib';
import { type AttributeValue, ScanCommand } from '@aws-sdk/client-dynamodb';
import type { Charge, Order } from '../examples/payment-provider.ts';
import { attribute, claimSortKey, environment as variable } from '../lib/record.ts';
import type { PaymentProvider } from './payment-provider.ts';
import type { Stack, StackDescription } from './stack.ts';

export interface StageOptions {
  readonly table: string;
  readonly paymentsUrl: string;
  /** Runs the same handlers with `IDEMPOTENCY_DISABLED=true`. */
  readonly unguarded: boolean;
  /** Where a page that may call the API comes from. */
  readonly pageOrigin?: string;
}

/** Where the pay page sends its payments. */
export const payPagePath = '/pay-page/payments';

/** What the scenarios are played on. */
export function describeStage({ table, paymentsUrl, unguarded, pageOrigin }: StageOptions): StackDescription {
  const environment = (namespace: string, more: Record<string, string> = {}): Record<string, string> => ({
    [variable.table]: table,
    [variable.namespace]: namespace,
    ...(unguarded && { [variable.disabled]: 'true' }),
    PAYMENTS_URL: paymentsUrl,
    ...(pageOrigin !== undefined && { PAGE_ORIGIN: pageOrigin }),
    ...more,
  });
  const payments = 'examples/payments.ts';
  return {
    tables: [table],
    functions: {
      payments: { entry: payments, timeoutSeconds: 30, environment: environment('payments') },
      'three-seconds': { entry: payments, timeoutSeconds: 3, environment: environment('three-seconds') },
      'short-lease': {
        entry: 'local/payments-short-lease.ts',
        timeoutSeconds: 30,
        environment: environment('short-lease'),
      },
      'short-window': {
        entry: payments,
        timeoutSeconds: 30,
        environment: environment('short-window', { [variable.ttlSeconds]: '2' }),
      },
      statements: {
        entry: 'examples/statements.ts',
        timeoutSeconds: 30,
        environment: environment('statements'),
      },
      // Refuses a duplicate for no longer than its lease, and that is its timeout and a second.
      'pay-page': {
        entry: 'local/payments-key-optional.ts',
        timeoutSeconds: 3,
        environment: environment('pay-page'),
      },
    },
    routes: [
      { method: 'POST', path: '/payments', function: 'payments' },
      { method: 'POST', path: '/three-seconds/payments', function: 'three-seconds' },
      { method: 'POST', path: '/short-lease/payments', function: 'short-lease' },
      { method: 'POST', path: '/short-window/payments', function: 'short-window' },
      { method: 'POST', path: '/statements', function: 'statements' },
      { method: 'POST', path: payPagePath, function: 'pay-page' },
      // Preflights: the functions answer them.
      { method: 'OPTIONS', path: '/payments', function: 'payments' },
      { method: 'OPTIONS', path: payPagePath, function: 'pay-page' },
    ],
  };
}

export interface Stage {
  readonly stack: Stack;
  readonly provider: PaymentProvider;
  readonly table: string;
}

/** What can be counted and seen from outside. */
export interface Observed {
  /** How often the handler itself began: it logs that. */
  readonly runs: number;
  /** How many charges the provider booked. */
  readonly charges: number;
  /** Statuses, in order, each with ` replayed` where the answer says so. */
  readonly answers: readonly string[];
}

export interface Scenario {
  readonly name: string;
  /** What the guarded level says of it. */
  readonly guarantee: string;
  /** What that comes to here, exactly. */
  readonly expected: Observed;
  play(stage: Stage): Promise<Played>;
}

interface Played {
  readonly answers: readonly Answer[];
  /** What must hold besides. */
  readonly checks: Readonly<Record<string, boolean>>;
}

export interface Row {
  readonly scenario: Scenario;
  readonly observed: Observed;
  /** Empty where everything is as the guarantee says. */
  readonly problems: readonly string[];
  /** What the functions logged meanwhile, other than that they ran: where to look for the cause of a problem. */
  readonly complaints: readonly string[];
}

export async function playScenario(scenario: Scenario, stage: Stage): Promise<Row> {
  const { stack, provider } = stage;
  stack.faults.reset();
  const logged = stack.logs.length;
  const booked = provider.charges.length;
  let played: Played;
  try {
    played = await scenario.play(stage);
  } catch (error) {
    // Such as an answer that never came: one row's matter.
    played = { answers: [], checks: { [`it can be played (${error})`]: false } };
  } finally {
    provider.whenBooked(undefined);
  }
  const lines = stack.logs.slice(logged);
  const observed: Observed = {
    // The handlers log one line each, at this level, and the guard none.
    runs: lines.filter(({ level }) => level === 'info').length,
    charges: provider.charges.length - booked,
    answers: played.answers.map(({ label }) => label),
  };
  const { expected } = scenario;
  const problems = [
    ...differences('handler runs', observed.runs, expected.runs),
    ...differences('charges', observed.charges, expected.charges),
    ...differences('answers', summary(observed.answers).join(', '), summary(expected.answers).join(', ')),
    ...Object.entries(played.checks).flatMap(([what, holds]) => (holds ? [] : [`not so: ${what}`])),
  ];
  const complaints = lines
    .filter(({ level }) => level !== 'info')
    .map(({ functionName, text }) => `${functionName}: ${text}`);
  return { scenario, observed, problems, complaints: [...new Set(complaints)] };
}

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

interface Answer {
  readonly status: number;
  readonly label: string;
  readonly body: Buffer;
  readonly code: string | undefined;
  readonly retryAfterSeconds: number;
}

async function post({ stack }: Stage, path: string, key: string, order: Order): Promise<Answer> {
  const response = await fetch(`${stack.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
    body: JSON.stringify(order),
  });
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

const order: Order = { customer: 'ada', amount: 4200, currency: 'EUR' };

const parse = (body: Buffer): Record<string, any> => JSON.parse(body.toString());
const areSame = (...answers: readonly Answer[]): boolean =>
  answers.every(({ body }) => answers[0]?.body.equals(body));
const chargeOf = ({ status, body }: Answer): string | undefined =>
  status === 201 ? parse(body).id : undefined;

class Gate {
  open = (): void => {};
  readonly opened = new Promise<void>((resolve) => {
    this.open = resolve;
  });
}

/** Sends `count` requests at once, and holds the first charge's answer back until all the others have theirs. */
async function postAtOnce(stage: Stage, count: number, key: string): Promise<Answer[]> {
  const others = new Gate();
  let isFirst = true;
  stage.provider.whenBooked(() => {
    const waits = isFirst;
    isFirst = false;
    return waits ? others.opened : undefined;
  });
  let answered = 0;
  return Promise.all(
    Array.from({ length: count }, async () => {
      const answer = await post(stage, '/payments', key, order);
      if (++answered === count - 1) others.open();
      return answer;
    }),
  );
}

async function duplicatesAtOnce(stage: Stage, count: number): Promise<Played> {
  const key = randomUUID();
  const atOnce = await postAtOnce(stage, count, key);
  // Which of them wins is chance.
  const sorted = atOnce.sort((one, other) => one.label.localeCompare(other.label));
  const [first, ...refused] = sorted as [Answer, ...Answer[]];
  const later = await Promise.all(refused.map(() => post(stage, '/payments', key, order)));
  return {
    answers: [...sorted, ...later],
    checks: {
      'whoever is refused is told when to come back': refused.every(
        ({ code, retryAfterSeconds }) => code === 'IN_PROGRESS' && retryAfterSeconds > 0,
      ),
      'all charges in the answers are one': areSame(first, ...later),
    },
  };
}

async function lostAnswer(stage: Stage, operation: 'PutItem' | 'UpdateItem'): Promise<Played> {
  const key = randomUUID();
  const { faults } = stage.stack;
  faults.inject({ operation, fault: 'drop-after' });
  const first = await post(stage, '/payments', key, order);
  const second = await post(stage, '/payments', key, order);
  return {
    answers: [first, second],
    checks: {
      "DynamoDB did the request whose answer was lost, and refused the SDK's second one":
        faults.requests
          .filter((request) => request.operation === operation)
          .slice(0, 2)
          .map(({ outcome, status }) => `${outcome} ${status}`)
          .join(', ') === 'faulted 200, forwarded 400',
      'both answers are the same, byte for byte': areSame(first, second),
    },
  };
}

async function claimOf({ stack, table }: Stage, namespace: string) {
  const { Items = [] } = await stack.dynamodb.send(
    new ScanCommand({
      TableName: table,
      ConsistentRead: true,
      FilterExpression: 'sk = :claim AND begins_with(pk, :namespace)',
      ExpressionAttributeValues: { ':claim': { S: claimSortKey }, ':namespace': { S: `${namespace}#` } },
    }),
  );
  return Items[0] as Record<string, AttributeValue> | undefined;
}

export const scenarios: readonly Scenario[] = [
  {
    name: 'Double click',
    guarantee: 'One handler runs at a time. The duplicate is refused, and later gets the same answer.',
    expected: { runs: 1, charges: 1, answers: ['201', '409', '201 replayed'] },
    play: (stage) => duplicatesAtOnce(stage, 2),
  },
  {
    name: 'Fifty at once',
    guarantee: 'The same for any number of duplicates.',
    expected: {
      runs: 1,
      charges: 1,
      answers: ['201', ...Array<string>(49).fill('409'), ...Array<string>(49).fill('201 replayed')],
    },
    play: (stage) => duplicatesAtOnce(stage, 50),
  },
  {
    name: 'Answer to the claim lost',
    guarantee: 'An attempt knows its own claim again, and goes on.',
    expected: { runs: 1, charges: 1, answers: ['201', '201 replayed'] },
    play: (stage) => lostAnswer(stage, 'PutItem'),
  },
  {
    name: 'Answer to the completion lost',
    guarantee: 'An attempt knows its own completion again.',
    expected: { runs: 1, charges: 1, answers: ['201', '201 replayed'] },
    play: (stage) => lostAnswer(stage, 'UpdateItem'),
  },
  {
    name: 'Same key, another amount',
    guarantee: 'Refused. Nothing runs.',
    expected: { runs: 1, charges: 1, answers: ['201', '422'] },
    async play(stage) {
      const key = randomUUID();
      const first = await post(stage, '/payments', key, order);
      const second = await post(stage, '/payments', key, { ...order, amount: 4300 });
      return {
        answers: [first, second],
        checks: { 'the refusal says why': second.code === 'PAYLOAD_MISMATCH' },
      };
    },
  },
  {
    name: 'Crash after the charge, then retries',
    guarantee:
      'Once its lease is over, a dead attempt is taken over. Guarded level: its effect is repeated. (1)',
    expected: { runs: 2, charges: 2, answers: ['500', '409', '201', '201 replayed'] },
    async play(stage) {
      const path = '/three-seconds/payments';
      const key = randomUUID();
      const { stack, provider } = stage;
      provider.whenBooked(() => {
        provider.whenBooked(undefined);
        stack.function('three-seconds').crash();
      });
      const crashed = await post(stage, path, key, order);
      const tooEarly = await post(stage, path, key, order);
      await sleep(tooEarly.retryAfterSeconds * 1000);
      const retried = await post(stage, path, key, order);
      const again = await post(stage, path, key, order);
      return {
        answers: [crashed, tooEarly, retried, again],
        checks: {
          'the retry charged, and its charge is the answer from then on':
            areSame(retried, again) && chargeOf(retried) === provider.charges.at(-1)?.id,
        },
      };
    },
  },
  {
    name: 'Paused beyond its lease and overtaken',
    guarantee:
      'The second attempt takes over. The first one, awake again, cannot change the record and answers with the charge of the second. Guarded level: both have charged. (1)',
    expected: { runs: 2, charges: 2, answers: ['201', '201 replayed', '201 replayed'] },
    async play(stage) {
      const path = '/short-lease/payments';
      const key = randomUUID();
      const { stack, provider } = stage;
      const paused = new Gate();
      let resume = (): void => {};
      let firstCharge: Charge | undefined;
      provider.whenBooked((charge) => {
        provider.whenBooked(undefined);
        firstCharge = charge;
        resume = stack.function('short-lease').pause();
        paused.open();
      });
      const first = post(stage, path, key, order);
      try {
        await Promise.race([paused.opened, first]);
        await sleep(3_100);
        const second = await post(stage, path, key, order);
        resume();
        const overtaken = await first;
        const third = await post(stage, path, key, order);
        return {
          answers: [second, overtaken, third],
          checks: {
            'all answers are the second charge':
              areSame(second, overtaken, third) &&
              chargeOf(second) === provider.charges.at(-1)?.id &&
              chargeOf(second) !== firstCharge?.id,
          },
        };
      } finally {
        resume();
      }
    },
  },
  {
    name: 'Answer over 400 KB',
    guarantee: 'Any answer up to 1 MB as stored is replayed, byte for byte. (This handler charges nothing.)',
    expected: { runs: 1, charges: 0, answers: ['201', '201 replayed'] },
    async play(stage) {
      const key = randomUUID();
      const first = await post(stage, '/statements', key, order);
      const second = await post(stage, '/statements', key, order);
      return {
        answers: [first, second],
        checks: {
          'the answer is over 400 KB even compressed': deflateRawSync(first.body).length > 400 * 1024,
          'both answers are the same, byte for byte': areSame(first, second),
        },
      };
    },
  },
  {
    name: 'After the window has ended',
    guarantee:
      'One answer per window, here of 2 s. After that the key is new again, also while the item is still in the table.',
    expected: { runs: 2, charges: 2, answers: ['201', '201 replayed', '201'] },
    async play(stage) {
      const path = '/short-window/payments';
      const key = randomUUID();
      const first = await post(stage, path, key, order);
      const second = await post(stage, path, key, order);
      const endsAtMs = Number((await claimOf(stage, 'short-window'))?.[attribute.endsAt]?.N ?? 0);
      await sleep(Math.max(0, endsAtMs - Date.now() + 10));
      const left = await claimOf(stage, 'short-window');
      const third = await post(stage, path, key, order);
      return {
        answers: [first, second, third],
        checks: {
          'the ended record was still there': left?.[attribute.status]?.S === 'COMPLETED',
          'the first two answers are one charge, the third is another':
            areSame(first, second) && chargeOf(third) !== chargeOf(first),
        },
      };
    },
  },
];
