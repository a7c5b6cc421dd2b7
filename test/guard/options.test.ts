import { afterEach, describe, expect, it, vi } from 'vitest';
import { dynamoStore, type HttpResponse, type IdempotentOptions, idempotent } from '../../lib/index.ts';
import { manualClock, memoryStore } from '../../lib/testing.ts';
import { observer } from '../support/hands.ts';
import { restEvent } from '../support/http-events.ts';
import { recordingStore } from '../support/recording-store.ts';
import { make, refusalOf } from './both-doors.ts';

afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
});

describe('an option of a wrong value', () => {
  const refused: readonly [Record<string, unknown>, string][] = [
    [
      { store: 'orders' },
      'Expected option `store` to be a store: dynamoStore(…), or memoryStore() of idemkit/testing, got "orders" (string).',
    ],
    [
      { store: {} },
      'Expected option `store` to be a store: dynamoStore(…), or memoryStore() of idemkit/testing, got {} (object).',
    ],
    [
      { store: memoryStore },
      'Expected option `store` to be a store: dynamoStore(…), or memoryStore() of idemkit/testing, got a function.',
    ],
    [
      { namespace: '' },
      'Expected option `namespace` to be a string of 1 to 255 characters, got "" (string).',
    ],
    [
      { namespace: '  ' },
      'Expected option `namespace` to be a string of 1 to 255 characters, got "  " (string).',
    ],
    [{ namespace: 5 }, 'Expected option `namespace` to be a string of 1 to 255 characters, got 5 (number).'],
    [
      { namespace: 'n'.repeat(256) },
      `Expected option \`namespace\` to be a string of 1 to 255 characters, got "${'n'.repeat(56)}… (string).`,
    ],
    [{ key: 'orderId' }, 'Expected option `key` to be a function, got "orderId" (string).'],
    [{ tenant: null }, 'Expected option `tenant` to be a function, got null.'],
    [{ fingerprint: true }, 'Expected option `fingerprint` to be a function or false, got true (boolean).'],
    [{ required: 'no' }, 'Expected option `required` to be true or false, got "no" (string).'],
    [
      { ttlSeconds: '60' },
      'Expected option `ttlSeconds` to be a number of seconds, more than 0, at most ten years, got "60" (string).',
    ],
    [
      { ttlSeconds: 0 },
      'Expected option `ttlSeconds` to be a number of seconds, more than 0, at most ten years, got 0 (number).',
    ],
    [
      { ttlSeconds: -1 },
      'Expected option `ttlSeconds` to be a number of seconds, more than 0, at most ten years, got -1 (number).',
    ],
    [
      { ttlSeconds: Date.UTC(2030, 0, 1) },
      'Expected option `ttlSeconds` to be a number of seconds, more than 0, at most ten years, got 1893456000000 (number).',
    ],
    [
      { ttlSeconds: 60n },
      'Expected option `ttlSeconds` to be a number of seconds, more than 0, at most ten years, got 60n (bigint).',
    ],
    [
      { ttlSeconds: Number.NaN },
      'Expected option `ttlSeconds` to be a number of seconds, more than 0, at most ten years, got NaN (number).',
    ],
    [{ lease: 30 }, 'Expected option `lease` to be an object such as { seconds: 30 }, got 30 (number).'],
    [{ lease: null }, 'Expected option `lease` to be an object such as { seconds: 30 }, got null.'],
    [{ lease: {} }, 'Expected option `lease` to be an object such as { seconds: 30 }, got {} (object).'],
    [
      { lease: { seconds: 0 } },
      'Expected option `lease` to be an object such as { seconds: 30 }, got {"seconds":0} (object).',
    ],
    [
      { whenBusy: 'wait' },
      'Expected option `whenBusy` to be \'refuse\' or an object such as { waitMs: 2000 }, got "wait" (string).',
    ],
    [
      { whenBusy: { waitMs: -5 } },
      'Expected option `whenBusy` to be \'refuse\' or an object such as { waitMs: 2000 }, got {"waitMs":-5} (object).',
    ],
    [{ remember: false }, 'Expected option `remember` to be a function, got false (boolean).'],
    [
      { whenStoreFails: 'ignore' },
      "Expected option `whenStoreFails` to be 'refuse' or 'run', got \"ignore\" (string).",
    ],
    [{ keep: true }, 'Expected option `keep` to be an object, got true (boolean).'],
    [{ keep: { key: 'yes' } }, 'Expected option `keep.key` to be true or false, got "yes" (string).'],
    [{ keep: { input: 1 } }, 'Expected option `keep.input` to be true or false, got 1 (number).'],
    [{ onReplay: {} }, 'Expected option `onReplay` to be a function, got {} (object).'],
    [{ observe: [] }, 'Expected option `observe` to be a function, got [] (array).'],
    [{ http: null }, 'Expected option `http` to be an object, got null.'],
    [
      { http: { keyHeader: '' } },
      'Expected option `http.keyHeader` to be a header\'s name, got "" (string).',
    ],
    [
      { http: { keyHeader: 'a b' } },
      'Expected option `http.keyHeader` to be a header\'s name, got "a b" (string).',
    ],
    [{ http: { keyHeader: 5 } }, "Expected option `http.keyHeader` to be a header's name, got 5 (number)."],
    [{ http: { keyHeader: null } }, "Expected option `http.keyHeader` to be a header's name, got null."],
    [
      { http: { keyHeader: ['a'] } },
      'Expected option `http.keyHeader` to be a header\'s name, got ["a"] (array).',
    ],
    [
      { http: { methods: 'POST' } },
      'Expected option `http.methods` to be an array of HTTP methods such as [\'POST\'], got "POST" (string).',
    ],
    [
      { http: { methods: [] } },
      "Expected option `http.methods` to be an array of HTTP methods such as ['POST'], got [] (array).",
    ],
    [
      { http: { methods: ['POST', null] } },
      'Expected option `http.methods` to be an array of HTTP methods such as [\'POST\'], got ["POST",null] (array).',
    ],
    [
      { http: { methods: [['POST']] } },
      'Expected option `http.methods` to be an array of HTTP methods such as [\'POST\'], got [["POST"]] (array).',
    ],
    [
      { http: { keySyntax: 'loose' } },
      "Expected option `http.keySyntax` to be 'lenient' or 'strict', got \"loose\" (string).",
    ],
    [
      { http: { errors: 'html' } },
      "Expected option `http.errors` to be 'problem', 'problem-link', 'stripe' or a function, got \"html\" (string).",
    ],
    [
      { http: { answerHeaders: { a: 'b' } } },
      'Expected option `http.answerHeaders` to be a function, got {"a":"b"} (object).',
    ],
    [
      { http: { docsUrl: '/docs' } },
      'Expected option `http.docsUrl` to be an absolute URL, got "/docs" (string).',
    ],
    [
      { http: { docsUrl: ['https://example.com'] } },
      'Expected option `http.docsUrl` to be an absolute URL, got ["https://example.com"] (array).',
    ],
  ];

  it.each(refused.map(([options, message]) => [message, options] as const))(
    'is refused when the guard is made: %s',
    (message, options) => {
      expect(refusalOf({ store: memoryStore(), ...options })).toBe(message);
    },
  );

  it('is refused also where guards are disabled', () => {
    vi.stubEnv('IDEMPOTENCY_DISABLED', 'true');
    expect(refusalOf({ ttlSeconds: 0 })).toContain('`ttlSeconds`');
  });

  it('does not show what is secret about it', () => {
    const client = { config: { credentials: { secretAccessKey: 'secret' } } };
    expect(refusalOf({ store: Object.assign(client, { self: client }) })).not.toContain('secret');
  });
});

describe('an option of an unknown name', () => {
  it.each<[Record<string, unknown>, string, string]>([
    [{ ttlSecond: 60 }, 'ttlSecond', 'ttlSeconds'],
    [{ ttl: 60 }, 'ttl', 'ttlSeconds'],
    [{ nameSpace: 'a' }, 'nameSpace', 'namespace'],
    [{ onreplay: undefined }, 'onreplay', 'onReplay'],
    [{ whenStoreFail: 'run' }, 'whenStoreFail', 'whenStoreFails'],
    [{ Key: () => 'k' }, 'Key', 'key'],
    [{ http: { headr: 'X-Key' } }, 'http.headr', 'http.keyHeader'],
    [{ http: { docs: 'https://a.b' } }, 'http.docs', 'http.docsUrl'],
    [{ keep: { inputs: true } }, 'keep.inputs', 'keep.input'],
    [{ lease: { second: 30 } }, 'lease.second', 'lease.seconds'],
    [{ lease: { seconds: 30, margin: 1 } }, 'lease.margin', 'lease.seconds'],
    [{ whenBusy: { waitMS: 30 } }, 'whenBusy.waitMS', 'whenBusy.waitMs'],
  ])('is refused when the guard is made, with the nearest one: %j', (options, unknown, nearest) => {
    expect(refusalOf(options)).toMatch(
      new RegExp(`^Unknown option \`${unknown}\`\\. Did you mean \`${nearest}\`\\? Known: .*${nearest}`),
    );
  });

  it('is refused with all that are known', () => {
    expect(refusalOf({ keep: { output: true } })).toBe(
      'Unknown option `keep.output`. Did you mean `keep.input`? Known: keep.key, keep.input.',
    );
  });
});

describe('options', () => {
  it.each<[unknown, string]>([
    [null, 'null'],
    ['orders', '"orders" (string)'],
    [60, '60 (number)'],
    [[], '[] (array)'],
    [Promise.resolve({ namespace: 'a' }), '{} (object)'],
    [new Map([['namespace', 'a']]), '{} (object)'],
  ])('that are no plain object are refused: %j', (options, shown) => {
    expect(refusalOf(options)).toBe(`Expected the options to be an object, got ${shown}.`);
  });

  it('before the handler are refused, with the right order', () => {
    for (const first of [{}, undefined]) {
      expect(() => idempotent(first as never, { namespace: 'a' })).toThrow(
        expect.objectContaining({
          code: 'BAD_OPTION',
          message: expect.stringContaining('Call idempotent(handler, options), or idempotent(options)'),
        }),
      );
    }
  });

  it('are all optional, and `undefined` is none', () => {
    make(undefined);
    make({});
    const names = ['store', 'namespace', 'key', 'tenant', 'fingerprint', 'required', 'ttlSeconds', 'lease'];
    const more = ['whenBusy', 'remember', 'whenStoreFails', 'keep', 'http', 'onReplay', 'observe'];
    make(Object.fromEntries([...names, ...more].map((name) => [name, undefined])));
    make({ http: { keyHeader: undefined, methods: undefined, errors: undefined }, keep: { key: undefined } });
  });

  it('of all kinds are accepted, frozen or without prototype', () => {
    const options: IdempotentOptions = {
      store: dynamoStore({ tableName: 'idempotency' }),
      namespace: 'orders',
      key: () => 'k',
      tenant: () => 't',
      fingerprint: false,
      required: false,
      ttlSeconds: 0.5,
      lease: { seconds: 0.5 },
      whenBusy: { waitMs: 1 },
      remember: () => true,
      whenStoreFails: 'run',
      keep: { key: true, input: false },
      http: {
        keyHeader: 'PayPal-Request-Id',
        methods: ['post', 'PUT'],
        keySyntax: 'strict',
        errors: () => ({ statusCode: 400 }),
        answerHeaders: () => ({}),
        docsUrl: 'https://example.com/docs#keys',
      },
      onReplay: (answer) => answer,
      observe: () => {},
    };
    make(Object.freeze(options));
    make(Object.assign(Object.create(null), options));
    make({
      ...options,
      fingerprint: () => 1,
      ttlSeconds: 315_360_000,
      whenBusy: 'refuse',
      whenStoreFails: 'refuse',
    });
  });

  it('that are changed after the guard was made have no effect', async () => {
    const clock = manualClock();
    const store = recordingStore({ clock });
    const { seen, observe } = observer();
    const lease = { seconds: 20 };
    const methods = ['POST'];
    const keep = { key: false, input: false };
    const http = { keyHeader: 'X-Key', methods };
    const options: Record<string, unknown> = {
      ...{ store, namespace: 'before', tenant: () => 'before', fingerprint: false, required: true },
      ...{ ttlSeconds: 100, lease, whenBusy: 'refuse', remember: () => true, keep, http, observe },
      onReplay: (answer: HttpResponse) => ({ ...answer, body: 'before' }),
    };
    const work = vi.fn(async () => ({ statusCode: 500, body: 'done' }));
    const call = idempotent(work, options as IdempotentOptions);

    const never = () => {
      throw new Error('This option came too late.');
    };
    Object.assign(options, {
      ...{ store: memoryStore(), namespace: 'after', key: never, tenant: never, fingerprint: never },
      ...{ required: false, ttlSeconds: 1, whenBusy: { waitMs: 60_000 }, remember: never },
      ...{ whenStoreFails: 'run', onReplay: never, observe: never, http: {}, keep: {} },
    });
    lease.seconds = 1;
    methods.push('GET');
    Object.assign(http, { keyHeader: 'X-Other', errors: never, answerHeaders: never });
    Object.assign(keep, { key: true, input: true });

    const request = (method: string) => restEvent({ method, headers: [['X-Key', 'k']] });
    expect(await call(request('POST'))).toMatchObject({ statusCode: 500, body: 'done' });
    clock.advance(99_000);
    expect(await call(request('POST'))).toMatchObject({ statusCode: 500, body: 'before' });
    await call(request('GET'));
    expect(await call(restEvent())).toMatchObject({ statusCode: 400 });
    expect(work).toHaveBeenCalledTimes(2);

    const record = await store.record();
    expect(record.pk).toMatch(/^before#/);
    expect(record).toMatchObject({ leaseUntilMs: record.createdAtMs + 20_000 });
    expect(record).not.toHaveProperty('fingerprint');
    expect(seen.map(({ type }) => type)).toEqual(['claim', 'complete', 'replay', 'unguarded']);
    expect(new Set(seen.map(({ namespace }) => namespace))).toEqual(new Set(['before']));
  });
});

describe('an observer', () => {
  it('that fails, now or later, harms nobody', async () => {
    for (const observe of [
      () => {
        throw new Error('no metrics');
      },
      async () => {
        throw new Error('no metrics');
      },
    ]) {
      const call = idempotent(async () => 'done', { store: memoryStore(), key: () => 'k', observe });
      expect(await call({})).toBe('done');
      expect(await call({})).toBe('done');
    }
  });
});
