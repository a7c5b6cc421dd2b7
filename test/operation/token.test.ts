import { describe, expect, it, vi } from 'vitest';
import { type IdempotentOptions, idempotent, type Operation, operation } from '../../lib/index.ts';
import { callBench, type Order, order } from '../support/call-bench.ts';

const bench = callBench();
const { options } = bench;
const uuid = /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

describe('idempotent(handler)', () => {
  describe('gives tokens', () => {
    /** Calls the guarded handler once more; it fails, unless told otherwise, after `use`. */
    const attempt = async (use: (its: Operation) => unknown, event = order, answer?: string) => {
      const failure = new Error('card declined');
      const call = idempotent(async (_: Order, context) => {
        await use(operation(context));
        if (answer === undefined) throw failure;
        return answer;
      }, options());
      return call(event).catch((error) => {
        if (error !== failure) throw error;
      });
    };

    it('that are shaped like UUIDs and differ by name', async () => {
      const tokens: string[] = [];
      await attempt((its) => tokens.push(its.token('charge'), its.token('refund'), its.token('charge')));
      expect(tokens[0]).toMatch(uuid);
      expect(tokens[1]).toMatch(uuid);
      expect(tokens[0]).not.toBe(tokens[1]);
      expect(tokens[2]).toBe(tokens[0]);
    });

    it('that are the same in every attempt, and keep the window for the next one', async () => {
      const tokens: string[] = [];
      const attempts: number[] = [];
      const ends: Date[] = [];
      const use = (its: Operation) => {
        tokens.push(its.token('charge'));
        attempts.push(its.attempt);
        ends.push(its.expiresAt);
        bench.store.clock.advance(1_000);
      };
      await attempt(use);
      await attempt(use);
      await attempt(use, order, 'paid');
      expect(new Set(tokens).size).toBe(1);
      expect(attempts).toEqual([1, 2, 3]);
      expect(new Set(ends.map(Number)).size).toBe(1);
      expect(bench.store.calls.filter((verb) => verb === 'giveBack')).toEqual([]);
    });

    it('after which the key demands the same payload', async () => {
      await attempt((its) => its.token('charge'));
      await expect(attempt(() => {}, { ...order, amount: 8 })).rejects.toMatchObject({
        code: 'PAYLOAD_MISMATCH',
      });
    });

    it('without which a failed attempt leaves the key to another payload', async () => {
      const attempts: number[] = [];
      await attempt(() => {});
      await attempt((its) => attempts.push(its.attempt), { ...order, amount: 8 });
      expect(attempts).toEqual([1]);
    });

    it('that are others for another key, another tenant, another namespace and another window', async () => {
      const tokens: string[] = [];
      const tokenFor = async (more: IdempotentOptions, event = order) =>
        idempotent(
          async (_: Order, context) => {
            tokens.push(operation(context).token('charge'));
          },
          options({ ttlSeconds: 60, ...more }),
        )(event);
      await tokenFor({});
      await tokenFor({}, { id: 'order-2' });
      await tokenFor({ tenant: () => 'tenant-1' });
      await tokenFor({ namespace: 'refunds' });
      bench.store.clock.advance(60_000);
      await tokenFor({});
      expect(new Set(tokens).size).toBe(5);
    });

    it.each([undefined, null, '', ' ', 7, {}])(
      'for a name, and not for %j, which would be one for different requests',
      async (name) => {
        const call = (more: IdempotentOptions = {}) =>
          idempotent(
            (_order: Order, context) => operation(context).token(name as string),
            options(more),
          )(order);
        await expect(call()).rejects.toMatchObject({ code: 'BAD_STEP', effect: 'possible' });
        vi.stubEnv('IDEMPOTENCY_DISABLED', 'true');
        vi.spyOn(console, 'warn').mockImplementation(() => {});
        await expect(call()).rejects.toMatchObject({ code: 'BAD_STEP' });
      },
    );

    it('until the handler has returned', async () => {
      let its: Operation | undefined;
      await attempt((found) => (its = found), order, 'paid');
      expect(() => its?.token('late')).toThrow(
        expect.objectContaining({ effect: 'possible', message: expect.stringContaining('settled') }),
      );
    });

    it('until the handler has failed', async () => {
      let its: Operation | undefined;
      await attempt((found) => (its = found));
      expect(() => its?.token('late')).toThrow(expect.objectContaining({ effect: 'possible' }));
    });

    it('until the lease is over', async () => {
      let thrown: unknown;
      await attempt((its) => {
        its.token('in time');
        bench.store.clock.advance(60_000);
        try {
          its.token('late');
        } catch (error) {
          thrown = error;
        }
      });
      expect(thrown).toMatchObject({ code: 'OVERTAKEN', effect: 'possible' });
    });
  });
});
