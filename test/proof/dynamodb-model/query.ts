/** Queries of a table or an index: range, order, pages, filter. */

import { isMet, readCondition } from '../../../lib/testing/dynamodb/condition.ts';
import { invalid } from '../../../lib/testing/dynamodb/errors.ts';
import {
  keyNamesOf,
  keyTypeOf,
  readKey,
  type TableDescription,
  textOfKey,
} from '../../../lib/testing/dynamodb/tables.ts';
import type { Placeholders } from '../../../lib/testing/dynamodb/tokens.ts';
import {
  compare,
  copyItem,
  type Item,
  isEqual,
  readItem,
  sizeOfItem,
  typeOf,
  type Value,
} from '../../../lib/testing/dynamodb/values.ts';
import { namesIn, readKeyCondition } from './key-condition.ts';
import type { Loose } from './loose.ts';
import { project, readProjection } from './projection.ts';

export interface ItemVersion {
  readonly latest: Item | undefined;
  eventual(): Item | undefined;
}

const maxPageBytes = 1024 * 1024;

export function queryItems(
  table: TableDescription,
  input: Readonly<Loose>,
  placeholders: Placeholders,
  versions: readonly ItemVersion[],
): Loose {
  const index =
    input.IndexName === undefined ? undefined : table.indexes?.find(({ name }) => name === input.IndexName);
  if (input.IndexName !== undefined && !index) {
    throw invalid(`The table does not have the specified index: ${input.IndexName}`);
  }
  if (index && input.ConsistentRead === true) {
    throw invalid('Consistent reads are not supported on global secondary indexes');
  }
  if (input.KeyConditionExpression === undefined) {
    throw invalid(
      'Either the KeyConditions or KeyConditionExpression parameter must be specified in the request.',
    );
  }
  if (input.Limit !== undefined && !(input.Limit >= 1)) throw invalid('Limit must be at least 1');
  const { partitionKey, sortKey } = index ?? table;
  const condition = readKeyCondition(input.KeyConditionExpression, placeholders, partitionKey, sortKey);
  const isOther = (value: Value, key: string): boolean => typeOf(value) !== keyTypeOf(table, key);
  if (
    isOther(condition.partition, partitionKey) ||
    (sortKey !== undefined && condition.bounds.some((bound) => isOther(bound, sortKey)))
  ) {
    throw invalid(
      'One or more parameter values were invalid: Condition parameter type does not match schema type',
    );
  }
  const filter =
    input.FilterExpression === undefined
      ? undefined
      : readCondition('FilterExpression', input.FilterExpression, placeholders);
  const keyInFilter = filter && namesIn(filter).find((name) => [partitionKey, sortKey].includes(name));
  if (keyInFilter !== undefined) {
    throw invalid(
      `Filter Expression can only contain non-primary key attributes: Primary key attribute: ${keyInFilter}`,
    );
  }
  const paths =
    input.ProjectionExpression === undefined
      ? undefined
      : readProjection(input.ProjectionExpression, placeholders);
  placeholders.refuseUnused();

  const isConsistent = input.ConsistentRead === true;
  const items = versions
    .map((version) => (isConsistent ? version.latest : version.eventual()))
    .filter((item) => item !== undefined)
    .filter((item) => {
      const partition = item[partitionKey];
      if (!partition || !isEqual(partition, condition.partition)) return false;
      return sortKey === undefined || (item[sortKey] !== undefined && condition.isInRange(item[sortKey]));
    });
  const order = (one: Item, other: Item): number => {
    const bySort = sortKey === undefined ? 0 : (compare(one[sortKey] as Value, other[sortKey] as Value) ?? 0);
    if (bySort !== 0 || !index) return bySort;
    return textOfKey(table, one) < textOfKey(table, other) ? -1 : 1;
  };
  const direction = input.ScanIndexForward === false ? -1 : 1;
  items.sort((one, other) => direction * order(one, other));

  const startNames = [...new Set([...keyNamesOf(index ?? table), ...keyNamesOf(table)])];
  const start = readStart(table, input.ExclusiveStartKey, startNames, condition.partition, partitionKey);
  if (start && sortKey !== undefined && !condition.isInRange(start[sortKey])) {
    throw invalid('The provided starting key does not match the range key predicate');
  }
  const rest = start ? items.filter((item) => direction * order(item, start) > 0) : items;
  const page: Item[] = [];
  let bytes = 0;
  let isCut = false;
  for (const item of rest) {
    page.push(item);
    bytes += sizeOfItem(item);
    isCut = page.length === input.Limit || bytes > maxPageBytes;
    if (isCut) break;
  }
  const last = isCut ? page.at(-1) : undefined;
  const kept = filter ? page.filter((item) => isMet(filter, item)) : page;
  const LastEvaluatedKey =
    last && copyItem(Object.fromEntries(startNames.map((name) => [name, last[name] as Value])));
  const counts = { Count: kept.length, ScannedCount: page.length };
  const Items = kept
    .map((item) => inIndex(item, index?.attributes, startNames))
    .map((item) => copyItem(paths ? project(item, paths) : item));
  return {
    ...(input.Select === 'COUNT' ? {} : { Items }),
    ...counts,
    ...(LastEvaluatedKey && { LastEvaluatedKey }),
  };
}

const inIndex = (item: Item, attributes: readonly string[] | undefined, keys: readonly string[]): Item =>
  attributes
    ? Object.fromEntries(
        Object.entries(item).filter(([name]) => keys.includes(name) || attributes.includes(name)),
      )
    : item;

function readStart(
  table: TableDescription,
  given: unknown,
  names: readonly string[],
  partition: Value,
  partitionKey: string,
): Item | undefined {
  if (given === undefined) return undefined;
  const start = readItem(given);
  const isWhole = Object.keys(start).length === names.length && names.every((name) => start[name]);
  if (!isWhole) throw invalid('The provided starting key is invalid');
  readKey(table, Object.fromEntries(keyNamesOf(table).map((name) => [name, start[name]])));
  const found = start[partitionKey];
  if (!found || !isEqual(found, partition)) {
    throw invalid('The provided starting key is outside query boundaries based on provided conditions');
  }
  return start;
}
