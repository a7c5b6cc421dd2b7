import { describe, expect, it } from 'vitest';
import { numbered } from '../../lib/index.ts';
import { doors } from '../support/doors.ts';
import { deferred } from '../support/hands.ts';
import { lambdaContext } from '../support/invocation.ts';
import { bookings, codeOf, errorOf, numberedBench, placeOf, type Sale, stores } from './bench.ts';

describe.each(
  stores.flatMap(([store, make]) => doors.map(([door, guard]) => [store, door, make, guard] as const)),
)('on %s, under %s, an operation of a numbered sender', (_, __, makeStore, guard) => {
  const bench = numberedBench(makeStore);
  const upTo = async (call: (sale: Sale) => Promise<unknown>, last: number) => {
    for (let number = 0; number <= last; number++) await call({ number });
  };

  it('runs each number once, in order, and repeats get the first answer', async () => {
    const { booked, book } = bookings();
    const call = guard(book, bench.options());
    expect(await call({ number: 0, amount: 5 })).toEqual({ number: 0, amount: 5, run: 1 });
    expect(await call({ number: 1 })).toEqual({ number: 1, amount: 0, run: 2 });
    expect(await call({ number: 0, amount: 5 })).toEqual({ number: 0, amount: 5, run: 1 });
    expect(await call({ number: 1 })).toEqual({ number: 1, amount: 0, run: 2 });
    expect(booked).toEqual([0, 1]);
    expect(bench.seen.types()).toEqual(['claim', 'complete', 'claim', 'complete', 'replay', 'replay']);
  });

  it('is refused before its predecessor, and told which number is expected', async () => {
    const { booked, book } = bookings();
    const call = guard(book, bench.options());
    expect(await errorOf(call({ number: 1 }))).toMatchObject({
      code: 'SEQUENCE_GAP',
      expectedNumber: 0,
      effect: 'none',
    });
    await call({ number: 0 });
    expect(await errorOf(call({ number: 4 }))).toMatchObject({ code: 'SEQUENCE_GAP', expectedNumber: 1 });
    await call({ number: 1 });
    expect(booked).toEqual([0, 1]);
  });

  it('is refused in an older epoch once a newer one has begun, and a newer one begins with 0', async () => {
    const { booked, book } = bookings();
    const call = guard(book, bench.options());
    await upTo(call, 2);
    expect(await errorOf(call({ epoch: 5, number: 3 }))).toMatchObject({
      code: 'SEQUENCE_GAP',
      expectedNumber: 0,
    });
    await call({ epoch: 5, number: 0 });
    expect(await errorOf(call({ number: 3 }))).toMatchObject({ code: 'FENCED', effect: 'none' });
    // Even a repeat: the sender is to learn of it.
    expect(await codeOf(call({ number: 2 }))).toBe('FENCED');
    await call({ epoch: 5, number: 1 });
    expect(booked).toEqual([0, 1, 2, 0, 1]);
  });

  it('has its answer among the last five of its sender, and is acknowledged without one after that', async () => {
    const { booked, book } = bookings();
    const call = guard(book, bench.options());
    await upTo(call, 5);
    expect(await call({ number: 1 })).toEqual({ number: 1, amount: 0, run: 2 });
    const forgotten = await errorOf(call({ number: 0 }));
    expect(forgotten.code).toBe('RESULT_UNAVAILABLE');
    expect(forgotten.message).toContain("only its sender's last five answers are kept");
    expect(booked).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('is refused with another payload under its number, done or running', async () => {
    const { booked, book } = bookings();
    const call = guard(book, bench.options());
    await call({ number: 0, amount: 5 });
    expect(await codeOf(call({ number: 0, amount: 6 }))).toBe('PAYLOAD_MISMATCH');
    expect(booked).toEqual([0]);
  });

  it('is busy while it runs elsewhere, and its successor meets a gap', async () => {
    const end = deferred();
    const started = deferred();
    const call = guard(async () => {
      started.resolve();
      await end.promise;
      return 'booked';
    }, bench.options());
    const first = call({ number: 0 });
    await started.promise;
    expect(await errorOf(call({ number: 0 }))).toMatchObject({ code: 'IN_PROGRESS', retryAfterSeconds: 5 });
    expect(await codeOf(call({ number: 0, amount: 1 }))).toBe('PAYLOAD_MISMATCH');
    expect(await errorOf(call({ number: 1 }))).toMatchObject({ code: 'SEQUENCE_GAP', expectedNumber: 0 });
    // A newer epoch waits for it as well.
    expect(await codeOf(call({ epoch: 1, number: 0 }))).toBe('IN_PROGRESS');
    end.resolve();
    expect(await first).toBe('booked');
    expect(await call({ number: 0 })).toBe('booked');
  });

  it('runs again after it has thrown, as the same number', async () => {
    const runs: number[] = [];
    const call = guard(async ({ number }: Sale) => {
      runs.push(number);
      if (runs.length === 1) throw new Error('the till is closed');
      return runs.length;
    }, bench.options());
    await expect(call({ number: 0 })).rejects.toThrow('the till is closed');
    expect(await errorOf(call({ number: 1 }))).toMatchObject({ code: 'SEQUENCE_GAP', expectedNumber: 0 });
    expect(await call({ number: 0 })).toBe(2);
    expect(await call({ number: 1 })).toBe(3);
    expect(runs).toEqual([0, 0, 1]);
  });

  it('is taken over once the lease of a crashed attempt is over', async () => {
    const runs: number[] = [];
    const call = guard(
      async ({ number }: Sale) => {
        runs.push(number);
        if (runs.length === 1) await new Promise(() => {});
        return runs.length;
      },
      bench.options({ lease: { seconds: 30 } }),
    );
    void call({ number: 0 });
    await expect.poll(() => runs).toEqual([0]);
    expect(await codeOf(call({ number: 0 }))).toBe('IN_PROGRESS');
    bench.clock.advance(30_001);
    expect(await call({ number: 0 })).toBe(2);
    expect(bench.seen.types()).toContain('takeover');
  });

  it('of an overtaken attempt of an older epoch does not complete', async () => {
    const end = deferred();
    const started = deferred();
    const call = guard(
      async ({ epoch }: Sale) => {
        if (epoch === 1) return 'newer';
        started.resolve();
        await end.promise;
        return 'older';
      },
      bench.options({ lease: { seconds: 30 } }),
    );
    const older = errorOf(call({ number: 0 }));
    await started.promise;
    bench.clock.advance(30_001);
    expect(await call({ epoch: 1, number: 0 })).toBe('newer');
    end.resolve();
    expect(await older).toMatchObject({ code: 'OVERTAKEN', effect: 'possible' });
    expect(await call({ epoch: 1, number: 0 })).toBe('newer');
  });

  it('is another one of another sender, tenant or namespace', async () => {
    const { booked, book } = bookings();
    const call = guard(book, bench.options());
    await upTo(call, 1);
    expect(await errorOf(call({ till: 'till-8', number: 1 }))).toMatchObject({ expectedNumber: 0 });
    const tenants = guard(book, bench.options({ tenant: () => 'shop-2' }));
    expect(await errorOf(tenants({ number: 1 }))).toMatchObject({ expectedNumber: 0 });
    const other = guard(book, bench.options({ namespace: `${bench.namespace}-other` }));
    expect(await errorOf(other({ number: 1 }))).toMatchObject({ expectedNumber: 0 });
    expect(booked).toEqual([0, 1]);
  });

  it('may be the first one that is known, where its sender starts anywhere', async () => {
    const { booked, book } = bookings();
    const call = guard(book, bench.options({ sequence: numbered(placeOf, { start: 'anywhere' }) }));
    await call({ number: 41 });
    expect(await codeOf(call({ number: 40 }))).toBe('RESULT_UNAVAILABLE');
    expect(await errorOf(call({ number: 43 }))).toMatchObject({ expectedNumber: 42 });
    await call({ number: 42 });
    expect(booked).toEqual([41, 42]);
  });

  it('begins only with enough time left', async () => {
    const { booked, book } = bookings();
    const call = guard(book, bench.options());
    expect(await codeOf(call({ number: 0 }, lambdaContext(0)))).toBe('NO_TIME_LEFT');
    await call({ number: 0 });
    expect(booked).toEqual([0]);
  });
});
