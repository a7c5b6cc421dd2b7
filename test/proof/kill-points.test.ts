import { afterAll, beforeAll, expect, test } from 'vitest';
import { describeLanes, type KillRow, killEverywhere, lanesNamed } from '../../local/kill-run.ts';
import { type PaymentProvider, startPaymentProvider } from '../../local/payment-provider.ts';
import { joined } from '../../local/shop.ts';
import { type Stack, startStack } from '../../local/stack.ts';
import { dynamodbEndpoint } from '../support/dynamodb.ts';

/** The example shop, whose processes are killed by SIGKILL around every request that they send. */
let provider: PaymentProvider;
let stack: Stack;
let rows: readonly KillRow[];

beforeAll(async () => {
  provider = await startPaymentProvider();
  const lanes = lanesNamed(`kills-${process.pid}`);
  stack = await startStack(
    joined([describeLanes(lanes, { paymentsUrl: provider.url }), { upstreams: { provider: provider.url } }]),
    { dynamodbEndpoint: dynamodbEndpoint() },
  );
  rows = await killEverywhere({ stack, provider, lanes });
}, 600_000);
afterAll(async () => {
  await stack?.stop();
  await provider?.stop();
});

test('a kill before or after any request leaves one charge, one order, one entry, and one answer', () => {
  expect(rows.filter(({ problems }) => problems.length > 0)).toEqual([]);
});

test('every request of payment, relay and ledger was struck, before and after, until none was left', () => {
  const payment = [
    'PutItem', // claim
    'TransactWriteItems', // reserve
    'POST /charges',
    'PutItem', // the charge's record
    'TransactWriteItems', // commit
    'UpdateItem', // the answer with what the CORS middleware adds
    'PutItem', // the repeat's claim
  ];
  const expected = [
    ...payment.map((operation, index) => `payments ${index + 1} ${operation}`),
    'payments 8 undefined',
    'relay 1 SendMessage',
    'relay 2 undefined',
    'ledger 1 PutItem', // claim
    'ledger 2 TransactWriteItems', // commit
    'ledger 3 undefined',
  ];
  for (const when of ['before', 'after'] as const) {
    const struck = rows
      .filter((row) => row.when === when)
      .map(({ role, request, operation }) => `${role} ${request} ${operation}`);
    expect(struck).toEqual(expect.arrayContaining(expected));
  }
});
