import type { Context, SQSBatchResponse } from 'aws-lambda';
import * as v from 'valibot';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { z } from 'zod';
import type { SourceRecord } from '../../lib/index.ts';
import { type EachRecordOptions, eachRecord, IdempotencyError, idempotent } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import {
  failedIn,
  kafkaMessage,
  kinesisEvent,
  kinesisRecord,
  mskEvent,
  s3Event,
  s3Notification,
  selfManagedKafkaEvent,
  snsEvent,
  snsNotification,
  sqsEvent,
  sqsMessage,
  streamEvent,
  streamRecord,
} from '../support/batch-events.ts';
import { turn } from '../support/hands.ts';
import { lambdaContext } from '../support/invocation.ts';

afterEach(() => {
  vi.restoreAllMocks();
});

const context = lambdaContext();
/** Calls a batch handler with whatever event. */
const call = (handler: (event: never, context: Context) => unknown, event: unknown, ctx = context) =>
  handler(event as never, ctx) as Promise<SQSBatchResponse>;

describe("a record's payload", () => {
  const payloads = async (event: unknown, options: EachRecordOptions<SourceRecord, unknown> = {}) => {
    const seen: unknown[] = [];
    const answer = await call(
      eachRecord<SourceRecord>((record) => seen.push(record.payload), { onFailure: () => {}, ...options }),
      event,
    );
    return { seen, answer };
  };
  const order = { id: 'order-1', note: 'ä' };

  it.each<[string, unknown]>([
    ['SQS', sqsEvent(sqsMessage('1', order))],
    ['Kinesis', kinesisEvent(kinesisRecord(1, order))],
    ['SNS', snsEvent(snsNotification('1', order))],
    ['MSK', mskEvent(kafkaMessage(0, 1, order))],
    ['self-managed Kafka', selfManagedKafkaEvent(kafkaMessage(0, 1, order))],
  ])('of %s is its JSON, parsed', async (_, event) => {
    expect((await payloads(event)).seen).toEqual([order]);
  });

  it('of DynamoDB Streams is its images, of S3 its bucket and object', async () => {
    const record = streamRecord(1);
    expect((await payloads(streamEvent(record))).seen).toEqual([record.dynamodb]);
    const upload = s3Notification('a.txt');
    expect((await payloads(s3Event(upload))).seen).toEqual([upload.s3]);
  });

  it('is parsed once, and not before it is read', async () => {
    const parse = vi.spyOn(JSON, 'parse');
    const read: unknown[] = [];
    const event = sqsEvent(sqsMessage('1', order));
    await call(
      eachRecord((record) => {
        expect(parse).not.toHaveBeenCalled();
        read.push(record.payload, record.payload);
      }),
      event,
    );
    expect(parse).toHaveBeenCalledTimes(1);
    expect(read[0]).toBe(read[1]);
    expect(event.Records[0]).not.toHaveProperty('payload');
  });

  it('that is not JSON fails its record when it is read, and is not quoted', async () => {
    const told: unknown[] = [];
    const event = sqsEvent(sqsMessage('m-1', '{"card": s3cret'), sqsMessage('m-2', order));
    const { seen, answer } = await payloads(event, { onFailure: (error) => told.push(error) });
    expect(failedIn(answer)).toEqual(['m-1']);
    expect(seen).toEqual([order]);
    const [error] = told as [IdempotencyError];
    expect(error).toMatchObject({ code: 'BAD_PAYLOAD', message: expect.stringContaining('m-1') });
    expect(`${error.stack} ${String(error.cause)}`).not.toContain('s3cret');

    const text = eachRecord(async ({ body }) => void seen.push(body));
    expect(failedIn(await call(text, event))).toEqual([]);
    expect(seen.at(-2)).toBe('{"card": s3cret');
  });

  const schemas = {
    Zod: z.object({
      id: z.string(),
      amount: z.number().default(1),
      tags: z.record(z.string(), z.number()).optional(),
    }),
    Valibot: v.object({
      id: v.string(),
      amount: v.optional(v.number(), 1),
      tags: v.optional(v.record(v.string(), v.number())),
    }),
  };
  describe.each(Object.entries(schemas))('under a schema of %s', (_, schema) => {
    it('is what the schema makes of it', async () => {
      const { seen } = await payloads(sqsEvent(sqsMessage('1', { id: 'a', extra: true })), { schema });
      expect(seen).toEqual([{ id: 'a', amount: 1 }]);
    });

    it('fails its record where it does not fit; the error says where and quotes nothing', async () => {
      const told: unknown[] = [];
      const secret = 's3cret@example.com';
      const { seen, answer } = await payloads(
        sqsEvent(
          sqsMessage('m-1', { id: 7, amount: secret }),
          sqsMessage('m-2', `not JSON: ${secret}`),
          sqsMessage('m-3', secret),
          sqsMessage('m-4', { id: 'a', tags: { [secret]: secret } }),
          sqsMessage('m-5', { id: 'b' }),
        ),
        { schema, onFailure: (error) => told.push(error) },
      );
      expect(failedIn(answer)).toEqual(['m-1', 'm-2', 'm-3', 'm-4']);
      expect(seen).toEqual([{ id: 'b', amount: 1 }]);
      const errors = told as IdempotencyError[];
      expect(errors.every((error) => IdempotencyError.is(error, 'BAD_PAYLOAD'))).toBe(true);
      const texts = errors.map(({ message }) => message).sort();
      expect(texts[0]).toContain("record m-1 does not fit the schema, at 'id', 'amount'.");
      expect(texts.join('\n')).not.toContain(secret);
    });
  });

  it('may be checked by a schema that takes its time, or throws', async () => {
    const schema = v.pipeAsync(
      v.object({ id: v.string() }),
      v.checkAsync(async ({ id }) => {
        await turn();
        if (id === 'broken') throw new Error('lookup failed');
        return id !== 'unknown';
      }),
    );
    const ids = ['known', 'unknown', 'broken'];
    const { seen, answer } = await payloads(sqsEvent(...ids.map((id) => sqsMessage(id, { id }))), { schema });
    expect(seen).toEqual([{ id: 'known' }]);
    expect(failedIn(answer)).toEqual(['unknown', 'broken']);
  });

  it('that fails its schema is released, guarded, and processed once it fits', async () => {
    let isLenient = false;
    const schema = z.object({ id: z.string() }).refine(() => isLenient);
    const seen: unknown[] = [];
    const handler = idempotent(
      eachRecord((record) => seen.push(record.payload), { schema, onFailure: () => {} }),
      { store: memoryStore() },
    );
    const event = sqsEvent(sqsMessage('m-1', { id: 'a' }));
    expect(failedIn(await handler(event, context))).toEqual(['m-1']);
    isLenient = true;
    expect(failedIn(await handler(event, context))).toEqual([]);
    expect(seen).toEqual([{ id: 'a' }]);
  });

  it('names no more than five places, and none that is not a name', async () => {
    const told: unknown[] = [];
    const schema = z.array(z.string());
    const event = sqsEvent(sqsMessage('m-1', Array(1_000).fill(1)));
    await payloads(event, { schema, onFailure: (error) => told.push(error) });
    expect((told[0] as Error).message).toContain("at '0', '1', '2', '3', '4', ….");
  });
});
