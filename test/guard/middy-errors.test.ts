import type { Context } from 'aws-lambda';
import { describe, expect, it, vi } from 'vitest';
import { idempotent, operation } from '../../lib/index.ts';
import { type Order, order } from '../support/call-bench.ts';
import { deferred } from '../support/hands.ts';
import { paymentEvent } from '../support/http-events.ts';
import { lambdaContext } from '../support/invocation.ts';
import { middyBench, versions } from './middy-bench.ts';

describe.each(versions)('%s: idempotent()', (_, middy) => {
  const bench = middyBench();
  const { guard, httpGuard, count, occurrences } = bench;

  describe('with a middleware that throws', () => {
    it('leaves nothing behind when an inner `before` throws', async () => {
      const invalid = new Error('amount is missing');
      const handler = middy<Order, unknown>()
        .use(guard())
        .before(({ event }) => {
          if (event.amount === undefined) throw invalid;
        })
        .handler(count);
      await expect(handler(order, lambdaContext())).rejects.toBe(invalid);
      expect(bench.store.calls).toEqual(['claim', 'giveBack']);
      expect(await handler({ ...order, amount: 7 }, lambdaContext())).toBe(1);
    });

    it('does not run the handler again when an inner `after` throws', async () => {
      const failure = new Error('response is invalid');
      const handler = middy()
        .use(guard())
        .after(() => {
          throw failure;
        })
        .handler(count);
      await expect(handler(order, lambdaContext())).rejects.toBe(failure);
      expect(bench.store.calls).toEqual(['claim', 'complete']);
      await expect(handler(order, lambdaContext())).rejects.toMatchObject({ code: 'RESULT_UNAVAILABLE' });
      expect(bench.runs).toBe(1);
    });

    it('answers with 410 over HTTP after an inner `after` has thrown', async () => {
      const handler = middy()
        .use(httpGuard())
        .after(() => {
          throw new Error('response is invalid');
        })
        .handler(async () => {
          bench.runs++;
          return { statusCode: 201 };
        });
      await expect(handler(paymentEvent(), lambdaContext())).rejects.toThrow('response is invalid');
      expect(await handler(paymentEvent(), lambdaContext())).toMatchObject({ statusCode: 410 });
      expect(bench.runs).toBe(1);
    });

    it.each([
      ['returns', () => 'sorry'],
      [
        'sets',
        (request: { response: unknown }) => {
          request.response = 'sorry';
        },
      ],
    ])(
      'does not run the handler again when an `onError` %s an answer for a throwing `after`',
      async (_, onError) => {
        const errors: unknown[] = [];
        const handler = middy()
          .use(guard())
          .onError(onError)
          .onError(({ error }) => {
            errors.push(error);
          })
          .after((request) => {
            request.response = { ...request.response, more: true };
          })
          .after(() => {
            throw new Error('response is invalid');
          })
          .handler(count);
        expect(await handler(order, lambdaContext())).toBe('sorry');
        expect(bench.store.calls).toEqual(['claim', 'complete']);
        expect(await handler(order, lambdaContext())).toBe('sorry');
        expect(errors).toMatchObject([{ message: 'response is invalid' }, { code: 'RESULT_UNAVAILABLE' }]);
        expect(bench.runs).toBe(1);
      },
    );

    it('does not run the handler again when an `after` announces an early answer and then throws', async () => {
      const handler = middy()
        .use(guard())
        .after((request) => {
          request.earlyResponse = 'early';
          throw new Error('response is invalid');
        })
        .handler(count);
      await handler(order, lambdaContext()).catch(() => {});
      await handler(order, lambdaContext()).catch(() => {});
      expect(bench.runs).toBe(1);
    });

    it('keeps the stored answer when an outer `after` throws', async () => {
      const failure = new Error('response is too large');
      const handler = middy()
        .after(() => {
          throw failure;
        })
        .use(guard())
        .handler(count);
      await expect(handler(order, lambdaContext())).rejects.toBe(failure);
      expect(bench.store.calls).toEqual(['claim', 'complete']);
      expect(await handler(order, lambdaContext())).toBe(1);
      expect(bench.store.calls).toEqual(['claim', 'complete', 'claim']);
      expect(bench.runs).toBe(1);
    });

    it('claims nothing when an outer `before` throws', async () => {
      const handler = middy()
        .before(() => {
          throw new Error('unauthorised');
        })
        .use(guard())
        .handler(count);
      await expect(handler(order, lambdaContext())).rejects.toThrow('unauthorised');
      expect(bench.store.calls).toEqual([]);
    });

    it('leaves the claim to its lease when an inner `onError` throws, for then no other is called', async () => {
      const handler = middy()
        .use(guard())
        .onError(() => {
          throw new Error('mapped');
        })
        .handler(async () => {
          bench.runs++;
          throw new Error('card declined');
        });
      await expect(handler(order, lambdaContext(5_000))).rejects.toThrow('mapped');
      await expect(handler(order, lambdaContext(5_000))).rejects.toThrow();
      expect(bench.runs).toBe(1);
      bench.store.clock.advance(6_000);
      await expect(handler(order, lambdaContext(5_000))).rejects.toThrow('mapped');
      expect(bench.runs).toBe(2);
    });
  });

  describe('not as the first middleware', () => {
    it('claims nothing when an outer `before` answers early', async () => {
      const handler = middy()
        .before(() => 'warm')
        .use(guard())
        .handler(count);
      expect(await handler(order, lambdaContext())).toBe('warm');
      expect(bench.store.calls).toEqual([]);
    });

    it('stores its own answer when an outer `after` answers early', async () => {
      const handler = middy()
        .after(() => 'outer')
        .use(guard())
        .handler(count);
      expect(await handler(order, lambdaContext())).toBe('outer');
      expect(bench.store.calls).toEqual(['claim', 'complete']);
      // As everywhere in Middy, an early answer in `before` skips every `after`.
      expect(await handler(order, lambdaContext())).toBe(1);
    });

    it('releases when an outer `onError` answers early', async () => {
      const handler = middy()
        .onError(() => 'sorry')
        .use(guard())
        .handler(async () => {
          throw new Error('card declined');
        });
      expect(await handler(order, lambdaContext())).toBe('sorry');
      expect(bench.store.calls).toEqual(['claim', 'giveBack']);
    });
  });

  describe('when Middy answers before the deadline', () => {
    /** A handler that starts and then waits for the test. */
    const hanging = () => {
      const finish = deferred<string>();
      const ended = deferred();
      return {
        finish: async () => {
          finish.resolve('late');
          await ended.promise;
        },
        work: async () => {
          bench.runs++;
          await finish.promise;
          ended.resolve();
          return 'late';
        },
      };
    };

    const staysClaimed = async (handler: { finish(): Promise<void> }) => {
      expect(bench.store.calls).toEqual(['claim']);
      expect(occurrences()).toEqual(['claim', 'abandon']);
      await handler.finish();
      expect(bench.store.calls).toEqual(['claim']);
      const duplicate = idempotent(count, { store: bench.store, namespace: 'memory', key: () => 'order-1' });
      await expect(duplicate(order)).rejects.toMatchObject({ code: 'IN_PROGRESS' });
      expect(bench.runs).toBe(1);
    };

    it('leaves the claim of a handler that still runs to its lease', async () => {
      const hangs = hanging();
      const handler = middy().use(guard()).handler(hangs.work);
      await expect(handler(order, lambdaContext(150))).rejects.toMatchObject({ name: 'TimeoutError' });
      await staysClaimed(hangs);

      bench.store.clock.advance(150 + 1_000);
      const retry = handler(order, lambdaContext());
      expect(await retry).toBe('late');
      expect(bench.store.calls.slice(-2)).toEqual(['takeOver', 'complete']);
      expect(bench.runs).toBe(2);
    });

    it('leaves the claim also when an error handler replaces the timeout by an error of its own', async () => {
      const hangs = hanging();
      const handler = middy()
        .use(guard())
        .onError((request) => {
          request.error = Object.assign(new Error('Internal Server Error'), { statusCode: 500 });
          request.response = { statusCode: 500 };
        })
        .handler(hangs.work);
      expect(await handler(order, lambdaContext(150))).toEqual({ statusCode: 500 });
      await staysClaimed(hangs);
    });

    it('leaves the claim also when an error handler answers early', async () => {
      const hangs = hanging();
      const handler = middy()
        .use(guard())
        .onError(() => ({ statusCode: 504 }))
        .handler(hangs.work);
      expect(await handler(order, lambdaContext(150))).toEqual({ statusCode: 504 });
      await staysClaimed(hangs);
    });

    it('leaves the claim when `timeoutEarlyResponse` throws an error of its own', async () => {
      const hangs = hanging();
      const tooLate = new Error('too late');
      const handler = middy({
        timeoutEarlyResponse: () => {
          throw tooLate;
        },
      })
        .use(guard())
        .handler(hangs.work);
      await expect(handler(order, lambdaContext(40))).rejects.toBe(tooLate);
      await staysClaimed(hangs);
    });

    it('leaves the claim when `timeoutEarlyResponse` answers with a gateway timeout', async () => {
      const hangs = hanging();
      const handler = middy({ timeoutEarlyResponse: () => ({ statusCode: 504 }) })
        .use(httpGuard({ observe: (event) => bench.seen.push(event) }))
        .handler(hangs.work);
      expect(await handler(paymentEvent(), lambdaContext(40))).toEqual({ statusCode: 504 });
      expect(bench.store.calls).toEqual(['claim']);
      expect(occurrences()).toEqual(['claim', 'abandon']);
      await hangs.finish();
      expect(await handler(paymentEvent(), lambdaContext())).toMatchObject({ statusCode: 409 });
    });

    it('refuses a token to a handler that still runs', async () => {
      const finish = deferred();
      const token = deferred<string>();
      const handler = middy()
        .use(guard())
        .handler(async (_event: unknown, context: Context) => {
          await finish.promise;
          try {
            token.resolve(operation(context).token('refund'));
          } catch (error) {
            token.reject(error);
          }
        });
      await expect(handler(order, lambdaContext(150))).rejects.toMatchObject({ name: 'TimeoutError' });
      finish.resolve();
      await expect(token.promise).rejects.toMatchObject({ effect: 'possible' });
    });

    it('leaves the claim when the wrapper goes around Middy', async () => {
      const hangs = hanging();
      const handler = idempotent(middy().handler(hangs.work), {
        store: bench.store,
        key: () => 'order-1',
        observe: (event) => bench.seen.push(event),
      });
      await expect(handler(order, lambdaContext(150))).rejects.toMatchObject({ name: 'TimeoutError' });
      await staysClaimed(hangs);
    });

    it('stores the late answer when the wrapper goes inside Middy', async () => {
      const hangs = hanging();
      const once = idempotent(hangs.work, { store: bench.store, key: () => 'order-1' });
      const handler = middy(once);
      await expect(handler(order, lambdaContext(150))).rejects.toMatchObject({ name: 'TimeoutError' });
      expect(bench.store.calls).toEqual(['claim']);
      await hangs.finish();
      await vi.waitFor(() => expect(bench.store.calls).toEqual(['claim', 'complete']));
      expect(await handler(order, lambdaContext())).toBe('late');
      expect(bench.runs).toBe(1);
    });
  });
});
