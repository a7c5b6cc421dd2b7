/** Writes as they are sent: read and checked once, then judged on the item that they meet. */
import { type Condition, isMet, readCondition } from './condition.ts';
import { invalid, type Reason, Refusal } from './errors.ts';
import {
  checkIndexKeys,
  checkKeys,
  checkSize,
  keyIn,
  keyNamesOf,
  readKey,
  type TableDescription,
  textOfKey,
} from './tables.ts';
import { Placeholders } from './tokens.ts';
import { applyUpdate, readUpdate, type Update } from './update.ts';
import { copyItem, type Item, readItem } from './values.ts';

/** A table as far as a write needs it. */
export interface TableContent {
  readonly description: TableDescription;
  /** By `textOfKey`. */
  readonly items: ReadonlyMap<string, Item>;
}

/** One write that was judged: what will lie under the key. */
export interface Write<Table extends TableContent> {
  readonly table: Table;
  readonly keyText: string;
  readonly key: Item;
  readonly before: Item | undefined;
  readonly after: Item | undefined;
  readonly isCheck: boolean;
}

/** What a write asks for, read and checked as far as that goes without the item. */
export interface Request<Table extends TableContent> {
  readonly table: Table;
  readonly key: Item;
  readonly condition: Condition | undefined;
  readonly returnsFound: boolean;
  readonly action:
    | { readonly kind: 'put'; readonly item: Item }
    | { readonly kind: 'update'; readonly update: Update }
    | { readonly kind: 'delete' }
    | { readonly kind: 'check' };
}

/** The parameters of a request, as they came. */
export interface Input {
  readonly TableName?: unknown;
  readonly Item?: unknown;
  readonly Key?: unknown;
  readonly ConditionExpression?: string | undefined;
  readonly UpdateExpression?: string | undefined;
  readonly ExpressionAttributeNames?: Record<string, string> | undefined;
  readonly ExpressionAttributeValues?: Record<string, unknown> | undefined;
  readonly ReturnValuesOnConditionCheckFailure?: string | undefined;
}

type TableOf<Table extends TableContent> = (input: Input) => Table;

export const sharedParameters = ['TableName', 'ReturnConsumedCapacity', 'ReturnItemCollectionMetrics'];
const conditional = [
  ...sharedParameters,
  'ConditionExpression',
  'ExpressionAttributeNames',
  'ExpressionAttributeValues',
  'ReturnValuesOnConditionCheckFailure',
];
export const parametersOf = {
  Put: [...conditional, 'Item'],
  Update: [...conditional, 'Key', 'UpdateExpression'],
  Delete: [...conditional, 'Key'],
  ConditionCheck: [...conditional, 'Key'],
} as const;

/** @throws Error for a parameter that would otherwise be passed over in silence */
export function refuseUnknown(what: string, input: object, names: readonly string[]): void {
  const unknown = Object.entries(input).find(
    ([name, value]) => value !== undefined && !names.includes(name),
  )?.[0];
  if (unknown !== undefined) throw new Error(`The model does not know ${what}'s parameter ${unknown}.`);
}

export function oneOf(parameter: string, given: unknown, choices: readonly string[]): void {
  if (given === undefined || choices.includes(given as string)) return;
  throw invalid(`Value '${given}' at '${parameter}' failed to satisfy constraint: [${choices.join(', ')}]`);
}

export function placeholdersOf(input: Input, expressions: readonly (string | undefined)[]): Placeholders {
  const { ExpressionAttributeNames: names, ExpressionAttributeValues: values } = input;
  const hasExpression = expressions.some((expression) => expression !== undefined);
  for (const [parameter, map] of Object.entries({
    ExpressionAttributeNames: names,
    ExpressionAttributeValues: values,
  })) {
    if (map === undefined) continue;
    if (!hasExpression) throw invalid(`${parameter} can only be specified when using expressions`);
    if (Object.keys(map).length === 0) throw invalid(`${parameter} must not be empty`);
  }
  return new Placeholders(names, values);
}

const parameter = 'ReturnValuesOnConditionCheckFailure';

function conditionOf(input: Input, placeholders: Placeholders): Condition | undefined {
  oneOf(parameter, input[parameter], ['NONE', 'ALL_OLD']);
  const expression = input.ConditionExpression;
  return expression === undefined
    ? undefined
    : readCondition('ConditionExpression', expression, placeholders);
}

const returnsFound = (input: Input): boolean => input[parameter] === 'ALL_OLD';

export function readPut<Table extends TableContent>(table: Table, input: Input): Request<Table> {
  const placeholders = placeholdersOf(input, [input.ConditionExpression]);
  const condition = conditionOf(input, placeholders);
  placeholders.refuseUnused();
  const item = readItem(input.Item);
  checkKeys(table.description, item);
  checkSize(item, 'Item size has exceeded the maximum allowed size');
  const key = keyIn(table.description, item);
  return { table, key, condition, returnsFound: returnsFound(input), action: { kind: 'put', item } };
}

export function readDelete<Table extends TableContent>(table: Table, input: Input): Request<Table> {
  return { ...readCheck(table, input), action: { kind: 'delete' } };
}

function readCheck<Table extends TableContent>(table: Table, input: Input): Request<Table> {
  const placeholders = placeholdersOf(input, [input.ConditionExpression]);
  const condition = conditionOf(input, placeholders);
  placeholders.refuseUnused();
  const key = readKey(table.description, input.Key);
  return { table, key, condition, returnsFound: returnsFound(input), action: { kind: 'check' } };
}

export function readUpdateRequest<Table extends TableContent>(table: Table, input: Input) {
  const placeholders = placeholdersOf(input, [input.UpdateExpression, input.ConditionExpression]);
  const expression = input.UpdateExpression;
  const update = expression === undefined ? [] : readUpdate(expression, placeholders);
  const condition = conditionOf(input, placeholders);
  placeholders.refuseUnused();
  const key = readKey(table.description, input.Key);
  return {
    ...{ table, key, condition, returnsFound: returnsFound(input) },
    action: { kind: 'update' as const, update },
  };
}

/**
 * One write of a transaction.
 *
 * @throws `ValidationException`
 */
export function readEntry<Table extends TableContent>(
  entry: Readonly<Record<string, Input | undefined>>,
  tableOf: TableOf<Table>,
): Request<Table> {
  const kinds = Object.keys(entry).filter((kind) => entry[kind] !== undefined);
  const [kind] = kinds;
  const input = kind === undefined ? undefined : entry[kind];
  if (kinds.length !== 1 || !input) {
    throw invalid('TransactItems can only contain one of Check, Put, Update or Delete');
  }
  switch (kind) {
    case 'Put':
      refuseUnknown(kind, input, parametersOf[kind]);
      return readPut(tableOf(input), input);
    case 'Update':
      refuseUnknown(kind, input, parametersOf[kind]);
      if (input.UpdateExpression === undefined) throw invalid('Member must not be null: updateExpression');
      return readUpdateRequest(tableOf(input), input);
    case 'Delete':
      refuseUnknown(kind, input, parametersOf[kind]);
      return readDelete(tableOf(input), input);
    case 'ConditionCheck':
      refuseUnknown(kind, input, parametersOf[kind]);
      if (input.ConditionExpression === undefined)
        throw invalid('Member must not be null: conditionExpression');
      return readCheck(tableOf(input), input);
    default:
      throw new Error(`The model does not know a transaction's ${kind}.`);
  }
}

/** @throws `Refusal` for a condition that is not met, and for what the item does not allow */
export function judge<Table extends TableContent>(request: Request<Table>): Write<Table> {
  const { table, key, condition, action } = request;
  const { description } = table;
  const keyText = textOfKey(description, key);
  const before = table.items.get(keyText);
  if (condition && !isMet(condition, before ?? {})) {
    throw new Refusal({
      name: 'ConditionalCheckFailedException',
      message: 'The conditional request failed',
      ...(request.returnsFound && before && { Item: copyItem(before) }),
    });
  }
  const judged = { table, keyText, key, before, isCheck: action.kind === 'check' };
  switch (action.kind) {
    case 'put':
      return { ...judged, after: action.item };
    case 'delete':
      return { ...judged, after: undefined };
    case 'check':
      return { ...judged, after: before };
    case 'update': {
      const after = applyUpdate(action.update, before ?? key, keyNamesOf(description));
      checkIndexKeys(description, after);
      checkSize(after, 'Item size to update has exceeded the maximum allowed size');
      return { ...judged, after };
    }
  }
}

/** Why one write stops its transaction. @throws whatever else was thrown */
export function reasonOf(error: unknown): Reason {
  if (!(error instanceof Refusal)) throw error;
  const { name, message, Item } = error.failure;
  const Code = name === 'ConditionalCheckFailedException' ? 'ConditionalCheckFailed' : 'ValidationError';
  return { Code, Message: message, ...(Item && { Item }) };
}
