import { SNSClient } from '@aws-sdk/client-sns';
import { DeleteMessageCommand, ReceiveMessageCommand, SQSClient } from '@aws-sdk/client-sqs';
import { type FauxqsServer, startFauxqs } from 'fauxqs';
import {
  afterAll,
  beforeAll,
  beforeEach,
  describe,
  expect,
  expectTypeOf,
  it,
  onTestFinished,
  vi,
} from 'vitest';
import {
  deduplicationId,
  IdempotencyError,
  type IdempotentOptions,
  idempotent,
  type Operation,
  operation,
  type QueueMessage,
  sendOnce,
} from '../../lib/index.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';
import { type FaultProxy, startFaultProxy } from '../../local/faults/fault-proxy.ts';
import { paymentEvent } from '../support/http-events.ts';

interface Order {
  readonly id: string;
  readonly customer?: string;
}

/** The ids that a fresh guard gives for each of `events`, each on a record of its own. */
async function idsOf(
  events: readonly unknown[],
  options: IdempotentOptions = {},
  name = 'receipt',
): Promise<string[]> {
  return Promise.all(
    events.map((event) =>
      idempotent(async (_: unknown, context) => deduplicationId(operation(context), name), {
        namespace: 'orders',
        ...options,
        store: memoryStore(),
      })(event),
    ),
  );
}

async function idOf(event: unknown, options?: IdempotentOptions, name?: string): Promise<string> {
  const [id = ''] = await idsOf([event], options, name);
  return id;
}

const byId = { key: ({ id }: Order) => id };

describe('the deduplication id of an operation', () => {
  it('has 64 legal characters, whatever the key', async () => {
    const keys = ['k', 'x'.repeat(255), 'with spaces and, commas', '\\"quoted\\"', 'ä€🔑'];
    const ids = await idsOf(
      keys.map((id) => ({ id })),
      byId,
    );
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{64}$/);
    expect(new Set(ids).size).toBe(keys.length);
  });

  it('is the same for a quoted and a bare header', async () => {
    const [quoted, bare, other] = await idsOf([
      paymentEvent({ key: '"k"' }),
      paymentEvent({ key: 'k' }),
      paymentEvent({ key: '"K"' }),
    ]);
    expect(quoted).toBe(bare);
    expect(other).not.toBe(bare);
  });

  it('differs by name, key, tenant and namespace', async () => {
    const tenant = (name: string): IdempotentOptions => ({ ...byId, tenant: () => name });
    const ids = [
      await idOf({ id: '1' }, byId),
      await idOf({ id: '1' }, byId, 'invoice'),
      await idOf({ id: '2' }, byId),
      await idOf({ id: '1' }, tenant('a')),
      await idOf({ id: '1' }, tenant('b')),
      await idOf({ id: '1' }, { ...byId, namespace: 'returns' }),
    ];
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('tells apart keys and tenants that read the same when joined', async () => {
    const parts: IdempotentOptions = { key: (event: readonly string[]) => event };
    const [left, right] = await idsOf(
      [
        ['a#b', 'c'],
        ['a', 'b#c'],
      ],
      parts,
    );
    expect(left).not.toBe(right);
    expect(await idOf(['k'], { ...parts, namespace: 'a#b' })).not.toBe(
      await idOf(['k'], { ...parts, namespace: 'a', tenant: () => 'b' }),
    );
  });

  it('is the same in the next attempt, and on a record of its own', async () => {
    const ids: string[] = [];
    const attempts: number[] = [];
    const handler = idempotent(
      async (_: Order, context) => {
        ids.push(deduplicationId(operation(context), 'receipt'));
        attempts.push(operation(context).attempt);
        if (attempts.length === 1) throw new Error('the mail server is down');
      },
      { key: ({ id }) => id, namespace: 'orders', store: memoryStore() },
    );
    await expect(handler({ id: '1' })).rejects.toThrow('mail server');
    await handler({ id: '1' });
    expect(attempts).toEqual([1, 2]);
    expect(ids[1]).toBe(ids[0]);
    expect(await idOf({ id: '1' }, byId)).toBe(ids[0]);
  });

  it('keeps the key with its payload when the handler fails: another body would be dropped', async () => {
    const handler = idempotent(
      async (_: { id: string; amount: number }, context) => {
        deduplicationId(operation(context), 'receipt');
        throw new Error('failed after sending');
      },
      { namespace: 'orders', store: memoryStore(), key: ({ id }) => id },
    );
    await expect(handler({ id: '1', amount: 1 })).rejects.toThrow('failed after sending');
    await expect(handler({ id: '1', amount: 2 })).rejects.toMatchObject({ code: 'PAYLOAD_MISMATCH' });
  });

  it('is refused once the lease is over or the handler has returned', async () => {
    const clock = manualClock();
    let kept: Operation | undefined;
    const handler = idempotent(
      async (event: Order, context) => {
        kept = operation(context);
        if (event.id === 'slow') clock.advance(60_000);
        return deduplicationId(kept, 'receipt');
      },
      { key: ({ id }) => id, store: memoryStore({ clock }), lease: { seconds: 60 } },
    );
    await expect(handler({ id: 'slow' })).rejects.toMatchObject({ code: 'OVERTAKEN' });
    await handler({ id: 'quick' });
    expect(() => deduplicationId(kept!, 'receipt')).toThrow(
      expect.objectContaining({ code: 'NOT_GUARDED' }) as Error,
    );
  });

  it('is of this call only where nothing guards it', async () => {
    const handler = idempotent(
      async (_: Order, context) => [
        deduplicationId(operation(context), 'receipt'),
        deduplicationId(operation(context), 'receipt'),
        deduplicationId([operation(context).token('receipt')]),
      ],
      { store: memoryStore(), key: () => undefined, required: false },
    );
    const [first, repeated, list] = await handler({ id: '1' });
    const [second] = await handler({ id: '1' });
    expect(repeated).toBe(first);
    expect(second).not.toBe(first);
    expect(list).not.toBe(first);
  });

  it('needs a name', async () => {
    for (const name of [undefined, '', ' '] as string[]) {
      const refused = idempotent(async (_: Order, context) => deduplicationId(operation(context), name), {
        key: ({ id }) => id,
        store: memoryStore(),
      })({ id: '1' });
      await expect(refused).rejects.toMatchObject({
        code: 'BAD_KEY',
        message: `The name of the message is ${name === undefined ? 'undefined' : 'a blank string'}. It must be there, or different messages would share one id and all but the first be dropped.`,
      });
    }
  });
});

describe('the deduplication id of a list', () => {
  it('is the same for the same list, and differs however the parts are cut', () => {
    expect(deduplicationId(['receipt', 17])).toMatch(/^[0-9a-f]{64}$/);
    expect(deduplicationId(['receipt', '17'])).toBe(deduplicationId(['receipt', 17]));
    const lists = [
      ['a', 'bc'],
      ['ab', 'c'],
      ['abc'],
      ['a', 'b', 'c'],
      ['a","bc'],
      ['["a"', '"bc"]'],
      ['bc', 'a'],
      ['a,bc'],
    ];
    expect(new Set(lists.map((parts) => deduplicationId(parts))).size).toBe(lists.length);
  });

  it.each([
    [[], 'got an empty array'],
    [['a', undefined], 'Part 1 of the deduplication id is undefined'],
    [['a', null], 'Part 1 of the deduplication id is null'],
    [['', 'a'], 'Part 0 of the deduplication id is a blank string'],
    [['a', Number.NaN], 'Part 1 of the deduplication id is NaN'],
    [[['a']], 'Part 0 of the deduplication id is an array'],
    [new Array(1), 'Part 0 of the deduplication id is undefined'],
    [undefined, 'got undefined'],
    [
      'order-1',
      "Write deduplicationId(operation(context), 'receipt'), or deduplicationId(['receipt', order.id]).",
    ],
    [{ idempotency: {} }, 'got an object'],
  ])('refuses %j', (parts, message) => {
    const refused = () => deduplicationId(parts as string[]);
    expect(refused).toThrow(message);
    expect(refused).toThrow(expect.objectContaining({ code: 'BAD_KEY' }) as Error);
  });

  it('takes texts and numbers only, as the compiler sees it', () => {
    expectTypeOf(deduplicationId).toBeCallableWith(['receipt', 17]);
    // @ts-expect-error a part that may be missing
    expect(() => deduplicationId(['receipt', undefined])).toThrow();
    // @ts-expect-error the name is missing
    expect(() => deduplicationId({ token: () => 'token' } as unknown as Operation)).toThrow();
  });
});

describe('sendOnce', () => {
  let server: FauxqsServer;
  let proxy: FaultProxy;
  let sqs: SQSClient;
  let sns: SNSClient;
  let QueueUrl: string;
  let TopicArn: string;

  const config = (endpoint: string) => ({
    endpoint,
    region: 'us-east-1',
    credentials: { accessKeyId: 'local', secretAccessKey: 'local' },
  });

  beforeAll(async () => {
    server = await startFauxqs({ port: 0, logger: false });
    proxy = await startFaultProxy(server.address);
    sqs = new SQSClient(config(proxy.endpoint));
    sns = new SNSClient(config(proxy.endpoint));
  });

  afterAll(async () => {
    await proxy?.stop();
    await server?.stop();
  });

  beforeEach(() => {
    proxy.reset();
    server.purgeAll();
    ({ queueUrl: QueueUrl } = server.createQueue('orders.fifo', { attributes: { FifoQueue: 'true' } }));
    ({ topicArn: TopicArn } = server.createTopic('orders.fifo', { attributes: { FifoTopic: 'true' } }));
    server.subscribe({ topic: 'orders.fifo', queue: 'orders.fifo' });
  });

  /** Everything that a consumer of the queue gets, in that order. */
  async function received(): Promise<string[]> {
    const bodies: string[] = [];
    for (;;) {
      const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 0 }));
      if (Messages.length === 0) return bodies;
      for (const { Body = '', ReceiptHandle } of Messages) {
        bodies.push(Body);
        // A group gives its next message only when the one before is done with.
        await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
      }
    }
  }

  const message = (body: string, group = 'group'): QueueMessage => ({
    QueueUrl,
    MessageGroupId: group,
    MessageBody: body,
  });

  it('sends a message to a queue once, however often it is called', async () => {
    const first = await sendOnce(sqs, message('first'), ['receipt', 1]);
    const again = await sendOnce(sqs, message('again'), ['receipt', 1]);
    await sendOnce(sqs, message('other'), ['receipt', 2]);
    expect(first).toMatchObject({ MessageId: expect.any(String), SequenceNumber: expect.any(String) });
    expect(again.MessageId).toBe(first.MessageId);
    expect(await received()).toEqual(['first', 'other']);
  });

  it('sends a message to a topic once, however often it is called', async () => {
    const publish = (body: string, id: number) =>
      sendOnce(sns, { TopicArn, Message: body, MessageGroupId: 'group', Subject: 'Receipt' }, [
        'receipt',
        id,
      ]);
    await publish('first', 1);
    await publish('again', 1);
    await publish('other', 2);
    const bodies = (await received()).map((body) => JSON.parse(body) as { Message: string; Subject: string });
    expect(bodies).toMatchObject([
      { Message: 'first', Subject: 'Receipt' },
      { Message: 'other', Subject: 'Receipt' },
    ]);
  });

  it('sends once for all attempts of an operation, and once for each of two tenants', async () => {
    let failures = 1;
    const handler = idempotent(
      async (order: Order, context) => {
        const { attempt } = operation(context);
        const body = `${order.customer} ${attempt}`;
        await sendOnce(sqs, message(body, order.customer), operation(context), 'receipt');
        if (failures-- > 0) throw new Error('failed after sending');
        return body;
      },
      {
        key: ({ id }) => id,
        namespace: 'orders',
        tenant: ({ customer }) => customer,
        fingerprint: false,
        store: memoryStore(),
      },
    );
    await expect(handler({ id: '1', customer: 'ann' })).rejects.toThrow('failed after sending');
    expect(await handler({ id: '1', customer: 'ann' })).toBe('ann 2');
    expect(await handler({ id: '1', customer: 'bob' })).toBe('bob 1');
    expect((await received()).sort()).toEqual(['ann 1', 'bob 1']);
  });

  it('is one message in the queue when the answer is lost and the SDK sends again', async () => {
    proxy.inject({ operation: 'SendMessage', fault: 'drop-after' });
    await sendOnce(sqs, message('first'), ['receipt', 1]);
    expect(proxy.requests.map(({ operation, outcome }) => [operation, outcome])).toEqual([
      ['SendMessage', 'faulted'],
      ['SendMessage', 'forwarded'],
    ]);
    expect(await received()).toEqual(['first']);
  });

  it('is one message from the topic when the answer is lost and the SDK publishes again', async () => {
    proxy.inject({ fault: 'drop-after' });
    await sendOnce(sns, { TopicArn, Message: 'first', MessageGroupId: 'group' }, ['receipt', 1]);
    expect(proxy.requests.map(({ outcome }) => outcome)).toEqual(['faulted', 'forwarded']);
    expect(await received()).toHaveLength(1);
  });

  it('passes attributes on', async () => {
    await sendOnce(
      sqs,
      { ...message('first'), MessageAttributes: { trace: { DataType: 'String', StringValue: 't-1' } } },
      ['receipt', 1],
    );
    const { Messages } = await sqs.send(
      new ReceiveMessageCommand({ QueueUrl, MessageAttributeNames: ['All'] }),
    );
    expect(Messages?.[0]?.MessageAttributes).toEqual({
      trace: { DataType: 'String', StringValue: 't-1' },
      idempotencyKey: { DataType: 'String', StringValue: deduplicationId(['receipt', 1]) },
    });
  });

  it("keeps an attribute of the key's name that the message has already", async () => {
    const own = { idempotencyKey: { DataType: 'String', StringValue: 'mine' } };
    await sendOnce(sqs, { ...message('first'), MessageAttributes: own }, ['receipt', 1]);
    const { Messages } = await sqs.send(
      new ReceiveMessageCommand({ QueueUrl, MessageAttributeNames: ['All'] }),
    );
    expect(Messages?.[0]?.MessageAttributes).toEqual(own);
  });

  it("gives the client's errors as they are", async () => {
    const missing = { ...message('first'), QueueUrl: QueueUrl.replace('orders', 'no-such-queue') };
    await expect(sendOnce(sqs, missing, ['receipt', 1])).rejects.toMatchObject({
      name: expect.stringContaining('QueueDoesNotExist') as string,
    });
  });

  it.each<[string, (message: QueueMessage) => unknown, string]>([
    [
      'a standard queue',
      (m) => ({ ...m, QueueUrl: 'https://sqs.eu-west-1.amazonaws.com/111122223333/orders' }),
      "Expected QueueUrl of a FIFO queue, which ends in '.fifo', got another one. A standard queue delivers every send",
    ],
    ['no queue', (m) => ({ ...m, QueueUrl: undefined }), "which ends in '.fifo', got undefined"],
    [
      'no group',
      (m) => ({ ...m, MessageGroupId: undefined }),
      'Expected MessageGroupId to be 1 to 128 printable ASCII characters without a space, got undefined. Name what must stay in order',
    ],
    ['a group with a space', (m) => ({ ...m, MessageGroupId: 'a b' }), 'got a string of 3'],
    ['a long group', (m) => ({ ...m, MessageGroupId: 'x'.repeat(129) }), 'got a string of 129'],
    [
      'no body',
      (m) => ({ ...m, MessageBody: undefined }),
      'Expected MessageBody to be a string, got undefined',
    ],
    [
      'an empty body',
      (m) => ({ ...m, MessageBody: '' }),
      'Expected MessageBody to be a string, got an empty one',
    ],
    ['an object as body', (m) => ({ ...m, MessageBody: {} }), 'Send JSON as JSON.stringify(value).'],
    [
      'an id of its own',
      (m) => ({ ...m, MessageDeduplicationId: 'x' }),
      'Unknown option `MessageDeduplicationId`',
    ],
    [
      'ten attributes',
      (m) => ({
        ...m,
        MessageAttributes: Object.fromEntries(
          Array.from({ length: 10 }, (_, at) => [`a${at}`, { DataType: 'String', StringValue: 'x' }]),
        ),
      }),
      'has 10 attributes, and with the id there are 11; SQS takes 10. Give at most 9.',
    ],
    ['a delay', (m) => ({ ...m, DelaySeconds: 1 }), 'Unknown option `DelaySeconds`'],
    ['a queue and a topic', (m) => ({ ...m, TopicArn: 'arn' }), 'and not with both'],
    ['neither', () => ({ MessageBody: 'x' }), 'Expected a message with QueueUrl (and MessageBody)'],
    ['nothing', () => undefined, 'Expected a message with QueueUrl (and MessageBody)'],
  ])('refuses %s before sending', async (_, change, expected) => {
    const refused = await sendOnce(sqs, change(message('first')) as QueueMessage, ['receipt', 1]).catch(
      (error: unknown) => error,
    );
    if (!IdempotencyError.is(refused, 'BAD_OPTION')) throw refused;
    expect(refused.message).toContain(expected);
    expect(proxy.requests).toEqual([]);
  });

  it('refuses a standard topic, a client of the other service, and what is no client', async () => {
    const topic = {
      TopicArn: 'arn:aws:sns:eu-west-1:111122223333:orders',
      Message: 'x',
      MessageGroupId: 'g',
    };
    await expect(sendOnce(sns, topic, ['receipt', 1])).rejects.toThrow(
      'A standard topic delivers every send',
    );
    await expect(sendOnce(sns, message('first'), ['receipt', 1])).rejects.toThrow(
      'A message with QueueUrl needs an SQSClient; this one is an SNSClient.',
    );
    await expect(sendOnce({} as SQSClient, message('first'), ['receipt', 1])).rejects.toThrow(
      'Expected an SQSClient or an SNSClient as the first argument, got an object.',
    );
    expect(proxy.requests).toEqual([]);
  });

  it.each(['client-sqs', 'client-sns'])('says what to install where @aws-sdk/%s is missing', async (name) => {
    vi.doMock(`@aws-sdk/${name}`, () => {
      throw new Error('Cannot find package');
    });
    onTestFinished(() => void vi.doUnmock(`@aws-sdk/${name}`));
    const sent =
      name === 'client-sqs'
        ? sendOnce(sqs, message('first'), ['receipt', 1])
        : sendOnce(sns, { TopicArn, Message: 'x', MessageGroupId: 'g' }, ['receipt', 1]);
    await expect(sent).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: `@aws-sdk/${name} cannot be loaded. Install it beside idemkit: npm install @aws-sdk/${name}`,
      cause: expect.any(Error) as Error,
    });
    expect(proxy.requests).toEqual([]);
  });

  it('refuses a missing identity before sending', async () => {
    // @ts-expect-error neither an operation nor a list
    await expect(sendOnce(sqs, message('first'))).rejects.toMatchObject({ code: 'BAD_KEY' });
    await expect(
      sendOnce(sqs, message('first'), ['receipt', undefined as unknown as string]),
    ).rejects.toMatchObject({ code: 'BAD_KEY' });
    expect(proxy.requests).toEqual([]);
  });
});
