/** What is known of one order at the end, as plain data. */
export interface AuditedOrder {
  /** Of this order alone. */
  readonly customer: string;
  readonly amount: number;
  /** The bodies of all answers that acknowledged it, in the order in which they came. */
  readonly acknowledged: readonly string[];
  /** The body of the replay at the end, or why there is none. */
  readonly replay: { readonly body: string } | { readonly missing: string };
  readonly charges: number;
  readonly orders: number;
  readonly entries: number;
  /** Of the customer in the ledger. */
  readonly balance: number;
  /** How many pieces of its article have gone. */
  readonly sold: number;
  /** Messages for the ledger that were consumed. */
  readonly messages: number;
}

/** What is left at the end, when all leases are over. */
export interface SoakLedger {
  readonly orders: readonly AuditedOrder[];
  /** Customers of charges, orders, entries and messages that nobody has ordered for. */
  readonly strangers: readonly string[];
  /** Keys of operations that are still in progress. */
  readonly inProgress: readonly string[];
  /** Messages that nobody has consumed. */
  readonly waiting: number;
  readonly deadLetters: number;
  /** What went on for too long. */
  readonly stuck: readonly string[];
}

export interface Finding {
  /** Absent where it is not about one order. */
  readonly customer?: string;
  readonly problem: string;
}

/**
 * Each order has one effect of each kind and one answer, and nothing is left over.
 *
 * @returns what is not so
 */
export function audit(ledger: SoakLedger): Finding[] {
  const { orders, strangers, inProgress, waiting, deadLetters, stuck } = ledger;
  return [
    ...orders.flatMap((order) => problemsOf(order).map((problem) => ({ customer: order.customer, problem }))),
    ...strangers.map((customer) => ({ customer, problem: 'nobody has ordered this' })),
    ...inProgress.map((key) => ({ problem: `still in progress: ${key}` })),
    ...counted('messages that wait', waiting, 0).map((problem) => ({ problem })),
    ...counted('dead letters', deadLetters, 0).map((problem) => ({ problem })),
    ...stuck.map((problem) => ({ problem })),
  ];
}

function problemsOf(order: AuditedOrder): string[] {
  const { amount, acknowledged, replay } = order;
  const problems = [
    ...(['charges', 'orders', 'entries', 'sold', 'messages'] as const).flatMap((what) =>
      counted(what, order[what], 1),
    ),
    ...counted('balance', order.balance, amount),
  ];
  if ('missing' in replay) return [...problems, `no replay: ${replay.missing}`];
  const others = acknowledged.filter((body) => body !== replay.body).length;
  return others === 0 ? problems : [...problems, `answers that differ from the replay: ${others}`];
}

const counted = (what: string, found: number, expected: number): string[] =>
  found === expected ? [] : [`${what}: ${found} instead of ${expected}`];
