import type { MSKEvent, SQSEvent } from 'aws-lambda';
import { describe, expect, it, vi } from 'vitest';
import { freshRecords, IdempotencyError } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { failedIn, kafkaMessage, mskEvent, sqsEvent, sqsMessage } from '../support/batch-events.ts';
import { doors } from '../support/doors.ts';

const two = () => sqsEvent(sqsMessage('m-1'), sqsMessage('m-2'));
const names = { code: 'UNSUPPORTED', message: expect.stringMatching(/eachRecord.*freshRecords/) };

describe.each(doors)('%s: a batch handler that is neither eachRecord nor freshRecords', (_, guard) => {
  it('is stopped before it has seen the first record, and told of both', async () => {
    const store = memoryStore();
    const acted = vi.fn();
    const handler = guard(
      async ({ Records }: SQSEvent) => {
        for (const record of Records) acted(record);
      },
      { store },
    );
    await expect(handler(two())).rejects.toMatchObject(names);
    expect(acted).not.toHaveBeenCalled();
    expect(store.records).toEqual([]);
  });

  it('fails the batch where it looked at no record, and may have done something', async () => {
    const handler = guard(async () => 'done', { store: memoryStore() });
    await expect(handler(two())).rejects.toMatchObject({ ...names, effect: 'possible' });
  });

  it('may have done something where it throws, though the error says that it has not', async () => {
    const handler = guard(
      async () => {
        throw new IdempotencyError('BAD_WRITES', 'Nothing has been written.');
      },
      { store: memoryStore() },
    );
    await expect(handler(two())).rejects.toMatchObject({ code: 'BAD_WRITES', effect: 'possible' });
  });

  it('runs with all records where the guard is switched off', async () => {
    vi.stubEnv('IDEMPOTENCY_DISABLED', 'true');
    vi.spyOn(console, 'warn').mockImplementation(() => {});
    const handler = guard(async ({ Records }: SQSEvent) => Records.length, { store: memoryStore() });
    expect(await handler(two())).toBe(2);
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
  });
});

describe.each(doors)('%s: freshRecords', (_, guard) => {
  it('gives a handler what middlewares have made of the records that are fresh', async () => {
    const seen: unknown[] = [];
    const upper = {
      before: (request: { event: unknown }) => {
        const { Records, ...event } = request.event as SQSEvent;
        request.event = { ...event, by: 'upper', Records: Records.map((one) => ({ ...one, body: 'UP' })) };
      },
    };
    const handler = guard(
      freshRecords(async ({ Records, ...event }: SQSEvent) => {
        seen.push([event, Records.map(({ messageId, body }) => `${messageId} ${body}`)]);
      }),
      { store: memoryStore() },
      upper,
    );
    await handler(sqsEvent(sqsMessage('m-1')));
    expect(failedIn(await handler(two()))).toEqual([]);
    expect(failedIn(await handler(two()))).toEqual([]);
    expect(seen).toEqual([
      [{ by: 'upper' }, ['m-1 UP']],
      [{ by: 'upper' }, ['m-2 UP']],
    ]);
  });

  it('gives a handler of Kafka the partitions that have fresh records', async () => {
    const seen: object[] = [];
    const handler = guard(
      freshRecords(async ({ records }: MSKEvent) => void seen.push(records)),
      { store: memoryStore() },
    );
    await handler(mskEvent(kafkaMessage(0, 1, {})));
    await handler(mskEvent(kafkaMessage(0, 1, {}), kafkaMessage(1, 1, {})));
    expect(seen.at(-1)).toEqual({ 'orders-1': [kafkaMessage(1, 1, {})] });
  });
});

it('freshRecords outside a guard calls the handler with everything', async () => {
  const handler = freshRecords(async ({ Records }: SQSEvent) => Records.length);
  expect(await handler(two())).toBe(2);
});

it('freshRecords refuses what is no function', () => {
  expect(() => freshRecords('handler' as never)).toThrow(/Expected a batch handler, got "handler"/);
});
