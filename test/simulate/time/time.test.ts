import { expect, test } from 'vitest';
import { Histogram } from '../../../lib/simulate/histogram.ts';
import { Draws, normal, purpose } from '../../../lib/simulate/time/draws.ts';
import { inPlace, withPlaces } from '../../../lib/simulate/time/timers.ts';
import { VirtualTime } from '../../../lib/simulate/time/virtual-time.ts';

test('what is planned happens in order, with every promise settled in between', async () => {
  const time = new VirtualTime(1_000);
  const happened: string[] = [];
  const deep = async (name: string) => {
    for (let turn = 0; turn < 100; turn++) await undefined;
    happened.push(`${name} settled`);
  };
  time.after(20, () => happened.push(`third at ${time.nowMs}`));
  time.after(10, () => {
    happened.push(`first at ${time.nowMs}`);
    void deep('first');
    time.after(0, () => happened.push('planned meanwhile'));
  });
  time.after(10, () => happened.push('second'));
  time.after(15, () => happened.push('cancelled'))();
  await time.untilQuiet();
  expect(happened).toEqual([
    ...['first at 1010', 'first settled', 'second', 'planned meanwhile', 'third at 1020'],
  ]);
  expect(time.events).toBe(4);
});

test('what is left happens in order, however much is cancelled before and meanwhile', async () => {
  const time = new VirtualTime(0);
  const draws = new Draws(3);
  const happened: (readonly [atMs: number, number: number])[] = [];
  const expected: (readonly [atMs: number, number: number])[] = [];
  const cancels: (() => void)[] = [];
  for (let number = 0; number < 20_000; number++) {
    const atMs = Math.floor(draws.fraction(purpose.store, number) * 5_000);
    const isKept = number % 7 === 0;
    const cancel = time.after(atMs, () => happened.push([atMs, number]));
    if (isKept) expected.push([atMs, number]);
    else if (number % 2 === 0) cancel();
    else cancels.push(cancel);
  }
  const cancelAll = () => {
    for (const cancel of cancels) cancel();
  };
  cancelAll();
  cancelAll();
  time.after(2_500, cancelAll);
  await time.untilQuiet();
  cancelAll();
  expect(happened).toEqual(expected.sort(([one, a], [other, b]) => one - other || a - b));
  expect(time.nextAtMs).toBeUndefined();
});

test('time ends with what an event throws, and with its signal', async () => {
  const time = new VirtualTime(0);
  time.after(1, () => {
    throw new Error('no');
  });
  await expect(time.untilQuiet()).rejects.toThrow('no');
  const endless = () => void time.after(1, endless);
  endless();
  await expect(time.untilQuiet(1_000)).rejects.toThrow('does not end');
  await expect(time.untilQuiet(undefined, AbortSignal.abort('enough'))).rejects.toBe('enough');
});

test('timers and chance are a place’s own in its code, and the system’s everywhere else', async () => {
  const original = setTimeout;
  const time = new VirtualTime(0);
  const place = { after: (ms: number, happen: () => void) => time.after(ms, happen), random: () => 0.25 };
  const happened: string[] = [];
  await withPlaces(async () => {
    inPlace(place, () => {
      setTimeout(() => happened.push(`virtual at ${time.nowMs}`), 60_000);
      clearTimeout(setTimeout(() => happened.push('cleared'), 5));
      happened.push(`draws ${Math.random()}`);
    });
    await new Promise<void>((resolve) => void setTimeout(resolve, 1));
    happened.push('real');
    expect(Math.random()).not.toBe(0.25);
    await time.untilQuiet();
  });
  expect(happened).toEqual(['draws 0.25', 'real', 'virtual at 60000']);
  expect(setTimeout).toBe(original);
});

test('draws depend on seed, purpose, operation and request, and on nothing else', () => {
  const [draws, same, other] = [new Draws(7), new Draws(7), new Draws(8)];
  const drawn = (of: Draws) => [1, 2, 3].map((operation) => of.bits(purpose.fault, operation, 2));
  draws.bits(purpose.arrival, 9);
  expect(drawn(draws)).toEqual(drawn(same));
  expect(drawn(draws)).not.toEqual(drawn(other));
  const numbers = Array.from({ length: 4_000 }, (_, operation) => draws.fraction(purpose.key, operation));
  expect(new Set(numbers).size).toBeGreaterThan(3_995);
  expect(numbers.reduce((sum, number) => sum + number, 0) / numbers.length).toBeCloseTo(0.5, 1);
});

test('latencies have the median and the 99th percentile that they are given', () => {
  expect([normal(0.5), normal(0.975), normal(0.01)].map((value) => Number(value.toFixed(6)))).toEqual([
    ...[0, 1.959964, -2.326348],
  ]);
  const draws = new Draws(1);
  const histogram = new Histogram();
  for (let operation = 0; operation < 20_000; operation++) {
    histogram.add(draws.milliseconds(purpose.handlerTime, { p50Ms: 120, p99Ms: 900 }, operation));
  }
  expect(Math.abs(histogram.quantile(0.5)! - 120)).toBeLessThan(4);
  expect(Math.abs(histogram.quantile(0.99)! - 900)).toBeLessThan(60);
  expect(draws.milliseconds(purpose.handlerTime, { p50Ms: 0, p99Ms: 9 }, 1)).toBe(0);
});

test('a histogram gives quantiles to half a percent, of negative durations too', () => {
  const histogram = new Histogram();
  expect(histogram.quantile(0.5)).toBeNull();
  for (const ms of [-20_000, -5, 0, 7, 1_000, 60_000]) histogram.add(ms);
  const at = (share: number) => histogram.quantile(share)!;
  expect([at(0.3), at(0.5), at(0.6), at(0.8)]).toEqual([-5, 0, 7, 1_000]);
  expect(Math.abs(at(0.01) + 20_000)).toBeLessThan(100);
  expect(Math.abs(at(1) - 60_000)).toBeLessThan(300);
});
