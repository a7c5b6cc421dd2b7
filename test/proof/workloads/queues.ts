/**
 * Queues of SQS, standard and FIFO. Messages come again after a failure, a crash or a timeout, and sometimes twice at once. Those that fail
 * too often go to a dead-letter queue, which is redriven.
 */
import type { SQSRecord } from 'aws-lambda';
import { messageKey } from '../../../lib/index.ts';
import { auditors } from '../auditors/index.ts';
import { order } from '../auditors/order.ts';
import type { CallOutcome } from '../simulation/history.ts';
import { pkOf, type World } from '../simulation/world.ts';
import { BatchFleet, type Entry, failuresIn } from './batch-fleet.ts';
import type { Workload } from './workload.ts';

const visibilityMs = 20_000;
const batchSize = 4;
/** A queue that is delivered in vain this often, without a fault, will never be empty. */
const mostDeliveries = 300;

interface Message extends Entry {
  readonly record: SQSRecord;
  /** The key that it carries wherever it goes. */
  readonly carried: string;
  receives: number;
}

interface Kind {
  readonly isFifo: boolean;
  /** By which a consumer knows a message: by what SQS calls it, or by what it carries. */
  readonly key: 'of SQS' | 'carried';
}

export const queues: readonly Workload[] = [
  { name: 'FIFO batches', isFifo: true },
  { name: 'batches of a standard queue', isFifo: false },
].map(({ name, isFifo }) => ({
  name,
  auditors: [...auditors, order],
  async run(world, untilQuiet) {
    const kind: Kind = { isFifo, key: world.chance.pick('key', ['of SQS', 'carried']) };
    world.log('', `--- ${name}, known by the key ${kind.key}`);
    const queue = new Queue(world, kind);
    world.time.after(1, () => queue.deliver());
    world.time.after(world.chance.between('redrive', 60_000, 400_000), () => queue.redrive());
    await untilQuiet();
    world.faults.areOver = true;
    world.log('', '--- no fault strikes any more');
    for (let round = 0; round < 5 && !queue.isEmpty; round++) {
      queue.redrive();
      await untilQuiet();
    }
    if (!queue.isEmpty) throw new Error('The queue was not emptied.');
    queue.fleet.count();
  },
}));

class Queue {
  readonly fleet: BatchFleet;
  readonly #world: World;
  readonly #kind: Kind;
  readonly #mostReceives: number;
  #messages: Message[] = [];
  #dead: Message[] = [];
  /** Messages, or groups, that are on their way. */
  readonly #locked = new Set<string>();
  #deliveries = 0;
  #deliveriesLeft = mostDeliveries;

  constructor(world: World, kind: Kind) {
    const { chance } = world;
    this.#world = world;
    this.#kind = kind;
    this.#mostReceives = chance.pick('receives', [2, 5, 100]);
    this.fleet = new BatchFleet(world, kind.key === 'carried' ? { key: messageKey } : {});
    const groups = chance.pick('queue', [['a'], ['a', 'b'], ['a', 'b', 'c']]);
    const count = chance.between('queue', 2, 8);
    for (let number = 1; number <= count; number++) {
      const sent = { group: chance.pick('queue', groups), carried: `k${number}` };
      this.#send(`m${number}`, sent);
      // FIFO queues do not take it.
      const isSentTwice = !kind.isFifo && chance.isTrue('senders', 0.15);
      if (isSentTwice && kind.key === 'carried') {
        world.history.reach('a message is sent twice');
        this.#send(`m${number} sent twice`, sent);
      }
    }
  }

  get isEmpty(): boolean {
    return this.#messages.length === 0 && this.#dead.length === 0;
  }

  /** Moves dead letters back. A dead letter of a FIFO queue has its message id for a deduplication id, and gets a new message id. */
  redrive(): void {
    for (const { key, carried, group = '', record } of this.#dead.splice(0)) {
      this.#world.history.reach('a dead letter comes again');
      this.#world.log('queue', `redrives ${key}`);
      this.#send(`${key}'`, { group: group || record.attributes.MessageGroupId || '', carried }, key);
    }
    this.#deliveriesLeft = mostDeliveries;
    this.deliver();
  }

  /** Gives what may be given: of each group the first ones, unless some of it are on their way. */
  deliver(): void {
    const { time, chance } = this.#world;
    this.#bury();
    const free = this.#messages.filter((message) => !this.#locked.has(laneOf(message)));
    const ordered = this.#kind.isFifo ? free : shuffled(this.#world, free);
    const batch = ordered.slice(0, batchSize);
    if (batch.length === 0 || this.#deliveriesLeft-- === 0) return;
    this.#deliveries++;
    const lanes = new Set(batch.map(laneOf));
    for (const lane of lanes) this.#locked.add(lane);
    for (const message of batch) message.receives++;
    const place = `delivery ${this.#deliveries}`;
    let isOver = false;
    const over = (done: readonly Entry[]) => {
      if (isOver) return;
      isOver = true;
      stopWaiting();
      for (const { key } of done) this.#world.history.acknowledged.push({ key, atMs: time.nowMs });
      this.#messages = this.#messages.filter((message) => !done.includes(message));
      for (const lane of lanes) this.#locked.delete(lane);
      time.after(done.length === batch.length ? 1 : 700, () => this.deliver());
    };
    const stopWaiting = time.after(visibilityMs, () => over([]));
    this.fleet.invoke(batch, (outcome) => over(doneIn(batch, outcome)));
    if (this.#world.fault(place, 'delivered twice')) {
      const laterMs = chance.pick(place, [0, 20, 1_500, 30_000]);
      time.after(laterMs, () => this.fleet.invoke(batch, () => {}));
    }
    // The others do not wait.
    time.after(chance.between(place, 1, 50), () => this.deliver());
  }

  /** Takes out what was received too often. */
  #bury(): void {
    const isOver = (message: Message) =>
      message.receives >= this.#mostReceives && !this.#locked.has(laneOf(message));
    for (const message of this.#messages.filter(isOver)) {
      this.#world.log('queue', `${message.key} becomes a dead letter`);
      this.#world.history.takenOut.push({ key: message.key, atMs: this.#world.time.nowMs });
      this.#dead.push(message);
    }
    this.#messages = this.#messages.filter((message) => !this.#dead.includes(message));
  }

  #send(
    key: string,
    { group, carried }: { readonly group: string; readonly carried: string },
    deduplicationId = carried,
  ): void {
    const { isFifo } = this.#kind;
    const record = recordOf(key, carried, isFifo ? { group, deduplicationId } : undefined);
    const parts = {
      'of SQS': isFifo ? [group, deduplicationId] : [key],
      carried: isFifo ? [group, carried] : [carried],
    }[this.#kind.key];
    const pk = pkOf(record.eventSourceARN, ...parts);
    const message: Message = { key, pk, carried, record, group: isFifo ? group : undefined, receives: 0 };
    this.#messages.push(message);
    this.#world.history.queued.push(message);
  }
}

/** What keeps others waiting while it is on its way. */
const laneOf = ({ group, key }: Message): string =>
  group === undefined ? `message ${key}` : `group ${group}`;

const doneIn = (batch: readonly Entry[], outcome: CallOutcome): readonly Entry[] => {
  if (outcome.kind === 'failed') return [];
  const failed = failuresIn(batch, outcome.value);
  return batch.filter(({ key }) => !failed.has(key));
};

function shuffled<T>({ chance }: World, list: readonly T[]): T[] {
  return list
    .map((item) => ({ item, at: chance.fraction('order of a standard queue') }))
    .sort((one, other) => one.at - other.at)
    .map(({ item }) => item);
}

function recordOf(
  messageId: string,
  carried: string,
  fifo: { readonly group: string; readonly deduplicationId: string } | undefined,
): SQSRecord {
  return {
    messageId,
    receiptHandle: messageId,
    body: JSON.stringify({ carried }),
    attributes: {
      ApproximateReceiveCount: '1',
      SentTimestamp: '1',
      SenderId: 'sender',
      ApproximateFirstReceiveTimestamp: '1',
      ...(fifo && {
        MessageGroupId: fifo.group,
        MessageDeduplicationId: fifo.deduplicationId,
        SequenceNumber: messageId,
      }),
    },
    messageAttributes: { idempotencyKey: { dataType: 'String', stringValue: carried } },
    md5OfBody: '',
    eventSource: 'aws:sqs',
    eventSourceARN: `arn:aws:sqs:eu-west-1:000000000000:orders${fifo ? '.fifo' : ''}`,
    awsRegion: 'eu-west-1',
  };
}
