import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { Server } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DescribeTableCommand, DescribeTimeToLiveCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { queueArn, queueUrl } from '../../../local/aws/account.ts';
import type { StackDescription } from '../../../local/stack/description.ts';
import { startStack } from '../../../local/stack/stack.ts';
import { clientFor, dynamodbEndpoint } from '../../support/dynamodb.ts';
import { isAlive, type WrittenFunctions, writeFunctions } from '../functions.ts';

let functions: WrittenFunctions;

beforeAll(async () => {
  functions = await writeFunctions(`
    export const echo = async (event) => event;
    export const env = async () => ({ statusCode: 200, body: JSON.stringify(process.env) });
    export const hang = () => new Promise(() => {});
    export const spin = () => { for (;;); };
  `);
});

afterAll(() => functions?.remove());

describe('a local stack', () => {
  const options = () => ({ dynamodbEndpoint: dynamodbEndpoint() });
  const entry = () => functions.entry;

  test('creates its tables with TTL, and takes them away from a DynamoDB that is not its own', async () => {
    const table = `stack-test-${process.pid}`;
    const other = await startStack({ tables: [table] }, options());
    const client = clientFor(dynamodbEndpoint());
    const { TimeToLiveDescription } = await client.send(new DescribeTimeToLiveCommand({ TableName: table }));
    expect(TimeToLiveDescription).toEqual({ TimeToLiveStatus: 'ENABLED', AttributeName: 'expiresAt' });
    await other.stop();
    await expect(client.send(new DescribeTableCommand({ TableName: table }))).rejects.toMatchObject({
      name: 'ResourceNotFoundException',
    });
  });

  test('leaves no process behind, even with functions that hang or spin', async () => {
    const other = await startStack(
      {
        functions: {
          hang: { entry: entry(), handler: 'hang', timeoutSeconds: 60, maxConcurrency: 1 },
          spin: { entry: entry(), handler: 'spin', timeoutSeconds: 60 },
        },
      },
      options(),
    );
    const working = [other.function('hang').invoke({}), other.function('spin').invoke({})];
    const waiting = other.function('hang').invoke({});
    const all = () => [...other.function('hang').sandboxes, ...other.function('spin').sandboxes];
    await expect.poll(() => all().filter(({ busy }) => busy).length, { timeout: 10_000 }).toBe(2);
    const pids = all().map(({ pid }) => pid);
    other.function('hang').pause();
    await other.stop();
    expect(pids.filter(isAlive)).toEqual([]);
    expect(await Promise.all([...working, waiting])).toMatchObject(Array(3).fill({ outcome: 'crash' }));
    await other.stop();
  });

  test('leaves no function behind when its process is killed', async () => {
    const host = join(functions.directory, 'host.mjs');
    const lambda = new URL('../../../local/aws/lambda.ts', import.meta.url).href;
    await writeFile(
      host,
      `
        import { createFunction } from ${JSON.stringify(lambda)};
        const hang = createFunction('hang', { entry: ${JSON.stringify(entry())}, handler: 'hang', timeoutSeconds: 60 }, () => {});
        hang.invoke({});
        hang.invoke({});
        const timer = setInterval(() => {
          const busy = hang.sandboxes.filter(({ busy }) => busy);
          if (busy.length < 2) return;
          clearInterval(timer);
          console.log(JSON.stringify(busy.map(({ pid }) => pid)));
        }, 20);
      `,
    );
    const child = spawn(process.execPath, [host], { stdio: ['ignore', 'pipe', 'inherit'] });
    try {
      const [line] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
      const pids = JSON.parse(line) as number[];
      expect(pids.filter(isAlive)).toHaveLength(2);
      child.kill('SIGKILL');
      await expect.poll(() => pids.filter(isAlive)).toEqual([]);
    } finally {
      child.kill('SIGKILL');
    }
  });

  test('refuses a route to a function that is not there, and an entry that is not there', async () => {
    await expect(
      startStack({ routes: [{ method: 'POST', path: '/pay', function: 'pay' }] }, options()),
    ).rejects.toThrow("Route POST /pay calls 'pay', which is none of the functions ().");
    await expect(
      startStack({ functions: { pay: { entry: 'examples/nothing.ts' } } }, options()),
    ).rejects.toThrow(/^Function 'pay': there is no file .*examples\/nothing\.ts\.$/);
    const empty = await startStack({}, options());
    try {
      expect(() => empty.function('pay')).toThrow("There is no function 'pay' in this stack.");
      expect(() => empty.sqs).toThrow('There is no queue and no topic in this stack.');
      await expect(empty.streamDrained('orders')).rejects.toThrow("Nothing reads a stream of 'orders'");
    } finally {
      await empty.stop();
    }
  });

  test('leaves nothing behind when it cannot be started, whichever part failed', async () => {
    const listen = vi.spyOn(Server.prototype, 'listen');
    const servers = () => listen.mock.contexts.filter((server) => (server as Server).listening).length;
    const name = `stack-test-${process.pid}-unstarted`;
    const described: StackDescription = {
      tables: [{ name, stream: 'NEW_IMAGE' }],
      queues: { orders: {} },
      upstreams: { payments: 'http://127.0.0.1:9' },
      functions: { echo: { entry: entry(), handler: 'echo' } },
      eventSources: [
        { queue: 'orders', function: 'echo' },
        { stream: name, function: 'echo' },
      ],
    };
    const withoutEntry = { ...described.functions, pay: { entry: 'examples/nothing.ts' } };
    for (const [problem, broken] of [
      ['there is no file', { ...described, functions: withoutEntry }],
      [
        'none of the queues',
        { ...described, queues: { orders: { deadLetterQueue: 'dead', maxReceiveCount: 1 } } },
      ],
      ['Expected an http:// endpoint', { ...described, upstreams: { payments: 'https://example.com' } }],
    ] as const) {
      await expect(startStack(broken, options())).rejects.toThrow(problem);
      expect(servers()).toBe(0);
      await expect(
        clientFor(dynamodbEndpoint()).send(new DescribeTableCommand({ TableName: name })),
      ).rejects.toMatchObject({ name: 'ResourceNotFoundException' });
    }
    const started = await startStack(described, options());
    // The routes, the queues, of each of three proxies its own door and the function's, and two for the pollers.
    expect(servers()).toBe(10);
    await started.stop();
    expect(servers()).toBe(0);
    listen.mockRestore();
  });

  test('puts its own addresses where an environment names its queues and upstreams', async () => {
    const environment = {
      URL: queueUrl('orders'),
      LIST: `${queueUrl('a')},${queueUrl('b')}`,
      ARN: queueArn('orders'),
      PAYMENTS: 'http://127.0.0.1:9/charges',
      OTHER: 'http://127.0.0.1:99/charges',
    };
    const other = await startStack(
      {
        queues: { orders: {} },
        upstreams: { payments: 'http://127.0.0.1:9' },
        functions: { env: { entry: entry(), handler: 'env', environment } },
      },
      options(),
    );
    try {
      const invoked = await other.function('env').invoke({});
      const seen = JSON.parse(JSON.parse(invoked.outcome === 'result' ? invoked.payload : '').body);
      const queues = await other.queueFaults.endpointFor('env');
      const payments = await other.upstreamFaults('payments').endpointFor('env');
      expect(seen).toMatchObject({
        AWS_ENDPOINT_URL_SQS: queues,
        AWS_ENDPOINT_URL_SNS: queues,
        URL: `${queues}/000000000000/orders`,
        LIST: `${queues}/000000000000/a,${queues}/000000000000/b`,
        ARN: 'arn:aws:sqs:eu-west-1:000000000000:orders',
        PAYMENTS: `${payments}/charges`,
        OTHER: 'http://127.0.0.1:99/charges',
      });
    } finally {
      await other.stop();
    }
  });

  test('creates tables with the given keys', async () => {
    const name = `stack-test-${process.pid}-keys`;
    const other = await startStack({ tables: [{ name, partitionKey: 'id' }] }, options());
    try {
      const { Table } = await other.dynamodb.send(new DescribeTableCommand({ TableName: name }));
      expect(Table?.KeySchema).toEqual([{ AttributeName: 'id', KeyType: 'HASH' }]);
      expect(Table?.LatestStreamArn).toBeUndefined();
      const { TimeToLiveDescription } = await other.dynamodb.send(
        new DescribeTimeToLiveCommand({ TableName: name }),
      );
      expect(TimeToLiveDescription?.TimeToLiveStatus).toBe('DISABLED');
    } finally {
      await other.stop();
    }
  });
});
