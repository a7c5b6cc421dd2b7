import middy from '@middy/core';
import type { Context } from 'aws-lambda';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { dynamoStore, type IdempotentOptions, idempotent } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { restEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { recordingStore } from '../support/recording-store.ts';
import { refusalOf } from './both-doors.ts';

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

describe('a namespace', () => {
  const operations = async (options: IdempotentOptions = {}) => {
    const store = recordingStore();
    await idempotent(async () => 'done', { store, key: () => 'k', ...options })({});
    return store.operations.map((pk) => pk.split('#')[0]);
  };

  it('is the option, else IDEMPOTENCY_NAMESPACE, else the function, else the store’s own', async () => {
    expect(await operations()).toEqual(['memory']);
    vi.stubEnv('AWS_LAMBDA_FUNCTION_NAME', 'the-function');
    expect(await operations()).toEqual(['the-function']);
    vi.stubEnv('IDEMPOTENCY_NAMESPACE', 'the-app');
    expect(await operations()).toEqual(['the-app']);
    expect(await operations({ namespace: 'the-option' })).toEqual(['the-option']);
    vi.stubEnv('IDEMPOTENCY_NAMESPACE', '');
    expect(await operations()).toEqual(['the-function']);
  });

  it('that nothing tells is missed when the guard is made, with the fix', () => {
    expect(refusalOf({ store: dynamoStore({ tableName: 'idempotency' }) })).toBe(
      "Option `namespace` is missing, and neither IDEMPOTENCY_NAMESPACE nor AWS_LAMBDA_FUNCTION_NAME is set. Name what the keys belong to, e.g. { namespace: 'payments' }.",
    );
  });

  it('that nothing tells is missed on the first call where the table is the environment’s', async () => {
    vi.stubEnv('IDEMPOTENCY_TABLE', 'idempotency');
    const work = vi.fn();
    const call = idempotent(work, { key: () => 'k' });
    await expect(call({})).rejects.toMatchObject({
      code: 'BAD_OPTION',
      message: expect.stringContaining('Option `namespace` is missing'),
    });
    expect(work).not.toHaveBeenCalled();
  });
});

describe('two guards that name no namespace', () => {
  const work = () => vi.fn(async (_event: unknown) => 'done');
  const clash = (name: string) =>
    expect.objectContaining({
      code: 'NAMESPACE_CLASH',
      effect: 'none',
      message: expect.stringMatching(
        new RegExp(
          `Two guards share the default namespace '${name}' .*Give each its own, e\\.g\\. \\{ namespace: '${name}-`,
        ),
      ),
    });

  it('clash on one store: the second one is refused on its first call, the first one goes on', async () => {
    const store = recordingStore();
    const [orders, refunds] = [work(), work()];
    const placeOrder = idempotent(orders, { store, key: () => 'k' });
    const refund = idempotent(refunds, { store, key: () => 'k' });

    await placeOrder({});
    for (let time = 0; time < 2; time++) await expect(refund({})).rejects.toEqual(clash('memory'));
    expect(refunds).not.toHaveBeenCalled();
    expect(await placeOrder({})).toBe('done');
    expect(orders).toHaveBeenCalledTimes(1);
    expect(store.operations).toHaveLength(1);
  });

  it('clash also in the name of the function, and for requests, as an error', async () => {
    vi.stubEnv('AWS_LAMBDA_FUNCTION_NAME', 'shop');
    const store = memoryStore();
    await idempotent(work(), { store })(restEvent({ headers: [['Idempotency-Key', 'k']] }));
    const second = idempotent(work(), { store });
    await expect(second(restEvent({ headers: [['Idempotency-Key', 'k']] }))).rejects.toEqual(clash('shop'));
  });

  it('clash as middlewares, and as a middleware and a wrapper', async () => {
    const context = lambdaContext(10_000) as Context;
    const guardedBy = (handle: () => Promise<string>, store = memoryStore()) =>
      middy<unknown, unknown>()
        .use(idempotent({ store, key: () => 'k' }))
        .handler(handle);
    const store = memoryStore();
    const [first, second, third] = [work(), work(), work()];
    const once = guardedBy(async () => first({}), store);
    expect(await once({}, context)).toBe('done');
    expect(await once({}, context)).toBe('done');
    await expect(guardedBy(async () => second({}), store)({}, context)).rejects.toEqual(clash('memory'));
    await expect(idempotent(third, { store, key: () => 'k' })({})).rejects.toEqual(clash('memory'));
    expect([first, second, third].map(({ mock }) => mock.calls.length)).toEqual([1, 0, 0]);
  });

  it('clash across two copies of the package', async () => {
    const store = memoryStore();
    await idempotent(work(), { store, key: () => 'k' })({});
    vi.resetModules();
    const copy = await import('../../lib/index.ts');
    expect(copy.idempotent).not.toBe(idempotent);
    await expect(copy.idempotent(work(), { store, key: () => 'k' })({})).rejects.toEqual(clash('memory'));
  });

  it('do not clash where they guard the same handler', async () => {
    const store = memoryStore();
    const same = work();
    expect(await idempotent(same, { store, key: () => 'k' })({})).toBe('done');
    expect(await idempotent(same, { store, key: () => 'k' })({})).toBe('done');
    expect(same).toHaveBeenCalledTimes(1);
  });

  it('do not clash on two stores, nor before they have anything to store', async () => {
    await idempotent(work(), { store: memoryStore(), key: () => 'k' })({});
    await idempotent(work(), { store: memoryStore(), key: () => 'k' })({});
    const store = memoryStore();
    await idempotent(work(), { store })(restEvent({ method: 'GET' }));
    await idempotent(work(), { store, key: () => 'k' })({});
  });

  it('do not clash where one of them is named', async () => {
    const store = recordingStore();
    const [one, another] = [work(), work()];
    await idempotent(one, { store, key: () => 'k' })({});
    await idempotent(another, { store, key: () => 'k', namespace: 'another' })({});
    expect(another).toHaveBeenCalledTimes(1);
    expect(store.operations).toHaveLength(2);
  });
});
