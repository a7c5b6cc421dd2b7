import middy7 from '@middy/core';
import type { Context } from 'aws-lambda';
import middy6 from 'middy6';
import { beforeAll, describe, expect, test } from 'vitest';
import { dynamoStore, IdempotencyError, type IdempotentOptions, idempotent } from '../../lib/index.ts';
import { createTable, type TestTable } from '../support/dynamodb.ts';
import { turn } from '../support/hands.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';

const rounds = 100;
const duplicates = 50;

let table: TestTable;
beforeAll(async () => {
  table = await createTable();
});

interface Payment {
  readonly id: string;
}

type Handle = (payment: Payment, context: Context) => Promise<unknown>;

/** Every way to guard the same work. */
const styles: Record<
  string,
  (work: (payment: Payment) => Promise<unknown>, options: IdempotentOptions) => Handle
> = {
  wrapper: (work, options) => idempotent(work, options),
  'Middy 6': (work, options) => middy6<Payment>().use(idempotent(options)).handler(work) as Handle,
  'Middy 7': (work, options) => middy7<Payment>().use(idempotent(options)).handler(work) as Handle,
  'wrapper inside Middy 7': (work, options) => middy7(idempotent(work, options)) as Handle,
  'wrapper around Middy 7': (work, options) => idempotent(middy7(work) as Handle, options),
};

describe.each(Object.entries(styles))('%s', (style, guard) => {
  test(`runs the handler once for ${duplicates} concurrent duplicates, ${rounds} times over`, async () => {
    const runs = new Map<string, number>();
    const handle = guard(
      async ({ id }: Payment) => {
        runs.set(id, (runs.get(id) ?? 0) + 1);
        await turn();
        return { paid: id, run: runs.get(id) };
      },
      { store: dynamoStore(table.store), namespace: style, key: ({ id }: Payment) => id },
    );
    const context = lambdaContext(30_000);
    for (let round = 0; round < rounds; round++) {
      const id = `payment-${round}`;
      const outcomes = await Promise.allSettled(
        Array.from({ length: duplicates }, () => handle({ id }, context)),
      );
      expect(runs.get(id), id).toBe(1);
      for (const outcome of outcomes) {
        if (outcome.status === 'fulfilled') expect(outcome.value).toEqual({ paid: id, run: 1 });
        else expect(IdempotencyError.is(outcome.reason, 'IN_PROGRESS') || outcome.reason).toBe(true);
      }
      expect(outcomes.some(({ status }) => status === 'fulfilled')).toBe(true);
      expect(await handle({ id }, context)).toEqual({ paid: id, run: 1 });
    }
  }, 120_000);
});

describe('a guard over HTTP', () => {
  test(`answers ${duplicates} concurrent duplicates with 201 or 409, then all with the first answer`, async () => {
    let runs = 0;
    const handle = middy7()
      .use(idempotent({ store: dynamoStore(table.store), namespace: 'http' }))
      .handler(async () => {
        runs++;
        await turn();
        return { statusCode: 201, body: `charge ${runs}` };
      });
    const all = () =>
      Promise.all(
        Array.from({ length: duplicates }, () =>
          handle(paymentEvent({ key: '"key-1"' }), lambdaContext(30_000)),
        ),
      );
    const statuses = new Set((await all()).map(({ statusCode }) => statusCode));
    expect(runs).toBe(1);
    expect([...statuses].every((status) => status === 201 || status === 409)).toBe(true);
    const later = await all();
    expect(later).toEqual(
      Array(duplicates).fill({
        statusCode: 201,
        body: 'charge 1',
        headers: { 'Idempotent-Replayed': 'true' },
      }),
    );
    expect(runs).toBe(1);
  });
});
