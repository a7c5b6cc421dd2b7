import type { SQSEvent, SQSRecord } from 'aws-lambda';
import { describe, expect, expectTypeOf, it, vi } from 'vitest';
import {
  eachRecord,
  type IdempotentOptions,
  idempotent,
  numbered,
  type SequencedOptions,
  wholePayload,
} from '../../lib/index.ts';
import { httpEventV2, memoryStore } from '../../lib/testing.ts';
import { fifoMessage, sqsEvent } from '../support/batch-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { bookings, errorOf, numberedBench, placeOf, type Sale, stores } from './bench.ts';

const refusalOf = (make: () => unknown): string => {
  try {
    make();
  } catch (error) {
    return (error as Error).message;
  }
  throw new Error('It was taken.');
};

describe('the option `sequence`', () => {
  const store = memoryStore();

  it.each([
    ['key', { key: () => 'a' }, 'A numbered operation has no other key. Leave one of them out.'],
    [
      'ttlSeconds',
      { ttlSeconds: 60 },
      'A sender is remembered as a whole: write numbered({ forgetAfterSeconds: … }).',
    ],
    [
      'cache',
      { cache: { maxItems: 1 } },
      'A cached answer would reach a sender that has been fenced since. Leave it out.',
    ],
    [
      'http.keyHeader',
      { http: { keyHeader: 'X-Key' } },
      'Numbers come in the header Idempotency-Sequence. Leave it out.',
    ],
    [
      'http.keySyntax',
      { http: { keySyntax: 'strict' } },
      'Numbers come in the header Idempotency-Sequence. Leave it out.',
    ],
  ])('does not go with `%s`', (name, more, fix) => {
    const options = { store, sequence: numbered(placeOf), ...more } as SequencedOptions;
    expect(refusalOf(() => idempotent(() => 1, options))).toBe(
      `Option \`${name}\` does not go with \`sequence\`. ${fix}`,
    );
    expect(refusalOf(() => idempotent(options))).toContain(name);
  });

  it('goes with options that are there and undefined', () => {
    const options: SequencedOptions = {
      store,
      sequence: numbered(placeOf),
      key: undefined,
      ttlSeconds: undefined,
      cache: undefined,
    };
    expect(() => idempotent(() => 1, { ...options, http: { docsUrl: 'https://example.com' } })).not.toThrow();
  });

  it('is made by numbered(), not a function', () => {
    expect(refusalOf(() => idempotent(() => 1, { store, sequence: placeOf as never }))).toBe(
      'Expected option `sequence` to be numbered((event) => ({ producer, epoch, number })), got a function.',
    );
  });

  it.each([
    [
      { forgetAfterSeconds: 0 },
      'Expected option `forgetAfterSeconds` to be a number of seconds, more than 0, at most ten years, got 0 (number).',
    ],
    [{ start: 'nowhere' }, "Expected option `start` to be 'zero' or 'anywhere', got \"nowhere\" (string)."],
    [{ ttlSeconds: 1 }, 'Unknown option `ttlSeconds`.'],
  ])('is refused with %j', (options, message) => {
    expect(refusalOf(() => numbered(placeOf, options as never))).toContain(message);
    expect(refusalOf(() => numbered(options as never))).toContain(message);
  });

  it('is refused with options that are null', () => {
    expect(refusalOf(() => numbered(null as never))).toBe('Expected the options to be an object, got null.');
  });

  it('is refused with a place that is no function', () => {
    expect(refusalOf(() => numbered('till-7' as never, {}))).toContain(
      'Expected a function before the options of numbered()',
    );
  });

  it('needs a store that knows of numbers', async () => {
    const { numbered: _, ...keysOnly } = memoryStore();
    const call = idempotent(bookings().book, {
      store: { ...keysOnly, id: 'own' },
      sequence: numbered(placeOf),
    });
    expect(await errorOf(call({ number: 0 }))).toMatchObject({
      code: 'UNSUPPORTED',
      message:
        'Numbered senders need a store with `numbered`, and own has none. Give a key instead, or use dynamoStore().',
    });
  });

  it('excludes `key`, `ttlSeconds` and `cache` in the types', () => {
    const sequence = numbered(placeOf);
    const make = () => {
      // @ts-expect-error a numbered operation has no other key
      idempotent(async (_: Sale) => 1, { sequence, key: (sale) => sale.number });
      // @ts-expect-error numbered({ forgetAfterSeconds })
      idempotent(async (_: Sale) => 1, { sequence, ttlSeconds: 1 });
      // @ts-expect-error a cached answer would reach a fenced sender
      idempotent(async (_: Sale) => 1, { sequence, cache: { maxItems: 1 } });
      // @ts-expect-error it is numbered(…)
      idempotent(async (_: Sale) => 1, { sequence: placeOf });
    };
    expect(make).toThrow();
    expectTypeOf<IdempotentOptions['sequence']>().toEqualTypeOf<undefined>();
  });

  it('knows the type of its event from the handler', () => {
    idempotent(async (sale: Sale) => sale.number, {
      store,
      sequence: numbered((sale) => {
        expectTypeOf(sale).toEqualTypeOf<Sale>();
        return placeOf(sale);
      }),
    });
    idempotent(
      eachRecord<SQSRecord>(async () => {}),
      {
        store,
        sequence: numbered(({ body }) => {
          expectTypeOf(body).toEqualTypeOf<string>();
          return JSON.parse(body);
        }),
      },
    );
    idempotent(async (sale: Sale) => sale.number, {
      store,
      // @ts-expect-error a sale has no shop
      sequence: numbered((sale) => ({ ...placeOf(sale), producer: sale.shop })),
    });
    expectTypeOf(idempotent(async (_: SQSEvent) => 1, { store, sequence: numbered() })).returns.toEqualTypeOf<
      Promise<number>
    >();
  });
});

describe('what names a sender', () => {
  const bench = numberedBench(stores[0]![1]);
  const place = (given: unknown) =>
    errorOf(idempotent(async () => 1, bench.options({ sequence: numbered(() => given as never) }))({}));
  const good = { producer: 'secret', epoch: 1, number: 2 };

  it.each([
    ['null', null, 'the place is null'],
    ['a promise', Promise.resolve(good), 'the place is a promise'],
    ['an array', ['secret', 1, 2], 'the place is an array'],
    ['a string', 'secret', 'the place is a string'],
    ['no producer', { ...good, producer: undefined }, '`producer` is undefined'],
    ['a blank producer', { ...good, producer: '  ' }, '`producer` is a blank string'],
    ['a number as producer', { ...good, producer: 7 }, '`producer` is a number'],
    [
      'a long producer',
      { ...good, producer: 's'.repeat(256) },
      '`producer` has 256 characters, more than the 255 allowed',
    ],
    ['an epoch in a string', { ...good, epoch: '1' }, '`epoch` is a string. Give it as a number: Number(…).'],
    ['no epoch', { ...good, epoch: undefined }, '`epoch` is undefined'],
    ['a negative epoch', { ...good, epoch: -1 }, '`epoch` is no whole number from 0 to 2^53 − 1'],
    ['a fraction', { ...good, number: 0.5 }, '`number` is no whole number from 0 to 2^53 − 1'],
    [
      'a number beyond 2^53 − 1',
      { ...good, number: 2 ** 53 },
      '`number` is no whole number from 0 to 2^53 − 1',
    ],
    ['a bigint', { ...good, number: 2n }, '`number` is a bigint. Give it as a number: Number(…).'],
    ['NaN', { ...good, number: Number.NaN }, '`number` is no whole number'],
  ])(
    'is refused with %s, before anything has happened, and nothing of it is shown',
    async (_, given, what) => {
      const refused = await place(given);
      expect(refused).toMatchObject({ code: 'BAD_KEY', effect: 'none' });
      expect(refused.message).toContain(`Of a numbered sender, ${what}`);
      expect(refused.message).not.toContain('secret');
    },
  );

  it('may be as long as 255 characters, and its numbers as high as 2^53 − 1', async () => {
    const highest = {
      producer: 'ü'.repeat(255),
      epoch: Number.MAX_SAFE_INTEGER,
      number: Number.MAX_SAFE_INTEGER,
    };
    const call = idempotent(
      async () => 'done',
      bench.options({ sequence: numbered(() => highest, { start: 'anywhere' }) }),
    );
    expect(await call({})).toBe('done');
    expect(await call({})).toBe('done');
    expect(bench.seen.types()).toEqual(['claim', 'complete', 'replay']);
  });

  it('does not show in the record, and its item is under another key than any operation with a key', async () => {
    const { book } = bookings();
    await idempotent(book, bench.options())({ number: 0 });
    await idempotent(book, {
      store: bench.store,
      namespace: bench.namespace,
      key: placeKey,
      observe: bench.seen.observe,
    })({ number: 0 });
    const operations = bench.seen.seen.flatMap((event) => ('operation' in event ? [event.operation] : []));
    expect(new Set(operations).size).toBe(2);
    expect(operations[0]).toMatch(/^tills-\d+-\d+#[\w-]{43}:0:0$/);
    expect(operations.join()).not.toContain('till-7');
  });
  const placeKey = ({ number }: Sale) => ['till-7', 0, number];
});

describe('an event without a number', () => {
  const bench = numberedBench(stores[0]![1]);
  const none = () => undefined;

  it('is refused, or runs unguarded where that is allowed', async () => {
    const { booked, book } = bookings();
    const refused = await errorOf(
      idempotent(book, bench.options({ sequence: numbered(none) }))({ number: 0 }),
    );
    expect(refused).toMatchObject({ code: 'MISSING_KEY', effect: 'none' });
    expect(refused.message).toContain('This event has no producer, epoch and number.');
    const free = idempotent(
      book,
      bench.options({ sequence: numbered(none), required: false, namespace: 'free' }),
    );
    await free({ number: 0 });
    await free({ number: 0 });
    expect(booked).toEqual([0, 0]);
    expect(bench.seen.seen).toMatchObject([
      { type: 'unguarded', reason: 'no-key' },
      { type: 'unguarded', reason: 'no-key' },
    ]);
  });

  it('is told what to do where only a header is read, and it has none', async () => {
    const call = idempotent(async () => 1, bench.options({ sequence: numbered() }));
    const refused = await errorOf(call({ number: 0 }));
    expect(refused.code).toBe('MISSING_KEY');
    expect(refused.message).toContain(
      'numbered() reads the header Idempotency-Sequence of an HTTP request, and this event has no headers.',
    );
  });

  it('of AppSync has the header of its request', async () => {
    const mutation = (header: string) => ({
      arguments: { id: 1 },
      identity: null,
      request: { headers: { 'idempotency-sequence': header } },
      info: { fieldName: 'sell', parentTypeName: 'Mutation' },
    });
    const call = idempotent(async () => 'sold', bench.options({ sequence: numbered() }));
    expect(await call(mutation('producer="t", epoch=0, number=0'))).toBe('sold');
    expect(await errorOf(call(mutation('producer="t", epoch=0, number=2')))).toMatchObject({
      expectedNumber: 1,
    });
  });
});

describe('a numbered guard', () => {
  const bench = numberedBench(stores[0]![1]);

  it('runs unguarded while it is switched off', async () => {
    vi.stubEnv('IDEMPOTENCY_DISABLED', 'true');
    vi.spyOn(console, 'warn').mockImplementation(() => {});
    const { booked, book } = bookings();
    const call = idempotent(book, bench.options());
    await call({ number: 9 });
    await call({ number: 9 });
    expect(booked).toEqual([9, 9]);
    expect(bench.seen.seen).toMatchObject([
      { type: 'unguarded', reason: 'disabled' },
      { type: 'unguarded', reason: 'disabled' },
    ]);
  });

  it('remembers a sender for `forgetAfterSeconds` of silence, whatever IDEMPOTENCY_TTL_SECONDS says', async () => {
    vi.stubEnv('IDEMPOTENCY_TTL_SECONDS', '1');
    const { booked, book } = bookings();
    const call = idempotent(
      book,
      bench.options({ sequence: numbered(placeOf, { forgetAfterSeconds: 100 }) }),
    );
    const day = 86_400_000;
    await call({ number: 0 });
    bench.clock.advance(90_000 + day);
    await call({ number: 1 });
    // What was heard of last counts, not the first number.
    bench.clock.advance(90_000 + day);
    expect(await errorOf(call({ number: 3 }))).toMatchObject({ expectedNumber: 2 });
    bench.clock.advance(11_000);
    expect(await errorOf(call({ number: 3 }))).toMatchObject({ expectedNumber: 0 });
    expect(booked).toEqual([0, 1]);
  });

  it('refuses a durable execution as every guard does', async () => {
    const context = { ...lambdaContext(), executionContext: {}, lambdaContext: {} };
    const call = idempotent(bookings().book, bench.options());
    expect(await errorOf(call({ number: 0 }, context as never))).toMatchObject({
      code: 'UNSUPPORTED',
      effect: 'none',
    });
  });

  it('compares what is compared for keys: of an event all, of a message its body', async () => {
    vi.spyOn(console, 'error').mockImplementation(() => {});
    const read = numbered(({ body }: { body: string }) => ({
      producer: 'till',
      epoch: 0,
      number: JSON.parse(body).number,
    }));
    const call = idempotent(
      eachRecord(async () => {}),
      bench.options({ sequence: read }),
    );
    const message = (id: string, body: object) => sqsEvent(fifoMessage(id, 'g', { body }));
    expect(await call(message('a', { number: 0 }), lambdaContext())).toEqual({ batchItemFailures: [] });
    expect(await call(message('b', { number: 0 }), lambdaContext())).toEqual({ batchItemFailures: [] });
    expect(await call(message('c', { number: 0, more: 1 }), lambdaContext())).toEqual({
      batchItemFailures: [{ itemIdentifier: 'c' }],
    });
    const free = idempotent(bookings().book, bench.options({ fingerprint: false, namespace: 'free' }));
    await free({ number: 0, amount: 1 });
    expect(await free({ number: 0, amount: 2 })).toMatchObject({ amount: 1 });
  });

  it('lets a request of an unguarded method pass without a number', async () => {
    const call = idempotent(
      async () => ({ statusCode: 200, body: 'read' }),
      bench.options({ sequence: numbered() }),
    );
    expect(await call(httpEventV2({ method: 'GET', path: '/sales' }))).toMatchObject({ statusCode: 200 });
    expect(bench.seen.seen).toMatchObject([{ type: 'unguarded', reason: 'method' }]);
  });

  it('cannot be told apart by wholePayload, which is a key', () => {
    expect(
      refusalOf(() => idempotent(async () => 1, { ...bench.options(), key: wholePayload } as never)),
    ).toContain('`key`');
  });
});
