import middy from '@middy/core';
import type { DynamoDBRecord } from 'aws-lambda';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import {
  dynamoStore,
  eachPartition,
  eachRecord,
  IdempotencyError,
  type IdempotentOptions,
  idempotent,
  numbered,
  operation,
} from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { dynamoStreamEvent, manualClock, memoryStore } from '../../lib/testing.ts';
import {
  failedIn,
  kafkaMessage,
  mskEvent,
  s3Event,
  s3Notification,
  selfManagedKafkaEvent,
  snsEvent,
  snsNotification,
  sqsEvent,
  sqsMessage,
} from '../support/batch-events.ts';
import { type Call, doors } from '../support/doors.ts';
import { deferred } from '../support/hands.ts';
import { lambdaContext } from '../support/invocation.ts';
import { failureOf } from '../support/work.ts';
import { keyed, kinesisEvent, lanesBench, type Work } from './lanes-bench.ts';

const bench = lanesBench();
let options: IdempotentOptions;
beforeEach(() => {
  options = bench.observed({ store: memoryStore() });
});
afterEach(() => {
  vi.unstubAllEnvs();
});

const [, , [, wrap]] = doors as [never, never, (typeof doors)[number]];
const guarded = (work: Work = () => {}, more: IdempotentOptions = {}): Call =>
  wrap(bench.eachPartition(work), { ...options, ...more });

const kafka = (partition: number, ...offsets: number[]) =>
  offsets.map((offset) => kafkaMessage(partition, offset, { id: `${partition}-${offset}` }));

describe.each([
  ['Amazon MSK', mskEvent],
  ['a Kafka of your own', selfManagedKafkaEvent],
])('eachPartition() of %s', (_, event) => {
  it('goes by topic and partition, and compares offsets as numbers', async () => {
    const handler = guarded();
    expect(await handler(event(...kafka(0, 9, 10), ...kafka(1, 9)))).toBeUndefined();
    expect(await handler(event(...kafka(0, 10, 11, 100), ...kafka(1, 8, 9)))).toBeUndefined();
    expect(bench.given.sort()).toEqual([['0-11', '0-100'], ['0-9', '0-10'], ['1-9']]);
  });

  it('throws once the other partitions are done, and runs only what is beyond the last commit again', async () => {
    let isFailing = true;
    const handler = guarded(
      async (records, op) => {
        await op.commit({ upTo: records[0] });
        if (isFailing && records.length > 2) throw new Error('down');
        if (records.length > 1) await op.commit();
      },
      { claim: 'at-commit' },
    );
    const sent = event(...kafka(0, 1, 2, 3), ...kafka(1, 1, 2));
    await expect(handler(sent)).rejects.toThrow('down');
    isFailing = false;
    expect(await handler(sent)).toBeUndefined();
    expect(bench.given.sort()).toEqual([
      ['0-1', '0-2', '0-3'],
      ['0-2', '0-3'],
      ['1-1', '1-2'],
    ]);
  });

  it('says how many records of several partitions failed', async () => {
    const handler = guarded(() => {
      throw new Error('down');
    });
    expect(await failureOf(handler(event(...kafka(0, 1, 2), ...kafka(1, 1))))).toMatchObject({
      code: 'BATCH_FAILED',
      effect: 'possible',
    });
  });
});

describe('eachPartition() of DynamoDB Streams', () => {
  const change = (id: string, at: number) => ({
    ...{ keys: { id: { S: id }, at: { N: '1' } }, newImage: { id: { S: id } } },
    sequenceNumber: String(at),
  });
  const recording = (): Call => {
    const handler = eachPartition<DynamoDBRecord>((records) => {
      bench.given.push(records.map(({ dynamodb }) => String(dynamodb?.SequenceNumber)));
    });
    return wrap(handler as never, options);
  };

  it('goes by the key of the item', async () => {
    const handler = recording();
    const event = dynamoStreamEvent(change('a', 9), change('b', 10), change('a', 11));
    expect(failedIn(await handler(event))).toEqual([]);
    expect(
      failedIn(await handler({ Records: [...event.Records, ...dynamoStreamEvent(change('b', 12)).Records] })),
    ).toEqual([]);
    expect(bench.given.sort()).toEqual([['10'], ['12'], ['9', '11']]);
  });

  it('knows an item whose key a middleware has unmarshalled', async () => {
    const handler = recording();
    await handler(dynamoStreamEvent(change('a', 9)));
    const [record] = dynamoStreamEvent(change('a', 9), change('a', 9)).Records;
    const unmarshalled = { ...record, dynamodb: { ...record?.dynamodb, Keys: { at: 1, id: 'a' } } };
    expect(failedIn(await handler({ Records: [unmarshalled] }))).toEqual([]);
    expect(bench.given).toEqual([['9']]);
  });
});

describe('eachPartition() refuses', () => {
  it.each<[string, object]>([
    ['SQS', sqsEvent(sqsMessage('a'))],
    ['SNS', snsEvent(snsNotification('a'))],
    ['S3', s3Event(s3Notification('a'))],
  ])('records of %s, and says why', async (_, event) => {
    const why = {
      code: 'UNSUPPORTED',
      message: expect.stringMatching(/deliver in no such order.*Use eachRecord\(\)/),
    };
    expect(await failureOf(guarded()(event))).toMatchObject(why);
    expect(await failureOf(bench.eachPartition()(event as never, lambdaContext()))).toMatchObject(why);
    expect(bench.given).toEqual([]);
  });

  it('an event that is no batch, and takes one without records', async () => {
    const handler = bench.eachPartition();
    expect(await failureOf(handler({} as never, lambdaContext()))).toMatchObject({ code: 'UNSUPPORTED' });
    expect(await handler({ Records: [] } as never, lambdaContext())).toEqual({ batchItemFailures: [] });
  });

  it.each(['abc', '-1', '1.5', '9'.repeat(129), ''])('a sequence number that is none: %s', async (number) => {
    const failure = await failureOf(guarded()(kinesisEvent(keyed('a', number))));
    expect(failure).toMatchObject({ code: 'BAD_KEY', effect: 'none' });
    expect(bench.given).toEqual([]);
  });

  it.each<[string, object]>([
    ['key', { key: () => 'k' }],
    ['fingerprint', { fingerprint: () => 'f' }],
    ['sequence', { sequence: numbered(() => ({ producer: 'p', epoch: 0, number: 0 })) }],
  ])('a guard with the option `%s`', async (name, more) => {
    const failure = await failureOf(
      wrap(bench.eachPartition(), { ...options, ...more } as IdempotentOptions)(kinesisEvent(keyed('a', 1))),
    );
    const message = expect.stringContaining(`Option \`${name}\` does not go with eachPartition().`);
    expect(failure).toMatchObject({ code: 'UNSUPPORTED', message });
  });

  it('a second guard around it, and a batch that is taken otherwise', async () => {
    const twice = idempotent(guarded() as never, options) as unknown as Call;
    expect(await failureOf(twice(kinesisEvent(keyed('a', 1)), lambdaContext()))).toMatchObject({
      code: 'UNSUPPORTED',
    });
    const both = wrap(
      (async (event: never, context: never) => {
        await eachRecord(() => {})(event, context);
        return bench.eachPartition()(event, context);
      }) as never,
      options,
    );
    expect(await failureOf(both(kinesisEvent(keyed('a', 1))))).toMatchObject({
      message: expect.stringContaining('taken by eachRecord()'),
    });
  });

  it('a tumbling window', async () => {
    const event = { ...kinesisEvent(keyed('a', 1)), isFinalInvokeForWindow: false, state: {} };
    expect(await failureOf(guarded()(event))).toMatchObject({ code: 'UNSUPPORTED' });
  });

  it('a store that keeps no positions', async () => {
    const { positioned: _, ...store } = memoryStore();
    const failure = await failureOf(
      guarded(undefined, { store: store as Store })(kinesisEvent(keyed('a', 1))),
    );
    expect(failure).toMatchObject({ code: 'UNSUPPORTED', effect: 'none' });
  });

  it.each(['position', 'reach'])('a table whose own attribute is called `%s`', async (ttlAttribute) => {
    const store = dynamoStore({ tableName: 't', client: { send: unavailable }, ttlAttribute });
    const failure = await failureOf(guarded(undefined, { store })(kinesisEvent(keyed('a', 1))));
    expect(failure).toMatchObject({ code: 'BAD_OPTION', message: expect.stringContaining('ttlAttribute') });
  });

  it('options that are wrong', () => {
    expect(() => eachPartition('no' as never)).toThrow(/Expected a handler for the records of one lane/);
    expect(() => eachPartition(() => {}, { forgetAfterSeconds: 0 })).toThrow(/`forgetAfterSeconds`/);
    expect(() => eachPartition(() => {}, { concurrency: 0 })).toThrow(/`concurrency`/);
    expect(() => eachPartition(() => {}, { retries: 3 } as never)).toThrow(/Unknown option `retries`/);
  });
});

describe('eachPartition() without a record', () => {
  const event = kinesisEvent(keyed('a', 2), keyed('b', 3), keyed('a', 1));

  it('gives each lane in its order where nothing guards it', async () => {
    const handler = bench.eachPartition((records, op) => {
      expect(op.guarded).toBe(false);
      if (records.length === 1) throw new Error('down');
    });
    expect(await handler(event as never, lambdaContext())).toEqual({
      batchItemFailures: [{ itemIdentifier: '3' }],
    });
    expect(bench.given.sort()).toEqual([['a1', 'a2'], ['b3']]);
    expect(bench.failures).toMatchObject([{ error: { message: 'down' }, records: 1 }]);
  });

  it('commits nothing but its result where nothing guards it', async () => {
    const handler = bench.eachPartition(async (_, op) => {
      expect(await op.commit({ result: 5 })).toBe(5);
      expect(await op.commit()).toBeUndefined();
      await op.commit({ writes: [{ Put: { TableName: 't', Item: { pk: 'a' } } }] });
    });
    await handler(kinesisEvent(keyed('a', 1)) as never, lambdaContext());
    expect(bench.failures).toMatchObject([{ error: { code: 'NOT_GUARDED' } }]);
  });

  it('gives all of it where the guard is switched off, and writes what it commits', async () => {
    vi.stubEnv('IDEMPOTENCY_DISABLED', 'true');
    vi.spyOn(console, 'warn').mockImplementation(() => {});
    const store = memoryStore();
    const write = { Put: { TableName: 't', Item: { pk: 'a' } } };
    const handler = guarded((_, op) => op.commit({ writes: [write] }), { store });
    await handler(event);
    await handler(event);
    expect(bench.given).toHaveLength(4);
    expect(store.writes).toHaveLength(4);
  });

  it('gives all of it where the store cannot be reached and the guard is to run all the same', async () => {
    const handler = guarded(() => {}, { store: unreachableStore(), whenStoreFails: 'run' });
    expect(failedIn(await handler(event))).toEqual([]);
    expect(bench.given.sort()).toEqual([['a1', 'a2'], ['b3']]);
    expect(bench.types()).toEqual(['unguarded', 'unguarded']);
  });
});

describe('eachPartition() reports', () => {
  it.each(['eager', 'at-commit'] as const)('lanes whose store cannot be reached (%s)', async (claim) => {
    const handler = guarded((_, op) => op.commit(), { store: unreachableStore(), claim });
    expect(failedIn(await handler(kinesisEvent(keyed('a', 2), keyed('b', 3))))).toEqual(['2']);
    expect(bench.failures).toMatchObject([
      { error: { code: 'STORE_UNAVAILABLE', effect: 'none' } },
      { error: { code: 'STORE_UNAVAILABLE', effect: 'none' } },
    ]);
    expect(bench.given).toEqual([]);
  });

  it('its failures together with those that middlewares add', async () => {
    const answering = {
      after: (request: { response: unknown }) => {
        request.response = { ...(request.response as object), seen: true };
      },
    };
    const handler = doors[1]?.[1](
      bench.eachPartition(() => {
        throw new Error('down');
      }) as never,
      options,
      answering as never,
    ) as Call;
    expect(await handler(kinesisEvent(keyed('a', 1)))).toEqual({
      batchItemFailures: [{ itemIdentifier: '1' }],
      seen: true,
    });
  });

  it('failures to the log by default, except for a lane that is busy', async () => {
    const log = vi.mocked(console.error);
    const failing = wrap(
      eachPartition(() => {
        throw new Error('down');
      }) as never,
      options,
    );
    await failing(kinesisEvent(keyed('a', 1)));
    expect(log).toHaveBeenCalledExactlyOnceWith(expect.stringContaining('A lane failed'), expect.any(Error));
  });

  it('nothing else than what `onFailure` is told, whatever it throws', async () => {
    const handler = wrap(
      eachPartition(
        () => {
          throw new Error('down');
        },
        {
          onFailure: async () => {
            throw new Error('told');
          },
        },
      ) as never,
      options,
    );
    expect(failedIn(await handler(kinesisEvent(keyed('a', 1))))).toEqual(['1']);
  });
});

describe('eachPartition() among middlewares', () => {
  it('has an operation for each record, by the context', async () => {
    const seen: unknown[] = [];
    const handler = guarded((records, op, context) => {
      seen.push(
        operation(context, records[0]) === (op as unknown),
        operation(context, records[1]) === (op as unknown),
      );
    });
    await handler(kinesisEvent(keyed('a', 1), keyed('a', 2)));
    expect(seen).toEqual([true, true]);
  });

  it('moves the position past records that a middleware has removed', async () => {
    const removing = {
      before: (request: { event: { Records: object[] } }) => {
        request.event = { ...request.event, Records: request.event.Records.slice(1) };
      },
    };
    const handler = doors[1]?.[1](bench.eachPartition() as never, options, removing as never) as Call;
    expect(failedIn(await handler(kinesisEvent(keyed('a', 1), keyed('a', 2))))).toEqual([]);
    expect(bench.given).toEqual([['a2']]);
  });

  it('refuses records that have not arrived', async () => {
    const making = {
      before: (request: { event: object }) => {
        request.event = kinesisEvent(keyed('a', 7));
      },
    };
    const handler = doors[1]?.[1](bench.eachPartition() as never, options, making as never) as Call;
    expect(await failureOf(handler(kinesisEvent(keyed('a', 1))))).toMatchObject({ code: 'UNSUPPORTED' });
    expect(bench.given).toEqual([]);
  });

  it('leaves its claims to their leases where Middy has run out of time', async () => {
    const clock = manualClock();
    const end = deferred();
    const ended = deferred<string>();
    const guard = { ...options, store: memoryStore({ clock }) };
    const handler = middy({ timeoutEarlyInMillis: 100 })
      .use(idempotent(guard))
      .handler(
        bench.eachPartition(
          async (_, op) => {
            await end.promise;
            await op.commit().catch(({ code }) => ended.resolve(code));
          },
          { stopBeforeDeadlineMs: 0, concurrency: 1 },
        ) as never,
      ) as unknown as Call;
    const event = kinesisEvent(keyed('a', 1), keyed('b', 2));
    expect(await failureOf(handler(event, lambdaContext(110)))).toMatchObject({ name: 'TimeoutError' });
    end.resolve();
    // What comes too late commits nothing, and no other lane is begun.
    expect(await ended.promise).toBe('NOT_GUARDED');
    expect(bench.types()).toEqual(['claim', 'abandon']);
    clock.advance(61_000);
    const next = wrap(bench.eachPartition(), guard);
    expect(failedIn(await next(event))).toEqual([]);
    expect(bench.given.sort()).toEqual([['a1'], ['a1'], ['b2']]);
  });

  it('waits for a lane that is busy, where the guard is to', async () => {
    const [started, end] = [deferred(), deferred()];
    const slow = guarded(async () => {
      started.resolve();
      await end.promise;
    })(kinesisEvent(keyed('a', 1)));
    await started.promise;
    const waiting = guarded(() => {}, { whenBusy: { waitMs: 5_000 } })(
      kinesisEvent(keyed('a', 1), keyed('a', 2)),
    );
    end.resolve();
    expect(failedIn(await slow)).toEqual([]);
    expect(failedIn(await waiting)).toEqual([]);
    expect(bench.given).toEqual([['a1'], ['a2']]);
  });

  it('gives a record once that is twice in one batch', async () => {
    await guarded()({ Records: [keyed('a', 1), keyed('a', 1), keyed('a', 2)] });
    expect(bench.given).toEqual([['a1', 'a2']]);
  });
});

function unreachableStore(): Store {
  const store = memoryStore();
  return {
    ...store,
    positioned(place) {
      const view = store.positioned?.(place);
      return Object.assign(Object.create(view as object), {
        claim: unavailable,
        giveBack: unavailable,
        read: unavailable,
      });
    },
  };
}

const unavailable = async (): Promise<never> => {
  throw new IdempotencyError('STORE_UNAVAILABLE', 'down', { cause: new Error('down') });
};
