import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  type AttributeValue,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  GetItemCommand,
  ScanCommand,
} from '@aws-sdk/client-dynamodb';
import { expect } from 'vitest';
import type { Deployed } from '../../local/demo/deployed.ts';
import { type Listening, listen } from '../../local/listen.ts';

interface Entry {
  readonly body: string;
  readonly groupId: string;
  readonly deduplicationId: string;
}

/** Where the consumer of `deployed-app.ts` enters its messages. */
export interface Book extends Listening {
  readonly entries: readonly Entry[];
}

export async function openBook(): Promise<Book> {
  const entries: Entry[] = [];
  const server = createServer(async (message, answer) => {
    entries.push(JSON.parse(await text(message)) as Entry);
    answer.end();
  });
  return { ...(await listen(server)), entries };
}

interface Wish {
  readonly customer: string;
  readonly fail?: boolean;
  readonly slow?: boolean;
}

export async function post({ stack }: Deployed, path: string, key: string, wish: Wish) {
  const response = await fetch(`${stack.url}${path}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'idempotency-key': key, 'x-customer': wish.customer },
    body: JSON.stringify(wish),
  });
  const replayed = response.headers.get('idempotent-replayed') === 'true';
  return { status: response.status, replayed, body: await response.text() };
}

/** Has two processes of a function run, so that from then on two requests at once do run at once. */
export async function warmUp(deployed: Deployed, name: string, path: string): Promise<void> {
  const { [name]: functionName = '' } = deployed.names.functions;
  const used = () =>
    deployed.stack.function(functionName).sandboxes.filter(({ invocations }) => invocations > 0);
  while (used().length < 2) {
    const customers = [randomUUID(), randomUUID()];
    await Promise.all(customers.map((customer) => post(deployed, path, customer, { customer, slow: true })));
  }
}

/** Everything that a guard does: claim, complete, wait for another attempt, replay a long answer, give a failed attempt back. */
export async function useGuard(deployed: Deployed, path: string): Promise<void> {
  const customer = randomUUID();
  const failed = await post(deployed, path, customer, { customer, fail: true });
  expect(failed.status).toBe(500);
  const [first, second] = await Promise.all([
    post(deployed, path, customer, { customer, slow: true }),
    post(deployed, path, customer, { customer, slow: true }),
  ]);
  expect([first, second]).toMatchObject([{ status: 201 }, { status: 201 }]);
  expect([first.replayed, second.replayed].sort()).toEqual([false, true]);
  expect(second.body).toBe(first.body);
  expect(await post(deployed, path, customer, { customer, slow: true })).toEqual({
    ...first,
    replayed: true,
  });
}

async function itemsOf(deployed: Deployed): Promise<Record<string, AttributeValue>[]> {
  const { Items = [] } = await deployed.stack.dynamodb.send(
    new ScanCommand({ TableName: deployed.names.tables.Records, ConsistentRead: true }),
  );
  return Items;
}

/** What is tried again for ever ends here. */
const inTime = (work: Promise<void>): Promise<void> =>
  Promise.race([
    work,
    sleep(15_000, undefined, { ref: false }).then(() => {
      throw new Error('Still not done after 15 s.');
    }),
  ]);

/** What the app does for its callers, from the request to the last queue. Fails if one thing in the template is wrong. */
export async function travel(deployed: Deployed, book: Book): Promise<void> {
  const { stack, names } = deployed;
  const entriesBefore = book.entries.length;

  const customer = randomUUID();
  const answered = await post(deployed, '/orders', customer, { customer });
  expect(answered).toMatchObject({ status: 201, replayed: false });
  expect(await post(deployed, '/orders', customer, { customer })).toEqual({ ...answered, replayed: true });

  const stock = await stack.dynamodb.send(
    new GetItemCommand({ TableName: names.tables.Stock, Key: { pk: { S: customer } } }),
  );
  expect(stock.Item?.orders).toEqual({ N: '1' });

  // One commit, one entry: under the ids that were staged, and although the consumer failed at first.
  await inTime(stack.streamDrained(names.tables.Records ?? ''));
  await inTime(stack.queue(names.queues.Ledger ?? '').drained());
  const entered = book.entries.filter(({ body }) => body === customer);
  expect(entered).toHaveLength(1);
  const items = await itemsOf(deployed);
  const staged = items.find(({ destination, body }) => destination?.S === 'ledger' && body?.S === customer);
  expect(entered, 'the entry').toEqual([
    { body: customer, groupId: 'ledger-of-all', deduplicationId: staged?.deduplicationId?.S },
  ]);
  const strays = book.entries.slice(entriesBefore).filter(({ groupId }) => groupId !== 'ledger-of-all');
  expect(strays).toEqual([]);

  expect(stack.queue(names.queues.Mail ?? '').messages).toEqual([
    expect.objectContaining({ body: `Thank you, ${customer}`, groupId: customer }),
  ]);

  for (const _ of [1, 2]) {
    const { status } = await post(deployed, '/ingest', `"${customer}"`, { customer });
    expect(status).toBe(200);
  }
  expect(stack.queue(names.queues.Intake ?? '').messages).toEqual([
    expect.objectContaining({
      body: JSON.stringify({ customer }),
      groupId: customer,
      deduplicationId: `"${customer}"`,
    }),
  ]);

  // Every item ends by itself, at the attribute that the table is told of.
  const { TimeToLiveDescription: ttl } = await stack.dynamodb.send(
    new DescribeTimeToLiveCommand({ TableName: names.tables.Records }),
  );
  const nowSeconds = Date.now() / 1000;
  const inSeconds = (item: Record<string, AttributeValue>) => Number(item[ttl?.AttributeName ?? '']?.N);
  const isEnding = (item: Record<string, AttributeValue>) =>
    inSeconds(item) > nowSeconds && inSeconds(item) < nowSeconds + 30 * 86_400;
  expect(
    items.filter((item) => !isEnding(item)),
    'items without an end',
  ).toEqual([]);

  const { Table } = await stack.dynamodb.send(new DescribeTableCommand({ TableName: names.tables.Records }));
  expect(Table?.StreamSpecification?.StreamViewType).toBe('NEW_AND_OLD_IMAGES');
}
