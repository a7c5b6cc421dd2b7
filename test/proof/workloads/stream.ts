/** The records' stream and the relay behind it, which may die, be refused, and be given the same records again. */
import type { DynamoDBStreamEvent } from 'aws-lambda';
import '@aws-sdk/client-sqs';
import { relayOutbox } from '../../../lib/index.ts';
import type { StagedItem } from '../simulation/history.ts';
import { invocation, type Sandbox } from '../simulation/sandbox.ts';
import type { World } from '../simulation/world.ts';

const deduplicationMs = 5 * 60_000;
const relayTimeoutMs = 30_000;
const batchSize = 4;

export class Stream {
  readonly #world: World;
  #cursor = 0;
  #isBusy = false;
  #batches = 0;
  readonly #accepted = new Map<string, number>();

  constructor(world: World) {
    this.#world = world;
    world.database.onStaged = () => this.#pump();
  }

  /** Nothing may be left once all is over. */
  check(): void {
    if (this.#cursor < this.#world.history.staged.length)
      throw new Error('The stream was not read to its end.');
  }

  #pump(): void {
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#world.time.after(this.#world.chance.between('stream', 1, 400), () => this.#deliver());
  }

  #deliver(): void {
    const { history, time } = this.#world;
    const batch = history.staged.slice(this.#cursor, this.#cursor + batchSize);
    const place = `batch ${++this.#batches}`;
    let isOver = false;
    const over = (done: number) => {
      if (isOver) return;
      isOver = true;
      stopWaiting();
      this.#cursor += done;
      this.#isBusy = false;
      if (this.#cursor < history.staged.length) this.#pump();
    };
    const stopWaiting = time.after(relayTimeoutMs, () => over(0));
    this.#relay(batch, place, over);
    if (this.#world.fault(place, 'delivered twice')) {
      time.after(this.#world.chance.between(place, 0, 50), () =>
        this.#relay(batch, `${place} again`, () => {}),
      );
    }
  }

  #relay(batch: readonly StagedItem[], place: string, over: (done: number) => void): void {
    const world = this.#world;
    const sandbox = world.sandbox('relay');
    const sqs = { send: (command: { input: any }) => this.#publish(sandbox, place, command.input) };
    const relay = relayOutbox({
      destinations: { mail: { queueUrl: 'https://sqs/mail.fifo' } },
      clients: { sqs },
    });
    const numbers = batch.map((_, index) => String(this.#cursor + index).padStart(30, '0'));
    const event = { Records: batch.map((item, index) => streamRecord(item, numbers[index]!)) };
    world.log(sandbox.name, `${place} begins`);
    invocation.run({ sandbox, call: undefined }, () => {
      relay(event as unknown as DynamoDBStreamEvent).then(
        ({ batchItemFailures: [first] }) => {
          if (sandbox.isDead) return;
          const failed = first ? numbers.indexOf(first.itemIdentifier) : batch.length;
          world.log(sandbox.name, `${place} is relayed up to ${failed} of ${batch.length}`);
          over(failed);
        },
        (error: unknown) => world.log(sandbox.name, `${place} fails: ${error}`),
      );
    });
  }

  #publish(sandbox: Sandbox, batch: string, input: Record<string, string>): Promise<unknown> {
    const world = this.#world;
    const {
      MessageBody: body = '',
      MessageGroupId: groupId = '',
      MessageDeduplicationId: deduplicationId = '',
    } = input;
    const place = `${batch} publishes ${body}`;
    return new Promise((resolve, reject) => {
      if (sandbox.isDead) return;
      const kind = world.fault(place, 'relay dies', 'not published', 'lost answer');
      const isDyingFirst = kind === 'relay dies' && world.chance.isTrue(place, 0.5);
      sandbox.after(world.chance.between(place, 1, 20), () => {
        if (kind === 'not published') return reject(new Error('The queue refused it.'));
        if (isDyingFirst) return this.#kill(sandbox, place);
        const atMs = world.time.nowMs;
        const known = this.#accepted.get(deduplicationId);
        if (known === undefined || atMs - known >= deduplicationMs) {
          this.#accepted.set(deduplicationId, atMs);
          world.history.published.push({ body, groupId, deduplicationId, atMs });
        }
        world.log(sandbox.name, `${place}: ${known === undefined ? 'taken' : 'known'}`);
        if (kind === 'relay dies') return this.#kill(sandbox, place);
        if (kind === 'lost answer') return reject(new Error('The queue did not answer.'));
        sandbox.after(world.chance.between(place, 1, 20), () => resolve({ MessageId: place }));
      });
    });
  }

  #kill(sandbox: Sandbox, place: string): void {
    sandbox.isDead = true;
    this.#world.log(sandbox.name, `dies at ${place}`);
  }
}

const streamRecord = (item: StagedItem, SequenceNumber: string) => ({
  eventID: SequenceNumber,
  eventName: 'INSERT',
  eventSource: 'aws:dynamodb',
  eventSourceARN: 'arn:aws:dynamodb:eu-west-1:000000000000:table/records/stream/1',
  dynamodb: {
    SequenceNumber,
    Keys: { pk: { S: item.pk }, sk: { S: item.sk } },
    NewImage: {
      destination: { S: item.destination },
      body: { S: item.body },
      groupId: { S: item.groupId },
      deduplicationId: { S: item.deduplicationId },
    },
  },
});
