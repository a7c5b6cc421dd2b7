/** What another middleware may make of the records between the guard and `eachRecord`. */
import middy from '@middy/core';
import type { MSKEvent, SQSEvent, SQSRecord } from 'aws-lambda';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { SourceRecord } from '../../lib/index.ts';
import { eachRecord, idempotent } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import {
  failedIn,
  kafkaMessage,
  mskEvent,
  snsEvent,
  snsNotification,
  sqsEvent,
  sqsMessage,
} from '../support/batch-events.ts';
import { lambdaContext } from '../support/invocation.ts';

type Remake = (event: SQSEvent) => object;

/** A guarded chain with a middleware that gives `eachRecord` what `remake` makes of the event. */
function chain(remake: Remake, options: object = {}) {
  const store = memoryStore();
  const ran: unknown[] = [];
  const handler = middy()
    .use(idempotent({ store, namespace: 'remade', ...options }))
    .use({
      before(request) {
        request.event = remake(request.event as SQSEvent);
      },
    })
    .handler(
      eachRecord<SourceRecord>((record) => {
        ran.push(record.payload);
      }) as never,
    );
  return { ran, store, call: (event: object): Promise<unknown> => handler(event as never, lambdaContext()) };
}

const each =
  (change: (record: SQSRecord) => unknown): Remake =>
  (event) => ({ ...event, Records: event.Records.map(change) });

const unrecognisable: Record<string, Remake> = {
  'keep a part of its members': each(({ messageId, body }) => ({ messageId, body })),
  'are the parsed bodies': each(({ body }) => JSON.parse(body)),
  'are texts': each(({ body }) => body),
  'have another id': each((record) => ({ ...record, messageId: 'another' })),
  'are one unknown among the others': (event) => ({ ...event, Records: [...event.Records, { more: 1 }] }),
};

const messages = () => sqsEvent(sqsMessage('1', '{"n":1}'), sqsMessage('2', '{"n":2}'));

describe.each(Object.entries(unrecognisable))('records that %s', (_, remake) => {
  it('fail the batch, of which nothing is taken for done', async () => {
    const { ran, store, call } = chain(remake);
    await expect(call(messages())).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: expect.stringContaining('middleware'),
    });
    expect(ran).toEqual([]);
    expect(store.records).toEqual([]);
  });
});

describe('with the guard switched off', () => {
  beforeEach(() => {
    vi.stubEnv('IDEMPOTENCY_DISABLED', 'true');
    vi.spyOn(console, 'warn').mockImplementation(() => {});
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    vi.restoreAllMocks();
  });

  it('records that cannot be told fail the batch', async () => {
    for (const name of ['keep a part of its members', 'are the parsed bodies', 'are texts']) {
      const { ran, call } = chain(unrecognisable[name]!);
      await expect(call(messages())).rejects.toMatchObject({ code: 'UNSUPPORTED' });
      expect(ran).toEqual([]);
    }
  });

  it('an event from which all records were taken has nothing to do', async () => {
    expect(failedIn(await chain(() => ({ Records: [] })).call(messages()))).toEqual([]);
  });
});

describe('a body that was parsed to null', () => {
  const parsed = each((record) => ({ ...record, body: JSON.parse(record.body) }));

  it('is the payload of its record, in a copy', async () => {
    const { ran, call } = chain(parsed);
    expect(failedIn(await call(sqsEvent(sqsMessage('1', 'null'), sqsMessage('2', '{"n":2}'))))).toEqual([]);
    expect(ran).toEqual([null, { n: 2 }]);
  });

  it('does not make another event of the batch where it was parsed before the guard', async () => {
    const ran: unknown[] = [];
    const guarded = idempotent(
      eachRecord<SourceRecord>(({ payload }) => void ran.push(payload)),
      { store: memoryStore() },
    );
    const event = parsed(sqsEvent(sqsMessage('1', 'null'), sqsMessage('2', '{"n":2}')));
    expect(failedIn(await guarded(event as SQSEvent, lambdaContext()))).toEqual([]);
    const topic = snsEvent(snsNotification('3', 'null'));
    Object.assign(topic.Records[0]!.Sns, { Message: null });
    await guarded(topic, lambdaContext());
    expect(ran).toEqual([null, { n: 2 }, null]);
  });
});

it('an unknown record among a partition’s fails the batch', async () => {
  const { ran, call } = chain((event) => ({
    ...event,
    records: { 'orders-0': [...(event as unknown as MSKEvent).records['orders-0']!, { value: 'x' }] },
  }));
  await expect(call(mskEvent(kafkaMessage(0, 1)))).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  expect(ran).toEqual([]);
});
