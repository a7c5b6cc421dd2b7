import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Stack, startStack } from '../../../local/stack/stack.ts';
import { dynamodbEndpoint } from '../../support/dynamodb.ts';
import { isAlive, type WrittenFunctions, writeFunctions } from '../functions.ts';

const source = `
  import { existsSync } from 'node:fs';
  import { setTimeout as sleep } from 'node:timers/promises';
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
  export const hang = async (event) => { if (event !== 'warm') await new Promise(() => {}); };
  export const spin = async (event) => { while (event !== 'warm'); };
  let calls = 0;
  export const count = async () => { console.info('call', ++calls); return { statusCode: 200, body: String(calls) }; };
  export const slow = async () => { await sleep(300); };
  let running = 0;
  export const held = async () => {
    running++;
    while (!existsSync(process.env.RELEASE)) await sleep(10);
    return { statusCode: 200, body: JSON.stringify({ pid: process.pid, running: running-- }) };
  };
  export const big = async ({ body }) => ({ statusCode: 200, body: 'x'.repeat(Number(body)) });
`;

interface Held {
  readonly pid: number;
  /** How many invocations its process was serving. */
  readonly running: number;
}

const names = ['context', 'env', 'fail', 'crash', 'uncaught', 'hang', 'spin', 'count', 'slow', 'held', 'big'];

let functions: WrittenFunctions;
let stack: Stack;
/** The file that lets the function `held` go on. */
const release = (): string => join(functions.directory, 'release');

beforeAll(async () => {
  functions = await writeFunctions(source);
  const { entry } = functions;
  const broken = join(functions.directory, 'broken.mjs');
  await writeFile(broken, "throw new Error('broken on arrival');");
  const described = Object.fromEntries(
    names.map((name) => [name, { entry, handler: name, timeoutSeconds: 20, maxConcurrency: 3 }]),
  );
  stack = await startStack(
    {
      functions: {
        ...described,
        hang: { entry, handler: 'hang', timeoutSeconds: 1 },
        spin: { entry, handler: 'spin', timeoutSeconds: 1 },
        brief: { entry, handler: 'slow', timeoutSeconds: 2 },
        env: { entry, handler: 'env', environment: { GREETING: 'hello' } },
        held: { ...described.held!, environment: { RELEASE: release() } },
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
  await functions?.remove();
});

const get = (path: string): Promise<Response> => fetch(`${stack.url}${path}`);
const post = (path: string, body: string): Promise<Response> =>
  fetch(`${stack.url}${path}`, { method: 'POST', headers: { 'content-type': 'application/json' }, body });

describe('a local function', () => {
  test('gets the context that Lambda would give, with the time that is really left', async () => {
    const context = (await (await get('/context')).json()) as { before: number; after: number };
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

  test('reuses a warm process', async () => {
    expect(await (await get('/count')).text()).toBe('1');
    expect(await (await get('/count')).text()).toBe('2');
    expect(stack.function('count').sandboxes).toMatchObject([{ busy: false, invocations: 2 }]);
  });

  test('serves one invocation at a time in each process, and the rest in turn', async () => {
    const answering = Promise.all(Array.from({ length: 7 }, () => get('/held')));
    const busy = () => stack.function('held').sandboxes.filter((sandbox) => sandbox.busy);
    await expect.poll(() => busy().length).toBe(3);
    await writeFile(release(), '');
    const answers = await answering;
    const seen = (await Promise.all(answers.map((answer) => answer.json()))) as Held[];
    expect(answers.map(({ status }) => status)).toEqual(Array(7).fill(200));
    expect(seen.map(({ running }) => running)).toEqual(Array(7).fill(1));
    expect(new Set(seen.map(({ pid }) => pid)).size).toBe(3);
  });

  test('has its log lines, with the id of the request, before its answer', async () => {
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

  test.each(['hang', 'spin'])('is killed at its deadline, and the route answers 500 (%s)', async (name) => {
    // Warm before the clock is read: how long a process takes to start is the machine's matter.
    expect(await stack.function(name).invoke('warm')).toMatchObject({ outcome: 'result' });
    const [sandbox] = stack.function(name).sandboxes;
    const calledAtMs = Date.now();
    const answer = await get(`/${name}`);
    expect(answer.status).toBe(500);
    expect(await answer.json()).toEqual({ message: 'Internal Server Error' });
    expect(Date.now() - calledAtMs).toBeGreaterThanOrEqual(990);
    expect(isAlive(sandbox!.pid)).toBe(false);
    expect(await stack.function(name).invoke({})).toEqual({ outcome: 'timeout' });
  });

  test('keeps its log after a crash and runs again in a new process', async () => {
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

  test('stays warm after it throws', async () => {
    expect((await get('/fail')).status).toBe(500);
    expect(await stack.function('fail').invoke({})).toEqual({
      outcome: 'error',
      errorType: 'RangeError',
      errorMessage: 'no such luck',
    });
    expect(stack.function('fail').sandboxes).toMatchObject([{ invocations: 2 }]);
  });

  test('gives everyone the reason where it cannot be loaded', async () => {
    const answers = await Promise.all([get('/broken'), get('/broken'), get('/broken')]);
    expect(answers.map(({ status }) => status)).toEqual([500, 500, 500]);
    expect(await stack.function('broken').invoke({})).toEqual({
      outcome: 'crash',
      reason: 'broken could not be loaded. Error: broken on arrival',
    });
    expect(await stack.function('unexported').invoke({})).toMatchObject({
      outcome: 'crash',
      reason: expect.stringContaining("has no function 'unexported'; it exports big, context,"),
    });
  });

  test('can answer 6 MB and no more', async () => {
    expect((await (await post('/big', '6000000')).text()).length).toBe(6_000_000);
    expect((await post('/big', '6300000')).status).toBe(500);
  });

  test('can be crashed in the middle of its work', async () => {
    const slow = stack.function('slow');
    const crashed = slow.invoke({});
    await expect.poll(() => slow.crash()).toBe(1);
    expect(await crashed).toEqual({ outcome: 'crash', reason: 'exited with SIGKILL' });
  });

  test('can be paused in the middle of its work, which does not stop its deadline', async () => {
    const brief = stack.function('brief');
    const resumed = brief.invoke({});
    await expect.poll(() => brief.sandboxes.some(({ busy }) => busy)).toBe(true);
    brief.pause()();
    expect(await resumed).toMatchObject({ outcome: 'result' });

    // Its work is much shorter than its deadline, which does not wait.
    const paused = brief.invoke({});
    brief.pause();
    expect(await paused).toEqual({ outcome: 'timeout' });
  });
});
