import middy from '@middy/core';
import type { Context } from 'aws-lambda';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { EventOf, SourceRecord } from '../../lib/index.ts';
import {
  eachRecord,
  IdempotencyError,
  type IdempotentOptions,
  idempotent,
  operation,
} from '../../lib/index.ts';
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

/** Services that are told of a failure by an error of the whole batch. */
interface ServiceRecord {
  readonly Sns?: { readonly MessageId: string; Message: string };
  readonly s3?: { readonly object: { readonly sequencer: string }; configurationId: string };
  readonly offset?: number;
  value?: string;
}

interface ServiceBatch {
  readonly Records?: ServiceRecord[];
  readonly records?: Readonly<Record<string, ServiceRecord[]>>;
}

const services: Record<string, (ids: readonly string[]) => EventOf<SourceRecord>> = {
  SNS: (ids) => snsEvent(...ids.map((id) => snsNotification(id))),
  S3: (ids) => s3Event(...ids.map((id) => s3Notification(id, id))),
  // Each in a partition of its own, so that one does not stop the others.
  Kafka: (ids) => mskEvent(...ids.map((id, at) => kafkaMessage(at, Number(id)))),
};

/** What becomes of a record, and how the handler is called for it. */
const fates = [
  'works',
  'throws',
  'meets a bad step',
  'does not fit',
  'is running elsewhere',
  'has no time',
] as const;
type Fate = (typeof fates)[number];

const idOf = (record: ServiceRecord): string =>
  record.Sns?.MessageId ?? record.s3?.object.sequencer ?? String(record.offset);

const recordsOf = (event: EventOf<SourceRecord>): ServiceRecord[] => {
  const { Records, records = {} } = event as ServiceBatch;
  return Records ?? Object.values(records).flat();
};

interface Course {
  readonly error: unknown;
  /** How often the handler was called. */
  readonly acted: number;
}

type Door = (
  handler: (event: EventOf<SourceRecord>, context: Context) => Promise<unknown>,
  options: IdempotentOptions,
) => (event: EventOf<SourceRecord>, context: Context) => Promise<unknown>;

const doors: Record<string, Door> = {
  wrapper: (handler, options) => idempotent(handler, options),
  Middy: (handler, options) => middy<EventOf<SourceRecord>>().use(idempotent(options)).handler(handler),
  'no guard': (handler) => handler,
};

async function play(
  service: string,
  course: readonly Fate[],
  doorName: string,
  isPlain: boolean,
): Promise<Course> {
  const store = memoryStore();
  const ids = course.map((_, at) => String(at + 1));
  const fateOf = (record: unknown) => course[Number(idOf(record as ServiceRecord)) - 1];
  const options: IdempotentOptions = { store, namespace: 'orders' };
  const isTimeLeft = { now: true };
  const busy = ids.filter((id) => fateOf({ offset: id }) === 'is running elsewhere');
  if (busy.length > 0 && doorName !== 'no guard') {
    await new Promise<void>((resolve) => {
      const hangs = eachRecord<SourceRecord>(() => {
        resolve();
        return new Promise(() => {});
      });
      void idempotent(hangs, options)(
        services[service]!(ids.filter((id) => busy.includes(id))),
        lambdaContext(30_000),
      );
    });
  }
  let acted = 0;
  const work = async (record: unknown, op: { step(name: string, fn: () => unknown): Promise<unknown> }) => {
    acted++;
    const fate = fateOf(record);
    if (fate === 'throws') throw new Error('down');
    if (fate === 'meets a bad step') await op.step('', () => 1);
    if (fate === 'has no time') isTimeLeft.now = false;
  };
  const schema = {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate: (value: unknown) =>
        course.includes('does not fit') && JSON.stringify(value).includes('does not fit')
          ? { issues: [{ message: 'no' }] }
          : { value },
    },
  } as const;
  const handler = isPlain
    ? async (event: EventOf<SourceRecord>, context: Context) => {
        const records = recordsOf(event);
        for (const record of records) await work(record, operation(context, record));
      }
    : eachRecord<SourceRecord>(work as never, { schema, concurrency: 1, onFailure: () => {} });
  const event = services[service]!(ids);
  for (const record of recordsOf(event)) {
    if (fateOf(record) !== 'does not fit') continue;
    if (record.Sns) record.Sns.Message = JSON.stringify('does not fit');
    else if (record.s3) record.s3.configurationId = 'does not fit';
    else record.value = Buffer.from(JSON.stringify('does not fit')).toString('base64');
  }
  const context = lambdaContext(() => (isTimeLeft.now ? 30_000 : 500));
  const error = await doors[doorName]?.(handler, options)(event, context).then(
    () => undefined,
    (reason: unknown) => reason,
  );
  return { error, acted };
}

beforeEach(() => {
  vi.spyOn(console, 'error').mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

const courses = fates.flatMap((first) =>
  fates.flatMap((second) => fates.map((third) => [first, second, third])),
);

describe.each(Object.keys(services))('a batch of %s that fails', (service) => {
  it.each(Object.keys(doors))(
    "says `effect: 'none'` only if no record was handled, by %s",
    async (doorName) => {
      const seen = new Set<string>();
      const lies: unknown[] = [];
      for (const course of courses) {
        for (const isPlain of doorName === 'no guard' ? [false] : [false, true]) {
          const { error, acted } = await play(service, course, doorName, isPlain);
          if (!IdempotencyError.is(error)) continue;
          seen.add(`${error.code} ${error.effect}`);
          if (error.effect === 'none' && acted > 0) lies.push([course, error.code, acted, isPlain]);
        }
      }
      expect(lies).toEqual([]);
      // Both are seen, so neither is always said.
      expect([...seen]).toContain('BATCH_FAILED possible');
      expect([...seen]).toContain('BAD_PAYLOAD possible');
      expect([...seen]).toContain('NO_TIME_LEFT possible');
      expect([...seen]).toContain('BATCH_FAILED none');
    },
  );

  it('for want of time, before any record was handled, has done nothing', async () => {
    const handler = eachRecord<SourceRecord>(() => {}, { stopBeforeDeadlineMs: 1_000 });
    for (const door of Object.values(doors)) {
      const call = door(handler, { store: memoryStore(), namespace: 'orders' });
      const failed = call(services[service]!(['1', '2']), lambdaContext(500));
      await expect(failed).rejects.toMatchObject({ code: 'NO_TIME_LEFT', effect: 'none' });
    }
  });
});
