/** Lanes of Kinesis, DynamoDB and Kafka, whose positions `eachPartition` keeps, at each level. */
import type { Context, DynamoDBRecord, KinesisStreamRecord, MSKRecord } from 'aws-lambda';
import { eachPartition, IdempotencyError, idempotent, type LaneOperation } from '../../../lib/index.ts';
import {
  laneAuditors,
  laneChanges,
  laneFailures,
  laneItem,
  laneRuns,
  type PlacedEntry,
  recordsOfLanes,
} from '../auditors/lanes.ts';
import { effectsTable, recordsTable } from '../simulation/database.ts';
import type { CallOutcome, Execution } from '../simulation/history.ts';
import { invocation } from '../simulation/sandbox.ts';
import { namespace, pkOf, type World } from '../simulation/world.ts';
import type { Entry, SourceRecord } from './batch-fleet.ts';
import { Fleet } from './fleet.ts';
import { dynamoRecord, kinesisRecord, Lane } from './streams.ts';
import type { Workload } from './workload.ts';

type Service = 'Kinesis' | 'DynamoDB' | 'Kafka';
type LaneRecord = KinesisStreamRecord | DynamoDBRecord | MSKRecord;
type Guarded = (event: object, context: unknown) => Promise<unknown>;
type Operation = LaneOperation<LaneRecord>;

interface Level {
  readonly name: string;
  readonly claimsAtCommit?: boolean;
  readonly commits?: boolean;
  handle(run: Run): Promise<unknown>;
}

interface Run {
  readonly world: World;
  readonly execution: Execution;
  readonly op: Operation;
  readonly records: readonly { readonly record: LaneRecord; readonly entry: PlacedEntry }[];
}

const levels: readonly Level[] = [
  {
    name: 'guarded',
    async handle(run) {
      for (const { entry } of run.records) await run.world.act(run.execution, `charge ${entry.key}`);
      await work(run);
    },
  },
  {
    name: 'stepped',
    async handle(run) {
      await steps(run);
      await work(run);
    },
  },
  { name: 'committed', commits: true, handle: (run) => work(run).then(() => commit(run)) },
  {
    name: 'stepped and committed',
    commits: true,
    async handle(run) {
      await steps(run);
      await work(run);
      await commit(run);
    },
  },
  { name: 'committed in parts', commits: true, handle: commitInParts },
  {
    name: 'at commit',
    ...{ claimsAtCommit: true, commits: true },
    handle: (run) => work(run).then(() => commit(run)),
  },
  {
    name: 'at commit in parts',
    ...{ claimsAtCommit: true, commits: true },
    handle: commitInParts,
  },
];

export const lanes: readonly Workload[] = (['Kinesis', 'DynamoDB', 'Kafka'] as const).map((service) => ({
  name: `lanes of ${service}`,
  auditors: laneAuditors,
  async run(world, untilQuiet) {
    const { history, time, chance } = world;
    const level = chance.pick('level of lanes', levels);
    history.reach(`lanes: ${level.name}`);
    const all = entriesOf(world, service);
    history.facts(recordsOfLanes).push(...all);
    const fleet = new LaneFleet(world, service, level, all);
    fleet.watch();
    // One poller for all lanes of a shard, or one for each.
    const isParallel = service !== 'Kafka' && chance.isTrue('pollers', 0.4);
    const lanesOf = [...new Set(all.map(({ pk }) => pk))];
    const byPoller = isParallel ? lanesOf.map((lane) => all.filter(({ pk }) => pk === lane)) : [all];
    const pollers = byPoller.map((entries, number) => new Lane(world, fleet, entries, number + 1));
    for (const poller of pollers) time.after(chance.between('pollers', 1, 500), () => poller.read());
    await untilQuiet();
    world.faults.areOver = true;
    world.log('', '--- no fault strikes any more');
    for (const poller of pollers) poller.redrive();
    await untilQuiet();
    if (pollers.some((poller) => !poller.isOver)) throw new Error('The lanes were not read to their end.');
    // Everything comes once more: nothing is done again, and nothing is left.
    fleet.invoke(all, () => {}, true);
    await untilQuiet();
  },
}));

class LaneFleet {
  readonly timeoutMs: number;
  readonly #world: World;
  readonly #service: Service;
  readonly #level: Level;
  readonly #fleet: Fleet<Guarded>;
  readonly #entries: ReadonlyMap<unknown, PlacedEntry>;

  constructor(world: World, service: Service, level: Level, entries: readonly PlacedEntry[]) {
    const { chance } = world;
    this.#world = world;
    this.#service = service;
    this.#level = level;
    this.#entries = new Map(entries.map((entry) => [entry.key, entry]));
    this.timeoutMs = chance.pick('lanes', [4_000, 15_000]);
    const concurrency = chance.pick('lanes', [undefined, 1]);
    const leaseSeconds = chance.pick('lease of lanes', [undefined, undefined, 1, 3]);
    this.#fleet = new Fleet(world, { kind: 'function', timeoutMs: this.timeoutMs }, (sandbox) => {
      const handler = eachPartition<LaneRecord>(
        (records, op, context) => this.#handle(records as never, op as never, context),
        {
          ...(concurrency && { concurrency }),
          onFailure: (error, records) => this.#failed(error, records as never),
        },
      );
      return idempotent(handler, {
        ...{ store: world.store(sandbox), namespace, observe: world.observe },
        ...(level.claimsAtCommit && { claim: 'at-commit' }),
        ...(leaseSeconds !== undefined && !level.claimsAtCommit && { lease: { seconds: leaseSeconds } }),
      } as never) as Guarded;
    });
  }

  /** Writes down what becomes of the lanes' items. */
  watch(): void {
    const { database, history, time } = this.#world;
    database.watch(({ tableName, key, before, after }, sender) => {
      if (tableName !== recordsTable || (key.sk as { S?: string }).S !== 'position') return;
      const change = { before: before && laneItem(before), after: after && laneItem(after) };
      if ((change.after?.attempt ?? 1) > (change.before?.attempt ?? 1)) history.reach('a takeover of a lane');
      history.facts(laneChanges).push({
        ...change,
        ...{ atMs: time.nowMs, lane: (key.pk as { S?: string }).S ?? '' },
        ...{ call: sender?.call, sentAtClockMs: sender?.sentAtClockMs ?? time.nowMs },
      });
    });
  }

  invoke(batch: readonly Entry[], ended: (outcome: CallOutcome) => void, isProbe = false): void {
    const { sandbox, guarded } = this.#fleet.pick();
    const about = {
      tenant: 'stream',
      key: batch.map(({ key }) => key.replace(/^490+/, '49…')).join(', '),
      pks: [...new Set(batch.map(({ pk }) => pk))],
      payload: 'lanes',
      isProbe,
      claimsAtCommit: this.#level.claimsAtCommit === true,
    };
    const records = batch.map(({ record }) => structuredClone(record));
    const isKafka = this.#service === 'Kafka';
    const event = isKafka
      ? { eventSource: 'aws:kafka', records: byPartition(records) }
      : { Records: records };
    const call = async (context: Context | undefined) => {
      const answer = await guarded(event, context);
      // Kafka is told of failures by an error only.
      return isKafka ? { batchItemFailures: [] } : answer;
    };
    this.#world.invoke(sandbox, about, call, this.#fleet.deadline, ended);
  }

  #entryOf(record: LaneRecord): PlacedEntry {
    const entry = this.#entries.get(keyOf(record));
    if (!entry) throw new Error('A record was handled that nobody sent.');
    return entry;
  }

  #failed(error: unknown, records: readonly LaneRecord[]): void {
    const { call, sandbox } = invocation.getStore()!;
    const [first] = records;
    if (!call || !first || sandbox.isDead) return;
    const { pk: lane } = this.#entryOf(first);
    const { history } = this.#world;
    history.facts(laneFailures).push({ call, lane, error });
    if (IdempotencyError.is(error)) history.reach(`a lane is refused: ${error.code}, effect ${error.effect}`);
  }

  async #handle(records: readonly LaneRecord[], op: Operation, _: Context): Promise<void> {
    const world = this.#world;
    const { history } = world;
    const given = records.map((record) => ({ record, entry: this.#entryOf(record) }));
    const lane = given[0]!.entry.pk;
    const execution = world.begin(op as never, `${lane.slice(-4)} ${given[0]!.entry.position}`, lane);
    const { call } = execution;
    const claim = history
      .facts(laneChanges)
      .findLast(
        (one) =>
          one.lane === lane &&
          one.call === call &&
          one.after?.status === 'IN_PROGRESS' &&
          one.after.owner !== one.before?.owner,
      );
    const entries = given.map(({ entry }) => entry);
    history.facts(laneRuns).push({
      ...{ execution, lane, entries, claim, commits: this.#level.commits === true },
      claimsAtCommit: this.#level.claimsAtCommit === true,
    });
    try {
      await this.#level.handle({ world, execution, op, records: given });
      world.returned(execution, undefined);
    } catch (error) {
      world.threw(execution);
      throw error;
    }
  }
}

async function work({ world, execution }: Run): Promise<void> {
  const mostMs = world.chance.pick('work of lanes', [0, 300, 2_000]);
  await world.pause(world.chance.between(`work ${execution.id}`, 0, mostMs));
  if (world.fault(`${execution.id} at work`, 'handler throws')) throw new Error('The handler failed.');
}

async function steps({ world, execution, op, records }: Run): Promise<void> {
  for (const { entry } of records) {
    const name = `charge-${entry.number}`;
    await op.step(name, async ({ token }) => {
      world.history.stepRuns.push({ execution, name, token, atMs: world.time.nowMs });
      await world.act(execution, name);
    });
  }
}

const commit = ({ execution, op, records }: Run): Promise<unknown> =>
  op.commit({ writes: records.map(({ entry }) => effectOf(execution, entry)) });

async function commitInParts(run: Run): Promise<void> {
  const { world, execution, op, records } = run;
  const size = world.chance.between(`parts ${execution.id}`, 1, 3);
  for (let from = 0; from < records.length; from += size) {
    const part = records.slice(from, from + size);
    await work({ ...run, execution: { ...execution, id: `${execution.id} part ${from}` } });
    await op.commit({
      writes: part.map(({ entry }) => effectOf(execution, entry)),
      upTo: part.at(-1)!.record,
    });
  }
}

/** It says which execution did what to which record, and comes twice where an execution does it twice. */
const effectOf = (execution: Execution, { key }: PlacedEntry) => ({
  Put: {
    TableName: effectsTable,
    Item: { pk: `${execution.id} of ${key}`, sk: 'by', operation: key },
  },
});

function entriesOf(world: World, service: Service): PlacedEntry[] {
  const count = world.chance.between('lanes', 2, 10);
  const lanes = world.chance.between('lanes', 1, 2);
  return Array.from({ length: count }, (_, index) =>
    entryOf(service, world.chance.between('lane of a record', 1, lanes), index + 1),
  );
}

function entryOf(service: Service, lane: number, number: number): PlacedEntry {
  const name = `key ${lane}`;
  // Numbers of 9 and 10 have other lengths: they compare as numbers.
  const short = String(number + 5);
  const long = `49${String(number).padStart(54, '0')}`;
  const placed = (digits: string) => `${String(digits.length).padStart(3, '0')}:${digits}`;
  switch (service) {
    case 'Kinesis': {
      const record = kinesisRecord(long, name);
      const pk = pkOf('position', record.eventSourceARN, 'kinesis', 'shardId-000000000000', name);
      return { ...{ key: long, group: name, pk, number, record }, position: placed(long) };
    }
    case 'DynamoDB': {
      const record = dynamoRecord(short, name);
      const keys = JSON.stringify([['id', 'S', name]]);
      const pk = pkOf('position', record.eventSourceARN ?? null, 'dynamodb', keys);
      return { ...{ key: short, group: name, pk, number, record }, position: placed(short) };
    }
    case 'Kafka': {
      const pk = pkOf('position', null, 'kafka', 'sales', String(lane));
      const record = kafkaRecord(lane, number + 5) as unknown as SourceRecord;
      return {
        ...{ key: `sales-${lane}-${short}`, group: name, pk, number, record },
        position: placed(short),
      };
    }
  }
}

function keyOf(record: LaneRecord): string | undefined {
  if ('kinesis' in record) return record.kinesis.sequenceNumber;
  if ('topic' in record) return `${record.topic}-${record.partition}-${record.offset}`;
  return record.dynamodb?.SequenceNumber;
}

const kafkaRecord = (partition: number, offset: number) => ({
  ...{ topic: 'sales', partition, offset, timestamp: 1, timestampType: 'CREATE_TIME' },
  ...{ key: '', value: Buffer.from('{}').toString('base64'), headers: [] },
});

function byPartition(records: readonly object[]): Record<string, object[]> {
  const lists: Record<string, object[]> = {};
  for (const record of records) {
    const { topic, partition } = record as MSKRecord;
    const name = `${topic}-${partition}`;
    lists[name] = [...(lists[name] ?? []), record];
  }
  return lists;
}
