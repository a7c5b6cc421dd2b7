import { describe, expect, test } from 'vitest';
import { type AuditedOrder, audit, type SoakLedger } from '../../../local/soak/audit.ts';

const order = (changes: Partial<AuditedOrder> = {}): AuditedOrder => ({
  ...{ customer: 'ada', amount: 4200, acknowledged: ['{"id":1}', '{"id":1}'], replay: { body: '{"id":1}' } },
  ...{ charges: 1, orders: 1, entries: 1, balance: 4200, sold: 1, messages: 1 },
  ...changes,
});

const ledger = (changes: Partial<SoakLedger> = {}): SoakLedger => ({
  ...{ orders: [order(), order({ customer: 'bob' })], strangers: [], inProgress: [], stuck: [] },
  ...{ waiting: 0, deadLetters: 0 },
  ...changes,
});

describe('the audit of a soak', () => {
  test('finds nothing where each order has one effect of each kind and one answer', () => {
    expect(audit(ledger())).toEqual([]);
    expect(audit(ledger({ orders: [] }))).toEqual([]);
  });

  test.each(['charges', 'orders', 'entries', 'sold', 'messages'] as const)(
    'finds an order with none and one with two of its %s, and names the customer',
    (what) => {
      const orders = [
        order({ [what]: 0 }),
        order({ customer: 'bob', [what]: 2 }),
        order({ customer: 'cleo' }),
      ];
      expect(audit(ledger({ orders }))).toEqual([
        { customer: 'ada', problem: `${what}: 0 instead of 1` },
        { customer: 'bob', problem: `${what}: 2 instead of 1` },
      ]);
    },
  );

  test('finds a balance that is not what was paid', () => {
    expect(audit(ledger({ orders: [order({ balance: 8400 })] }))).toEqual([
      { customer: 'ada', problem: 'balance: 8400 instead of 4200' },
    ]);
  });

  test('finds each acknowledgement that differs from the replay, the first one too', () => {
    const acknowledged = ['{"id":2}', '{"id":1}', '{"id":3}'];
    expect(audit(ledger({ orders: [order({ acknowledged })] }))).toEqual([
      { customer: 'ada', problem: 'answers that differ from the replay: 2' },
    ]);
  });

  test('finds an order that has no replay, beside what else is wrong with it', () => {
    const replay = { missing: 'the last answer is 409, and no replay' };
    expect(audit(ledger({ orders: [order({ replay, charges: 2 })] }))).toEqual([
      { customer: 'ada', problem: 'charges: 2 instead of 1' },
      { customer: 'ada', problem: 'no replay: the last answer is 409, and no replay' },
    ]);
  });

  test('finds what nobody has ordered', () => {
    expect(audit(ledger({ strangers: ['mallory'] }))).toEqual([
      { customer: 'mallory', problem: 'nobody has ordered this' },
    ]);
  });

  test('finds what is left over: keys in progress, messages, dead letters, work that does not end', () => {
    const left = {
      inProgress: ['key-1'],
      waiting: 2,
      deadLetters: 1,
      stuck: ['messages were still under way'],
    };
    expect(audit(ledger(left))).toEqual([
      { problem: 'still in progress: key-1' },
      { problem: 'messages that wait: 2 instead of 0' },
      { problem: 'dead letters: 1 instead of 0' },
      { problem: 'messages were still under way' },
    ]);
  });
});
