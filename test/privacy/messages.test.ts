import type { S3EventRecord, SQSEvent } from 'aws-lambda';
import { expect, it } from 'vitest';
import { deduplicationId, eachRecord, idempotent, relayOutbox, sendOnce } from '../../lib/index.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';
import { s3Event, s3Notification, sqsEvent, sqsMessage } from '../support/batch-events.ts';
import type { HttpCall } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { privacyBench } from './bench.ts';

const bench = privacyBench();
const { secret, told, observe, guard } = bench;

it('sendOnce and deduplicationId show nothing of a message', async () => {
  const sqs = { send: async () => ({}), config: { serviceId: 'SQS' } };
  const QueueUrl = 'https://sqs.eu-west-1.amazonaws.com/111122223333/ledger.fifo';
  const fine = () => ({ QueueUrl, MessageBody: secret(), MessageGroupId: secret() });
  for (const message of [
    { ...fine(), MessageGroupId: `${secret()} ${secret()}` },
    { ...fine(), MessageBody: { text: secret() } },
    { ...fine(), QueueUrl: secret() },
    { ...fine(), MessageDeduplicationId: secret() },
    secret(),
  ]) {
    await told(() => (sendOnce as (...args: unknown[]) => unknown)(sqs, message, [secret()]));
  }
  await told(() => (sendOnce as (...args: unknown[]) => unknown)(secret(), fine(), [secret()]));
  await told(() => (deduplicationId as (...args: unknown[]) => unknown)({ part: secret() }));
  await told(() => (deduplicationId as (...args: unknown[]) => unknown)([secret(), { part: secret() }]));
});

it('a relay shows nothing of a message', async () => {
  const record = (destination: string) => ({
    eventSource: 'aws:dynamodb',
    eventName: 'INSERT',
    dynamodb: {
      SequenceNumber: '1',
      Keys: { pk: { S: 'orders#hash' }, sk: { S: `w#outbox#${secret()}#0001` } },
      NewImage: {
        destination: { S: destination },
        body: { S: secret() },
        groupId: { S: secret() },
        deduplicationId: { S: secret() },
      },
    },
  });
  const failing = {
    send: async (command: { input: { MessageBody?: string; Entries?: { MessageBody: string }[] } }) => {
      throw new Error(`Value ${JSON.stringify(command.input)} for parameter MessageBody is invalid.`);
    },
  };
  const relay = relayOutbox({
    destinations: { ledger: { queueUrl: 'https://sqs.eu-west-1.amazonaws.com/1/ledger.fifo' } },
    clients: { sqs: failing as never },
  });
  await told(() => relay({ Records: [record('ledger') as never] }));
  await told(() => relay({ Records: [record(secret()) as never] }));
  expect(bench.out.join('\n')).toContain('was not published');
});

it('a batch shows nothing of its records', async () => {
  const store = memoryStore({ clock: manualClock() });
  const schema = {
    '~standard': {
      version: 1,
      vendor: 'test',
      validate: (value: unknown) => ({
        issues: [{ message: secret(), path: [`${(value as { name: string }).name}@x`] }],
      }),
    },
  };
  const body = () => JSON.stringify({ name: secret() });
  const batch = (...bodies: string[]): SQSEvent =>
    sqsEvent(...bodies.map((one, index) => sqsMessage(`message-${index}`, one)));
  for (const [handler, options] of [
    [eachRecord(async () => {}, { schema: schema as never }), {}],
    [eachRecord(async (record) => record.payload), {}],
    [eachRecord(async () => {}), { key: () => JSON.parse(secret()) }],
    [eachRecord(async () => {}), { key: () => ({ text: secret() }) as never }],
  ] as const) {
    const call = idempotent(handler as never, { store, namespace: 'batch', observe, ...options }) as HttpCall;
    await call(batch(body(), secret()), lambdaContext(30_000));
  }
  const objects = s3Event(s3Notification(secret()), s3Notification(secret()));
  for (const handler of [
    eachRecord<S3EventRecord>(async () => {}, { schema: schema as never }),
    eachRecord<S3EventRecord>(async () => {}),
  ]) {
    const call = idempotent(handler as never, {
      store,
      namespace: 's3',
      observe,
      key: () => 'same',
    }) as HttpCall;
    await told(() => call(objects, lambdaContext(30_000)));
  }
  await told(() =>
    guard(
      store,
      async () => 1,
    )({ Records: [{ eventSource: secret(), body: secret() }], key: secret(), tenant: secret() }),
  );
  await told(() =>
    idempotent(async () => 1, { store, namespace: 'b' })({ Records: [{ eventSource: secret() }] } as never),
  );
});
