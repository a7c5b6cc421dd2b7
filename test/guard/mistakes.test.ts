import { DynamoDBClient } from '@aws-sdk/client-dynamodb';
import { describe, expect, it, vi } from 'vitest';
import { dynamoStore, type IdempotentOptions, idempotent, operation } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { lambdaContext } from '../support/invocation.ts';
import { recordingStore } from '../support/recording-store.ts';

const messageOf = (work: () => unknown): string => {
  try {
    work();
  } catch (error) {
    return (error as Error).message;
  }
  return 'nothing was thrown';
};

describe("another library's name for an option", () => {
  it.each([
    ['persistenceStore', 'store'],
    ['eventKeyJmesPath', 'key'],
    ['payloadValidationJmesPath', 'fingerprint'],
    ['expiresAfterSeconds', 'ttlSeconds'],
    ['throwOnNoIdempotencyKey', 'required'],
    ['useLocalCache', 'cache'],
    ['maxLocalCacheSize', 'cache'],
    ['responseHook', 'onReplay'],
    ['keyPrefix', 'namespace'],
  ])('%s points at %s', (theirs, ours) => {
    expect(messageOf(() => idempotent({ [theirs]: 'value' } as IdempotentOptions))).toMatch(
      new RegExp(`^Unknown option \`${theirs}\`\\. Did you mean \`${ours}\`\\?`),
    );
  });

  it.each([
    ['awsSdkV3Client', 'client'],
    ['clientConfig', 'client'],
    ['keyAttr', 'partitionKey'],
    ['sortKeyAttr', 'sortKey'],
    ['expiryAttr', 'ttlAttribute'],
  ])('%s points at %s in dynamoStore', (theirs, ours) => {
    expect(messageOf(() => dynamoStore({ tableName: 't', [theirs]: 'value' }))).toContain(
      `Did you mean \`${ours}\`?`,
    );
  });

  it.each(['toString', '__proto__', 'constructor'])(
    'that is a member of every object is unknown: %s',
    (name) => {
      const options = JSON.parse(`{ "${name}": 1 }`);
      expect(messageOf(() => idempotent(options))).toMatch(/Did you mean `\w+`\?/);
    },
  );
});

describe('a second argument', () => {
  const store = memoryStore();
  const charge = vi.fn(async function charge(_user: string, _context: unknown) {
    return 'charged';
  });
  const guarded = idempotent(charge, { store, key: (user) => user });

  it.each([
    ['a number', 5, 'a number'],
    ['a string', 'EUR', 'a string'],
    ['true', true, 'a boolean'],
    ['a callback', () => {}, 'a function'],
  ])('that is %s is refused by name, before anything runs', async (_, second, shown) => {
    Object.defineProperty(charge, 'name', { value: 'charge' });
    const named = idempotent(charge, { store, key: (user) => user, namespace: 'named' });
    await expect(named('u', second as never)).rejects.toMatchObject({
      code: 'UNSUPPORTED',
      effect: 'none',
      message: `\`charge\` was given ${shown} as its second argument, which is Lambda's context. Only the first argument tells one operation from another: put everything into it, as one object.`,
    });
    expect(charge).not.toHaveBeenCalled();
  });

  it('of a function without a name is refused as well', async () => {
    const nameless = idempotent(
      (
        () => async () =>
          1
      )(),
      { store, key: () => 'k', namespace: 'nameless' },
    );
    await expect(nameless('u', 5 as never)).rejects.toThrow('A guarded function was given a number');
  });

  it('may be missing, null or a context', async () => {
    await guarded('a');
    await guarded('b', null as never);
    await guarded('c', undefined);
    await guarded('d', lambdaContext());
    expect(charge).toHaveBeenCalledTimes(4);
  });
});

describe('a key that is a number', () => {
  it('is the key that the same number is in an array, and as a text', async () => {
    const store = recordingStore();
    const handler = vi.fn(async (order: { id: number }) => order.id);
    const keys: IdempotentOptions<{ id: number }>['key'][] = [
      (order) => order.id,
      (order) => [order.id],
      (order) => String(order.id),
    ];
    for (const key of keys)
      await idempotent(handler, { store, key, namespace: 'orders' })({ id: 7 }).catch(() => {});
    expect(store.operations).toHaveLength(1);
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('is told from others, zero and fractions included', async () => {
    const handler = vi.fn(async (order: { id: number }) => order.id);
    const call = idempotent(handler, { store: memoryStore(), key: (order) => order.id });
    for (const id of [0, 1, 10, 1.5, -1, 2 ** 53]) expect(await call({ id })).toBe(id);
    expect(handler).toHaveBeenCalledTimes(6);
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY])('is refused where it is %s', async (id) => {
    const call = idempotent(async (_event: unknown) => 1, { store: memoryStore(), key: () => id });
    await expect(call({})).rejects.toMatchObject({
      code: 'BAD_KEY',
      message: expect.stringContaining(`The key that option \`key\` returned is ${id}.`),
    });
  });
});

it('a key that the option `key` returns may be longer than one in a header, and have any characters', async () => {
  const handler = vi.fn(async (event: { id: string }) => event.id.length);
  const call = idempotent(handler, { store: memoryStore(), key: (event) => event.id });
  for (const id of ['x'.repeat(10_000), 'naïve key, with a comma', '键']) {
    await call({ id });
    await call({ id });
  }
  expect(handler).toHaveBeenCalledTimes(3);
});

it('a missing Region is told in whole sentences', async () => {
  vi.stubEnv('AWS_REGION', undefined);
  vi.stubEnv('AWS_DEFAULT_REGION', undefined);
  vi.stubEnv('AWS_CONFIG_FILE', '/nowhere');
  vi.stubEnv('AWS_SHARED_CREDENTIALS_FILE', '/nowhere');
  const client = new DynamoDBClient({ credentials: { accessKeyId: 'a', secretAccessKey: 's' } });
  const store = dynamoStore({ tableName: 't', client });
  await expect(store.read('pk')).rejects.toMatchObject({
    code: 'STORE_MISCONFIGURED',
    message: expect.stringMatching(
      /^DynamoDB cannot be called: Region is missing\. Give the function a role, /,
    ),
  });
  vi.unstubAllEnvs();
});

it('messages without a destination are told where destinations come from', async () => {
  const call = idempotent(
    async (_event: unknown, context) =>
      operation(context).commit({
        result: 1,
        messages: [{ destination: 'ledger', body: 'b', groupId: 'g' }],
      }),
    { store: memoryStore(), key: () => 'k' },
  );
  await expect(call({})).rejects.toMatchObject({
    code: 'BAD_WRITES',
    message: expect.stringContaining(
      "`level: 'committed'` sets that to the destinations of the table's pipes",
    ),
  });
});
