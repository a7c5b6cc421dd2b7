import { describe, expect, test } from 'vitest';
import type { HttpResponse } from '../../lib/index.ts';
import { type HttpOptions, IdempotencyError, idempotent } from '../../lib/index.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';
import { deferred } from '../support/hands.ts';
import type { HttpCall } from '../support/http-events.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';

const docsUrl = 'https://api.example.com/docs/idempotency';

type Refused = 'missing' | 'malformed' | 'other' | 'running' | 'unkept' | 'broken';
type Refusal = Required<HttpResponse>;

/** One answer for each way in which a guard refuses. */
async function refusals(http: HttpOptions): Promise<Record<Refused, Refusal>> {
  const clock = manualClock();
  const store = memoryStore({ clock });
  const started = deferred();
  const guard = (work: () => Promise<unknown>) =>
    idempotent(async (_: unknown) => work(), {
      ...{ store, namespace: 'payments', http },
    }) as HttpCall<Refusal>;
  const paid = guard(async () => ({ statusCode: 201 }));
  const endless = guard(() => {
    started.resolve();
    return new Promise(() => {});
  });
  const unkept = guard(async () => ({ statusCode: 201, body: (() => {}) as never }));
  const broken = idempotent(async (_: unknown) => ({ statusCode: 201 }), {
    store: { ...store, claim: () => Promise.reject(new IdempotencyError('STORE_UNAVAILABLE', 'down')) },
    namespace: 'payments',
    http,
  });
  await paid(paymentEvent({ key: 'paid' }));
  void endless(paymentEvent({ key: 'running' }), lambdaContext(29_000));
  await started.promise;
  await unkept(paymentEvent({ key: 'unkept' }));
  clock.advance(9_500);
  return {
    missing: await paid(paymentEvent({ key: null })),
    malformed: await paid(paymentEvent({ key: 'a b' })),
    other: await paid(paymentEvent({ key: 'paid', body: { amount: 2 } })),
    running: await paid(paymentEvent({ key: 'running' })),
    unkept: await paid(paymentEvent({ key: 'unkept' })),
    broken: (await broken(paymentEvent({ key: 'x' }))) as Refusal,
  };
}

const statuses = (answers: Record<string, Refusal>) =>
  Object.fromEntries(Object.entries(answers).map(([name, { statusCode }]) => [name, statusCode]));

describe("a guard with errors: 'problem'", () => {
  test('answers with the statuses of the IETF draft, and when to ask again', async () => {
    const answers = await refusals({});
    expect(statuses(answers)).toEqual({
      missing: 400,
      malformed: 400,
      other: 422,
      running: 409,
      unkept: 410,
      broken: 503,
    });
    expect(answers.running.headers['Retry-After']).toBe('5');
  });

  test('is problem details: type, title, status, detail and code', async () => {
    const { other } = await refusals({ docsUrl });
    expect(other.headers).toEqual({
      'Content-Type': 'application/problem+json',
      'Cache-Control': 'no-store',
    });
    expect(JSON.parse(other.body)).toEqual({
      type: docsUrl,
      title: 'Idempotency key was used with other parameters',
      status: 422,
      detail: expect.stringContaining('use a new key'),
      code: 'PAYLOAD_MISMATCH',
    });
    const { other: untyped } = await refusals({});
    expect(JSON.parse(untyped.body)).toMatchObject({ type: 'about:blank', title: 'Unprocessable Entity' });
  });
});

describe("a guard with errors: 'problem-link'", () => {
  test('has every refusal link to the documentation', async () => {
    const answers = await refusals({ errors: 'problem-link', docsUrl });
    for (const answer of Object.values(answers)) {
      expect(answer.headers.Link).toBe(`<${docsUrl}>; rel="describedby"; type="text/html"`);
    }
    expect(statuses(answers)).toEqual(statuses(await refusals({})));
  });

  test('needs something to link to', () => {
    expect(() => idempotent({ http: { errors: 'problem-link' } })).toThrow(
      "Option `http.errors` is 'problem-link': give `http.docsUrl` to link to, e.g. 'https://example.com/docs/idempotency'.",
    );
  });
});

describe("a guard with errors: 'stripe'", () => {
  test("answers in the shape of Stripe's errors", async () => {
    const answers = await refusals({ errors: 'stripe' });
    expect(statuses(answers)).toEqual({
      missing: 400,
      malformed: 400,
      other: 400,
      running: 409,
      unkept: 400,
      broken: 503,
    });
    const errors = Object.fromEntries(
      Object.entries(answers).map(([name, { body }]) => [name, JSON.parse(body).error]),
    );
    const message = expect.any(String);
    expect(errors).toEqual({
      missing: { type: 'idempotency_error', message },
      malformed: { type: 'idempotency_error', message },
      other: { type: 'idempotency_error', message },
      running: { type: 'idempotency_error', code: 'idempotency_key_in_use', message },
      unkept: { type: 'idempotency_error', message },
      broken: { type: 'api_error', message },
    });
    expect(answers.running.headers['Retry-After']).toBe('5');
  });
});

describe('a request of a numbered sender', () => {
  /** The refusals of an older epoch, and of number 7 where number 1 is next. */
  async function numberedRefusals(http: HttpOptions): Promise<Record<'fenced' | 'gap', Refusal>> {
    const { numbered } = memoryStore();
    const call = (epoch: number, number: number) => {
      const store = numbered({ sender: 'till-7', epoch, number, startsAnywhere: false });
      return (
        idempotent(async () => ({ statusCode: 201 }), {
          ...{ store, namespace: 'tills', http },
        }) as HttpCall<Refusal>
      )(paymentEvent({ key: 'any' }));
    };
    await call(3, 0);
    return { fenced: await call(2, 0), gap: await call(3, 7) };
  }

  test.each([['problem'], ['problem-link']] as const)(
    'is told the number that is expected, in the profile %s',
    async (errors) => {
      const { gap } = await numberedRefusals({ errors, docsUrl });
      expect(gap.statusCode).toBe(409);
      expect(gap.headers['Retry-After']).toBe('1');
      expect(JSON.parse(gap.body)).toMatchObject({ code: 'SEQUENCE_GAP', expected: 1 });
    },
  );

  test("is told the number that is expected in Stripe's shape", async () => {
    const { gap } = await numberedRefusals({ errors: 'stripe' });
    expect(gap.statusCode).toBe(409);
    expect(gap.headers['Retry-After']).toBe('1');
    expect(gap.headers['Stripe-Should-Retry']).toBeUndefined();
    expect(JSON.parse(gap.body)).toEqual({
      error: { type: 'idempotency_error', message: expect.any(String), expected: 1 },
    });
  });

  test.each([['problem'], ['problem-link'], ['stripe']] as const)(
    'is not asked to come again in an older epoch, in the profile %s',
    async (errors) => {
      const { fenced } = await numberedRefusals({ errors, docsUrl });
      expect(fenced.statusCode).toBe(409);
      expect(fenced.headers['Retry-After']).toBeUndefined();
      expect(fenced.headers['Stripe-Should-Retry']).toBe(errors === 'stripe' ? 'false' : undefined);
      expect(fenced.body).not.toContain('expected');
    },
  );
});
