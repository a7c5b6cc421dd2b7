/** The user's own tables in memory. A commit's writes change them by the expressions that DynamoDB would be sent. */
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
  /** The partition key's attribute, or the attributes of partition key and sort key. */
  readonly key: string | readonly [partitionKey: string, sortKey: string];
  /** Types of the key attributes that are not strings. @default `S` for each */
  readonly keyTypes?: Readonly<Record<string, KeyType>>;
  /** The items that the table has at first. @default none */
  readonly items?: readonly Plain[];
}

/** Tables for `memoryStore({ tables })`. */
export interface MemoryTables extends WritableTables {
  /** A copy of the item with this key. @throws `BAD_OPTION` for an unknown table, or a key that is not the table's */
  get(table: string, key: Plain): Plain | undefined;
  /** Copies of all items, in the order of their keys. @throws `BAD_OPTION` for an unknown table */
  items(table: string): Plain[];
  /** Puts an item, as if somebody other than the handler did. @throws `BAD_OPTION` for what the table cannot hold */
  put(table: string, item: Plain): void;
  /** Deletes an item, as if somebody other than the handler did. @throws `BAD_OPTION` */
  delete(table: string, key: Plain): void;
}

interface Table extends TableContent {
  readonly items: Map<string, Item>;
}

/**
 * Tables in memory. `memoryStore({ tables })` applies the writes of `commit()` and `transaction()` to them.
 * Conditions and updates are evaluated as DynamoDB evaluates them. There are no indexes, no TTL and no permissions.
 *
 * @throws `BAD_OPTION` for a wrong description, and for an item that its table cannot hold
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
