import httpCors from '@middy/http-cors';
import httpErrorHandler from '@middy/http-error-handler';
import httpJsonBodyParser from '@middy/http-json-body-parser';
import httpSecurityHeaders from '@middy/http-security-headers';
import inputOutputLogger from '@middy/input-output-logger';
import validator from '@middy/validator';
import { describe, expect, it } from 'vitest';
import { type IdempotentOptions, idempotent } from '../../lib/index.ts';
import { deferred } from '../support/hands.ts';
import { type HttpRequest, restEvent } from '../support/http-events.ts';
import {
  codeOf,
  cors,
  corsHeaders,
  jsonSerializer,
  type Logged,
  type Middlewares,
  neighboursBench,
  order,
  replayOf,
  shop,
  takesAmounts,
} from './neighbours-bench.ts';

const bench = neighboursBench();
const { api, charge, errorHandler, guard } = bench;

describe('a stack of middlewares in the recommended order', () => {
  const recommended = (options: IdempotentOptions = {}): Middlewares => [
    guard(options),
    httpSecurityHeaders(),
    cors(),
    jsonSerializer(),
    httpJsonBodyParser(),
    validator({ eventSchema: takesAmounts }),
    errorHandler(),
  ];

  it('stores the answer that all of them have made, and replays it to the byte', async () => {
    const call = api(recommended(), charge);
    const first = await call();
    expect(first).toMatchObject({
      statusCode: 201,
      body: '{"id":1,"charged":{"amount":7,"currency":"EUR"}}',
      headers: {
        'Content-Type': 'application/json',
        'Access-Control-Allow-Origin': shop,
        'X-Content-Type-Options': 'nosniff',
        'Strict-Transport-Security': expect.stringContaining('max-age'),
      },
    });

    const repeat = await call();
    expect(repeat).toEqual(replayOf(first));
    expect(repeat.body).toBe(first.body);
    expect(bench.stored).toEqual([first]);
    expect(bench.store.calls).toEqual(['claim', 'complete', 'claim']);
    expect(bench.runs).toBe(1);
  });

  it('does the same behind a REST API', async () => {
    const call = api(recommended(), charge, restEvent);
    const first = await call();
    expect(first.headers).toMatchObject({ 'Access-Control-Allow-Origin': shop });
    expect(await call()).toEqual(replayOf(first));
    expect(bench.runs).toBe(1);
  });

  it('stores no validation error: the corrected request runs with the same key', async () => {
    const call = api(recommended(), charge);
    const invalid = await call(order('{"amount":"seven"}'));
    expect(invalid).toMatchObject({ statusCode: 400, headers: { 'Access-Control-Allow-Origin': shop } });
    expect(bench.store.calls).toEqual(['claim', 'giveBack']);
    expect(bench.runs).toBe(0);

    expect(await call(order('{"amount":7}'))).toMatchObject({ statusCode: 201 });
    expect(await call(order('{"amount":7}'))).toMatchObject({ headers: { 'Idempotent-Replayed': 'true' } });
    expect(bench.runs).toBe(1);
  });

  it('stores no parser error: a 422 for bad JSON is no mismatch, and the corrected request runs', async () => {
    const call = api(recommended(), charge);
    expect(await call(order('{"amount":'))).toMatchObject({
      statusCode: 422,
      headers: { 'Content-Type': 'text/plain' },
      body: 'Invalid or malformed JSON was provided',
    });
    expect(await call(order('{"amount":7}'))).toMatchObject({ statusCode: 201 });
    const mismatch = await call(order('{"amount":8}'));
    expect(mismatch).toMatchObject({
      statusCode: 422,
      headers: { 'Content-Type': 'application/problem+json' },
    });
    expect(codeOf(mismatch)).toBe('PAYLOAD_MISMATCH');
  });

  it.each([402, 404, 500])(
    'remembers no %i that the error handler made of a thrown error',
    async (statusCode) => {
      let isDown = true;
      const call = api(recommended(), async (event) => {
        if (!isDown) return charge(event);
        bench.runs++;
        throw Object.assign(new Error('no'), { statusCode });
      });
      const failed = await call();
      expect(failed.statusCode).toBe(statusCode);
      expect(failed.headers).toMatchObject({ 'Access-Control-Allow-Origin': shop });
      expect(bench.store.calls).toEqual(['claim', 'giveBack']);

      isDown = false;
      expect(await call()).toMatchObject({ statusCode: 201 });
      expect(bench.runs).toBe(2);
    },
  );

  it('remembers a 402 that the handler returned', async () => {
    const call = api(recommended(), async () => {
      bench.runs++;
      return { statusCode: 402, body: { error: 'card declined' } };
    });
    const declined = await call();
    expect(declined.statusCode).toBe(402);
    expect(await call()).toEqual(replayOf(declined));
    expect(bench.runs).toBe(1);
  });

  it('gives refusals and replays what `http.answerHeaders` gives, for they skip the inner http-cors', async () => {
    const started = deferred();
    const finish = deferred();
    const call = api(recommended({ http: { answerHeaders: corsHeaders } }), async (event) => {
      started.resolve();
      await finish.promise;
      return charge(event);
    });
    const first = call();
    await started.promise;
    const answers = {
      missing: await call(order(undefined, { idempotencyKey: null })),
      malformed: await call(order(undefined, { idempotencyKey: 'a b' })),
      busy: await call(),
      mismatch: await call(order('{"amount":8}')),
    };
    finish.resolve();
    await first;
    expect(Object.values(answers).map(({ statusCode }) => statusCode)).toEqual([400, 400, 409, 422]);
    for (const { headers } of [...Object.values(answers), await call()]) {
      expect(headers).toMatchObject({
        'Access-Control-Allow-Origin': shop,
        'Access-Control-Expose-Headers': 'Retry-After, Idempotent-Replayed',
        Vary: 'Origin',
      });
    }
    expect(answers.busy.headers).toMatchObject({ 'Retry-After': '5' });
  });

  it('leaves refusals without CORS where `http.answerHeaders` is not given', async () => {
    const call = api(recommended());
    const refused = await call(order(undefined, { idempotencyKey: null }));
    expect(refused.statusCode).toBe(400);
    expect(JSON.stringify(refused.headers)).not.toContain('Access-Control');
  });

  it('replays to one origin what was allowed to another, unless `http.answerHeaders` says better', async () => {
    const repeatFromElsewhere = order(undefined, { origin: 'https://other.example.com' });
    const withoutHeaders = api(recommended(), charge);
    await withoutHeaders();
    expect((await withoutHeaders(repeatFromElsewhere)).headers).toMatchObject({
      'Access-Control-Allow-Origin': shop,
      'Idempotent-Replayed': 'true',
    });

    const withHeaders = api(recommended({ http: { answerHeaders: corsHeaders } }), charge);
    expect((await withHeaders(repeatFromElsewhere)).headers).toMatchObject({
      'Access-Control-Allow-Origin': 'https://other.example.com',
      'Idempotent-Replayed': 'true',
    });
    expect(bench.runs).toBe(1);
  });

  it('lets a preflight through to http-cors, without a record', async () => {
    const call = api([
      guard(),
      httpCors({
        disableBeforePreflightResponse: false,
        origins: [shop],
        headers: 'Content-Type, Idempotency-Key',
        methods: 'POST',
      }),
    ]);
    const preflight = { method: 'OPTIONS', headers: [['Origin', shop]] } satisfies HttpRequest;
    expect(await call(preflight)).toMatchObject({
      statusCode: 204,
      headers: {
        'Access-Control-Allow-Origin': shop,
        'Access-Control-Allow-Headers': 'Content-Type, Idempotency-Key',
      },
    });
    expect(bench.store.calls).toEqual([]);
    expect(bench.runs).toBe(0);
  });

  it('turns a fault of the set-up into a 500 that shows nothing of it, and tells the log', async () => {
    const call = api(recommended({ tenant: () => undefined }));
    const failed = await call();
    expect(failed).toMatchObject({ statusCode: 500, headers: { 'Access-Control-Allow-Origin': shop } });
    expect(JSON.stringify(failed)).not.toContain('tenant');
    expect(bench.logged).toMatchObject([{ code: 'MISSING_TENANT' }]);
    expect(bench.store.calls).toEqual([]);
  });
});

describe('middlewares around middy(idempotent(handler))', () => {
  const around = (handler: (event: { body: unknown }) => Promise<unknown>) =>
    api(
      [
        inputOutputLogger({
          logger: (message) =>
            (message as Logged).response && bench.logged.push((message as Logged).response as never),
        }),
        httpSecurityHeaders(),
        cors(),
        jsonSerializer(),
        httpJsonBodyParser(),
        httpErrorHandler({ logger: () => {} }),
      ],
      idempotent(handler, { store: bench.store, namespace: 'orders' }),
    );

  it('work on a replay as on the first answer, for the caller of today', async () => {
    const call = around(charge);
    const first = await call();
    expect(first).toMatchObject({
      statusCode: 201,
      body: '{"id":1,"charged":{"amount":7}}',
      headers: { 'Content-Type': 'application/json', 'X-Content-Type-Options': 'nosniff' },
    });
    const repeat = await call(order(undefined, { origin: 'https://other.example.com' }));
    expect(repeat).toEqual({
      ...first,
      headers: {
        ...first.headers,
        'Access-Control-Allow-Origin': 'https://other.example.com',
        'Idempotent-Replayed': 'true',
      },
    });
    expect(bench.logged).toEqual([first, repeat]);
    expect(bench.runs).toBe(1);
  });

  it('replay to a caller what the serializer makes of plain data', async () => {
    const call = around(async () => ({ id: 1 }));
    const first = await call();
    expect(first.body).toBe('{"id":1}');
    expect(await call()).toEqual(replayOf(first));
  });

  it('work on refusals, which the serializer leaves alone', async () => {
    const call = around(charge);
    const refused = await call(order(undefined, { idempotencyKey: null }));
    expect(refused).toMatchObject({
      statusCode: 400,
      headers: {
        'Content-Type': 'application/problem+json',
        'Access-Control-Allow-Origin': shop,
        'X-Content-Type-Options': 'nosniff',
      },
    });
    expect(codeOf(refused)).toBe('MISSING_KEY');
  });

  it('have a thrown error release the key, and its answer is not remembered', async () => {
    const call = around(async () => {
      bench.runs++;
      throw Object.assign(new Error('card declined'), { statusCode: 402 });
    });
    for (const attempt of [1, 2]) {
      expect(await call()).toMatchObject({
        statusCode: 402,
        headers: { 'Access-Control-Allow-Origin': shop },
      });
      expect(bench.runs).toBe(attempt);
    }
  });
});
