import { type AttributeValue, GetItemCommand, ScanCommand } from '@aws-sdk/client-dynamodb';
import type { Order } from '../../examples/payment-provider.ts';
import { initialStock } from '../../examples/payments.ts';
import type { Stack, StackDescription } from '../stack/index.ts';
import type { DescribedTemplate } from '../template/index.ts';
import type { PaymentProvider } from './payment-provider.ts';

/** The names of a shop's parts in a stack. */
export interface Shop {
  /** Of the idempotency records and the outbox. */
  readonly records: string;
  /** Of stock, orders and ledger. */
  readonly table: string;
  readonly queue: string;
  readonly deadLetters: string;
  readonly payments: string;
  readonly ledger: string;
  /** Where payments are posted to. */
  readonly path: string;
}

/** A shop whose outbox is read by a function, not by a pipe. */
export interface RelayedShop extends Shop {
  readonly relay: string;
}

/** The shop of a template: the app of `cdk.json`, or in `scope` what is built like it. */
export function shopOf(
  { functions, queues, tables }: DescribedTemplate['names'],
  { scope = '', path = `/${scope}payments` }: { readonly scope?: string; readonly path?: string } = {},
): Shop {
  return {
    records: present(tables, `${scope}Idempotency`),
    table: present(tables, 'Shop'),
    queue: present(queues, `${scope}Ledger`),
    deadLetters: present(queues, `${scope}Ledger/DeadLetterQueue`),
    payments: present(functions, `${scope}ChargePayment`),
    ledger: present(functions, `${scope}EnterInLedger`),
    path,
  };
}

/** @throws RangeError when there is nothing at this path of the template */
export function present(names: Readonly<Record<string, string>>, path: string): string {
  const { [path]: name } = names;
  if (name === undefined) throw new RangeError(`There is no '${path}' in the template.`);
  return name;
}

/** One stack of several. */
export const joined = (descriptions: readonly StackDescription[]): StackDescription => ({
  roles: Object.assign({}, ...descriptions.map(({ roles }) => roles)),
  tables: descriptions.flatMap(({ tables = [] }) => tables),
  queues: Object.assign({}, ...descriptions.map(({ queues }) => queues)),
  upstreams: Object.assign({}, ...descriptions.map(({ upstreams }) => upstreams)),
  functions: Object.assign({}, ...descriptions.map(({ functions }) => functions)),
  pipes: Object.assign({}, ...descriptions.map(({ pipes }) => pipes)),
  eventSources: descriptions.flatMap(({ eventSources = [] }) => eventSources),
  routes: descriptions.flatMap(({ routes = [] }) => routes),
});

/** Resolves once nothing of what has been paid is under way any more. What is in the dead-letter queue stays there. */
export async function settled(stack: Stack, shop: Shop): Promise<void> {
  await stack.streamDrained(shop.records);
  await stack.queue(shop.queue).drained();
}

/** What a customer's payments have left behind. */
export interface Effects {
  readonly charges: number;
  readonly orders: number;
  /** Entries in the ledger. */
  readonly entries: number;
  /** Sum of the ledger, as it is kept. */
  readonly balance: number;
  /** How many pieces of the article have gone. */
  readonly sold: number;
  /** What a till has booked, and the sum of it as it is kept. */
  readonly sales: number;
  readonly takings: number;
}

export async function effectsOf(
  { stack, provider }: { readonly stack: Stack; readonly provider: PaymentProvider },
  shop: Shop,
  { customer, currency, sku }: Order,
): Promise<Effects> {
  const scan = new ScanCommand({
    TableName: shop.table,
    ConsistentRead: true,
    FilterExpression: 'customer = :customer',
    ExpressionAttributeValues: { ':customer': { S: customer } },
  });
  const [{ Items: items = [] }, balance, stock, takings] = await Promise.all([
    stack.dynamodb.send(scan),
    read(stack, shop, `balance#${customer}#${currency}`),
    read(stack, shop, `stock#${sku}`),
    read(stack, shop, `takings#${customer}#${currency}`),
  ]);
  const count = (kind: string): number => items.filter(({ id }) => id?.S?.startsWith(`${kind}#`)).length;
  return {
    charges: provider.charges.filter((charge) => charge.customer === customer).length,
    orders: count('order'),
    entries: count('entry'),
    balance: Number(balance?.balance?.N ?? 0),
    sold: initialStock - Number(stock?.stock?.N ?? initialStock),
    sales: count('sale'),
    takings: Number(takings?.takings?.N ?? 0),
  };
}

async function read(stack: Stack, { table }: Shop, id: string) {
  const key = { TableName: table, Key: { id: { S: id } }, ConsistentRead: true };
  const { Item } = await stack.dynamodb.send(new GetItemCommand(key));
  return Item as Record<string, AttributeValue> | undefined;
}
