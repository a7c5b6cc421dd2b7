import { describe, expect, test } from 'vitest';
import { createOnce, idempotent, updateVersion } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { failureOf, workbench } from '../support/work.ts';

const bench = workbench();
/** An emoji that was cut in two: DynamoDB stores U+FFFD for either half. */
const [left, right] = ['😀'.slice(0, 1), '😀'.slice(1)] as const;

describe('a name with half of a surrogate pair, which DynamoDB would store as another', () => {
  test.each([left, right, `charge-${left}`, `${right}-charge`])('is refused for a step: %j', async (name) => {
    let runs = 0;
    const error = await failureOf(bench.guard((op) => op.step(name, () => ++runs))({ id: bench.id }));
    expect(error).toMatchObject({ code: 'BAD_STEP' });
    expect(error.message).toContain('half of a surrogate pair');
    expect(runs).toBe(0);
  });

  test('never lets a finished step run again', async () => {
    let charges = 0;
    const pay = (name: string) => bench.guard((op) => op.step(name, () => ++charges));
    await bench.crash(async (op) => {
      await op.step('charge-😀', () => ++charges);
      expect(await failureOf(op.step(`charge-${left}`, () => ++charges))).toMatchObject({ code: 'BAD_STEP' });
    });
    expect(await pay('charge-😀')({ id: bench.id })).toBe(1);
    expect(charges).toBe(1);
  });

  test('is refused for a step that is done at most once, and for a transaction', async () => {
    const writes = [bench.count(bench.id)];
    for (const work of [
      bench.guard((op) => op.step(left, () => 1, { atMostOnce: true })),
      bench.guard((op) => op.transaction(left, { writes })),
    ]) {
      expect(await failureOf(work({ id: bench.id }))).toMatchObject({ code: 'BAD_STEP' });
    }
    expect(await bench.read(bench.id)).toBeUndefined();
  });

  test.each<[string, object]>([
    ['groupId', { groupId: left }],
    ['deduplicationId', { deduplicationId: right }],
    ['body', { body: left }],
    ['destination', { destination: left }],
  ])('is refused in a message: %s', async (_, change) => {
    const message = { destination: 'mail', body: 'text', groupId: 'g', ...change };
    const work = bench.guard((op) => op.commit({ result: 1, messages: [message] }));
    expect(await failureOf(work({ id: bench.id }))).toMatchObject({ code: 'BAD_WRITES' });
    expect(await bench.messages()).toEqual([]);
  });

  test('is refused as a namespace and as a destination, when the guard is made', () => {
    const handler = async () => 'done';
    for (const options of [{ namespace: `orders-${left}` }, { destinations: ['mail', right] }]) {
      expect(() => idempotent(handler, { store: memoryStore(), ...options })).toThrow(
        expect.objectContaining({ code: 'BAD_OPTION' }),
      );
    }
  });

  test('is refused as the key of an item that is to be created once, or updated', async () => {
    const { tableName, client } = bench.own;
    await bench.write('user-\ufffd', { version: 'v1' });
    for (const pk of [`user-${left}`, `user-${right}`]) {
      const created = createOnce(client, { tableName, item: { pk, sk: 'own' }, partitionKey: 'pk' });
      const key = { pk, sk: 'own' };
      const updated = updateVersion<{ a: number }>(client, {
        ...{ tableName, key: key as object, version: 'v1', set: { a: 1 } },
      });
      for (const work of [created, updated]) {
        expect(await failureOf(work)).toMatchObject({
          code: 'BAD_OPTION',
          message: expect.stringContaining('half of a surrogate pair'),
        });
      }
    }
    expect(await bench.read('user-\ufffd')).toMatchObject({ version: 'v1' });
  });

  test('is fine where nothing is stored under it: in a key, which is hashed', async () => {
    const handler = bench.guard(() => ({}));
    await handler({ id: `${bench.id}${left}` });
    await handler({ id: `${bench.id}${right}` });
    await handler({ id: `${bench.id}\ufffd` });
    expect(new Set(bench.proxy.requests.map(({ body }) => body.Item?.pk?.S).filter(Boolean)).size).toBe(3);
  });
});
