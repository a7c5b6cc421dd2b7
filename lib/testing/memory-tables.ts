/** Tables of the user's own in memory: what a commit's writes make of them, by the expressions that DynamoDB is sent. */
import { IdempotencyError } from '../errors.ts';
import {
  type AttributeValue,
  badWrites,
  fromStored,
  type Rejection,
  type StoredWrite,
  toStored,
  type WritableTables,
  withoutValues,
} from '../store/index.ts';
import { Refusal } from './dynamodb/errors.ts';
import { type Input, judge, readEntry, type TableContent, type Write } from './dynamodb/requests.ts';
import { checkKeys, type KeyType, readKey, type TableDescription, textOfKey } from './dynamodb/tables.ts';
import { copyItem, type Item, readItem } from './dynamodb/values.ts';

/** An item's attributes, as JavaScript has them. */
type Plain = Readonly<Record<string, unknown>>;

/** A table as a test describes it. */
export interface MemoryTable {
  /** The partition key's attribute, or that and the sort key's. */
  readonly key: string | readonly [partitionKey: string, sortKey: string];
  /** Types of key attributes that are no strings. @default `S` for each */
  readonly keyTypes?: Readonly<Record<string, KeyType>>;
  /** What is in the table at first. @default nothing */
  readonly items?: readonly Plain[];
}

/** Tables for `memoryStore({ tables })`. */
export interface MemoryTables extends WritableTables {
  /** A copy of the item with this key. @throws `BAD_OPTION` for a table that is not there, or another table's key */
  get(table: string, key: Plain): Plain | undefined;
  /** Copies of all items, in the order of their keys. @throws `BAD_OPTION` for a table that is not there */
  items(table: string): Plain[];
  /** Puts an item, as somebody else than the handler. @throws `BAD_OPTION` for what the table cannot hold */
  put(table: string, item: Plain): void;
  /** Deletes an item, as somebody else than the handler. @throws `BAD_OPTION` */
  delete(table: string, key: Plain): void;
}

interface Table extends TableContent {
  readonly items: Map<string, Item>;
}

/**
 * Tables in memory, to which `memoryStore({ tables })` applies the writes of `commit()` and `transaction()`. Conditions and updates are
 * evaluated as DynamoDB does; an evaluator that is compared with DynamoDB Local does it. Indexes, TTL and permissions are not there.
 *
 * @throws `BAD_OPTION` for a description that is none, and for an item that its table cannot hold
 */
export function memoryTables(descriptions: Readonly<Record<string, MemoryTable>>): MemoryTables {
  const tables = new Map(
    Object.entries(descriptions).map(([name, description]) => [name, tableOf(name, description)]),
  );
  const named = (name: string): Table => {
    const table = tables.get(name);
    if (table) return table;
    throw badTables(`There is no table '${name}'. Known: ${[...tables.keys()].join(', ') || 'none'}.`);
  };
  const keyOf = (table: Table, key: Plain): string =>
    reading(table, () => textOfKey(table.description, readKey(table.description, toStored(key))));
  const put = (name: string, item: Plain): void => {
    const table = named(name);
    const read = reading(table, () => {
      const stored = readItem(toStored(item));
      checkKeys(table.description, stored);
      return stored;
    });
    table.items.set(textOfKey(table.description, read), read);
  };

  for (const [name, { items = [] }] of Object.entries(descriptions)) {
    for (const item of items) put(name, item);
  }
  return {
    get(name, key) {
      const table = named(name);
      const item = table.items.get(keyOf(table, key));
      return item && plain(item);
    },

    items(name) {
      const inOrder = [...named(name).items].sort(([one], [other]) => (one < other ? -1 : 1));
      return inOrder.map(([, item]) => plain(item));
    },

    put,

    delete(name, key) {
      const table = named(name);
      table.items.delete(keyOf(table, key));
    },

    prepare(writes) {
      const rejections: Rejection[] = [];
      const judged: Write<Table>[] = [];
      for (const [index, write] of writes.entries()) {
        try {
          judged.push(judge(readEntry(write as Record<string, Input>, tableAt(tables, index))));
        } catch (error) {
          rejections.push(rejectionOf(error, index, writes));
        }
      }
      return {
        rejections,
        apply: () => {
          for (const { table, keyText, after, isCheck } of judged) {
            if (isCheck) continue;
            if (after) table.items.set(keyText, after);
            else table.items.delete(keyText);
          }
        },
      };
    },
  };
}

const badTables = (message: string): IdempotencyError => new IdempotencyError('BAD_OPTION', message);

const plain = (item: Item): Plain => fromStored(copyItem(item) as Record<string, AttributeValue>);

function tableOf(name: string, { key, keyTypes }: MemoryTable): Table {
  const [partitionKey, sortKey, ...others] = typeof key === 'string' ? [key] : (key ?? []);
  if (typeof partitionKey !== 'string' || partitionKey === '' || others.length > 0) {
    throw badTables(
      `Table '${name}' needs \`key\`: its partition key's attribute, or [partition key, sort key], e.g. { key: 'id' }.`,
    );
  }
  const description: TableDescription = {
    ...{ name, partitionKey },
    ...(sortKey !== undefined && { sortKey }),
    ...(keyTypes && { keyTypes }),
  };
  return { description, items: new Map() };
}

function reading<T>({ description }: Table, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw badTables(`Table '${description.name}' cannot have that: ${(error as Error).message}`);
  }
}

const tableAt =
  (tables: ReadonlyMap<string, Table>, index: number) =>
  ({ TableName }: Input): Table => {
    const table = tables.get(String(TableName));
    if (table) return table;
    throw badWrites(
      `Write ${index} is on a table that the test has not: '${String(TableName)}'. Describe it in \`tables\`, e.g. { ${JSON.stringify(TableName)}: { key: 'id' } }.`,
    );
  };

/** @throws `BAD_WRITES` for what DynamoDB would not take at all */
function rejectionOf(error: unknown, index: number, writes: readonly StoredWrite[]): Rejection {
  if (IdempotencyError.is(error)) throw error;
  if (!(error instanceof Refusal)) throw badWrites(`Write ${index}: ${(error as Error).message}`);
  const { name, message, Item } = error.failure;
  if (name !== 'ConditionalCheckFailedException') {
    throw badWrites(`Write ${index} was refused, and nothing was written: ${withoutValues(message, writes)}`);
  }
  return { index, code: 'ConditionalCheckFailed', ...(Item && { item: plain(Item) }) };
}
