import { Buffer } from 'node:buffer';
import { describe, expect, it } from 'vitest';
import { wholePayload } from '../../lib/index.ts';
import {
  albMultiValueEvent,
  type HttpEvent,
  type HttpRequest,
  httpApiEvent,
  restEvent,
} from '../support/http-events.ts';
import { api, created, json, keyed, type Options } from './api.ts';

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
