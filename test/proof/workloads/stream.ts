/** The records' stream and the relay behind it, which may die, be refused, and be given the same records again. */
import type { DynamoDBStreamEvent } from 'aws-lambda';
import '@aws-sdk/client-sqs';
import { relayOutbox, type Seal } from '../../../lib/index.ts';
import type { Publication, StagedItem } from '../simulation/history.ts';
import { invocation, type Sandbox } from '../simulation/sandbox.ts';
import type { World } from '../simulation/world.ts';

const deduplicationMs = 5 * 60_000;
const relayTimeoutMs = 30_000;

export class Stream {
  readonly #world: World;
  readonly #seal: Seal | undefined;
  readonly #batchSize: number;
  readonly #records: StagedItem[] = [];
  #cursor = 0;
  /** Up to where records were given to a relay. */
  #taken = 0;
  #isBusy = false;
  #batches = 0;
  readonly #accepted = new Map<string, number>();

  constructor(world: World, seal: Seal | undefined) {
    this.#world = world;
    this.#seal = seal;
    this.#batchSize = world.chance.pick('batches of the stream', [1, 2, 4, 10]);
    world.database.onStaged = (item) => {
      this.#add(item);
      this.#pump();
    };
  }

  /** Nothing may be left once all is over. */
  check(): void {
    if (this.#cursor < this.#records.length) throw new Error('The stream was not read to its end.');
  }

  /** A stream keeps the order of one item only: those of one transaction come in any. */
  #add(item: StagedItem): void {
    let first = this.#records.length;
    while (first > this.#taken && transactionOf(this.#records[first - 1]!) === transactionOf(item)) first--;
    const at = this.#world.chance.between('order of the stream', first, this.#records.length);
    this.#records.splice(at, 0, item);
  }

  #pump(): void {
    if (this.#isBusy) return;
    this.#isBusy = true;
    this.#world.time.after(this.#world.chance.between('stream', 1, 400), () => this.#deliver());
  }

  #deliver(): void {
    const { time } = this.#world;
    const batch = this.#records.slice(this.#cursor, this.#cursor + this.#batchSize);
    this.#taken = Math.max(this.#taken, this.#cursor + batch.length);
    const place = `batch ${++this.#batches}`;
    let isOver = false;
    const over = (done: number) => {
      if (isOver) return;
      isOver = true;
      stopWaiting();
      this.#cursor += done;
      this.#isBusy = false;
      if (this.#cursor < this.#records.length) this.#pump();
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
    const sqs = {
      send: (command: { input: Record<string, string> }) => this.#publish(sandbox, place, command.input),
    };
    const relay = relayOutbox({
      destinations: { mail: { queueUrl: 'https://sqs/mail.fifo' } },
      clients: { sqs },
      ...(this.#seal && { seal: this.#seal }),
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
    const publication: Publication = {
      ...{ relay: sandbox.name, groupId, deduplicationId, begunAtMs: world.time.nowMs },
      publishedAtMs: undefined,
    };
    world.history.publications.push(publication);
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
        sandbox.after(world.chance.between(place, 1, 20), () => {
          publication.publishedAtMs = world.time.nowMs;
          resolve({ MessageId: place });
        });
      });
    });
  }

  #kill(sandbox: Sandbox, place: string): void {
    sandbox.isDead = true;
    this.#world.log(sandbox.name, `dies at ${place}`);
  }
}

/** Window, `outbox` and name: what two items of one transaction share. */
const transactionOf = ({ pk, sk }: StagedItem): string => `${pk} ${sk.slice(0, sk.lastIndexOf('#'))}`;

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
      body: bodyIn(item),
      groupId: { S: item.groupId },
      deduplicationId: { S: item.deduplicationId },
    },
  },
});

/** Lambda gives bytes as Base64. */
function bodyIn({ stored, body }: StagedItem): object {
  const bytes = (stored as { B?: Uint8Array } | undefined)?.B;
  return bytes ? { B: Buffer.from(bytes).toString('base64') } : { S: body };
}
