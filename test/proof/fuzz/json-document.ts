/** JSON documents that are drawn, and that can be written in more than one way. */
import type { Draw } from './draw.ts';

export type Document =
  | { readonly kind: 'literal'; readonly text: 'true' | 'false' | 'null' }
  /** ±digits × 10^power */
  | { readonly kind: 'number'; readonly sign: '' | '-'; readonly digits: string; readonly power: number }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'array'; readonly items: readonly Document[] }
  | { readonly kind: 'object'; readonly members: ReadonlyMap<string, Document> };

const words = [
  ...[
    '',
    'a',
    'b',
    'ab',
    'amount',
    '0',
    '1',
    '10',
    '2',
    '-1',
    '01',
    '__proto__',
    'constructor',
    'toJSON',
    'length',
  ],
  ...['é', '\u0000', '\u001f', '\u007f', '\u2028', '\ufeff', '\uffff', '😀', '\ud800', '\udc00', 'a\ud83d'],
  ...['"', '\\', '/', '\n', '\t', '\\u0061', '{"a":1}', ' ', 'null', 'x'.repeat(130)],
];
const digitsOf = [
  '0',
  '1',
  '5',
  '9',
  '12',
  '99',
  '100',
  '123456789',
  '9007199254740993',
  '12345678901234567891',
];

export function drawDocument(draw: Draw, depth = 3): Document {
  const kind = draw.between(0, depth > 0 ? 7 : 3);
  if (kind === 0) return { kind: 'literal', text: draw.pick(['true', 'false', 'null']) };
  if (kind === 1) return drawNumber(draw);
  if (kind <= 3) return { kind: 'string', value: draw.pick(words) };
  if (kind <= 5) return { kind: 'array', items: draw.list(4, () => drawDocument(draw, depth - 1)) };
  const members = draw.list(5, () => [draw.pick(words), drawDocument(draw, depth - 1)] as const);
  return nested(draw, { kind: 'object', members: new Map(members) });
}

function drawNumber(draw: Draw): Document {
  const powers = [0, 0, 0, 1, -1, -2, 5, 20, 22, 300, 309, -300, -323, -330, 5_000, 9_007_199_254_740_991];
  return {
    kind: 'number',
    sign: draw.pick(['', '-']),
    digits: draw.pick(digitsOf),
    power: draw.pick(powers),
  };
}

/** Once in a while far down: as deep as is read, and one level deeper. */
function nested(draw: Draw, document: Document): Document {
  if (!draw.isTrue(0.003)) return document;
  let outer = document;
  for (let levels = draw.between(996, 1_000); levels > 0; levels--) outer = { kind: 'array', items: [outer] };
  return outer;
}

/** Another document, but for one place the same. */
export function changed(draw: Draw, document: Document): Document {
  if (document.kind === 'array' && document.items.length > 0) {
    const at = draw.between(0, document.items.length - 1);
    const item = document.items[at] as Document;
    const kind = draw.between(0, 3);
    if (kind === 0) return { kind: 'array', items: document.items.toSpliced(at, 1) };
    if (kind === 1) return { kind: 'array', items: document.items.toReversed() };
    return { kind: 'array', items: document.items.with(at, changed(draw, item)) };
  }
  if (document.kind === 'object' && document.members.size > 0) {
    const members = [...document.members];
    const at = draw.between(0, members.length - 1);
    const [name, member] = members[at] as [string, Document];
    const kind = draw.between(0, 3);
    if (kind === 0) members.splice(at, 1);
    else if (kind === 1) members[at] = [draw.pick(words), member];
    else members[at] = [name, changed(draw, member)];
    return { kind: 'object', members: new Map(members) };
  }
  if (document.kind === 'number' && draw.isTrue(0.7)) {
    const { sign, digits, power } = document;
    if (draw.isTrue(0.3)) return { ...document, power: power + draw.pick([-1, 1]) };
    if (draw.isTrue(0.3)) return { ...document, sign: sign === '' ? '-' : '' };
    return { ...document, digits: digits.slice(0, -1) + draw.pick(['1', '2']) };
  }
  return drawDocument(draw, 1);
}

/** One of the texts that mean `document`. */
export function spelled(draw: Draw, document: Document): string {
  const blank = () => (draw.isTrue(0.1) ? draw.pick([' ', '\n', '\t', '\r', '  ']) : '');
  switch (document.kind) {
    case 'literal':
      return document.text;
    case 'number':
      return spelledNumber(draw, document);
    case 'string':
      return spelledString(draw, document.value);
    case 'array':
      return `[${document.items.map((item) => `${blank()}${spelled(draw, item)}${blank()}`).join(',')}${blank()}]`;
    case 'object': {
      const members = draw.shuffled([...document.members]);
      const texts = members.map(
        ([name, member]) =>
          `${blank()}${spelledString(draw, name)}${blank()}:${blank()}${spelled(draw, member)}`,
      );
      // Of two members with one name the last one counts.
      const [first] = members;
      if (first && draw.isTrue(0.1))
        texts.unshift(`${spelledString(draw, first[0])}:${spelled(draw, drawDocument(draw, 0))}`);
      return `{${texts.join(',')}${blank()}}`;
    }
  }
}

function spelledNumber(draw: Draw, { sign, digits, power }: Extract<Document, { kind: 'number' }>): string {
  const way = draw.between(0, 2);
  if (way === 0 && power >= 0 && power <= 25)
    return `${sign}${plain(digits + '0'.repeat(power))}${draw.pick(['', '', '.0', '.000'])}`;
  if (way === 1 && power < 0 && power >= -25) {
    const padded = digits.padStart(1 - power, '0');
    return `${sign}${plain(padded.slice(0, power))}.${padded.slice(power)}${draw.pick(['', '0', '00'])}`;
  }
  const shift = digits === '0' ? 0 : draw.between(0, 3);
  const e = draw.pick(['e', 'E']);
  const exponent = BigInt(power) - BigInt(shift);
  const plus = exponent >= 0n ? draw.pick(['', '+', '+0', '0']) : '';
  return `${sign}${plain(digits + '0'.repeat(shift))}${draw.pick(['', '.0'])}${e}${plus}${exponent}`;
}

/** JSON has no zeros in front. */
const plain = (digits: string): string => digits.replace(/^0+(?=\d)/, '');

const named: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\t': '\\t',
  '/': '\\/',
};

function spelledString(draw: Draw, value: string): string {
  let text = '';
  for (let index = 0; index < value.length; index++) {
    const unit = value.charAt(index);
    const mayBeRaw = unit >= ' ' && unit !== '"' && unit !== '\\';
    const escaped = named[unit];
    if (mayBeRaw && !draw.isTrue(0.1)) text += unit;
    else if (escaped !== undefined && draw.isTrue(0.7)) text += escaped;
    else {
      const hex = unit.charCodeAt(0).toString(16).padStart(4, '0');
      text += `\\u${draw.isTrue(0.5) ? hex : hex.toUpperCase()}`;
    }
  }
  return `"${text}"`;
}
