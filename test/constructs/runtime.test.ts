import { randomBytes } from 'node:crypto';
import type { AttributeValue, DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { Template } from 'aws-cdk-lib/assertions';
import { Role, ServicePrincipal } from 'aws-cdk-lib/aws-iam';
import type { DynamoDBStreamEvent } from 'aws-lambda';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IdempotencyTable, IdempotentQueue, OutboxPipe } from '../../constructs/index.ts';
import { dynamoStore, idempotent, operation, relayOutbox } from '../../lib/index.ts';
import { compileFilter } from '../../local/aws/event-filter.ts';
import { createTable, type TestTable } from '../support/dynamodb.ts';
import { deferred } from '../support/hands.ts';
import { lambdaContext } from '../support/invocation.ts';
import { actionsOn, createStack } from './support.ts';

let table: TestTable;
beforeAll(async () => {
  table = await createTable();
});
afterAll(() => table.client.destroy());

describe('what the runtime asks of DynamoDB', () => {
  /** The actions that IAM asks for, by the name of the command; a transaction needs those of its items. */
  function watch(client: DynamoDBClient) {
    const actions = new Set<string>();
    const send = (command: { constructor: { name: string }; input: object }) => {
      const name = command.constructor.name.replace(/Command$/, '');
      if (name !== 'TransactWriteItems') actions.add(`dynamodb:${name}`);
      const { TransactItems = [] } = command.input as { TransactItems?: object[] };
      for (const item of TransactItems) {
        const [kind = ''] = Object.keys(item);
        actions.add(`dynamodb:${kind}Item`);
      }
      return client.send(command as never);
    };
    return { actions, client: { send } as unknown as DynamoDBClient };
  }

  function granted(use: 'guard' | 'steps' | 'commit'): string[] {
    const stack = createStack();
    const granting = new IdempotencyTable(stack, 'Idempotency');
    const role = new Role(stack, 'Role', { assumedBy: new ServicePrincipal('lambda.amazonaws.com') });
    granting.grants[use](role);
    return actionsOn(Template.fromStack(stack), stack.resolve(granting.tableArn)).sort();
  }

  interface Order {
    readonly id: string;
    readonly fails?: boolean;
    readonly large?: boolean;
    readonly stepped?: boolean;
    readonly commits?: boolean;
    readonly slow?: Promise<void>;
  }

  function guardOn(namespace: string) {
    const { actions, client } = watch(table.client);
    const handle = idempotent(
      async ({ fails, large, stepped, commits, slow, ...order }: Order, context) => {
        const op = operation(context);
        if (stepped) await op.step('charge', async () => order.id);
        if (commits) await op.transaction('reserve', {});
        if (fails) throw new Error('declined');
        await slow;
        if (commits) return op.commit({ result: order.id });
        return large ? randomBytes(20_000).toString('hex') : order.id;
      },
      {
        namespace,
        key: ({ id }) => id,
        fingerprint: false,
        whenBusy: { waitMs: 5_000 },
        store: dynamoStore({ tableName: table.tableName, client }),
      },
    );
    return { actions, call: (order: Order) => handle(order, lambdaContext()) };
  }

  it('is exactly what `guard` and `steps` grant', async () => {
    const { actions, call } = guardOn('guarded');
    await call({ id: 'large', large: true });
    await call({ id: 'large', large: true });
    await expect(call({ id: 'failing', fails: true })).rejects.toThrow('declined');
    const finished = deferred();
    const calls = [
      call({ id: 'slow', slow: finished.promise }),
      call({ id: 'slow', slow: finished.promise }),
    ];
    await expect.poll(() => actions.has('dynamodb:GetItem')).toBe(true);
    finished.resolve();
    await Promise.all(calls);
    expect([...actions].sort()).toEqual(granted('guard'));

    await expect(call({ id: 'stepped', stepped: true, fails: true })).rejects.toThrow('declined');
    await call({ id: 'stepped', stepped: true });
    expect([...actions].sort()).toEqual(granted('steps'));
  });

  it('is exactly what `commit` grants where the handler commits', async () => {
    const { actions, call } = guardOn('committed');
    await call({ id: 'committed', commits: true });
    await call({ id: 'committed', commits: true });
    const allowed = granted('commit');
    expect([...actions].filter((action) => !allowed.includes(action))).toEqual([]);
    expect([...actions]).toEqual(
      expect.arrayContaining(['dynamodb:ConditionCheckItem', 'dynamodb:UpdateItem']),
    );
  });
});

describe('a staged message', () => {
  const messages = [
    { destination: 'ledger', body: { amount: 42, note: 'says "hi"\n' }, groupId: 'customer-1' },
    { destination: 'mail', body: 'plain', groupId: 'customer-1' },
    { destination: 'ledger', body: 'plain, "quoted"', groupId: 'customer-2', deduplicationId: 'own-id' },
  ];
  type Item = Record<string, AttributeValue>;
  let items: Item[];

  beforeAll(async () => {
    const handle = idempotent(
      async (_: { id: string }, context) => operation(context).commit({ result: 'done', messages }),
      {
        namespace: 'staging',
        key: ({ id }) => id,
        destinations: ['ledger', 'mail'],
        store: dynamoStore(table.store),
      },
    );
    await handle({ id: 'order-1' }, lambdaContext());
    items = (await table.dump()).filter(({ pk }) => pk?.S?.startsWith('staging#'));
  });

  /** The pipe as CloudFormation gets it. */
  function pipeFor(destination: string) {
    const stack = createStack();
    const staging = new IdempotencyTable(stack, 'Idempotency');
    const queue = new IdempotentQueue(stack, 'Queue');
    new OutboxPipe(stack, 'Outbox', { table: staging, queue, destination });
    const [pipe] = Object.values(Template.fromStack(stack).findResources('AWS::Pipes::Pipe'));
    const { SourceParameters, TargetParameters } = pipe?.Properties ?? {};
    return {
      passes: compileFilter(JSON.parse(SourceParameters.FilterCriteria.Filters[0].Pattern)),
      template: TargetParameters.InputTemplate as string,
      ids: TargetParameters.SqsQueueParameters as Record<'MessageGroupId' | 'MessageDeduplicationId', string>,
    };
  }

  const valueAt = (record: unknown, path: string): unknown =>
    path
      .replace(/^\$\./, '')
      .split('.')
      .reduce<unknown>((value, name) => (value as Record<string, unknown> | undefined)?.[name], record);

  const recordOf = (eventName: string, image: Item, index: number) => ({
    eventName,
    eventSource: 'aws:dynamodb',
    dynamodb: {
      Keys: { pk: image.pk, sk: image.sk },
      ...(eventName === 'REMOVE' ? { OldImage: image } : { NewImage: image }),
      SequenceNumber: String(index + 1),
    },
  });

  /** What a pipe sends, by its documentation: a template of nothing but a path hands on the value. */
  function piped(destination: string, eventName = 'INSERT') {
    const { passes, template, ids } = pipeFor(destination);
    const [, bodyPath = ''] = /^<(\$\.[\w.]+)>$/.exec(template) ?? [];
    return items
      .map((item, index) => recordOf(eventName, item, index))
      .filter((record) => passes(record))
      .map((record) => ({
        body: valueAt(record, bodyPath),
        groupId: valueAt(record, ids.MessageGroupId),
        deduplicationId: valueAt(record, ids.MessageDeduplicationId),
      }));
  }

  it('is found by the pipe of its destination only', () => {
    expect(items.length).toBeGreaterThan(messages.length);
    expect(
      piped('ledger')
        .map(({ body }) => body)
        .sort(),
    ).toEqual([JSON.stringify(messages[0]?.body), 'plain, "quoted"'].sort());
    expect(piped('mail').map(({ groupId }) => groupId)).toEqual(['customer-1']);
    expect(piped('elsewhere')).toEqual([]);
  });

  it.each(['REMOVE', 'MODIFY'])('is not published again when it is part of a %s', (eventName) => {
    expect(piped('ledger', eventName)).toEqual([]);
  });

  it('is the same from a pipe as from a relay', async () => {
    const sent: unknown[] = [];
    const sqs = {
      send: async ({ input }: { input: Record<string, unknown> }) => {
        sent.push({
          body: input.MessageBody,
          groupId: input.MessageGroupId,
          deduplicationId: input.MessageDeduplicationId,
        });
        return {};
      },
    };
    const relay = relayOutbox({
      destinations: { ledger: { queueUrl: 'https://sqs.eu-west-1.amazonaws.com/111122223333/ledger.fifo' } },
      otherDestinations: 'skip',
      clients: { sqs },
    });
    const Records = items.map((item, index) => recordOf('INSERT', item, index));
    expect(await relay({ Records } as unknown as DynamoDBStreamEvent)).toEqual({ batchItemFailures: [] });
    const ordered = (all: unknown[]) => all.map((one) => JSON.stringify(one)).sort();
    expect(sent).toHaveLength(2);
    expect(ordered(sent)).toEqual(ordered(piped('ledger')));
  });
});
