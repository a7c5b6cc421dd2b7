import { Buffer } from 'node:buffer';
import type { Context } from 'aws-lambda';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import {
  type HttpResponse,
  IdempotencyError,
  type IdempotentContext,
  type IdempotentOptions,
  idempotent,
  operation,
  wholePayload,
} from '../../lib/index.ts';
import { manualClock } from '../../lib/testing.ts';
import { contextWith, deferred } from '../support/hands.ts';
import {
  albEvent,
  albMultiValueEvent,
  eventSources,
  type HttpEvent,
  type HttpRequest,
  httpApiEvent,
  restEvent,
} from '../support/http-events.ts';
import { type WatchedStore, watchedStore } from '../support/watched-store.ts';

type Handler = (event: HttpEvent, context: IdempotentContext) => unknown;
type Options = Omit<IdempotentOptions<HttpEvent>, 'store'> & { readonly store?: WatchedStore };

const created: HttpResponse = {
  statusCode: 201,
  headers: { 'Content-Type': 'application/json', Location: '/orders/1' },
  body: '{"id":1}',
};

/** A guarded API whose handler gives `answer`, or what a function makes of each call. */
function api(answer: HttpResponse | Handler = created, { store = watchedStore(), ...options }: Options = {}) {
  const handler = vi.fn<Handler>(typeof answer === 'function' ? answer : async () => answer);
  const guarded = idempotent(handler, { store, ...options });
  const call = async (event: HttpEvent, context?: Context) => (await guarded(event, context)) as HttpResponse;
  return { handler, store, call };
}

const keyed = (key: string, request: HttpRequest = {}): HttpRequest => ({
  ...request,
  headers: [['Idempotency-Key', key], ...(request.headers ?? [])],
});
const json = (body: string, request: HttpRequest = {}): HttpRequest => ({
  ...request,
  headers: [...(request.headers ?? []), ['Content-Type', 'application/json']],
  body,
});

/** All lines of a header of an answer, in whichever shape it is. */
function header({ headers = {}, multiValueHeaders = {} }: HttpResponse, name: string): unknown[] {
  return [...Object.entries(headers), ...Object.entries(multiValueHeaders)]
    .filter(([known]) => known.toLowerCase() === name.toLowerCase())
    .flatMap(([, value]) => value);
}

const problem = ({ body = '' }: HttpResponse) => JSON.parse(body) as Record<string, unknown>;

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
      store: watchedStore({ clock }),
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

describe('a key', () => {
  const bad: readonly (readonly [string, string])[] = [
    ['empty', ''],
    ['blank', '   '],
    ['quoted and empty', '""'],
    ['quoted and blank', '"  "'],
    ['two words', 'secret key'],
    ['two keys', 'secret,key'],
    ['two quoted keys', '"secret", "key"'],
    ['with a lone quote in front', '"secret'],
    ['with a lone quote behind', 'secret"'],
    ['with a quote inside', 'sec"ret'],
    ['with an unescaped quote in quotes', '"sec"ret"'],
    ['with an unknown escape', '"sec\\ret"'],
    ['that ends in an escape', '"secret\\"'],
    ['with text after it', '"secret" v=1'],
    ['with a letter beyond ASCII', 'secrét'],
    ['with a quoted letter beyond ASCII', '"secrét"'],
    ['with an emoji', '"secret😀"'],
    ['with a NUL', 'secret\u0000'],
    ['with a tab inside', 'secret\tkey'],
    ['with a quoted tab', '"secret\tkey"'],
    ['with a line break', '"secret\r\nkey"'],
    ['with a DEL', '"secret\u007f"'],
    ['of 256 characters', 'secret'.padEnd(256, 'x')],
    ['of 256 quoted characters', `"${'secret'.padEnd(256, 'x')}"`],
    ['of 256 characters after unescaping', `"secret${'\\"'.repeat(250)}"`],
  ];

  it.each(bad)('%s is refused before any call to the store, and is not shown', async (_, key) => {
    for (const keySyntax of ['lenient', 'strict'] as const) {
      const { call, handler, store } = api(created, { http: { keySyntax } });
      for (const [, event] of eventSources) {
        const refused = await call(event(keyed(key)));
        expect(refused.statusCode).toBe(400);
        expect(problem(refused)).toMatchObject({ status: 400, code: 'BAD_KEY' });
        expect(JSON.stringify(refused)).not.toMatch(/secr|ret/);
      }
      expect(handler).not.toHaveBeenCalled();
      expect(store.calls).toEqual([]);
    }
  });

  it('that is refused is so with the reason and the fix', async () => {
    const { call } = api();
    const detailOf = async (...lines: string[]) =>
      problem(await call(restEvent({ headers: lines.map((line) => ['Idempotency-Key', line] as const) })))
        .detail;

    expect(await detailOf('a b')).toBe(
      'The Idempotency-Key header holds a space, a comma, a lone quote or a character outside printable ASCII. Send a UUID, or quote it.',
    );
    expect(await detailOf('""')).toBe('The Idempotency-Key header is blank. Send a fresh UUID.');
    expect(await detailOf('a', 'a')).toBe('The Idempotency-Key header was sent 2 times. Send it once.');
    expect(await detailOf('a'.repeat(300))).toBe(
      'The Idempotency-Key header has 300 characters, more than the 255 allowed. Send a UUID, or a hash of what you have.',
    );
  });

  it.each([
    ['key-1', 'key-1'],
    ['8e03978e-40d5-43e8-bc93-6894a57f9324', '8e03978e-40d5-43e8-bc93-6894a57f9324'],
    ["it's;a=key!#$%&()*+-./:<=>?@[]^_`{|}~", "it's;a=key!#$%&()*+-./:<=>?@[]^_`{|}~"],
    ['back\\slash', 'back\\slash'],
    ['  key-1\t', 'key-1'],
    ['"key-1"', 'key-1'],
    ['"key-1";v=1; a="b;c" ', 'key-1'],
    [' "key-1" ', 'key-1'],
    ['"two words, and a comma"', 'two words, and a comma'],
    ['" key-1 "', ' key-1 '],
    ['"a \\"quoted\\" \\\\ key"', 'a "quoted" \\ key'],
    ['k'.repeat(255), 'k'.repeat(255)],
    [`"${'k'.repeat(255)}"`, 'k'.repeat(255)],
    [`"${'\\"'.repeat(255)}"`, '"'.repeat(255)],
  ])('%j is read as %j', async (sent, key) => {
    const { call } = api((_event, context) => ({ statusCode: 200, body: operation(context).key }));
    expect((await call(restEvent(keyed(sent)))).body).toBe(key);
  });

  it('is the same quoted and bare', async () => {
    const { call, handler, store } = api();
    for (const key of ['key-1', '"key-1"', ' "key-1"  ']) await call(restEvent(keyed(key)));
    expect(handler).toHaveBeenCalledTimes(1);
    expect(store.operations).toHaveLength(1);
  });

  it('that differs in case or in quoted blanks is another one', async () => {
    const { call, handler } = api();
    for (const key of ['key', 'KEY', '" key"', '"key "']) await call(restEvent(keyed(key)));
    expect(handler).toHaveBeenCalledTimes(4);
  });

  it('must be quoted where the syntax is strict', async () => {
    const { call, handler } = api(created, { http: { keySyntax: 'strict' } });
    const refused = await call(restEvent(keyed('key-1')));
    expect(problem(refused)).toMatchObject({
      code: 'BAD_KEY',
      detail:
        'The Idempotency-Key header is not a quoted string of printable ASCII characters. Send a UUID in double quotes.',
    });
    expect((await call(restEvent(keyed('"key-1"')))).statusCode).toBe(201);
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('is a String of RFC 9651, and nothing else, where the syntax is strict', async () => {
    const { call } = api((_event, context) => ({ statusCode: 200, body: operation(context).key }), {
      http: { keySyntax: 'strict' },
    });
    const pieces = [
      '"',
      '"',
      '\\',
      '\\"',
      '\\\\',
      'a',
      ' ',
      ',',
      ';',
      '=',
      '\t',
      'é',
      '\u007f',
      "'",
      ':',
      '?',
      '1',
      '.',
      '-',
    ];
    const text = (maxLength: number) =>
      fc.array(fc.constantFrom(...pieces), { maxLength }).map((all) => all.join(''));
    const sentence = fc.oneof(
      text(8),
      text(6).map((inner) => `"${inner}"`),
      fc.tuple(text(2), text(5)).map(([inner, value]) => `"${inner}";a=${value}`),
      fc.tuple(text(2), text(5)).map(([inner, more]) => `"${inner}";${more}`),
    );
    await fc.assert(
      fc.asyncProperty(sentence, async (sent) => {
        const key = rfc9651String(sent);
        const isKey = key !== undefined && key.trim() !== '';
        const { statusCode, body } = await call(httpApiEvent(keyed(sent)));
        expect(isKey ? [statusCode, body] : [statusCode]).toEqual(isKey ? [200, key] : [400]);
      }),
      { numRuns: 3_000 },
    );
  });

  it.each([
    ['two lines of a REST API', restEvent],
    ['two lines of a load balancer', albMultiValueEvent],
    ['two lines that an HTTP API has joined', httpApiEvent],
  ] as const)('is refused when it comes twice: %s', async (_, event) => {
    const { call, handler, store } = api();
    for (const names of [
      ['Idempotency-Key', 'Idempotency-Key'],
      ['Idempotency-Key', 'idempotency-key'],
    ]) {
      for (const keys of [
        ['key-1', 'key-1'],
        ['key-1', 'key-2'],
        ['"key-1"', '"key-2"'],
      ]) {
        const headers = names.map((name, at) => [name, keys[at] ?? ''] as const);
        const refused = await call(event({ headers }));
        expect(problem(refused)).toMatchObject({ status: 400, code: 'BAD_KEY' });
      }
    }
    expect(handler).not.toHaveBeenCalled();
    expect(store.calls).toEqual([]);
  });

  it('is found where a proxy or a test fills only one of the two header maps', async () => {
    const { call, handler } = api();
    const event = restEvent(keyed('key-1'));
    for (const part of [
      { multiValueHeaders: null },
      { multiValueHeaders: {} },
      { multiValueHeaders: { Accept: ['*/*'] } },
      { headers: null },
      { headers: {} },
    ]) {
      expect((await call({ ...event, ...part })).statusCode).toBe(201);
    }
    expect(handler).toHaveBeenCalledTimes(1);
  });
});

describe('the fingerprint of a request', () => {
  const statuses = async (requests: readonly HttpRequest[], event = restEvent, options: Options = {}) => {
    const { call } = api(created, options);
    const all: number[] = [];
    for (const request of requests) all.push((await call(event(keyed('key-1', request)))).statusCode);
    return all;
  };
  const typed = (type: string, body: string, request: HttpRequest = {}): HttpRequest => ({
    ...request,
    headers: [['Content-Type', type]],
    body,
  });

  it('takes a query by its pairs: order counts among equal names only', async () => {
    for (const event of [restEvent, httpApiEvent, albMultiValueEvent]) {
      expect(
        await statuses(
          ['a=1&a=2&b=3', 'b=3&a=1&a=2', 'a=2&a=1&b=3', 'a=1&b=3', 'a=1%26a%3D2&b=3'].map((query) => ({
            query,
          })),
          event,
        ),
      ).toEqual([201, 201, 422, 422, 422]);
    }
  });

  it('takes a form by its pairs', async () => {
    const form = 'application/x-www-form-urlencoded; charset=UTF-8';
    expect(
      await statuses([
        typed(form, 'amount=1&to=a+b'),
        typed(form, 'to=a%20b&amount=1'),
        typed(form, Buffer.from('to=a%20b&amount=1').toString('base64'), { isBase64Encoded: true }),
        typed(form, 'amount=2&to=a+b'),
        typed(form, 'amount=1&to=a+b&to=c'),
        typed('text/plain', 'amount=1&to=a+b'),
      ]),
    ).toEqual([201, 201, 201, 422, 422, 422]);
  });

  const multipart = (boundary: string, content: string, end = '\r\n') =>
    [
      `--${boundary}`,
      'Content-Disposition: form-data; name="amount"',
      '',
      content,
      `--${boundary}--`,
      '',
    ].join(end);

  it('takes a multipart form without the boundary, which is another one in each attempt', async () => {
    for (const end of ['\r\n', '\n']) {
      expect(
        await statuses([
          typed('multipart/form-data; boundary=xyz123', multipart('xyz123', '1', end)),
          typed('multipart/form-data; boundary=abc987', multipart('abc987', '1', end)),
          typed('Multipart/Form-Data; charset=utf-8; Boundary="a b?c"', multipart('a b?c', '1', end)),
          typed('multipart/form-data; boundary=abc987', multipart('abc987', '2', end)),
        ]),
      ).toEqual([201, 201, 201, 422]);
    }
  });

  it('takes nothing of the content of a multipart form for its boundary', async () => {
    expect(
      await statuses([
        typed('multipart/form-data; boundary=1', multipart('1', '1000')),
        typed('multipart/form-data; boundary=1', multipart('1', '000')),
        typed('multipart/form-data; boundary=0', multipart('0', '1')),
      ]),
    ).toEqual([201, 422, 422]);
  });

  it('takes a JSON body by its meaning, encoded or not, whatever its content type', async () => {
    const body = '{"a":"é","b":1}';
    const base64 = Buffer.from('{"b":1.0,"a":"\\u00e9"}').toString('base64');
    expect(
      await statuses([
        typed('application/json', body),
        typed('application/vnd.api+json', base64, { isBase64Encoded: true }),
        { body },
        typed('application/json', '{"a":"e","b":1}'),
        typed('application/json', JSON.stringify(body)),
        typed('application/json', '{"a":"é","b":1'),
      ]),
    ).toEqual([201, 201, 201, 422, 422, 422]);
  });

  it('takes any other body by its bytes', async () => {
    const binary = (...bytes: number[]) =>
      typed('image/png', Buffer.from(bytes).toString('base64'), { isBase64Encoded: true });
    expect(await statuses([binary(255, 1), binary(255, 1), binary(254, 1), binary(255)])).toEqual([
      201, 201, 422, 422,
    ]);
    const text = 'größer';
    expect(
      await statuses([
        typed('text/plain', text),
        typed('text/plain', Buffer.from(text).toString('base64'), { isBase64Encoded: true }),
        typed('text/plain', Buffer.from(text).toString('latin1')),
        typed('text/plain', Buffer.from(text).toString('base64')),
      ]),
    ).toEqual([201, 201, 422, 422]);
  });

  it('takes no body and an empty one for the same', async () => {
    expect(await statuses([{}, { body: '' }, { body: undefined }, { body: ' ' }])).toEqual([
      201, 201, 201, 422,
    ]);
  });

  it('takes a body that was parsed before by what it was parsed to', async () => {
    expect(
      await statuses([
        { body: { amount: 1, items: ['a'] } },
        { body: '{"items":["a"],"amount":1.0}' },
        { body: { items: ['a'], amount: 1, note: undefined } },
        { body: { amount: 1, items: ['b'] } },
        { body: '[{"amount":1,"items":["a"]}]' },
      ]),
    ).toEqual([201, 201, 201, 422, 422]);
    const file = (content: string) => ({ body: { file: new Map([['content', Buffer.from(content)]]) } });
    expect(await statuses([file('a'), file('a'), file('b')])).toEqual([201, 201, 422]);
  });

  it('does not count headers', async () => {
    expect(
      await statuses([
        { headers: [['Accept', 'a']], body: 'x' },
        { headers: [['Accept', 'b']], body: 'x' },
      ]),
    ).toEqual([201, 201]);
  });

  it('counts the selected fields only, where it is a function', async () => {
    const fingerprint = ({ body }: HttpEvent) => (JSON.parse(String(body)) as { amount: unknown }).amount;
    expect(
      await statuses(
        [
          json('{"amount":1,"sentAt":5}'),
          json('{"amount":1,"sentAt":6}', { path: '/elsewhere' }),
          json('{"amount":2,"sentAt":5}'),
        ],
        restEvent,
        { fingerprint },
      ),
    ).toEqual([201, 201, 422]);
  });

  it('is not compared where it is turned off', async () => {
    const { call, handler, store } = api(created, { fingerprint: false });
    await call(restEvent(keyed('key-1', { body: 'a' })));
    expect((await call(restEvent(keyed('key-1', { body: 'b', path: '/other' })))).statusCode).toBe(201);
    expect(handler).toHaveBeenCalledTimes(1);
    expect(await store.record()).not.toHaveProperty('fingerprint');
  });

  it('is that of the request as it arrived, whatever the handler does to it', async () => {
    const { call, handler } = api((event) => {
      Object.assign(event, { body: 'changed', path: '/changed', headers: {}, multiValueHeaders: {} });
      return created;
    });
    for (let attempt = 0; attempt < 2; attempt++) {
      expect((await call(restEvent(keyed('key-1', { body: '{"a":1}' })))).statusCode).toBe(201);
    }
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('can be the key', async () => {
    const { call, handler } = api(created, { key: wholePayload });
    await call(restEvent(json('{"a":1,"b":2}')));
    await call(restEvent(json('{"b":2,"a":1}')));
    expect(handler).toHaveBeenCalledTimes(1);
    await call(restEvent(json('{"b":3,"a":1}')));
    await call(restEvent(json('{"a":1,"b":2}', { path: '/other' })));
    expect(handler).toHaveBeenCalledTimes(3);
  });
});

describe('a replayed answer', () => {
  const twice = async (answer: unknown, event = restEvent, options: Options = {}) => {
    const { call, handler } = api(async () => answer, options);
    const first = await call(event(keyed('key-1')));
    const repeated = await call(event(keyed('key-1')));
    return { first, repeated, runs: handler.mock.calls.length };
  };

  it('is the first one, marked, and nothing else', async () => {
    const { repeated } = await twice(created);
    expect(repeated).toEqual({ ...created, headers: { ...created.headers, 'Idempotent-Replayed': 'true' } });
  });

  it('has all its headers in several lines for a load balancer that wants them so', async () => {
    const { first, repeated } = await twice(
      { statusCode: 200, multiValueHeaders: { Link: ['</a>', '</b>'] }, body: 'ok' },
      albMultiValueEvent,
    );
    expect(first).not.toHaveProperty('headers');
    expect(repeated).toEqual({
      statusCode: 200,
      multiValueHeaders: { Link: ['</a>', '</b>'], 'Idempotent-Replayed': ['true'] },
      body: 'ok',
    });
  });

  it('and a refusal have single headers for any other load balancer', async () => {
    const { repeated } = await twice(created, albEvent);
    expect(repeated).not.toHaveProperty('multiValueHeaders');
    expect(repeated.headers).toMatchObject({ 'Idempotent-Replayed': 'true' });
    const { call } = api();
    expect((await call(albEvent())).headers).toMatchObject({ 'Content-Type': 'application/problem+json' });
    const refused = await call(albMultiValueEvent());
    expect(refused).not.toHaveProperty('headers');
    expect(refused.multiValueHeaders).toMatchObject({ 'Content-Type': ['application/problem+json'] });
  });

  it('of an HTTP API is what the gateway made of a value without a status', async () => {
    for (const [value, body] of [
      [{ id: 1, at: new Date(0) }, '{"id":1,"at":"1970-01-01T00:00:00.000Z"}'],
      ['plain text', 'plain text'],
      [[1, 2], '[1,2]'],
      [7, '7'],
      [{ statusCode: undefined }, '{}'],
    ] as const) {
      const { first, repeated, runs } = await twice(value, httpApiEvent);
      expect(first).toEqual(value);
      expect(repeated).toEqual({
        statusCode: 200,
        headers: { 'Content-Type': 'application/json', 'Idempotent-Replayed': 'true' },
        body,
      });
      expect(runs).toBe(1);
    }
  });

  it('of an HTTP API is nothing where the first one was nothing', async () => {
    expect(await twice(undefined, httpApiEvent)).toEqual({ first: undefined, repeated: undefined, runs: 1 });
    expect(await twice(null, httpApiEvent)).toEqual({ first: null, repeated: null, runs: 1 });
  });

  it('is what `onReplay` makes of it, given the event', async () => {
    const { repeated, runs } = await twice(created, restEvent, {
      onReplay: (answer: HttpResponse, event) => ({ ...answer, body: `${answer.body} at ${event.path}` }),
    });
    expect(repeated).toMatchObject({ statusCode: 201, body: '{"id":1} at /orders' });
    expect(header(repeated, 'idempotent-replayed')).toEqual(['true']);
    expect(runs).toBe(1);
  });

  it('is given once the record expires no more', async () => {
    const clock = manualClock();
    const { call, handler } = api(created, { store: watchedStore({ clock }), ttlSeconds: 60 });
    await call(restEvent(keyed('key-1')));
    clock.advance(59_999);
    expect(header(await call(restEvent(keyed('key-1'))), 'idempotent-replayed')).toEqual(['true']);
    clock.advance(1);
    expect(await call(restEvent(keyed('key-1', { body: 'another payload' })))).toEqual(created);
    expect(handler).toHaveBeenCalledTimes(2);
  });
});

describe('an answer of the handler', () => {
  const failing = (statusCode: number): HttpResponse => ({
    statusCode,
    headers: { 'Retry-After': '7' },
    body: 'not now',
  });

  it.each([200, 204, 302, 400, 402, 404, 422])('with status %i is final', async (statusCode) => {
    const { call, handler } = api({ statusCode, body: 'final' });
    await call(restEvent(keyed('key-1')));
    expect(await call(restEvent(keyed('key-1')))).toMatchObject({ statusCode, body: 'final' });
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it.each([408, 409, 425, 429, 500, 502, 503, 504])(
    'with status %i leaves the key free',
    async (statusCode) => {
      const { call, handler, store } = api(() =>
        handler.mock.calls.length === 1 ? failing(statusCode) : created,
      );
      expect(await call(restEvent(keyed('key-1')))).toEqual(failing(statusCode));
      expect(await store.records()).toEqual([]);
      expect(await call(restEvent(keyed('key-1')))).toEqual(created);
      expect(handler).toHaveBeenCalledTimes(2);
    },
  );

  it.each(['503', '201'])('is judged by its status, also where that is the text %s', async (statusCode) => {
    const { call, handler } = api(async () => ({ statusCode, body: '' }));
    await call(restEvent(keyed('key-1')));
    await call(restEvent(keyed('key-1')));
    expect(handler).toHaveBeenCalledTimes(statusCode === '503' ? 2 : 1);
  });

  it('is final if, and only if, `remember` says so', async () => {
    const stored = api(failing(500), { remember: () => true });
    await stored.call(restEvent(keyed('key-1')));
    expect(await stored.call(restEvent(keyed('key-1')))).toMatchObject({ statusCode: 500, body: 'not now' });
    expect(stored.handler).toHaveBeenCalledTimes(1);

    const released = api(created, { remember: ({ statusCode }) => statusCode !== 201 });
    await released.call(restEvent(keyed('key-1')));
    await released.call(restEvent(keyed('key-1')));
    expect(released.handler).toHaveBeenCalledTimes(2);
  });

  it('that a guard inside gave instead of it is not stored', async () => {
    const done = deferred<HttpResponse>();
    const inner = api(() => done.promise, { namespace: 'inner' });
    const outer = api((event) => inner.call(event), { namespace: 'outer' });

    const first = inner.call(restEvent(keyed('key-1')));
    expect((await outer.call(restEvent(keyed('key-1')))).statusCode).toBe(409);
    expect(await outer.store.records()).toEqual([]);
    done.resolve(created);
    await first;
    expect((await outer.call(restEvent(keyed('key-1')))).statusCode).toBe(201);
    expect(inner.handler).toHaveBeenCalledTimes(1);
  });

  it('that throws leaves the key free, and the error is the caller’s', async () => {
    const { call, handler, store } = api(async () => {
      throw new Error('card declined');
    });
    await expect(call(restEvent(keyed('key-1')))).rejects.toThrow('card declined');
    expect(await store.records()).toEqual([]);
    await expect(call(restEvent(keyed('key-1')))).rejects.toThrow('card declined');
    expect(handler).toHaveBeenCalledTimes(2);
  });
});

describe('a refusal', () => {
  const unavailable = () =>
    watchedStore({
      claim: async () => {
        throw new IdempotencyError('STORE_UNAVAILABLE', 'Try again.', { retryAfterSeconds: 1 });
      },
    });

  it('says 503 and when to retry while the store cannot be reached', async () => {
    const { call, handler } = api(created, { store: unavailable() });
    const refused = await call(restEvent(keyed('key-1')));
    expect(refused).toMatchObject({ statusCode: 503, headers: { 'Retry-After': '1' } });
    expect(problem(refused)).toMatchObject({ title: 'Service Unavailable', code: 'STORE_UNAVAILABLE' });
    expect(handler).not.toHaveBeenCalled();
  });

  it('says 410 where the operation was completed without an answer that can be kept', async () => {
    const { call, handler } = api(async () => ({ ...created, close: () => {} }));
    expect((await call(restEvent(keyed('key-1')))).statusCode).toBe(201);
    const refused = await call(restEvent(keyed('key-1')));
    expect(refused.statusCode).toBe(410);
    expect(problem(refused)).toMatchObject({ title: 'Gone', code: 'RESULT_UNAVAILABLE' });
    expect(header(refused, 'retry-after')).toEqual([]);
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('says 409 to an attempt that another one has overtaken', async () => {
    const clock = manualClock();
    const done = [deferred<HttpResponse>(), deferred<HttpResponse>()] as const;
    const { call, handler } = api(() => done[handler.mock.calls.length - 1]?.promise, {
      store: watchedStore({ clock }),
      lease: { seconds: 10 },
    });
    const first = call(restEvent(keyed('key-1')));
    await call(restEvent(keyed('key-1')));
    clock.advance(10_000);
    const second = call(restEvent(keyed('key-1')));
    // The third one is refused, so the second has its claim.
    expect((await call(restEvent(keyed('key-1')))).statusCode).toBe(409);

    done[0].resolve(created);
    const overtaken = await first;
    expect(overtaken).toMatchObject({ statusCode: 409, headers: { 'Retry-After': '5' } });
    expect(problem(overtaken)).toMatchObject({ code: 'OVERTAKEN' });
    done[1].resolve({ ...created, body: 'second' });
    expect((await second).body).toBe('second');
    expect((await call(restEvent(keyed('key-1')))).body).toBe('second');
  });

  it('says 503 where no time is left', async () => {
    const { call, handler, store } = api();
    const refused = await call(restEvent(keyed('key-1')), contextWith(0));
    expect(refused).toMatchObject({ statusCode: 503, headers: { 'Retry-After': '1' } });
    expect(problem(refused)).toMatchObject({ code: 'NO_TIME_LEFT' });
    expect(handler).not.toHaveBeenCalled();
    expect(await store.records()).toEqual([]);
  });

  it('tells the lease of an invocation: its remaining time and a second', async () => {
    const done = deferred<HttpResponse>();
    const { call } = api(() => done.promise, { store: watchedStore({ clock: manualClock() }) });
    const first = call(restEvent(keyed('key-1')), contextWith(3_000));
    const busy = await call(restEvent(keyed('key-1')), contextWith(3_000));
    expect(busy).toMatchObject({ statusCode: 409, headers: { 'Retry-After': '4' } });
    done.resolve(created);
    await first;
  });

  it('is not to be cached', async () => {
    const { call } = api();
    expect(header(await call(restEvent()), 'cache-control')).toEqual(['no-store']);
  });

  it('links its type and says what that is, where the API has documentation', async () => {
    const { call } = api(created, { http: { docsUrl: 'https://api.example.com/docs#keys' } });
    await call(restEvent(keyed('key-1')));
    expect(problem(await call(restEvent(keyed('key-1', { path: '/other' }))))).toEqual({
      type: 'https://api.example.com/docs#keys',
      title: 'Idempotency key was used with other parameters',
      status: 422,
      detail: expect.stringContaining('use a new key for a new operation'),
      code: 'PAYLOAD_MISMATCH',
    });
  });

  it('looks as a function of the application wants it, with the headers that the contract demands', async () => {
    const seen: string[] = [];
    const errors = (error: IdempotencyError): HttpResponse => {
      seen.push(error.code);
      return { statusCode: 418, headers: { 'Content-Type': 'text/plain' }, body: error.code };
    };
    const { call } = api(created, {
      store: unavailable(),
      http: { errors, answerHeaders: () => ({ 'Access-Control-Allow-Origin': '*' }) },
    });
    expect(await call(restEvent())).toEqual({
      statusCode: 418,
      headers: { 'Content-Type': 'text/plain', 'Access-Control-Allow-Origin': '*' },
      body: 'MISSING_KEY',
    });
    expect(await call(restEvent(keyed('key-1')))).toMatchObject({
      statusCode: 418,
      headers: { 'Retry-After': '1' },
      body: 'STORE_UNAVAILABLE',
    });
    expect(seen).toEqual(['MISSING_KEY', 'STORE_UNAVAILABLE']);
  });

  it('has the application’s own time to retry, where its function gives one', async () => {
    const errors = (): HttpResponse => ({ statusCode: 503, headers: { 'retry-after': '120' } });
    const { call } = api(created, { store: unavailable(), http: { errors } });
    expect(header(await call(restEvent(keyed('key-1'))), 'retry-after')).toEqual(['120']);
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

/** RFC 9651, section 4.2.3, an Item that is a String, character by character; the blanks around it belong to HTTP. */
function rfc9651String(field: string): string | undefined {
  const input = [...field.replace(/^[ \t]+|[ \t]+$/g, '')];
  const failed = new Error('This is not an Item.');
  const next = () => {
    const char = input.shift();
    if (char === undefined) throw failed;
    return char;
  };
  const peek = () => input[0];
  const all = (allowed: RegExp): string => {
    let output = '';
    while (input[0] !== undefined && allowed.test(input[0])) output += next();
    return output;
  };
  const sfString = (): string => {
    let output = '';
    for (let char = next(); char !== '"'; char = next()) {
      if (char < ' ' || char > '~') throw failed;
      const escaped = char === '\\' ? next() : char;
      if (char === '\\' && escaped !== '"' && escaped !== '\\') throw failed;
      output += escaped;
    }
    return output;
  };
  const bareItem = (): void => {
    const first = next();
    if (first === '"') sfString();
    else if (first === '?') {
      if (!/[01]/.test(next())) throw failed;
    } else if (first === ':') {
      all(/[A-Za-z0-9+/=]/);
      if (next() !== ':') throw failed;
    } else if (/[A-Za-z*]/.test(first)) all(/[A-Za-z0-9!#$%&'*+.^_`|~:/-]/);
    else if (!/^-?(?:\d{1,15}|\d{1,12}\.\d{1,3})$/.test(first + all(/[\d.]/))) throw failed;
  };

  try {
    if (next() !== '"') return undefined;
    const value = sfString();
    while (peek() === ';') {
      next();
      all(/ /);
      if (!/[a-z*]/.test(next())) throw failed;
      all(/[a-z0-9_.*-]/);
      if (peek() !== '=') continue;
      next();
      bareItem();
    }
    return input.length === 0 ? value : undefined;
  } catch (error) {
    if (error === failed) return undefined;
    throw error;
  }
}
