import type { SQSEvent } from 'aws-lambda';
import { beforeAll, describe, expect, it } from 'vitest';
import { IdempotencyError } from '../../lib/errors.ts';
import { dynamoStore, eachRecord, freshRecords, idempotent } from '../../lib/index.ts';
import type { Store } from '../../lib/store.ts';
import { memoryStore } from '../../lib/testing.ts';
import { failedIn, fifoMessage, sqsEvent, sqsMessage } from '../support/batch-events.ts';
import { clientFor, createTable, dynamodbEndpoint, type TestTable } from '../support/dynamodb.ts';
import { type Deferred, deferred, turn } from '../support/hands.ts';
import { lambdaContext } from '../support/invocation.ts';
import { recordingStore } from '../support/recording-store.ts';
import { batchBench, byRecord } from './bench.ts';

const bench = batchBench(byRecord);
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
    const arrived: Record<string, Deferred> = {};
    client.middlewareStack.add(
      (next, context) => async (args) => {
        const name = String(context.commandName).replace(/Command$/, '');
        underWay[name] = (underWay[name] ?? 0) + 1;
        most[name] = Math.max(most[name] ?? 0, underWay[name]);
        arrived[name] ??= deferred();
        if (underWay[name] >= expected) arrived[name].resolve();
        await arrived[name].promise;
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
    const handler = idempotent(bench.each(), { store, namespace: 'ten' });
    expect(failedIn(await handler(sqsEvent(...messages(10)), lambdaContext()))).toEqual([]);
    expect(store.most).toEqual({ PutItem: 10, UpdateItem: 10 });
    expect(bench.runs).toHaveLength(10);
  });

  it('go out fifty at a time', async () => {
    const store = heldStore(50);
    const handler = idempotent(bench.each(), { store, namespace: 'many' });
    expect(failedIn(await handler(sqsEvent(...messages(200)), lambdaContext()))).toEqual([]);
    expect(store.most.PutItem).toBe(50);
    expect(store.most.UpdateItem).toBeLessThanOrEqual(60);
    expect(bench.runs).toHaveLength(200);
  });

  it('complete a record before the next one of its group starts, while other groups go on', async () => {
    const happened: string[] = [];
    const other = deferred();
    const plain = dynamoStore(table.store);
    const store: Store = {
      ...plain,
      async complete(completion) {
        // The first group cannot go on, and the other one must.
        if (!happened.includes('b-1')) await other.promise;
        const written = await plain.complete(completion);
        happened.push('completed');
        return written;
      },
    };
    const handler = idempotent(
      eachRecord(async ({ messageId }) => {
        happened.push(messageId);
        if (messageId === 'b-1') other.resolve();
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
    const answers = deferred();
    let underWay = 0;
    const store: Store = {
      ...plain,
      async complete(completion) {
        underWay++;
        await answers.promise;
        return plain.complete(completion);
      },
    };
    const handled = idempotent(bench.each(), { store })(sqsEvent(...messages(200)), lambdaContext());
    for (let i = 0; i < 300; i++) await turn();
    expect(underWay).toBeGreaterThanOrEqual(50);
    expect(underWay).toBeLessThanOrEqual(60);
    expect(bench.runs.length).toBe(underWay);
    answers.resolve();
    expect(failedIn(await handled)).toEqual([]);
    expect(bench.runs).toHaveLength(200);
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
    const handler = idempotent(bench.each(), { store });
    const event = sqsEvent(...messages(10_000));
    expect(failedIn(await handler(event, lambdaContext()))).toEqual([]);
    expect(bench.runs).toHaveLength(10_000);
    expect(most).toBeLessThanOrEqual(60);
    const plainHandler = idempotent(
      freshRecords(async ({ Records }: SQSEvent) => ({
        batchItemFailures: Records.map(({ messageId }) => ({ itemIdentifier: messageId })),
      })),
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
    const handler = idempotent(bench.each(), { store: broken });
    const event = sqsEvent(...messages(3));
    await expect(handler(event, lambdaContext())).rejects.toMatchObject({ code: 'STORE_MISCONFIGURED' });
    expect(bench.runs).toEqual([]);
    expect(store.calls).toEqual(['claim', 'claim', 'claim', 'giveBack', 'giveBack']);
    wrong = false;
    // The one whose claim was refused was applied all the same here, so it is busy.
    expect(failedIn(await handler(event, lambdaContext()))).toEqual(['m-3']);
  });
});
