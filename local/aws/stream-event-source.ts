import { createHash } from 'node:crypto';
import {
  type AttributeValue,
  DescribeStreamCommand,
  type DynamoDBStreamsClient,
  ExpiredIteratorException,
  GetRecordsCommand,
  type GetRecordsOutput,
  GetShardIteratorCommand,
  type Shard,
  type _Record as StreamRecord,
  TrimmedDataAccessException,
} from '@aws-sdk/client-dynamodb-streams';
import type { DynamoDBRecord, DynamoDBStreamEvent, AttributeValue as JsonAttributeValue } from 'aws-lambda';
import { region } from './account.ts';
import { compileFilter, type FilterPattern } from './event-filter.ts';
import { type EventSource, failedItems, pause, repeatUntil } from './event-source.ts';
import type { Invocation } from './lambda.ts';

/** An event source mapping of a table's stream, with the names and defaults of Lambda. Begins at `TRIM_HORIZON`. */
export interface StreamEventSourceDescription {
  /** The name of the table. */
  readonly stream: string;
  readonly function: string;
  /** 1 to 1000. @default 100 */
  readonly batchSize?: number;
  /** A record goes to the function if one of these matches. @default every record */
  readonly filters?: readonly FilterPattern[];
  /** Whether the function's `batchItemFailures` count. The retry then begins at the lowest one. @default false */
  readonly reportBatchItemFailures?: boolean;
  /** Splits a batch that failed as a whole in two; that is no retry yet. @default false */
  readonly bisectBatchOnFunctionError?: boolean;
  /** How many batches of one shard are with the function at once, 1 to 10. Records of one item are in one of them. @default 1 */
  readonly parallelizationFactor?: number;
  /** After that the batch is discarded. @default retries for ever */
  readonly maxRetryAttempts?: number;
  /** A batch that fails when its first record is older than that is discarded. @default any age */
  readonly maxRecordAgeSeconds?: number;
}

/** Records that are given up. */
export interface Discarded {
  readonly shardId: string;
  readonly records: readonly DynamoDBRecord[];
  readonly reason: 'RetryAttemptsExhausted' | 'EventAgeExceeded';
}

/** @throws Error with what Lambda would not accept */
export function checkStreamEventSource(description: StreamEventSourceDescription): void {
  const { stream, batchSize = 100, filters = [] } = description;
  if (!(Number.isInteger(batchSize) && batchSize >= 1 && batchSize <= 1000)) {
    throw new Error(
      `Event source '${stream}': batchSize is a whole number from 1 to 1000, not ${batchSize}.`,
    );
  }
  const { parallelizationFactor: factor = 1 } = description;
  if (!(Number.isInteger(factor) && factor >= 1 && factor <= 10)) {
    throw new Error(
      `Event source '${stream}': parallelizationFactor is a whole number from 1 to 10, not ${factor}.`,
    );
  }
  for (const filter of filters) compileFilter(filter);
}

export interface StreamEventSourceOptions {
  /** Whose reader it is. For messages. */
  readonly name: string;
  readonly client: DynamoDBStreamsClient;
  readonly streamArn: string;
  readonly invoke: (event: DynamoDBStreamEvent) => Promise<Invocation>;
  /** Told when a batch is given up; reading goes on after that. */
  readonly onDiscard: (discarded: Discarded) => void | Promise<void>;
  /** How far each shard has been handled. A reader begins there; the map outlives it. @default from the beginning */
  readonly positions?: Map<string, string>;
}

export interface StreamEventSource extends EventSource {
  /** Resolves once everything that is in the stream by now has been dealt with. */
  drained(): Promise<void>;
}

/** Lambda asks four times a second. */
const pollIntervalMs = 50;
const maxRetryDelayMs = 1000;

interface ShardReader {
  readonly done: Promise<void>;
  isDone: boolean;
  /** Resolves once the shard has been read to its end, as it is now. */
  caughtUp(): Promise<void>;
}

/**
 * Reads a stream for a function, as Lambda does: shard by shard in order, a batch at a time, and goes on only once a
 * batch has succeeded or is discarded.
 *
 * @see https://docs.aws.amazon.com/lambda/latest/dg/with-ddb.html
 */
export function startStreamEventSource(
  description: Omit<StreamEventSourceDescription, 'function' | 'stream'>,
  { name, client, streamArn, invoke, onDiscard, positions = new Map() }: StreamEventSourceOptions,
): StreamEventSource {
  const { batchSize = 100, maxRetryAttempts = Number.POSITIVE_INFINITY } = description;
  const { reportBatchItemFailures = false, bisectBatchOnFunctionError = false } = description;
  const { maxRecordAgeSeconds = Number.POSITIVE_INFINITY, parallelizationFactor = 1 } = description;
  const filters = (description.filters ?? []).map(compileFilter);
  const stopping = new AbortController();
  const { signal } = stopping;
  const shards = new Map<string, ShardReader>();

  async function findShards(): Promise<void> {
    const found: Shard[] = [];
    let ExclusiveStartShardId: string | undefined;
    do {
      const { StreamDescription } = await client.send(
        new DescribeStreamCommand({ StreamArn: streamArn, ExclusiveStartShardId }),
        { abortSignal: signal },
      );
      found.push(...(StreamDescription?.Shards ?? []));
      ExclusiveStartShardId = StreamDescription?.LastEvaluatedShardId;
    } while (ExclusiveStartShardId !== undefined);
    for (const { ShardId = '', ParentShardId } of found) {
      const parent = found.find((shard) => shard.ShardId === ParentShardId)?.ShardId;
      // What a shard's parent holds comes first.
      if (parent !== undefined && !shards.get(parent)?.isDone) continue;
      if (!shards.has(ShardId)) shards.set(ShardId, readShard(ShardId));
    }
  }

  function readShard(ShardId: string): ShardReader {
    let iterator: string | undefined;
    const waiting: (() => void)[] = [];

    async function readOnce(): Promise<'done' | undefined> {
      iterator ??= await iteratorAfter(ShardId, positions.get(ShardId));
      // Only those who wait before the question is asked can rely on the answer.
      const relying = waiting.length;
      const page = await getRecords(iterator);
      if (page === 'iterator lost') {
        iterator = undefined;
        return undefined;
      }
      const records = (page.Records ?? []).map((record) => recordOf(record, streamArn));
      const batches = byItem(records.filter(isWanted), parallelizationFactor);
      await Promise.all(batches.map((batch) => handle(ShardId, batch)));
      if (signal.aborted) return undefined;
      const handledTo = records.at(-1)?.dynamodb?.SequenceNumber;
      if (handledTo !== undefined) positions.set(ShardId, handledTo);
      iterator = page.NextShardIterator;
      if (iterator === undefined) return 'done';
      if (records.length > 0) return undefined;
      for (const resolve of waiting.splice(0, relying)) resolve();
      await pause(pollIntervalMs, signal);
      return undefined;
    }

    const reader: ShardReader = {
      isDone: false,
      done: repeatUntil(signal, name, readOnce).then(() => {
        reader.isDone = true;
        for (const resolve of waiting.splice(0)) resolve();
      }),
      caughtUp: () =>
        reader.isDone ? Promise.resolve() : new Promise((resolve) => void waiting.push(resolve)),
    };
    return reader;
  }

  async function iteratorAfter(ShardId: string, SequenceNumber?: string): Promise<string | undefined> {
    const from =
      SequenceNumber === undefined
        ? { ShardIteratorType: 'TRIM_HORIZON' as const }
        : { ShardIteratorType: 'AFTER_SEQUENCE_NUMBER' as const, SequenceNumber };
    const { ShardIterator } = await client.send(
      new GetShardIteratorCommand({ StreamArn: streamArn, ShardId, ...from }),
      { abortSignal: signal },
    );
    return ShardIterator;
  }

  async function getRecords(ShardIterator: string | undefined): Promise<GetRecordsOutput | 'iterator lost'> {
    try {
      return await client.send(new GetRecordsCommand({ ShardIterator, Limit: batchSize }), {
        abortSignal: signal,
      });
    } catch (error) {
      // DynamoDB Local counts through all tables: an iterator of an empty shard is behind its first record, and refused.
      const isLost = error instanceof TrimmedDataAccessException || error instanceof ExpiredIteratorException;
      if (isLost) return 'iterator lost';
      throw error;
    }
  }

  const isWanted = (record: DynamoDBRecord): boolean =>
    filters.length === 0 || filters.some((matches) => matches(record));

  async function handle(shardId: string, batch: readonly DynamoDBRecord[], retries = 0): Promise<void> {
    if (batch.length === 0 || signal.aborted) return;
    const invocation = await invoke({ Records: [...batch] });
    if (signal.aborted) return;
    const numbers = batch.map(({ dynamodb }) => dynamodb?.SequenceNumber ?? '');
    const [lowest] = failedItems(invocation, numbers, reportBatchItemFailures);
    if (lowest === undefined) return;

    const rest = batch.slice(numbers.indexOf(lowest));
    if (bisectBatchOnFunctionError && batch.length > 1) {
      if (rest.length < batch.length) return handle(shardId, rest, retries);
      const middle = Math.ceil(batch.length / 2);
      await handle(shardId, batch.slice(0, middle), retries);
      return handle(shardId, batch.slice(middle), retries);
    }
    if (retries >= maxRetryAttempts) {
      return onDiscard({ shardId, records: rest, reason: 'RetryAttemptsExhausted' });
    }
    if (ageSecondsOf(rest[0]) > maxRecordAgeSeconds) {
      return onDiscard({ shardId, records: rest, reason: 'EventAgeExceeded' });
    }
    await pause(Math.min(pollIntervalMs * 2 ** retries, maxRetryDelayMs), signal);
    return handle(shardId, rest, retries + 1);
  }

  const discovery = repeatUntil(signal, name, async () => {
    await findShards();
    await pause(shards.size === 0 ? pollIntervalMs : maxRetryDelayMs, signal);
  });

  return {
    stop: () => stopping.abort(),
    ended: discovery.then(async () => {
      await Promise.all([...shards.values()].map(({ done }) => done));
    }),
    async drained() {
      let read: number;
      do {
        await findShards();
        read = shards.size;
        await Promise.all([...shards.values()].map((shard) => shard.caughtUp()));
        // A shard's children are found once it has been read.
        await findShards();
      } while (shards.size > read);
    },
  };
}

/** Sorts records into at most `count` batches. Those of one item stay together, in their order. */
function byItem(records: readonly DynamoDBRecord[], count: number): DynamoDBRecord[][] {
  const batches = Array.from({ length: count }, (): DynamoDBRecord[] => []);
  for (const record of records) {
    const key = JSON.stringify(record.dynamodb?.Keys);
    const hash = createHash('md5').update(key).digest().readUInt32BE();
    batches[hash % count]?.push(record);
  }
  return batches;
}

const ageSecondsOf = (record: DynamoDBRecord | undefined): number =>
  Date.now() / 1000 - (record?.dynamodb?.ApproximateCreationDateTime ?? Number.POSITIVE_INFINITY);

function recordOf(record: StreamRecord, eventSourceARN: string): DynamoDBRecord {
  const { dynamodb = {}, userIdentity } = record;
  const { ApproximateCreationDateTime, Keys, NewImage, OldImage, ...rest } = dynamodb;
  return {
    eventID: record.eventID,
    eventName: record.eventName,
    eventVersion: record.eventVersion,
    eventSource: record.eventSource,
    awsRegion: region,
    dynamodb: {
      ...(ApproximateCreationDateTime && {
        ApproximateCreationDateTime: Math.floor(ApproximateCreationDateTime.getTime() / 1000),
      }),
      ...(Keys && { Keys: imageOf(Keys) }),
      ...(NewImage && { NewImage: imageOf(NewImage) }),
      ...(OldImage && { OldImage: imageOf(OldImage) }),
      ...rest,
    },
    // A removal by TTL says so here.
    ...(userIdentity && {
      userIdentity: { principalId: userIdentity.PrincipalId, type: userIdentity.Type },
    }),
    eventSourceARN,
  } as DynamoDBRecord;
}

const imageOf = (image: Record<string, AttributeValue>): Record<string, JsonAttributeValue> =>
  Object.fromEntries(Object.entries(image).map(([name, value]) => [name, jsonOf(value)]));

/** In an event bytes are base64; the SDK has them as bytes. */
function jsonOf(value: AttributeValue): JsonAttributeValue {
  if (value.B !== undefined) return { B: base64(value.B) };
  if (value.BS !== undefined) return { BS: value.BS.map(base64) };
  if (value.M !== undefined) return { M: imageOf(value.M) };
  if (value.L !== undefined) return { L: value.L.map(jsonOf) };
  return value as JsonAttributeValue;
}

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
