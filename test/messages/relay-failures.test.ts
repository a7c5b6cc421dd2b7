import { randomUUID } from 'node:crypto';
import type { DynamoDBRecord, SQSEvent, SQSRecord } from 'aws-lambda';
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { eachRecord, idempotent } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { startSqsEventSource } from '../../local/aws/sqs-event-source.ts';
import { lambdaContext } from '../support/invocation.ts';
import {
  commit,
  failedFrom,
  isMessage,
  mail,
  nothingFailed,
  numberOf,
  recordOf,
  relayBench,
} from './relay-bench.ts';

const bench = relayBench();
const { openOutbox, relayTo, bodies } = bench;

/** The queue client, but it fails for these bodies. */
function failingFor(...failing: string[]) {
  const refuses = new Set(failing);
  return {
    refuses,
    send: (command: { input: { MessageBody?: string } }) =>
      refuses.has(command.input.MessageBody ?? '')
        ? Promise.reject(new Error('down'))
        : bench.queues.client.send(command as never),
  };
}

describe('a message that could not be published', () => {
  test('is reported by the lowest sequence number, and not passed by what is behind it in its group', async () => {
    const [one, two] = [randomUUID(), randomUUID()];
    const messages = ['a1', 'a2', 'a3'].map((name) => mail(name, one));
    const Records = await bench.outbox.stage(commit(...messages, mail('b1', two)));
    const sqs = failingFor('a2');
    const relay = relayTo({ clients: { sqs, sns: bench.sns } });
    // Behind the failed one in its group, but before it in the stream.
    const lowest = ['a2', 'a3']
      .map((body) => recordOf(Records, body))
      .sort((left, right) => (BigInt(numberOf(left)) < BigInt(numberOf(right)) ? -1 : 1))[0];
    expect(await relay({ Records })).toEqual(failedFrom(lowest));
    expect(bodies(one)).toEqual(['a1']);
    expect(bodies(two)).toEqual(['b1']);
    expect(vi.mocked(console.error).mock.calls.flat().join(' ')).toContain('was not published');

    sqs.refuses.clear();
    const again = Records.slice(Records.indexOf(lowest as DynamoDBRecord));
    expect(await relay({ Records: again })).toEqual(nothingFailed);
    expect(bodies(one)).toEqual(['a1', 'a2', 'a3']);
    expect(bodies(two)).toEqual(['b1']);
  });

  test('comes again also when the stream has it before what was published', async () => {
    const group = randomUUID();
    const staged = await bench.outbox.stage(commit(mail('1', group), mail('2', group)));
    const [one, two] = ['1', '2'].map((body) => recordOf(staged, body)) as [DynamoDBRecord, DynamoDBRecord];
    const numbered = (record: DynamoDBRecord, SequenceNumber: string): DynamoDBRecord => ({
      ...record,
      dynamodb: { ...record.dynamodb, SequenceNumber },
    });
    // Numbers are compared as numbers: '9' is below '10'.
    const Records = [numbered(two, '9'), numbered(one, '10')];
    const relay = relayTo({ clients: { sqs: failingFor('1'), sns: bench.sns } });
    expect(await relay({ Records })).toEqual({ batchItemFailures: [{ itemIdentifier: '9' }] });
    expect(bodies(group)).toEqual([]);
    const next = relayTo({ clients: { sqs: failingFor('2'), sns: bench.sns } });
    expect(await next({ Records })).toEqual({ batchItemFailures: [{ itemIdentifier: '9' }] });
    expect(bodies(group)).toEqual(['1']);
  });

  test('holds up its group at its destination only', async () => {
    const group = randomUUID();
    const Records = await bench.outbox.stage(
      commit(mail('stuck', group), mail('on its way', group, { destination: 'ledger' })),
    );
    const relay = relayTo({ clients: { sqs: failingFor('stuck'), sns: bench.sns } });
    expect(await relay({ Records })).toEqual(failedFrom(recordOf(Records, 'stuck')));
    expect(bodies(group, 'ledger.fifo')).toEqual(['on its way']);
  });

  test('is logged without its body', async () => {
    const group = randomUUID();
    const Records = await bench.outbox.stage(commit(mail('secret-of-customer', group)));
    await relayTo({ clients: { sqs: failingFor('secret-of-customer'), sns: bench.sns } })({ Records });
    const said = vi.mocked(console.error).mock.calls.map((line) => line.map(String).join(' '));
    expect(said).toHaveLength(1);
    expect(said[0]).toContain("for 'mail'");
    expect(said[0]).not.toContain('secret');
  });
});

describe('a message for a destination that the relay does not know', () => {
  const staged = async (group: string) =>
    bench.outbox.stage(commit(mail('unknown', group, { destination: 'bus' }), mail('known', group)));

  test('fails, and the others go out', async () => {
    const group = randomUUID();
    const Records = await staged(group);
    expect(await relayTo()({ Records })).toEqual(failedFrom(recordOf(Records, 'unknown')));
    expect(bodies(group)).toEqual(['known']);
    expect(vi.mocked(console.error).mock.calls.flat().map(String).join(' ')).toMatch(
      /no destination of the name that a message of .* goes to, only mail, ledger, events.*otherDestinations: 'skip'/,
    );
  });

  test('is passed over where something else publishes it', async () => {
    const group = randomUUID();
    const Records = await staged(group);
    expect(await relayTo({ otherDestinations: 'skip' })({ Records })).toEqual(nothingFailed);
    expect(bodies(group)).toEqual(['known']);
    expect(console.error).not.toHaveBeenCalled();
  });

  test('is not found among the names that every object has', async () => {
    const [record] = (await staged(randomUUID())).filter(isMessage);
    const image = { ...record?.dynamodb?.NewImage, destination: { S: 'constructor' } };
    const Records = [{ ...record, dynamodb: { ...record?.dynamodb, NewImage: image } }] as DynamoDBRecord[];
    expect(await relayTo()({ Records })).toEqual(failedFrom(record));
    expect(vi.mocked(console.error).mock.calls.flat().map(String).join(' ')).toContain(
      'no destination of the name that',
    );
  });
});

describe('a relay that dies after publishing and before it says so', () => {
  /** A consumer with a guard, and what it has done. */
  function consume(queue: string) {
    const done: string[] = [];
    let received = 0;
    const handler = idempotent(
      eachRecord<SQSRecord>(async ({ body }) => void done.push(body)),
      { store: memoryStore() },
    );
    const { url, arn } = bench.queues.queue(queue);
    const source = startSqsEventSource(
      { queue, function: 'consumer', reportBatchItemFailures: true },
      {
        client: bench.queues.client,
        queueUrl: url,
        queueArn: arn,
        invoke: async (event: SQSEvent) => {
          received += event.Records.length;
          return { outcome: 'result', payload: JSON.stringify(await handler(event, lambdaContext())) };
        },
      },
    );
    onTestFinished(async () => {
      source.stop();
      await source.ended;
    });
    return { done, received: () => received };
  }

  test('publishes again: absorbed by the queue, and by the consumer once the queue has forgotten', async () => {
    const group = randomUUID();
    const queue = bench.queues.queue('crash.fifo');
    const relay = relayTo({ destinations: { mail: { queueUrl: queue.url } } });
    let invocations = 0;
    const mortal = await openOutbox({}, async (event) => {
      const isOurs = event.Records.some(isMessage);
      const answer = await relay(event);
      if (!isOurs) return { outcome: 'result', payload: JSON.stringify(answer) };
      invocations++;
      if (invocations === 2) {
        await queue.drained();
        queue.forgetDeduplicationIds();
        // Accepted now, and so delivered a second time.
        await relay(event);
      }
      return invocations < 3
        ? { outcome: 'crash', reason: 'on purpose' }
        : { outcome: 'result', payload: JSON.stringify(answer) };
    });
    onTestFinished(() => mortal.close());
    const consumer = consume('crash.fifo');
    await mortal.stage(commit(mail('1', group), mail('2', group)));
    await mortal.source.drained();
    await queue.drained();
    expect(invocations).toBe(3);
    expect(consumer.received()).toBe(4);
    expect(consumer.done).toEqual(['1', '2']);
  });
});
