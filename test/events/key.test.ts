import type { Context } from 'aws-lambda';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import { type IdempotentOptions, idempotent, type Key, operation, wholePayload } from '../../lib/index.ts';
import { type HttpEvent, type HttpRequest, restEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { type RecordingStore, recordingStore } from '../support/recording-store.ts';

type Options<Event> = Omit<IdempotentOptions<Event>, 'store'> & { readonly store?: RecordingStore };

/** A guarded handler that counts its runs and answers with their number. */
function counting<Event = unknown>({ store = recordingStore(), ...options }: Options<Event> = {}) {
  const handler = vi.fn(async (_event: Event, _context: Context): Promise<unknown> => {
    return { statusCode: 200, body: String(handler.mock.calls.length) };
  });
  return { handler, store, call: idempotent(handler, { store, ...options } as IdempotentOptions) };
}

const keyed = (request: HttpRequest = {}): HttpRequest => ({
  ...request,
  headers: [['Idempotency-Key', 'key-1'], ...(request.headers ?? [])],
});
const rest = (request: HttpRequest) => restEvent(keyed(request));

describe('namespaces', () => {
  it('on one store never see each other’s keys', async () => {
    const store = recordingStore();
    const options = { store, key: () => 'k', tenant: () => 't' };
    const orders = counting({ ...options, namespace: 'orders' });
    const refunds = counting({ ...options, namespace: 'refunds' });
    await orders.call({ a: 1 });
    await refunds.call({ a: 2 });
    await refunds.call({ a: 2 });
    expect(orders.handler).toHaveBeenCalledTimes(1);
    expect(refunds.handler).toHaveBeenCalledTimes(1);
    expect(store.operations.map((pk) => pk.split('#')[0])).toEqual(['orders', 'refunds']);
  });

  it('share keys where they are the same on purpose', async () => {
    const store = recordingStore();
    const one = counting({ store, key: () => 'k', namespace: 'shared' });
    const another = counting({ store, key: () => 'k', namespace: 'shared' });
    await one.call({});
    expect(await another.call({})).toMatchObject({ body: '1' });
    expect(another.handler).not.toHaveBeenCalled();
  });
});

describe('the option `key`', () => {
  it('tells operations apart by their parts, and callers by their tenant', async () => {
    const part = fc.oneof(
      fc.constantFrom('a', 'b', 'ab', '#', ',', '"', '1', 'null', '["a"]', '\ud800', '\ufffd'),
      fc.string({ minLength: 1 }).filter((text) => text.trim() !== ''),
      fc.integer(),
    );
    const identity = fc.record({
      tenant: fc.option(fc.constantFrom('a', 'b', 'null', '["a"]'), { nil: undefined }),
      key: fc.array(part, { minLength: 1, maxLength: 3 }),
    });
    const meaning = ({ tenant, key }: { tenant: string | undefined; key: (string | number)[] }) =>
      JSON.stringify([tenant ?? null, key.map(String)]);

    await fc.assert(
      fc.asyncProperty(identity, identity, async (one, another) => {
        const store = recordingStore();
        for (const { tenant, key } of [one, another]) {
          const whose = tenant === undefined ? {} : { tenant: () => tenant };
          await counting({ store, namespace: 'n', key: () => key, ...whose }).call({});
        }
        expect(store.operations).toHaveLength(meaning(one) === meaning(another) ? 1 : 2);
      }),
      { numRuns: 500 },
    );
  });

  it('tells a key of one part under a tenant from a key of two parts without one', async () => {
    const store = recordingStore();
    const options = { store, namespace: 'n', fingerprint: false } as const;
    await counting({ ...options, key: () => 'b', tenant: () => 'a' }).call({});
    await counting({ ...options, key: () => ['a', 'b'] }).call({});
    expect(store.operations).toHaveLength(2);
  });

  it.each<[string, Key, Key, number]>([
    ['parts that join to the same text', ['a', 'bc'], ['ab', 'c'], 2],
    ['a separator in a part', ['a#b'], ['a', 'b'], 2],
    ['one part and the text', ['a'], 'a', 1],
    ['a number and its digits', ['order', 1], ['order', '1'], 1],
    ['another order', ['a', 'b'], ['b', 'a'], 2],
    ['blanks around', 'a', ' a', 2],
    ['a letter in two Unicode forms', 'é', 'e\u0301', 2],
    ['two lone surrogates', '\ud800', '\udbff', 2],
  ])('given %s, makes the right number of operations', async (_, one, another, count) => {
    const { call, handler } = counting<Key>({ key: (event) => event, fingerprint: false });
    await call(one);
    await call(another);
    expect(handler).toHaveBeenCalledTimes(count);
  });

  it.each<[unknown, string]>([
    ['', 'The key that option `key` returned is a blank string.'],
    ['  ', 'The key that option `key` returned is a blank string.'],
    [[], 'Option `key` returned an empty array;'],
    [[undefined], 'The key that option `key` returned is undefined.'],
    [['a', undefined], 'Part 1 of the key that option `key` returned is undefined.'],
    [['', 'b'], 'Part 0 of the key that option `key` returned is a blank string.'],
    [['a', null], 'Part 1 of the key that option `key` returned is null.'],
    [['a', Number.NaN], 'Part 1 of the key that option `key` returned is NaN.'],
    [['a', Number.POSITIVE_INFINITY], 'Part 1 of the key that option `key` returned is Infinity.'],
    [['a', { id: 1 }], 'Part 1 of the key that option `key` returned is an object.'],
    [['a', ['b']], 'Part 1 of the key that option `key` returned is an array.'],
    [['a', true], 'Part 1 of the key that option `key` returned is a boolean.'],
    [null, 'Option `key` returned null;'],
    [{ id: 1 }, 'Option `key` returned an object;'],
    [Promise.resolve('a'), 'Option `key` returned a promise;'],
  ])('is refused before any call to the store when it returns %j', async (key, message) => {
    for (const required of [true, false]) {
      const { call, handler, store } = counting({ key: () => key as Key, required });
      await expect(call({})).rejects.toMatchObject({
        code: 'BAD_KEY',
        effect: 'none',
        message: expect.stringContaining(message),
      });
      expect(await call(restEvent())).toMatchObject({ statusCode: 400 });
      expect(handler).not.toHaveBeenCalled();
      expect(store.calls).toEqual([]);
    }
  });

  it('that returns undefined leaves the event without a key: refused, with the fix', async () => {
    const { call, handler, store } = counting({ key: () => undefined });
    await expect(call({})).rejects.toMatchObject({
      code: 'MISSING_KEY',
      message:
        'Option `key` returned undefined, and a key is required. Return one, or set `required: false` to run such events unguarded.',
    });
    expect(await call(restEvent())).toMatchObject({ statusCode: 400 });
    expect(handler).not.toHaveBeenCalled();
    expect(store.calls).toEqual([]);
  });

  it('that returns undefined runs the event unguarded where no key is required', async () => {
    const { call, handler, store } = counting({ key: () => undefined, required: false });
    await call({});
    await call({});
    expect(handler).toHaveBeenCalledTimes(2);
    expect(handler.mock.calls.map(([, context]) => operation(context).guarded)).toEqual([false, false]);
    expect(store.calls).toEqual([]);
  });

  it('is given event and context, and decides instead of the header', async () => {
    const key = vi.fn((_event: HttpEvent, _context: unknown) => 'fixed');
    const { call, handler } = counting({ key });
    const context = lambdaContext(1_000);
    const event = restEvent();
    await call(event, context);
    await call(rest({}));
    expect(handler).toHaveBeenCalledTimes(1);
    expect(key.mock.calls[0]).toEqual([event, context]);
  });

  it('shows the handler what it made', async () => {
    const seen: string[] = [];
    const call = idempotent(
      async (_event: unknown, context: Context) => {
        seen.push(operation(context).key, operation(context).scope);
      },
      { store: recordingStore(), namespace: 'orders', tenant: () => 'ann', key: () => ['order', 1] },
    );
    await call({});
    expect(seen).toEqual(['order#1', 'orders#ann']);
  });
});

describe('an EventBridge event', () => {
  const event = {
    version: '0',
    id: '7bf73129-1428-4cd3-a780-95db273d1602',
    'detail-type': 'OrderPlaced',
    source: 'shop',
    account: '123456789012',
    time: '2026-01-01T00:00:00Z',
    region: 'eu-west-1',
    resources: [],
    detail: { orderId: 1 },
  };

  it('is known by its id and its source', async () => {
    const { call, handler } = counting<unknown>();
    await call(event);
    await call({ ...event, time: '2026-01-01T00:01:00Z' });
    expect(handler).toHaveBeenCalledTimes(1);
    await call({ ...event, id: 'another' });
    await call({ ...event, source: 'another' });
    expect(handler).toHaveBeenCalledTimes(3);
  });

  it('of the same id with another payload is a misuse', async () => {
    const { call } = counting<unknown>();
    await call(event);
    for (const other of [{ detail: { orderId: 2 } }, { 'detail-type': 'OrderChanged' }]) {
      await expect(call({ ...event, ...other })).rejects.toMatchObject({
        code: 'PAYLOAD_MISMATCH',
        record: { status: 'COMPLETED', attempt: 1 },
      });
    }
  });

  it('is the same one by its whole payload, whatever its id', async () => {
    const { call, handler } = counting<unknown>({ key: wholePayload });
    await call(event);
    await call({ ...event, id: 'another', time: '2026-01-02T00:00:00Z' });
    expect(handler).toHaveBeenCalledTimes(1);
    await call({ ...event, detail: { orderId: 2 } });
    expect(handler).toHaveBeenCalledTimes(2);
  });
});

describe('a direct invocation', () => {
  it.each([{ orderId: 1 }, {}, undefined, 'text', [1], { id: 'x', source: 'y' }])(
    'has no key of its own: %j',
    async (event) => {
      const { call, handler, store } = counting<unknown>();
      await expect(call(event)).rejects.toMatchObject({
        code: 'MISSING_KEY',
        message:
          'This event has no key of its own. Give the option `key`, e.g. `(event) => event.orderId`, or `wholePayload` if equal payloads are one operation.',
      });
      expect(handler).not.toHaveBeenCalled();
      expect(store.calls).toEqual([]);
    },
  );

  it('with another payload under the same key is a misuse', async () => {
    const { call, handler } = counting({ key: () => 'k' });
    await call({ orderId: 1, tags: ['a', 'b'] });
    await call({ tags: ['a', 'b'], orderId: 1, note: undefined });
    await expect(call({ orderId: 1, tags: ['b', 'a'] })).rejects.toMatchObject({ code: 'PAYLOAD_MISMATCH' });
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('can be known by its whole payload', async () => {
    const { call, handler } = counting<unknown>({ key: wholePayload });
    await call({ orderId: 1, lines: [{ a: 1, b: 2 }] });
    await call({ lines: [{ b: 2, a: 1 }], orderId: 1 });
    expect(handler).toHaveBeenCalledTimes(1);
    await call({ orderId: 2, lines: [{ a: 1, b: 2 }] });
    expect(handler).toHaveBeenCalledTimes(2);
  });

  it('is the operation that it was when it came, whatever the handler does to the event', async () => {
    interface Order {
      id: string;
      lines: string[];
    }
    const handler = vi.fn(async (event: Order, context: Context) => {
      event.id = 'changed';
      event.lines.length = 0;
      return operation(context).key;
    });
    const call = idempotent(handler, {
      store: recordingStore(),
      key: (event) => event.id,
      keep: { input: true },
    });
    expect(await call({ id: 'a', lines: ['x'] })).toBe('a');
    expect(await call({ id: 'a', lines: ['x'] })).toBe('a');
    expect(handler).toHaveBeenCalledTimes(1);
  });
});

describe('a batch of a service that is not known', () => {
  const mutation = { info: { parentTypeName: 'Mutation', fieldName: 'pay' }, arguments: {}, request: {} };
  it.each<[string, unknown]>([
    ['aws:ses', { Records: [{ eventSource: 'aws:ses', eventVersion: '1.0', ses: {} }] }],
    ['AppSync', [mutation, mutation]],
  ])('%s: is not taken for one operation, whatever the options say', async (source, event) => {
    for (const options of [{}, { key: wholePayload }, { required: false }]) {
      const { call, handler, store } = counting<unknown>(options);
      await expect(call(event)).rejects.toMatchObject({
        code: 'UNSUPPORTED',
        message: expect.stringMatching(
          new RegExp(`^A batch of ${source} records may come again cut differently. Guard the function`),
        ),
      });
      expect(handler).not.toHaveBeenCalled();
      expect(store.calls).toEqual([]);
    }
  });

  it('is guarded record by record, as the refusal says', async () => {
    const { call, handler } = counting<{ id: string }>({ key: (one) => one.id });
    for (const id of ['1', '2', '1']) await call({ id });
    expect(handler).toHaveBeenCalledTimes(2);
  });
});

describe('the partition key', () => {
  it('has a fixed alphabet and length, whatever the caller sends', async () => {
    const hostile = [
      ...['x'.repeat(1_000_000), '\u0000', '😀'.repeat(1_000), '\ud800', '#', 'claim', '../../', '*'],
      ...['orders#', '"; DROP TABLE', 'a\r\nb', '__proto__', '\u202e'],
    ];
    const store = recordingStore();
    const { call, handler } = counting<string>({
      store,
      namespace: 'orders',
      key: (event) => ['key', event],
      tenant: (event) => `tenant ${event}`,
    });
    for (const text of hostile) await call(text);
    expect(handler).toHaveBeenCalledTimes(hostile.length);
    expect(new Set(store.operations).size).toBe(hostile.length);
    for (const pk of store.operations) expect(pk).toMatch(/^orders#[A-Za-z0-9_-]{43}$/);
  });

  it('fits into DynamoDB with the longest namespace', async () => {
    const store = recordingStore();
    await counting({ store, namespace: '漢'.repeat(255), key: () => 'k' }).call({});
    expect(Buffer.byteLength(store.operations[0] ?? '')).toBeGreaterThan(700);
    expect(Buffer.byteLength(store.operations[0] ?? '')).toBeLessThanOrEqual(2_048);
  });

  it('and all that is stored show neither key nor payload, unless they are to be kept', async () => {
    const claims: unknown[] = [];
    const plain = recordingStore();
    const store = recordingStore({
      claim: async (claim) => {
        claims.push(claim);
        return plain.claim(claim);
      },
    });
    const event = { id: 'secret-key', card: 'secret-card' };
    const options = { store, key: () => 'secret-key', tenant: () => 'secret-tenant' };
    await counting({ ...options, namespace: 'a' }).call(event);
    expect(JSON.stringify(claims)).toContain('a#');
    expect(JSON.stringify(claims)).not.toContain('secret');

    await counting({ ...options, namespace: 'b', keep: { key: true, input: true } }).call(event);
    const [, kept] = claims as { rawKey?: string; rawInput?: Uint8Array }[];
    expect(kept?.rawKey).toBe('secret-key');
    expect(Buffer.from(kept?.rawInput ?? []).toString()).toContain('secret-card');
  });
});
