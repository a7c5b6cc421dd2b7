/** Requests by chance, to a few items of two tables. */

import type { Item, Value } from '../dynamodb-model/index.ts';
import type { Loose } from '../dynamodb-model/loose.ts';
import { conditionOf, itemOf, projectionOf, Terms, updateOf } from './expressions.ts';
import type { Random } from './random.ts';

export interface Request {
  readonly name: string;
  readonly input: Loose;
}

export interface Names {
  /** Keys `pk` and `sk`, texts; index `byOwner` on `owner`. */
  readonly texts: string;
  /** Keys `pk`, a text, and `sk`, a number. */
  readonly numbers: string;
  /** Tokens outlive tables, so each pair has tokens of its own. */
  readonly run: string;
}

/** Requests of one course. Its items are apart from those of others, so that one pair of tables serves all. */
export function requestsOf(random: Random, names: Names, course: string, count: number): Request[] {
  const requests: Request[] = [];
  for (let left = count; left > 0; left--) {
    const earlier = requests.filter(({ name }) => name === 'TransactWriteItems').at(-1);
    const isRepeat = earlier?.input.ClientRequestToken !== undefined && random.chance(0.15);
    requests.push(isRepeat ? repeated(random, earlier) : requestOf(random, names, course));
  }
  return requests;
}

function repeated(random: Random, { name, input }: Request): Request {
  if (random.chance(0.7)) return { name, input };
  return { name, input: { ...input, TransactItems: input.TransactItems.slice(0, 1) } };
}

export const partitionsOf = (course: string): string[] => [`${course}-p`, `${course}-q`];

function requestOf(random: Random, names: Names, course: string): Request {
  const target = targetOf(random, names, course);
  switch (random.below(14)) {
    case 0:
    case 1:
    case 2:
      return {
        name: 'PutItem',
        input: { ...putOf(random, target), ...returning(random, ['NONE', 'ALL_OLD']) },
      };
    case 3:
    case 4:
    case 5:
    case 6: {
      // Of an update of nothing DynamoDB Local cannot tell what was updated: it fails inside.
      const wishes = ['NONE', 'ALL_OLD', 'ALL_NEW'];
      if (random.chance(0.05)) {
        const { UpdateExpression: _, ...input } = updateInput(random, target);
        return { name: 'UpdateItem', input: { ...input, ...returning(random, wishes) } };
      }
      const input = updateInput(random, target);
      // Of an element that was put at a list's end DynamoDB Local returns the whole list.
      const all = [
        ...wishes,
        'UPDATED_OLD',
        ...(input.UpdateExpression.includes('[') ? [] : ['UPDATED_NEW']),
      ];
      return { name: 'UpdateItem', input: { ...input, ...returning(random, all) } };
    }
    case 7:
      return {
        name: 'DeleteItem',
        input: { ...deleteOf(random, target), ...returning(random, ['NONE', 'ALL_OLD']) },
      };
    case 8:
      return { name: 'GetItem', input: getOf(random, target) };
    case 9:
    case 10:
      return { name: 'Query', input: queryOf(random, names, course) };
    default:
      return { name: 'TransactWriteItems', input: transactionOf(random, names, course) };
  }
}

interface Target {
  readonly TableName: string;
  readonly key: Item;
}

function targetOf(random: Random, { texts, numbers }: Names, course: string): Target {
  const pk: Value = { S: random.pick(partitionsOf(course)) };
  if (random.chance(0.7)) return { TableName: texts, key: { pk, sk: { S: random.pick(['a', 'ab', 'b']) } } };
  return { TableName: numbers, key: { pk, sk: { N: random.pick(['1', '2', '10', '-1', '1.0']) } } };
}

/** Now and then not what the table's keys are. */
function keyOf(random: Random, { key }: Target): Item {
  if (random.chance(0.97)) return key;
  const { pk, sk } = key as { pk: Value; sk: Value };
  return random.pick<Item>([
    { pk },
    { pk, sk, more: { S: 'x' } },
    { pk, sk: { BOOL: true } },
    { pk, sk: { S: '' } },
    { pk: { N: '1' }, sk },
  ]);
}

function conditional(random: Random, terms: Terms, chance = 0.6): Record<string, unknown> {
  if (!random.chance(chance)) return {};
  const condition = random.chance(0.2)
    ? `${random.pick(['attribute_exists', 'attribute_not_exists'])}(${terms.name('pk')})`
    : conditionOf(random, terms);
  return {
    ConditionExpression: condition,
    ...(random.chance(0.7) && {
      ReturnValuesOnConditionCheckFailure: random.pick(['ALL_OLD', 'ALL_OLD', 'NONE']),
    }),
  };
}

const returning = (random: Random, wishes: readonly string[]): object =>
  random.chance(0.5) ? { ReturnValues: random.pick(wishes) } : {};

function putOf(random: Random, target: Target): Loose {
  const terms = new Terms(random);
  const condition = conditional(random, terms);
  const Item = { ...itemOf(random, 5), ...keyOf(random, target) };
  return { TableName: target.TableName, Item, ...condition, ...terms.parameters() };
}

function updateInput(random: Random, target: Target): Loose {
  const terms = new Terms(random);
  const condition = conditional(random, terms, 0.4);
  const UpdateExpression = updateOf(random, terms);
  return {
    TableName: target.TableName,
    Key: keyOf(random, target),
    UpdateExpression,
    ...condition,
    ...terms.parameters(),
  };
}

function deleteOf(random: Random, target: Target, chance?: number): Loose {
  const terms = new Terms(random);
  const condition = conditional(random, terms, chance);
  return { TableName: target.TableName, Key: keyOf(random, target), ...condition, ...terms.parameters() };
}

function getOf(random: Random, target: Target): Loose {
  const terms = new Terms(random);
  const projection = random.chance(0.4) ? { ProjectionExpression: projectionOf(random, terms) } : {};
  const { ExpressionAttributeNames } = terms.parameters();
  return {
    ...{ TableName: target.TableName, Key: keyOf(random, target), ConsistentRead: true },
    ...projection,
    ...(ExpressionAttributeNames !== undefined && { ExpressionAttributeNames }),
  };
}

function queryOf(random: Random, { texts, numbers }: Names, course: string): Loose {
  const terms = new Terms(random);
  const pk: Value = { S: random.pick(partitionsOf(course)) };
  const isText = random.chance(0.7);
  const sort = (value: string): string =>
    terms.value(isText || random.chance(0.03) ? { S: value } : { N: String(value.length) });
  const partition = `${terms.name('pk')} = ${terms.value(pk)}`;
  const sk = terms.name('sk');
  const range = random.pick([
    () => '',
    () => ` AND begins_with(${sk}, ${sort('a')})`,
    () => ` AND ${sk} BETWEEN ${sort('a')} AND ${sort('ab')}`,
    () => ` AND ${sk} ${random.pick(['<', '<=', '>', '>=', '=', '<>'])} ${sort('ab')}`,
    () => ` AND (${sk} > ${sort('a')})`,
  ])();
  return {
    TableName: isText ? texts : numbers,
    KeyConditionExpression: random.chance(0.9)
      ? partition + range
      : `${range.replace(' AND ', '') || partition}`,
    ...(random.chance(0.3) && { FilterExpression: conditionOf(random, terms, 2) }),
    ...(random.chance(0.3) && { ProjectionExpression: projectionOf(random, terms) }),
    ...(random.chance(0.3) && { ScanIndexForward: random.chance(0.5) }),
    ...(random.chance(0.4) && { Limit: 1 + random.below(3) }),
    ...(random.chance(0.3) && {
      ExclusiveStartKey: { pk, sk: isText ? { S: random.pick(['a', 'aa', 'b']) } : { N: '1' } },
    }),
    ConsistentRead: true,
    ...terms.parameters(),
  };
}

function transactionOf(random: Random, names: Names, course: string): Loose {
  const targets = Array.from({ length: 1 + random.below(4) }, () => targetOf(random, names, course));
  const distinct = random.chance(0.05)
    ? targets
    : targets.filter((target, at) => targets.findIndex((one) => textOf(one) === textOf(target)) === at);
  const TransactItems = distinct.map((target) => {
    switch (random.below(5)) {
      case 0:
        return { Delete: deleteOf(random, target) };
      case 1:
        return { ConditionCheck: deleteOf(random, target, 0.98) };
      case 2:
      case 3:
        return { Put: putOf(random, target) };
      default:
        return { Update: updateInput(random, target) };
    }
  });
  const token = `${names.run}-${course}-${random.below(1_000_000)}`;
  return { TransactItems, ...(random.chance(0.6) && { ClientRequestToken: token }) };
}

const textOf = ({ TableName, key }: Target): string =>
  JSON.stringify([TableName, key.pk, Number((key.sk as { N?: string }).N ?? Number.NaN), key.sk]).replace(
    '"1.0"',
    '"1"',
  );
