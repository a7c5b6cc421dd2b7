import middy7 from '@middy/core';
import type {
  CloudFrontRequestEvent,
  Context,
  DynamoDBBatchResponse,
  DynamoDBRecord,
  DynamoDBStreamEvent,
  Handler,
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
import middy6 from 'middy6';
import * as v from 'valibot';
import { afterEach, beforeEach, describe, expect, expectTypeOf, it, vi } from 'vitest';
import { z } from 'zod';
import type { SourceRecord } from '../../lib/index.ts';
import {
  type EachRecordOptions,
  eachRecord,
  idempotent,
  type Operation,
  type SubjectOf,
} from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import {
  failedIn,
  fifoMessage,
  kafkaMessage,
  kinesisEvent,
  kinesisRecord,
  mskEvent,
  snsEvent,
  snsNotification,
  sqsEvent,
  sqsMessage,
} from '../support/batch-events.ts';
import { deferred, turn } from '../support/hands.ts';
import { lambdaContext } from '../support/invocation.ts';
import { byRecord, type Named } from './bench.ts';

let errorLog: ReturnType<typeof vi.spyOn>;
beforeEach(() => {
  errorLog = vi.spyOn(console, 'error').mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

const context = lambdaContext();
/** Calls a batch handler with whatever event. */
const call = (handler: (event: never, context: Context) => unknown, event: unknown, ctx = context) =>
  handler(event as never, ctx) as Promise<SQSBatchResponse>;

describe('eachRecord() alone', () => {
  /** Works on records in turn; those in `failing` fail. */
  function recording(
    failing: readonly string[] = [],
    options: EachRecordOptions<SourceRecord, unknown> = {},
  ) {
    const runs: string[] = [];
    const handler = eachRecord<SourceRecord>(
      async (record) => {
        const name = byRecord(record as Named);
        runs.push(name);
        await turn();
        if (failing.includes(name)) throw new Error(`${name} is down`);
      },
      { onFailure: () => {}, ...options },
    );
    return { runs, handler };
  }
  const group = (name: string, count: number) =>
    Array.from({ length: count }, (_, at) => fifoMessage(`${name}-${at + 1}`, name));

  it('reports the messages of a standard queue that failed', async () => {
    const { runs, handler } = recording(['m-2']);
    const event = sqsEvent(...['m-1', 'm-2', 'm-3'].map((id) => sqsMessage(id)));
    expect(await call(handler, event)).toEqual({ batchItemFailures: [{ itemIdentifier: 'm-2' }] });
    expect(runs).toEqual(['m-1', 'm-2', 'm-3']);
    // It guards nothing.
    await call(handler, event);
    expect(runs).toHaveLength(6);
  });

  it('stops a FIFO group at its first failure and reports the rest of it; other groups go on', async () => {
    const { runs, handler } = recording(['a-2', 'b-3']);
    const [a1, a2, a3] = group('a', 3) as [SQSRecord, SQSRecord, SQSRecord];
    const answer = await call(handler, sqsEvent(a1, ...group('b', 3), a2, a3));
    expect(failedIn(answer)).toEqual(['b-3', 'a-2', 'a-3']);
    expect(runs.filter((id) => id.startsWith('a'))).toEqual(['a-1', 'a-2']);
    expect(runs.filter((id) => id.startsWith('b'))).toEqual(['b-1', 'b-2', 'b-3']);
  });

  it('works on one record of a group at a time, and on groups at once', async () => {
    const underWay = new Map<string, number>();
    const both = deferred();
    const handler = eachRecord<SQSRecord>(async ({ attributes }) => {
      const name = attributes.MessageGroupId ?? '';
      underWay.set(name, (underWay.get(name) ?? 0) + 1);
      expect(underWay.get(name)).toBe(1);
      if (underWay.get('a') && underWay.get('b')) both.resolve();
      await both.promise;
      await turn();
      underWay.set(name, 0);
    });
    expect(failedIn(await call(handler, sqsEvent(...group('a', 3), ...group('b', 3))))).toEqual([]);
  });

  it('reports the lowest of a stream, by its value and not by its text', async () => {
    const { runs, handler } = recording(['10']);
    const records = [8, 9, 10, 11].map((at) => kinesisRecord(at));
    expect(await call(handler, kinesisEvent(...records))).toEqual({
      batchItemFailures: [{ itemIdentifier: '10' }],
    });
    expect(runs).toEqual(['8', '9', '10']);
    // Two shards in one batch, as only tests have them: the lowest of what failed or was not started.
    const shards = recording(['9', '10']);
    const [one, other] = [kinesisRecord(10, {}, 1), kinesisRecord(9)];
    expect(failedIn(await call(shards.handler, kinesisEvent(one, other)))).toEqual(['9']);
  });

  it('fails a batch of SNS, S3 or Kafka with the error of one, or with all of several', async () => {
    const { handler } = recording(['2']);
    const notifications = (...ids: string[]) => snsEvent(...ids.map((id) => snsNotification(id)));
    await expect(call(handler, notifications('1', '2', '3'))).rejects.toThrow(/^2 is down$/);
    expect(await call(handler, notifications('1', '3'))).toBeUndefined();
    const several = recording(['2', '3']);
    await expect(call(several.handler, notifications('1', '2', '3'))).rejects.toMatchObject({
      code: 'BATCH_FAILED',
      message: expect.stringMatching(/^Records failed: 2 of 3\./),
      cause: { errors: [{ message: '2 is down' }, { message: '3 is down' }] },
    });
  });

  it.each([1, 2, 7])('works on %i records at once, if told to', async (concurrency) => {
    let underWay = 0;
    let most = 0;
    const handler = eachRecord(
      async () => {
        most = Math.max(most, ++underWay);
        await turn();
        underWay--;
      },
      { concurrency },
    );
    await call(handler, sqsEvent(...Array.from({ length: 20 }, (_, at) => sqsMessage(`m-${at}`))));
    expect(most).toBe(concurrency);
  });

  it('gives each record an operation that guards nothing, with a token of its own', async () => {
    const operations: Operation[] = [];
    await call(
      eachRecord((_, operation) => operations.push(operation)),
      sqsEvent(sqsMessage('m-1'), sqsMessage('m-2')),
    );
    expect(operations.map(({ guarded }) => guarded)).toEqual([false, false]);
    expect(operations[0]?.token('charge')).not.toBe(operations[1]?.token('charge'));
  });

  it('hands the context on', async () => {
    const seen: unknown[] = [];
    await call(
      eachRecord((_, __, ctx) => seen.push(ctx)),
      sqsEvent(sqsMessage('m-1')),
    );
    expect(seen).toEqual([context]);
  });

  it('starts nothing when less is left than the reserve and the slowest record', async () => {
    let remainingMs = 2_000;
    const ctx = lambdaContext(() => remainingMs);
    const runs: string[] = [];
    const handler = eachRecord<SQSRecord>(
      async ({ messageId }) => {
        runs.push(messageId);
        remainingMs -= 600;
      },
      { concurrency: 1 },
    );
    const event = sqsEvent(...['m-1', 'm-2', 'm-3', 'm-4'].map((id) => sqsMessage(id)));
    expect(failedIn(await call(handler, event, ctx))).toEqual(['m-3', 'm-4']);
    expect(runs).toEqual(['m-1', 'm-2']);
  });

  it('counts in how long a record takes', async () => {
    let remainingMs = 1_200;
    const now = vi.spyOn(performance, 'now').mockReturnValueOnce(0).mockReturnValueOnce(300);
    const handler = eachRecord<SQSRecord>(
      async () => {
        remainingMs = 1_200;
      },
      { concurrency: 1 },
    );
    const ctx = lambdaContext(() => remainingMs);
    expect(failedIn(await call(handler, sqsEvent(sqsMessage('m-1'), sqsMessage('m-2')), ctx))).toEqual([
      'm-2',
    ]);
    expect(now).toHaveBeenCalledTimes(2);
  });

  it('keeps as much time back as it is told to, and may be told none', async () => {
    const event = sqsEvent(sqsMessage('m-1'));
    const within = (stopBeforeDeadlineMs: number) =>
      call(
        eachRecord(async () => {}, { stopBeforeDeadlineMs }),
        event,
        lambdaContext(5_000),
      );
    expect(failedIn(await within(5_001))).toEqual(['m-1']);
    expect(failedIn(await within(5_000))).toEqual([]);
    const last = eachRecord(async () => {}, { stopBeforeDeadlineMs: 0 });
    expect(failedIn(await call(last, event, lambdaContext(0)))).toEqual([]);
  });

  it('fails a batch without partial failures when there is no time to start all of it', async () => {
    const { runs, handler } = recording();
    for (const event of [snsEvent(snsNotification('1')), mskEvent(kafkaMessage(0, 1))]) {
      await expect(call(handler, event, lambdaContext(500))).rejects.toMatchObject({ code: 'NO_TIME_LEFT' });
    }
    expect(runs).toEqual([]);
  });

  it('tells of each failure, and by default the log', async () => {
    const told: unknown[] = [];
    const event = sqsEvent(sqsMessage('m-1'), sqsMessage('m-2'));
    const { handler } = recording(['m-2'], { onFailure: (error, record) => told.push([error, record]) });
    await call(handler, event);
    expect(told).toEqual([[new Error('m-2 is down'), event.Records[1]]]);

    await call(
      eachRecord(async () => {
        throw new Error('down');
      }),
      sqsEvent(sqsMessage('m-1')),
    );
    expect(errorLog).toHaveBeenCalledExactlyOnceWith(
      '[idemkit] A record failed and will be delivered again:',
      new Error('down'),
    );
  });

  it.each<[string, () => unknown]>([
    [
      'throws',
      () => {
        throw new Error('observer');
      },
    ],
    ['rejects', () => Promise.reject(new Error('observer'))],
  ])('goes on when the one that is told %s', async (_, onFailure) => {
    const { handler } = recording(['m-1'], { onFailure });
    expect(failedIn(await call(handler, sqsEvent(sqsMessage('m-1'), sqsMessage('m-2'))))).toEqual(['m-1']);
  });

  it('waits for the one that is told, so that it is not frozen half-way', async () => {
    const told = deferred();
    let isOver = false;
    const { handler } = recording(['m-1'], { onFailure: () => told.promise });
    const answer = call(handler, sqsEvent(sqsMessage('m-1'))).finally(() => {
      isOver = true;
    });
    for (let i = 0; i < 5; i++) await turn();
    expect(isOver).toBe(false);
    told.resolve();
    expect(failedIn(await answer)).toEqual(['m-1']);
  });

  it.each([undefined, null, 'text', 0, { code: 'E' }])(
    'takes %j that was thrown for a failure',
    async (thrown) => {
      const handler = eachRecord<SourceRecord>(() => {
        throw thrown;
      });
      expect(failedIn(await call(handler, sqsEvent(sqsMessage('m-1'))))).toEqual(['m-1']);
      await expect(call(handler, snsEvent(snsNotification('1')))).rejects.toBeInstanceOf(Error);
    },
  );

  it.each([undefined, null, 'text', {}, { Records: [{ eventSource: 'aws:ses' }] }, { Records: 'x' }, [1]])(
    'refuses what is no batch: %j',
    async (event) => {
      const handle = vi.fn();
      await expect(call(eachRecord(handle), event)).rejects.toMatchObject({ code: 'UNSUPPORTED' });
      expect(handle).not.toHaveBeenCalled();
    },
  );

  it('has nothing to do where there are no records', async () => {
    expect(await call(eachRecord(vi.fn()), { Records: [] })).toEqual({ batchItemFailures: [] });
  });

  it.each<[string, () => unknown]>([
    ['no handler', () => eachRecord(undefined as never)],
    ['options before the handler', () => eachRecord({} as never)],
    ['an unknown option', () => eachRecord(async () => {}, { paralell: 2 } as never)],
    ['a concurrency of 0', () => eachRecord(async () => {}, { concurrency: 0 })],
    ['a concurrency of 1.5', () => eachRecord(async () => {}, { concurrency: 1.5 })],
    ['a reserve below 0', () => eachRecord(async () => {}, { stopBeforeDeadlineMs: -1 })],
    ['a reserve of text', () => eachRecord(async () => {}, { stopBeforeDeadlineMs: '1' as never })],
    ['a schema that is none', () => eachRecord(async () => {}, { schema: {} as never })],
    ['a text to tell', () => eachRecord(async () => {}, { onFailure: 'log' as never })],
  ])('refuses %s at once', (_, make) => {
    expect(make).toThrow(expect.objectContaining({ code: 'BAD_OPTION' }));
  });
});

describe('the type of eachRecord()', () => {
  it('is of SQS where nothing else is said', () => {
    const handler = eachRecord(async (record, operation, context) => {
      expectTypeOf(record).toExtend<SQSRecord>();
      expectTypeOf(record.payload).toBeAny();
      expectTypeOf(operation).toEqualTypeOf<Operation>();
      expectTypeOf(context).toEqualTypeOf<Context>();
    });
    expectTypeOf(handler).parameter(0).toEqualTypeOf<SQSEvent>();
    expectTypeOf(handler).returns.toEqualTypeOf<Promise<SQSBatchResponse>>();
    expectTypeOf(handler).toExtend<Handler<SQSEvent, SQSBatchResponse>>();
  });

  it('goes by the record that is named', () => {
    const work = async () => {};
    const kinesis = eachRecord<KinesisStreamRecord>(work);
    expectTypeOf(kinesis).parameter(0).toEqualTypeOf<KinesisStreamEvent>();
    expectTypeOf(kinesis).returns.toEqualTypeOf<Promise<KinesisStreamBatchResponse>>();
    const dynamodb = eachRecord<DynamoDBRecord>(work);
    expectTypeOf(dynamodb).parameter(0).toEqualTypeOf<DynamoDBStreamEvent>();
    expectTypeOf(dynamodb).returns.toEqualTypeOf<Promise<DynamoDBBatchResponse>>();
    const kafka = eachRecord<MSKRecord>(work);
    expectTypeOf(kafka).parameter(0).toEqualTypeOf<MSKEvent | SelfManagedKafkaEvent>();
    expectTypeOf(kafka).returns.toEqualTypeOf<Promise<undefined>>();
    expectTypeOf(eachRecord<SNSEventRecord>(work)).parameter(0).toEqualTypeOf<SNSEvent>();
    expectTypeOf(eachRecord<S3EventRecord>(work)).parameter(0).toEqualTypeOf<S3Event>();
    expectTypeOf(eachRecord<S3EventRecord>(work)).returns.toEqualTypeOf<Promise<undefined>>();
    // @ts-expect-error no record of a service that sends batches
    eachRecord<{ id: string }>(work);
    // @ts-expect-error another service's event
    expectTypeOf(kinesis).toBeCallableWith(sqsEvent(), context);
  });

  it('goes by the record that the handler takes', () => {
    const handler = eachRecord(async (record: KinesisStreamRecord) => record.kinesis.data);
    expectTypeOf(handler).parameter(0).toEqualTypeOf<KinesisStreamEvent>();
  });

  it('types the payload by the schema', () => {
    const order = z.object({ id: z.string(), amount: z.number().default(1) });
    eachRecord(
      async (record) => {
        expectTypeOf(record.payload).toEqualTypeOf<{ id: string; amount: number }>();
        expectTypeOf(record.messageId).toEqualTypeOf<string>();
        // @ts-expect-error orders have no email
        record.payload.email;
      },
      { schema: order },
    );
    eachRecord(
      async (record) => {
        expectTypeOf(record.payload).toEqualTypeOf<{ id: string }>();
      },
      { schema: v.object({ id: v.string() }) },
    );
    eachRecord<KinesisStreamRecord, z.infer<typeof order>>(
      async (record) => {
        expectTypeOf(record.payload.amount).toEqualTypeOf<number>();
        expectTypeOf(record.kinesis.sequenceNumber).toEqualTypeOf<string>();
      },
      { schema: order },
    );
  });

  it('goes with Middy and with the wrapper', async () => {
    const store = memoryStore();
    const records = eachRecord(async (record) => record.payload.id, { onFailure: () => {} });
    const six = middy6<SQSEvent, SQSBatchResponse>().use(idempotent({ store })).handler(records);
    const seven = middy7<SQSEvent, SQSBatchResponse>()
      .use(idempotent({ store, namespace: 'seven' }))
      .handler(records);
    const wrapped = idempotent(records, {
      store,
      namespace: 'wrapped',
      key: (record) => {
        expectTypeOf(record).toEqualTypeOf<SQSRecord>();
        return record.messageId;
      },
    });
    for (const handler of [six, seven, wrapped]) {
      expectTypeOf(handler).parameter(0).toEqualTypeOf<SQSEvent>();
      expectTypeOf(handler).toExtend<Handler<SQSEvent, SQSBatchResponse>>();
      expect(await call(handler, sqsEvent(sqsMessage('m-1')))).toEqual({ batchItemFailures: [] });
    }
    const kinesis = middy7<KinesisStreamEvent, KinesisStreamBatchResponse>()
      .use(idempotent())
      .handler(eachRecord<KinesisStreamRecord>(async () => {}));
    expectTypeOf(kinesis).parameter(0).toEqualTypeOf<KinesisStreamEvent>();
    const sns = idempotent(eachRecord<SNSEventRecord>(async () => {}));
    expectTypeOf(sns).parameter(0).toEqualTypeOf<SNSEvent>();
    expectTypeOf(sns).returns.toEqualTypeOf<Promise<undefined>>();
  });

  it("types the options' event as one record", () => {
    idempotent(
      eachRecord<MSKRecord>(async () => {}),
      {
        key: (record) => {
          expectTypeOf(record).toEqualTypeOf<MSKRecord>();
          return [record.offset];
        },
      },
    );
    idempotent(async (_: DynamoDBStreamEvent) => {}, {
      key: (record) => {
        expectTypeOf(record).toEqualTypeOf<DynamoDBRecord>();
        return record.eventID;
      },
    });
    expectTypeOf<SubjectOf<SelfManagedKafkaEvent>>().toEqualTypeOf<MSKRecord>();
    expectTypeOf<SubjectOf<S3Event>>().toEqualTypeOf<S3EventRecord>();
    expectTypeOf<SubjectOf<CloudFrontRequestEvent>>().toEqualTypeOf<CloudFrontRequestEvent>();
    expectTypeOf<SubjectOf<{ id: string }>>().toEqualTypeOf<{ id: string }>();
    // biome-ignore lint/suspicious/noExplicitAny: what the type makes of an `any` is what is tested
    expectTypeOf<SubjectOf<any>>().toBeAny();
    expectTypeOf<SubjectOf<unknown>>().toBeUnknown();
  });
});
