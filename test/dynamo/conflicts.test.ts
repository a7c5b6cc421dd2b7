import { describe, expect, it } from 'vitest';
import { createOnce, freshRecords, idempotent, operation } from '../../lib/index.ts';
import { sqsEvent, sqsMessage } from '../support/batch-events.ts';
import { clientFor } from '../support/dynamodb.ts';
import { paymentEvent } from '../support/http-events.ts';
import { failureOf, sdkAttempts, workbench } from '../support/work.ts';

const bench = workbench();
/** How many of them a claim meets before it gives up, after one sending whose answer was lost. */
const conflicts = { TransactionConflictException: 6, ReplicatedWriteConflictException: sdkAttempts - 1 };
const broken = { status: 500, type: 'InternalServerError' };

/** A guard that would rather run unguarded than fail, and how often its handler has run. */
function guarded(more: object = {}) {
  const own = { runs: 0 };
  const call = idempotent(
    freshRecords(async (_: unknown, context: unknown) => {
      own.runs++;
      return { statusCode: 200, body: String(operation(context).guarded) };
    }),
    bench.options<unknown>({ whenStoreFails: 'run', ...more }),
  );
  return { own, call };
}

/** Every write to a claim meets this. */
function fail(fault: { status: number; type: string }, times = Infinity) {
  for (const operation of ['PutItem', 'UpdateItem']) bench.proxy.inject({ operation, fault, times });
}

describe.each(Object.entries(conflicts))('a claim that meets %s for as long as it tries', (type, met) => {
  it('is busy, and does not run unguarded: an operation is under way', async () => {
    const { own, call } = guarded();
    fail({ status: 400, type });
    expect(await failureOf(call({ id: bench.id }))).toMatchObject({
      ...{ code: 'IN_PROGRESS', effect: 'none', retryAfterSeconds: 1 },
    });
    expect(own.runs).toBe(0);
    expect(bench.seen.types()).toEqual(['busy']);
  });

  it('is a 409 with Retry-After over HTTP', async () => {
    const { own, call } = guarded();
    fail({ status: 400, type });
    expect(await call({ ...paymentEvent({ key: bench.id }), id: bench.id })).toMatchObject({
      statusCode: 409,
      headers: { 'Retry-After': '1' },
    });
    expect(own.runs).toBe(0);
  });

  it('waits where that was asked for, and runs once what was in the way is gone', async () => {
    const { own, call } = guarded({ whenBusy: { waitMs: 10_000 } });
    fail({ status: 400, type }, 6);
    expect(await call({ id: bench.id })).toMatchObject({ body: 'true' });
    expect(own.runs).toBe(1);
  });

  it('fails a record of a batch, which comes again', async () => {
    const { own, call } = guarded({ key: (record: { messageId: string }) => record.messageId });
    fail({ status: 400, type });
    expect(await call(sqsEvent(sqsMessage(bench.id)))).toEqual({
      batchItemFailures: [{ itemIdentifier: bench.id }],
    });
    expect(own.runs).toBe(0);
  });

  it('is busy also where it takes over', async () => {
    await bench.crash(() => {});
    const { own, call } = guarded();
    bench.proxy.inject({ operation: 'UpdateItem', fault: { status: 400, type }, times: Infinity });
    const error = await failureOf(call({ id: bench.id }));
    expect(error).toMatchObject({ code: 'IN_PROGRESS', record: { status: 'IN_PROGRESS', attempt: 1 } });
    expect(own.runs).toBe(0);
  });

  it('leaves no claim behind that was applied without an answer', async () => {
    const { own, call } = guarded();
    // So that the claim is a Put: a process proves its table once.
    await call({ id: `${bench.id}-first` });
    bench.proxy.inject({ operation: 'PutItem', fault: 'drop-after' });
    bench.proxy.inject({ operation: 'PutItem', fault: { status: 400, type }, times: met });
    expect(await failureOf(call({ id: bench.id }))).toMatchObject({ code: 'IN_PROGRESS' });
    expect(await call({ id: bench.id })).toMatchObject({ body: 'true' });
    expect(own.runs).toBe(2);
  });
});

describe('once a record of the operation was seen', () => {
  it('a store that fails is no reason to run unguarded', async () => {
    await bench.crash((op) => op.step('charge', () => 'charged'));
    const { own, call } = guarded();
    bench.proxy.inject({ operation: 'UpdateItem', fault: broken, times: Infinity });
    expect(await failureOf(call({ id: bench.id }))).toMatchObject({
      ...{ code: 'STORE_UNAVAILABLE', effect: 'none' },
    });
    expect(own.runs).toBe(0);
    expect(bench.seen.types()).not.toContain('unguarded');
  });

  it('a store that fails is no reason to run a record of a batch unguarded', async () => {
    const key = () => bench.id;
    await bench.crash(() => {}, { key, tenant: () => 't', fingerprint: false });
    const { own, call } = guarded({ key, tenant: () => 't', fingerprint: false });
    bench.proxy.inject({ operation: 'UpdateItem', fault: broken, times: Infinity });
    expect(await call(sqsEvent(sqsMessage('1')))).toEqual({ batchItemFailures: [{ itemIdentifier: '1' }] });
    expect(own.runs).toBe(0);
  });

  it('where none was seen it runs, and says so', async () => {
    const { own, call } = guarded();
    fail(broken);
    expect(await call({ id: bench.id })).toMatchObject({ body: 'false' });
    expect(own.runs).toBe(1);
    expect(bench.seen.seen).toMatchObject([{ type: 'unguarded', reason: 'store-failed' }]);
  });
});

describe('a write whose first answer was lost, and that then met a transaction', () => {
  it('is known as applied when its condition fails on what it had written itself', async () => {
    const client = clientFor(bench.proxy.endpoint, { maxAttempts: sdkAttempts });
    const item = { pk: bench.id, sk: 'own', amount: 7 };
    const options = { tableName: bench.own.tableName, item, partitionKey: 'pk' } as const;
    bench.proxy.inject({ operation: 'PutItem', fault: 'drop-after' });
    bench.proxy.inject({
      operation: 'PutItem',
      fault: { status: 400, type: 'TransactionConflictException' },
    });
    expect(await createOnce(client, options)).toEqual({ outcome: 'created', item });
    expect(bench.sent()).toEqual(['PutItem 200', 'PutItem 400', 'PutItem 400']);
    expect(await createOnce(client, options)).toEqual({ outcome: 'exists', item });
  });
});
