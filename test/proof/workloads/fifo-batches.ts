/** A FIFO queue and its batches: delivered again after a failure, a crash or a timeout, and sometimes twice at once. */
import type { Context, SQSEvent, SQSRecord } from 'aws-lambda';
import { eachRecord, idempotent } from '../../../lib/index.ts';
import { order } from '../auditors/order.ts';
import type { CallOutcome } from '../simulation/history.ts';
import { namespace, type World } from '../simulation/world.ts';
import { Fleet } from './fleet.ts';
import type { Workload } from './workload.ts';

interface Message {
  readonly group: string;
  readonly key: string;
}

type Guarded = (event: SQSEvent, context: Context | undefined) => Promise<unknown>;

const tenant = 'queue';
const visibilityMs = 20_000;
const batchSize = 4;
/** A queue that is delivered in vain this often, without a fault, will never be empty. */
const mostDeliveries = 300;

export const fifoBatches: Workload = {
  name: 'FIFO batches',
  auditors: [order],
  async run(world, untilQuiet) {
    const { chance, history, time, faults } = world;
    const groups = chance.pick('queue', [['a'], ['a', 'b'], ['a', 'b', 'c']]);
    const count = chance.between('queue', 2, 8);
    history.queued.push(
      ...Array.from({ length: count }, (_, index) => ({
        group: chance.pick('queue', groups),
        key: `m${index + 1}`,
      })),
    );
    const queue = new Queue(world, history.queued);
    time.after(1, () => queue.deliver());
    await untilQuiet();
    faults.areOver = true;
    world.log('', '--- no fault strikes any more');
    queue.deliverMore();
    await untilQuiet();
    if (!queue.isEmpty) throw new Error('The queue was not emptied.');
  },
};

class Queue {
  readonly #world: World;
  #messages: readonly Message[];
  readonly #locked = new Set<string>();
  readonly #fleet: Fleet<Guarded>;
  #deliveries = 0;
  #deliveriesLeft = mostDeliveries;

  constructor(world: World, messages: readonly Message[]) {
    this.#world = world;
    this.#messages = [...messages];
    const timeoutMs = world.chance.pick('queue', [4_000, 15_000]);
    const workMs = world.chance.pick('queue', [0, 300, 2_000]);
    this.#fleet = new Fleet(world, { kind: 'function', timeoutMs }, (sandbox): Guarded => {
      const handler = eachRecord<SQSRecord>((record, op) => handle(world, workMs, record, op));
      return idempotent(handler, {
        store: world.store(sandbox),
        namespace,
        observe: world.observe,
        key: (record: SQSRecord) => record.messageId,
        tenant: () => tenant,
      }) as Guarded;
    });
  }

  get isEmpty(): boolean {
    return this.#messages.length === 0;
  }

  deliverMore(): void {
    this.#deliveriesLeft = mostDeliveries;
    this.deliver();
  }

  /** Gives what may be given: of each group the first ones, unless some of it are on their way. */
  deliver(): void {
    const batch = this.#messages.filter(({ group }) => !this.#locked.has(group)).slice(0, batchSize);
    if (batch.length === 0 || this.#deliveriesLeft-- === 0) return;
    this.#deliveries++;
    const { time, chance } = this.#world;
    const groups = new Set(batch.map(({ group }) => group));
    for (const group of groups) this.#locked.add(group);
    const place = `delivery ${this.#deliveries}`;
    let isOver = false;
    const over = (done: readonly Message[]) => {
      if (isOver) return;
      isOver = true;
      stopWaiting();
      for (const { group, key } of done) {
        this.#world.history.acknowledged.push({ group, key, atMs: time.nowMs });
      }
      this.#messages = this.#messages.filter((message) => !done.includes(message));
      for (const group of groups) this.#locked.delete(group);
      time.after(done.length === batch.length ? 1 : 700, () => this.deliver());
    };
    const stopWaiting = time.after(visibilityMs, () => over([]));
    this.#invoke(batch, (outcome) => over(doneIn(batch, outcome)));
    if (this.#world.fault(place, 'delivered twice')) {
      const laterMs = chance.pick(place, [0, 20, 1_500, 30_000]);
      time.after(laterMs, () => this.#invoke(batch, () => {}));
    }
    // The other groups do not wait.
    time.after(chance.between(place, 1, 50), () => this.deliver());
  }

  #invoke(batch: readonly Message[], ended: (outcome: CallOutcome) => void): void {
    const { sandbox, guarded } = this.#fleet.pick();
    const about = { tenant, key: batch.map(({ key }) => key), payload: 'a batch' };
    const event: SQSEvent = { Records: batch.map(recordOf) };
    this.#world.invoke(sandbox, about, (context) => guarded(event, context), this.#fleet.deadline, ended);
  }
}

/** What is not reported is done, for the queue. */
function doneIn(batch: readonly Message[], outcome: CallOutcome): readonly Message[] {
  if (outcome.kind === 'failed') return [];
  const { batchItemFailures } = outcome.value as { batchItemFailures: { itemIdentifier: string }[] };
  const failed = new Set(batchItemFailures.map(({ itemIdentifier }) => itemIdentifier));
  return batch.filter(({ key }) => !failed.has(key));
}

async function handle(
  world: World,
  workMs: number,
  { messageId }: SQSRecord,
  op: Parameters<World['begin']>[0],
): Promise<void> {
  const execution = world.begin(op, tenant, messageId);
  try {
    await world.act(execution, 'charge');
    await world.pause(world.chance.between(`work ${execution.id}`, 0, workMs));
    if (world.fault(`${execution.id} at work`, 'handler throws')) throw new Error('The handler failed.');
    world.end(execution, 'returned');
  } catch (error) {
    world.end(execution, 'threw');
    throw error;
  }
}

const recordOf = ({ group, key }: Message): SQSRecord => ({
  messageId: key,
  receiptHandle: key,
  body: JSON.stringify({ key }),
  attributes: {
    ApproximateReceiveCount: '1',
    SentTimestamp: '1',
    SenderId: 'sender',
    ApproximateFirstReceiveTimestamp: '1',
    MessageGroupId: group,
    MessageDeduplicationId: key,
    SequenceNumber: key,
  },
  messageAttributes: {},
  md5OfBody: '',
  eventSource: 'aws:sqs',
  eventSourceARN: 'arn:aws:sqs:eu-west-1:000000000000:orders.fifo',
  awsRegion: 'eu-west-1',
});
