import type { S3EventRecord } from 'aws-lambda';
import { describe, expect, it, vi } from 'vitest';
import {
  eachRecord,
  freshRecords,
  type IdempotentOptions,
  idempotent,
  wholePayload,
} from '../../lib/index.ts';
import {
  kafkaMessage,
  mskEvent,
  s3Event,
  s3Notification,
  sqsEvent,
  sqsMessage,
} from '../support/batch-events.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { recordingStore } from '../support/recording-store.ts';

/** A guarded handler that answers with the number of its runs. */
function counting(options: Partial<IdempotentOptions> = {}) {
  const store = recordingStore();
  const handler = vi.fn(async (_event: unknown): Promise<unknown> => handler.mock.calls.length);
  return { store, handler, call: idempotent(freshRecords(handler), { store, ...options }) };
}

const builtIn = ['toString', 'constructor', 'valueOf', 'hasOwnProperty', '__proto__', 'isPrototypeOf'];

describe('an event that names what every object has', () => {
  it.each(builtIn)('as its source is an event like any other: %s', async (name) => {
    const options = { key: () => 'k', tenant: () => 't' };
    for (const member of ['eventSource', 'EventSource']) {
      const { call, handler } = counting(options);
      await call({ [member]: name, amount: 1 });
      await expect(call({ [member]: name, amount: 2 })).rejects.toMatchObject({ code: 'PAYLOAD_MISMATCH' });
      await expect(counting().call({ [member]: name })).rejects.toMatchObject({ code: 'MISSING_KEY' });
      expect(handler).toHaveBeenCalledTimes(1);
    }
  });

  it.each(builtIn)('as the source of its records is no batch: %s', async (name) => {
    const { call, handler } = counting({ key: () => 'k' });
    await expect(call({ Records: [{ eventSource: name }] })).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    await expect(
      eachRecord(handler)({ Records: [{ eventSource: name }] }, lambdaContext(1_000)),
    ).rejects.toMatchObject({
      code: 'UNSUPPORTED',
    });
    expect(handler).not.toHaveBeenCalled();
  });

  it.each(['constructor', 'toString'])('as the header of a mutation has no key in it: %s', async (header) => {
    const { call, handler } = counting({ http: { keyHeader: header } });
    const mutation = (amount: number) => ({
      info: { parentTypeName: 'Mutation', fieldName: 'pay' },
      arguments: { amount },
      request: { headers: {} },
    });
    for (const amount of [1, 2, 1]) await call(mutation(amount));
    expect(handler).toHaveBeenCalledTimes(2);
  });
});

describe('an event that says it is from a service', () => {
  it.each<[string, object]>([
    ['SQS, without message', { eventSource: 'aws:sqs', amount: 1 }],
    ['SQS, without body', { eventSource: 'aws:sqs', messageId: 'm' }],
    ['Kinesis', { eventSource: 'aws:kinesis', eventID: 'e', kinesis: {} }],
    ['Kinesis, with a text for its data', { eventSource: 'aws:kinesis', eventID: 'e', kinesis: 'x' }],
    ['DynamoDB', { eventSource: 'aws:dynamodb', dynamodb: { Keys: {} } }],
    ['SNS', { EventSource: 'aws:sns', Sns: null }],
    ['S3', { eventSource: 'aws:s3', eventName: 'ObjectCreated:Put', s3: { bucket: {}, object: {} } }],
    ['Kafka', { topic: 'orders', offset: 1 }],
    ['Kafka, with a text for its offset', { topic: 'orders', partition: 0, offset: '1' }],
    ['EventBridge, without detail', { id: 'i', source: 's', 'detail-type': 't' }],
  ])('and lacks what its records have is an event like any other: %s', async (_, event) => {
    const { call } = counting({ key: () => 'k', tenant: () => 't' });
    expect(await call({ ...event, amount: 1 })).toBe(1);
    await expect(call({ ...event, amount: 2 })).rejects.toMatchObject({ code: 'PAYLOAD_MISMATCH' });
    expect(wholePayload({ ...event, amount: 1 })).not.toBe(wholePayload({ ...event, amount: 2 }));
    await expect(counting().call(event)).rejects.toMatchObject({ code: 'MISSING_KEY' });
  });

  it('that has only Kafka’s name is an event like any other', async () => {
    for (const records of [{ a: 1 }, { a: [1] }, { a: [kafkaMessage(0, 1), {}] }, 'text', null]) {
      await expect(counting().call({ eventSource: 'aws:kafka', records })).rejects.toMatchObject({
        code: 'MISSING_KEY',
      });
    }
    expect(await counting().call(mskEvent(kafkaMessage(0, 1)))).toBe(1);
  });

  it('with records of two services is no batch', async () => {
    const { call, handler } = counting();
    const [message, upload] = [sqsMessage('m'), s3Notification('a')];
    await expect(call({ Records: [message, upload] })).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: expect.stringContaining('`Records[1]` is not from aws:sqs as `Records[0]` is'),
    });
    expect(handler).not.toHaveBeenCalled();
  });
});

describe('an event that a test made by hand', () => {
  it.each<[string, object]>([
    ['a message without attributes', sqsEvent({ ...sqsMessage('1'), attributes: null } as never)],
    ['a request whose query is none', { ...paymentEvent(), rawQueryString: { a: 1 } }],
  ])('is guarded with nothing, or something else, where a service has something: %s', async (_, event) => {
    const { call, handler } = counting();
    await call(event);
    await call(event);
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it.each<[string, unknown]>([
    ['an object', { toString: {} }],
    ['a list', ['a']],
    ['null', null],
  ])('whose source is %s has none, and is guarded all the same', async (_, eventSourceARN) => {
    const { call, handler } = counting();
    const event = { Records: [{ ...sqsMessage('1'), eventSourceARN }] };
    await call(event);
    await call(event);
    expect(handler).toHaveBeenCalledTimes(1);
  });

  const noKey = 'This event has no key: ';
  it.each<[string, object, string]>([
    [
      'headers alone',
      { headers: { 'Idempotency-Key': 'secret' }, body: '{}' },
      'it has `headers`, but neither `version: "2.0"` with `requestContext.http.method` (HTTP API, Function URL) nor `httpMethod` with `requestContext` (REST API, load balancer).',
    ],
    [
      'an HTTP API’s event without method',
      { version: '2.0', headers: {}, requestContext: { http: {} } },
      'it has `headers` and `version: "2.0"`, but no `requestContext.http.method`, which an HTTP API and a Function URL send.',
    ],
    [
      'a REST API’s event without context',
      { httpMethod: 'POST', headers: {} },
      'it has `headers` and `httpMethod`, but no `requestContext`, which a REST API and a load balancer send.',
    ],
    ['records of nobody', { Records: [{ body: 'secret' }] }, '`Records[0]` has no `eventSource`.'],
  ])('is told what it lacks: %s', async (_, event, lacks) => {
    const { call, handler } = counting();
    const error = await call(event).catch((thrown: Error) => thrown);
    expect(error).toMatchObject({ code: 'MISSING_KEY' });
    expect((error as Error).message).toContain(noKey + lacks);
    expect((error as Error).message).toContain('idemkit/testing');
    expect((error as Error).message).not.toContain('secret');
    expect(handler).not.toHaveBeenCalled();
  });

  it.each<[string, object, string]>([
    [
      'aws:sqs',
      { eventSource: 'aws:sqs', messageId: 'm' },
      '`Records[1]` is from aws:sqs, but has no `body`',
    ],
    ['aws:kinesis', { eventSource: 'aws:kinesis' }, '`Records[0]` is from aws:kinesis, but has no `eventID`'],
    ['aws:sns', { EventSource: 'aws:sns' }, '`Records[0]` is from aws:sns, but has no `Sns.MessageId`'],
    ['aws:s3', { eventSource: 'aws:s3' }, '`Records[0]` is from aws:s3, but has no `eventName`'],
    [
      'aws:dynamodb',
      { eventSource: 'aws:dynamodb', eventID: 'e', dynamodb: {} },
      '`Records[0]` is from aws:dynamodb, but has no `dynamodb.SequenceNumber`',
    ],
  ])('is told what its records lack, also where a key is given: %s', async (source, record, lacks) => {
    const Records = source === 'aws:sqs' ? [sqsMessage('m'), record] : [record];
    for (const options of [{}, { key: () => 'k' }]) {
      const { call, handler } = counting(options);
      await expect(call({ Records })).rejects.toMatchObject({
        code: 'UNSUPPORTED',
        message: expect.stringContaining(`This event is no batch that a service sends: ${lacks}.`),
      });
      expect(handler).not.toHaveBeenCalled();
    }
  });

  it('shows no name of a source that is no service’s', async () => {
    for (const source of ['secret', 'aws:secret 4111', 'aws:SECRET']) {
      const error = await counting()
        .call({ Records: [{ eventSource: source }] })
        .catch((thrown: Error) => thrown);
      expect((error as Error).message).toContain('A batch of unknown records');
      expect((error as Error).message).not.toMatch(/secret|4111/i);
    }
  });

  it('is fine as a batch of none', async () => {
    expect(await counting({ key: () => 'k' }).call(sqsEvent())).toBe(1);
  });
});

describe('a notification of S3', () => {
  type Notification = ReturnType<typeof s3Notification>;
  const notification = (
    change: { eventName: string; requestId?: string; eventTime?: string },
    object = {},
  ) => {
    const usual = s3Notification('a.txt');
    const { sequencer: _, ...withoutSequencer } = usual.s3.object;
    return {
      ...usual,
      ...{ eventTime: usual.eventTime, ...change },
      responseElements: { 'x-amz-request-id': change.requestId ?? 'R1', 'x-amz-id-2': '2' },
      s3: { ...usual.s3, object: { ...withoutSequencer, ...object } },
    } as unknown as Notification;
  };
  /** How many of them are processed. */
  async function runsOf(...notifications: Notification[]): Promise<number> {
    const runs = vi.fn();
    const handler = idempotent(
      eachRecord<S3EventRecord>(async (record) => runs(record)),
      {
        store: recordingStore(),
        namespace: 'n',
      },
    );
    for (const one of notifications) await handler(s3Event(one), lambdaContext(60_000));
    return runs.mock.calls.length;
  }
  const tagged = { eventName: 'ObjectTagging:Put' };

  it.each([
    'ObjectTagging:Put',
    'ObjectTagging:Delete',
    'ObjectAcl:Put',
    'ObjectRestore:Post',
    'ObjectRestore:Completed',
    'LifecycleTransition',
    'LifecycleExpiration:Delete',
    'IntelligentTiering',
  ])('without sequencer is processed, and once for each that happens: %s', async (eventName) => {
    const first = notification({ eventName, requestId: 'R1' });
    const second = notification({ eventName, requestId: 'R2' });
    const later = notification({ eventName, requestId: 'R1', eventTime: '2026-01-01T00:00:01.000Z' });
    expect(await runsOf(first, second, first, later, second)).toBe(3);
    const versioned = { versionId: 'v1' };
    expect(
      await runsOf(
        notification({ eventName, requestId: 'R1' }, versioned),
        notification({ eventName, requestId: 'R2' }, versioned),
        notification({ eventName, requestId: 'R1' }, versioned),
      ),
    ).toBe(2);
  });

  it('of a write is told from others by version and sequencer', async () => {
    const written = { eventName: 'ObjectCreated:Put' };
    expect(
      await runsOf(
        notification(written, { versionId: 'v1', sequencer: '01' }),
        notification(written, { versionId: 'v2', sequencer: '01' }),
        notification(written, { versionId: 'v1', sequencer: '02' }),
        notification(written, { sequencer: '01' }),
        notification(written, { versionId: 'v1', sequencer: '01' }),
      ),
    ).toBe(4);
    // A delivery that is repeated may be stamped anew; its sequencer is the same.
    expect(
      await runsOf(
        notification({ ...written, requestId: 'R1' }, { sequencer: '01' }),
        notification(
          { ...written, requestId: 'R2', eventTime: '2026-01-01T00:00:01.000Z' },
          { sequencer: '01' },
        ),
      ),
    ).toBe(1);
  });

  it('of one name in two events is two', async () => {
    expect(
      await runsOf(
        notification(tagged),
        notification({ eventName: 'ObjectTagging:Delete' }),
        notification(tagged),
      ),
    ).toBe(2);
  });
});
