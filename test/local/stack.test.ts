import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { request } from 'node:http';
import { Server } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { DescribeTableCommand, DescribeTimeToLiveCommand } from '@aws-sdk/client-dynamodb';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { queueArn, queueUrl } from '../../local/aws/account.ts';
import type { StackDescription } from '../../local/stack/description.ts';
import { type Stack, startStack } from '../../local/stack/stack.ts';
import { clientFor, dynamodbEndpoint } from '../support/dynamodb.ts';

/** Handlers as a user writes them; they run in processes of their own, so they cannot be closures of a test. */
const source = `
  import { setTimeout as sleep } from 'node:timers/promises';
  export const echo = async (event) => event;
  export const answer = async (event) => JSON.parse(event.body);
  export const nothing = async () => {};
  export const context = async (_, context) => {
    const before = context.getRemainingTimeInMillis();
    await sleep(50);
    const { getRemainingTimeInMillis, ...rest } = context;
    return { statusCode: 200, body: JSON.stringify({ ...rest, before, after: getRemainingTimeInMillis() }) };
  };
  export const env = async () => ({ statusCode: 200, body: JSON.stringify(process.env) });
  export const fail = async () => { throw new RangeError('no such luck'); };
  export const crash = async () => { console.info('about to crash'); process.exit(7); };
  export const uncaught = () => new Promise(() => { setImmediate(() => { throw new TypeError('outside'); }); });
  export const hang = () => new Promise(() => {});
  export const spin = () => { for (;;); };
  let calls = 0;
  export const count = async () => { console.info('call', ++calls); return { statusCode: 200, body: String(calls) }; };
  let running = 0;
  export const slow = async () => {
    running++;
    await sleep(300);
    const body = JSON.stringify({ pid: process.pid, running: running-- });
    return { statusCode: 200, body };
  };
  export const big = async ({ body }) => ({ statusCode: 200, body: 'x'.repeat(Number(body)) });
`;

const names = [
  'echo',
  'answer',
  'nothing',
  'context',
  'env',
  'fail',
  'crash',
  'uncaught',
  'hang',
  'spin',
  'count',
  'slow',
  'big',
];

let directory: string;
let stack: Stack;

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'idemkit-stack-'));
  const entry = join(directory, 'functions.mjs');
  const broken = join(directory, 'broken.mjs');
  await writeFile(entry, source);
  await writeFile(broken, "throw new Error('broken on arrival');");
  const functions = Object.fromEntries(
    names.map((name) => [name, { entry, handler: name, timeoutSeconds: 20, maxConcurrency: 3 }]),
  );
  stack = await startStack(
    {
      functions: {
        ...functions,
        hang: { entry, handler: 'hang', timeoutSeconds: 1 },
        spin: { entry, handler: 'spin', timeoutSeconds: 1 },
        brief: { entry, handler: 'slow', timeoutSeconds: 1 },
        env: { entry, handler: 'env', environment: { GREETING: 'hello' } },
        broken: { entry: broken },
        unexported: { entry, handler: 'unexported' },
      },
      routes: [...names, 'broken', 'unexported'].flatMap((name) =>
        ['GET', 'POST'].map((method) => ({ method, path: `/${name}`, function: name })),
      ),
    },
    { dynamodbEndpoint: dynamodbEndpoint() },
  );
});

afterAll(async () => {
  await stack?.stop();
  await rm(directory, { recursive: true, force: true });
});

const get = (path: string): Promise<Response> => fetch(`${stack.url}${path}`);
const post = (path: string, body: string): Promise<Response> =>
  fetch(`${stack.url}${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });

/** With headers as they stand: `fetch` would join and forbid some. */
async function sent(path: string, headers: string[], body?: string | Buffer): Promise<any> {
  const outgoing = request(`${stack.url}${path}`, {
    method: body === undefined ? 'GET' : 'POST',
    headers: ['Host', 'api.example.com', ...headers],
  });
  outgoing.end(body);
  const [incoming] = await once(outgoing, 'response');
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(chunk);
  return JSON.parse(Buffer.concat(chunks).toString());
}

describe('a function', () => {
  test('gets the context that Lambda gives it, with the time that is really left', async () => {
    const context = (await (await get('/context')).json()) as any;
    expect(context).toMatchObject({
      functionName: 'context',
      functionVersion: '$LATEST',
      invokedFunctionArn: expect.stringMatching(/^arn:aws:lambda:.*:function:context$/),
      memoryLimitInMB: '128',
      awsRequestId: expect.stringMatching(/^[\da-f-]{36}$/),
      logGroupName: '/aws/lambda/context',
    });
    expect(context.before).toBeGreaterThan(15_000);
    expect(context.before).toBeLessThanOrEqual(20_000);
    expect(context.before - context.after).toBeGreaterThanOrEqual(45);
  });

  test("gets Lambda's environment and its own, and nothing of this process's", async () => {
    const environment = (await (await get('/env')).json()) as Record<string, string>;
    expect(environment).toMatchObject({
      GREETING: 'hello',
      AWS_LAMBDA_FUNCTION_NAME: 'env',
      AWS_REGION: 'eu-west-1',
      AWS_ENDPOINT_URL_DYNAMODB: await stack.faults.endpointFor('env'),
    });
    expect(environment).not.toHaveProperty('PATH');
    expect(environment).not.toHaveProperty('VITEST');
  });

  test('is used again while it is warm', async () => {
    expect(await (await get('/count')).text()).toBe('1');
    expect(await (await get('/count')).text()).toBe('2');
    expect(stack.function('count').sandboxes).toMatchObject([{ busy: false, invocations: 2 }]);
  });

  test('serves one invocation at a time in each process, several at once in several, the rest in turn', async () => {
    const answers = await Promise.all(Array.from({ length: 7 }, () => get('/slow')));
    const seen = (await Promise.all(answers.map((answer) => answer.json()))) as any[];
    expect(answers.map(({ status }) => status)).toEqual(Array(7).fill(200));
    expect(seen.map(({ running }) => running)).toEqual(Array(7).fill(1));
    const pids = new Set(seen.map(({ pid }) => pid));
    expect(pids.size).toBeGreaterThan(1);
    expect(pids.size).toBeLessThanOrEqual(3);
  });

  test('has logged a line before its answer is there, with the id of its request', async () => {
    const before = stack.logs.length;
    await get('/count');
    expect(stack.logs.slice(before)).toMatchObject([
      {
        functionName: 'count',
        level: 'info',
        text: expect.stringMatching(/^call \d$/),
        requestId: expect.any(String),
      },
    ]);
  });

  test.each(['hang', 'spin'])('is killed at its deadline and answers 500: %s', async (name) => {
    const answering = get(`/${name}`);
    await expect.poll(() => stack.function(name).sandboxes[0]?.busy, { timeout: 10_000 }).toBe(true);
    const busySinceMs = Date.now();
    const [sandbox] = stack.function(name).sandboxes;
    const answer = await answering;
    expect(answer.status).toBe(500);
    expect(await answer.json()).toEqual({ message: 'Internal Server Error' });
    expect(Date.now() - busySinceMs).toBeGreaterThan(900);
    expect(isAlive(sandbox!.pid)).toBe(false);
    expect(await stack.function(name).invoke({})).toEqual({ outcome: 'timeout' });
  });

  test('that crashes answers 500, keeps what it logged, and runs again in a new process', async () => {
    const before = stack.logs.length;
    expect((await get('/crash')).status).toBe(500);
    expect(stack.logs.slice(before).map(({ text }) => text)).toEqual([
      'about to crash',
      'Crashed: exited with code 7',
    ]);
    expect(await stack.function('crash').invoke({})).toEqual({
      outcome: 'crash',
      reason: 'exited with code 7',
    });
    expect(await stack.function('uncaught').invoke({})).toEqual({
      outcome: 'crash',
      reason: 'TypeError: outside',
    });
  });

  test('that throws answers 500 and stays warm', async () => {
    expect((await get('/fail')).status).toBe(500);
    expect(await stack.function('fail').invoke({})).toEqual({
      outcome: 'error',
      errorType: 'RangeError',
      errorMessage: 'no such luck',
    });
    expect(stack.function('fail').sandboxes).toMatchObject([{ invocations: 2 }]);
  });

  test('that cannot be loaded answers 500 to everyone, with the reason', async () => {
    const answers = await Promise.all([get('/broken'), get('/broken'), get('/broken')]);
    expect(answers.map(({ status }) => status)).toEqual([500, 500, 500]);
    expect(await stack.function('broken').invoke({})).toEqual({
      outcome: 'crash',
      reason: 'broken could not be loaded. Error: broken on arrival',
    });
    expect(await stack.function('unexported').invoke({})).toMatchObject({
      outcome: 'crash',
      reason: expect.stringContaining("has no function 'unexported'; it exports answer, big,"),
    });
  });

  test('may answer 6 MB and no more', async () => {
    expect((await (await post('/big', '6000000')).text()).length).toBe(6_000_000);
    expect((await post('/big', '6300000')).status).toBe(500);
  });

  test('can be crashed in the middle of its work', async () => {
    const slow = stack.function('slow');
    const crashed = slow.invoke({});
    await expect.poll(() => slow.crash()).toBe(1);
    expect(await crashed).toEqual({ outcome: 'crash', reason: 'exited with SIGKILL' });
  });

  test('can be paused in the middle of its work, while its deadline comes nearer', async () => {
    const brief = stack.function('brief');
    const resumed = brief.invoke({});
    await expect.poll(() => brief.sandboxes.some(({ busy }) => busy)).toBe(true);
    brief.pause()();
    expect(await resumed).toMatchObject({ outcome: 'result' });

    // It takes a third of its second.
    const paused = brief.invoke({});
    brief.pause();
    expect(await paused).toEqual({ outcome: 'timeout' });
  });
});

describe('a route', () => {
  test('makes the event that API Gateway makes', async () => {
    const body = '{"amount":4200}';
    const event = await sent(
      '/echo?b=2&a=1&b=3&name=Ada%20L&empty=',
      [
        ...['Content-Type', 'application/json', 'User-Agent', 'tests/1'],
        ...['X-Tag', 'one', 'x-tag', 'two', 'Cookie', 'a=1; b=2', 'Content-Length', `${body.length}`],
      ],
      body,
    );
    expect(event).toEqual({
      version: '2.0',
      routeKey: 'POST /echo',
      rawPath: '/echo',
      rawQueryString: 'b=2&a=1&b=3&name=Ada%20L&empty=',
      queryStringParameters: { b: '2,3', a: '1', name: 'Ada L', empty: '' },
      cookies: ['a=1', 'b=2'],
      headers: {
        host: 'api.example.com',
        'content-type': 'application/json',
        'content-length': '15',
        'user-agent': 'tests/1',
        'x-tag': 'one,two',
        'x-forwarded-for': '127.0.0.1',
        'x-forwarded-proto': 'http',
      },
      requestContext: {
        accountId: '000000000000',
        apiId: 'local',
        domainName: 'api.example.com',
        domainPrefix: 'local',
        http: {
          method: 'POST',
          path: '/echo',
          protocol: 'HTTP/1.1',
          sourceIp: '127.0.0.1',
          userAgent: 'tests/1',
        },
        requestId: expect.any(String),
        routeKey: 'POST /echo',
        stage: '$default',
        time: expect.stringMatching(/^\d\d\/[A-Z][a-z]{2}\/\d{4}:\d\d:\d\d:\d\d \+0000$/),
        timeEpoch: expect.any(Number),
      },
      body,
      isBase64Encoded: false,
    });
  });

  test('leaves out what is not there: query, cookies, body', async () => {
    const event = await sent('/echo', []);
    expect(event).toMatchObject({ rawQueryString: '', isBase64Encoded: false });
    expect(event).not.toHaveProperty('queryStringParameters');
    expect(event).not.toHaveProperty('cookies');
    expect(event).not.toHaveProperty('body');
  });

  test.each([
    ['application/octet-stream', Buffer.from([0, 255, 128, 10])],
    ['application/x-www-form-urlencoded', Buffer.from('a=1&b=2')],
    ['multipart/form-data; boundary=x', Buffer.from('--x--')],
  ])('sends %s on in base64', async (type, body) => {
    const event = await sent('/echo', ['Content-Type', type, 'Content-Length', `${body.length}`], body);
    expect(event).toMatchObject({ body: body.toString('base64'), isBase64Encoded: true });
  });

  test.each(['text/plain', 'application/json; charset=utf-8', 'application/problem+json'])(
    'sends %s on as text',
    async (type) => {
      const body = Buffer.from('"æ"');
      const event = await sent('/echo', ['Content-Type', type, 'Content-Length', `${body.length}`], body);
      expect(event).toMatchObject({ body: '"æ"', isBase64Encoded: false });
    },
  );

  test('turns a result with a status into the answer: headers, cookies, body', async () => {
    const answer = await post(
      '/answer',
      JSON.stringify({
        statusCode: 201,
        headers: { 'Content-Type': 'text/csv', 'X-Count': 3 },
        cookies: ['a=1; Secure', 'b=2'],
        body: 'x,y',
      }),
    );
    expect(answer.status).toBe(201);
    expect(answer.headers.get('content-type')).toBe('text/csv');
    expect(answer.headers.get('x-count')).toBe('3');
    expect(answer.headers.getSetCookie()).toEqual(['a=1; Secure', 'b=2']);
    expect(answer.headers.get('apigw-requestid')).toEqual(expect.any(String));
    expect(await answer.text()).toBe('x,y');
  });

  test('decodes a base64 body', async () => {
    const bytes = Buffer.from([0, 255, 128, 10]);
    const answer = await post(
      '/answer',
      JSON.stringify({ statusCode: 200, body: bytes.toString('base64'), isBase64Encoded: true }),
    );
    expect(Buffer.from(await answer.arrayBuffer())).toEqual(bytes);
  });

  test('takes a result without a status for the body of a 200', async () => {
    const answer = await post('/answer', '{"charged":true}');
    expect(answer.status).toBe(200);
    expect(answer.headers.get('content-type')).toBe('application/json');
    expect(await answer.text()).toBe('{"charged":true}');
    expect(await (await post('/answer', '"plain"')).text()).toBe('plain');
    expect(await (await get('/nothing')).text()).toBe('null');
  });

  test.each([
    ['a status that is none', { statusCode: 'great' }],
    ['a body that is no text', { statusCode: 200, body: { a: 1 } }],
    ['cookies that are no list', { statusCode: 200, cookies: 'a=1' }],
  ])('answers 500 to %s', async (_, result) => {
    expect((await post('/answer', JSON.stringify(result))).status).toBe(500);
  });

  test('answers 404 for what is not described', async () => {
    const answer = await get('/elsewhere');
    expect(answer.status).toBe(404);
    expect(await answer.json()).toEqual({ message: 'Not Found' });
  });
});

describe('a stack', () => {
  const options = () => ({ dynamodbEndpoint: dynamodbEndpoint() });
  const entry = () => join(directory, 'functions.mjs');

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

  test('leaves no process behind, whatever its functions are doing', async () => {
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

  test('whose process is killed leaves no function behind', async () => {
    const host = join(directory, 'host.mjs');
    const lambda = new URL('../../local/aws/lambda.ts', import.meta.url).href;
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
    expect(() => stack.function('pay')).toThrow("There is no function 'pay' in this stack.");
    expect(() => stack.sqs).toThrow('There is no queue and no topic in this stack.');
    await expect(stack.streamDrained('orders')).rejects.toThrow("Nothing reads a stream of 'orders'");
  });

  test('that cannot be started leaves nothing behind, whichever part is the last', async () => {
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
    // The routes, the queues, and of each of three proxies its own door and the function's.
    expect(servers()).toBe(8);
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

  test('makes tables with the keys it is told', async () => {
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

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
