/** Expressions by chance, with their placeholders: most are valid, and many meet something in the items of `requests.ts`. */
import type { Item, Value } from '../dynamodb-model/index.ts';
import type { Random } from './random.ts';

/** What attributes usually hold; now and then one holds something else. */
export const attributes = [
  's',
  'n',
  'b',
  'flag',
  'nothing',
  'list',
  'map',
  'words',
  'numbers',
  'blobs',
  'owner',
];

const texts = ['a', 'ab', 'abc', 'b', 'é', '', '10', 'A'];
const numbers = [
  ...['0', '1', '2', '-1', '1.5', '10', '1e2', '0.10', '-0', '1E-3', '007', '+5', '3.0'],
  ...['12345678901234567890123456789012345678', '1e125', '1e-130', '-9.9e125'],
];
const blobs = [[], [1], [1, 2], [255], [0, 0]].map((bytes) => Uint8Array.from(bytes));

const some = <T>(random: Random, choices: readonly T[]): T[] => {
  const chosen = choices.filter(() => random.chance(0.4));
  return chosen.length > 0 ? chosen : [choices[0] as T];
};

export function usualValue(random: Random, attribute: string, depth = 0): Value {
  switch (attribute) {
    case 'n':
      return { N: random.pick(random.chance(0.8) ? numbers.slice(0, 13) : numbers) };
    case 'b':
      return { B: random.pick(blobs) };
    case 'flag':
      return { BOOL: random.chance(0.5) };
    case 'nothing':
      return { NULL: true };
    case 'list':
      return { L: Array.from({ length: random.below(4) }, () => anyValue(random, depth + 1)) };
    case 'map':
      return { M: itemOf(random, 3, depth + 1) };
    case 'words':
      return { SS: some(random, ['a', 'b', 'ab']) };
    case 'numbers':
      return { NS: some(random, ['1', '2.0', '-3', '1e1']) };
    case 'blobs':
      return { BS: some(random, blobs.slice(1)) };
    default:
      return { S: random.pick(texts) };
  }
}

export const anyValue = (random: Random, depth = 0): Value =>
  usualValue(random, random.pick(depth > 1 ? attributes.slice(0, 5) : attributes), depth);

export function itemOf(random: Random, most: number, depth = 0): Item {
  const item: Record<string, Value> = {};
  for (let left = random.below(most + 1); left > 0; left--) {
    const name = random.pick(attributes);
    // The index's key has one type only.
    const usual = random.chance(0.9) || (depth === 0 && name === 'owner');
    item[name] = usual ? usualValue(random, name, depth) : anyValue(random, depth);
  }
  if (depth === 0 && item.owner && 'S' in item.owner && item.owner.S === '' && random.chance(0.9))
    delete item.owner;
  return item;
}

/** Names and values that a request's expressions have come to need. */
export class Terms {
  private readonly names = new Map<string, string>();
  private readonly values: Record<string, Value> = {};
  private readonly random: Random;
  private count = 0;

  constructor(random: Random) {
    this.random = random;
  }

  name(name: string): string {
    if (['s', 'n', 'b', 'pk', 'sk'].includes(name) && this.random.chance(0.3)) return name;
    this.names.set(`#${name}`, name);
    return `#${name}`;
  }

  value(value: Value): string {
    const placeholder = `:v${this.count++}`;
    this.values[placeholder] = value;
    return placeholder;
  }

  /** As members of a request; now and then one is missing, or one too many. */
  parameters(): Record<string, unknown> {
    const names = Object.fromEntries(this.names);
    const values = { ...this.values };
    if (this.random.chance(0.01)) names['#unused'] = 'unused';
    if (this.random.chance(0.01)) values[':unused'] = { S: 'unused' };
    if (this.random.chance(0.01)) delete names[Object.keys(names)[0] ?? ''];
    if (this.random.chance(0.01)) delete values[Object.keys(values)[0] ?? ''];
    return {
      ...(Object.keys(names).length > 0 && { ExpressionAttributeNames: names }),
      ...(Object.keys(values).length > 0 && { ExpressionAttributeValues: values }),
    };
  }
}

interface Place {
  readonly text: string;
  readonly attribute: string;
}

function place(random: Random, terms: Terms): Place {
  const attribute = random.pick(random.chance(0.02) ? ['pk', 'sk'] : attributes);
  const name = terms.name(attribute);
  if (attribute === 'list' && random.chance(0.5)) {
    return { text: `${name}[${random.below(4)}]`, attribute: random.pick(attributes) };
  }
  if (attribute === 'map' && random.chance(0.5)) {
    const inner = random.pick(attributes);
    return { text: `${name}.${terms.name(inner)}`, attribute: inner };
  }
  return { text: name, attribute };
}

const fitting = (random: Random, terms: Terms, attribute: string): string =>
  random.chance(0.1)
    ? place(random, terms).text
    : terms.value(random.chance(0.85) ? usualValue(random, attribute) : anyValue(random));

export function conditionOf(random: Random, terms: Terms, depth = 0): string {
  const within = (): string => conditionOf(random, terms, depth + 1);
  const shape = random.below(depth > 2 ? 7 : 11);
  const { text, attribute } = place(random, terms);
  const value = (): string => fitting(random, terms, attribute);
  switch (shape) {
    case 0:
      return `attribute_exists(${text})`;
    case 1:
      return `attribute_not_exists(${text})`;
    case 2:
      return `${text} ${random.pick(['=', '<>', '<', '<=', '>', '>='])} ${value()}`;
    case 3:
      return random.chance(0.5)
        ? `${text} BETWEEN ${value()} AND ${value()}`
        : `${text} IN (${Array.from({ length: 1 + random.below(3) }, value).join(', ')})`;
    case 4:
      return `begins_with(${text}, ${random.chance(0.9) ? terms.value({ S: random.pick(texts) }) : value()})`;
    case 5: {
      const part = terms.value(random.chance(0.7) ? { S: random.pick(['a', 'b', '1']) } : anyValue(random));
      return `contains(${text}, ${part})`;
    }
    case 6:
      return random.chance(0.5)
        ? `size(${text}) ${random.pick(['=', '<', '>='])} ${terms.value({ N: String(random.below(4)) })}`
        : `attribute_type(${text}, ${terms.value({ S: random.pick(['S', 'N', 'L', 'M', 'SS', 'NULL', 'BOOL', 'B', 'NS', 'X']) })})`;
    case 7:
      return `${within()} AND ${within()}`;
    case 8:
      return `${within()} OR ${within()}`;
    case 9:
      return `NOT ${within()}`;
    default:
      return `(${within()})`;
  }
}

export function updateOf(random: Random, terms: Terms): string {
  const sections: string[] = [];
  const several = (one: () => string): string => Array.from({ length: 1 + random.below(2) }, one).join(', ');
  if (random.chance(0.7)) sections.push(`SET ${several(() => assignment(random, terms))}`);
  if (random.chance(0.3)) sections.push(`REMOVE ${several(() => place(random, terms).text)}`);
  if (random.chance(0.25)) {
    const name = random.pick(['n', 'words', 'numbers', 'blobs', 'n', 's']);
    sections.push(`ADD ${terms.name(name)} ${terms.value(usualValue(random, name))}`);
  }
  if (random.chance(0.2)) {
    const name = random.pick(['words', 'numbers', 'blobs', 'words', 'n']);
    sections.push(`DELETE ${terms.name(name)} ${terms.value(usualValue(random, name))}`);
  }
  return sections.length > 0 ? sections.join(' ') : `SET ${assignment(random, terms)}`;
}

function assignment(random: Random, terms: Terms): string {
  const { text, attribute } = place(random, terms);
  // DynamoDB Local lets an update give an index's key any type, now and then.
  switch (attribute === 'owner' ? 5 : random.below(6)) {
    case 0:
      return `${text} = if_not_exists(${place(random, terms).text}, ${fitting(random, terms, attribute)})`;
    case 1: {
      const more = terms.value(usualValue(random, 'list'));
      const list = terms.name('list');
      return `${list} = ${random.chance(0.5) ? `list_append(${list}, ${more})` : `list_append(if_not_exists(${list}, ${terms.value({ L: [] })}), ${more})`}`;
    }
    case 2: {
      const number = terms.name('n');
      const step = terms.value(usualValue(random, random.chance(0.9) ? 'n' : 's'));
      return `${number} = ${random.chance(0.5) ? number : `if_not_exists(${number}, ${terms.value({ N: '0' })})`} ${random.pick(['+', '-'])} ${step}`;
    }
    case 3:
      return `${text} = ${place(random, terms).text}`;
    default:
      return `${text} = ${terms.value(random.chance(0.9) || attribute === 'owner' ? usualValue(random, attribute) : anyValue(random))}`;
  }
}

export const projectionOf = (random: Random, terms: Terms): string =>
  Array.from({ length: 1 + random.below(3) }, () => place(random, terms).text).join(', ');
