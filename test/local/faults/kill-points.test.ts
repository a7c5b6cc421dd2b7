import { ScanCommand } from '@aws-sdk/client-dynamodb';
import { SendMessageCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { queueUrl } from '../../../local/aws/account.ts';
import { type PaymentProvider, startPaymentProvider } from '../../../local/demo/payment-provider.ts';
import type { FunctionRequest } from '../../../local/faults/kill-points.ts';
import { type Stack, startStack } from '../../../local/stack/stack.ts';
import { dynamodbEndpoint } from '../../support/dynamodb.ts';
import { type WrittenFunctions, writeFunctions } from '../functions.ts';

const moduleOf = (name: string): string => JSON.stringify(import.meta.resolve(name));

/** A claim, a charge, a message, a completion: one request each, to three services. */
const source = `
  import { DynamoDBClient, PutItemCommand } from ${moduleOf('@aws-sdk/client-dynamodb')};
  import { SQSClient, SendMessageCommand } from ${moduleOf('@aws-sdk/client-sqs')};
  const dynamodb = new DynamoDBClient({});
  const sqs = new SQSClient({});
  const { TABLE: TableName, QUEUE_URL: QueueUrl, PAYMENTS_URL: url } = process.env;
  export const handler = async ({ Records: [record] }) => {
    const customer = record.body;
    const put = (sk) => dynamodb.send(new PutItemCommand({ TableName, Item: { pk: { S: customer }, sk: { S: sk } } }));
    await put('claim');
    await fetch(url + '/charges', { method: 'POST', body: JSON.stringify({ customer }) });
    await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: customer }));
    await put('completion');
  };
`;

const sequence = ['dynamodb PutItem', 'payments POST /charges', 'queues SendMessage', 'dynamodb PutItem'];

const table = `kill-points-${process.pid}`;
let functions: WrittenFunctions;
let provider: PaymentProvider;
let stack: Stack;

beforeAll(async () => {
  functions = await writeFunctions(source);
  const { entry } = functions;
  provider = await startPaymentProvider();
  const environment = { TABLE: table, QUEUE_URL: queueUrl('paid'), PAYMENTS_URL: provider.url };
  stack = await startStack(
    {
      tables: [table],
      queues: { paid: {}, orders: { visibilityTimeoutSeconds: 30 } },
      upstreams: { payments: provider.url },
      functions: {
        pay: { entry, timeoutSeconds: 20, environment },
        other: { entry, timeoutSeconds: 20, environment },
        consumer: { entry, timeoutSeconds: 20, environment },
      },
      eventSources: [{ queue: 'orders', function: 'consumer', retryAfterSeconds: 0, maxConcurrency: 1 }],
    },
    { dynamodbEndpoint: dynamodbEndpoint() },
  );
});

afterAll(async () => {
  await stack?.stop();
  await provider?.stop();
  await functions?.remove();
});

const eventOf = (customer: string) => ({ Records: [{ body: customer }] });

/** What the services have seen of a customer. */
async function effects(customer: string): Promise<string[]> {
  const { Items = [] } = await stack.dynamodb.send(
    new ScanCommand({ TableName: table, ConsistentRead: true }),
  );
  const items = Items.filter(({ pk }) => pk?.S === customer).map(({ sk }) => sk?.S ?? '');
  const charges = provider.charges.filter((charge) => charge.customer === customer).map(() => 'charge');
  const messages = stack.queue('paid').messages.filter(({ body }) => body === customer);
  return [...items, ...charges, ...messages.map(() => 'message')].sort();
}

const named = ({ service, operation }: FunctionRequest): string => `${service} ${operation}`;

describe('the requests of a function', () => {
  test('are one sequence over all services', async () => {
    expect(await stack.function('pay').invoke(eventOf('ada'))).toMatchObject({ outcome: 'result' });
    expect(stack.requests.map(named)).toEqual(sequence);
    expect(stack.requests.map(({ functionName }) => functionName)).toEqual(Array(4).fill('pay'));
    expect(await effects('ada')).toEqual(['charge', 'claim', 'completion', 'message']);
  });

  test('do not include those of a poller or a test', async () => {
    const before = stack.requests.length;
    await order('bob');
    await stack.queue('orders').drained();
    expect(await effects('bob')).toHaveLength(4);
    expect(stack.requests.slice(before).map(({ functionName }) => functionName)).toEqual(
      Array(4).fill('consumer'),
    );
  });
});

const order = (customer: string) =>
  stack.sqs.send(new SendMessageCommand({ QueueUrl: stack.queue('orders').url, MessageBody: customer }));

describe('a kill point', () => {
  const steps = ['claim', 'charge', 'message', 'completion'];

  test.each(sequence.flatMap((_, index) => ['before', 'after'].map((when) => [when, index + 1] as const)))(
    'strikes once, %s request %i',
    async (when, request) => {
      const customer = `${when}-${request}`;
      const point = stack.killAt({ request, when: when as 'before' | 'after' });
      expect(await stack.function('pay').invoke(eventOf(customer))).toEqual({
        outcome: 'crash',
        reason: 'exited with SIGKILL',
      });
      const struck = await point.struck;
      expect(struck).toEqual({
        functionName: 'pay',
        ...{
          service: sequence[request - 1]?.split(' ')[0],
          operation: sequence[request - 1]?.replace(/^\w+ /, ''),
        },
        processes: 1,
      });
      const done = when === 'before' ? request - 1 : request;
      expect(await effects(customer)).toEqual(steps.slice(0, done).sort());
      expect(await stack.function('pay').invoke(eventOf(`${customer}-again`))).toMatchObject({
        outcome: 'result',
      });
      expect(point.disarm()).toEqual(struck);
    },
  );

  test('has the messages of an interrupted batch delivered again', async () => {
    const point = stack.killAt({ request: 2, when: 'after', function: 'consumer' });
    await order('cleo');
    await stack.queue('orders').drained();
    expect(await point.struck).toMatchObject({ functionName: 'consumer', operation: 'POST /charges' });
    expect(await effects('cleo')).toEqual(['charge', 'charge', 'claim', 'completion', 'message']);
  });

  test('counts the requests of one function to one service where told so, and kills no other function', async () => {
    const point = stack.killAt({ request: 2, when: 'before', function: 'other', service: 'dynamodb' });
    const outcomes = await Promise.all([
      stack.function('pay').invoke(eventOf('dora')),
      stack.function('other').invoke(eventOf('emil')),
    ]);
    expect(outcomes.map(({ outcome }) => outcome)).toEqual(['result', 'crash']);
    expect(await point.struck).toMatchObject({ functionName: 'other', operation: 'PutItem', processes: 1 });
    expect(await effects('dora')).toHaveLength(4);
    expect(await effects('emil')).toEqual(['charge', 'claim', 'message']);
  });

  test('counts the requests of one kind where told so', async () => {
    const point = stack.killAt({ request: 2, when: 'after', operation: 'PutItem' });
    expect(await stack.function('pay').invoke(eventOf('ines'))).toMatchObject({ outcome: 'crash' });
    expect(await point.struck).toMatchObject({ operation: 'PutItem' });
    expect(await effects('ines')).toEqual(['charge', 'claim', 'completion', 'message']);
  });

  test('says when it is disarmed that it was not reached, and strikes nothing then', async () => {
    const point = stack.killAt({ request: 5, when: 'before' });
    expect(await stack.function('pay').invoke(eventOf('fred'))).toMatchObject({ outcome: 'result' });
    expect(point.disarm()).toBeUndefined();
    expect(await point.struck).toBeUndefined();
    expect(await stack.function('pay').invoke(eventOf('greta'))).toMatchObject({ outcome: 'result' });
  });

  test.each([0, 1.5, Number.NaN])('refuses %d as the number of a request', (request) => {
    expect(() => stack.killAt({ request, when: 'before' })).toThrow(RangeError);
  });
});

test('an upstream can have faults as DynamoDB can', async () => {
  stack.upstreamFaults('payments').inject({ operation: 'POST /charges', fault: 'drop-after' });
  expect(await stack.function('pay').invoke(eventOf('hans'))).toMatchObject({
    outcome: 'error',
    errorMessage: 'fetch failed',
  });
  expect(await effects('hans')).toEqual(['charge', 'claim']);
  expect(() => stack.upstreamFaults('shipping')).toThrow("There is no upstream 'shipping' in this stack.");
});
