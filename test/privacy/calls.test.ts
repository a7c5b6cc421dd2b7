import { randomBytes } from 'node:crypto';
import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  createOnce,
  dynamoStore,
  type IdempotentOptions,
  idempotent,
  type Operation,
  updateVersion,
} from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { memoryStore } from '../../lib/testing.ts';
import { createTable, type TestTable } from '../support/dynamodb.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { privacyBench } from './bench.ts';

const bench = privacyBench();
const { secret, told, observe, guard } = bench;

let table: TestTable;
beforeAll(async () => {
  table = await createTable();
});

const stores: readonly (readonly [string, () => Store])[] = [
  ['memoryStore', () => memoryStore()],
  ['dynamoStore', () => dynamoStore(table.store)],
];

const call = () => ({
  key: secret(),
  tenant: secret(),
  payload: { name: secret(), card: { number: secret() } },
});

describe.each(stores)('on a %s, nothing of a value is shown', (_, open) => {
  it('where a key is used again with another payload, or while it runs', async () => {
    const store = open();
    const event = call();
    let inner: unknown;
    const handle = guard(store, async () => {
      inner ??= told(() => handle(event), 'IN_PROGRESS');
      await inner;
      return { answer: secret() };
    });
    await handle(event);
    await handle(event);
    await told(() => handle({ ...event, payload: secret() }), 'PAYLOAD_MISMATCH');
  });

  it('where a key, a tenant or a payload is none', async () => {
    const handle = guard(open(), async () => 1);
    const [key, tenant, payload] = [secret(), secret(), secret()];
    await told(() => handle({ key: { text: key }, tenant }), 'BAD_KEY');
    await told(() => handle({ key: [key, ' '], tenant }), 'BAD_KEY');
    await told(() => handle({ key, tenant: { text: tenant } }), 'MISSING_TENANT');
    await told(() => handle({ key, tenant, payload: { text: payload, call: () => payload } }), 'BAD_PAYLOAD');
    await told(() => guard(open(), async () => 1, { key: () => undefined })({ payload }), 'MISSING_KEY');
    await told(() => (handle as (...args: unknown[]) => unknown)({ key }, secret()), 'UNSUPPORTED');
  });

  it('where an answer cannot be kept, or an option fails over it', async () => {
    const store = open();
    class Receipt {
      readonly number = secret();
    }
    for (const make of [
      () => ({ receipt: new Receipt(), note: secret() }),
      () => new Map([[secret(), new Receipt()]]),
      () => ({ [`${secret()}@example.com`]: () => secret() }),
      () => new Error(secret()),
      () => ({ text: randomBytes(1_500_000).toString('hex'), note: secret() }),
      () => ({
        get total() {
          throw new Error(secret());
        },
      }),
    ]) {
      const event = call();
      const handle = guard(store, async () => make(), { fingerprint: false });
      await handle(event);
      await told(() => handle(event));
    }
    const parses = guard(store, async () => ({ note: secret() }), {
      remember: ({ value }) => JSON.parse((value as { note: string }).note),
    });
    await parses(call());
  });

  it('where steps have names that hold an id', async () => {
    const store = open();
    const name = secret();
    const wrong: ((op: Operation) => Promise<unknown>)[] = [
      (op) => op.step('', () => 1),
      (op) => op.step(secret().repeat(20), () => 1),
      (op) => op.step({ name } as never, () => 1),
      async (op) => [await op.step(name, () => 1), await op.step(name, () => 2)],
      async (op) => [await op.step(name, () => 1), await op.transaction(name, {})],
    ];
    for (const work of wrong) {
      await told(() => guard(store, (_event, op) => work(op))(call(), lambdaContext(30_000)), 'BAD_STEP');
    }
  });

  it('where a step is found that was never ended, or of which the value is gone', async () => {
    const store = open();
    const [event, name] = [call(), secret()];
    let attempts = 0;
    const handle = guard(store, async (_event, op) => {
      attempts++;
      if (attempts === 1) {
        await op.step(`gone-${name}`, () => ({ close: () => secret() }));
        await op.step(
          `once-${name}`,
          () => {
            throw new TypeError('mail server');
          },
          { atMostOnce: true },
        );
      }
      if (attempts === 2) await op.step(`gone-${name}`, () => 1);
      return op.step(`once-${name}`, () => 1, { atMostOnce: true });
    });
    await expect(handle(event, lambdaContext(30_000))).rejects.toThrow('mail server');
    await told(() => handle(event, lambdaContext(30_000)), 'RESULT_UNAVAILABLE');
    await told(() => handle(event, lambdaContext(30_000)), 'INDETERMINATE');
  });

  it('where writes are none that DynamoDB takes', async () => {
    const store = open();
    class Money {
      readonly cents = secret();
    }
    const item = () => ({ pk: secret(), sk: secret() });
    const TableName = table.tableName;
    for (const writes of [
      secret(),
      [secret()],
      [{ [secret()]: secret() }],
      [{ Put: secret() }],
      [{ Put: { TableName: { name: secret() }, Item: item() } }],
      [{ Put: { TableName, Item: secret() } }],
      [{ Put: { TableName, Item: { ...item(), money: new Money() } } }],
      [{ Put: { TableName, Item: { ...item(), [`${secret()}@x`]: new Money() } } }],
      [{ Put: { TableName, Item: { ...item(), call: Symbol(secret()) } } }],
      [{ Put: { TableName, Item: { ...item(), list: [new Set([secret(), 1])] } } }],
      [{ Put: { TableName, Item: { ...item(), when: { at: new Date() } } } }],
      [
        {
          Put: {
            TableName,
            Item: {
              ...item(),
              lazy: {
                get at() {
                  throw new Error(secret());
                },
              },
            },
          },
        },
      ],
    ]) {
      await told(
        () => guard(store, (_event, op) => op.commit({ result: secret(), writes: writes as never }))(call()),
        'BAD_WRITES',
      );
    }
    const double = item();
    const writes = [{ Put: { TableName, Item: double } }, { Delete: { TableName, Key: double } }];
    await told(() => guard(store, (_event, op) => op.commit({ result: 1, writes }))(call()), 'BAD_WRITES');
  });

  it('where messages are none that a queue takes', async () => {
    const store = open();
    const fine = () => ({ destination: 'ledger', body: secret(), groupId: secret() });
    for (const messages of [
      secret(),
      [secret()],
      [{ ...fine(), destination: secret() }],
      [{ ...fine(), destination: { name: secret() } }],
      [{ ...fine(), groupId: `${secret()} ${secret()}` }],
      [{ ...fine(), deduplicationId: `${secret()} ${secret()}` }],
      [{ ...fine(), body: `${secret()}\u0000${secret()}` }],
      [{ ...fine(), body: secret().repeat(20_000) }],
      [{ ...fine(), body: () => secret() }],
      [{ ...fine(), keyInBody: secret() }],
    ]) {
      await told(
        () => guard(store, (_event, op) => op.commit({ result: 1, messages: messages as never }))(call()),
        'BAD_WRITES',
      );
    }
    const none = guard(store, (_event, op) => op.commit({ result: 1, messages: [fine()] }), {
      destinations: [],
    });
    await told(() => none(call()), 'BAD_WRITES');
  });

  it('over HTTP', async () => {
    const options: IdempotentOptions = { key: undefined as never, tenant: undefined as never };
    delete (options as { key?: unknown }).key;
    delete (options as { tenant?: unknown }).tenant;
    const store = open();
    const handle = idempotent(
      async (event: APIGatewayProxyEventV2) => ({
        statusCode: 200,
        headers: { 'x-name': JSON.parse(event.body ?? '').name },
        body: event.body,
      }),
      {
        store,
        namespace: 'http',
        observe,
        http: { answerHeaders: () => JSON.parse(secret()), errors: () => JSON.parse(secret()) },
      },
    );
    const keep = (answer: unknown) => {
      const { statusCode, body } = answer as { statusCode: number; body: string };
      if (statusCode >= 400) bench.out.push(body);
    };
    const key = secret();
    await handle(paymentEvent({ key, body: { name: secret() } }));
    keep(await handle(paymentEvent({ key, body: { name: secret() } })));
    for (const bad of [`${secret()},${secret()}`, `"${secret()}`, secret().repeat(20), `ü${secret()}`]) {
      keep(await handle(paymentEvent({ key: bad, body: { name: secret() } })));
    }
    expect(bench.out.some((text) => text.includes('PAYLOAD_MISMATCH'))).toBe(true);
  });
});

describe('nothing of a value is shown by a store on DynamoDB', () => {
  it('where DynamoDB refuses what was written', async () => {
    const store = dynamoStore(table.store);
    const TableName = table.tableName;
    const item = () => ({ pk: secret(), sk: secret() });
    const update = (UpdateExpression: string, values: object) => ({
      Update: { TableName, Key: item(), UpdateExpression, ExpressionAttributeValues: values },
    });
    for (const writes of [
      [{ Put: { TableName, Item: { pk: secret(), note: secret() } } }],
      [{ Put: { TableName, Item: { pk: secret(), sk: new Set([secret()]) } } }],
      [{ Delete: { TableName, Key: { pk: secret(), other: secret() } } }],
      [update(`SET #a = ${secret()} ${secret()}`, { ':v': secret() })],
      [update('SET a = :v', { ':v': secret(), ':unused': secret() })],
      [update('ADD a :v', { ':v': secret() })],
      [
        {
          ConditionCheck: {
            TableName,
            Key: item(),
            ConditionExpression: 'size(:v) > :v',
            ExpressionAttributeValues: { ':v': secret() },
          },
        },
      ],
      [{ Put: { TableName, Item: { ...item(), numbers: new Set([1, 1n]), note: secret() } } }],
      [{ Put: { TableName, Item: { pk: '', sk: secret() } } }],
      [{ Put: { TableName, Item: { ...item(), big: secret().repeat(30_000) } } }],
    ]) {
      await told(() =>
        guard(store, (_event, op) => op.commit({ result: secret(), writes: writes as never }))(call()),
      );
    }
    expect(bench.out.filter((text) => /BAD_WRITES/.test(text)).length).toBeGreaterThan(8);
    // What is not the handler's stays: the fix is in it.
    expect(bench.out.join()).toMatch(/Syntax error/);
  });

  it('where a condition met an item', async () => {
    const item = { pk: secret(), sk: secret(), note: secret() };
    await createOnce(table.client, { tableName: table.tableName, partitionKey: 'pk', item });
    const write = createOnce.write({ tableName: table.tableName, partitionKey: 'pk', item });
    const handle = guard(dynamoStore(table.store), (_event, op) => op.commit({ result: 1, writes: [write] }));
    await told(() => handle(call()), 'COMMIT_REJECTED');
  });
});

it('createOnce and updateVersion show nothing of an item', async () => {
  const { client, tableName } = table;
  const pk = secret();
  const wrong: object[] = [
    { item: secret() },
    { item: [secret()] },
    { item: { pk: { S: secret() } } },
    { item: { pk, when: new Date() } },
    { item: { pk, sk: 'a', call: Symbol(secret()) } },
    {
      item: {
        pk,
        sk: 'a',
        lazy: {
          get at() {
            throw new Error(secret());
          },
        },
      },
    },
  ];
  for (const options of wrong) {
    await told(
      () => createOnce(client, { tableName, partitionKey: 'pk', ...options } as never),
      'BAD_OPTION',
    );
  }
  await told(
    () => createOnce(secret() as never, { tableName, partitionKey: 'pk', item: { pk } }),
    'BAD_OPTION',
  );
  await told(() => createOnce(client, secret() as never), 'BAD_OPTION');
  const key = () => ({ pk: secret() });
  for (const options of [
    { key: { pk: [secret()] }, version: 'v' },
    { key: secret(), version: 'v' },
    { key: key(), version: { v: secret() } },
    { key: key(), version: 'v', newVersion: [secret()], set: { a: 1 } },
    { key: key(), version: 'v', set: secret() },
    { key: key(), version: 'v', set: { [`${secret()}@x`]: undefined } },
    { key: key(), version: 'v', set: { when: { at: new Date(), note: secret() } } },
    { key: key(), version: 'v', remove: secret() },
  ]) {
    await told(() => updateVersion(client, { tableName, ...options } as never), 'BAD_OPTION');
  }
});
