import type { Context } from 'aws-lambda';
import { describe, expect, it } from 'vitest';
import { type HttpOptions, type HttpResponse, idempotent, numbered, operation } from '../../lib/index.ts';
import { deferred } from '../support/hands.ts';
import {
  albEvent,
  type HttpEvent,
  type HttpRequest,
  httpApiEvent,
  restEvent,
} from '../support/http-events.ts';
import { numberedBench, stores } from './bench.ts';

const shapes: readonly (readonly [string, (request: HttpRequest) => HttpEvent])[] = [
  ['a REST API', restEvent],
  ['an HTTP API', httpApiEvent],
  ['a load balancer', (request) => albEvent(request) as unknown as HttpEvent],
];

const sent = (number: number, { epoch = 0, amount = 1 } = {}): HttpRequest => ({
  path: '/sales',
  headers: [
    ['Idempotency-Sequence', `producer="till-7", epoch=${epoch}, number=${number}`],
    ['Content-Type', 'application/json'],
  ],
  body: JSON.stringify({ amount }),
});
const header = ({ headers = {} }: HttpResponse, name: string) => headers[name];
const body = (answer: HttpResponse) => JSON.parse(String(answer.body));

describe.each(stores)('on %s', (_, makeStore) => {
  const bench = numberedBench(makeStore);

  /** A guarded API that says how often it has run. */
  function api(eventOf: (request: HttpRequest) => HttpEvent, http: HttpOptions = {}) {
    let runs = 0;
    const guarded = idempotent(
      async (_: HttpEvent) => ({ statusCode: 201, body: JSON.stringify({ run: ++runs }) }),
      bench.options({ sequence: numbered(), http }),
    );
    return async (request: HttpRequest) => (await guarded(eventOf(request))) as HttpResponse;
  }

  describe.each(shapes)('a numbered request to %s', (_, eventOf) => {
    it('runs once, and is answered again', async () => {
      const call = api(eventOf);
      expect(body(await call(sent(0)))).toEqual({ run: 1 });
      const again = await call(sent(0));
      expect(body(again)).toEqual({ run: 1 });
      expect(again.statusCode).toBe(201);
      expect(JSON.stringify(again)).toContain('Idempotent-Replayed');
      expect(body(await call(sent(1)))).toEqual({ run: 2 });
    });

    it('is refused with a 409 that names the expected number, before its predecessor', async () => {
      const call = api(eventOf);
      await call(sent(0));
      const gap = await call(sent(5));
      expect(gap.statusCode).toBe(409);
      expect(JSON.stringify(gap)).toContain('"Retry-After"');
      expect(body(gap)).toMatchObject({ status: 409, code: 'SEQUENCE_GAP', expected: 1 });
    });

    it('is refused with a 409 that a retry cannot help, once its sender is fenced', async () => {
      const call = api(eventOf);
      await call(sent(0));
      await call(sent(0, { epoch: 1 }));
      const fenced = await call(sent(1));
      expect(fenced.statusCode).toBe(409);
      expect(JSON.stringify(fenced)).not.toContain('Retry-After');
      expect(body(fenced)).toMatchObject({ status: 409, code: 'FENCED' });
      expect(body(fenced)).not.toHaveProperty('expected');
    });

    it('is a 400 without the header, or with a bad one, and nothing that was sent is shown', async () => {
      const call = api(eventOf);
      const missing = await call({ path: '/sales' });
      expect(missing.statusCode).toBe(400);
      expect(body(missing)).toMatchObject({ code: 'MISSING_KEY' });
      expect(body(missing).detail).toBe(
        'This request needs the header Idempotency-Sequence. Send it as in `producer="till-7", epoch=3, number=42`.',
      );
      const bad = await call({ headers: [['idempotency-sequence', 'producer="secret", epoch=1']] });
      expect(bad.statusCode).toBe(400);
      expect(body(bad)).toMatchObject({ code: 'BAD_KEY' });
      expect(JSON.stringify(bad)).not.toContain('secret');
    });
  });

  const profiles = [
    ['problem', {}, { gap: 409, fenced: 409, mismatch: 422, forgotten: 410 }],
    [
      'problem-link',
      { errors: 'problem-link', docsUrl: 'https://docs.test/numbers' },
      { gap: 409, fenced: 409, mismatch: 422, forgotten: 410 },
    ],
    ['stripe', { errors: 'stripe' }, { gap: 409, fenced: 409, mismatch: 400, forgotten: 400 }],
  ] as const;
  describe.each(profiles)('in the profile %s', (profile, http, statuses) => {
    it('every refusal has its status, and a gap the expected number', async () => {
      const call = api(httpApiEvent, http);
      for (let number = 0; number < 6; number++) await call(sent(number));
      const mismatch = await call(sent(5, { amount: 2 }));
      const forgotten = await call(sent(0));
      const gap = await call(sent(9));
      await call(sent(0, { epoch: 1 }));
      const fenced = await call(sent(6));
      expect(mismatch.statusCode).toBe(statuses.mismatch);
      expect(forgotten.statusCode).toBe(statuses.forgotten);
      expect(gap.statusCode).toBe(statuses.gap);
      expect(fenced.statusCode).toBe(statuses.fenced);
      const told = body(gap);
      expect(profile === 'stripe' ? told.error.expected : told.expected).toBe(6);
      expect(header(gap, 'Retry-After')).toBe('1');
      expect(header(fenced, 'Retry-After')).toBeUndefined();
      expect(header(fenced, 'Stripe-Should-Retry')).toBe(profile === 'stripe' ? 'false' : undefined);
    });
  });

  it('a function makes the refusals where it is given', async () => {
    const call = api(httpApiEvent, {
      errors: ({ code, expectedNumber }) => ({
        statusCode: 418,
        body: JSON.stringify({ code, expectedNumber }),
      }),
    });
    expect(body(await call(sent(3)))).toEqual({ code: 'SEQUENCE_GAP', expectedNumber: 0 });
  });

  it('a request that runs elsewhere is a 409 with Retry-After', async () => {
    const started = deferred();
    const end = deferred();
    const guarded = idempotent(
      async (_: HttpEvent) => {
        started.resolve();
        await end.promise;
        return { statusCode: 200, body: '' };
      },
      bench.options({ sequence: numbered() }),
    );
    const first = guarded(httpApiEvent(sent(0)));
    await started.promise;
    const busy = (await guarded(httpApiEvent(sent(0)))) as HttpResponse;
    expect(busy.statusCode).toBe(409);
    expect(body(busy)).toMatchObject({ code: 'IN_PROGRESS' });
    expect(header(busy, 'Retry-After')).toBe('5');
    end.resolve();
    await first;
  });

  it('an answer of 500 leaves the number to the next attempt', async () => {
    let runs = 0;
    const guarded = idempotent(
      async (_: HttpEvent) => ({ statusCode: ++runs === 1 ? 500 : 200, body: String(runs) }),
      bench.options({ sequence: numbered() }),
    );
    expect(await guarded(httpApiEvent(sent(0)))).toMatchObject({ statusCode: 500 });
    expect(await guarded(httpApiEvent(sent(0)))).toMatchObject({ statusCode: 200 });
    expect(await guarded(httpApiEvent(sent(0)))).toMatchObject({ statusCode: 200, body: '2' });
  });

  it('a commit that is refused answers as a claim that is refused', async () => {
    const guarded = idempotent(
      async (_: HttpEvent, context: Context) =>
        operation(context).commit({ result: { statusCode: 200, body: 'sold' } }),
      bench.options({ sequence: numbered(), claim: 'at-commit' }),
    );
    const call = async (request: HttpRequest) => (await guarded(httpApiEvent(request))) as HttpResponse;
    const gap = await call(sent(2));
    expect(gap.statusCode).toBe(409);
    expect(body(gap)).toMatchObject({ code: 'SEQUENCE_GAP', expected: 0 });
    expect(await call(sent(0))).toMatchObject({ statusCode: 200 });
    await call(sent(0, { epoch: 1 }));
    expect(body(await call(sent(1)))).toMatchObject({ code: 'FENCED' });
  });

  it('callers have senders of their own', async () => {
    const guarded = idempotent(
      async (_: HttpEvent) => ({ statusCode: 200, body: '' }),
      bench.options({ sequence: numbered() }),
    );
    const by = (sub: string, number: number) =>
      guarded(
        httpApiEvent({
          ...sent(number),
          authorizer: { jwt: { claims: { sub, iss: 'https://issuer.test' }, scopes: null } },
        }),
      );
    expect(await by('ann', 0)).toMatchObject({ statusCode: 200 });
    expect(await by('bob', 1)).toMatchObject({ statusCode: 409 });
    expect(await by('ann', 1)).toMatchObject({ statusCode: 200 });
  });
});
