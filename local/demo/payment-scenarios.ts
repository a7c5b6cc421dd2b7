/** Scenarios of payments: duplicates, lost answers, crashes, pauses, refusals. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { deflateRawSync } from 'node:zlib';
import { type AttributeValue, PutItemCommand, ScanCommand } from '@aws-sdk/client-dynamodb';
import type { Order } from '../../examples/payment-provider.ts';
import { attribute, claimSortKey } from '../../lib/record.ts';
import { creditLimit } from './payment-provider.ts';
import { type Answer, answerOf, areSame, type Played, parse, type Scenario, type Stage } from './scenario.ts';
import { effectsOf, present } from './shop.ts';

export const paymentScenarios: readonly Scenario[] = [
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
];

async function post({ stack }: Stage, path: string, key: string, order: Order): Promise<Answer> {
  const response = await fetch(`${stack.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': key },
    body: JSON.stringify(order),
  });
  return answerOf(response);
}

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

/** Kills the function after its charge was booked. Then the client tries again. */
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

/** Pauses the first attempt after its charge, beyond its lease of 3 s. Meanwhile a second attempt takes over. */
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
