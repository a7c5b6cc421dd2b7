/** Conditions and filters: read once, evaluated on an item. */
import { type Path, type Placeholders, Reader } from './tokens.ts';
import {
  beginsWith,
  compare,
  contains,
  type Item,
  isEqual,
  ordered,
  sizeFunction,
  type Type,
  typeOf,
  types,
  type Value,
} from './values.ts';

type Comparator = '=' | '<>' | '<' | '<=' | '>' | '>=';

export type Operand =
  | { readonly kind: 'path'; readonly path: Path }
  | { readonly kind: 'value'; readonly value: Value }
  | { readonly kind: 'size'; readonly path: Path };

export type Condition =
  | { readonly kind: 'and' | 'or'; readonly left: Condition; readonly right: Condition }
  | { readonly kind: 'not'; readonly condition: Condition }
  | {
      readonly kind: 'compare';
      readonly comparator: Comparator;
      readonly left: Operand;
      readonly right: Operand;
    }
  | { readonly kind: 'between'; readonly operand: Operand; readonly low: Operand; readonly high: Operand }
  | { readonly kind: 'in'; readonly operand: Operand; readonly choices: readonly Operand[] }
  | { readonly kind: 'exists'; readonly path: Path; readonly isWanted: boolean }
  | { readonly kind: 'type'; readonly path: Path; readonly type: Type }
  | { readonly kind: 'begins'; readonly operand: Operand; readonly prefix: Operand }
  | { readonly kind: 'contains'; readonly operand: Operand; readonly part: Operand };

const comparators: readonly string[] = ['=', '<>', '<', '<=', '>', '>='];
const maxChoices = 100;

export function readCondition(parameter: string, expression: string, placeholders: Placeholders): Condition {
  const reader = new Reader(parameter, expression, placeholders);
  const condition = disjunction(reader);
  reader.expectEnd();
  return condition;
}

function disjunction(reader: Reader): Condition {
  let left = conjunction(reader);
  while (reader.takeWord('OR')) left = { kind: 'or', left, right: conjunction(reader) };
  return left;
}

function conjunction(reader: Reader): Condition {
  let left = negation(reader);
  while (reader.takeWord('AND')) left = { kind: 'and', left, right: negation(reader) };
  return left;
}

function negation(reader: Reader): Condition {
  if (reader.takeWord('NOT')) return { kind: 'not', condition: negation(reader) };
  return primary(reader);
}

const redundant = new WeakSet<Condition>();

function primary(reader: Reader): Condition {
  if (reader.takeSymbol('(')) {
    const inner = disjunction(reader);
    reader.expectSymbol(')');
    if (redundant.has(inner)) throw reader.refuse('The expression has redundant parentheses;');
    redundant.add(inner);
    return inner;
  }
  if (reader.peek().kind === 'word' && reader.isSymbol('(', 1)) {
    const name = reader.peek().text;
    if (name !== 'size') return functionCall(reader, name);
  }
  const operand = readOperand(reader);
  if (reader.takeWord('BETWEEN')) {
    const low = readOperand(reader);
    if (!reader.takeWord('AND')) throw reader.syntaxError();
    const high = readOperand(reader);
    for (const bound of [low, high]) refuseSame(reader, 'BETWEEN', operand, bound);
    checkBounds(reader, operand, low, high);
    return { kind: 'between', operand, low, high };
  }
  if (reader.takeWord('IN')) {
    reader.expectSymbol('(');
    const choices = list(reader);
    if (choices.length > maxChoices) throw reader.refuse('Too many operands for operator IN;');
    for (const choice of choices) refuseSame(reader, 'IN', operand, choice);
    return { kind: 'in', operand, choices };
  }
  const { kind, text } = reader.peek();
  if (kind !== 'symbol' || !comparators.includes(text)) throw reader.syntaxError();
  reader.next();
  const right = readOperand(reader);
  const comparator = text as Comparator;
  refuseSame(reader, comparator, operand, right);
  if (comparator !== '=' && comparator !== '<>') {
    for (const one of [operand, right]) checkOrdered(reader, comparator, one);
  }
  return { kind: 'compare', comparator, left: operand, right };
}

function list(reader: Reader): Operand[] {
  const operands = [readOperand(reader)];
  while (reader.takeSymbol(',')) operands.push(readOperand(reader));
  reader.expectSymbol(')');
  return operands;
}

function readOperand(reader: Reader): Operand {
  if (reader.isValue()) return { kind: 'value', value: reader.value() };
  if (reader.peek().kind === 'word' && reader.isSymbol('(', 1)) {
    const name = reader.next().text;
    if (name !== 'size') throw reader.refuse(`Invalid function name; function: ${name}`);
    reader.expectSymbol('(');
    const path = reader.path();
    reader.expectSymbol(')');
    return { kind: 'size', path };
  }
  return { kind: 'path', path: reader.path() };
}

const operandCounts: Readonly<Record<string, number>> = {
  attribute_exists: 1,
  attribute_not_exists: 1,
  attribute_type: 2,
  begins_with: 2,
  contains: 2,
};

function functionCall(reader: Reader, name: string): Condition {
  reader.next();
  reader.expectSymbol('(');
  const operands = list(reader);
  const wanted = Object.hasOwn(operandCounts, name) ? operandCounts[name] : undefined;
  if (wanted === undefined) throw reader.refuse(`Invalid function name; function: ${name}`);
  const [first, second] = operands;
  if (operands.length !== wanted || !first) {
    throw reader.refuse(`Incorrect number of operands for operator or function; function: ${name}`);
  }
  const pathOf = (operand: Operand): Path => {
    if (operand.kind === 'path') return operand.path;
    throw reader.refuse(`Operator or function requires a document path; operator or function: ${name}`);
  };
  switch (name) {
    case 'attribute_exists':
    case 'attribute_not_exists':
      return { kind: 'exists', path: pathOf(first), isWanted: name === 'attribute_exists' };
    case 'attribute_type': {
      const path = pathOf(first);
      const type = second?.kind === 'value' && 'S' in second.value ? second.value.S : undefined;
      if (type === undefined) throw wrongType(reader, name);
      if (!types.includes(type as Type))
        throw reader.refuse(`Invalid attribute type name found; type: ${type}`);
      return { kind: 'type', path, type: type as Type };
    }
    case 'begins_with':
      for (const one of [first, second as Operand]) {
        if (one.kind === 'size' || (one.kind === 'value' && !('S' in one.value) && !('B' in one.value))) {
          throw wrongType(reader, name);
        }
      }
      refuseSame(reader, name, first, second as Operand);
      return { kind: 'begins', operand: first, prefix: second as Operand };
    default:
      refuseSame(reader, name, first, second as Operand);
      return { kind: 'contains', operand: first, part: second as Operand };
  }
}

const wrongType = (reader: Reader, name: string) =>
  reader.refuse(`Incorrect operand type for operator or function; operator or function: ${name}`);

function refuseSame(reader: Reader, name: string, left: Operand, right: Operand): void {
  const isSame =
    left.kind === right.kind &&
    'path' in left &&
    'path' in right &&
    JSON.stringify(left.path) === JSON.stringify(right.path);
  if (isSame) {
    throw reader.refuse(
      `The first operand must be distinct from the remaining operands for this operator or function; operator: ${name}`,
    );
  }
}

function checkOrdered(reader: Reader, name: string, operand: Operand): void {
  if (operand.kind === 'value' && !ordered.includes(typeOf(operand.value))) throw wrongType(reader, name);
}

function checkBounds(reader: Reader, operand: Operand, low: Operand, high: Operand): void {
  for (const one of [operand, low, high]) checkOrdered(reader, 'BETWEEN', one);
  if (low.kind !== 'value' || high.kind !== 'value') return;
  const difference = compare(low.value, high.value);
  if (difference === undefined) {
    throw reader.refuse('The BETWEEN operator requires same data type for lower and upper bounds;');
  }
  if (difference > 0) {
    throw reader.refuse(
      'The BETWEEN operator requires upper bound to be greater than or equal to lower bound;',
    );
  }
}

/** What a path leads to; `undefined` where there is nothing. */
export function valueAt(item: Item, path: Path): Value | undefined {
  let value = { M: item } as Value | undefined;
  for (const part of path) {
    if (value === undefined) return undefined;
    if (typeof part === 'number') value = 'L' in value ? value.L[part] : undefined;
    else value = 'M' in value && Object.hasOwn(value.M, part) ? value.M[part] : undefined;
  }
  return value;
}

function operandOf(operand: Operand, item: Item): Value | undefined {
  if (operand.kind === 'value') return operand.value;
  const value = valueAt(item, operand.path);
  if (operand.kind === 'path' || value === undefined) return value;
  const size = sizeFunction(value);
  return size === undefined ? undefined : { N: String(size) };
}

export function isMet(condition: Condition, item: Item): boolean {
  const of = (operand: Operand): Value | undefined => operandOf(operand, item);
  switch (condition.kind) {
    case 'and':
      return isMet(condition.left, item) && isMet(condition.right, item);
    case 'or':
      return isMet(condition.left, item) || isMet(condition.right, item);
    case 'not':
      return !isMet(condition.condition, item);
    case 'compare':
      return holds(condition.comparator, of(condition.left), of(condition.right));
    case 'between':
      return (
        holds('>=', of(condition.operand), of(condition.low)) &&
        holds('<=', of(condition.operand), of(condition.high))
      );
    case 'in':
      return condition.choices.some((choice) => holds('=', of(condition.operand), of(choice)));
    case 'exists':
      return (valueAt(item, condition.path) !== undefined) === condition.isWanted;
    case 'type': {
      const value = valueAt(item, condition.path);
      return value !== undefined && typeOf(value) === condition.type;
    }
    case 'begins': {
      const [value, prefix] = [of(condition.operand), of(condition.prefix)];
      return value !== undefined && prefix !== undefined && beginsWith(value, prefix);
    }
    case 'contains': {
      const [value, part] = [of(condition.operand), of(condition.part)];
      return value !== undefined && part !== undefined && contains(value, part);
    }
  }
}

function holds(comparator: Comparator, left: Value | undefined, right: Value | undefined): boolean {
  if (comparator === '<>') return !holds('=', left, right);
  if (left === undefined || right === undefined) return false;
  if (comparator === '=') return isEqual(left, right);
  const difference = compare(left, right);
  if (difference === undefined) return false;
  switch (comparator) {
    case '<':
      return difference < 0;
    case '<=':
      return difference <= 0;
    case '>':
      return difference > 0;
    case '>=':
      return difference >= 0;
  }
}
