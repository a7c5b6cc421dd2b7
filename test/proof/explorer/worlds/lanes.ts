/** Two deliveries of one lane, perhaps cut differently: whichever comes first, and what the other one finds. */
import type { KinesisStreamRecord } from 'aws-lambda';
import {
  eachPartition,
  type IdempotentOptions,
  idempotent,
  type LaneOperation,
} from '../../../../lib/index.ts';
import type { Auditor } from '../../auditors/index.ts';
import { effectsTable, recordsTable } from '../../simulation/database.ts';
import type { Call } from '../../simulation/history.ts';
import { invocation, type Sandbox } from '../../simulation/sandbox.ts';
import { namespace } from '../../simulation/world.ts';
import type { Guarded, Moment, SmallWorld, Stage } from '../small-world.ts';

/** The records of the lane. */
const all = ['1', '2'];

interface Lanes {
  readonly name: string;
  /** What the second delivery holds of the lane. The first one holds all. */
  readonly second: readonly string[];
  readonly options?: IdempotentOptions;
  handle(
    records: readonly KinesisStreamRecord[],
    operation: LaneOperation<KinesisStreamRecord>,
  ): Promise<unknown>;
}

const lanes = (world: Lanes): SmallWorld => ({
  name: world.name,
  auditors: [once, reported, notStuck],
  begin(stage) {
    for (const numbers of [all, world.second]) deliver(world, stage, 'sandbox', numbers);
  },
  probe: (stage) => deliver(world, stage, 'probe', all),
  moments,
});

function deliver(world: Lanes, stage: Stage, name: string, numbers: readonly string[]): void {
  const about = {
    tenant: 'stream',
    key: 'lane',
    pks: [],
    payload: numbers.join(),
    isProbe: name === 'probe',
  };
  stage.call(name, about, (sandbox) => guardIn(world, stage, sandbox, numbers));
}

function guardIn(world: Lanes, stage: Stage, sandbox: Sandbox, numbers: readonly string[]): Guarded {
  const guarded = idempotent(
    eachPartition<KinesisStreamRecord>((records, operation) => world.handle(records, operation as never), {
      onFailure: () => {},
    }),
    {
      ...{ store: stage.world.store(sandbox), namespace, observe: stage.world.observe },
      ...{ lease: { seconds: 60 }, ...world.options },
    },
  );
  return (context) => guarded({ Records: numbers.map(recordOf) }, context);
}

const recordOf = (sequenceNumber: string): KinesisStreamRecord => ({
  eventID: `shardId-000000000000:${sequenceNumber}`,
  ...{ eventName: 'aws:kinesis:record', eventSource: 'aws:kinesis', eventVersion: '1.0' },
  ...{ awsRegion: 'eu-west-1', invokeIdentityArn: '', eventSourceARN: 'stream' },
  kinesis: {
    ...{ partitionKey: 'lane', sequenceNumber, data: '', kinesisSchemaVersion: '1.0' },
    approximateArrivalTimestamp: 0,
  },
});

/** An effect of each record, which says whose it is. */
const effectOf = ({ kinesis: { sequenceNumber } }: KinesisStreamRecord) => ({
  Put: {
    TableName: effectsTable,
    Item: { pk: `${invocation.getStore()?.call?.id} ${sequenceNumber}`, sk: 'by', operation: sequenceNumber },
  },
});

const once: Auditor = {
  promise: 'each record of a lane has one effect, in its order',
  audit({ committed }) {
    const order = committed.map(({ pk }) => pk).join();
    return order === all.join() ? [] : [`the effects are of ${order}`];
  },
};

const reported: Auditor = {
  promise: 'what a delivery does not report is done',
  audit: ({ calls, committed }) =>
    calls.flatMap((call) =>
      acknowledgedBy(call)
        .filter((number) => !committed.some(({ pk, atMs }) => pk === number && atMs <= (call.endedAtMs ?? 0)))
        .map((number) => `${call.id} did not report ${number}, which was not done`),
    ),
};

function acknowledgedBy({ payload, outcome }: Call): string[] {
  if (outcome?.kind !== 'answered') return [];
  const { batchItemFailures } = outcome.value as { batchItemFailures: { itemIdentifier: string }[] };
  const [lowest] = batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
  return payload.split(',').filter((number) => lowest === undefined || number < lowest);
}

const notStuck: Auditor = {
  promise: 'a lane is done at the next delivery after every lease',
  audit: ({ calls }) =>
    calls
      .filter(({ isProbe }) => isProbe)
      .filter((call) => acknowledgedBy(call).length < all.length)
      .map(({ id }) => `${id} could not end it`),
};

/** The end of the lane's lease, while it is ahead. */
function moments({ world: { database, time } }: Stage): readonly Moment[] {
  return database
    .items(recordsTable)
    .filter(({ sk, status }) => textIn(sk) === 'position' && textIn(status) === 'IN_PROGRESS')
    .map(({ leaseUntil }) => ({ label: 'the lease passes', atMs: Number((leaseUntil as { N?: string }).N) }))
    .filter(({ atMs }) => atMs > time.nowMs);
}

const textIn = (value: unknown): string | undefined => (value as { S?: string } | undefined)?.S;

/** Part by part: a record each. */
export const laneAtCommit = lanes({
  name: 'lane at commit',
  second: all,
  options: { claim: 'at-commit' },
  async handle(records, operation) {
    for (const record of records) await operation.commit({ writes: [effectOf(record)], upTo: record });
  },
});

export const laneClaimed = lanes({
  name: 'lane claimed',
  second: ['1'],
  handle: (records, operation) => operation.commit({ writes: records.map(effectOf) }),
});
