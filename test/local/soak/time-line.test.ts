import { expect, test } from 'vitest';
import { Customer } from '../../../local/soak/customer.ts';
import { randomFrom } from '../../../local/soak/random.ts';
import { timeLineOf } from '../../../local/soak/time-line.ts';
import type { ProxiedRequest } from '../../../local/stack/index.ts';

const startedAtMs = 1_700_000_000_000;

function customerWith(): Customer {
  const customer = new Customer('http://127.0.0.1:9/payments', 4200);
  customer.answers.push(
    { sentAtMs: startedAtMs, answeredAtMs: startedAtMs + 300, status: 500, isReplay: false },
    { sentAtMs: startedAtMs + 900, answeredAtMs: startedAtMs + 990, status: 201, isReplay: true, body: '{}' },
  );
  return customer;
}

const request = (atMs: number, more: Partial<ProxiedRequest>): ProxiedRequest => ({
  ...{ operation: 'PutItem', caller: 'pay', body: {}, outcome: 'forwarded', status: 200 },
  ...{ startedAtMs: startedAtMs + atMs, endedAtMs: startedAtMs + atMs + 5 },
  ...more,
});

test('the time line of an order has its answers, its requests with their faults, and the kills of who sent them', () => {
  const customer = customerWith();
  const requests = [
    request(40, { response: { key: customer.key }, outcome: 'faulted', struck: 'after' }),
    request(10, { body: { pk: customer.name }, fault: { delayMs: 4 } }),
    request(20, { body: { pk: 'somebody else' } }),
    request(5, { body: { Item: { pk: { S: 'hash-of-key' } } } }),
    request(6, { body: { Item: { pk: { S: 'hash-of-another-key' } } } }),
    request(25, {
      operation: 'TransactWriteItems',
      body: { TransactItems: [{ Put: { Item: { pk: { S: 'hash-of-key' }, customer: customer.name } } }] },
    }),
    request(950, { body: { pk: customer.name }, outcome: 'faulted', isRepeat: true }),
  ];
  const kills = [
    { atMs: startedAtMs + 41, name: 'pay', operation: 'PutItem', when: 'after' as const, processes: 1 },
    { atMs: startedAtMs + 42, name: 'ledger', processes: 1 },
    { atMs: startedAtMs + 5_000, name: 'pay', processes: 1 },
    { atMs: startedAtMs - 1, name: 'pay', processes: 1 },
  ];
  expect(timeLineOf(customer, requests, kills)).toEqual([
    '   0.000 s  customer asks',
    '   0.005 s  pay PutItem → 200 (5 ms)',
    '   0.010 s  pay PutItem → 200 ({"delayMs":4}, 5 ms)',
    '   0.025 s  pay TransactWriteItems → 200 (5 ms)',
    '   0.040 s  pay PutItem → 200 (kill after, answer lost, 5 ms)',
    '   0.041 s  pay is killed after PutItem',
    '   0.300 s  customer gets 500',
    '   0.900 s  customer asks',
    '   0.950 s  pay PutItem → 200 (again, on the wire, 5 ms)',
    '   0.990 s  customer gets 201 replayed',
  ]);
});

test('random numbers are from 0 to 1, spread out, and the same for the same seed', () => {
  const draw = (seed: number): number[] => Array.from({ length: 1_000 }, randomFrom(seed));
  expect(draw(1)).toEqual(draw(1));
  expect(draw(2)).not.toEqual(draw(1));
  const tenths = new Map<number, number>();
  for (const drawn of draw(3))
    tenths.set(Math.floor(drawn * 10), (tenths.get(Math.floor(drawn * 10)) ?? 0) + 1);
  expect([...tenths.keys()].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  expect(Math.min(...tenths.values())).toBeGreaterThan(60);
});
