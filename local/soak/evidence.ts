import { type AttributeValue, paginateScan } from '@aws-sdk/client-dynamodb';
import { initialStock } from '../../examples/payments.ts';
import { attribute } from '../../lib/record.ts';
import type { PaymentProvider, Shop } from '../demo/index.ts';
import type { ProxiedRequest, Stack } from '../stack/index.ts';
import type { AuditedOrder, SoakLedger } from './audit.ts';
import type { Customer } from './customer.ts';

type Item = Record<string, AttributeValue>;

/** Sees every request that goes on, and keeps those that say something. */
export interface Witness {
  readonly requests: readonly ProxiedRequest[];
  /** The ids of the messages that were consumed, by customer. */
  readonly consumed: ReadonlyMap<string, ReadonlySet<string>>;
  leave(): void;
}

export function watch(stack: Stack): Witness {
  const requests: ProxiedRequest[] = [];
  const consumed = new Map<string, Set<string>>();
  const received = new Map<string, { readonly id: string; readonly customer: string }>();
  const leave = stack.onRequest((request) => {
    const { operation, status, body, response } = request;
    if (operation === 'ReceiveMessage') {
      for (const { ReceiptHandle, MessageId, Attributes } of response?.Messages ?? []) {
        received.set(ReceiptHandle, { id: MessageId, customer: Attributes.MessageGroupId });
      }
    } else if (operation === 'DeleteMessageBatch' && status === 200) {
      const failed = (response?.Failed ?? []).map(({ Id }: { Id: string }) => Id);
      for (const { Id, ReceiptHandle } of body.Entries) {
        const message = failed.includes(Id) ? undefined : received.get(ReceiptHandle);
        if (message === undefined) continue;
        const { id, customer } = message;
        consumed.set(customer, (consumed.get(customer) ?? new Set()).add(id));
      }
    }
    if (!isIdle(request)) requests.push(request);
  });
  return { requests, consumed, leave };
}

/** Who asks for work and gets none says nothing. */
const isIdle = ({ operation, response }: ProxiedRequest): boolean =>
  (operation === 'ReceiveMessage' && (response?.Messages ?? []).length === 0) ||
  (operation === 'GetRecords' && (response?.Records ?? []).length === 0);

export interface Ordered {
  readonly customer: Customer;
  readonly replay: AuditedOrder['replay'];
}

/** Reads what all that went on has left behind. */
export async function gather(
  stack: Stack,
  provider: PaymentProvider,
  shops: readonly Shop[],
  ordered: readonly Ordered[],
  { consumed }: Witness,
  stuck: readonly string[],
): Promise<SoakLedger> {
  const items = (await Promise.all([...new Set(shops.map(({ table }) => table))].map(scan(stack)))).flat();
  const records = (await Promise.all(shops.map(({ records }) => scan(stack)(records)))).flat();
  const charges = tally(provider.charges.map(({ customer }) => customer));
  const of = (kind: string): Map<string, number> =>
    tally(items.filter(({ id }) => id?.S?.startsWith(`${kind}#`)).map(({ customer }) => customer?.S ?? '?'));
  const [orders, entries] = [of('order'), of('entry')];
  const byId = new Map(items.map((item) => [item.id?.S, item]));
  const known = new Set(ordered.map(({ customer }) => customer.name));
  const strangers = [charges, orders, entries, consumed].flatMap((counts) =>
    [...counts.keys()].filter((customer) => !known.has(customer)),
  );
  const queued = (queue: string): number => stack.queue(queue).messages.length;
  return {
    orders: ordered.map(({ customer: { name, amount, sku, answers }, replay }) => ({
      ...{ customer: name, amount, replay },
      acknowledged: answers.flatMap(({ body }) => (body === undefined ? [] : [body])),
      charges: charges.get(name) ?? 0,
      orders: orders.get(name) ?? 0,
      entries: entries.get(name) ?? 0,
      balance: Number(byId.get(`balance#${name}#EUR`)?.balance?.N ?? 0),
      sold: initialStock - Number(byId.get(`stock#${sku}`)?.stock?.N ?? initialStock),
      messages: consumed.get(name)?.size ?? 0,
    })),
    strangers: [...new Set(strangers)],
    inProgress: records
      .filter((record) => record[attribute.status]?.S === 'IN_PROGRESS')
      .map((record) => record.pk?.S ?? '?'),
    waiting: shops.reduce((sum, { queue }) => sum + queued(queue), 0),
    deadLetters: shops.reduce((sum, { deadLetters }) => sum + queued(deadLetters), 0),
    stuck,
  };
}

const scan =
  ({ dynamodb: client }: Stack) =>
  async (TableName: string): Promise<Item[]> => {
    const items: Item[] = [];
    for await (const page of paginateScan({ client }, { TableName, ConsistentRead: true })) {
      items.push(...(page.Items ?? []));
    }
    return items;
  };

function tally(names: readonly string[]): Map<string, number> {
  const counts = new Map<string, number>();
  for (const name of names) counts.set(name, (counts.get(name) ?? 0) + 1);
  return counts;
}
