import type { APIGatewayProxyEventV2 } from 'aws-lambda';
import { describe, expect, it, vi } from 'vitest';
import { idempotent } from '../../lib/index.ts';
import { callBench, type Order, order } from '../support/call-bench.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';

const bench = callBench();
const { options } = bench;

describe('idempotent(handler)', () => {
  describe('replays', () => {
    it.each([
      ['undefined', undefined],
      ['null', null],
      ['NaN', Number.NaN],
      ['minus zero', -0],
      ['Infinity', Number.POSITIVE_INFINITY],
      ['a BigInt', 12345678901234567890n],
      ['a Date', new Date(1_700_000_000_000)],
      ['an invalid Date', new Date(Number.NaN)],
      [
        'a Map',
        new Map<unknown, unknown>([
          ['a', new Date(0)],
          [{ b: 1 }, undefined],
        ]),
      ],
      ['a Set', new Set([1, 'two', undefined])],
      ['a RegExp', /id=(\d+)/giu],
      ['a Uint8Array', new Uint8Array([0, 127, 255])],
      ['a Float64Array', new Float64Array([0.1, -1])],
      ['an ArrayBuffer', new Uint8Array([1, 2]).buffer],
      ['a Buffer', Buffer.from('bytes')],
      ['undefined within an object', { a: undefined, b: [undefined, null] }],
      ['a sparse array', Object.assign(new Array(3), { 0: 'first', 2: 'third' })],
      ['an empty object', {}],
      ['a long text', 'ä'.repeat(100_000)],
      ['a key named __proto__', JSON.parse('{"__proto__":{"admin":true},"a":1}')],
    ])('%s equal to the first answer', async (_, value) => {
      const work = vi.fn(async (_: Order) => value);
      const once = idempotent(work, options());
      expect(await once(order)).toBe(value);
      const replay = await once(order);
      expect(replay).toStrictEqual(value);
      if (typeof value === 'object' && value !== null) expect(replay).not.toBe(value);
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('what a function without a return statement gives', async () => {
      const work = vi.fn(async (_: Order) => {});
      const once = idempotent(work, options());
      expect(await once(order)).toBeUndefined();
      expect(await once(order)).toBeUndefined();
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('an object that refers to itself', async () => {
      const node: { self?: unknown } = {};
      node.self = node;
      const once = idempotent(async (_: Order) => node, options());
      await once(order);
      const replay = await once(order);
      expect(replay.self).toBe(replay);
    });

    it('copies: changing one changes no other, nor does the handler later on', async () => {
      const answer = { lines: [1], at: new Date(0) };
      const once = idempotent(async (_: Order) => answer, options());
      const first = await once(order);
      first.lines.push(2);
      answer.lines.push(3);
      const second = await once(order);
      expect(second).toEqual({ lines: [1], at: new Date(0) });
      second.lines.push(4);
      second.at.setFullYear(2000);
      expect(await once(order)).toEqual({ lines: [1], at: new Date(0) });
    });

    it('until the window is over', async () => {
      const work = vi.fn(async (_: Order) => work.mock.calls.length);
      const once = idempotent(work, options({ ttlSeconds: 60 }));
      expect(await once(order)).toBe(1);
      bench.store.clock.advance(59_999);
      expect(await once(order)).toBe(1);
      bench.store.clock.advance(1);
      expect(await once(order)).toBe(2);
    });

    it('what `onReplay` makes of the stored answer', async () => {
      const onReplay = vi.fn(async (answer: { status: string }) => ({ ...answer, status: 'shipped' }));
      const work = vi.fn(async (_: Order) => ({ status: 'paid' }));
      const once = idempotent(work, options({ onReplay }));
      const context = lambdaContext();
      expect(await once(order, context)).toEqual({ status: 'paid' });
      expect(onReplay).not.toHaveBeenCalled();
      expect(await once(order, context)).toEqual({ status: 'shipped' });
      expect(onReplay).toHaveBeenCalledExactlyOnceWith({ status: 'paid' }, order, context);
      expect(work).toHaveBeenCalledTimes(1);
    });

    it('over HTTP what `onReplay` makes of it, marked as replayed', async () => {
      const once = idempotent(async (_: APIGatewayProxyEventV2) => ({ statusCode: 201, body: 'paid' }), {
        store: bench.store,
        onReplay: (answer) => ({ ...answer, body: 'shipped' }),
      });
      await once(paymentEvent());
      expect(await once(paymentEvent())).toEqual({
        statusCode: 201,
        body: 'shipped',
        headers: { 'Idempotent-Replayed': 'true' },
      });
    });

    it('nothing where `onReplay` throws, and runs nothing', async () => {
      const failure = new Error('the order cannot be read');
      const work = vi.fn(async (_: Order) => 'paid');
      const once = idempotent(
        work,
        options({
          onReplay: () => {
            throw failure;
          },
        }),
      );
      await once(order);
      await expect(once(order)).rejects.toBe(failure);
      expect(work).toHaveBeenCalledTimes(1);
    });
  });
});
