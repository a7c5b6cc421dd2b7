import { randomBytes } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import type { APIGatewayProxyEventV2, SQSRecord } from 'aws-lambda';
import { eachRecord, idempotent, operation } from '../../lib/index.ts';

/** The functions of `deployed-app.ts`, of which every level of guarding is one. */

interface Wish {
  readonly customer: string;
  readonly fail?: boolean;
  readonly slow?: boolean;
}

const wishOf = (event: APIGatewayProxyEventV2): Wish => JSON.parse(event.body ?? '{}');

/** Over what fits into the claim itself, however well it is compressed. */
const answerTo = ({ customer }: Wish) => ({
  statusCode: 201,
  body: JSON.stringify({ customer, receipt: randomBytes(12_000).toString('base64') }),
});

async function suffer({ fail, slow }: Wish): Promise<void> {
  if (fail) throw new Error('on purpose');
  if (slow) await sleep(300);
}

/** Duplicates wait, so that they read the claim again. */
const options = { whenBusy: { waitMs: 2_000 } };

export const receipt = idempotent(async (event: APIGatewayProxyEventV2) => {
  const wish = wishOf(event);
  await suffer(wish);
  return answerTo(wish);
}, options);

const TableName = process.env.SHOP_TABLE ?? '';

export const order = idempotent(async (event: APIGatewayProxyEventV2, context) => {
  const wish = wishOf(event);
  await suffer(wish);
  const { customer } = wish;
  const op = operation(context);
  const reserved = `${customer}/reserved`;
  await op.transaction('reserve', {
    writes: [
      { Put: { TableName, Item: { pk: reserved } } },
      {
        ConditionCheck: {
          TableName,
          Key: { pk: `${customer}/blocked` },
          ConditionExpression: 'attribute_not_exists(pk)',
        },
      },
    ],
  });
  return op.commit({
    result: answerTo(wish),
    writes: [
      { Delete: { TableName, Key: { pk: reserved } } },
      {
        Update: {
          TableName,
          Key: { pk: customer },
          UpdateExpression: 'ADD orders :one',
          ExpressionAttributeValues: { ':one': 1 },
        },
      },
    ],
    messages: [
      { destination: 'ledger', body: customer, groupId: 'ledger-of-all' },
      { destination: 'mail', body: `Thank you, ${customer}`, groupId: customer },
    ],
  });
}, options);

/** Enters each message in a book, which fails for the first time. */
export const enter = idempotent(
  eachRecord<SQSRecord>(async ({ body, attributes }) => {
    if (attributes.ApproximateReceiveCount === '1') throw new Error('on purpose');
    const { MessageGroupId: groupId, MessageDeduplicationId: deduplicationId } = attributes;
    const url = new URL('/entries', process.env.BOOK_URL);
    const entry = JSON.stringify({ body, groupId, deduplicationId });
    const response = await fetch(url, { method: 'POST', body: entry });
    if (!response.ok) throw new Error(`The book answered ${response.status}.`);
  }),
);
