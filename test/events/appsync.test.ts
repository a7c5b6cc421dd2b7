import { describe, expect, test, vi } from 'vitest';
import { type IdempotentOptions, idempotent, wholePayload } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';

/** What a resolver of `Mutation.pay` gets. */
const resolverEvent = (more: Record<string, unknown> = {}) => ({
  arguments: { orderId: 'order-1', amount: 42 },
  identity: null,
  source: null,
  request: { headers: { 'x-amzn-requestid': 'r-1' } },
  info: { fieldName: 'pay', parentTypeName: 'Mutation', selectionSetList: ['id'], variables: {} },
  stash: {},
  ...more,
});
const headers = (key: string) => ({ request: { headers: { 'idempotency-key': key } } });

function resolver(options: IdempotentOptions = {}) {
  let runs = 0;
  return idempotent(async (_: unknown) => ({ run: ++runs }), { store: memoryStore(), ...options });
}
const codeOf = (work: Promise<unknown>) => work.then(() => 'none').catch(({ code }) => code);

describe('an AppSync mutation', () => {
  test('runs once for equal field and arguments where there is no header', async () => {
    const pay = resolver();
    expect(await pay(resolverEvent())).toEqual({ run: 1 });
    expect(
      await pay(resolverEvent({ info: { ...resolverEvent().info, selectionSetList: ['id', 'at'] } })),
    ).toEqual({
      run: 1,
    });
    expect(await pay(resolverEvent({ arguments: { orderId: 'order-2', amount: 42 } }))).toEqual({ run: 2 });
    expect(await pay(resolverEvent({ info: { fieldName: 'refund', parentTypeName: 'Mutation' } }))).toEqual({
      run: 3,
    });
  });

  test('runs once for one key in the header, bare or quoted', async () => {
    const pay = resolver();
    expect(await pay(resolverEvent(headers('key-1')))).toEqual({ run: 1 });
    expect(await pay(resolverEvent(headers('"key-1"')))).toEqual({ run: 1 });
    expect(await pay(resolverEvent(headers('key-2')))).toEqual({ run: 2 });
  });

  test('is refused with the same key and other arguments, or another field', async () => {
    const pay = resolver();
    await pay(resolverEvent(headers('key-1')));
    const other = { ...headers('key-1'), arguments: { orderId: 'order-1', amount: 43 } };
    expect(await codeOf(pay(resolverEvent(other)))).toBe('PAYLOAD_MISMATCH');
    const refund = { ...headers('key-1'), info: { fieldName: 'refund', parentTypeName: 'Mutation' } };
    expect(await codeOf(pay(resolverEvent(refund)))).toBe('PAYLOAD_MISMATCH');
  });

  test('is refused with a malformed key', async () => {
    expect(await codeOf(resolver()(resolverEvent(headers('a b'))))).toBe('BAD_KEY');
  });

  test('belongs to its caller', async () => {
    const pay = resolver();
    const as = (identity: unknown) => pay(resolverEvent({ ...headers('key-1'), identity }));
    const runs = [
      await as({ sub: 'ann', issuer: 'https://pool-1' }),
      await as({ sub: 'ann', issuer: 'https://pool-2' }),
      await as({
        cognitoIdentityId: 'eu-west-1:1',
        userArn: 'arn:aws:sts::1:assumed-role/app/CognitoIdentity',
      }),
      await as({ userArn: 'arn:aws:sts::1:assumed-role/clerk/session-1' }),
      await as({ resolverContext: { principalId: 'ann' } }),
      await as(null),
    ];
    expect(runs).toEqual([1, 2, 3, 4, 5, 6].map((run) => ({ run })));
    expect(await as({ sub: 'ann', issuer: 'https://pool-1' })).toEqual({ run: 1 });
    expect(await as({ userArn: 'arn:aws:sts::1:assumed-role/clerk/session-2' })).toEqual({ run: 4 });
  });

  test('of a caller whom a Lambda authorizer does not name is refused, with the fix', async () => {
    const event = resolverEvent({ identity: { resolverContext: { plan: 'gold' } } });
    await expect(resolver()(event)).rejects.toMatchObject({
      code: 'MISSING_TENANT',
      message: expect.stringContaining('resolverContext'),
    });
    const tenant = (event: unknown) =>
      (event as { identity: { resolverContext: { plan: string } } }).identity.resolverContext.plan;
    expect(await resolver({ tenant })(event)).toEqual({ run: 1 });
  });

  test('throws its refusals: GraphQL has no status', async () => {
    const pay = resolver({ http: { errors: 'stripe' } });
    await pay(resolverEvent(headers('key-1')));
    await expect(pay(resolverEvent({ ...headers('key-1'), arguments: {} }))).rejects.toThrow(
      'other parameters',
    );
  });
});

describe('other AppSync events', () => {
  test.each(['Query', 'Subscription', 'Order'])('of %s pass through', async (parentTypeName) => {
    const read = resolver();
    const event = resolverEvent({ info: { fieldName: 'order', parentTypeName } });
    expect([await read(event), await read(event)]).toEqual([{ run: 1 }, { run: 2 }]);
  });

  test('in a batch are refused, with the fix', async () => {
    const work = vi.fn();
    const batch = idempotent(async (_: unknown) => work(), { store: memoryStore(), key: () => 'k' });
    await expect(batch([resolverEvent(), resolverEvent()])).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      message: expect.stringContaining('A batch of AppSync records'),
    });
    expect(work).not.toHaveBeenCalled();
  });

  test('have a whole payload of field and arguments', () => {
    const event = resolverEvent();
    expect(wholePayload({ ...event, request: {}, stash: { a: 1 } })).toBe(wholePayload(event));
    expect(wholePayload({ ...event, arguments: { orderId: 'order-1', amount: 43 } })).not.toBe(
      wholePayload(event),
    );
  });
});
