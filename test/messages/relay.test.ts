import { randomUUID } from 'node:crypto';
import { EventBridgeClient, PutEventsCommand } from '@aws-sdk/client-eventbridge';
import { mockClient } from 'aws-sdk-client-mock';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { type RelayOptions, relayOutbox, type Seal } from '../../lib/index.ts';
import { credentials, region, topicArn } from '../../local/aws/account.ts';
import { failureOf } from '../support/work.ts';
import {
  commit,
  failedFrom,
  isMessage,
  mail,
  nothingFailed,
  placeOf,
  recordOf,
  relayBench,
} from './relay-bench.ts';

const bench = relayBench();
const { openOutbox, relayTo, published, bodies } = bench;

describe('a relay', () => {
  test('publishes what a commit and a transaction have staged, under the ids that were staged', async () => {
    const group = randomUUID();
    const Records = await bench.outbox.stage(async (op) => {
      await op.transaction('reserve', { messages: [mail({ reserved: 1 }, group)] });
      return op.commit({
        result: 'done',
        messages: [mail('plain, "quoted"', group, { deduplicationId: `own-${group}` })],
      });
    });
    expect(await relayTo()({ Records })).toEqual(nothingFailed);
    const [first, second] = published('mail.fifo', group);
    expect(first).toMatchObject({
      body: '{"reserved":1}',
      deduplicationId: recordOf(Records, '{"reserved":1}')?.dynamodb?.NewImage?.deduplicationId?.S,
    });
    expect(first?.deduplicationId).toMatch(/^[0-9a-f]{64}$/);
    expect(second).toMatchObject({ body: 'plain, "quoted"', deduplicationId: `own-${group}` });
  });

  test('sends each message where its destination says: queues, topics', async () => {
    const group = randomUUID();
    const Records = await bench.outbox.stage(
      commit(
        mail('to mail', group),
        mail('to ledger', group, { destination: 'ledger' }),
        mail({ to: 'events' }, group, { destination: 'events', deduplicationId: `topic-${group}` }),
      ),
    );
    expect(await relayTo()({ Records })).toEqual(nothingFailed);
    expect(bodies(group)).toEqual(['to mail']);
    expect(bodies(group, 'ledger.fifo')).toEqual(['to ledger']);
    expect(published('audit.fifo', group)).toMatchObject([
      { body: '{"to":"events"}', deduplicationId: `topic-${group}` },
    ]);
  });

  test('publishes the messages of a transaction in their order, however the stream has them', async () => {
    const group = randomUUID();
    const names = Array.from({ length: 12 }, (_, index) => `${index}`);
    const Records = await bench.outbox.stage(commit(...names.map((name) => mail(name, group))));
    expect(Records.filter(isMessage)).toHaveLength(12);
    expect(await relayTo()({ Records: Records.toReversed() })).toEqual(nothingFailed);
    expect(bodies(group)).toEqual(names);
  });

  test('keeps the order of the stream from one transaction to the next', async () => {
    const group = randomUUID();
    const Records = await bench.outbox.stage(async (op) => {
      // By name the later one would come first.
      await op.transaction('z', { messages: [mail('1', group), mail('2', group)] });
      await op.transaction('a', { messages: [mail('3', group)] });
      return op.commit({ result: 'done', messages: [mail('4', group)] });
    });
    await relayTo()({ Records });
    expect(bodies(group)).toEqual(['1', '2', '3', '4']);
  });

  test('tells transactions apart of which the names contain a #', async () => {
    const group = randomUUID();
    const Records = await bench.outbox.stage(async (op) => {
      await op.transaction('a#0001', { messages: [mail('1', group)] });
      return op.transaction('a', { messages: [mail('2', group), mail('3', group)] });
    });
    await relayTo()({ Records });
    expect(bodies(group)).toEqual(['1', '2', '3']);
  });

  test('has nothing to do with the claim, steps and chunks, which are in the stream too', async () => {
    const Records = await bench.outbox.stage(async (op) => {
      await op.step('outbox', () => ({ destination: 'mail' }));
      return op.commit({ result: 'x', messages: [] });
    });
    expect(Records.map(placeOf)).toContain('claim');
    expect(await relayTo()({ Records })).toEqual(nothingFailed);
  });

  test.each(['MODIFY', 'REMOVE'] as const)('publishes nothing again on a %s', async (eventName) => {
    const group = randomUUID();
    const staged = await bench.outbox.stage(commit(mail('once', group)));
    const Records = staged.map((record) => ({ ...record, eventName }));
    expect(await relayTo()({ Records })).toEqual(nothingFailed);
    expect(bodies(group)).toEqual([]);
  });

  test('publishes JSON with characters that SQS takes in no text', async () => {
    const group = randomUUID();
    const body = { text: 'Grüße, 你好 \u0000 \ufffe \ud83d', list: [1, null, { 'a.b': '<$>' }] };
    const Records = await bench.outbox.stage(commit(mail(body, group)));
    expect(await relayTo()({ Records })).toEqual(nothingFailed);
    expect(bodies(group).map((text) => JSON.parse(text))).toEqual([body]);
  });

  test('hands on characters beyond the basic plane, which the emulator takes for no text', async () => {
    const Records = await bench.outbox.stage(commit(mail('😀', randomUUID())));
    const sqs = { send: vi.fn().mockResolvedValue({}) };
    expect(await relayTo({ clients: { sqs } })({ Records })).toEqual(nothingFailed);
    expect(sqs.send.mock.calls[0]?.[0].input.MessageBody).toBe('😀');
  });
});

describe('sealed messages', () => {
  const seal: Seal = {
    seal: (plain, { operation: of }) => Buffer.from([...plain].map((byte) => byte ^ of.length)),
    open: (sealed, { operation: of }) => Buffer.from([...sealed].map((byte) => byte ^ of.length)),
  };

  test('are opened with the seal of the store', async () => {
    const group = randomUUID();
    const Records = await bench.outbox.stage(commit(mail({ amount: 1 }, group)), seal);
    expect(JSON.stringify(Records)).not.toContain('amount');
    expect(await relayTo({ seal })({ Records })).toEqual(nothingFailed);
    expect(bodies(group)).toEqual(['{"amount":1}']);
  });

  test('fail without it, which says how to give it', async () => {
    const group = randomUUID();
    const Records = await bench.outbox.stage(commit(mail({ amount: 1 }, group)), seal);
    expect(await relayTo()({ Records })).toEqual(failedFrom(Records.find(isMessage)));
    expect(bodies(group)).toEqual([]);
    expect(vi.mocked(console.error).mock.calls.flat().map(String).join(' ')).toContain(
      'relayOutbox({ seal })',
    );
  });

  test('may be mixed with plain ones', async () => {
    const group = randomUUID();
    const Records = [
      ...(await bench.outbox.stage(commit(mail('plain', group)))),
      ...(await bench.outbox.stage(commit(mail('sealed', group)), seal)),
    ];
    expect(await relayTo({ seal })({ Records })).toEqual(nothingFailed);
    expect(bodies(group)).toEqual(['plain', 'sealed']);
  });
});

describe('EventBridge', () => {
  const destinations = {
    bus: { eventBusName: 'orders', source: 'shop', detailType: 'order-placed' },
  } as const;

  test('gets an event with the deduplication id as its first resource', async () => {
    const group = randomUUID();
    const eventBridge = new EventBridgeClient({ region, credentials });
    const mock = mockClient(eventBridge);
    mock.on(PutEventsCommand).resolves({ FailedEntryCount: 0, Entries: [{ EventId: '1' }] });
    const message = mail({ id: 1 }, group, { destination: 'bus', deduplicationId: `bus-${group}` });
    const Records = await bench.outbox.stage(commit(message));
    const relay = relayTo({ destinations, clients: { eventBridge } });
    expect(await relay({ Records })).toEqual(nothingFailed);
    expect(mock.commandCalls(PutEventsCommand).map(({ args: [{ input }] }) => input)).toEqual([
      {
        Entries: [
          {
            ...{ EventBusName: 'orders', Source: 'shop', DetailType: 'order-placed' },
            Detail: '{"id":1}',
            Resources: [`bus-${group}`],
          },
        ],
      },
    ]);
  });

  test('can refuse an entry without an error of the call: that is a failure, and holds up the group', async () => {
    const eventBridge = new EventBridgeClient({ region, credentials });
    const mock = mockClient(eventBridge);
    mock.on(PutEventsCommand).resolves({
      FailedEntryCount: 1,
      Entries: [{ ErrorCode: 'ThrottlingException', ErrorMessage: 'slow down' }],
    });
    const group = randomUUID();
    const bus = (body: unknown) => mail(body, group, { destination: 'bus' });
    const Records = await bench.outbox.stage(commit(bus({ id: 1 }), bus({ id: 2 })));
    const { batchItemFailures } = await relayTo({ destinations, clients: { eventBridge } })({ Records });
    expect(batchItemFailures).toHaveLength(1);
    expect(mock.commandCalls(PutEventsCommand)).toHaveLength(1);
    expect(vi.mocked(console.error).mock.calls.flat().map(String).join(' ')).toContain('ThrottlingException');
  });
});

describe('a table whose stream is relayed', () => {
  test('may have keys of other names', async () => {
    const keys = { partitionKey: 'id', sortKey: 'what' };
    const other = await openOutbox(keys);
    onTestFinished(() => other.close());
    const group = randomUUID();
    const Records = await other.stage(commit(mail('2', group), mail('1', group)));
    expect(await relayTo(keys)({ Records })).toEqual(nothingFailed);
    expect(bodies(group)).toEqual(['2', '1']);
    // Said to nobody, they would make every message look like something else.
    expect(await failureOf(relayTo()({ Records }))).toMatchObject({
      code: 'STORE_MISCONFIGURED',
      message: expect.stringMatching(/'pk' and 'sk'.*relayOutbox\(\{ partitionKey, sortKey \}\)/),
    });
  });

  test.each(['KEYS_ONLY', 'OLD_IMAGE'] as const)('must stream new images: %s fails', async (stream) => {
    const other = await openOutbox({ stream });
    onTestFinished(() => other.close());
    const Records = await other.stage(commit(mail('1', randomUUID())));
    expect(Records.some(isMessage)).toBe(true);
    expect(await failureOf(relayTo()({ Records }))).toMatchObject({
      code: 'STORE_MISCONFIGURED',
      message: expect.stringContaining('NEW_IMAGE'),
    });
  });
});

describe('the options of a relay', () => {
  const fine = { ledger: { queueUrl: 'https://sqs.eu-west-1.amazonaws.com/1/ledger.fifo' } };

  test.each<[what: string, options: unknown, says: RegExp]>([
    ['nothing', undefined, /`destinations`.*undefined/],
    ['no destination', { destinations: {} }, /`destinations`/],
    [
      'a misspelt option',
      { destinations: fine, otherDestination: 'skip' },
      /Did you mean `otherDestinations`/,
    ],
    ['an unknown value', { destinations: fine, otherDestinations: 'drop' }, /'fail' or 'skip', got "drop"/],
    [
      'a standard queue',
      { destinations: { mail: { queueUrl: 'https://sqs/1/mail' } } },
      /'mail'.*SQS FIFO queue.*'\.fifo'/,
    ],
    ['a standard topic', { destinations: { mail: { topicArn: topicArn('mail') } } }, /SNS FIFO topic/],
    ['an empty URL, as of a missing variable', { destinations: { mail: { queueUrl: '' } } }, /'mail'/],
    [
      'two places for one name',
      { destinations: { mail: { queueUrl: 'https://q/1/m.fifo', topicArn: topicArn('m.fifo') } } },
      /'mail'/,
    ],
    ['a bus without a source', { destinations: { mail: { eventBusName: 'b', detailType: 'd' } } }, /source/],
    ['no object for a destination', { destinations: { mail: 'mail.fifo' } }, /'mail' is "mail\.fifo"/],
    ['a seal that cannot open', { destinations: fine, seal: { seal() {} } }, /`seal`/],
    ['an unknown client', { destinations: fine, clients: { sqS: {} } }, /Did you mean `clients\.sqs`/],
    ['a client that is none', { destinations: fine, clients: { sqs: {} } }, /`clients\.sqs`/],
    ['a key without a name', { destinations: fine, partitionKey: '' }, /`partitionKey`.*""/],
    ['a key of another type', { destinations: fine, sortKey: 7 }, /`sortKey`.*7/],
  ])('are refused at once with %s', (_, options, says) => {
    let error: unknown;
    try {
      relayOutbox(options as RelayOptions);
    } catch (thrown) {
      error = thrown;
    }
    expect(error).toMatchObject({ code: 'BAD_OPTION', message: expect.stringMatching(says) });
  });
});
