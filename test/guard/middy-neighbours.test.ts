import { inspect } from 'node:util';
import middy, { type MiddlewareObj } from '@middy/core';
import httpCors from '@middy/http-cors';
import httpErrorHandler from '@middy/http-error-handler';
import httpJsonBodyParser from '@middy/http-json-body-parser';
import httpResponseSerializer from '@middy/http-response-serializer';
import httpSecurityHeaders from '@middy/http-security-headers';
import inputOutputLogger from '@middy/input-output-logger';
import validator from '@middy/validator';
import { transpileSchema } from '@middy/validator/transpile';
import type { Context } from 'aws-lambda';
import { beforeEach, describe, expect, it } from 'vitest';
import { type HttpResponse, type IdempotentOptions, idempotent, operation } from '../../lib/index.ts';
import { type HttpRequest, httpApiEvent, restEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { type RecordingStore, recordingStore } from '../support/recording-store.ts';

/** `idempotent()` among Middy's own middlewares for HTTP, as they are published. */
/** What loggers of Middy's and its error handler print. */
interface Logged {
  readonly context?: object;
  readonly response?: HttpResponse;
}

// biome-ignore lint/suspicious/noExplicitAny: the types of event, answer, error and context are each middleware's own
type Middlewares = readonly MiddlewareObj<any, any, any, any, any>[];

const shop = 'https://shop.example.com';
const key = 'key-that-nobody-else-may-see';

let store: RecordingStore;
let runs: number;
/** Each answer as it lies in the store, taken when it is replayed. */
let stored: HttpResponse[];
let logged: Logged[];

beforeEach(() => {
  store = recordingStore();
  runs = 0;
  stored = [];
  logged = [];
});

const guard = (options: IdempotentOptions = {}) =>
  idempotent({
    store,
    // Given, for two Lambdas of one test are two versions of one function.
    namespace: 'orders',
    onReplay: (answer) => {
      stored.push(structuredClone(answer));
      return answer;
    },
    ...options,
  });

const cors = () => httpCors({ origins: [shop, 'https://other.example.com'] });
const corsHeaders = (event: { headers: Record<string, string> }) => ({
  'Access-Control-Allow-Origin': event.headers.origin ?? 'none',
  'Access-Control-Expose-Headers': 'Retry-After, Idempotent-Replayed',
  Vary: 'Origin',
});
const errorHandler = () => httpErrorHandler({ logger: (error) => logged.push(error as Logged) });
const jsonSerializer = (serialize: (body: unknown) => string = JSON.stringify) =>
  httpResponseSerializer({
    defaultContentType: 'application/json',
    serializers: [{ regex: /^application\/json$/, serializer: ({ body }) => serialize(body) }],
  });
const amountSchema = (amount: object = { type: 'number' }) =>
  transpileSchema({
    type: 'object',
    required: ['body'],
    properties: {
      body: { type: 'object', required: ['amount'], properties: { amount, currency: { default: 'EUR' } } },
    },
  });
const takesAmounts = amountSchema();
const takesSmallAmounts = amountSchema({ type: 'number', maximum: 5 });
const givesIds = transpileSchema({
  type: 'object',
  properties: { body: { type: 'string', pattern: '"id"' } },
});

/** A handler that counts, and answers with the count and what it was given. */
const charge = async ({ body }: { body: unknown }) => {
  runs++;
  return { statusCode: 201, body: { id: runs, charged: body } };
};
/** The same, but what it returns needs no serialiser. */
const chargeInText = async (event: { body: unknown }) => {
  const answer = await charge(event);
  return { ...answer, body: JSON.stringify(answer.body) };
};

/** A Lambda of these middlewares around a handler, called with requests. */
function api(
  middlewares: Middlewares,
  handler: (event: { body: unknown }, context: Context) => Promise<unknown> = chargeInText,
  eventOf: (request: HttpRequest) => unknown = httpApiEvent,
) {
  const lambda = middy()
    .use([...middlewares])
    .handler(handler as never);
  return async (request: HttpRequest = order()): Promise<HttpResponse> =>
    lambda(eventOf(request), lambdaContext());
}

const order = (
  body: string = '{"amount":7}',
  { origin = shop, idempotencyKey = key as string | null } = {},
) =>
  ({
    headers: [
      ['Content-Type', 'application/json'],
      ['Origin', origin],
      ...(idempotencyKey === null ? [] : [['Idempotency-Key', idempotencyKey] as const]),
    ],
    body,
  }) satisfies HttpRequest;

const replayOf = (first: HttpResponse): HttpResponse => ({
  ...first,
  headers: { ...first.headers, 'Idempotent-Replayed': 'true' },
});
const codeOf = (answer: HttpResponse) => JSON.parse(answer.body ?? '{}').code;

describe('http-cors', () => {
  it('outside: is on the first answer and missing on the replay, for an early answer skips it', async () => {
    const call = api([cors(), guard()]);
    const first = await call();
    expect(first.headers).toMatchObject({ 'Access-Control-Allow-Origin': shop });
    const repeat = await call();
    expect(repeat).toMatchObject({ statusCode: 201, body: first.body });
    expect(repeat.headers).toEqual({ 'Idempotent-Replayed': 'true' });
    expect(stored).toEqual([{ statusCode: 201, body: first.body }]);
  });

  it('outside: is missing on refusals, too', async () => {
    const call = api([cors(), guard()]);
    const refused = await call(order(undefined, { idempotencyKey: null }));
    expect(refused.statusCode).toBe(400);
    expect(refused.headers).not.toHaveProperty('Access-Control-Allow-Origin');
  });

  it('outside: is made up for by `http.answerHeaders`', async () => {
    const call = api([cors(), guard({ http: { answerHeaders: corsHeaders } })]);
    await call();
    expect((await call()).headers).toMatchObject({ 'Access-Control-Allow-Origin': shop });
  });
});

describe('http-security-headers', () => {
  it('outside: is on the first answer and missing on the replay', async () => {
    const call = api([httpSecurityHeaders(), guard()]);
    expect((await call()).headers).toHaveProperty('Strict-Transport-Security');
    expect((await call()).headers).toEqual({ 'Idempotent-Replayed': 'true' });
  });
});

describe('http-response-serializer', () => {
  it('inside: has the text stored, and is not run for a replay', async () => {
    let serialized = 0;
    const serializer = jsonSerializer((body) => {
      serialized++;
      return JSON.stringify(body);
    });
    const call = api([guard(), serializer], charge);
    const first = await call();
    expect(await call()).toEqual(replayOf(first));
    expect(stored).toEqual([{ ...first, body: '{"id":1,"charged":"{\\"amount\\":7}"}' }]);
    expect(serialized).toBe(1);
  });

  it('outside: leaves the replay with a body that is no text', async () => {
    const call = api([jsonSerializer(), guard(), httpJsonBodyParser()], charge);
    expect((await call()).body).toBe('{"id":1,"charged":{"amount":7}}');
    const repeat = await call();
    expect(repeat.body).toEqual({ id: 1, charged: { amount: 7 } });
    expect(repeat.headers).toEqual({ 'Idempotent-Replayed': 'true' });
  });

  it('outside: leaves a REST API a replay without a status, where the handler returned plain data', async () => {
    const plain = async () => ({ id: 1 });
    const call = api([jsonSerializer(), guard()], plain, restEvent);
    expect(await call()).toMatchObject({ statusCode: 200, body: '{"id":1}' });
    expect(await call()).toEqual({ id: 1 });
  });
});

describe('http-json-body-parser', () => {
  const long = (last: number) => order(`{"amount":1234567890123456789${last}}`);

  it('inside: has the body compared as it was sent, to the last digit', async () => {
    const call = api([guard(), httpJsonBodyParser()]);
    await call(long(1));
    expect(codeOf(await call(long(2)))).toBe('PAYLOAD_MISMATCH');
  });

  it('outside: has the body compared as it was parsed, where long numbers are rounded into each other', async () => {
    const call = api([httpJsonBodyParser(), guard()]);
    await call(long(1));
    expect(await call(long(2))).toMatchObject({ headers: { 'Idempotent-Replayed': 'true' } });
    expect(codeOf(await call(order('{"amount":8}')))).toBe('PAYLOAD_MISMATCH');
    expect(runs).toBe(1);
  });

  it('makes no difference between the two orders to a key that is in use', async () => {
    const outside = api([httpJsonBodyParser(), guard()]);
    const inside = api([guard(), httpJsonBodyParser()]);
    const first = await outside(order('{"amount":7,"currency":"EUR"}'));
    expect(await inside(order('{ "currency": "EUR", "amount": 7.0 }'))).toEqual(replayOf(first));
    expect(runs).toBe(1);
  });

  it('outside: refuses bad JSON before the key is looked at', async () => {
    const call = api([errorHandler(), httpJsonBodyParser(), guard()]);
    expect(await call(order('{"amount":', { idempotencyKey: null }))).toMatchObject({
      statusCode: 422,
      body: 'Invalid or malformed JSON was provided',
    });
    expect(store.calls).toEqual([]);
  });
});

describe('validator', () => {
  const parsing = (eventSchema: ReturnType<typeof amountSchema>) => [
    httpJsonBodyParser(),
    validator({ eventSchema }),
  ];

  it('inside: lets a repeat of what was done get its answer, whatever the rules are by now', async () => {
    const first = await api([guard(), ...parsing(takesAmounts)])();
    const stricter = api([guard(), ...parsing(takesSmallAmounts), errorHandler()]);
    expect(await stricter()).toEqual(replayOf(first));
    expect(await stricter(order('{"amount":7}', { idempotencyKey: 'another' }))).toMatchObject({
      statusCode: 400,
    });
  });

  it('outside: has a repeat of what was done refused when the rules have become stricter', async () => {
    const first = await api([...parsing(takesAmounts), guard()])();
    expect(first.statusCode).toBe(201);
    const repeat = await api([...parsing(takesSmallAmounts), guard(), errorHandler()])();
    expect(repeat).toMatchObject({ statusCode: 400, body: 'Event object failed validation' });
    expect(store.calls).toEqual(['claim', 'complete']);
  });

  it('outside: claims nothing for an invalid request, and the corrected one runs', async () => {
    const call = api([...parsing(takesAmounts), guard(), errorHandler()]);
    expect(await call(order('{"amount":"seven"}'))).toMatchObject({ statusCode: 400 });
    expect(store.calls).toEqual([]);
    expect(await call()).toMatchObject({ statusCode: 201 });
  });

  it('outside: has the defaults and coercions that it makes compared, not what was sent', async () => {
    const call = api([...parsing(takesAmounts), guard()]);
    await call(order('{"amount":7}'));
    expect(await call(order('{"amount":"7","currency":"EUR"}'))).toMatchObject({
      headers: { 'Idempotent-Replayed': 'true' },
    });

    const other = { idempotencyKey: 'another' };
    const inside = api([guard(), ...parsing(takesAmounts)]);
    await inside(order('{"amount":7}', other));
    expect(codeOf(await inside(order('{"amount":"7"}', other)))).toBe('PAYLOAD_MISMATCH');
  });

  it('inside: has nothing run again when the answer of work that is done is invalid', async () => {
    const call = api([guard(), validator({ responseSchema: givesIds }), errorHandler()], async () => {
      runs++;
      return { statusCode: 201, body: '{"identity":1}' };
    });
    expect(await call()).toMatchObject({ statusCode: 500 });
    const repeat = await call();
    expect(repeat.statusCode).toBe(410);
    expect(codeOf(repeat)).toBe('RESULT_UNAVAILABLE');
    expect(runs).toBe(1);
  });

  it('outside: has the answer that it refused replayed, for a replay is not validated', async () => {
    const call = api([validator({ responseSchema: givesIds }), guard(), errorHandler()], async () => {
      runs++;
      return { statusCode: 201, body: '{"identity":1}' };
    });
    expect(await call()).toMatchObject({ statusCode: 500 });
    expect(await call()).toMatchObject({ statusCode: 201, body: '{"identity":1}' });
    expect(runs).toBe(1);
  });

  it('sees a context that holds nothing of idemkit’s', async () => {
    const names = Object.keys(lambdaContext()).map((name) => [name, {}]);
    const contextSchema = transpileSchema({
      type: 'object',
      additionalProperties: false,
      properties: Object.fromEntries(names),
    });
    const call = api([guard(), validator({ contextSchema })], async (event, context) => ({
      ...(await chargeInText(event)),
      headers: { attempt: operation(context).attempt },
    }));
    expect(await call()).toMatchObject({ statusCode: 201, headers: { attempt: 1 } });
  });
});

describe('http-error-handler', () => {
  const failing = async () => {
    runs++;
    throw Object.assign(new Error('card declined'), { statusCode: 402 });
  };

  it.each([
    ['inside', () => [guard(), cors(), errorHandler()]],
    ['outside', () => [cors(), errorHandler(), guard()]],
  ])('%s: has the key released, and its answer is not remembered', async (_, middlewares) => {
    const call = api(middlewares(), failing);
    for (const attempt of [1, 2]) {
      expect(await call()).toMatchObject({
        statusCode: 402,
        body: 'card declined',
        headers: { 'Access-Control-Allow-Origin': shop },
      });
      expect(runs).toBe(attempt);
      store.clock.advance(1);
    }
    expect(store.calls).toEqual(['claim', 'giveBack', 'claim', 'giveBack']);
  });

  it('before http-cors, in either place: answers without CORS, for `onError` runs from the last to the first', async () => {
    const call = api([guard(), errorHandler(), cors()], failing);
    const failed = await call();
    expect(failed.statusCode).toBe(402);
    expect(failed.headers).not.toHaveProperty('Access-Control-Allow-Origin');
  });

  it('inside: answers for a failure after the handler, and the work is not done again', async () => {
    const call = api([guard(), jsonSerializer(), errorHandler()], async () => {
      runs++;
      return { statusCode: 201, body: { id: 1n } };
    });
    expect(await call()).toMatchObject({ statusCode: 500 });
    expect(store.calls).toEqual(['claim', 'complete']);
    expect((await call()).statusCode).toBe(410);
    expect(runs).toBe(1);
  });
});

describe('input-output-logger', () => {
  const messages = () => logged.map((message) => Object.keys(message)[0]);
  const logger = (omitPaths: string[] = []) =>
    inputOutputLogger({
      logger: (message) => logged.push(message as Logged),
      lambdaContext: true,
      omitPaths,
    });

  it('inside: logs a context that does not show the key', async () => {
    const call = api([guard(), logger()], async (event, context) => {
      expect(operation(context).key).toBe(key);
      return chargeInText(event);
    });
    expect(await call()).toMatchObject({ statusCode: 201 });
    expect(messages()).toEqual(['event', 'response']);
    for (const { context } of logged) {
      expect(context).toMatchObject({ functionName: 'orders' });
      expect(inspect(context, { depth: null, showHidden: true })).not.toContain(key);
    }
  });

  it('shows no key either when it logs the whole context', async () => {
    const shown: string[] = [];
    const call = api([guard(), logger()], async (event, context) => {
      expect(operation(context).key).toBe(key);
      shown.push(inspect(context, { depth: null, showHidden: true }), JSON.stringify(context));
      return chargeInText(event);
    });
    await call();
    expect(shown).toHaveLength(2);
    for (const text of shown) {
      expect(text).toContain('orders');
      expect(text).not.toContain(key);
    }
  });

  it('logs the key with the headers of the event, unless it is told to omit them', async () => {
    await api([guard(), logger()])();
    expect(JSON.stringify(logged)).toContain(key);

    logged = [];
    await api([guard(), logger(['event.headers.idempotency-key'])])();
    await api([logger(['event.headers.idempotency-key']), guard()])();
    expect(messages()).toEqual(['event']);
    expect(JSON.stringify(logged)).not.toContain(key);
  });

  it('inside: logs nothing of a replay', async () => {
    const call = api([guard(), logger()]);
    await call();
    logged = [];
    await call();
    expect(logged).toEqual([]);
  });

  it('outside: logs the request of a replay but not its answer', async () => {
    const call = api([logger(), guard()]);
    await call();
    expect(messages()).toEqual(['event', 'response']);
    logged = [];
    await call();
    expect(messages()).toEqual(['event']);
  });

  it('inside: logs the answer that is stored', async () => {
    const call = api([guard(), cors(), logger()]);
    await call();
    await call();
    expect(logged.find(({ response }) => response)?.response?.body).toBe(stored[0]?.body);
  });
});
