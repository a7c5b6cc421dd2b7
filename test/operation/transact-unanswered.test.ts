import { describe, expect, it } from 'vitest';
import type { Operation } from '../../lib/index.ts';
import type { Fault } from '../../local/faults/fault-proxy.ts';
import { failureOf, sdkAttempts, workbench } from '../support/work.ts';

const bench = workbench();
const item = () => `own#${bench.id}`;

const cancelled = (...codes: string[]): Fault => ({
  ...{ status: 400, type: 'TransactionCanceledException' },
  fields: { CancellationReasons: codes.map((Code) => ({ Code })) },
});
/** Of the claim's check, the step's record, and the handler's write. */
const conflict = cancelled('None', 'None', 'TransactionConflict');
const rejection = cancelled('None', 'None', 'ConditionalCheckFailed');
const denied: Fault = { status: 400, type: 'AccessDeniedException' };
const missing: Fault = { status: 400, type: 'ResourceNotFoundException' };

/** The first sending is not answered, by the SDK's count as well; every later one meets `then`. */
function lose(lost: Fault, then: Fault) {
  bench.proxy.inject({ operation: 'TransactWriteItems', fault: lost, times: sdkAttempts });
  bench.proxy.inject({ operation: 'TransactWriteItems', fault: then, times: Infinity });
}

const transaction = (op: Operation) => op.transaction('book', { writes: [bench.count(item())] });

describe('a transaction of which one sending was not answered', () => {
  it.each([
    ['meets other transactions until there is no time left', conflict],
    ['is refused for its rights', denied],
    ['is refused for its table', missing],
    ['is rejected by its own conditions', rejection],
  ])('and that then %s may have been applied', async (_, then) => {
    for (const lost of ['drop-after', 'drop-before'] as const) {
      bench.id = `${bench.id}-${lost}`;
      bench.proxy.reset();
      lose(lost, then);
      const error = await failureOf(bench.guard(transaction)({ id: bench.id }));
      expect(error).toMatchObject({ code: 'OUTCOME_UNKNOWN', effect: 'possible' });
      expect(await bench.read(item())).toEqual(lost === 'drop-after' ? expect.anything() : undefined);
    }
  });

  it('by the SDK alone, and that then meets other transactions, may have been applied', async () => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: 'drop-after' });
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: conflict, times: Infinity });
    const error = await failureOf(bench.guard(transaction)({ id: bench.id }));
    expect(error).toMatchObject({ code: 'OUTCOME_UNKNOWN', effect: 'possible' });
    expect(await bench.read(item())).toMatchObject({ times: 1 });
  });

  it('begins nothing more, and the next attempt finds out', async () => {
    lose('drop-after', conflict);
    const codes: string[] = [];
    const first = bench.guard(async (op) => {
      for (const name of ['one', 'two']) {
        codes.push((await failureOf(op.transaction(name, { writes: [bench.count(item())] }))).code);
      }
      throw new Error('gave up');
    });
    await expect(first({ id: bench.id })).rejects.toThrow('gave up');
    expect(codes).toEqual(['OUTCOME_UNKNOWN', 'OUTCOME_UNKNOWN']);
    bench.proxy.reset();
    const second = bench.guard(async (op) => {
      await op.transaction('one', { writes: [bench.count(item())] });
      return op.attempt;
    });
    expect(await second({ id: bench.id })).toBe(2);
    expect(await bench.read(item())).toMatchObject({ times: 1 });
  });
});

describe('a transaction of which every sending was answered', () => {
  it.each([
    ['by other transactions until there is no time left', conflict, 'STORE_UNAVAILABLE'],
    ['by a refusal', denied, 'STORE_MISCONFIGURED'],
    ['by its own conditions', rejection, 'COMMIT_REJECTED'],
  ])('%s has not been applied, and says so', async (_, fault, code) => {
    bench.proxy.inject({ operation: 'TransactWriteItems', fault, times: Infinity });
    expect(await failureOf(bench.guard(transaction)({ id: bench.id }))).toMatchObject({ code });
  });
});
