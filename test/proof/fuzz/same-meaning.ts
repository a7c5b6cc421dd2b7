/**
 * Whether two JSON texts mean the same, found without any canonical text: both are read by rules written out here, and compared
 * part by part. Slow, and easy to check.
 */
export type Meaning =
  | { readonly kind: 'literal'; readonly text: string }
  /** `coefficient` × 10^`power`; the coefficient does not end with a zero. */
  | { readonly kind: 'number'; readonly coefficient: bigint; readonly power: bigint }
  | { readonly kind: 'string'; readonly value: string }
  | { readonly kind: 'array'; readonly items: readonly Meaning[] }
  | { readonly kind: 'object'; readonly members: ReadonlyMap<string, Meaning> };

export interface MeaningOfText {
  readonly meaning: Meaning;
  /** How many arrays and objects are around the innermost one, itself included. */
  readonly levels: number;
  /** Whether an exponent is so large that a double rounds it. Such numbers are compared as they are written. */
  readonly hasHugeExponent: boolean;
}

class NotJson extends Error {}

/** `undefined` for what is not JSON (RFC 8259). */
export function meaningOf(text: string): MeaningOfText | undefined {
  let at = 0;
  let levels = 0;
  let hasHugeExponent = false;
  const blanks = () => {
    while (at < text.length && ' \t\n\r'.includes(text.charAt(at))) at++;
  };
  const take = (expected: string) => {
    if (!text.startsWith(expected, at)) throw new NotJson();
    at += expected.length;
  };
  const digits = (): string => {
    const from = at;
    while (text.charAt(at) >= '0' && text.charAt(at) <= '9') at++;
    if (at === from) throw new NotJson();
    return text.slice(from, at);
  };

  function value(depth: number): Meaning {
    levels = Math.max(levels, depth);
    blanks();
    const first = text.charAt(at);
    if (first === '{') return object(depth + 1);
    if (first === '[') return array(depth + 1);
    if (first === '"') return { kind: 'string', value: string() };
    for (const literal of ['true', 'false', 'null']) {
      if (!text.startsWith(literal, at)) continue;
      at += literal.length;
      return { kind: 'literal', text: literal };
    }
    return number();
  }

  function array(depth: number): Meaning {
    levels = Math.max(levels, depth);
    take('[');
    const items: Meaning[] = [];
    blanks();
    if (text.charAt(at) !== ']') {
      for (;;) {
        items.push(value(depth));
        blanks();
        if (text.charAt(at) === ']') break;
        take(',');
      }
    }
    take(']');
    return { kind: 'array', items };
  }

  function object(depth: number): Meaning {
    levels = Math.max(levels, depth);
    take('{');
    const members = new Map<string, Meaning>();
    blanks();
    if (text.charAt(at) !== '}') {
      for (;;) {
        blanks();
        const name = string();
        blanks();
        take(':');
        members.set(name, value(depth));
        blanks();
        if (text.charAt(at) === '}') break;
        take(',');
      }
    }
    take('}');
    return { kind: 'object', members };
  }

  function string(): string {
    take('"');
    let read = '';
    for (;;) {
      const unit = text.charAt(at++);
      if (unit === '"') return read;
      if (unit < ' ') throw new NotJson();
      read += unit === '\\' ? escaped() : unit;
    }
  }

  function escaped(): string {
    const letter = text.charAt(at++);
    const known: ReadonlyMap<string, string> = new Map([
      ...([
        ['"', '"'],
        ['\\', '\\'],
        ['/', '/'],
        ['b', '\b'],
        ['f', '\f'],
      ] as const),
      ...([
        ['n', '\n'],
        ['r', '\r'],
        ['t', '\t'],
      ] as const),
    ]);
    const single = known.get(letter);
    if (single !== undefined) return single;
    const hex = text.slice(at, at + 4);
    if (letter !== 'u' || !/^[0-9a-fA-F]{4}$/.test(hex)) throw new NotJson();
    at += 4;
    return String.fromCharCode(Number.parseInt(hex, 16));
  }

  function number(): Meaning {
    const isNegative = text.charAt(at) === '-';
    if (isNegative) at++;
    const whole = digits();
    if (whole.length > 1 && whole.startsWith('0')) throw new NotJson();
    let fraction = '';
    if (text.charAt(at) === '.') {
      at++;
      fraction = digits();
    }
    let power = 0n;
    if (text.charAt(at) === 'e' || text.charAt(at) === 'E') {
      at++;
      const sign = text.charAt(at);
      if (sign === '+' || sign === '-') at++;
      power = BigInt(digits()) * (sign === '-' ? -1n : 1n);
    }
    const limit = BigInt(Number.MAX_SAFE_INTEGER) - 100_000n;
    if (power > limit || power < -limit) hasHugeExponent = true;
    let coefficient = BigInt(whole + fraction) * (isNegative ? -1n : 1n);
    power -= BigInt(fraction.length);
    if (coefficient === 0n) power = 0n;
    else {
      while (coefficient % 10n === 0n) {
        coefficient /= 10n;
        power++;
      }
    }
    return { kind: 'number', coefficient, power };
  }

  try {
    const meaning = value(0);
    blanks();
    return at === text.length ? { meaning, levels, hasHugeExponent } : undefined;
  } catch (error) {
    if (error instanceof NotJson) return undefined;
    throw error;
  }
}

export function isSame(left: Meaning, right: Meaning): boolean {
  switch (left.kind) {
    case 'literal':
      return right.kind === 'literal' && left.text === right.text;
    case 'number':
      return right.kind === 'number' && left.coefficient === right.coefficient && left.power === right.power;
    case 'string':
      return right.kind === 'string' && left.value === right.value;
    case 'array': {
      if (right.kind !== 'array' || left.items.length !== right.items.length) return false;
      return left.items.every((item, index) => isSame(item, right.items[index] as Meaning));
    }
    case 'object': {
      if (right.kind !== 'object' || left.members.size !== right.members.size) return false;
      for (const [name, member] of left.members) {
        const other = right.members.get(name);
        if (other === undefined || !isSame(member, other)) return false;
      }
      return true;
    }
  }
}
