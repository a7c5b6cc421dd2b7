/**
 * Streams of Kinesis and DynamoDB, as Lambda reads them: a lane goes on behind what was processed, is cut in halves where the function fails,
 * gives up what fails too often, and goes back when its place is lost.
 */
import type { DynamoDBRecord, KinesisStreamRecord } from 'aws-lambda';
import { auditors } from '../auditors/index.ts';
import { order } from '../auditors/order.ts';
import type { CallOutcome } from '../simulation/history.ts';
import { pkOf, type World } from '../simulation/world.ts';
import { BatchFleet, type Entry, failuresIn } from './batch-fleet.ts';
import type { Workload } from './workload.ts';

/** How often a lane is read in vain at most, once no fault strikes any more. */
const mostTries = 100;

type Service = 'Kinesis' | 'DynamoDB';

export const streams: readonly Workload[] = (['Kinesis', 'DynamoDB'] as const).map((service) => ({
  name: `batches of a stream of ${service}`,
  auditors: [...auditors, order],
  async run(world, untilQuiet) {
    const fleet = new BatchFleet(world);
    const lanes = lanesOf(world, service).map(
      (entries, number) => new Lane(world, fleet, entries, number + 1),
    );
    for (const lane of lanes) {
      for (const entry of lane.entries) world.history.queued.push(entry);
      world.time.after(world.chance.between('lanes', 1, 500), () => lane.read());
    }
    await untilQuiet();
    world.faults.areOver = true;
    world.log('', '--- no fault strikes any more');
    for (const lane of lanes) lane.redrive();
    await untilQuiet();
    if (lanes.some((lane) => !lane.isOver)) throw new Error('The stream was not read to its end.');
    fleet.count();
  },
}));

/** Whom a lane's batches are given to. */
export interface Consumer {
  readonly timeoutMs: number;
  invoke(batch: readonly Entry[], ended: (outcome: CallOutcome) => void): void;
}

/** What one poller reads, batch after batch. */
export class Lane {
  readonly entries: readonly Entry[];
  readonly #world: World;
  readonly #fleet: Consumer;
  readonly #name: string;
  readonly #batchSize: number;
  readonly #isCut: boolean;
  #mostTries: number;
  #cursor = 0;
  /** Where the half ends that is read now. */
  #end: number | undefined;
  #tries = 0;
  #reads = 0;
  #isReading = false;
  /** What was given up, to be sent again by hand. */
  #givenUp: Entry[] = [];

  constructor(world: World, fleet: Consumer, entries: readonly Entry[], number: number) {
    this.#world = world;
    this.#fleet = fleet;
    this.entries = entries;
    this.#name = `lane ${number}`;
    this.#batchSize = world.chance.pick('batches of a stream', [2, 4, 8]);
    this.#isCut = world.chance.isTrue('bisect', 0.5);
    this.#mostTries = world.chance.pick('tries', [1, 3, mostTries]);
  }

  get isOver(): boolean {
    return this.#cursor === this.entries.length && this.#givenUp.length === 0;
  }

  read(): void {
    if (this.#cursor === this.entries.length || this.#isReading) return;
    this.#isReading = true;
    const from = this.#cursor;
    const batch = this.entries.slice(from, this.#end ?? from + this.#batchSize);
    const place = `${this.#name} read ${++this.#reads}`;
    this.#invoke(place, batch, (outcome) => {
      this.#isReading = false;
      this.#judge(batch, outcome);
      if (this.#world.fault(place, 'place is lost')) {
        this.#cursor = this.#world.chance.between(place, 0, this.#cursor);
        this.#end = undefined;
      }
      this.#world.time.after(this.#world.chance.between(place, 1, 900), () => this.read());
    });
    if (this.#world.fault(`${place} again`, 'delivered twice')) {
      const laterMs = this.#world.chance.pick(place, [0, 20, 1_500, 30_000]);
      this.#world.time.after(laterMs, () => this.#fleet.invoke(batch, () => {}));
    }
  }

  /** Sends again what was given up, each by itself, and goes on with the rest. */
  redrive(): void {
    this.#mostTries = mostTries;
    const again = ([entry, ...others]: readonly Entry[], tries: number): void => {
      if (entry === undefined || tries === mostTries) return;
      this.#world.history.reach("a stream's record comes again by hand");
      this.#invoke(`${this.#name} by hand`, [entry], (outcome) => {
        const isDone = this.#processed([entry], outcome) === 1;
        if (isDone) this.#givenUp = others;
        this.#world.time.after(1_000, () =>
          isDone ? again(others, 0) : again([entry, ...others], tries + 1),
        );
      });
    };
    again(this.#givenUp, 0);
    this.read();
  }

  #invoke(place: string, batch: readonly Entry[], ended: (outcome: CallOutcome | undefined) => void): void {
    const { time } = this.#world;
    let isOver = false;
    const over = (outcome: CallOutcome | undefined) => {
      if (isOver) return;
      isOver = true;
      stopWaiting();
      ended(outcome);
    };
    this.#world.log('stream', `${place}: ${batch.length} records`);
    const stopWaiting = time.after(this.#fleet.timeoutMs + 1_000, () => over(undefined));
    this.#fleet.invoke(batch, over);
  }

  /** How many records from the first on are done, for Lambda. */
  #processed(batch: readonly Entry[], outcome: CallOutcome | undefined): number {
    if (outcome?.kind !== 'answered') return 0;
    const failed = failuresIn(batch, outcome.value);
    if (failed.size > 1) throw new Error('A stream was told of more than its lowest failure.');
    const first = batch.findIndex(({ key }) => failed.has(key));
    const done = first < 0 ? batch.length : first;
    for (const { key } of batch.slice(0, done)) {
      this.#world.history.acknowledged.push({ key, atMs: this.#world.time.nowMs });
    }
    return done;
  }

  #judge(batch: readonly Entry[], outcome: CallOutcome | undefined): void {
    const { history, time } = this.#world;
    const done = this.#processed(batch, outcome);
    this.#cursor += done;
    if (done > 0) this.#tries = 0;
    if (done === batch.length) {
      this.#end = undefined;
      return;
    }
    const left = batch.slice(done);
    if (outcome?.kind !== 'answered' && this.#isCut && left.length > 1) {
      history.reach('a batch is cut in halves');
      this.#end = this.#cursor + Math.floor(left.length / 2);
      return;
    }
    if (++this.#tries < this.#mostTries) return;
    for (const entry of left) history.takenOut.push({ key: entry.key, atMs: time.nowMs });
    history.reach('a batch of a stream is given up');
    this.#givenUp.push(...left);
    this.#cursor += left.length;
    this.#end = undefined;
    this.#tries = 0;
  }
}

/** The records of each lane: a shard, or what one partition key of it has where two batches are processed at once. */
function lanesOf({ chance, history }: World, service: Service): Entry[][] {
  const count = chance.between('stream', 2, 9);
  const isParallel = chance.isTrue('stream', 0.4);
  if (isParallel) history.reach('two batches of one shard at once');
  const lanes: Entry[][] = isParallel ? [[], []] : [[]];
  for (let number = 1; number <= count; number++) {
    const lane = chance.between('stream', 1, lanes.length);
    lanes[lane - 1]!.push(entryOf(service, `key ${lane}`, number));
  }
  return lanes;
}

function entryOf(service: Service, group: string, number: number): Entry {
  const sequence = `49${String(number).padStart(54, '0')}`;
  const record = service === 'Kinesis' ? kinesisRecord(sequence, group) : dynamoRecord(sequence, group);
  return { key: sequence, group, record, pk: pkOf(record.eventSourceARN ?? null, record.eventID) };
}

export const kinesisRecord = (sequenceNumber: string, partitionKey: string): KinesisStreamRecord => ({
  awsRegion: 'eu-west-1',
  eventID: `shardId-000000000000:${sequenceNumber}`,
  eventName: 'aws:kinesis:record',
  eventSource: 'aws:kinesis',
  eventSourceARN: 'arn:aws:kinesis:eu-west-1:000000000000:stream/ledger',
  eventVersion: '1.0',
  invokeIdentityArn: 'arn:aws:iam::000000000000:role/function',
  kinesis: {
    kinesisSchemaVersion: '1.0',
    partitionKey,
    sequenceNumber,
    data: Buffer.from('{}').toString('base64'),
    approximateArrivalTimestamp: 1,
  },
});

export const dynamoRecord = (SequenceNumber: string, id: string): DynamoDBRecord => ({
  awsRegion: 'eu-west-1',
  eventID: `event ${SequenceNumber}`,
  eventName: 'INSERT',
  eventSource: 'aws:dynamodb',
  eventSourceARN: 'arn:aws:dynamodb:eu-west-1:000000000000:table/orders/stream/1',
  eventVersion: '1.1',
  dynamodb: { SequenceNumber, Keys: { id: { S: id } }, NewImage: { id: { S: id } } },
});
