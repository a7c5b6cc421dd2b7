import { describe, expect, it } from 'vitest';
import { type HttpResponse, IdempotencyError, operation } from '../../lib/index.ts';
import { manualClock } from '../../lib/testing.ts';
import { deferred } from '../support/hands.ts';
import { restEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { recordingStore } from '../support/recording-store.ts';
import { api, created, header, keyed, problem } from './api.ts';

describe('a refusal', () => {
  const unavailable = () =>
    recordingStore({
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
      store: recordingStore({ clock }),
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

  it('says 409 and when to retry where a handler goes on after its lease', async () => {
    const clock = manualClock();
    const { call } = api(
      async (_event, context) => {
        clock.advance(10_000);
        return await operation(context).step('charge', async () => created);
      },
      { store: recordingStore({ clock }), lease: { seconds: 10 } },
    );
    const late = await call(restEvent(keyed('key-1')));
    expect(late).toMatchObject({ statusCode: 409, headers: { 'Retry-After': '1' } });
    expect(problem(late)).toMatchObject({ code: 'OVERTAKEN' });
  });

  it('says 503 where no time is left', async () => {
    const { call, handler, store } = api();
    const refused = await call(restEvent(keyed('key-1')), lambdaContext(0));
    expect(refused).toMatchObject({ statusCode: 503, headers: { 'Retry-After': '1' } });
    expect(problem(refused)).toMatchObject({ code: 'NO_TIME_LEFT' });
    expect(handler).not.toHaveBeenCalled();
    expect(await store.records()).toEqual([]);
  });

  it('tells the lease of an invocation: its remaining time and a second', async () => {
    const done = deferred<HttpResponse>();
    const { call } = api(() => done.promise, { store: recordingStore({ clock: manualClock() }) });
    const first = call(restEvent(keyed('key-1')), lambdaContext(3_000));
    const busy = await call(restEvent(keyed('key-1')), lambdaContext(3_000));
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
