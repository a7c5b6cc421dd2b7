import { describe, expect, it } from 'vitest';
import type { HttpResponse } from '../../lib/index.ts';
import { manualClock } from '../../lib/testing.ts';
import { deferred } from '../support/hands.ts';
import { albEvent, albMultiValueEvent, httpApiEvent, restEvent } from '../support/http-events.ts';
import { recordingStore } from '../support/recording-store.ts';
import { api, created, header, keyed, type Options } from './api.ts';

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

  it('has no line for a header without a value, be it the handler’s or of `http.answerHeaders`', async () => {
    const headers = { 'X-Receipt': 'r-1', 'X-Trace': undefined, 'X-Next': null };
    const options = {
      http: { answerHeaders: () => ({ 'X-Receipt': undefined, 'X-Region': 'eu' }) as never },
    };
    for (const event of [restEvent, albMultiValueEvent]) {
      const { repeated } = await twice({ statusCode: 201, headers }, event, options);
      const refused = await api(created, options).call(event());
      if (event === albMultiValueEvent) {
        for (const name of ['X-Trace', 'X-Next']) expect(header(repeated, name)).toEqual([]);
      }
      expect(header(repeated, 'X-Receipt')).toEqual(['r-1']);
      expect(header(refused, 'X-Receipt')).toEqual([]);
      expect(header(refused, 'X-Region')).toEqual(['eu']);
    }
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
    const { call, handler } = api(created, { store: recordingStore({ clock }), ttlSeconds: 60 });
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
