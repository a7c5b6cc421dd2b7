import { describe, expect, it, vi } from 'vitest';
import { IdempotencyError, idempotent, type Operation, operation } from '../../lib/index.ts';
import { deferred } from '../support/hands.ts';
import { bookings, codeOf, errorOf, numberedBench, type Sale, stores } from './bench.ts';

describe.each(stores)('on %s, a numbered operation', (_, makeStore) => {
  const bench = numberedBench(makeStore);

  /** What an attempt of epoch 0 is told that goes on only after epoch 1 has done the same number. */
  async function codeOfOvertaken(work: (epoch: number, op: Operation) => Promise<number>, more: object = {}) {
    const end = deferred();
    const started = deferred();
    const call = idempotent(
      async ({ epoch = 0 }: Sale, context) => {
        if (epoch === 0) {
          started.resolve();
          await end.promise;
        }
        return work(epoch, operation(context));
      },
      bench.options({ destinations: ['ledger'], lease: { seconds: 30 }, ...more }),
    );
    const older = codeOf(call({ number: 0 }));
    await started.promise;
    bench.clock.advance(30_001);
    expect(await call({ epoch: 1, number: 0 })).toBe(1);
    end.resolve();
    return older;
  }

  describe('with steps', () => {
    it('continues after the steps of an attempt that crashed, with the same tokens', async () => {
      const tokens: string[] = [];
      const done: string[] = [];
      const call = idempotent(
        async (_: Sale, context) => {
          const op = operation(context);
          const charged = await op.step('charge', ({ token }) => {
            tokens.push(token);
            return done.push('charge');
          });
          if (tokens.length === 1 && done.length === 1) {
            done.push('crash');
            await new Promise(() => {});
          }
          return { charged, parcel: await op.step('parcel', () => done.push('parcel')) };
        },
        bench.options({ lease: { seconds: 30 } }),
      );
      void call({ number: 0 });
      await expect.poll(() => done).toEqual(['charge', 'crash']);
      bench.clock.advance(30_001);
      expect(await call({ number: 0 })).toEqual({ charged: 1, parcel: 3 });
      expect(done).toEqual(['charge', 'crash', 'parcel']);
    });

    it('has tokens of its own: no other number, epoch or sender has one of them', async () => {
      const call = idempotent(
        async (_: Sale, context) => operation(context).token('charge'),
        bench.options(),
      );
      const tokens = [
        await call({ number: 0 }),
        await call({ number: 1 }),
        await call({ till: 'till-8', number: 0 }),
        await call({ epoch: 1, number: 0 }),
      ];
      expect(new Set(tokens).size).toBe(4);
    });

    it('knows its own name', async () => {
      const call = idempotent(async (_: Sale, context) => operation(context).key, bench.options());
      expect(await call({ epoch: 3, number: 0 })).toBe('till-7#3#0');
    });
  });

  describe.each(['eager', 'at-commit'] as const)('that commits, claimed %s,', (claim) => {
    const booking = (more: object = {}) =>
      idempotent(
        async ({ number }: Sale, context) =>
          operation(context).commit({
            result: { number },
            messages: [{ destination: 'ledger', groupId: 'till', body: { number } }],
          }),
        bench.options({ claim, destinations: ['ledger'], ...more }),
      );

    it('commits each number once with its messages, and repeats get what was committed', async () => {
      const call = booking();
      expect(await call({ number: 0 })).toEqual({ number: 0 });
      expect(await call({ number: 0 })).toEqual({ number: 0 });
      expect(await call({ number: 1 })).toEqual({ number: 1 });
      expect(await bench.staged()).toBe(2);
    });

    it('is done already where its answer is forgotten, and is not said to be committed', async () => {
      const call = booking();
      for (let number = 0; number <= 5; number++) await call({ number });
      expect(await errorOf(call({ number: 0 }))).toMatchObject({ code: 'RESULT_UNAVAILABLE' });
      expect(await bench.staged()).toBe(6);
    });

    it('is stopped by a gap and by a newer epoch, and nothing is written', async () => {
      const call = booking();
      expect(await errorOf(call({ number: 1 }))).toMatchObject({
        code: 'SEQUENCE_GAP',
        expectedNumber: 0,
        effect: 'none',
      });
      await call({ number: 0 });
      await call({ epoch: 1, number: 0 });
      expect(await errorOf(call({ number: 1 }))).toMatchObject({ code: 'FENCED', effect: 'none' });
      expect(await bench.staged()).toBe(2);
      const told = bench.seen.seen.filter(({ type }) => type === 'gap' || type === 'fenced');
      expect(told).toMatchObject([{ type: 'gap', expectedNumber: 0 }, { type: 'fenced' }]);
    });

    it('is refused with another payload', async () => {
      const call = booking();
      await call({ number: 0 });
      expect(await codeOf(call({ number: 0, amount: 1 }))).toBe('PAYLOAD_MISMATCH');
      expect(await bench.staged()).toBe(1);
    });

    it('does not commit for an attempt of an older epoch that was overtaken', async () => {
      const code = await codeOfOvertaken(
        (epoch, op) =>
          op.commit({
            result: epoch,
            messages: [{ destination: 'ledger', groupId: 'till', body: { epoch } }],
          }),
        { claim },
      );
      expect(['OVERTAKEN', 'FENCED']).toContain(code);
      expect(await bench.staged()).toBe(1);
    });
  });

  it('has a transaction that an overtaken attempt cannot send', async () => {
    const code = await codeOfOvertaken(async (epoch, op) => {
      await op.transaction('note', {
        messages: [{ destination: 'ledger', groupId: 'till', body: { epoch } }],
      });
      return epoch;
    });
    expect(code).toBe('OVERTAKEN');
  });

  it('waits for a running repeat with `whenBusy`', async () => {
    const end = deferred();
    const started = deferred();
    const options = bench.options({ whenBusy: { waitMs: 5_000 } });
    const call = idempotent(async ({ number }: Sale) => {
      started.resolve();
      await end.promise;
      return number;
    }, options);
    const first = call({ number: 0 });
    await started.promise;
    const repeat = call({ number: 0 });
    await vi.waitFor(() => bench.clock.advance(10));
    end.resolve();
    expect(await first).toBe(0);
    const answers = repeat.then((answer) => answer);
    await expect
      .poll(async () => {
        bench.clock.advance(500);
        return Promise.race([answers, Promise.resolve('waiting')]);
      })
      .toBe(0);
  });

  it('stays the next one where its answer is not to be remembered', async () => {
    const answers = ['not now', 'booked'];
    const call = idempotent(
      async () => answers.shift(),
      bench.options({ remember: ({ value }) => value === 'booked' }),
    );
    expect(await call({ number: 0 })).toBe('not now');
    expect(await errorOf(call({ number: 1 }))).toMatchObject({ code: 'SEQUENCE_GAP', expectedNumber: 0 });
    expect(await call({ number: 0 })).toBe('booked');
    expect(await call({ number: 0 })).toBe('booked');
  });

  it('has `onReplay` make the answer of a repeat', async () => {
    const { book } = bookings();
    const call = idempotent(
      book,
      bench.options({ onReplay: (answer, { number }) => ({ ...answer, again: number }) }),
    );
    await call({ number: 0 });
    expect(await call({ number: 0 })).toMatchObject({ number: 0, run: 1, again: 0 });
  });

  it('keeps its key and its input where it is told to', async () => {
    const { book } = bookings();
    const call = idempotent(book, bench.options({ keep: { key: true, input: true } }));
    await call({ number: 0, amount: 3 });
    expect(await call({ number: 0, amount: 3 })).toMatchObject({ run: 1 });
  });
});

describe('a numbered guard whose store does not answer', () => {
  const bench = numberedBench(stores[0]![1]);
  const down = async () => {
    throw new IdempotencyError('STORE_UNAVAILABLE', 'down');
  };

  it.each([
    ['refuse', []],
    ['run', [7]],
  ] as const)('%ss', async (whenStoreFails, expected) => {
    const { booked, book } = bookings();
    const store = {
      ...bench.store,
      numbered: (place: never) => ({ ...bench.store.numbered!(place), claim: down }),
    };
    const call = idempotent(book, bench.options({ store, whenStoreFails }));
    await call({ number: 7 }).catch((error) => expect(error.code).toBe('STORE_UNAVAILABLE'));
    expect(booked).toEqual(expected);
    // It was not recorded: the next number is still 0.
    expect(await errorOf(idempotent(book, bench.options())({ number: 8 }))).toMatchObject({
      expectedNumber: 0,
    });
  });
});
