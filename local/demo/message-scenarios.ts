/** Scenarios of messages: published twice, killed in the middle of a batch, poison, dead letters. */
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { SendMessageBatchCommand, SendMessageCommand } from '@aws-sdk/client-sqs';
import type { Charge, Order } from '../../examples/payment-provider.ts';
import type { Scenario, Stage } from './scenario.ts';
import { effectsOf } from './shop.ts';

export const messageScenarios: readonly Scenario[] = [
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

const newCharge = (order: Order): Charge => ({ id: `ch_${randomUUID()}`, ...order });

interface Sent {
  readonly body: string;
  readonly deduplicationId: string;
}

const messageOf = (charge: Charge): Sent => ({ body: JSON.stringify(charge), deduplicationId: charge.id });

/** Sends all messages in one request, as the relay does. */
async function sendToLedger({ stack, shop }: Stage, group: string, messages: readonly Sent[]): Promise<void> {
  const Entries = messages.map(({ body, deduplicationId }, index) => ({
    Id: `${index}`,
    MessageBody: body,
    MessageGroupId: group,
    MessageDeduplicationId: deduplicationId,
  }));
  await stack.sqs.send(new SendMessageBatchCommand({ QueueUrl: stack.queue(shop.queue).url, Entries }));
}

/** Sends to the standard queue. Two calls with one charge are two messages. */
async function sendCharge({ stack, charges }: Stage, charge: Charge): Promise<void> {
  const { url } = stack.queue(charges);
  await stack.sqs.send(new SendMessageCommand({ QueueUrl: url, MessageBody: JSON.stringify(charge) }));
}

/** Kills the ledger while it commits a charge. DynamoDB applies the commit, and its answer is lost. */
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

/** Kills the ledger at each of its requests, before DynamoDB sees them, for as long as `isDue()` is true. */
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
