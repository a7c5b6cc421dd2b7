import { keyFromHeader } from '../../../../lib/events/key-syntax.ts';
import type { Draw } from '../draw.ts';
import { mutatedText } from '../mutate.ts';
import { foreign, read, type Target } from '../target.ts';

interface Header {
  readonly lines: readonly string[];
  readonly isStrict: boolean;
}

/** A key is read, or refused with `BAD_KEY`, as a reading of RFC 9651 character by character says. */
export const keyHeaderTarget = (reader: typeof keyFromHeader = keyFromHeader): Target => ({
  name: 'key header',
  make: drawHeader,
  complaint({ lines = [], isStrict = false }: Partial<Header>) {
    const found = read(() => reader(lines, 'Idempotency-Key', isStrict ? 'strict' : 'lenient'));
    if (found.kind === 'threw') return foreign(found.error);
    const expected = keyIn(lines, isStrict);
    if (found.kind === 'value') return found.value === expected ? undefined : 'it reads another key';
    if (found.code !== 'BAD_KEY') return `it refuses with ${found.code}`;
    return expected === refused ? undefined : 'it refuses what is a key';
  },
});

function drawHeader(draw: Draw): { lines: string[]; isStrict: boolean } {
  const keys = [
    'k',
    'a b',
    '2f1c9c5e-0000',
    'a\\"b',
    'a\\\\',
    '""',
    ' ',
    "it's",
    'x'.repeat(255),
    'x'.repeat(256),
    'é',
  ];
  const values = [
    '1',
    '-1.5',
    '123456789012345',
    '1.1234',
    'token/a',
    '*',
    '"s\\"t"',
    ':aGk=:',
    '?1',
    '?2',
    '@17',
    '%"a%c3"',
  ];
  const parameter = () =>
    `;${draw.pick(['', ' ', '  '])}${draw.pick(['a', '*b', 'A', 'a.b-c'])}${draw.isTrue(0.7) ? `=${draw.pick(values)}` : ''}`;
  const key = draw.pick(keys);
  const line = draw.isTrue(0.3) ? key : `"${key}"${draw.list(2, parameter).join('')}`;
  const blanks = draw.pick(['', '', ' ', '\t ']);
  const first = `${blanks}${draw.isTrue(0.5) ? mutatedText(draw, line) : line}${blanks}`;
  return {
    lines: draw.isTrue(0.02) ? [first, line] : draw.isTrue(0.02) ? [] : [first],
    isStrict: draw.isTrue(0.5),
  };
}

const refused = Symbol('refused');

/** The key in a header, read one character after the other. */
function keyIn(lines: readonly string[], isStrict: boolean): string | undefined | typeof refused {
  const [line] = lines;
  if (line === undefined) return undefined;
  if (lines.length > 1 || line.length > 2_048) return refused;
  let text = line;
  while (' \t'.includes(text.charAt(0)) && text !== '') text = text.slice(1);
  while (' \t'.includes(text.charAt(text.length - 1)) && text !== '') text = text.slice(0, -1);
  const key = quotedKeyIn(text) ?? (isStrict ? undefined : bareKeyIn(text));
  const isBlank = key === undefined || [...key].every((character) => character === ' ');
  return isBlank || key.length > 255 ? refused : key;
}

function bareKeyIn(text: string): string | undefined {
  const isFit = (character: string) =>
    character > ' ' && character <= '~' && character !== '"' && character !== ',';
  return text.split('').every(isFit) ? text : undefined;
}

/** RFC 9651, section 4.2.3: an Item that is a String, with parameters. */
function quotedKeyIn(text: string): string | undefined {
  const reader = new ItemReader(text);
  const key = reader.string();
  if (key === undefined) return undefined;
  while (reader.take(';')) {
    while (reader.take(' '));
    if (!reader.name()) return undefined;
    if (reader.take('=') && !reader.bareItem()) return undefined;
  }
  return reader.isAtEnd ? key : undefined;
}

class ItemReader {
  readonly #text: string;
  #at = 0;

  constructor(text: string) {
    this.#text = text;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#text.length;
  }

  take(character: string): boolean {
    if (this.#text.charAt(this.#at) !== character) return false;
    this.#at++;
    return true;
  }

  string(): string | undefined {
    if (!this.take('"')) return undefined;
    let value = '';
    for (;;) {
      let character = this.#next();
      if (character === '"') return value;
      if (character === '\\') {
        character = this.#next();
        if (character !== '"' && character !== '\\') return undefined;
      }
      if (character < ' ' || character > '~') return undefined;
      value += character;
    }
  }

  name(): boolean {
    if (!this.#oneOf('abcdefghijklmnopqrstuvwxyz*')) return false;
    while (this.#oneOf('abcdefghijklmnopqrstuvwxyz0123456789_-.*'));
    return true;
  }

  bareItem(): boolean {
    const first = this.#text.charAt(this.#at);
    if (first === '"') return this.string() !== undefined;
    if (first === '?') return this.take('?') && this.#oneOf('01');
    if (first === '@') return this.take('@') && this.#number() === 'integer';
    if (first === ':') return this.#bytes();
    if (first === '%') return this.#displayString();
    if (first === '-' || isDigit(first)) return this.#number() !== undefined;
    return this.#token();
  }

  #number(): 'integer' | 'decimal' | undefined {
    this.take('-');
    const whole = this.#digits();
    if (!this.take('.')) return whole >= 1 && whole <= 15 ? 'integer' : undefined;
    const fraction = this.#digits();
    return whole >= 1 && whole <= 12 && fraction >= 1 && fraction <= 3 ? 'decimal' : undefined;
  }

  #digits(): number {
    const from = this.#at;
    while (isDigit(this.#text.charAt(this.#at))) this.#at++;
    return this.#at - from;
  }

  #token(): boolean {
    if (!this.#oneOf(`${letters}*`)) return false;
    while (this.#oneOf(`${letters}0123456789!#$%&'*+-.^_\`|~:/`));
    return true;
  }

  #bytes(): boolean {
    this.take(':');
    while (this.#oneOf(`${letters}0123456789+/=`));
    return this.take(':');
  }

  #displayString(): boolean {
    if (!this.take('%') || !this.take('"')) return false;
    for (;;) {
      const character = this.#next();
      if (character === '"') return true;
      if (character < ' ' || character > '~') return false;
      if (character === '%' && !(this.#oneOf(hex) && this.#oneOf(hex))) return false;
    }
  }

  /** The next character; an empty string at the end, which is below every other. */
  #next(): string {
    return this.#text.charAt(this.#at++);
  }

  #oneOf(characters: string): boolean {
    const character = this.#text.charAt(this.#at);
    if (character === '' || !characters.includes(character)) return false;
    this.#at++;
    return true;
  }
}

const hex = '0123456789abcdef';
const letters = 'abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ';
const isDigit = (character: string): boolean => character >= '0' && character <= '9';
