import { inspect } from 'node:util';
import httpJsonBodyParser from '@middy/http-json-body-parser';
import httpSecurityHeaders from '@middy/http-security-headers';
import inputOutputLogger from '@middy/input-output-logger';
import validator from '@middy/validator';
import { transpileSchema } from '@middy/validator/transpile';
import { describe, expect, it } from 'vitest';
import { operation } from '../../lib/index.ts';
import { restEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import {
  type amountSchema,
  codeOf,
  cors,
  corsHeaders,
  givesIds,
  jsonSerializer,
  key,
  type Logged,
  neighboursBench,
  order,
  replayOf,
  shop,
  takesAmounts,
  takesSmallAmounts,
} from './neighbours-bench.ts';

const bench = neighboursBench();
const { api, charge, chargeInText, errorHandler, guard } = bench;

describe('http-cors', () => {
  it('http-cors outside of the guard adds to the first answer, but not to the replay, which skips it', async () => {
    const call = api([cors(), guard()]);
    const first = await call();
    expect(first.headers).toMatchObject({ 'Access-Control-Allow-Origin': shop });
    const repeat = await call();
    expect(repeat).toMatchObject({ statusCode: 201, body: first.body });
    expect(repeat.headers).toEqual({ 'Idempotent-Replayed': 'true' });
    expect(bench.stored).toEqual([{ statusCode: 201, body: first.body }]);
  });

  it('http-cors outside of the guard adds nothing to a refusal', async () => {
    const call = api([cors(), guard()]);
    const refused = await call(order(undefined, { idempotencyKey: null }));
    expect(refused.statusCode).toBe(400);
    expect(refused.headers).not.toHaveProperty('Access-Control-Allow-Origin');
  });

  it('`http.answerHeaders` adds to a replay what http-cors outside of the guard does not', async () => {
    const call = api([cors(), guard({ http: { answerHeaders: corsHeaders } })]);
    await call();
    expect((await call()).headers).toMatchObject({ 'Access-Control-Allow-Origin': shop });
  });
});

describe('http-security-headers', () => {
  it('http-security-headers outside of the guard adds to the first answer, but not to the replay', async () => {
    const call = api([httpSecurityHeaders(), guard()]);
    expect((await call()).headers).toHaveProperty('Strict-Transport-Security');
    expect((await call()).headers).toEqual({ 'Idempotent-Replayed': 'true' });
  });
});

describe('http-response-serializer', () => {
  it('http-response-serializer inside of the guard has its text stored, and does not run for a replay', async () => {
    let serialized = 0;
    const serializer = jsonSerializer((body) => {
      serialized++;
      return JSON.stringify(body);
    });
    const call = api([guard(), serializer], charge);
    const first = await call();
    expect(await call()).toEqual(replayOf(first));
    expect(bench.stored).toEqual([{ ...first, body: '{"id":1,"charged":"{\\"amount\\":7}"}' }]);
    expect(serialized).toBe(1);
  });

  it('http-response-serializer outside of the guard leaves the replay with a body that is no text', async () => {
    const call = api([jsonSerializer(), guard(), httpJsonBodyParser()], charge);
    expect((await call()).body).toBe('{"id":1,"charged":{"amount":7}}');
    const repeat = await call();
    expect(repeat.body).toEqual({ id: 1, charged: { amount: 7 } });
    expect(repeat.headers).toEqual({ 'Idempotent-Replayed': 'true' });
  });

  it('http-response-serializer outside of the guard leaves a REST API a replay of plain data without a status', async () => {
    const plain = async () => ({ id: 1 });
    const call = api([jsonSerializer(), guard()], plain, restEvent);
    expect(await call()).toMatchObject({ statusCode: 200, body: '{"id":1}' });
    expect(await call()).toEqual({ id: 1 });
  });
});

describe('http-json-body-parser', () => {
  const long = (last: number) => order(`{"amount":1234567890123456789${last}}`);

  it('http-json-body-parser inside of the guard has the body compared as it was sent, to the last digit', async () => {
    const call = api([guard(), httpJsonBodyParser()]);
    await call(long(1));
    expect(codeOf(await call(long(2)))).toBe('PAYLOAD_MISMATCH');
  });

  it('http-json-body-parser outside of the guard has the body compared as parsed, where long numbers are rounded alike', async () => {
    const call = api([httpJsonBodyParser(), guard()]);
    await call(long(1));
    expect(await call(long(2))).toMatchObject({ headers: { 'Idempotent-Replayed': 'true' } });
    expect(codeOf(await call(order('{"amount":8}')))).toBe('PAYLOAD_MISMATCH');
    expect(bench.runs).toBe(1);
  });

  it('http-json-body-parser may move from outside of the guard to inside while a key is in use', async () => {
    const outside = api([httpJsonBodyParser(), guard()]);
    const inside = api([guard(), httpJsonBodyParser()]);
    const first = await outside(order('{"amount":7,"currency":"EUR"}'));
    expect(await inside(order('{ "currency": "EUR", "amount": 7.0 }'))).toEqual(replayOf(first));
    expect(bench.runs).toBe(1);
  });

  it('http-json-body-parser outside of the guard refuses bad JSON before the key is looked at', async () => {
    const call = api([errorHandler(), httpJsonBodyParser(), guard()]);
    expect(await call(order('{"amount":', { idempotencyKey: null }))).toMatchObject({
      statusCode: 422,
      body: 'Invalid or malformed JSON was provided',
    });
    expect(bench.store.calls).toEqual([]);
  });
});

describe('validator', () => {
  const parsing = (eventSchema: ReturnType<typeof amountSchema>) => [
    httpJsonBodyParser(),
    validator({ eventSchema }),
  ];

  it('validator inside of the guard lets a repeat of what was done get its answer, whatever the rules are by now', async () => {
    const first = await api([guard(), ...parsing(takesAmounts)])();
    const stricter = api([guard(), ...parsing(takesSmallAmounts), errorHandler()]);
    expect(await stricter()).toEqual(replayOf(first));
    expect(await stricter(order('{"amount":7}', { idempotencyKey: 'another' }))).toMatchObject({
      statusCode: 400,
    });
  });

  it('validator outside of the guard refuses a repeat of what was done when its rules have become stricter', async () => {
    const first = await api([...parsing(takesAmounts), guard()])();
    expect(first.statusCode).toBe(201);
    const repeat = await api([...parsing(takesSmallAmounts), guard(), errorHandler()])();
    expect(repeat).toMatchObject({ statusCode: 400, body: 'Event object failed validation' });
    expect(bench.store.calls).toEqual(['claim', 'complete']);
  });

  it('validator outside of the guard has nothing claimed for an invalid request, and the corrected one runs', async () => {
    const call = api([...parsing(takesAmounts), guard(), errorHandler()]);
    expect(await call(order('{"amount":"seven"}'))).toMatchObject({ statusCode: 400 });
    expect(bench.store.calls).toEqual([]);
    expect(await call()).toMatchObject({ statusCode: 201 });
  });

  it('validator outside of the guard has the defaults and coercions that it makes compared, not what was sent', async () => {
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

  it('validator inside of the guard has nothing run again when it refuses the answer of work that is done', async () => {
    const call = api([guard(), validator({ responseSchema: givesIds }), errorHandler()], async () => {
      bench.runs++;
      return { statusCode: 201, body: '{"identity":1}' };
    });
    expect(await call()).toMatchObject({ statusCode: 500 });
    const repeat = await call();
    expect(repeat.statusCode).toBe(410);
    expect(codeOf(repeat)).toBe('RESULT_UNAVAILABLE');
    expect(bench.runs).toBe(1);
  });

  it('validator outside of the guard does not see a replay, so the answer that it refused is replayed', async () => {
    const call = api([validator({ responseSchema: givesIds }), guard(), errorHandler()], async () => {
      bench.runs++;
      return { statusCode: 201, body: '{"identity":1}' };
    });
    expect(await call()).toMatchObject({ statusCode: 500 });
    expect(await call()).toMatchObject({ statusCode: 201, body: '{"identity":1}' });
    expect(bench.runs).toBe(1);
  });

  it('validator sees a context that holds nothing of idemkit’s', async () => {
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
    bench.runs++;
    throw Object.assign(new Error('card declined'), { statusCode: 402 });
  };

  it.each([
    ['inside', () => [guard(), cors(), errorHandler()]],
    ['outside', () => [cors(), errorHandler(), guard()]],
  ])(
    'http-error-handler %s of the guard has the key released, and its answer is not remembered',
    async (_, middlewares) => {
      const call = api(middlewares(), failing);
      for (const attempt of [1, 2]) {
        expect(await call()).toMatchObject({
          statusCode: 402,
          body: 'card declined',
          headers: { 'Access-Control-Allow-Origin': shop },
        });
        expect(bench.runs).toBe(attempt);
        bench.store.clock.advance(1);
      }
      expect(bench.store.calls).toEqual(['claim', 'giveBack', 'claim', 'giveBack']);
    },
  );

  it('http-error-handler before http-cors answers without CORS, for `onError` runs from the last to the first', async () => {
    const call = api([guard(), errorHandler(), cors()], failing);
    const failed = await call();
    expect(failed.statusCode).toBe(402);
    expect(failed.headers).not.toHaveProperty('Access-Control-Allow-Origin');
  });

  it('http-error-handler inside of the guard answers for a failure after the handler, and the work is not done again', async () => {
    const call = api([guard(), jsonSerializer(), errorHandler()], async () => {
      bench.runs++;
      return { statusCode: 201, body: { id: 1n } };
    });
    expect(await call()).toMatchObject({ statusCode: 500 });
    expect(bench.store.calls).toEqual(['claim', 'complete']);
    expect((await call()).statusCode).toBe(410);
    expect(bench.runs).toBe(1);
  });
});

describe('input-output-logger', () => {
  const messages = () => bench.logged.map((message) => Object.keys(message)[0]);
  const logger = (omitPaths: string[] = []) =>
    inputOutputLogger({
      logger: (message) => bench.logged.push(message as Logged),
      lambdaContext: true,
      omitPaths,
    });

  it('input-output-logger inside of the guard logs a context that does not show the key', async () => {
    const call = api([guard(), logger()], async (event, context) => {
      expect(operation(context).key).toBe(key);
      return chargeInText(event);
    });
    expect(await call()).toMatchObject({ statusCode: 201 });
    expect(messages()).toEqual(['event', 'response']);
    for (const { context } of bench.logged) {
      expect(context).toMatchObject({ functionName: 'orders' });
      expect(inspect(context, { depth: null, showHidden: true })).not.toContain(key);
    }
  });

  it('a logger that logs the whole context shows no key', async () => {
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

  it('input-output-logger logs the key with the headers of the event, unless it is told to omit them', async () => {
    await api([guard(), logger()])();
    expect(JSON.stringify(bench.logged)).toContain(key);

    bench.logged = [];
    await api([guard(), logger(['event.headers.idempotency-key'])])();
    await api([logger(['event.headers.idempotency-key']), guard()])();
    expect(messages()).toEqual(['event']);
    expect(JSON.stringify(bench.logged)).not.toContain(key);
  });

  it('input-output-logger inside of the guard logs nothing of a replay', async () => {
    const call = api([guard(), logger()]);
    await call();
    bench.logged = [];
    await call();
    expect(bench.logged).toEqual([]);
  });

  it('input-output-logger outside of the guard logs the request of a replay but not its answer', async () => {
    const call = api([logger(), guard()]);
    await call();
    expect(messages()).toEqual(['event', 'response']);
    bench.logged = [];
    await call();
    expect(messages()).toEqual(['event']);
  });

  it('input-output-logger inside of the guard logs the answer that is stored', async () => {
    const call = api([guard(), cors(), logger()]);
    await call();
    await call();
    expect(bench.logged.find(({ response }) => response)?.response?.body).toBe(bench.stored[0]?.body);
  });
});
