import type { SQSEvent, SQSRecord } from 'aws-lambda';
import { afterEach, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import { IdempotencyError } from '../../lib/errors.ts';
import {
  dynamoStore,
  type EachRecordOptions,
  eachRecord,
  idempotent,
  memoryStore,
  operation,
  type Store,
} from '../../lib/index.ts';
import { manualClock } from '../../lib/testing.ts';
import {
  failedIn,
  fifoMessage,
  kinesisEvent,
  kinesisRecord,
  s3Event,
  s3Notification,
  sqsEvent,
  sqsMessage,
  streamEvent,
  streamRecord,
} from '../support/batch-events.ts';
import { doors } from '../support/doors.ts';
import { clientFor, createTable, dynamodbEndpoint, type TestTable } from '../support/dynamodb.ts';
import { contextWith, observer, turn } from '../support/hands.ts';
import { type Gate, gate, lambdaContext } from '../support/invocation.ts';
import { recordingStore } from '../support/recording-store.ts';

let runs: string[];
let failing: Set<string>;

beforeEach(() => {
  runs = [];
  failing = new Set();
  vi.spyOn(console, 'error').mockImplementation(() => {});
});
afterEach(() => {
  vi.restoreAllMocks();
});

const work = async (record: any): Promise<void> => {
  const name: string = record.messageId ?? record.s3?.object.key ?? record.kinesis?.sequenceNumber;
  runs.push(name);
  await turn();
  if (failing.has(name)) throw new Error(`${name} is down`);
};
const fail = () => {
  throw new Error('no');
};
const each = (more: EachRecordOptions<any, any> = {}) =>
  eachRecord<any, any>(work, { onFailure: () => {}, ...more });
const messages = (count: number, prefix = 'm') =>
  Array.from({ length: count }, (_, at) => sqsMessage(`${prefix}-${at + 1}`));

describe('requests for a batch', () => {
  let table: TestTable;
  beforeAll(async () => {
    table = await createTable();
  });

  /** A store on DynamoDB whose requests are held until as many are under way as are expected. */
  function heldStore(expected: number): Store & { most: Record<string, number> } {
    const client = clientFor(dynamodbEndpoint());
    const most: Record<string, number> = {};
    const underWay: Record<string, number> = {};
    const arrived: Record<string, Gate> = {};
    client.middlewareStack.add(
      (next, context) => async (args) => {
        const name = String(context.commandName).replace(/Command$/, '');
        underWay[name] = (underWay[name] ?? 0) + 1;
        most[name] = Math.max(most[name] ?? 0, underWay[name]);
        arrived[name] ??= gate();
        if (underWay[name] >= expected) arrived[name].open();
        await arrived[name].passed;
        await turn();
        try {
          return await next(args);
        } finally {
          underWay[name]--;
        }
      },
      { step: 'initialize' },
    );
    return { ...dynamoStore({ ...table.store, client }), most };
  }

  it('go out together: ten fresh records cost the time of two round trips', async () => {
    // Were one claim or completion to wait for another one's answer, this would never end.
    const store = heldStore(10);
    const handler = idempotent(each(), { store, namespace: 'ten' });
    expect(failedIn(await handler(sqsEvent(...messages(10)), lambdaContext()))).toEqual([]);
    expect(store.most).toEqual({ PutItem: 10, UpdateItem: 10 });
    expect(runs).toHaveLength(10);
  });

  it('go out fifty at a time', async () => {
    const store = heldStore(50);
    const handler = idempotent(each(), { store, namespace: 'many' });
    expect(failedIn(await handler(sqsEvent(...messages(200)), lambdaContext()))).toEqual([]);
    expect(store.most.PutItem).toBe(50);
    expect(store.most.UpdateItem).toBeLessThanOrEqual(60);
    expect(runs).toHaveLength(200);
  });

  it('complete a record before the next one of its group starts, while other groups go on', async () => {
    const happened: string[] = [];
    const other = gate();
    const plain = dynamoStore(table.store);
    const store: Store = {
      ...plain,
      async complete(completion) {
        // The first group cannot go on, and the other one must.
        if (!happened.includes('b-1')) await other.passed;
        const written = await plain.complete(completion);
        happened.push('completed');
        return written;
      },
    };
    const handler = idempotent(
      eachRecord(async ({ messageId }) => {
        happened.push(messageId);
        if (messageId === 'b-1') other.open();
      }),
      { store, namespace: 'order' },
    );
    const records = ['a-1', 'a-2', 'a-3', 'b-1'].map((id) => fifoMessage(id, id.slice(0, 1)));
    expect(failedIn(await handler(sqsEvent(...records), lambdaContext()))).toEqual([]);
    const ofA = happened.filter((what) => what.startsWith('a-'));
    expect(ofA).toEqual(['a-1', 'a-2', 'a-3']);
    for (const [index, id] of ofA.entries()) {
      const completed = happened.slice(0, happened.indexOf(id)).filter((what) => what === 'completed');
      expect(completed.length).toBeGreaterThanOrEqual(index);
    }
  });

  it('are one for a duplicate and two for a fresh record, whatever the size of its result', async () => {
    const store = recordingStore();
    const handler = idempotent(
      eachRecord(async () => 'x'.repeat(100_000)),
      { store },
    );
    await handler(sqsEvent(...messages(3)), lambdaContext());
    expect(store.calls).toEqual([...Array(3).fill('claim'), ...Array(3).fill('complete')]);
    await handler(sqsEvent(...messages(3)), lambdaContext());
    expect(store.calls.slice(6)).toEqual(Array(3).fill('claim'));
  });

  it('do not pile up behind the handler when the store is slow: it waits then', async () => {
    const plain = memoryStore();
    const answers = gate();
    let underWay = 0;
    const store: Store = {
      ...plain,
      async complete(completion) {
        underWay++;
        await answers.passed;
        return plain.complete(completion);
      },
    };
    const handled = idempotent(each(), { store })(sqsEvent(...messages(200)), lambdaContext());
    for (let i = 0; i < 300; i++) await turn();
    expect(underWay).toBeGreaterThanOrEqual(50);
    expect(underWay).toBeLessThanOrEqual(60);
    expect(runs.length).toBe(underWay);
    answers.open();
    expect(failedIn(await handled)).toEqual([]);
    expect(runs).toHaveLength(200);
  });

  it('are so few at once for ten thousand records, too', async () => {
    let underWay = 0;
    let most = 0;
    const plain = memoryStore();
    const slow =
      <Args extends unknown[], Result>(verb: (...args: Args) => Promise<Result>) =>
      async (...args: Args) => {
        most = Math.max(most, ++underWay);
        await turn();
        underWay--;
        return verb(...args);
      };
    const store = { ...plain, claim: slow(plain.claim), complete: slow(plain.complete) };
    const handler = idempotent(each(), { store });
    const event = sqsEvent(...messages(10_000));
    expect(failedIn(await handler(event, lambdaContext()))).toEqual([]);
    expect(runs).toHaveLength(10_000);
    expect(most).toBeLessThanOrEqual(60);
    const plainHandler = idempotent(
      async ({ Records }: SQSEvent) => ({
        batchItemFailures: Records.map(({ messageId }) => ({ itemIdentifier: messageId })),
      }),
      { store: memoryStore() },
    );
    expect(failedIn(await plainHandler(event, lambdaContext()))).toHaveLength(10_000);
  });
});

describe('a store that is set up wrongly', () => {
  it('fails the invocation, and gives back what was claimed until then', async () => {
    const store = recordingStore();
    let wrong = true;
    const broken: Store = {
      ...store,
      async claim(claim) {
        const written = await store.claim(claim);
        if (wrong && store.calls.length === 3) {
          throw new IdempotencyError('STORE_MISCONFIGURED', 'No permission for dynamodb:PutItem.');
        }
        return written;
      },
    };
    const handler = idempotent(each(), { store: broken });
    const event = sqsEvent(...messages(3));
    await expect(handler(event, lambdaContext())).rejects.toMatchObject({ code: 'STORE_MISCONFIGURED' });
    expect(runs).toEqual([]);
    expect(store.calls).toEqual(['claim', 'claim', 'claim', 'giveBack', 'giveBack']);
    wrong = false;
    // The one whose claim was refused was applied all the same here, so it is busy.
    expect(failedIn(await handler(event, lambdaContext()))).toEqual(['m-3']);
  });
});

describe.each(doors)('%s: a middleware inside that', (door, guard) => {
  it('parses and decodes the records in place is no hindrance', async () => {
    const handled: unknown[] = [];
    const normalizer = {
      before: ({ event }: { event: any }) => {
        for (const record of event.Records) {
          if (record.body) record.body = JSON.parse(record.body);
          if (record.s3) record.s3.object.key = decodeURIComponent(record.s3.object.key.replaceAll('+', ' '));
        }
      },
    };
    const store = memoryStore();
    const records = eachRecord<any>(
      async (record, op) => {
        expect(op.guarded).toBe(true);
        handled.push(record.messageId ? record.payload : record.s3.object.key);
        await work(record);
      },
      { onFailure: () => {} },
    );
    const handler = guard(records, { store }, normalizer);
    await handler(sqsEvent(sqsMessage('m-1', { id: 7 })));
    failing = new Set(['b c.txt']);
    const uploads = () => s3Event(...['a%2B.txt', 'b+c.txt'].map((key) => s3Notification(key)));
    await expect(handler(uploads())).rejects.toThrow('b c.txt is down');
    failing.clear();
    await handler(uploads());
    expect(handled).toEqual([{ id: 7 }, 'a+.txt', 'b c.txt', 'b c.txt']);
  });

  it('copies or takes out records: what it took out is acknowledged, the rest is settled one by one', async () => {
    const filter = {
      before: (request: { event: any }) => {
        request.event = {
          ...request.event,
          Records: request.event.Records.filter(({ messageId }: SQSRecord) => messageId !== 'm-2').map(
            (record: SQSRecord) => structuredClone(record),
          ),
        };
      },
    };
    const handler = guard(each(), { store: memoryStore() }, filter);
    failing = new Set(['m-3']);
    expect(failedIn(await handler(sqsEvent(...messages(3))))).toEqual(['m-3']);
    expect(runs).toEqual(['m-1', 'm-3']);
    expect(failedIn(await handler(sqsEvent(...messages(2))))).toEqual([]);
    expect(failedIn(await handler(sqsEvent(sqsMessage('m-2'))))).toEqual([]);
    expect(runs).toEqual(['m-1', 'm-3']);
  });

  it('takes out all records leaves nothing to do', async () => {
    const filter = {
      before: ({ event }: { event: any }) => {
        event.Records = [];
      },
    };
    expect(await guard(each(), { store: memoryStore() }, filter)(sqsEvent(...messages(2)))).toEqual({
      batchItemFailures: [],
    });
  });

  it('throws after the handler loses no record that failed or was not started', async () => {
    let throws = true;
    const after = {
      after: () => {
        if (throws) throw new Error('after');
      },
    };
    const store = memoryStore();
    let remainingMs = 30_000;
    const records = eachRecord<SQSRecord>(
      async (record) => {
        await work(record);
        remainingMs = 500;
      },
      { concurrency: 1, onFailure: () => {} },
    );
    const context = contextWith(() => remainingMs);
    await expect(guard(records, { store }, after)(sqsEvent(...messages(3)), context)).rejects.toThrow(
      'after',
    );
    throws = false;
    expect(failedIn(await guard(each(), { store, namespace: 'memory' })(sqsEvent(...messages(3))))).toEqual(
      [],
    );
    expect(runs).toEqual(['m-1', 'm-2', 'm-3']);
  });

  it('throws after a plain handler has it repeat what it has reported, at least', async () => {
    let throws = true;
    const after = {
      after: () => {
        if (throws) throw new Error('after');
      },
    };
    const seen: string[] = [];
    const handler = guard(
      async ({ Records }: SQSEvent) => {
        seen.push(...Records.map(({ messageId }) => messageId));
        return throws ? { batchItemFailures: [{ itemIdentifier: 'm-2' }] } : undefined;
      },
      { store: memoryStore() },
      after,
    );
    await expect(handler(sqsEvent(...messages(2)))).rejects.toThrow('after');
    throws = false;
    expect(failedIn(await handler(sqsEvent(...messages(2))))).toEqual([]);
    expect(seen.filter((id) => id === 'm-2')).toHaveLength(2);
  });

  it.each<[string, (answer: unknown) => object]>([
    ['answers in place of the handler', (answer) => ({ before: () => answer })],
    ['makes an answer of an error', (answer) => ({ before: fail, onError: () => answer })],
    [
      'assigns an answer to an error',
      (answer) => ({
        before: fail,
        onError: (request: any) => {
          request.response = answer;
        },
      }),
    ],
  ])('%s speaks for what is fresh, and not for what is busy elsewhere', async (_, inner) => {
    const store = memoryStore();
    const end = gate();
    const held = guard(
      eachRecord(async () => end.passed),
      { store },
    )(sqsEvent(sqsMessage('m-2')));
    const answering = guard(
      each(),
      { store, namespace: 'memory' },
      inner({ batchItemFailures: [], early: true }),
    );
    const answer = await answering(sqsEvent(...messages(3)));
    expect(answer).toEqual({ batchItemFailures: [{ itemIdentifier: 'm-2' }], early: true });
    expect(runs).toEqual([]);
    end.open();
    await held;
    // What it answered without the handler is not done; to the wrapper any answer is the handler's.
    expect(failedIn(await guard(each(), { store, namespace: 'memory' })(sqsEvent(...messages(3))))).toEqual(
      [],
    );
    expect(runs).toEqual(door === 'the wrapper' ? [] : ['m-1', 'm-3']);
  });

  it('adds failures to the answer has these records come again', async () => {
    const after = {
      after: ({ response }: { response: any }) => {
        response.batchItemFailures.push({ itemIdentifier: 'm-1' });
      },
    };
    const handler = guard(each(), { store: memoryStore() }, after);
    failing = new Set(['m-2']);
    expect(failedIn(await handler(sqsEvent(...messages(2))))).toEqual(['m-1', 'm-2']);
  });
});

it.each(doors.slice(0, 2))(
  '%s: a plain handler whose answer is lost repeats only what it reported',
  async (_, guard) => {
    const seen: string[] = [];
    let throws = true;
    const after = {
      after: () => {
        if (throws) throw new Error('after');
      },
    };
    const handler = guard(
      async ({ Records }: SQSEvent) => {
        seen.push(...Records.map(({ messageId }) => messageId));
        return throws ? { batchItemFailures: [{ itemIdentifier: 'm-2' }] } : undefined;
      },
      { store: memoryStore() },
      after,
    );
    await expect(handler(sqsEvent(...messages(3)))).rejects.toThrow('after');
    throws = false;
    await handler(sqsEvent(...messages(3)));
    expect(seen).toEqual(['m-1', 'm-2', 'm-3', 'm-2']);
  },
);

describe('guards within guards', () => {
  const context = lambdaContext();

  it('settle a record once when its handler processes it as a batch of one', async () => {
    const store = recordingStore();
    failing = new Set(['m-2']);
    const inner = each();
    const outer = eachRecord<SQSRecord>(async (record, _, ctx) => {
      await inner(sqsEvent(record), ctx);
    });
    const handler = idempotent(outer, { store });
    expect(failedIn(await handler(sqsEvent(...messages(3)), context))).toEqual(['m-2']);
    expect(store.calls.filter((verb) => verb === 'complete')).toHaveLength(2);
    expect(store.calls.filter((verb) => verb === 'giveBack')).toHaveLength(1);
    failing.clear();
    expect(failedIn(await handler(sqsEvent(...messages(3)), context))).toEqual([]);
    expect(runs.sort()).toEqual(['m-1', 'm-2', 'm-2', 'm-3']);
  });

  it('report a record that an inner batch has completed and the outer handler gives back', async () => {
    const inner = each();
    const outer = eachRecord<SQSRecord>(
      async (record, _, ctx) => {
        await inner(sqsEvent(record), ctx);
        if (record.messageId === 'm-1') throw new Error('afterwards');
      },
      { onFailure: () => {} },
    );
    const handler = idempotent(outer, { store: memoryStore() });
    expect(failedIn(await handler(sqsEvent(...messages(2)), context))).toEqual(['m-1']);
  });

  it('give the function for one record its own operation', async () => {
    const keys: string[] = [];
    const handleOne = idempotent(async (_: SQSRecord, ctx) => void keys.push(operation(ctx).key), {
      store: memoryStore(),
      namespace: 'one',
      key: ({ messageId }) => `one-${messageId}`,
    });
    const handler = idempotent(
      eachRecord((record, _, ctx) => handleOne(record, ctx)),
      { store: memoryStore(), namespace: 'batch' },
    );
    expect(failedIn(await handler(sqsEvent(...messages(2)), context))).toEqual([]);
    expect(keys.sort()).toEqual(['one-m-1', 'one-m-2']);
  });

  it('both know what was done, around one batch', async () => {
    const store = memoryStore();
    failing = new Set(['m-2']);
    const handler = idempotent(idempotent(each(), { store, namespace: 'inner' }), {
      store,
      namespace: 'outer',
    });
    expect(failedIn(await handler(sqsEvent(...messages(3)), context))).toEqual(['m-2']);
    failing.clear();
    expect(failedIn(await handler(sqsEvent(...messages(3)), context))).toEqual([]);
    expect(runs.sort()).toEqual(['m-1', 'm-2', 'm-2', 'm-3']);
  });

  it('know a record by itself as they know it in a batch', async () => {
    const store = memoryStore();
    await idempotent(each(), { store, namespace: 'n' })(sqsEvent(...messages(1)), context);
    const alone = idempotent(async (record: SQSRecord) => void runs.push(record.messageId), {
      store,
      namespace: 'n',
    });
    await alone(sqsMessage('m-1'), context);
    expect(runs).toEqual(['m-1']);
  });
});

describe('an event', () => {
  it('is not changed, and may be frozen', async () => {
    const deepFreeze = <T>(value: T): T => {
      if (typeof value === 'object' && value !== null) Object.values(value).forEach(deepFreeze);
      return Object.freeze(value);
    };
    for (const event of [
      sqsEvent(...messages(2)),
      kinesisEvent(kinesisRecord(1), kinesisRecord(2)),
      streamEvent(streamRecord(1)),
      s3Event(s3Notification('a')),
    ]) {
      const before = structuredClone(event);
      const handler = idempotent(each(), { store: memoryStore() });
      await handler(deepFreeze(event), lambdaContext());
      expect(event).toEqual(before);
    }
    expect(runs).toHaveLength(6);
  });

  it('whose records the handler changes is still the operations that it was', async () => {
    const handler = idempotent(
      async ({ Records }: SQSEvent) => {
        runs.push(...Records.map(({ messageId }) => messageId));
        for (const record of Records) Object.assign(record, { messageId: 'x', body: '' });
        Records.length = 0;
      },
      { store: memoryStore() },
    );
    expect(failedIn(await handler(sqsEvent(...messages(2)), lambdaContext()))).toEqual([]);
    expect(failedIn(await handler(sqsEvent(...messages(2)), lambdaContext()))).toEqual([]);
    expect(runs).toEqual(['m-1', 'm-2']);
  });

  it('that names one message twice is one effect', async () => {
    const handler = idempotent(each(), { store: memoryStore() });
    const [one] = messages(1) as [SQSRecord];
    const again = { ...one, receiptHandle: 'receipt-2' };
    expect(failedIn(await handler(sqsEvent(one, again), lambdaContext()))).toEqual([]);
    failing = new Set(['m-9']);
    const failed = sqsMessage('m-9');
    expect(failedIn(await handler(sqsEvent(failed, { ...failed }), lambdaContext()))).toEqual(['m-9']);
    expect(runs).toEqual(['m-1', 'm-9']);
  });

  it('of a tumbling window is refused, for its state would miss what was done before', async () => {
    const window = { window: { start: '', end: '' }, state: {}, isFinalInvokeForWindow: false };
    const event = { ...kinesisEvent(kinesisRecord(1)), ...window };
    const handler = idempotent(each(), { store: memoryStore() });
    await expect(handler(event, lambdaContext())).rejects.toMatchObject({ code: 'UNSUPPORTED' });
    expect(runs).toEqual([]);
  });
});

describe('a record that was overtaken', () => {
  /** Runs message 1 of a group of two until its lease is over and another invocation has taken it over. */
  async function overtaken(ending: 'completes' | 'runs on') {
    const clock = manualClock();
    const store = memoryStore({ clock });
    const seen = observer();
    const shared = { store, lease: { seconds: 10 }, namespace: 'n', observe: seen.observe };
    const started = [gate(), gate()];
    const ends = [gate(), gate()];
    let calls = 0;
    const handler = idempotent(
      eachRecord<SQSRecord>(
        async ({ messageId }) => {
          runs.push(messageId);
          if (messageId !== 'm-1') return;
          const call = calls++;
          started[call]!.open();
          await ends[call]!.passed;
        },
        { onFailure: () => {} },
      ),
      shared,
    );
    const [one, two] = [fifoMessage('m-1', 'g'), fifoMessage('m-2', 'g')];
    const first = handler(sqsEvent(one, two), lambdaContext());
    await started[0]!.passed;
    clock.advance(10_000);
    const second = handler(sqsEvent(one), lambdaContext());
    await started[1]!.passed;
    if (ending === 'completes') {
      ends[1]!.open();
      await second;
    }
    ends[0]!.open();
    const answer = failedIn(await first);
    ends[1]!.open();
    await second;
    return {
      answer,
      types: seen.types(),
      again: failedIn(await handler(sqsEvent(one, two), lambdaContext())),
    };
  }

  it('is acknowledged where the other attempt has completed', async () => {
    const { answer, types, again } = await overtaken('completes');
    expect(answer).toEqual(expect.not.arrayContaining(['m-1']));
    expect(types).toContain('overtaken');
    expect(again).toEqual([]);
  });

  it('is reported where the other attempt still works on it', async () => {
    const { answer, types, again } = await overtaken('runs on');
    expect(answer).toContain('m-1');
    expect(types).toContain('overtaken');
    expect(again).toEqual([]);
    expect(runs.filter((id) => id === 'm-1')).toHaveLength(2);
  });
});

it('a record that was overtaken under a plain handler is reported, though the handler did not', async () => {
  const plain = memoryStore();
  const store: Store = {
    ...plain,
    async complete(completion) {
      const found = (await plain.read(completion.pk))!;
      return { applied: false, found: { ...found, owner: 'another' } };
    },
  };
  const handler = idempotent(async (_: SQSEvent, _context) => ({ batchItemFailures: [] }), { store });
  expect(failedIn(await handler(sqsEvent(fifoMessage('m-1', 'g')), lambdaContext()))).toEqual(['m-1']);
});

it('an observer is told of every record', async () => {
  const seen = observer();
  failing = new Set(['m-2']);
  const handler = idempotent(each(), { store: memoryStore(), observe: seen.observe });
  await handler(sqsEvent(...messages(2)), lambdaContext());
  expect(seen.types().sort()).toEqual(['claim', 'claim', 'complete', 'release']);
  await handler(sqsEvent(...messages(1)), lambdaContext());
  expect(seen.types().at(-1)).toBe('replay');
  expect(new Set(seen.seen.map((event) => 'operation' in event && event.operation)).size).toBe(2);
});
