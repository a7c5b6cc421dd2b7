import { randomUUID } from 'node:crypto';
import { DeleteItemCommand, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { ReceiveMessageCommand } from '@aws-sdk/client-sqs';
import { afterEach, describe, expect, test } from 'vitest';
import type { RoleDescription, Statement } from '../../../local/aws/iam.ts';
import type { PipeDescription } from '../../../local/aws/pipes.ts';
import { type Stack, startStack } from '../../../local/stack/stack.ts';
import { dynamodbEndpoint } from '../../support/dynamodb.ts';

let stack: Stack | undefined;
afterEach(async () => {
  await stack?.stop();
  stack = undefined;
});

/** From a table's stream to `out.fifo`, by the path of an item's own attributes. */
async function startWith(pipe: Partial<PipeDescription> = {}, roles?: Record<string, RoleDescription>) {
  const table = `pipe-test-${randomUUID()}`;
  const started = await startStack(
    {
      tables: [{ name: table, stream: 'NEW_IMAGE' }],
      queues: { 'out.fifo': {}, dead: {} },
      ...(roles && { roles }),
      pipes: {
        out: {
          stream: table,
          queue: 'out.fifo',
          batchSize: 1,
          filters: [{ eventName: ['INSERT'] }],
          inputTemplate: '<$.dynamodb.NewImage.body.S>',
          messageGroupId: '$.dynamodb.NewImage.groupId.S',
          messageDeduplicationId: '$.dynamodb.NewImage.deduplicationId.S',
          deadLetterQueue: 'dead',
          ...pipe,
        },
      },
    },
    { dynamodbEndpoint: dynamodbEndpoint() },
  );
  stack = started;
  const key = (sk: string) => ({ pk: { S: 'p' }, sk: { S: sk } });
  return {
    stack: started,
    async stage(sk: string, attributes: Record<string, string>) {
      const values = Object.entries(attributes).map(([name, S]) => [name, { S }]);
      await started.dynamodb.send(
        new PutItemCommand({ TableName: table, Item: { ...key(sk), ...Object.fromEntries(values) } }),
      );
    },
    remove: (sk: string) => started.dynamodb.send(new DeleteItemCommand({ TableName: table, Key: key(sk) })),
    drained: () => started.streamDrained(table),
    sent: () =>
      started
        .queue('out.fifo')
        .messages.map(({ body, groupId, deduplicationId }) => ({ body, groupId, deduplicationId })),
  };
}

const message = (body: string, groupId = 'g') => ({ body, groupId, deduplicationId: `id-${body}` });

/** The bodies that are sent from now on, in the order in which the queue has taken them. Live. */
function sendsOf(running: Stack): string[] {
  const bodies: string[] = [];
  running.onRequest(({ operation, status, body }) => {
    if (operation !== 'SendMessageBatch' || status !== 200) return;
    for (const { MessageBody } of body.Entries) bodies.push(MessageBody);
  });
  return bodies;
}

describe('a local pipe', () => {
  test('sends what passes its filter in the order of the stream, with body and ids from its paths', async () => {
    const { stage, remove, drained, sent } = await startWith();
    for (const name of ['a', 'b', 'c']) await stage(name, message(name));
    await stage('a', message('changed'));
    await remove('b');
    await drained();
    expect(sent()).toEqual([message('a'), message('b'), message('c')]);
  });

  test('takes a text that is no path literally, and sends the whole record without a template', async () => {
    const {
      stage,
      drained,
      sent,
      stack: running,
    } = await startWith({ messageGroupId: 'all', inputTemplate: undefined as never });
    await stage('a', message('a'));
    await drained();
    expect(sent()[0]?.groupId).toBe('all');
    expect(JSON.parse(running.queue('out.fifo').messages[0]?.body ?? '')).toMatchObject({
      eventName: 'INSERT',
      dynamodb: { NewImage: { body: { S: 'a' } } },
    });
  });

  test('tries again until it may send, and lets nothing overtake', async () => {
    const stream: Statement = { effect: 'Allow', actions: ['dynamodb:*'], resources: ['*'] };
    const send: Statement = {
      effect: 'Allow',
      actions: ['sqs:SendMessage'],
      resources: ['arn:aws:sqs:*:out.fifo'],
    };
    const roles = { Pipe: { trusts: ['pipes.amazonaws.com'], statements: [stream] } };
    const { stage, drained, sent, stack: running } = await startWith({ role: 'Pipe' }, roles);
    for (const name of ['a', 'b']) await stage(name, message(name));
    const refusals = () =>
      running.logs.filter(({ text }) => text.includes('not authorized to perform: sqs:SendMessage'));
    await expect.poll(() => refusals().length).toBeGreaterThan(2);
    expect(sent()).toEqual([]);
    roles.Pipe.statements.push(send);
    await drained();
    expect(sent()).toEqual([message('a'), message('b')]);
  });

  test('does not start with a role that may not read the stream', async () => {
    const roles = { Pipe: { trusts: ['pipes.amazonaws.com'], statements: [] } };
    await expect(startWith({ role: 'Pipe' }, roles)).rejects.toThrow(
      /does not have permissions to call dynamodb:DescribeStream on arn:aws:dynamodb:.*:table\/pipe-test-.*\/stream\/local/,
    );
  });

  test('gives a record up after its retries, says where it is and goes on', async () => {
    const { stage, drained, sent, stack: running } = await startWith({ maxRetryAttempts: 2 });
    await stage('bad', { body: 'bad', groupId: 'g' });
    await stage('good', message('good'));
    await drained();
    expect(sent()).toEqual([message('good')]);
    const { Messages = [] } = await running.sqs.send(
      new ReceiveMessageCommand({ QueueUrl: running.queue('dead').url }),
    );
    expect(Messages.map(({ Body = '' }) => JSON.parse(Body))).toMatchObject([
      { context: { condition: 'RetryAttemptsExhausted' }, DDBStreamBatchInfo: { batchSize: 1 } },
    ]);
    const complaints = running.logs.filter(({ text }) => text.includes('There is nothing at'));
    expect(complaints).toHaveLength(3);
  });

  test('halves a failed batch, so that one bad record takes no other with it', async () => {
    const { stage, drained, sent } = await startWith({
      batchSize: 10,
      maxRetryAttempts: 1,
      bisectOnFailure: true,
    });
    await stage('a', message('a'));
    await stage('bad', { body: 'bad', groupId: 'g' });
    await stage('c', message('c'));
    await drained();
    expect(sent()).toEqual([message('a'), message('c')]);
  });
});

describe('a local pipe that crashes', () => {
  test.each([
    ['before', 1],
    ['after', 2],
  ] as const)('%s it sends begins behind the last batch that it knows to be sent', async (when, times) => {
    const { stage, drained, stack: running } = await startWith();
    await stage('a', message('a'));
    await drained();
    const kill = running.killAt({ request: 1, when, function: 'out', operation: 'SendMessageBatch' });
    const sends = sendsOf(running);
    for (const name of ['b', 'c']) await stage(name, message(name));
    await drained();
    expect(await kill.struck).toEqual({
      ...{ functionName: 'out', service: 'queues', operation: 'SendMessageBatch', processes: 1 },
    });
    expect(sends).toEqual([...Array(times).fill('b'), 'c']);
    expect(running.queue('out.fifo').messages.map(({ body }) => body)).toEqual(['a', 'b', 'c']);
  });

  test.each(['GetShardIterator', 'GetRecords'])('at %s goes on after it', async (operation) => {
    const { stage, drained, sent, stack: running } = await startWith();
    await stage('a', message('a'));
    await drained();
    const pipe = running.pipe('out');
    const kill = running.killAt({ request: 1, when: 'after', function: 'out', operation });
    // A life that begins asks for an iterator.
    pipe.crash();
    expect(await kill.struck).toMatchObject({ service: 'dynamodb', operation });
    await stage('b', message('b'));
    await drained();
    expect(sent()).toEqual([message('a'), message('b')]);
  });

  test('while somebody waits until it has caught up keeps them waiting', async () => {
    const { stage, drained, sent, stack: running } = await startWith();
    await stage('a', message('a'));
    const waiting = drained();
    running.pipe('out').crash();
    await waiting;
    expect(sent()).toEqual([message('a')]);
  });

  test('is not begun again once the stack is stopped', async () => {
    const { stack: running } = await startWith();
    await running.stop();
    running.pipe('out').crash();
    await running.pipe('out').ended;
  });

  test('has its requests in no count but its own', async () => {
    const { stage, drained, stack: running } = await startWith();
    const kill = running.killAt({ request: 1, when: 'before' });
    await stage('a', message('a'));
    await drained();
    expect(kill.disarm()).toBeUndefined();
    expect(running.requests).toEqual([]);
    expect(() => running.pipe('in')).toThrow("There is no pipe 'in' in this stack.");
  });
});

describe('a local pipe is refused', () => {
  test.each<[string, Partial<PipeDescription>, string]>([
    ['with a batch that no queue takes', { batchSize: 11 }, 'batchSize is 1 to 10'],
    [
      'with a text around a path',
      { inputTemplate: 'body: <$.dynamodb.NewImage.body.S>' },
      'inputTemplate is',
    ],
    ['with half a path', { messageGroupId: '$.dynamodb.' }, "'$.dynamodb.' is no path"],
    ['without a group for a FIFO queue', { messageGroupId: undefined as never }, 'need a messageGroupId'],
    [
      'to a queue that is not there',
      { queue: 'nowhere' },
      "The target 'nowhere' of pipe 'out' is none of the queues",
    ],
    ['with a dead-letter queue that is not there', { deadLetterQueue: 'nowhere' }, 'none of the queues'],
    ['from a table without a stream', { stream: 'nowhere' }, 'is no table with a stream'],
    ['with a role that is not there', { role: 'Nobody' }, 'none of the roles'],
  ])('%s', async (_, pipe, problem) => {
    await expect(startWith(pipe)).rejects.toThrow(problem);
  });
});
