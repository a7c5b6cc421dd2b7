import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Demo, startDemo } from '../../local/demo/demo.ts';
import {
  type DisturbedRun,
  type KillRow,
  killEverywhere,
  killEverywhereDisturbed,
} from '../../local/demo/kill-run.ts';
import { type PaymentProvider, startPaymentProvider } from '../../local/demo/payment-provider.ts';
import { dynamodbEndpoint } from '../support/dynamodb.ts';

/** The shop of the CDK app, whose processes are killed by SIGKILL around every request that they send. */
let provider: PaymentProvider;
let demo: Demo;
let rows: readonly KillRow[];
let disturbed: DisturbedRun;

beforeAll(async () => {
  provider = await startPaymentProvider();
  demo = await startDemo({ name: randomUUID(), provider, dynamodbEndpoint: dynamodbEndpoint() });
  rows = await killEverywhere(demo.kills);
  disturbed = await killEverywhereDisturbed(demo.kills, rows, { seed: 1 });
}, 600_000);
afterAll(async () => {
  await demo?.stop();
  await provider?.stop();
});

test('a kill before or after any request leaves one effect of everything, and one answer', () => {
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
  ['sales', ['UpdateItem', 'TransactWriteItems', 'UpdateItem']], // claim, commit, the repeat's claim
  // position, commit; the same of the batch that overlaps
  ['stream', ['GetItem', 'TransactWriteItems', 'GetItem', 'TransactWriteItems']],
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

test('the pipe is killed before and after each kind of its requests', () => {
  const ofPipe = rows.filter(({ role }) => role === 'pipe');
  const struck = ofPipe.map(({ operation, when }) => `${operation} ${when}`);
  expect([...new Set(struck)]).toEqual(
    ['DescribeStream', 'GetShardIterator', 'GetRecords', 'SendMessageBatch'].flatMap((operation) => [
      `${operation} before`,
      `${operation} after`,
    ]),
  );
});

describe('while requests and answers are late, repeated and cut', () => {
  test('a kill before or after any request leaves the same', () => {
    expect(disturbed.rows.filter(({ problems }) => problems.length > 0)).toEqual([]);
  });

  test('each part is killed as often as without that', () => {
    const struck = (role: string) =>
      disturbed.rows.filter((row) => row.role === role && row.operation !== undefined).length;
    expect({
      payments: struck('payments') >= 14,
      relay: struck('relay') >= 2,
      ledger: struck('ledger') >= 4,
      pipe: struck('pipe') >= 6,
      sales: struck('sales') >= 6,
      stream: struck('stream') >= 8,
    }).toEqual({ payments: true, relay: true, ledger: true, pipe: true, sales: true, stream: true });
  });

  test('faults of every kind have happened', () => {
    const { delayed, repeated, cut } = disturbed.counts;
    expect(Math.min(delayed, repeated, cut)).toBeGreaterThan(10);
  });
});
