import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { type HttpOptions, type HttpResponse, idempotent, operation } from '../../lib/index.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';
import { doors } from '../support/doors.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';

const secret = 's3cret';
const fail = () => {
  throw new Error(`Not for ${secret}.`);
};
const options = (http: HttpOptions, more: object = {}) => ({
  ...{ store: memoryStore(), namespace: 'payments', http, ...more },
});

let warn: ReturnType<typeof vi.spyOn>;
beforeEach(() => {
  warn = vi.spyOn(console, 'warn').mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

describe.each(doors)('%s:', (_, door) => {
  it('a refusal goes out without the headers of a `http.answerHeaders` that throws', async () => {
    const handler = door(() => 'not run', options({ answerHeaders: fail }));
    const answer = (await handler(paymentEvent({ key: null }))) as HttpResponse;
    expect(answer).toMatchObject({
      statusCode: 400,
      headers: { 'Content-Type': 'application/problem+json' },
    });
    expect(JSON.parse(answer.body ?? '')).toMatchObject({ code: 'MISSING_KEY' });
    expect(warn).toHaveBeenCalledOnce();
    expect(warn.mock.calls[0]?.[0]).toContain('`http.answerHeaders`');
  });

  it('so does a replay: what was done is told', async () => {
    const handler = door(() => ({ statusCode: 201, body: 'paid' }), options({ answerHeaders: fail }));
    await handler(paymentEvent({ key: 'k' }));
    expect(await handler(paymentEvent({ key: 'k' }))).toMatchObject({
      ...{ statusCode: 201, body: 'paid', headers: { 'Idempotent-Replayed': 'true' } },
    });
  });

  it.each([
    ['throws', fail],
    ['returns nothing', () => undefined],
    ['returns a promise', async () => ({ statusCode: 418 })],
    ['returns no status', () => ({ body: 'no' })],
  ])('a refusal is the standard one where `http.errors` %s', async (_what, errors) => {
    const handler = door(() => 'not run', options({ errors: errors as () => HttpResponse }));
    const answer = (await handler(paymentEvent({ key: null }))) as HttpResponse;
    expect(JSON.parse(answer.body ?? '')).toMatchObject({ code: 'MISSING_KEY', status: 400 });
    expect(warn.mock.calls[0]?.[0]).toContain('`http.errors`');
  });

  it("a failure in the middle of the handler's work keeps its code, and the claim is given up", async () => {
    const clock = manualClock();
    const store = memoryStore({ clock });
    let runs = 0;
    const handler = door(
      async (_event, context) => {
        runs++;
        if (runs > 1) return { statusCode: 200, body: 'paid' };
        clock.advance(61_000);
        return operation(context).step('charge', () => 1);
      },
      options({ answerHeaders: fail, errors: fail }, { store, lease: { seconds: 60 } }),
    );
    const answer = (await handler(paymentEvent({ key: 'k' }))) as HttpResponse;
    expect(answer.statusCode).toBe(409);
    expect(JSON.parse(answer.body ?? '')).toMatchObject({ code: 'OVERTAKEN' });
    expect(await handler(paymentEvent({ key: 'k' }))).toMatchObject({ body: 'paid' });
  });

  it("the handler's own error is the one that leaves", async () => {
    const handler = door(
      () => {
        throw new Error('declined');
      },
      options({ answerHeaders: fail, errors: fail }),
    );
    await expect(handler(paymentEvent({ key: 'k' }))).rejects.toThrow('declined');
  });

  it('a call for which no time is left is still a 503', async () => {
    const handler = door(() => 'not run', options({ answerHeaders: fail, errors: fail }));
    expect(await handler(paymentEvent({ key: 'k' }), lambdaContext(0))).toMatchObject({ statusCode: 503 });
  });
});

describe('what such an option threw', () => {
  it('is told once a guard', async () => {
    const handler = idempotent(
      async (_: unknown) => 'not run',
      options({ answerHeaders: fail, errors: fail }),
    );
    for (let call = 0; call < 3; call++) await handler(paymentEvent({ key: null }));
    expect(warn).toHaveBeenCalledTimes(2);
  });
});
