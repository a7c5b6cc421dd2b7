import type { AttributeValue } from '@aws-sdk/client-dynamodb';
import { beforeEach, describe, expect, test } from 'vitest';
import type { Operation } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { failureOf, workbench } from '../support/work.ts';

const bench = workbench();
/** A handler's own item, of this test only. */
let item: string;
beforeEach(() => {
  item = `item-${bench.id}`;
});

const down = { status: 500, type: 'InternalServerError' };
const times = async () => (await bench.read(item))?.times;
const mail = (more: object = {}) => ({ destination: 'mail', body: { to: 'ann' }, groupId: 'ann', ...more });

describe('messages of a commit', () => {
  test('are staged by the commit, exactly those and in their order', async () => {
    const messages = Array.from({ length: 12 }, (_, index) => mail({ body: `number ${index}` }));
    await bench.guard(async (op) => {
      await op.transaction('first', { messages: [mail({ body: 'first' })] });
      return op.commit({ result: 1, messages });
    })({ id: bench.id });
    const staged = await bench.messages();
    expect(staged.map((one) => one.sk?.S?.replace(/^[^#]*/, ''))).toEqual([
      ...messages.map((_, index) => `#outbox#commit#${String(index + 1).padStart(4, '0')}`),
      '#outbox#first#0001',
    ]);
    expect(staged.map((one) => one.body?.S)).toEqual([...messages.map(({ body }) => body), 'first']);
    const keys = ['pk', 'sk', 'destination', 'body', 'groupId', 'deduplicationId', 'expiresAt'];
    expect(Object.keys(staged[0] ?? {}).sort()).toEqual(keys.sort());
    const weekSeconds = bench.clock.now() / 1000 + 7 * 86_400;
    expect(Number(staged[0]?.expiresAt?.N)).toBeGreaterThanOrEqual(weekSeconds);
  });

  test('of a handler that fails before its commit are not there', async () => {
    const handler = bench.guard(async (op) => {
      const work = { result: 1, messages: [mail()] };
      if (op.attempt === 1) throw new Error('failed');
      return op.commit(work);
    });
    await expect(handler({ id: bench.id })).rejects.toThrow('failed');
    expect(await bench.messages()).toEqual([]);
  });

  test('have deduplication ids by name, position and window; the same in every attempt', async () => {
    const ids = async () => (await bench.messages()).map((one) => one.deduplicationId?.S);
    const work = async (op: Operation) => {
      await op.transaction('first', { messages: [mail(), mail()] });
      await op.transaction('second', { messages: [mail()] });
    };
    bench.proxy.inject({ operation: 'TransactWriteItems', fault: down, times: Infinity });
    await failureOf(bench.guard(work)({ id: bench.id }));
    const unsent = bench.transactions()[0]?.body.TransactItems.slice(2);
    bench.proxy.reset();
    await bench.guard(work)({ id: bench.id });
    const first = await ids();
    expect(new Set(first).size).toBe(3);
    expect(
      unsent.map(({ Put }: { Put: { Item: Record<string, AttributeValue> } }) => Put.Item.deduplicationId?.S),
    ).toEqual(first.slice(0, 2));
    bench.clock.advance(86_400_001);
    await bench.guard(work)({ id: bench.id });
    expect(new Set(await ids()).size).toBe(6);
    expect(first.every((one) => /^[0-9a-f]{64}$/.test(one ?? ''))).toBe(true);
  });

  test('may bring their own deduplication id', async () => {
    const messages = [mail({ deduplicationId: 'order-1' })];
    await bench.guard((op) => op.commit({ result: 1, messages }))({ id: bench.id });
    expect((await bench.messages())[0]?.deduplicationId?.S).toBe('order-1');
  });

  for (const [what, message, says] of [
    ['an unknown destination', mail({ destination: 'fax' }), 'none of the destinations mail, ledger'],
    ['a body of 255 KB and a byte', mail({ body: 'x'.repeat(261_121) }), '261121 bytes'],
    ['no body', mail({ body: undefined }), 'has no body'],
    ['a body with a BigInt', mail({ body: { cents: 1n } }), 'JSON cannot carry'],
    ['an empty body', mail({ body: '' }), 'has no body'],
    ['a text with a control character', mail({ body: 'a\u0000b' }), 'the character \\u0000'],
    ['a text with half a surrogate pair', mail({ body: '\ud83d' }), 'the character \\ud83d'],
    ['a group id with a space', mail({ groupId: 'a b' }), 'groupId that is a string of 3 characters;'],
    ['a group id of 129 characters', mail({ groupId: 'x'.repeat(129) }), 'groupId'],
    ['no group id', mail({ groupId: undefined }), 'groupId that is undefined;'],
    [
      'a deduplication id with an umlaut',
      mail({ deduplicationId: 'ä' }),
      'deduplicationId that is a string of 1 characters;',
    ],
    ['no object', 'message', 'Message 1 is a string and not an object'],
  ] as const) {
    test(`with ${what} are refused at the commit, with nothing written`, async () => {
      const handler = bench.guard((op) =>
        op.commit({ result: 1, writes: [bench.count(item)], messages: [mail(), message as never] }),
      );
      const error = await failureOf(handler({ id: bench.id }));
      expect(error).toMatchObject({ code: 'BAD_WRITES', effect: 'possible' });
      expect(error.message).toContain(says);
      expect(bench.transactions()).toEqual([]);
      expect(await times()).toBeUndefined();
    });
  }

  test('need a destination that somebody named', async () => {
    const handler = bench.guard((op) => op.commit({ result: 1, messages: [mail()] }), { destinations: [] });
    const { message } = await failureOf(handler({ id: bench.id }));
    expect(message).toContain('IDEMPOTENCY_DESTINATIONS');
  });

  test('are at hand in a test on the memory store', async () => {
    const store = memoryStore({ clock: bench.clock });
    await bench.guard((op) => op.commit({ result: 1, messages: [mail()] }), { store })({ id: bench.id });
    expect(store.messages).toMatchObject([{ destination: 'mail', body: '{"to":"ann"}', name: 'commit' }]);
  });
});
