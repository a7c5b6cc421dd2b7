/** Numbered senders over real queues: messages come out of order, late, again, and after a function was killed. */
import { SendMessageBatchCommand } from '@aws-sdk/client-sqs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Stack, startStack } from '../../local/stack/stack.ts';
import { saidBy, type WrittenFunctions, writeFunctions } from '../local/functions.ts';
import { createTable, dynamodbEndpoint } from '../support/dynamodb.ts';

const source = `
  import { eachRecord, idempotent, numbered } from ${JSON.stringify(new URL('../../lib/index.ts', import.meta.url).href)};
  export const book = idempotent(
    eachRecord(async ({ payload, attributes }) => {
      if (payload.kill && attributes.ApproximateReceiveCount === '1') process.kill(process.pid, 'SIGKILL');
      console.info(JSON.stringify(payload.till + payload.number));
    }, { onFailure: () => {} }),
    {
      namespace: 'book',
      lease: { seconds: 1 },
      sequence: numbered(({ body }) => {
        const { till, number } = JSON.parse(body);
        return { producer: till, epoch: 0, number };
      }),
    },
  );
`;

interface Sale {
  readonly till: string;
  readonly number: number;
  readonly kill?: true;
}

let functions: WrittenFunctions;
let stack: Stack;

beforeAll(async () => {
  functions = await writeFunctions(source);
  const { tableName } = await createTable();
  const { entry } = functions;
  const book = { entry, handler: 'book', timeoutSeconds: 20, environment: { IDEMPOTENCY_TABLE: tableName } };
  const mapping = { reportBatchItemFailures: true, retryAfterSeconds: 0 };
  stack = await startStack(
    {
      queues: { standard: {}, 'ordered.fifo': {} },
      functions: { standard: book, ordered: book },
      eventSources: [
        { queue: 'standard', function: 'standard', batchSize: 4, maxConcurrency: 3, ...mapping },
        { queue: 'ordered.fifo', function: 'ordered', batchSize: 4, ...mapping },
      ],
    },
    { dynamodbEndpoint: dynamodbEndpoint() },
  );
});

afterAll(async () => {
  await stack?.stop();
  await functions?.remove();
});

async function send(queue: string, sales: readonly Sale[]): Promise<void> {
  for (let at = 0; at < sales.length; at += 10) {
    await stack.sqs.send(
      new SendMessageBatchCommand({
        QueueUrl: stack.queue(queue).url,
        Entries: sales.slice(at, at + 10).map((sale, index) => ({
          Id: `${index}`,
          MessageBody: JSON.stringify(sale),
          ...(queue.endsWith('.fifo') && {
            MessageGroupId: sale.till,
            MessageDeduplicationId: `${sale.till}-${at + index}`,
          }),
        })),
      }),
    );
  }
}

const upTo = (last: number) => Array.from({ length: last + 1 }, (_, number) => number);
const booked = (name: string, till: string) =>
  saidBy<string>(stack, name).filter((line) => line.startsWith(till));

describe('numbered senders over a queue', () => {
  test('of a standard kind are each booked once and in order, however their messages come', {
    timeout: 60_000,
  }, async () => {
    const backwards = upTo(11).reverse();
    const sales = backwards.flatMap((number) => [
      { till: 'a', number },
      { till: 'b', number },
    ]);
    await send('standard', [...sales, { till: 'a', number: 5 }]);
    await stack.queue('standard').drained();
    for (const till of ['a', 'b'])
      expect(booked('standard', till)).toEqual(upTo(11).map((number) => `${till}${number}`));
  });

  test('of the FIFO kind are each booked once and in order, with copies and a killed function', {
    timeout: 60_000,
  }, async () => {
    const sales: Sale[] = upTo(7).flatMap((number) => [
      { till: 'c', number, ...(number === 3 && { kill: true }) },
      { till: 'c', number, ...(number === 3 && { kill: true }) },
      { till: 'd', number },
    ]);
    await send('ordered.fifo', sales);
    await stack.queue('ordered.fifo').drained();
    for (const till of ['c', 'd'])
      expect(booked('ordered', till)).toEqual(upTo(7).map((number) => `${till}${number}`));
  });
});
