/** What only queries ask of a condition: its range of keys, and the attributes that it reads. */
import {
  type Condition,
  isMet,
  type Operand,
  readCondition,
} from '../../../lib/testing/dynamodb/condition.ts';
import { invalid } from '../../../lib/testing/dynamodb/errors.ts';
import type { Placeholders } from '../../../lib/testing/dynamodb/tokens.ts';
import type { Value } from '../../../lib/testing/dynamodb/values.ts';

/** Attributes that a condition reads. */
export function namesIn(condition: Condition): string[] {
  const paths = (operands: readonly Operand[]): string[] =>
    operands.flatMap((operand) => (operand.kind === 'value' ? [] : [String(operand.path[0])]));
  switch (condition.kind) {
    case 'and':
    case 'or':
      return [...namesIn(condition.left), ...namesIn(condition.right)];
    case 'not':
      return namesIn(condition.condition);
    case 'compare':
      return paths([condition.left, condition.right]);
    case 'between':
      return paths([condition.operand, condition.low, condition.high]);
    case 'in':
      return paths([condition.operand, ...condition.choices]);
    case 'exists':
    case 'type':
      return [String(condition.path[0])];
    case 'begins':
      return paths([condition.operand, condition.prefix]);
    case 'contains':
      return paths([condition.operand, condition.part]);
  }
}

/** Which items a query asks for. */
export interface KeyCondition {
  readonly partition: Value;
  /** What the sort key is held against. */
  readonly bounds: readonly Value[];
  isInRange(sortKey: Value | undefined): boolean;
}

/** @throws `ValidationException` for anything but one partition and one condition on the sort key */
export function readKeyCondition(
  expression: string,
  placeholders: Placeholders,
  partitionKey: string,
  sortKey: string | undefined,
): KeyCondition {
  const condition = readCondition('KeyConditionExpression', expression, placeholders);
  const parts = condition.kind === 'and' ? [condition.left, condition.right] : [condition];
  const onName = (part: Condition): string | undefined => {
    const operand = part.kind === 'compare' ? part.left : 'operand' in part ? part.operand : undefined;
    return operand?.kind === 'path' && operand.path.length === 1 ? String(operand.path[0]) : undefined;
  };
  const ofPartition = parts.find((part) => onName(part) === partitionKey);
  if (!ofPartition) throw invalid(`Query condition missed key schema element: ${partitionKey}`);
  if (
    ofPartition.kind !== 'compare' ||
    ofPartition.comparator !== '=' ||
    ofPartition.right.kind !== 'value'
  ) {
    throw invalid('Query key condition not supported');
  }
  const partition = ofPartition.right.value;
  const ofSort = parts.find((part) => part !== ofPartition);
  if (!ofSort) return { partition, bounds: [], isInRange: () => true };
  const isRange =
    ofSort.kind === 'between' ||
    ofSort.kind === 'begins' ||
    (ofSort.kind === 'compare' && ofSort.comparator !== '<>');
  if (sortKey === undefined || onName(ofSort) !== sortKey) {
    throw invalid(`Query condition missed key schema element: ${sortKey ?? partitionKey}`);
  }
  if (!isRange) throw invalid('Query key condition not supported');
  return {
    partition,
    bounds: constantsIn(ofSort),
    isInRange: (value) => value !== undefined && isMet(ofSort, { [sortKey]: value }),
  };
}

function constantsIn(condition: Condition): Value[] {
  const { left, right, low, high, prefix } = condition as unknown as Partial<Record<string, Operand>>;
  return [left, right, low, high, prefix].flatMap((one) => (one?.kind === 'value' ? [one.value] : []));
}
