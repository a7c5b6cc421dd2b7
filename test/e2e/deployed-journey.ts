import { randomUUID } from 'node:crypto';
import { createServer } from 'node:http';
import { text } from 'node:stream/consumers';
import {
  type AttributeValue,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  GetItemCommand,
  ScanCommand,
} from '@aws-sdk/client-dynamodb';
import { expect } from 'vitest';
import type { Deployed } from '../../local/deployed.ts';
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

/** Everything that a guard does: claim, complete, wait for another attempt, replay a long answer, forget a failed attempt. */
export async function useGuard(deployed: Deployed, path: string): Promise<string> {
  const customer = randomUUID();
  const failed = await post(deployed, path, customer, { customer, fail: true });
  expect(failed.status).toBe(500);
  const [first, second] = await Promise.all([
    post(deployed, path, customer, { customer, slow: true }),
    post(deployed, path, customer, { customer, slow: true }),
  ]);
  expect([first.status, second.status]).toEqual([201, 201]);
  expect([first.replayed, second.replayed].sort()).toEqual([false, true]);
  expect(second.body).toBe(first.body);
  expect(await post(deployed, path, customer, { customer, slow: true })).toEqual({ ...first, replayed: true });
  return customer;
}

async function itemsOf(deployed: Deployed): Promise<Record<string, AttributeValue>[]> {
  const { Items = [] } = await deployed.stack.dynamodb.send(
    new ScanCommand({ TableName: deployed.names.tables.Records, ConsistentRead: true }),
  );
  return Items;
}

/** What the app does for its callers, from the request to the last queue. Fails if one thing in the template is wrong. */
export async function travel(deployed: Deployed, book: Book): Promise<void> {
  const { stack, names } = deployed;
  const patience = { timeout: 6_000 };

  const customer = await useGuard(deployed, '/orders');
  await useGuard(deployed, '/receipts');

  const stock = await stack.dynamodb.send(
    new GetItemCommand({ TableName: names.tables.Stock, Key: { pk: { S: customer } } }),
  );
  expect(stock.Item?.orders).toEqual({ N: '1' });

  // One commit, one entry: under the ids that were staged, and although the consumer failed at first.
  const isEntered = () => book.entries.filter(({ body }) => body === customer);
  await expect.poll(isEntered, patience).toHaveLength(1);
  const items = await itemsOf(deployed);
  const staged = items.find(({ destination, body }) => destination?.S === 'ledger' && body?.S === customer);
  expect(isEntered()).toEqual([
    { body: customer, groupId: 'ledger-of-all', deduplicationId: staged?.deduplicationId?.S },
  ]);
  await expect.poll(() => stack.queue(names.queues.Ledger ?? '').messages, patience).toEqual([]);
  expect(isEntered()).toHaveLength(1);
  expect(book.entries.every(({ groupId }) => groupId === 'ledger-of-all')).toBe(true);

  const mails = () => stack.queue(names.queues.Mail ?? '').messages;
  await expect.poll(mails, patience).toEqual([
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
  expect(items.every((item) => Number(item[ttl?.AttributeName ?? '']?.N) > nowSeconds)).toBe(true);

  const { Table } = await stack.dynamodb.send(
    new DescribeTableCommand({ TableName: names.tables.Records }),
  );
  expect(Table?.StreamSpecification?.StreamViewType).toBe('NEW_IMAGE');
}
