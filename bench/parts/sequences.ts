/** Ten thousand numbered records in ten lanes: by key, by sequence, by position. */
import { once } from 'node:events';
import { Worker } from 'node:worker_threads';
import { BatchProcessor, EventType, processPartialResponse } from '@aws-lambda-powertools/batch';
import { IdempotencyConfig, makeIdempotent } from '@aws-lambda-powertools/idempotency';
import { DynamoDBPersistenceLayer } from '@aws-lambda-powertools/idempotency/dynamodb';
import { type DynamoDBClient, paginateScan } from '@aws-sdk/client-dynamodb';
import type { Context, KinesisStreamEvent, KinesisStreamRecord } from 'aws-lambda';
import { dynamoStore, eachPartition, eachRecord, idempotent, numbered } from '../../lib/index.ts';
import { kinesisEvent } from '../../lib/testing.ts';
import { createTable } from '../../local/aws/dynamodb-tables.ts';
import { lambdaContext } from '../events.ts';
import { compare, counted, type Part, type Row } from '../runner.ts';
import { clientFor, withTables } from '../table.ts';

const laneCount = 10;
const batchSize = 100;
const delayMs = 5;

type BatchHandler = (event: KinesisStreamEvent, context: Context) => Promise<unknown>;

/** What was spent on all records, and what they have left behind. */
interface Spent {
  readonly requests: number;
  readonly writeUnits: number;
  readonly items: number;
  readonly seconds: number;
}

const nothing = async (): Promise<void> => {};

const placeOf = ({ kinesis }: KinesisStreamRecord) => {
  const { lane, number } = JSON.parse(Buffer.from(kinesis.data, 'base64').toString());
  return { producer: lane as string, epoch: 0, number: number as number };
};

/** No handler does anything: what is counted is what it costs to know a record again. */
const ways: Readonly<Record<string, (client: DynamoDBClient, tableName: string) => BatchHandler>> = {
  'by key': (client, tableName) =>
    idempotent(eachRecord<KinesisStreamRecord>(nothing), guarding(client, tableName)),
  'by sequence': (client, tableName) =>
    idempotent(eachRecord<KinesisStreamRecord>(nothing), {
      ...guarding(client, tableName),
      sequence: numbered(placeOf),
    }),
  'by position, guarded': (client, tableName) =>
    idempotent(eachPartition(nothing), guarding(client, tableName)),
  'by position, committed': (client, tableName) =>
    idempotent(
      eachPartition((_, operation) => operation.commit()),
      { ...guarding(client, tableName), claim: 'at-commit' },
    ),
};

const guarding = (client: DynamoDBClient, tableName: string) => ({
  store: dynamoStore({ client, tableName }),
  namespace: tableName,
});

/** One after the other, as a lane wants it. */
function peerHandler(client: DynamoDBClient, tableName: string): BatchHandler {
  const config = new IdempotencyConfig({ eventKeyJmesPath: 'eventID', throwOnNoIdempotencyKey: true });
  const recordHandler = makeIdempotent(nothing as never, {
    persistenceStore: new DynamoDBPersistenceLayer({ tableName, awsSdkV3Client: client }),
    config,
  });
  const processor = new BatchProcessor(EventType.KinesisDataStreams);
  return (event, context) => {
    config.registerLambdaContext(context);
    return processPartialResponse(event, recordHandler, processor, { context, processInParallel: false });
  };
}

/** The batches of each lane, in order. */
function lanesOf(recordsInLane: number): KinesisStreamEvent[][] {
  return Array.from({ length: laneCount }, (_, index) => {
    const lane = `lane-${index}`;
    const { Records } = kinesisEvent(
      ...Array.from({ length: recordsInLane }, (_, number) => ({
        partitionKey: lane,
        data: { lane, number, amount: 4_200, currency: 'EUR' },
      })),
    );
    return Array.from({ length: recordsInLane / batchSize }, (_, batch) => ({
      Records: Records.slice(batch * batchSize, (batch + 1) * batchSize),
    }));
  });
}

/** A client that has each request billed. */
function billed(client: DynamoDBClient): { requests: number; writeUnits: number } {
  const bill = { requests: 0, writeUnits: 0 };
  client.middlewareStack.add(
    (next, { commandName }) =>
      async (args) => {
        bill.requests++;
        const result = await next({ ...args, input: { ...args.input, ReturnConsumedCapacity: 'TOTAL' } });
        const { ConsumedCapacity } = result.output as { ConsumedCapacity?: Capacity | readonly Capacity[] };
        const units = [ConsumedCapacity ?? []].flat() as readonly Capacity[];
        const share = shares[commandName ?? ''] ?? 0;
        bill.writeUnits += share * units.reduce((sum, { CapacityUnits = 0 }) => sum + CapacityUnits, 0);
        return result;
      },
    { step: 'initialize' },
  );
  return bill;
}

/**
 * How much of what DynamoDB Local bills are write units as AWS bills them. It takes four for an item of 1 KB in a transaction, and
 * AWS two.
 *
 * @see https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/transaction-apis.html
 */
const shares: Readonly<Record<string, number>> = {
  ...{ PutItemCommand: 1, UpdateItemCommand: 1, DeleteItemCommand: 1 },
  TransactWriteItemsCommand: 0.5,
};

interface Capacity {
  readonly CapacityUnits?: number;
}

export const sequences: Part = {
  name: 'sequences',
  title: 'Numbered records in ten lanes: by key, by sequence, by position',
  run: (bench) =>
    withTables(async ({ endpoint, client: near, names }) => {
      const proxy = new Worker(new URL('../delay-proxy.ts', import.meta.url), {
        workerData: { port: Number(new URL(endpoint).port), delayMs },
      });
      const [port] = (await once(proxy, 'message')) as [number];
      const recordsInLane = bench.quick ? batchSize : 1_000;

      async function spend(
        tableName: string,
        create: (client: DynamoDBClient, tableName: string) => BatchHandler,
      ): Promise<Spent> {
        const client = clientFor(`http://127.0.0.1:${port}`);
        const bill = billed(client);
        const handler = create(client, tableName);
        const lanes = lanesOf(recordsInLane);
        const startedAtMs = performance.now();
        await Promise.all(
          lanes.map(async (batches) => {
            for (const batch of batches) checkDone(await handler(batch, lambdaContext()));
          }),
        );
        const seconds = (performance.now() - startedAtMs) / 1_000;
        client.destroy();
        let items = 0;
        const scan = { TableName: tableName, Select: 'COUNT', ConsistentRead: true } as const;
        for await (const { Count = 0 } of paginateScan({ client: near }, scan)) items += Count;
        return { ...bill, items, seconds };
      }

      try {
        bench.progress('the peer');
        const theirs = await spend(names.peer, peerHandler);
        const rows: Row[] = [];
        for (const [index, [way, create]] of Object.entries(ways).entries()) {
          bench.progress(way);
          const tableName = `${names.idemkit}-${index}`;
          await createTable(near, { name: tableName });
          const ours = await spend(tableName, create);
          rows.push(
            counted(`${way}: requests`, '', ours.requests, theirs.requests),
            counted(`${way}: write units`, '', ours.writeUnits, theirs.writeUnits),
            counted(`${way}: items in the table`, '', ours.items, theirs.items),
            compare(
              `${way}: ${delayMs} ms away`,
              's',
              { idemkit: [ours.seconds], peer: [theirs.seconds] },
              `one run: ${(recordsInLane * laneCount).toLocaleString('en-US')} records, ${batchSize} a batch; the peer by key, one record after the other`,
            ),
          );
        }
        return { rows };
      } finally {
        await proxy.terminate();
      }
    }),
};

function checkDone(answer: unknown): void {
  const { batchItemFailures } = answer as { readonly batchItemFailures: readonly unknown[] };
  if (batchItemFailures.length > 0) throw new Error(`${batchItemFailures.length} records were not handled.`);
}
