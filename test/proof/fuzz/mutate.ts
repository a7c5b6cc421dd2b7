/** Texts and values that are nearly valid. */
import type { Draw } from './draw.ts';
import type { Input } from './target.ts';

export const fragments = [
  ...[
    '"',
    '\\',
    '\\"',
    '{',
    '}',
    '[',
    ']',
    ',',
    ':',
    ';',
    '=',
    '&',
    '+',
    '%',
    '%4',
    '%41',
    '%FF',
    '%zz',
    '#',
  ],
  ...[' ', '\t', '\n', '\r', '\u0000', '\u007f', '\u00a0', '\ufeff', '\u2028', 'é', '😀', '\ud800', '\udfff'],
  ...['\\ud800', '\\u0061', '\\/', '__proto__', 'constructor', 'toJSON', 'toString', 'null', 'true', 'NaN'],
  ...[
    '0',
    '-0',
    '1e999',
    '1E-999',
    '-',
    '.5',
    '01',
    '9007199254740993',
    '12345678901234567890',
    '1e9007199254740993',
  ],
];

/** `text` with one to three changes: a character flipped, a part cut out, doubled, moved, or put in. */
export function mutatedText(draw: Draw, text: string): string {
  let changed = text;
  for (let times = draw.between(1, 3); times > 0; times--) {
    const from = draw.between(0, changed.length);
    const to = Math.min(changed.length, from + draw.between(0, 8));
    const [before, part, after] = [changed.slice(0, from), changed.slice(from, to), changed.slice(to)];
    const kind = draw.between(0, 5);
    if (kind === 0) changed = before + flipped(draw, part) + after;
    else if (kind === 1) changed = before + after;
    else if (kind === 2) changed = before + part + part + after;
    else if (kind === 3) changed = part + before + after;
    else if (kind === 4) changed = before + draw.pick(fragments) + after;
    else changed = before + draw.pick(fragments).repeat(draw.between(1, 40)) + part + after;
  }
  return changed;
}

const flipped = (draw: Draw, part: string): string =>
  part === ''
    ? String.fromCharCode(draw.between(0, 0xff))
    : String.fromCharCode(part.charCodeAt(0) ^ (1 << draw.between(0, 7))) + part.slice(1);

/** What no service sends where something else is expected. */
const oddValues: readonly Input[] = [
  ...[null, true, false, 0, -1, 0.5, 1e21, Number.MAX_SAFE_INTEGER, '', ' ', '0', 'toString', '__proto__'],
  ...['\ud800', '\u0000', '[', '{"a":1}', 'a'.repeat(300), [], [[]], [null], {}, { length: -1 }, { S: 'a' }],
  JSON.parse('{"__proto__":{"a":1}}'),
  JSON.parse('{"toJSON":1,"constructor":null}'),
  JSON.parse(`${'['.repeat(50)}${']'.repeat(50)}`),
];

/** `value` with one to three changes, each anywhere in it: a member lost, renamed, replaced, mutated, doubled or nested. */
export function mutatedValue(draw: Draw, value: Input): Input {
  let changed = value;
  for (let times = draw.between(1, 3); times > 0; times--) changed = changedOnce(draw, changed, value);
  return changed;
}

function changedOnce(draw: Draw, value: Input, whole: Input): Input {
  const isContainer = typeof value === 'object' && value !== null;
  if (isContainer && draw.isTrue(0.85)) {
    const isList = Array.isArray(value);
    const members = Object.entries(value as Readonly<Record<string, Input>>);
    if (members.length > 0) {
      const at = draw.between(0, members.length - 1);
      const [name, member] = members[at] as [string, Input];
      const kind = draw.between(0, 9);
      if (kind === 0) members.splice(at, 1);
      else if (kind === 1 && !isList)
        members[at] = [draw.pick(['__proto__', 'toString', '', name.toUpperCase()]), member];
      else if (kind === 2) members.splice(at, 0, [`${name}${isList ? '' : '2'}`, member]);
      else members[at] = [name, changedOnce(draw, member, whole)];
      return isList ? members.map(([, item]) => item) : Object.fromEntries(members);
    }
  }
  const kind = draw.between(0, 5);
  if (typeof value === 'string' && kind <= 2) return mutatedText(draw, value);
  if (kind === 3) return [value];
  if (kind === 4) return draw.isTrue(0.5) ? whole : { a: value };
  return draw.pick(oddValues);
}
