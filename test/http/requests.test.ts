import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { type HttpResponse, operation } from '../../lib/index.ts';
import { manualClock } from '../../lib/testing.ts';
import { deferred } from '../support/hands.ts';
import { eventSources, type HttpEvent, type HttpRequest } from '../support/http-events.ts';
import { recordingStore } from '../support/recording-store.ts';
import { api, created, header, json, keyed, problem } from './api.ts';

describe.each(eventSources)('a request through %s', (_, event) => {
  it('is known by its Idempotency-Key header, in any casing', async () => {
    const { call, handler, store } = api();
    for (const name of ['Idempotency-Key', 'idempotency-key', 'IDEMPOTENCY-KEY', 'iDEMPOTENCY-kEY']) {
      await call(event({ headers: [[name, 'key-1']] }));
    }
    expect(handler).toHaveBeenCalledTimes(1);
    await call(event(keyed('key-2')));
    expect(handler).toHaveBeenCalledTimes(2);
    expect(store.operations).toHaveLength(2);
  });

  it('is known by a header of another name where that is an option', async () => {
    const { call, handler } = api(created, { http: { keyHeader: 'PayPal-Request-Id' } });
    await call(event({ headers: [['PayPal-Request-Id', 'key-1']] }));
    await call(event({ headers: [['paypal-request-id', 'key-1']] }));
    expect(handler).toHaveBeenCalledTimes(1);

    const refused = await call(event(keyed('key-1')));
    expect(refused.statusCode).toBe(400);
    expect(problem(refused).detail).toContain('PayPal-Request-Id');
  });

  it('without a key is refused with the way out, before any call to the store', async () => {
    const { call, handler, store } = api(created, { http: { docsUrl: 'https://api.example.com/docs' } });
    const refused = await call(event());
    expect(refused.statusCode).toBe(400);
    expect(header(refused, 'content-type')).toEqual(['application/problem+json']);
    expect(header(refused, 'retry-after')).toEqual([]);
    expect(problem(refused)).toEqual({
      type: 'https://api.example.com/docs',
      title: 'Idempotency key is missing',
      status: 400,
      detail:
        'This request needs the header Idempotency-Key: a UUID, the same for every attempt of the same operation.',
      code: 'MISSING_KEY',
    });
    expect(handler).not.toHaveBeenCalled();
    expect(store.calls).toEqual([]);
  });

  it('without a key runs each time, without a record, where none is required', async () => {
    const { call, handler, store } = api(created, { required: false });
    expect(await call(event())).toEqual(created);
    expect(await call(event())).toEqual(created);
    expect(handler).toHaveBeenCalledTimes(2);
    expect(store.calls).toEqual([]);
    const [, context] = handler.mock.calls[0] ?? [];
    expect(operation(context).guarded).toBe(false);
  });

  it.each(['GET', 'HEAD', 'PUT', 'DELETE', 'OPTIONS', 'get'])('passes a %s through', async (method) => {
    const { call, handler, store } = api();
    for (const request of [keyed('key-1', { method }), keyed('key-1', { method }), { method }]) {
      expect(await call(event(request))).toEqual(created);
    }
    expect(handler).toHaveBeenCalledTimes(3);
    expect(store.calls).toEqual([]);
  });

  it.each(['POST', 'PATCH', 'post'])('is guarded for a %s', async (method) => {
    const { call, handler } = api();
    await call(event(keyed('key-1', { method })));
    await call(event(keyed('key-1', { method })));
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('is guarded for the methods of the option, and no other', async () => {
    const { call, handler } = api(created, { http: { methods: ['put'] } });
    await call(event(keyed('key-1', { method: 'PUT' })));
    await call(event(keyed('key-1', { method: 'PUT' })));
    expect(handler).toHaveBeenCalledTimes(1);
    await call(event({ method: 'POST' }));
    expect(handler).toHaveBeenCalledTimes(2);
  });

  it('with the key of another payload is refused, and the record stays as it was', async () => {
    const { call, handler, store } = api();
    const first = json('{"amount":1}', keyed('key-1', { path: '/orders', query: 'a=1' }));
    await call(event(first));
    const before = await store.record();

    for (const other of [
      { ...first, body: '{"amount":2}' },
      { ...first, body: '' },
      { ...first, method: 'PATCH' },
      { ...first, path: '/refunds' },
      { ...first, query: 'a=2' },
      { ...first, query: 'a=1&b=2' },
      { ...first, query: '' },
    ]) {
      const refused = await call(event(other));
      expect(refused.statusCode).toBe(422);
      expect(problem(refused)).toMatchObject({ status: 422, code: 'PAYLOAD_MISMATCH' });
      expect(header(refused, 'retry-after')).toEqual([]);
    }
    expect(await store.record()).toEqual(before);
    expect(handler).toHaveBeenCalledTimes(1);
    expect(header(await call(event(first)), 'idempotent-replayed')).toEqual(['true']);
  });

  it('with the key of another payload is refused while that is in progress', async () => {
    const done = deferred<HttpResponse>();
    const { call, handler } = api(() => done.promise);
    const first = call(event(json('{"amount":1}', keyed('key-1'))));
    expect((await call(event(json('{"amount":2}', keyed('key-1'))))).statusCode).toBe(422);
    done.resolve(created);
    expect((await first).statusCode).toBe(201);
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('is the same one when its payload is spelled differently', async () => {
    const { call, handler } = api();
    await call(event(json('{"amount":1,"to":{"a":1,"b":[1,2]}}', keyed('key-1', { query: 'a=1&b=2' }))));
    for (const [body, query] of [
      [' { "to": {"b":[1.0,2e0],"a":1}, "amount":1.00 } ', 'b=2&a=1'],
      ['{"amount":1,"to":{"a":1,"b":[1,2]}}\n', 'a=1&b=2'],
    ] as const) {
      expect((await call(event(json(body, keyed('key-1', { query }))))).statusCode).toBe(201);
    }
    expect(handler).toHaveBeenCalledTimes(1);
    const reordered = '{"amount":1,"to":{"a":1,"b":[2,1]}}';
    expect((await call(event(json(reordered, keyed('key-1', { query: 'a=1&b=2' }))))).statusCode).toBe(422);
  });

  it('gets on a repeat what the first one got, marked as replayed', async () => {
    const { call, handler } = api();
    const first = await call(event(keyed('key-1')));
    expect(first).toEqual(created);
    expect(header(first, 'idempotent-replayed')).toEqual([]);

    const repeated = await call(event(keyed('key-1')));
    expect(repeated.statusCode).toBe(201);
    expect(repeated.body).toBe('{"id":1}');
    expect(header(repeated, 'content-type')).toEqual(['application/json']);
    expect(header(repeated, 'location')).toEqual(['/orders/1']);
    expect(header(repeated, 'idempotent-replayed')).toEqual(['true']);
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('is told to come back when the lease of the one in progress ends', async () => {
    const clock = manualClock();
    const done = deferred<HttpResponse>();
    const { call, handler, store } = api(() => done.promise, {
      store: recordingStore({ clock }),
      lease: { seconds: 30 },
    });
    const first = call(event(keyed('key-1')));

    const busy = await call(event(keyed('key-1')));
    expect(busy.statusCode).toBe(409);
    // The owner may take 30 s, but most do not: nobody is told to wait longer than five.
    expect(header(busy, 'retry-after')).toEqual(['5']);
    expect(problem(busy)).toMatchObject({ type: 'about:blank', title: 'Conflict', code: 'IN_PROGRESS' });
    clock.advance(27_500);
    expect(header(await call(event(keyed('key-1'))), 'retry-after')).toEqual(['3']);
    expect((await store.record()).status).toBe('IN_PROGRESS');

    done.resolve(created);
    await first;
    expect((await call(event(keyed('key-1')))).statusCode).toBe(201);
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('is answered with the headers of the option, whenever the answer is ours', async () => {
    const done = deferred<HttpResponse>();
    const { call } = api(() => done.promise, {
      http: {
        answerHeaders: (request) => ({
          'Access-Control-Allow-Origin': request === lastRequest ? 'https://shop.example.com' : 'wrong event',
          'Access-Control-Expose-Headers': 'Retry-After',
        }),
      },
    });
    let lastRequest: HttpEvent = {};
    const send = (request: HttpRequest) => {
      lastRequest = event(request);
      return call(lastRequest);
    };
    const first = send(keyed('key-1'));
    const answers = [await send({}), await send(keyed('a b')), await send(keyed('key-1'))];
    answers.push(await send(keyed('key-1', { path: '/other' })));
    done.resolve({ ...created, headers: { 'access-control-allow-origin': 'https://old.example.com' } });
    expect(header(await first, 'access-control-expose-headers')).toEqual([]);
    answers.push(await send(keyed('key-1')));

    expect(answers.map(({ statusCode }) => statusCode)).toEqual([400, 400, 409, 422, 201]);
    for (const answer of answers) {
      expect(header(answer, 'access-control-allow-origin')).toEqual(['https://shop.example.com']);
      expect(header(answer, 'access-control-expose-headers')).toEqual(['Retry-After']);
    }
  });

  it('keeps a base64 answer as it is', async () => {
    const bytes = Buffer.from([0, 255, 254, 10]).toString('base64');
    const { call } = api({ ...created, body: bytes, isBase64Encoded: true });
    await call(event(keyed('key-1')));
    expect(await call(event(keyed('key-1')))).toMatchObject({ body: bytes, isBase64Encoded: true });
  });

  it('keeps headers of several lines, in their order', async () => {
    const { call } = api({
      statusCode: 200,
      multiValueHeaders: { Link: ['</a>; rel="next"', '</b>; rel="prev"'], 'Set-Cookie': ['a=1', 'b=2'] },
      body: '',
    });
    await call(event(keyed('key-1')));
    const repeated = await call(event(keyed('key-1')));
    expect(header(repeated, 'link')).toEqual(['</a>; rel="next"', '</b>; rel="prev"']);
    expect(header(repeated, 'set-cookie')).toEqual([]);
  });

  it('gets no private header of the first answer on a repeat, and none is stored', async () => {
    const names = [
      ...['Set-Cookie', 'set-cookie', 'Date', 'X-Request-Id', 'X-Correlation-Id'],
      ...['x-amzn-RequestId', 'x-amz-apigw-id', 'X-Amzn-Trace-Id', 'apigw-requestid', 'X-Amz-Cf-Id'],
      ...['Connection', 'Keep-Alive', 'Proxy-Authenticate', 'Proxy-Authorization', 'TE', 'Trailer'],
      ...['Transfer-Encoding', 'Upgrade'],
    ];
    const secret = 'private-to-the-first-caller';
    const answer: HttpResponse = {
      ...created,
      headers: { ...created.headers, ...Object.fromEntries(names.map((name) => [name, secret])) },
      multiValueHeaders: Object.fromEntries(names.map((name) => [name, [secret]])),
      cookies: [`session=${secret}`],
    };
    const { call, store } = api(answer);

    expect(await call(event(keyed('key-1')))).toEqual(answer);
    const stored = (await store.answerBytes()).toString();
    expect(stored).toContain('/orders/1');
    expect(stored).not.toContain(secret);
    const repeated = await call(event(keyed('key-1')));
    expect(JSON.stringify(repeated)).not.toContain(secret);
    expect(repeated).not.toHaveProperty('cookies');
    for (const name of names) expect(header(repeated, name)).toEqual([]);
  });
});

describe('an event that only resembles a request', () => {
  it.each<[string, unknown]>([
    ['has no request context', { httpMethod: 'POST', path: '/' }],
    ['has no method', { requestContext: { elb: {} }, path: '/', headers: {} }],
    ['comes from a WebSocket', { requestContext: { eventType: 'MESSAGE', connectionId: 'c' }, body: '{}' }],
    ['is nothing', undefined],
    ['is null', null],
    ['is a string', 'POST /'],
  ])('is refused by an error, not an answer, where it %s', async (_, event) => {
    const { call } = api();
    await expect(call(event as HttpEvent)).rejects.toMatchObject({ code: 'MISSING_KEY' });
  });
});
