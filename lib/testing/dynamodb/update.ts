/** Update expressions: read once, applied to an item. */
import { valueAt } from './condition.ts';
import { invalid } from './errors.ts';
import { type Path, type Placeholders, Reader } from './tokens.ts';
import { difference, type Item, isSet, sum, typeOf, union, type Value } from './values.ts';

type Operand =
  | { readonly kind: 'path'; readonly path: Path }
  | { readonly kind: 'value'; readonly value: Value }
  | { readonly kind: 'if_not_exists'; readonly path: Path; readonly otherwise: Operand }
  | { readonly kind: 'list_append'; readonly first: Operand; readonly second: Operand }
  | { readonly kind: 'sum'; readonly sign: 1 | -1; readonly first: Operand; readonly second: Operand };

type Action =
  | { readonly kind: 'SET'; readonly path: Path; readonly operand: Operand }
  | { readonly kind: 'REMOVE'; readonly path: Path }
  | { readonly kind: 'ADD' | 'DELETE'; readonly path: Path; readonly value: Value };

export type Update = readonly Action[];

const parameter = 'UpdateExpression';
const sections = ['SET', 'REMOVE', 'ADD', 'DELETE'] as const;

export function readUpdate(expression: string, placeholders: Placeholders): Update {
  const reader = new Reader(parameter, expression, placeholders);
  const actions: Action[] = [];
  const seen = new Set<string>();
  while (reader.peek().kind !== 'end') {
    const section = sections.find((word) => reader.takeWord(word));
    if (!section) throw reader.syntaxError();
    if (seen.has(section)) {
      throw reader.refuse(`The "${section}" section can only be used once in an update expression;`);
    }
    seen.add(section);
    do actions.push(readAction(reader, section));
    while (reader.takeSymbol(','));
  }
  refuseOverlap(reader, actions);
  return actions;
}

function readAction(reader: Reader, kind: (typeof sections)[number]): Action {
  const path = reader.path();
  switch (kind) {
    case 'SET':
      reader.expectSymbol('=');
      return { kind, path, operand: readSetValue(reader) };
    case 'REMOVE':
      return { kind, path };
    case 'ADD':
    case 'DELETE': {
      const value = reader.value();
      if (!isSet(value) && !(kind === 'ADD' && 'N' in value)) throw wrongType(reader, kind);
      return { kind, path, value };
    }
  }
}

function readSetValue(reader: Reader): Operand {
  const first = readOperand(reader);
  const sign = reader.takeSymbol('+') ? 1 : reader.takeSymbol('-') ? -1 : undefined;
  if (sign === undefined) return first;
  const second = readOperand(reader);
  for (const one of [first, second]) {
    const isWrong = one.kind === 'list_append' || (one.kind === 'value' && !('N' in one.value));
    if (isWrong) throw wrongType(reader, sign === 1 ? '+' : '-');
  }
  return { kind: 'sum', sign, first, second };
}

function readOperand(reader: Reader): Operand {
  if (reader.isValue()) return { kind: 'value', value: reader.value() };
  if (reader.takeSymbol('(')) {
    const inner = readSetValue(reader);
    reader.expectSymbol(')');
    return inner;
  }
  if (reader.peek().kind !== 'word' || !reader.isSymbol('(', 1)) return { kind: 'path', path: reader.path() };
  const name = reader.next().text;
  reader.expectSymbol('(');
  switch (name) {
    case 'if_not_exists': {
      if (reader.isValue()) {
        throw reader.refuse(`Operator or function requires a document path; operator or function: ${name}`);
      }
      const path = reader.path();
      reader.expectSymbol(',');
      const otherwise = readOperand(reader);
      reader.expectSymbol(')');
      if (otherwise.kind === 'path' && JSON.stringify(otherwise.path) === JSON.stringify(path)) {
        throw reader.refuse(
          `The first operand must be distinct from the remaining operands for this operator or function; operator: ${name}`,
        );
      }
      return { kind: name, path, otherwise };
    }
    case 'list_append': {
      const first = readOperand(reader);
      reader.expectSymbol(',');
      const second = readOperand(reader);
      reader.expectSymbol(')');
      for (const one of [first, second]) {
        if (one.kind === 'value' && !('L' in one.value)) throw wrongType(reader, name);
      }
      return { kind: name, first, second };
    }
    default:
      throw reader.refuse(`Invalid function name; function: ${name}`);
  }
}

const wrongType = (reader: Reader, name: string) =>
  reader.refuse(`Incorrect operand type for operator or function; operator or function: ${name}`);

function refuseOverlap(reader: Reader, actions: Update): void {
  for (const [index, { path }] of actions.entries()) {
    for (const { path: other } of actions.slice(0, index)) {
      const common = Math.min(path.length, other.length);
      const parting = path.findIndex((part, at) => at < common && part !== other[at]);
      if (parting === -1) throw reader.refuse('Two document paths overlap with each other;');
      if (typeof path[parting] !== typeof other[parting]) {
        throw reader.refuse('Two document paths conflict with each other;');
      }
    }
  }
}

/**
 * The item after the update. Everything on the right is read from the item as it was before.
 *
 * @param keyNames attributes that an update may not touch
 * @throws `ValidationException` where the item has not what the expression needs
 */
export function applyUpdate(update: Update, before: Item, keyNames: readonly string[]): Item {
  for (const { path } of update) {
    if (keyNames.includes(String(path[0]))) {
      throw invalid(
        `One or more parameter values were invalid: Cannot update attribute ${path[0]}. This attribute is part of the key`,
      );
    }
  }
  const changes = update.map((action) => ({ path: action.path, value: valueAfter(action, before) }));
  // Places in lists are those from before: removals come last, and the last place first.
  const sets = changes.filter(({ value }) => value !== undefined);
  const removals = changes
    .filter(({ value }) => value === undefined)
    .sort(({ path: one }, { path: other }) => Number(other.at(-1)) - Number(one.at(-1)) || 0);
  const inOrder = sets.sort(
    ({ path: one }, { path: other }) => Number(one.at(-1)) - Number(other.at(-1)) || 0,
  );
  let item: Value = { M: before };
  for (const { path, value } of inOrder) item = changed(item, path, value);
  for (const { path, value } of removals) item = changed(item, path, value);
  return (item as { M: Item }).M;
}

/** What will be at the action's path; `undefined` for nothing. */
function valueAfter(action: Action, before: Item): Value | undefined {
  const found = valueAt(before, action.path);
  switch (action.kind) {
    case 'SET':
      return evaluate(action.operand, before);
    case 'REMOVE':
      return undefined;
    case 'ADD':
      return added(found, action.value);
    case 'DELETE':
      if (found && typeOf(found) !== typeOf(action.value)) throw wrongOperand();
      return found && difference(found, action.value);
  }
}

const wrongOperand = () => invalid('An operand in the update expression has an incorrect data type');

function added(found: Value | undefined, value: Value): Value {
  if (found === undefined) return value;
  if (typeOf(found) !== typeOf(value)) throw wrongOperand();
  return 'N' in found && 'N' in value ? sum(found.N, value.N, 1) : union(found, value);
}

function evaluate(operand: Operand, item: Item): Value {
  switch (operand.kind) {
    case 'value':
      return operand.value;
    case 'path': {
      const value = valueAt(item, operand.path);
      if (value) return value;
      throw invalid('The provided expression refers to an attribute that does not exist in the item');
    }
    case 'if_not_exists': {
      // Read even where it is not needed: DynamoDB refuses it where it is not there.
      const otherwise = evaluate(operand.otherwise, item);
      return valueAt(item, operand.path) ?? otherwise;
    }
    case 'list_append': {
      const [first, second] = [evaluate(operand.first, item), evaluate(operand.second, item)];
      if (!('L' in first) || !('L' in second)) throw wrongOperand();
      return { L: [...first.L, ...second.L] };
    }
    case 'sum': {
      const [first, second] = [evaluate(operand.first, item), evaluate(operand.second, item)];
      if (!('N' in first) || !('N' in second)) throw wrongOperand();
      return sum(first.N, second.N, operand.sign);
    }
  }
}

/** A copy with the value at the path, or without what was there. */
function changed(container: Value, [part, ...rest]: Path, value: Value | undefined): Value {
  const invalidPath = () =>
    invalid('The document path provided in the update expression is invalid for update');
  if (typeof part === 'number') {
    if (!('L' in container)) throw invalidPath();
    const list = [...container.L];
    const found = list[part];
    if (rest.length > 0) {
      if (found === undefined) throw invalidPath();
      list[part] = changed(found, rest, value);
    } else if (value !== undefined) list[Math.min(part, list.length)] = value;
    else list.splice(part, 1);
    return { L: list };
  }
  if (!('M' in container) || part === undefined) throw invalidPath();
  const map: Record<string, Value> = Object.assign(Object.create(null), container.M);
  const found = Object.hasOwn(container.M, part) ? container.M[part] : undefined;
  if (rest.length > 0) {
    if (found === undefined) throw invalidPath();
    map[part] = changed(found, rest, value);
  } else if (value !== undefined) map[part] = value;
  else delete map[part];
  return { M: map };
}
