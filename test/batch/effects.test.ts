import middy from '@middy/core';
import type { Context, SNSEvent, SNSEventRecord } from 'aws-lambda';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { SourceRecord } from '../../lib/index.ts';
import { eachRecord, freshRecords, IdempotencyError, idempotent, operation } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import {
  kafkaMessage,
  mskEvent,
  s3Event,
  s3Notification,
  snsEvent,
  snsNotification,
} from '../support/batch-events.ts';
import { lambdaContext } from '../support/invocation.ts';

beforeEach(() => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

type BatchHandler = (event: object, context: Context) => Promise<unknown>;
const quiet = { onFailure: () => {} };

/** How a handler is guarded, or not. */
const doors: [string, (handler: BatchHandler) => BatchHandler][] = [
  ['alone', (handler) => handler],
  ['in the wrapper', (handler) => idempotent(handler, { store: memoryStore() })],
  [
    'under Middy',
    (handler) =>
      middy<object>()
        .use(idempotent({ store: memoryStore() }))
        .handler(handler) as BatchHandler,
  ],
];

const events: [string, object][] = [
  ['SNS', snsEvent(...['1', '2', '3'].map((id) => snsNotification(id)))],
  ['S3', s3Event(...['1', '2', '3'].map((id) => s3Notification(id)))],
  ['Kafka', mskEvent(...[1, 2, 3].map((offset) => kafkaMessage(0, offset)))],
];

describe.each(doors)('eachRecord %s', (_, guard) => {
  describe.each(events)('for %s', (_service, event) => {
    it('says that something may have been done where time ran out after the first record', async () => {
      let leftMs = 30_000;
      const handler = guard(
        eachRecord<SourceRecord>(
          async () => {
            leftMs = 500;
          },
          { ...quiet, concurrency: 1 },
        ) as BatchHandler,
      );
      const answer = handler(
        event,
        lambdaContext(() => leftMs),
      );
      await expect(answer).rejects.toMatchObject({ code: 'NO_TIME_LEFT', effect: 'possible' });
    });

    it('says that nothing was done where time ran out before the first record', async () => {
      const handler = guard(eachRecord<SourceRecord>(async () => {}, quiet) as BatchHandler);
      // Enough to claim, and too little to start.
      await expect(handler(event, lambdaContext(900))).rejects.toMatchObject({
        ...{ code: 'NO_TIME_LEFT', effect: 'none' },
      });
    });
  });

  it('says that something may have been done where one record was refused and another was processed', async () => {
    const schema = {
      '~standard': {
        ...{ version: 1 as const, vendor: 'test' },
        validate: (value: unknown) =>
          (value as { id: string }).id === '2' ? { issues: [{ message: 'no' }] } : { value },
      },
    };
    const handler = guard(eachRecord<SourceRecord>(async () => {}, { ...quiet, schema }) as BatchHandler);
    const one = snsEvent(snsNotification('2'));
    await expect(handler(one, lambdaContext())).rejects.toMatchObject({
      ...{ code: 'BAD_PAYLOAD', effect: 'none' },
    });
    const two = snsEvent(snsNotification('1'), snsNotification('2'));
    await expect(handler(two, lambdaContext())).rejects.toMatchObject({
      ...{ code: 'BAD_PAYLOAD', effect: 'possible' },
    });
  });
});

describe.each(doors.slice(1))('a plain batch handler %s', (_, guard) => {
  const handler = () =>
    guard(
      freshRecords(async (event, context) => {
        for (const record of (event as SNSEvent).Records) {
          const op = operation(context, record);
          await op.step('charge', () => {});
          if (record.Sns.MessageId === 'bad') {
            throw new IdempotencyError('BAD_WRITES', 'Nothing has been written.');
          }
        }
      }),
    );

  it('keeps the words of its only record, which has taken a step', async () => {
    await expect(handler()(snsEvent(snsNotification('bad')), lambdaContext())).rejects.toMatchObject({
      ...{ code: 'BAD_WRITES', effect: 'possible', message: 'Nothing has been written.' },
    });
  });

  it('may have done something where one of several records says that it has not', async () => {
    const event = snsEvent(snsNotification('good'), snsNotification('bad'));
    await expect(handler()(event, lambdaContext())).rejects.toMatchObject({
      ...{ code: 'BAD_WRITES', effect: 'possible' },
    });
  });

  it('may have done something where one record was refused before it was called', async () => {
    const calls: number[] = [];
    const keyed = idempotent(
      freshRecords(async ({ Records }: SNSEvent) => void calls.push(Records.length)),
      {
        store: memoryStore(),
        key: (record) =>
          (record as SNSEventRecord).Sns.MessageId === 'bad'
            ? undefined
            : (record as SNSEventRecord).Sns.MessageId,
      },
    );
    const [good, bad] = [snsNotification('good'), snsNotification('bad')];
    await expect(keyed(snsEvent(bad), lambdaContext())).rejects.toMatchObject({
      ...{ code: 'MISSING_KEY', effect: 'none' },
    });
    await expect(keyed(snsEvent(good, bad), lambdaContext())).rejects.toMatchObject({
      ...{ code: 'MISSING_KEY', effect: 'possible' },
    });
    expect(calls).toEqual([1]);
  });
});
