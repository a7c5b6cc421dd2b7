import type { APIGatewayProxyEventV2, SQSRecord } from 'aws-lambda';
import { beforeAll, describe, expect, it } from 'vitest';
import { AnswerCache } from '../../lib/engine/index.ts';
import { storeUnavailable } from '../../lib/errors.ts';
import type { HttpResponse } from '../../lib/index.ts';
import {
  type CacheOptions,
  dynamoStore,
  eachRecord,
  type IdempotentOptions,
  idempotent,
  operation,
  type Seal,
} from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';
import { failedIn, sqsEvent, sqsMessage } from '../support/batch-events.ts';
import { countRequests, createTable, type TestTable } from '../support/dynamodb.ts';
import { deferred, incompressible, observer } from '../support/hands.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { recordingStore } from '../support/recording-store.ts';

let table: TestTable;
let requests: string[];
let sequence = 0;
beforeAll(async () => {
  table = await createTable();
  requests = countRequests(table.client);
});

const clock = manualClock();

interface Order {
  readonly id: string;
  readonly amount?: number;
}

/** A guard with a cache on DynamoDB, and what its calls cost. */
function cached<Result>(
  work: (order: Order) => Promise<Result>,
  { cache = { maxItems: 10 }, ...options }: IdempotentOptions & { cache?: CacheOptions } = {},
) {
  let runs = 0;
  const namespace = `cache-${++sequence}`;
  const settings = { store: dynamoStore({ ...table.store, clock }), namespace, ...options };
  const make = (more: IdempotentOptions) =>
    idempotent(
      async (order: Order) => {
        runs++;
        return work(order);
      },
      { key: (order: Order) => order.id, ...settings, ...more } as IdempotentOptions,
    );
  const handler = make({ cache });
  return {
    runs: () => runs,
    /** A call, and the requests that it sent. */
    async call(order: Order): Promise<{ answer: Result; sent: string[] }> {
      const before = requests.length;
      const answer = await handler(order);
      return { answer, sent: requests.slice(before) };
    },
    handler,
    /** The same guard in another process, which has not seen anything. */
    elsewhere: make({ cache: undefined as never }),
  };
}

describe('a repeat of a completed call, with the cache', () => {
  it('costs no request, and gets the answer', async () => {
    const { call, runs } = cached(async ({ id }) => ({ paid: id, at: new Date(7) }));
    expect((await call({ id: 'a' })).sent).toEqual(['PutItem', 'UpdateItem']);
    expect(await call({ id: 'a' })).toEqual({ answer: { paid: 'a', at: new Date(7) }, sent: [] });
    expect((await call({ id: 'b' })).sent).toEqual(['PutItem', 'UpdateItem']);
    expect(runs()).toBe(2);
  });

  it('costs one that was completed elsewhere its first request only', async () => {
    const { call, elsewhere, runs } = cached(async ({ id }) => id);
    await elsewhere({ id: 'a' });
    expect(await call({ id: 'a' })).toEqual({ answer: 'a', sent: ['PutItem'] });
    expect(await call({ id: 'a' })).toEqual({ answer: 'a', sent: [] });
    expect(runs()).toBe(1);
  });

  it('costs nothing either for an answer in chunks, once it was read', async () => {
    const long = incompressible(50_000);
    const { call, elsewhere } = cached(async () => long);
    await call({ id: 'a' });
    expect(await call({ id: 'a' })).toEqual({ answer: long, sent: [] });
    await elsewhere({ id: 'b' });
    expect(await call({ id: 'b' })).toEqual({ answer: long, sent: ['PutItem', 'Query'] });
    expect(await call({ id: 'b' })).toEqual({ answer: long, sent: [] });
  });

  it('gets a copy: what one caller changes, the next does not see', async () => {
    const { call } = cached(async () => ({ lines: [1] }));
    for (let repeat = 0; repeat < 3; repeat++) {
      const { answer } = await call({ id: 'a' });
      expect(answer).toEqual({ lines: [1] });
      answer.lines.push(2);
    }
  });

  it('gets it until the window ends, and runs anew after that', async () => {
    const { call, runs } = cached(async () => 1, { ttlSeconds: 60 });
    await call({ id: 'a' });
    clock.advance(59_999);
    expect((await call({ id: 'a' })).sent).toEqual([]);
    clock.advance(1);
    expect((await call({ id: 'a' })).sent).toEqual(['PutItem', 'UpdateItem']);
    expect(runs()).toBe(2);
  });

  it('is refused with other parameters, without a request', async () => {
    const { call, handler } = cached(async () => 1);
    await call({ id: 'a', amount: 1 });
    const before = requests.length;
    await expect(handler({ id: 'a', amount: 2 })).rejects.toMatchObject({ code: 'PAYLOAD_MISMATCH' });
    expect(requests.length).toBe(before);

    const api = idempotent(async (_: unknown) => ({ statusCode: 201, body: 'paid' }), {
      store: dynamoStore(table.store),
      namespace: `cache-${++sequence}`,
      cache: { maxItems: 1 },
    });
    const first = await api(paymentEvent({ key: 'k', body: { amount: 1 } }));
    const sent = requests.length;
    expect(await api(paymentEvent({ key: 'k', body: { amount: 2 } }))).toMatchObject({ statusCode: 422 });
    expect(await api(paymentEvent({ key: 'k', body: { amount: 1 } }))).toEqual({
      ...(first as object),
      headers: { 'Idempotent-Replayed': 'true' },
    });
    expect(requests.length).toBe(sent);
  });

  it('is told to the observer as any other', async () => {
    const seen = observer();
    const { call } = cached(async () => 1, { observe: seen.observe });
    await call({ id: 'a' });
    await call({ id: 'a' });
    expect(seen.types()).toEqual(['claim', 'complete', 'replay']);
  });

  it('is answered while the store is down', async () => {
    let isDown = false;
    const store: Store = { ...memoryStore() };
    const claim: Store['claim'] = (request) =>
      isDown ? Promise.reject(storeUnavailable(new Error('down'))) : store.claim(request);
    const handler = idempotent(async (id: string) => id, {
      store: { ...store, claim },
      key: (id) => id,
      cache: { maxItems: 1 },
    });
    await handler('a');
    isDown = true;
    expect(await handler('a')).toBe('a');
    await expect(handler('b')).rejects.toMatchObject({ code: 'STORE_UNAVAILABLE' });
  });

  it('is still refused when no time is left', async () => {
    const handler = idempotent(async (id: string) => id, {
      store: memoryStore(),
      key: (id) => id,
      cache: { maxItems: 1 },
    });
    await handler('a');
    await expect(handler('a', lambdaContext(0))).rejects.toMatchObject({ code: 'NO_TIME_LEFT' });
  });

  it('gets the reason where there is no answer, without a request', async () => {
    const { call, handler, elsewhere } = cached(async () => () => 'a function cannot be stored');
    await call({ id: 'a' });
    await elsewhere({ id: 'b' });
    const sent = async (id: string) => {
      const before = requests.length;
      await expect(handler({ id })).rejects.toMatchObject({ code: 'RESULT_UNAVAILABLE' });
      return requests.slice(before);
    };
    expect(await sent('a')).toEqual([]);
    expect(await sent('b')).toEqual(['PutItem']);
    expect(await sent('b')).toEqual([]);
  });

  it('is opened anew each time where answers are sealed: no plain text is kept', async () => {
    let opened = 0;
    const flip = (bytes: Uint8Array) => bytes.map((byte) => byte ^ 0xff);
    const seal: Seal = {
      seal: flip,
      open(sealed) {
        opened++;
        return flip(sealed);
      },
    };
    const { call } = cached(async () => 'secret', { store: dynamoStore({ ...table.store, clock, seal }) });
    await call({ id: 'a' });
    for (let repeat = 1; repeat <= 2; repeat++) {
      expect(await call({ id: 'a' })).toEqual({ answer: 'secret', sent: [] });
      expect(opened).toBe(repeat);
    }
  });
});

describe('the cache', () => {
  it('keeps final answers only: a call that runs is asked for each time', async () => {
    const store = recordingStore();
    const started = deferred();
    const end = deferred<string>();
    const guard = (work: (id: string) => Promise<string>) =>
      idempotent(work, { store, namespace: 'n', key: (id) => id, cache: { maxItems: 10 } });
    const running = guard(async () => {
      started.resolve();
      return end.promise;
    })('a');
    await started.promise;
    const other = guard(async () => 'not run');
    for (let repeat = 0; repeat < 2; repeat++) {
      await expect(other('a')).rejects.toMatchObject({ code: 'IN_PROGRESS' });
    }
    expect(store.calls).toEqual(['claim', 'claim', 'claim']);
    end.resolve('done');
    await running;
    expect(await other('a')).toBe('done');
  });

  it('keeps nothing of a call that failed, or is not to be remembered', async () => {
    const store = recordingStore();
    let runs = 0;
    const handler = idempotent(
      async (id: string) => {
        runs++;
        if (id === 'fails') throw new Error('down');
        return id;
      },
      { store, key: (id) => id, cache: { maxItems: 10 }, remember: () => false },
    );
    for (let repeat = 0; repeat < 2; repeat++) {
      await expect(handler('fails')).rejects.toThrow('down');
      expect(await handler('forgotten')).toBe('forgotten');
    }
    expect(runs).toBe(4);
  });

  it('keeps no answer of a commit that other middlewares may yet add to', async () => {
    const store = dynamoStore({ ...table.store, clock });
    const namespace = `cache-${++sequence}`;
    const guard = (goOn: Promise<void>, committed: () => void) =>
      idempotent(
        async (_: unknown, context) => {
          const answer = await operation(context).commit({ result: { statusCode: 201, body: 'committed' } });
          committed();
          await goOn;
          return { ...answer, headers: { 'x-final': 'yes' } };
        },
        { store, namespace, cache: { maxItems: 10 } },
      );
    const committed = deferred();
    const goOn = deferred();
    const first = guard(goOn.promise, committed.resolve)(paymentEvent({ key: 'k' }), lambdaContext(5_000));
    await committed.promise;
    // In another process.
    const elsewhere = guard(Promise.resolve(), () => {});
    const repeat = () => elsewhere(paymentEvent({ key: 'k' }), lambdaContext(5_000)) as Promise<HttpResponse>;
    expect((await repeat()).headers).toEqual({ 'Idempotent-Replayed': 'true' });
    goOn.resolve();
    await first;
    const final = { 'Idempotent-Replayed': 'true', 'x-final': 'yes' };
    expect((await repeat()).headers).toEqual(final);

    clock.advance(6_000);
    expect((await repeat()).headers).toEqual(final);
    const before = requests.length;
    expect((await repeat()).headers).toEqual(final);
    expect(requests.length).toBe(before);
  });

  it('keeps nothing that could not be recorded', async () => {
    const store = memoryStore({ clock: manualClock() });
    let runs = 0;
    const handler = idempotent(async (_: string) => ++runs, {
      store: { ...store, complete: () => Promise.reject(storeUnavailable(new Error('down'))) },
      key: (id) => id,
      cache: { maxItems: 10 },
    });
    expect(await handler('a')).toBe(1);
    await expect(handler('a')).rejects.toMatchObject({ code: 'IN_PROGRESS' });
  });

  it('forgets the answer that was used longest ago when there are too many', async () => {
    const { call } = cached(async ({ id }) => id, { cache: { maxItems: 2 } });
    for (const id of ['a', 'b', 'a', 'c']) await call({ id });
    expect((await call({ id: 'a' })).sent).toEqual([]);
    expect((await call({ id: 'c' })).sent).toEqual([]);
    expect(await call({ id: 'b' })).toEqual({ answer: 'b', sent: ['PutItem'] });
  });

  it('counts as used an answer that others may still add to elsewhere', async () => {
    const runs: string[] = [];
    const api = idempotent(
      async (event: APIGatewayProxyEventV2) => {
        runs.push(event.headers['idempotency-key'] ?? '');
        return { statusCode: 201 };
      },
      {
        store: dynamoStore({ ...table.store, clock }),
        namespace: `cache-${++sequence}`,
        cache: { maxItems: 2 },
      },
    );
    const sentBy = async (key: string) => {
      const before = requests.length;
      await api(paymentEvent({ key }), lambdaContext(5_000));
      return requests.slice(before);
    };
    for (const key of ['a', 'b', 'a', 'c']) await sentBy(key);
    expect(await sentBy('a')).toEqual([]);
    expect(await sentBy('b')).toEqual(['PutItem']);
    expect(runs).toEqual(['a', 'b', 'c']);
  });

  it('forgets answers when they are too large together, and keeps none that alone is', async () => {
    const { call } = cached(async ({ amount = 0 }) => incompressible(amount), {
      cache: { maxItems: 100, maxBytes: 5_000 },
    });
    await call({ id: 'a', amount: 2_000 });
    await call({ id: 'b', amount: 2_000 });
    expect((await call({ id: 'a', amount: 2_000 })).sent).toEqual([]);
    await call({ id: 'c', amount: 2_000 });
    expect((await call({ id: 'a', amount: 2_000 })).sent).toEqual([]);
    expect((await call({ id: 'b', amount: 2_000 })).sent).toEqual(['PutItem']);

    await call({ id: 'large', amount: 6_500 });
    expect((await call({ id: 'large', amount: 6_500 })).sent).not.toEqual([]);
    // Nothing had to go for it.
    expect((await call({ id: 'b', amount: 2_000 })).sent).toEqual([]);
  });

  it("is a guard's own: another one asks the store", async () => {
    const { call, elsewhere } = cached(async ({ id }) => id);
    await call({ id: 'a' });
    const before = requests.length;
    await elsewhere({ id: 'a' });
    expect(requests.slice(before)).toEqual(['PutItem']);
  });

  it.each([{ maxItems: 0 }, { maxItems: 1.5 }, {}, { maxItems: 1, maxBytes: 0 }, 7, true, { maxItem: 1 }])(
    'is refused with bounds of %j',
    (cache) => {
      expect(() => idempotent({ store: memoryStore(), cache: cache as never })).toThrow(
        expect.objectContaining({ code: 'BAD_OPTION' }),
      );
    },
  );
});

describe('a batch with the cache', () => {
  it('asks only for the records that it does not know', async () => {
    const runs: string[] = [];
    const namespace = `cache-${++sequence}`;
    const guard = (cache?: CacheOptions) =>
      idempotent(
        eachRecord(async ({ messageId }) => void runs.push(messageId)),
        { store: dynamoStore(table.store), namespace, ...(cache && { cache }) },
      );
    const handler = guard({ maxItems: 10 });
    const [one, two, three] = ['1', '2', '3'].map((id) => sqsMessage(id)) as [
      SQSRecord,
      SQSRecord,
      SQSRecord,
    ];
    await guard()(sqsEvent(two), lambdaContext());
    const sent = async (...records: SQSRecord[]) => {
      const before = requests.length;
      expect(failedIn(await handler(sqsEvent(...records), lambdaContext()))).toEqual([]);
      return requests.slice(before);
    };
    expect(await sent(one)).toEqual(['PutItem', 'UpdateItem']);
    expect(await sent(one, two)).toEqual(['PutItem']);
    expect(await sent(one, two)).toEqual([]);
    expect(await sent(one, two, three)).toEqual(['PutItem', 'UpdateItem']);
    expect(runs.sort()).toEqual(['1', '2', '3']);
  });

  it('needs no answer to know that a record was done: one in chunks is not read', async () => {
    const guard = (cache?: CacheOptions) =>
      idempotent(
        eachRecord((_, op) => op.commit({ result: incompressible(9_000) })),
        { store: dynamoStore(table.store), namespace: 'chunks', ...(cache && { cache }) },
      );
    const event = sqsEvent(sqsMessage('1'));
    await guard()(event, lambdaContext());
    const handler = guard({ maxItems: 10 });
    const before = requests.length;
    for (let delivery = 0; delivery < 2; delivery++) await handler(event, lambdaContext());
    expect(requests.slice(before)).toEqual(['PutItem']);
  });

  it('holds an answer in memory of its own, not in the pool that it was made in', () => {
    const cache = new AnswerCache({ maxItems: 1 });
    const pool = new Uint8Array(8_192);
    const record = {
      pk: 'orders#1',
      status: 'COMPLETED',
      owner: 'a',
      window: 'a',
      attempt: 1,
      leaseUntilMs: 0,
      endsAtMs: 1,
      createdAtMs: 0,
      answer: { kind: 'inline', bytes: pool.subarray(10, 14).fill(7) },
    } as const;
    cache.put(record);
    const kept = cache.get('orders#1');
    if (kept?.answer?.kind !== 'inline') throw new Error('It is not kept.');
    expect([...kept.answer.bytes]).toEqual([7, 7, 7, 7]);
    expect(kept.answer.bytes.buffer.byteLength).toBe(4);
    cache.put(kept);
    expect(cache.get('orders#1')).toBe(kept);
  });
});
