import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { deflateRawSync } from 'node:zlib';
import { type AttributeValue, PutItemCommand, ScanCommand } from '@aws-sdk/client-dynamodb';
import { SendMessageBatchCommand, SendMessageCommand } from '@aws-sdk/client-sqs';
import type { Charge, Order } from '../../examples/payment-provider.ts';
import { attribute, claimSortKey } from '../../lib/record.ts';
import type { Stack } from '../stack/index.ts';
import { creditLimit, type PaymentProvider } from './payment-provider.ts';
import { type Effects, effectsOf, present, type Shop, settled } from './shop.ts';

/** What the scenarios are played on. */
export interface Stage {
  readonly stack: Stack;
  readonly provider: PaymentProvider;
  readonly shop: Shop;
  /** Their names by their path in the template: variants of the shop's payments are among them. */
  readonly functions: Readonly<Record<string, string>>;
  /** A standard queue of charges, beside the shop's FIFO queue. */
  readonly charges: string;
  readonly deadCharges: string;
}

/** What can be counted and seen from outside. */
export interface Observed {
  /** How often the handler itself began, of the payment or, where messages are sent, of a record: it logs that. */
  readonly runs: number;
  /** What there is of the scenario's customer: ` 1 charge, 1 order, 1 entry`. */
  readonly effects: string;
  /** Statuses, in order, each with ` replayed` where the answer says so. */
  readonly answers: readonly string[];
}

export interface Scenario {
  readonly name: string;
  /** What the level that it is played at says of it. */
  readonly guarantee: string;
  /** What that comes to here, exactly. */
  readonly expected: Observed;
  /** @param order of a customer and an article that no other scenario has */
  play(stage: Stage, order: Order): Promise<Played>;
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
    // Such as an answer that never came: one row's matter.
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

/** What `emf()` writes for CloudWatch. */
export const isMetric = (text: string): boolean => text.startsWith('{"_aws":');

/** Where nobody is answered, it is about the consumer. */
const isOf = ({ expected }: Scenario, { functions }: Stage, functionName: string): boolean =>
  [functions.EnterInLedger, functions.EnterFromStandardQueue].includes(functionName) ===
  (expected.answers.length === 0);

const worded = ({ charges, orders, entries }: Effects): string =>
  [
    counted(charges, 'charge', 'charges'),
    counted(orders, 'order', 'orders'),
    counted(entries, 'entry', 'entries'),
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

// --- Payments ---

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
async function postAtOnce(stage: Stage, count: number, key: string, order: Order): Promise<Answer[]> {
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

async function duplicatesAtOnce(stage: Stage, count: number, order: Order): Promise<Played> {
  const key = randomUUID();
  const atOnce = await postAtOnce(stage, count, key, order);
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

/** Loses the answer to one of the requests that the payment sends to DynamoDB. */
async function lostAnswer(
  stage: Stage,
  order: Order,
  { operation, skip = 0, seen }: { operation: string; skip?: number; seen: string },
): Promise<Played> {
  const key = randomUUID();
  const { faults } = stage.stack;
  const isIts = ({ caller }: { caller?: string }): boolean => caller === stage.shop.payments;
  faults.inject({ operation, skip, match: isIts, fault: 'drop-after' });
  const first = await post(stage, '/payments', key, order);
  const sent = faults.requests.filter((request) => request.operation === operation && isIts(request));
  const second = await post(stage, '/payments', key, order);
  return {
    answers: [first, second],
    checks: {
      'DynamoDB did the request whose answer was lost, and the SDK sent it again':
        sent.map(({ outcome, status }) => `${outcome} ${status}`).join(', ') === seen,
      'both answers are the same, byte for byte': areSame(first, second),
    },
  };
}

/** The function is killed when its charge has been booked; then the client tries again. */
async function crashAfterCharge(stage: Stage, variant: string, order: Order): Promise<Played> {
  const path = `/${variant}/payments`;
  const key = randomUUID();
  const { stack, provider } = stage;
  const functionName = present(stage.functions, variant);
  provider.whenBooked(() => {
    provider.whenBooked(undefined);
    stack.function(functionName).crash();
  });
  const crashed = await post(stage, path, key, order);
  const tooEarly = await post(stage, path, key, order);
  await sleep(tooEarly.retryAfterSeconds * 1000);
  const retried = await post(stage, path, key, order);
  const again = await post(stage, path, key, order);
  return {
    answers: [crashed, tooEarly, retried, again],
    checks: {
      'the last charge is the answer from then on':
        areSame(retried, again) && chargeOf(retried) === provider.charges.at(-1)?.id,
    },
  };
}

/** The first attempt sleeps from its charge on, beyond its lease of 3 s; the second one meanwhile takes over. */
async function pausedAfterCharge(stage: Stage, variant: string, order: Order): Promise<Played> {
  const path = `/${variant}/payments`;
  const key = randomUUID();
  const { stack, provider } = stage;
  const functionName = present(stage.functions, variant);
  const paused = new Gate();
  let resume = (): void => {};
  provider.whenBooked(() => {
    provider.whenBooked(undefined);
    resume = stack.function(functionName).pause();
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
        'all answers are the last charge':
          areSame(second, overtaken, third) && chargeOf(second) === provider.charges.at(-1)?.id,
      },
    };
  } finally {
    resume();
  }
}

async function setStock({ stack, shop }: Stage, { sku }: Order, stock: number): Promise<void> {
  const Item = { id: { S: `stock#${sku}` }, stock: { N: `${stock}` } };
  await stack.dynamodb.send(new PutItemCommand({ TableName: shop.table, Item }));
}

async function claimOf({ stack, shop }: Stage, namespace: string) {
  const { Items = [] } = await stack.dynamodb.send(
    new ScanCommand({
      TableName: shop.records,
      ConsistentRead: true,
      FilterExpression: 'sk = :claim AND begins_with(pk, :namespace)',
      ExpressionAttributeValues: { ':claim': { S: claimSortKey }, ':namespace': { S: `${namespace}#` } },
    }),
  );
  return Items[0] as Record<string, AttributeValue> | undefined;
}

// --- Messages ---

const newCharge = (order: Order): Charge => ({ id: `ch_${randomUUID()}`, ...order });

interface Sent {
  readonly body: string;
  readonly deduplicationId: string;
}

const messageOf = (charge: Charge): Sent => ({ body: JSON.stringify(charge), deduplicationId: charge.id });

/** As the relay does, all in one request. */
async function sendToLedger({ stack, shop }: Stage, group: string, messages: readonly Sent[]): Promise<void> {
  const Entries = messages.map(({ body, deduplicationId }, index) => ({
    Id: `${index}`,
    MessageBody: body,
    MessageGroupId: group,
    MessageDeduplicationId: deduplicationId,
  }));
  await stack.sqs.send(new SendMessageBatchCommand({ QueueUrl: stack.queue(shop.queue).url, Entries }));
}

/** To the standard queue: every call is a message of its own. */
async function sendCharge({ stack, charges }: Stage, charge: Charge): Promise<void> {
  const { url } = stack.queue(charges);
  await stack.sqs.send(new SendMessageCommand({ QueueUrl: url, MessageBody: JSON.stringify(charge) }));
}

/** Kills the ledger while it commits a charge: DynamoDB applies that, and nobody is there to hear of it. */
function killAtCommit({ stack, shop }: Stage, charge: Charge): { readonly isDone: boolean } {
  let isDone = false;
  stack.faults.inject({
    operation: 'TransactWriteItems',
    match({ caller, body }) {
      const isIts = caller === shop.ledger && JSON.stringify(body).includes(charge.id);
      if (isIts) isDone = stack.function(shop.ledger).crash() > 0;
      return isIts;
    },
    fault: 'drop-after',
  });
  return {
    get isDone() {
      return isDone;
    },
  };
}

/** Kills the ledger at its next request, before DynamoDB sees that, again and again as long as `isDue` says so. */
function killWhile({ stack, shop }: Stage, isDue: () => boolean): void {
  stack.faults.inject({
    ...{ times: Number.POSITIVE_INFINITY, fault: 'drop-before' },
    match: ({ caller }) => caller === shop.ledger && isDue() && stack.function(shop.ledger).crash() > 0,
  });
}

/** The charges of a customer's ledger entries, in the order in which they were committed. */
function bookedCharges({ stack, shop }: Stage, charges: readonly Charge[]): number[] {
  const commits = stack.faults.requests.filter(
    ({ operation, caller, status }) =>
      operation === 'TransactWriteItems' && caller === shop.ledger && status === 200,
  );
  return commits.flatMap(({ body }) => {
    const text = JSON.stringify(body);
    const index = charges.findIndex(({ id }) => text.includes(id));
    return index < 0 ? [] : [index + 1];
  });
}

export const scenarios: readonly Scenario[] = [
  {
    name: 'Double click',
    guarantee: 'One handler runs at a time. The duplicate is refused, and later gets the same answer.',
    expected: {
      runs: 1,
      effects: '1 charge, 1 order, 1 entry',
      answers: ['201', '409', '201 replayed'],
    },
    play: (stage, order) => duplicatesAtOnce(stage, 2, order),
  },
  {
    name: 'Fifty at once',
    guarantee: 'The same for any number of duplicates.',
    expected: {
      runs: 1,
      effects: '1 charge, 1 order, 1 entry',
      answers: ['201', ...Array<string>(49).fill('409'), ...Array<string>(49).fill('201 replayed')],
    },
    play: (stage, order) => duplicatesAtOnce(stage, 50, order),
  },
  {
    name: 'Answer to the claim lost',
    guarantee: 'An attempt knows its own claim again, and goes on.',
    expected: { runs: 1, effects: '1 charge, 1 order, 1 entry', answers: ['201', '201 replayed'] },
    play: (stage, order) =>
      // The claim, the claim again and refused, the charge's record.
      lostAnswer(stage, order, { operation: 'PutItem', seen: 'faulted 200, forwarded 400, forwarded 200' }),
  },
  {
    name: 'Answer to the charge lost',
    guarantee: 'The step is repeated with the same token, so the provider charges once.',
    expected: { runs: 2, effects: '1 charge, 1 order, 1 entry', answers: ['500', '201', '201 replayed'] },
    async play(stage, order) {
      const key = randomUUID();
      stage.stack.upstreamFaults('payments').inject({ operation: 'POST /charges', fault: 'drop-after' });
      const first = await post(stage, '/payments', key, order);
      const second = await post(stage, '/payments', key, order);
      const third = await post(stage, '/payments', key, order);
      return {
        answers: [first, second, third],
        checks: { 'both payments are the same, byte for byte': areSame(second, third) },
      };
    },
  },
  {
    name: 'Answer to the commit lost',
    guarantee: 'DynamoDB knows the transaction again, by its token and by its conditions.',
    expected: { runs: 1, effects: '1 charge, 1 order, 1 entry', answers: ['201', '201 replayed'] },
    play: (stage, order) =>
      // The reservation comes first.
      lostAnswer(stage, order, {
        operation: 'TransactWriteItems',
        skip: 1,
        seen: 'forwarded 200, faulted 200, forwarded 200',
      }),
  },
  {
    name: 'Same key, another amount',
    guarantee: 'Refused. Nothing runs.',
    expected: { runs: 1, effects: '1 charge, 1 order, 1 entry', answers: ['201', '422'] },
    async play(stage, order) {
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
    name: 'Out of stock',
    guarantee: 'A definite answer is the answer: also when there is stock again.',
    expected: { runs: 1, effects: 'none', answers: ['402', '402 replayed'] },
    async play(stage, order) {
      const key = randomUUID();
      await setStock(stage, order, 0);
      const first = await post(stage, '/payments', key, order);
      await setStock(stage, order, 1);
      const second = await post(stage, '/payments', key, order);
      return { answers: [first, second], checks: { 'both answers are the same': areSame(first, second) } };
    },
  },
  {
    name: 'Card declined',
    guarantee: 'The piece that was reserved is put back in the commit, once.',
    expected: { runs: 1, effects: 'none', answers: ['402', '402 replayed'] },
    async play(stage, order) {
      const key = randomUUID();
      const dear = { ...order, amount: creditLimit + 1 };
      const first = await post(stage, '/payments', key, dear);
      const second = await post(stage, '/payments', key, dear);
      const { sold } = await effectsOf(stage, stage.shop, order);
      return { answers: [first, second], checks: { 'the stock is as it was': sold === 0 } };
    },
  },
  {
    name: 'Crash after the charge: guarded',
    guarantee:
      'Once its lease is over, a dead attempt is taken over. Guarded level: its effect is repeated. (1)',
    expected: { runs: 2, effects: '2 charges', answers: ['500', '409', '201', '201 replayed'] },
    play: (stage, order) => crashAfterCharge(stage, 'Guarded', order),
  },
  {
    name: 'Crash after the charge: committed',
    guarantee: 'The same crash. The step is repeated with its token, and the rest is committed once.',
    expected: {
      runs: 2,
      effects: '1 charge, 1 order, 1 entry',
      answers: ['500', '409', '201', '201 replayed'],
    },
    play: (stage, order) => crashAfterCharge(stage, 'ThreeSeconds', order),
  },
  {
    name: 'Paused beyond its lease and overtaken: guarded',
    guarantee:
      'The second attempt takes over. The first one, awake again, cannot change the record and answers with the charge of the second. Guarded level: both have charged. (1)',
    expected: { runs: 2, effects: '2 charges', answers: ['201', '201 replayed', '201 replayed'] },
    play: (stage, order) => pausedAfterCharge(stage, 'GuardedShortLease', order),
  },
  {
    name: 'Paused beyond its lease and overtaken: committed',
    guarantee: 'The same pause. Both have asked for the same charge, and only the second could commit.',
    expected: {
      runs: 2,
      effects: '1 charge, 1 order, 1 entry',
      answers: ['201', '201 replayed', '201 replayed'],
    },
    play: (stage, order) => pausedAfterCharge(stage, 'ShortLease', order),
  },
  {
    name: 'Answer over 400 KB',
    guarantee: 'Any answer up to 1 MB as stored is replayed, byte for byte. (This handler charges nothing.)',
    expected: { runs: 1, effects: 'none', answers: ['201', '201 replayed'] },
    async play(stage, order) {
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
    expected: {
      runs: 2,
      effects: '2 charges, 2 orders, 2 entries',
      answers: ['201', '201 replayed', '201'],
    },
    async play(stage, order) {
      const path = '/ShortWindow/payments';
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
  {
    name: 'Message published twice, five minutes apart',
    guarantee: 'The FIFO queue has forgotten its deduplication id; the guard has not.',
    expected: { runs: 1, effects: '1 entry', answers: [] },
    async play(stage, order) {
      const { stack, shop } = stage;
      const message = messageOf(newCharge(order));
      await sendToLedger(stage, order.customer, [message]);
      await stack.queue(shop.queue).drained();
      stack.queue(shop.queue).forgetDeduplicationIds();
      await sendToLedger(stage, order.customer, [message]);
      const came = stack.queue(shop.queue).messages.length;
      return { answers: [], checks: { 'the queue took it a second time': came === 1 } };
    },
  },
  {
    name: 'One charge, two messages of a standard queue',
    guarantee: "They have no id in common, so `key` names the charge's: one of them is booked.",
    expected: { runs: 1, effects: '1 entry', answers: [] },
    async play(stage, order) {
      const charge = newCharge(order);
      await Promise.all([sendCharge(stage, charge), sendCharge(stage, charge)]);
      return { answers: [], checks: {} };
    },
  },
  {
    name: 'Killed half-way through a batch',
    guarantee: 'The whole batch comes again. What was committed is not repeated, the rest runs, in order.',
    expected: { runs: 4, effects: '4 entries', answers: [] },
    async play(stage, order) {
      const charges = Array.from({ length: 4 }, () => newCharge(order));
      const kill = killAtCommit(stage, charges[1]!);
      await sendToLedger(stage, order.customer, charges.map(messageOf));
      await stage.stack.queue(stage.shop.queue).drained();
      return {
        answers: [],
        checks: {
          'the function was killed while it committed the second': kill.isDone,
          'each was booked in its turn': bookedCharges(stage, charges).join() === '1,2,3,4',
        },
      };
    },
  },
  {
    name: 'Poison in a FIFO group',
    guarantee:
      'Killed after the first message, then stopped by the second until that is a dead letter: the first is booked once, the third after it.',
    expected: { runs: 2, effects: '2 entries', answers: [] },
    async play(stage, order) {
      const { stack, shop } = stage;
      const charges = [newCharge(order), newCharge(order)] as const;
      const poison = { body: 'poison', deduplicationId: randomUUID() };
      const kill = killAtCommit(stage, charges[0]);
      await sendToLedger(stage, order.customer, [messageOf(charges[0]), poison]);
      // What is received together becomes a dead letter together, whoever is to blame: this one comes later.
      const isStuck = () => stack.queue(shop.queue).messages.some(({ receiveCount }) => receiveCount === 2);
      while (!isStuck()) await sleep(50);
      await sendToLedger(stage, order.customer, [messageOf(charges[1])]);
      await stack.queue(shop.queue).drained();
      const dead = stack.queue(shop.deadLetters).messages.filter(({ groupId }) => groupId === order.customer);
      return {
        answers: [],
        checks: {
          'the function was killed while it committed the first': kill.isDone,
          'the poison is the only dead letter': dead.map(({ body }) => body).join() === poison.body,
          'the order was kept': bookedCharges(stage, charges).join() === '1,2',
        },
      };
    },
  },
  {
    name: 'Finished neighbour redriven',
    guarantee:
      'It was booked, the kills kept it from being acknowledged, and it became a dead letter beside the poison. SQS gives it new ids; `key` names the charge, so it stays one entry.',
    expected: { runs: 1, effects: '1 entry', answers: [] },
    async play(stage, order) {
      const { stack, shop } = stage;
      const [queue, deadLetters] = [stack.queue(shop.queue), stack.queue(shop.deadLetters)];
      const charge = newCharge(order);
      const poison = { body: 'poison', deduplicationId: randomUUID() };
      const isOurs = ({ groupId }: { groupId?: string }): boolean => groupId === order.customer;
      const bodies = (): string[] => deadLetters.messages.filter(isOurs).map(({ body }) => body);
      const kill = killAtCommit(stage, charge);
      let dead: string[] = [];
      killWhile(stage, () => kill.isDone && dead.length === 0);
      await sendToLedger(stage, order.customer, [messageOf(charge), poison]);
      await queue.drained();
      dead = bodies();
      const booked = await effectsOf(stage, shop, order);
      deadLetters.redrive();
      await queue.drained();
      return {
        answers: [],
        checks: {
          'it was killed while it committed the charge': kill.isDone,
          'the charge, booked, was a dead letter beside the poison':
            booked.entries === 1 && dead.join() === [messageOf(charge).body, poison.body].join(),
          'redriven, only the poison became one again': bodies().join() === poison.body,
        },
      };
    },
  },
  {
    name: 'Dead letter, sent anew and redriven',
    guarantee:
      'Five failed deliveries leave nothing behind; then it is booked once, whichever message is first.',
    expected: { runs: 6, effects: '1 entry', answers: [] },
    async play(stage, order) {
      const { stack } = stage;
      const charge = newCharge(order);
      const denied = { status: 400, type: 'AccessDeniedException' };
      stack.faults.inject({ operation: 'TransactWriteItems', times: 5, fault: denied });
      await sendCharge(stage, charge);
      await stack.queue(stage.charges).drained();
      const before = await effectsOf(stage, stage.shop, order);
      // The sender has not waited for the operator.
      await sendCharge(stage, charge);
      const redriven = stack.queue(stage.deadCharges).redrive();
      return {
        answers: [],
        checks: {
          'it was a dead letter, and nothing was booked': redriven === 1 && before.entries === 0,
        },
      };
    },
  },
];
