import { inspect } from 'node:util';
import type { Context } from 'aws-lambda';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { memoryStorage, numberedSender, type SenderStorage } from '../lib/client.ts';
import {
  dynamoStore,
  eachRecord,
  type HttpResponse,
  IdempotencyError,
  type IdempotencyErrorCode,
  type IdempotentOptions,
  idempotent,
  operation,
} from '../lib/index.ts';
import type { Store, Transacted } from '../lib/store.ts';
import { manualClock, memoryStore } from '../lib/testing.ts';
import { deferred } from './support/hands.ts';
import { restEvent } from './support/http-events.ts';
import { lambdaContext } from './support/invocation.ts';

// Everything that a caller owns has this in it.
const secret = 's3cret';
const direct = { orderId: 1, card: `${secret}-card` };
const request = restEvent({
  headers: [['Idempotency-Key', `${secret}-key`]],
  path: `/${secret}-path`,
  query: `card=${secret}-card`,
  body: JSON.stringify(direct),
});

const answer = { statusCode: 200, body: `${secret}-answer` };
const work = async (_event: unknown): Promise<unknown> => answer;
const options = (more: Partial<IdempotentOptions> = {}): IdempotentOptions => ({
  store: memoryStore(),
  key: () => `${secret}-key`,
  tenant: () => `${secret}-tenant`,
  ...more,
});

/** A handler whose commit meets this. */
function commitOn(sent: Transacted) {
  const store: Store = {
    ...memoryStore(),
    transactions: { build: async () => ({ send: async () => sent }) },
  };
  return idempotent(
    async (_: unknown, context: Context) =>
      operation(context).commit({
        result: answer,
        messages: [{ destination: 'ledger', body: `${secret}-body`, groupId: 'g' }],
      }),
    options({ store, destinations: ['ledger'] }),
  );
}

/** A numbered sender whose server does not answer. */
const senderOn = (storage: SenderStorage, options: { maxQueued?: number } = {}) =>
  numberedSender<unknown, never>({
    ...{ producer: 'till-7', storage, send: () => new Promise<never>(() => {}) },
    ...options,
  });

interface Case {
  /** What an HTTP caller gets; the application's own faults are thrown instead. */
  readonly status: number | 'thrown';
  readonly effect: 'none' | 'possible';
  /** Whether a retry has a chance, and says when. */
  readonly retry: boolean;
  readonly tellsRecord: boolean;
  /** Ends as the code says. */
  readonly provoke: (event: unknown) => Promise<unknown>;
}

const nothing = { effect: 'none', retry: false, tellsRecord: false } as const;

const cases: Record<IdempotencyErrorCode, Case> = {
  MISSING_KEY: {
    ...nothing,
    status: 400,
    provoke: (event) => idempotent(work, options({ key: () => undefined }))(event),
  },
  BAD_KEY: {
    ...nothing,
    status: 400,
    provoke: (event) => idempotent(work, options({ key: () => [`${secret}-part`, undefined] }))(event),
  },
  MISSING_TENANT: {
    ...nothing,
    status: 'thrown',
    provoke: (event) => idempotent(work, options({ tenant: () => undefined }))(event),
  },
  BAD_PAYLOAD: {
    ...nothing,
    status: 'thrown',
    provoke: (event) =>
      idempotent(
        work,
        options({ fingerprint: () => ({ [`${secret}-name`]: () => `${secret}-value` }) }),
      )(event),
  },
  PAYLOAD_MISMATCH: {
    ...nothing,
    status: 422,
    tellsRecord: true,
    async provoke(event) {
      let print = 0;
      const call = idempotent(work, options({ fingerprint: () => ++print }));
      await call(event);
      return call(event);
    },
  },
  IN_PROGRESS: {
    ...nothing,
    status: 409,
    retry: true,
    tellsRecord: true,
    async provoke(event) {
      const done = deferred<unknown>();
      const call = idempotent(() => done.promise, options());
      const first = call(event);
      try {
        return await call(event);
      } finally {
        done.resolve(answer);
        await first;
      }
    },
  },
  FENCED: {
    ...nothing,
    status: 409,
    async provoke(event) {
      const { numbered } = memoryStore();
      const place = { sender: `${secret}-sender`, number: 0, startsAnywhere: false };
      const inEpoch = (epoch: number) =>
        options({ store: numbered({ ...place, epoch }), namespace: 'tills' });
      await idempotent(work, inEpoch(2))(event);
      return idempotent(work, inEpoch(1))(event);
    },
  },
  SEQUENCE_GAP: {
    ...nothing,
    status: 409,
    retry: true,
    provoke: (event) => {
      const place = { sender: `${secret}-sender`, epoch: 0, number: 1, startsAnywhere: false };
      return idempotent(work, options({ store: memoryStore().numbered(place) }))(event);
    },
  },
  OVERTAKEN: {
    status: 409,
    effect: 'possible',
    retry: true,
    tellsRecord: true,
    async provoke(event) {
      const clock = manualClock();
      const done = deferred<unknown>();
      const call = idempotent(
        () => done.promise,
        options({ store: memoryStore({ clock }), lease: { seconds: 10 } }),
      );
      const first = call(event);
      await new Promise(setImmediate);
      clock.advance(10_000);
      const second = call(event);
      await new Promise(setImmediate);
      done.resolve(answer);
      return Promise.all([first, second]).then(([overtaken]) => overtaken);
    },
  },
  NO_TIME_LEFT: {
    ...nothing,
    status: 503,
    retry: true,
    provoke: (event) => idempotent(work, options())(event, lambdaContext(0)),
  },
  STORE_UNAVAILABLE: {
    ...nothing,
    status: 503,
    retry: true,
    provoke: (event) =>
      idempotent(work, options({ namespace: 'orders', store: failingStore('ThrottlingException') }))(event),
  },
  STORE_MISCONFIGURED: {
    ...nothing,
    status: 'thrown',
    provoke: (event) =>
      idempotent(
        work,
        options({ namespace: 'orders', store: failingStore('ResourceNotFoundException') }),
      )(event),
  },
  RESULT_UNAVAILABLE: {
    ...nothing,
    status: 410,
    tellsRecord: true,
    async provoke(event) {
      const call = idempotent(async (_event: unknown) => ({ ...answer, close: () => {} }), options());
      await call(event);
      return call(event);
    },
  },
  COMMIT_REJECTED: {
    ...nothing,
    effect: 'possible',
    status: 'thrown',
    provoke: (event) =>
      commitOn({ outcome: 'cancelled', conflict: false, rejections: [{ index: 0, code: 'X' }] })(event),
  },
  OUTCOME_UNKNOWN: {
    status: 503,
    effect: 'possible',
    retry: true,
    tellsRecord: false,
    provoke: (event) => commitOn({ outcome: 'token-reused' })(event),
  },
  INDETERMINATE: {
    status: 'thrown',
    effect: 'possible',
    retry: false,
    tellsRecord: false,
    async provoke(event) {
      const call = idempotent(
        async (_: unknown, context: Context) =>
          operation(context).step(
            'charge',
            async () => {
              throw new Error('down');
            },
            { atMostOnce: true },
          ),
        options(),
      );
      await call(event).catch(() => {});
      return call(event);
    },
  },
  NOT_COMMITTED: {
    status: 'thrown',
    effect: 'possible',
    retry: false,
    tellsRecord: false,
    provoke: (event) => idempotent(work, options({ claim: 'at-commit' }))(event),
  },
  RESULT_DIFFERS: {
    status: 'thrown',
    effect: 'possible',
    retry: false,
    tellsRecord: false,
    // Over HTTP other middlewares may change an answer, so there it is none.
    provoke: () =>
      idempotent(async (_: unknown, context: Context) => {
        await operation(context).commit({ result: `${secret}-committed` });
        return `${secret}-returned`;
      }, options())(direct),
  },
  BAD_STEP: {
    ...nothing,
    effect: 'possible',
    status: 'thrown',
    provoke: (event) =>
      idempotent(
        async (_: unknown, context: Context) => operation(context).step('', async () => 1),
        options(),
      )(event),
  },
  BAD_WRITES: {
    ...nothing,
    effect: 'possible',
    status: 'thrown',
    provoke: (event) =>
      idempotent(
        async (_: unknown, context: Context) =>
          operation(context).commit({
            result: 1,
            messages: [{ destination: 'nowhere', body: `${secret}-body`, groupId: 'g' }],
          }),
        options(),
      )(event),
  },
  BATCH_FAILED: {
    status: 'thrown',
    effect: 'possible',
    retry: false,
    tellsRecord: false,
    async provoke() {
      const Sns = { TopicArn: 'arn:topic', Message: `${secret}-message` };
      const Records = ['1', '2'].map((id) => ({ EventSource: 'aws:sns', Sns: { ...Sns, MessageId: id } }));
      const fail = async () => {
        throw new Error('down');
      };
      return eachRecord(fail, { onFailure: () => {} })({ Records } as never, {} as never);
    },
  },
  NAMESPACE_CLASH: {
    ...nothing,
    status: 'thrown',
    async provoke(event) {
      const store = memoryStore();
      await idempotent(work, options({ store }))(event);
      return idempotent(async (_event: unknown) => answer, options({ store }))(event);
    },
  },
  UNSUPPORTED: {
    ...nothing,
    status: 'thrown',
    provoke: (event) =>
      idempotent(work, options())(event, { executionContext: {}, lambdaContext: {} } as unknown as Context),
  },
  NOT_GUARDED: {
    ...nothing,
    effect: 'possible',
    status: 'thrown',
    provoke: async (event) => operation({ event }).key,
  },
  QUEUE_FULL: {
    ...nothing,
    status: 'thrown',
    provoke: async (event) => {
      const sender = senderOn(memoryStorage(), { maxQueued: 1 });
      const first = sender.send([event, `${secret}-payload`]);
      await sender.send(`${secret}-payload`).finally(() => sender.pause());
      return first;
    },
  },
  STORAGE_FAILED: {
    ...nothing,
    status: 'thrown',
    provoke: (event) => {
      const load = () => {
        throw new Error('disk');
      };
      return senderOn({ ...memoryStorage(), load }).send([event, `${secret}-payload`]);
    },
  },
  BAD_OPTION: {
    ...nothing,
    status: 'thrown',
    provoke: async (event) => idempotent(work, options({ ttlSeconds: 0 }))(event),
  },
};

describe.each(Object.entries(cases))('%s', (code, { provoke, status, effect, retry, tellsRecord }) => {
  const errorFor = async (event: unknown): Promise<IdempotencyError> => {
    const error: unknown = await provoke(event).then(
      (result) => {
        throw new Error(`It was not refused: ${inspect(result)}`);
      },
      (reason: unknown) => reason,
    );
    if (!IdempotencyError.is(error)) throw error;
    return error;
  };

  it('is an error of that code, which says whether anything was done and whether to retry', async () => {
    const error = await errorFor(direct);
    expect(error).toBeInstanceOf(Error);
    expect(error).toBeInstanceOf(IdempotencyError);
    expect(error).toMatchObject({ name: 'IdempotencyError', code, effect });
    expect(error.retryAfterSeconds).toEqual(retry ? expect.any(Number) : undefined);
    expect(error.message).toMatch(/^[A-Z].*\w.*[.]$/s);
    expect(String(error)).toBe(`IdempotencyError: ${error.message}`);
  });

  it('tells of the record its times, attempt and status, never its answer', async () => {
    const { record } = await errorFor(direct);
    if (!tellsRecord) {
      expect(record).toBeUndefined();
      return;
    }
    const { completedAt, ...rest } = record ?? {};
    expect(rest).toEqual({
      status: completedAt ? 'COMPLETED' : 'IN_PROGRESS',
      attempt: expect.any(Number),
      createdAt: expect.any(Date),
      leaseUntil: expect.any(Date),
      endsAt: expect.any(Date),
    });
  });

  it('carries no key, payload or answer', async () => {
    for (const event of [direct, request]) {
      const outcome = await provoke(event).catch((error: unknown) => error);
      const everything = [
        inspect(outcome, { depth: Number.POSITIVE_INFINITY, showHidden: true }),
        JSON.stringify(outcome),
        outcome instanceof Error ? outcome.stack : '',
      ];
      expect(everything.join('\n')).not.toContain(secret);
    }
  });

  it(status === 'thrown' ? 'fails an HTTP request too' : `is a ${status} for an HTTP request`, async () => {
    if (status === 'thrown') {
      expect(await errorFor(request)).toMatchObject({ code });
      return;
    }
    const refused = (await provoke(request)) as HttpResponse;
    expect(refused.statusCode).toBe(status);
    expect(JSON.parse(refused.body ?? '')).toMatchObject({ code, status });
    expect(refused.headers?.['Retry-After']).toEqual(retry ? expect.stringMatching(/^\d+$/) : undefined);
  });
});

describe('IdempotencyError.is', () => {
  afterEach(() => {
    vi.resetModules();
  });

  it('recognises an error of ours, and its code', () => {
    const error = new IdempotencyError('IN_PROGRESS', 'Busy.');
    expect(IdempotencyError.is(error)).toBe(true);
    expect(IdempotencyError.is(error, 'IN_PROGRESS')).toBe(true);
    expect(IdempotencyError.is(error, 'OVERTAKEN')).toBe(false);
  });

  it.each([
    [new Error('IN_PROGRESS')],
    [Object.assign(new Error('x'), { name: 'IdempotencyError', code: 'IN_PROGRESS' })],
    [{ code: 'IN_PROGRESS' }],
    ['IN_PROGRESS'],
    [null],
    [undefined],
    [() => {}],
  ])('recognises nothing else: %s', (value) => {
    expect(IdempotencyError.is(value)).toBe(false);
    expect(IdempotencyError.is(value, 'IN_PROGRESS')).toBe(false);
  });

  it('recognises errors of another copy of the package, both ways', async () => {
    const path = '../lib/errors.ts?another-copy';
    const copy = (await import(path)) as typeof import('../lib/errors.ts');
    const ours = new IdempotencyError('IN_PROGRESS', 'Busy.');
    const theirs = new copy.IdempotencyError('IN_PROGRESS', 'Busy.');

    expect(theirs).not.toBeInstanceOf(IdempotencyError);
    expect(IdempotencyError.is(theirs)).toBe(true);
    expect(IdempotencyError.is(theirs, 'IN_PROGRESS')).toBe(true);
    expect(IdempotencyError.is(theirs, 'BAD_KEY')).toBe(false);
    expect(copy.IdempotencyError.is(ours, 'IN_PROGRESS')).toBe(true);
  });

  it('lets a guard of one copy answer for what a store of another one reports', async () => {
    vi.resetModules();
    const copy = await import('../lib/index.ts');
    const store: Store = {
      ...memoryStore(),
      claim: async () => {
        throw new IdempotencyError('STORE_UNAVAILABLE', 'Try again.', { retryAfterSeconds: 1 });
      },
    };
    const call = copy.idempotent(work, { store });
    expect(await call(restEvent({ headers: [['Idempotency-Key', 'k']] }))).toMatchObject({ statusCode: 503 });
  });

  it('has its counterpart in `operation`, which knows the operations of another copy', async () => {
    vi.resetModules();
    const copy = await import('../lib/index.ts');
    expect(copy.operation).not.toBe(operation);
    const call = idempotent(async (_event: unknown, context) => copy.operation(context).key, options());
    expect(await call({})).toBe(`${secret}-key`);
  });
});

/** A store whose DynamoDB answers everything with this error. */
const failingStore = (name: string): Store =>
  dynamoStore({
    tableName: 'idempotency',
    client: {
      send: async () => {
        throw Object.assign(new Error('DynamoDB said no.'), { name, $fault: 'client', $metadata: {} });
      },
    },
  });
