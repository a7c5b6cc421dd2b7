import type {
  Context,
  DynamoDBBatchResponse,
  DynamoDBRecord,
  DynamoDBStreamEvent,
  KinesisStreamBatchResponse,
  KinesisStreamEvent,
  KinesisStreamRecord,
  MSKEvent,
  MSKRecord,
  S3Event,
  S3EventRecord,
  SelfManagedKafkaEvent,
  SNSEvent,
  SNSEventRecord,
  SQSBatchResponse,
  SQSEvent,
  SQSRecord,
} from 'aws-lambda';
import { batchOf, type Operation, remainingTimeOf, UnguardedOperation } from '../engine/index.ts';
import { IdempotencyError, show } from '../errors.ts';
import { asBatch, type Batch, type BatchRecord, shownId } from '../events/index.ts';
import { inParallel } from '../pool.ts';
import { check, checkKnown, isFunction, isRecord } from '../validate.ts';
import { lanesOf } from './lanes.ts';
import { reportOf } from './report.ts';
import type { RecordByRecord } from './settling.ts';

/** A record of a service that invokes a function with batches. */
export type SourceRecord =
  | SQSRecord
  | KinesisStreamRecord
  | DynamoDBRecord
  | MSKRecord
  | SNSEventRecord
  | S3EventRecord;

/** The event that brings such records. */
export type EventOf<Record> = Record extends SQSRecord
  ? SQSEvent
  : Record extends KinesisStreamRecord
    ? KinesisStreamEvent
    : Record extends MSKRecord
      ? MSKEvent | SelfManagedKafkaEvent
      : Record extends SNSEventRecord
        ? SNSEvent
        : Record extends S3EventRecord
          ? S3Event
          : DynamoDBStreamEvent;

/** What the service is to be answered. Services without partial failures are told by an error. */
export type BatchAnswer<Record> = Record extends SQSRecord
  ? SQSBatchResponse
  : Record extends KinesisStreamRecord
    ? KinesisStreamBatchResponse
    : Record extends MSKRecord | SNSEventRecord | S3EventRecord
      ? undefined
      : DynamoDBBatchResponse;

/**
 * A schema of any library that speaks Standard Schema (Zod, Valibot, ArkType, …).
 *
 * @see https://standardschema.dev
 */
export interface Schema<Output = unknown> {
  readonly '~standard': {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined;
  };
}

type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** A record with what was sent in it. */
export type WithPayload<Record, Payload> = Record & {
  /**
   * What was sent: the JSON in the body (SQS), message (SNS), data (Kinesis) or value (Kafka), parsed when it is first
   * read; the images of a DynamoDB record, the `s3` of an S3 record. With a `schema`, what the schema made of it.
   *
   * @throws `BAD_PAYLOAD` if it is not JSON
   */
  readonly payload: Payload;
};

export interface EachRecordOptions<Record extends SourceRecord = SQSRecord, Payload = unknown> {
  /** Checks (and may transform) the payload of every record before its handler is called; one that fails is failed. */
  readonly schema?: Schema<Payload>;
  /**
   * How many records, or groups and shards, are worked on at once; 1 and up.
   *
   * @default 10
   */
  readonly concurrency?: number;
  /**
   * No record is started when less than this, plus the time that the slowest one has taken so far, is left of the
   * invocation, in milliseconds; what was not started is reported and comes again.
   *
   * @default 1000
   */
  readonly stopBeforeDeadlineMs?: number;
  /**
   * Is told of every record that failed and why: a partial batch response has no room for it.
   *
   * @default `console.error`
   */
  readonly onFailure?: (error: unknown, record: Record) => unknown;
}

/**
 * Makes a batch handler of a handler for one record: SQS, Kinesis, DynamoDB Streams, Kafka, SNS or S3.
 *
 * Records of one FIFO group, shard or partition are processed in order: one starts when the one before it is recorded as done,
 * and none after one that failed. All else is processed at once, up to `concurrency`. The answer reports what failed and what was not started (`batchItemFailures`, so switch
 * `ReportBatchItemFailures` on); SNS, S3 and Kafka are told by an error, once the rest is done.
 *
 * Guarded, as `middy().use(idempotent()).handler(eachRecord(…))` or `idempotent(eachRecord(…))`, a record that was
 * completed before is not processed again, and each is settled as soon as it is done. Alone, it guards nothing.
 *
 * @example
 * export const handler = idempotent(eachRecord<SQSRecord>(async (record, operation) => { … }));
 *
 * @throws `BAD_OPTION` at once; a call rejects with `UNSUPPORTED` for an event that is no batch.
 */
export function eachRecord<Record extends SourceRecord = SQSRecord, Payload = any>(
  handler: (record: WithPayload<Record, Payload>, operation: Operation, context: Context) => unknown,
  options: EachRecordOptions<Record, Payload> = {},
): (event: EventOf<Record>, context: Context) => Promise<BatchAnswer<Record>> {
  if (!isFunction(handler)) {
    throw new IdempotencyError(
      'BAD_OPTION',
      `Expected a handler for one record, got ${show(handler)}. Call eachRecord(async (record, operation) => { … }).`,
    );
  }
  const settings = resolve(options as EachRecordOptions<any, any>);
  return async (event, context) => {
    const guarded = batchOf<RecordByRecord>(context);
    const batch = guarded?.batch ?? asBatch(event);
    const lanes = guarded ? guarded.lanesIn(event) : batch && lanesOf(batch.records);
    if (batch !== undefined && lanes !== undefined) {
      const pass = new Pass(batch, guarded, context, handler as RecordHandler, settings);
      return (await pass.go(lanes)) as BatchAnswer<Record>;
    }
    // A middleware has taken all records out.
    if ((event as { Records?: unknown[] } | null)?.Records?.length === 0) {
      return { batchItemFailures: [] } as unknown as BatchAnswer<Record>;
    }
    throw new IdempotencyError(
      'UNSUPPORTED',
      'eachRecord() was given an event that is no batch of SQS, Kinesis, DynamoDB Streams, Kafka, SNS or S3 records. Handle it with a handler of its own.',
    );
  };
}

type RecordHandler = (record: object, operation: Operation, context: Context) => unknown;
type Settings = Required<Omit<EachRecordOptions<any, any>, 'schema'>> &
  Pick<EachRecordOptions<any, any>, 'schema'>;

function resolve(options: EachRecordOptions<any, any>): Settings {
  checkKnown('', options, ['schema', 'concurrency', 'stopBeforeDeadlineMs', 'onFailure']);
  check('schema', options.schema, 'a schema that speaks Standard Schema', (value) =>
    isFunction((value as Schema | null)?.['~standard']?.validate),
  );
  check(
    'concurrency',
    options.concurrency,
    'a whole number of 1 and up',
    (value) => Number.isSafeInteger(value) && (value as number) >= 1,
  );
  check(
    'stopBeforeDeadlineMs',
    options.stopBeforeDeadlineMs,
    'a number of milliseconds, 0 to 900000',
    (value) => typeof value === 'number' && value >= 0 && value <= 900_000,
  );
  check('onFailure', options.onFailure, 'a function', isFunction);
  const { schema, concurrency = 10, stopBeforeDeadlineMs = 1_000, onFailure = tell } = options;
  return { ...(schema && { schema }), concurrency, stopBeforeDeadlineMs, onFailure };
}

function tell(error: unknown): void {
  console.error('[idemkit] A record failed and will be delivered again:', error);
}

/** Requests that settle records, at most at once: as many as the SDK opens sockets for. */
const maxSettling = 50;

/** Records that are processed in order, one after the other, until one fails. */
interface Lane {
  readonly records: readonly BatchRecord[];
  isStopped: boolean;
}

/** One batch on its way through the handler. */
class Pass {
  readonly #batch: Batch;
  readonly #context: Context;
  readonly #handler: RecordHandler;
  readonly #settings: Settings;
  readonly #guarded: RecordByRecord | undefined;
  readonly #failures = new Map<BatchRecord, unknown>();
  readonly #skipped = new Set<BatchRecord>();
  /** Those whose handler was called. */
  readonly #started = new Set<BatchRecord>();
  /** What nobody has waited for yet. */
  readonly #pending = new Set<Promise<void>>();
  #slowestMs = 0;

  constructor(
    batch: Batch,
    guarded: RecordByRecord | undefined,
    context: Context,
    handler: RecordHandler,
    settings: Settings,
  ) {
    this.#batch = batch;
    this.#guarded = guarded;
    this.#context = context;
    this.#handler = handler;
    this.#settings = settings;
  }

  async go(lanes: readonly BatchRecord[][]): Promise<unknown> {
    const inOrder = lanes.map((records): Lane => ({ records, isStopped: false }));
    await inParallel(inOrder, this.#settings.concurrency, async (lane) => {
      for (const record of lane.records) {
        if (!lane.isStopped && this.#isTimeLeft()) await this.#process(record, lane);
        else this.#skip(record);
      }
    });
    while (this.#pending.size > 0) await Promise.all(this.#pending);
    return this.#report(lanes.flat());
  }

  #isTimeLeft(): boolean {
    const remainingMs = remainingTimeOf(this.#context);
    return !remainingMs || remainingMs() >= this.#settings.stopBeforeDeadlineMs + this.#slowestMs;
  }

  #skip(record: BatchRecord): void {
    this.#skipped.add(record);
    this.#guarded?.recordSkipped(record);
  }

  async #process(record: BatchRecord, lane: Lane): Promise<void> {
    const startedAtMs = performance.now();
    const operation = this.#guarded?.operationFor(record) ?? new UnguardedOperation();
    let isHandled = false;
    let settled: Promise<void>;
    try {
      const withPayload = await this.#withPayload(record);
      this.#started.add(record);
      isHandled = true;
      const value = await this.#handler(withPayload, operation, this.#context);
      settled = this.#settle(record, lane, this.#guarded?.recordReturned(record, value));
    } catch (error) {
      this.#fail(record, lane, error);
      settled = this.#settle(record, lane, this.#guarded?.recordThrew(record, error, isHandled));
    }
    // Settling may find that the record has failed after all: then nothing of its lane may start.
    if (record !== lane.records.at(-1)) await settled;
    this.#slowestMs = Math.max(this.#slowestMs, performance.now() - startedAtMs);
    // Records of other lanes do not wait for it, unless the store falls behind.
    while (this.#pending.size >= maxSettling) await Promise.race(this.#pending);
  }

  /** Never rejects. */
  #settle(record: BatchRecord, lane: Lane, settled = Promise.resolve()): Promise<void> {
    return this.#await(settled.catch((error) => this.#fail(record, lane, error)));
  }

  #await(work: Promise<void>): Promise<void> {
    const pending: Promise<void> = work.finally(() => this.#pending.delete(pending));
    this.#pending.add(pending);
    return pending;
  }

  /** A copy: the event is the caller's. */
  async #withPayload(record: BatchRecord): Promise<object> {
    const { schema } = this.#settings;
    let parsed: { readonly value: unknown } | undefined;
    if (schema) {
      const result = await schema['~standard'].validate(record.body());
      if (result.issues) throw badPayload(record, result.issues);
      parsed = result;
    }
    return Object.defineProperty({ ...record.raw }, 'payload', {
      get: () => {
        parsed ??= { value: record.body() };
        return parsed.value;
      },
      enumerable: false,
      configurable: true,
    });
  }

  #fail(record: BatchRecord, lane: Lane, error: unknown): void {
    lane.isStopped = true;
    this.#failures.set(record, error);
    // It is told, not asked: what it throws is its own.
    const told = async () => void (await this.#settings.onFailure(error, record.raw as never));
    void this.#await(told().catch(() => {}));
  }

  #report(records: readonly BatchRecord[]): unknown {
    const comeAgain = records.filter((record) => this.#failures.has(record) || this.#skipped.has(record));
    return reportOf(this.#batch, { comeAgain, errors: this.#failures, started: this.#started });
  }
}

/** Paths tell where to look; messages are the schema's own words and may quote what was sent, so they stay out. */
function badPayload(record: BatchRecord, issues: readonly SchemaIssue[]): IdempotencyError {
  const places = [...new Set(issues.map(({ path = [] }) => path.map(nameOf).join('.')))];
  const named = places.slice(0, maxNamed).map((place) => (place === '' ? 'the whole of it' : `'${place}'`));
  if (places.length > maxNamed) named.push('…');
  return new IdempotencyError(
    'BAD_PAYLOAD',
    `The payload of record ${shownId(record)} does not fit the schema, at ${named.join(', ')}. Mend the sender or the schema; the record is delivered again until it goes to the dead-letter queue.`,
  );
}

const maxNamed = 5;

/** In a map with free keys, a key is what was sent. */
function nameOf(part: PropertyKey | { readonly key: PropertyKey }): string {
  const name = String(isRecord(part) ? part.key : part);
  return /^\w{1,40}$/.test(name) ? name : '…';
}
