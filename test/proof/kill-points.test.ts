import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Demo, startDemo } from '../../local/demo/demo.ts';
import { type KillRow, killEverywhere } from '../../local/demo/kill-run.ts';
import { type PaymentProvider, startPaymentProvider } from '../../local/demo/payment-provider.ts';
import { dynamodbEndpoint } from '../support/dynamodb.ts';

/** The shop of the CDK app, whose processes are killed by SIGKILL around every request that they send. */
let provider: PaymentProvider;
let demo: Demo;
let rows: readonly KillRow[];

beforeAll(async () => {
  provider = await startPaymentProvider();
  demo = await startDemo({ name: randomUUID(), provider, dynamodbEndpoint: dynamodbEndpoint() });
  rows = await killEverywhere(demo.kills);
}, 600_000);
afterAll(async () => {
  await demo?.stop();
  await provider?.stop();
});

test('a kill before or after any request leaves one charge, one order, one entry, and one answer', () => {
  expect(rows.filter(({ problems }) => problems.length > 0)).toEqual([]);
});

test.each([
  [
    'payments',
    [
      'PutItem', // claim
      'TransactWriteItems', // reserve
      'POST /charges',
      'PutItem', // the charge's record
      'TransactWriteItems', // commit
      'UpdateItem', // the answer, with what the CORS middleware adds
      'PutItem', // the repeat's claim
    ],
  ],
  ['relay', ['SendMessage']],
  ['ledger', ['PutItem', 'TransactWriteItems']], // claim, commit
] as const)(
  '%s is killed before and after each of its requests %j, until there is none left',
  (role, sent) => {
    const ofRole = rows.filter((row) => row.role === role);
    const unharmed = ofRole.filter(({ operation }) => operation === undefined);
    expect(unharmed.map((row) => row.sent)).toContainEqual(sent);
    const struck = ofRole.map(({ request, operation, when }) => `${request} ${operation} ${when}`);
    for (const [index, operation] of sent.entries()) {
      expect(struck).toContain(`${index + 1} ${operation} before`);
      expect(struck).toContain(`${index + 1} ${operation} after`);
    }
  },
);
