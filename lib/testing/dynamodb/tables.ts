/** Tables as they are described, their keys, and which keys an item must have. */
import { invalid } from './errors.ts';
import {
  type Item,
  maxItemBytes,
  readValue,
  sizeOfItem,
  sizeOfValue,
  textOfValue,
  typeOf,
  type Value,
} from './values.ts';

export type KeyType = 'S' | 'N' | 'B';

export interface IndexDescription {
  readonly name: string;
  readonly partitionKey: string;
  readonly sortKey?: string;
  /** Attributes in it besides the keys. @default all */
  readonly attributes?: readonly string[];
}

export interface TableDescription {
  readonly name: string;
  readonly partitionKey: string;
  readonly sortKey?: string;
  /** Types of the key attributes that are not strings, those of indexes included. @default `S` for each */
  readonly keyTypes?: Readonly<Record<string, KeyType>>;
  /** @default none: nothing expires */
  readonly ttlAttribute?: string;
  /** Global secondary indexes. @default none */
  readonly indexes?: readonly IndexDescription[];
}

const keyLimits = { partition: 2_048, sort: 1_024 } as const;

export const keyNamesOf = ({
  partitionKey,
  sortKey,
}: Pick<TableDescription, 'partitionKey' | 'sortKey'>): string[] =>
  sortKey === undefined ? [partitionKey] : [partitionKey, sortKey];

export const keyTypeOf = (table: TableDescription, name: string): KeyType => table.keyTypes?.[name] ?? 'S';

/** One text for each key. Items are filed under it. */
export const textOfKey = (table: TableDescription, item: Item): string =>
  keyNamesOf(table)
    .map((name) => textOfValue(item[name] as Value))
    .join('\n');

export const keyIn = (table: TableDescription, item: Item): Item =>
  Object.fromEntries(keyNamesOf(table).map((name) => [name, item[name] as Value]));

/** @throws `ValidationException` for a key that the table has not, or that no key can be */
export function readKey(table: TableDescription, given: unknown): Item {
  const names = keyNamesOf(table);
  const entries = Object.entries((given ?? {}) as object).filter(([, value]) => value !== undefined);
  if (entries.length !== names.length) throw invalid('The provided key element does not match the schema');
  const key: Record<string, Value> = {};
  for (const [name, value] of entries) {
    const read = readValue(value);
    if (!names.includes(name) || typeOf(read) !== keyTypeOf(table, name)) {
      throw invalid('The provided key element does not match the schema');
    }
    key[name] = read;
  }
  checkSizes(table, key);
  return key;
}

/** @throws `ValidationException` for an item without the table's keys, or with wrong ones of an index */
export function checkKeys(table: TableDescription, item: Item): void {
  for (const name of keyNamesOf(table)) {
    const value = item[name];
    if (!value) {
      throw invalid(`One or more parameter values were invalid: Missing the key ${name} in the item`);
    }
    const type = keyTypeOf(table, name);
    if (typeOf(value) !== type) {
      throw invalid(
        `One or more parameter values were invalid: Type mismatch for key ${name} expected: ${type} actual: ${typeOf(value)}`,
      );
    }
  }
  checkSizes(table, item);
  checkIndexKeys(table, item);
}

/** @throws `ValidationException` */
export function checkIndexKeys(table: TableDescription, item: Item): void {
  for (const index of table.indexes ?? []) {
    for (const name of keyNamesOf(index)) {
      const value = item[name];
      if (!value) continue;
      const type = keyTypeOf(table, name);
      if (typeOf(value) !== type) {
        throw invalid(
          `One or more parameter values were invalid: Type mismatch for Index Key ${name} Expected: ${type} Actual: ${typeOf(value)} IndexName: ${index.name}`,
        );
      }
      if (isEmpty(value)) {
        throw invalid(
          `One or more parameter values are not valid. A value specified for a secondary index key is not supported. The AttributeValue for a key attribute cannot contain an empty string value. IndexName: ${index.name}, IndexKey: ${name}`,
        );
      }
    }
  }
}

const isEmpty = (value: Value): boolean => ('S' in value || 'B' in value) && sizeOfValue(value) === 0;

function checkSizes(table: TableDescription, item: Item): void {
  for (const name of keyNamesOf(table)) {
    const value = item[name] as Value;
    if (isEmpty(value)) {
      throw invalid(
        `One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an empty string value. Key: ${name}`,
      );
    }
    const limit = name === table.partitionKey ? keyLimits.partition : keyLimits.sort;
    if (sizeOfValue(value) > limit) {
      throw invalid(
        `One or more parameter values were invalid: Size of key ${name} has exceeded the maximum size limit of ${limit} bytes`,
      );
    }
  }
}

/** @throws `ValidationException` */
export function checkSize(item: Item, message: string): void {
  if (sizeOfItem(item) > maxItemBytes) throw invalid(message);
}
