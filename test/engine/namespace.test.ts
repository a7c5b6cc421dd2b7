import middy7 from '@middy/core';
import middy6 from 'middy6';
import { describe, expect, it } from 'vitest';
import { idempotent } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';

const middys: [string, typeof middy7][] = [
  ['Middy 6', middy6 as unknown as typeof middy7],
  ['Middy 7', middy7],
];
const clash = { code: 'NAMESPACE_CLASH', effect: 'none' };
const call = (handler: (event: never, context: never) => unknown, key: string) =>
  handler(paymentEvent({ key }) as never, lambdaContext() as never);

describe.each(middys)('one middleware object under %s', (_, middy) => {
  it('in two chains is told like two guards on one namespace', async () => {
    const guard = idempotent({ store: memoryStore() });
    const charge = middy()
      .use(guard)
      .handler(async () => 'charged');
    const refund = middy()
      .use([guard])
      .handler(async () => 'refunded');
    expect(await call(charge, 'k')).toBe('charged');
    await expect(call(refund, 'k')).rejects.toMatchObject(clash);
    expect(await call(charge, 'k2')).toBe('charged');
  });

  it('in two chains may serve both under a namespace that was chosen for that', async () => {
    const guard = idempotent({ store: memoryStore(), namespace: 'payments' });
    const charge = middy()
      .use(guard)
      .handler(async () => ({ statusCode: 201, body: 'charged' }));
    const refund = middy()
      .use(guard)
      .handler(async () => ({ statusCode: 201, body: 'refunded' }));
    await call(charge, 'k');
    expect(await call(refund, 'k')).toMatchObject({ body: 'charged' });
  });

  it('serves one chain as often as that is called', async () => {
    const charge = middy()
      .use(idempotent({ store: memoryStore() }))
      .handler(async () => 'charged');
    for (const key of ['1', '2', '3']) expect(await call(charge, key)).toBe('charged');
  });
});

describe('one middleware object', () => {
  it('called by hand, call after call, is one guard', async () => {
    const guard = idempotent({ store: memoryStore() });
    for (const key of ['1', '2', '3']) {
      const request = {
        ...{ event: paymentEvent({ key }), context: lambdaContext(), internal: {} },
        ...{ response: undefined as unknown, error: null },
      };
      await guard.before(request);
      expect('earlyResponse' in request).toBe(false);
      request.response = 'charged';
      await guard.after(request);
    }
  });

  it('has methods that go by their names, which tracing hooks show', () => {
    const { before, after, onError } = idempotent({ store: memoryStore() });
    expect([before.name, after.name, onError.name]).toEqual(['before', 'after', 'onError']);
  });

  it('can be spread', async () => {
    const guard = { ...idempotent({ store: memoryStore() }) };
    const charge = middy7()
      .use(guard)
      .handler(async () => 'charged');
    expect(await call(charge, '1')).toBe('charged');
    expect(await call(charge, '2')).toBe('charged');
  });
});
