/** Expressions as tokens, and the placeholders that stand in them. */
import { invalid } from './errors.ts';
import { reservedWords } from './reserved-words.ts';
import { readValue, type Value } from './values.ts';

export type Token =
  | { readonly kind: 'word'; readonly text: string }
  | { readonly kind: 'name'; readonly text: string }
  | { readonly kind: 'value'; readonly text: string }
  | { readonly kind: 'index'; readonly text: string }
  | { readonly kind: 'symbol'; readonly text: string }
  | { readonly kind: 'end'; readonly text: '' };

const maxExpressionBytes = 4_096;

const shapes = [
  ['word', /[A-Za-z_][A-Za-z0-9_]*/y],
  ['name', /#[A-Za-z0-9_]+/y],
  ['value', /:[A-Za-z0-9_]+/y],
  ['index', /\d+/y],
  ['symbol', /<>|<=|>=|[=<>(),.[\]+-]/y],
] as const;

export function tokensOf(parameter: string, expression: string): Token[] {
  if (expression.trim() === '') throw invalid(`Invalid ${parameter}: The expression can not be empty;`);
  if (Buffer.byteLength(expression) > maxExpressionBytes) {
    throw invalid(`Invalid ${parameter}: Expression size has exceeded the maximum allowed size;`);
  }
  const tokens: Token[] = [];
  const blank = /\s*/y;
  let at = 0;
  const take = (shape: RegExp): string | undefined => {
    shape.lastIndex = at;
    const text = shape.exec(expression)?.[0];
    if (text !== undefined) at += text.length;
    return text;
  };
  for (take(blank); at < expression.length; take(blank)) {
    const found = shapes.reduce<Token | undefined>((token, [kind, shape]) => {
      if (token) return token;
      const text = take(shape);
      return text === undefined ? undefined : { kind, text };
    }, undefined);
    if (!found) {
      throw invalid(`Invalid ${parameter}: Syntax error; token: "${expression[at]}", near: "${expression}"`);
    }
    tokens.push(found);
  }
  return [...tokens, { kind: 'end', text: '' }];
}

/** The names and values of one request: each must be used, and each that is used must be there. */
export class Placeholders {
  private readonly names: ReadonlyMap<string, string>;
  private readonly values: ReadonlyMap<string, Value>;
  private readonly used = new Set<string>();

  constructor(names: Record<string, string> | undefined, values: Record<string, unknown> | undefined) {
    this.names = new Map(Object.entries(names ?? {}));
    this.values = new Map(
      Object.entries(values ?? {}).map(([placeholder, value]) => [placeholder, readValue(value)]),
    );
    for (const placeholder of this.names.keys()) {
      if (/^#[A-Za-z0-9_]+$/.test(placeholder)) continue;
      throw invalid(`ExpressionAttributeNames contains invalid key: Syntax error; key: "${placeholder}"`);
    }
    for (const placeholder of this.values.keys()) {
      if (/^:[A-Za-z0-9_]+$/.test(placeholder)) continue;
      throw invalid(`ExpressionAttributeValues contains invalid key: Syntax error; key: "${placeholder}"`);
    }
  }

  name(parameter: string, placeholder: string): string {
    const name = this.names.get(placeholder);
    if (name === undefined) {
      throw invalid(
        `Invalid ${parameter}: An expression attribute name used in the document path is not defined; attribute name: ${placeholder}`,
      );
    }
    this.used.add(placeholder);
    return name;
  }

  value(parameter: string, placeholder: string): Value {
    const value = this.values.get(placeholder);
    if (value === undefined) {
      throw invalid(
        `Invalid ${parameter}: An expression attribute value used in expression is not defined; attribute value: ${placeholder}`,
      );
    }
    this.used.add(placeholder);
    return value;
  }

  /** After all expressions of the request were read. @throws `ValidationException` */
  refuseUnused(): void {
    const unused = (placeholders: ReadonlyMap<string, unknown>): string =>
      [...placeholders.keys()].filter((placeholder) => !this.used.has(placeholder)).join(', ');
    const names = unused(this.names);
    if (names) {
      throw invalid(`Value provided in ExpressionAttributeNames unused in expressions: keys: {${names}}`);
    }
    const values = unused(this.values);
    if (values) {
      throw invalid(`Value provided in ExpressionAttributeValues unused in expressions: keys: {${values}}`);
    }
  }
}

/** Attributes' names within each other, and places in lists. */
export type Path = readonly (string | number)[];

/** Reads one expression from its first token to its last. */
export class Reader {
  readonly parameter: string;
  private readonly tokens: readonly Token[];
  private readonly placeholders: Placeholders;
  private at = 0;

  constructor(parameter: string, expression: string, placeholders: Placeholders) {
    this.parameter = parameter;
    this.tokens = tokensOf(parameter, expression);
    this.placeholders = placeholders;
  }

  peek(ahead = 0): Token {
    return this.tokens[Math.min(this.at + ahead, this.tokens.length - 1)] as Token;
  }

  next(): Token {
    const token = this.peek();
    this.at++;
    return token;
  }

  isWord(word: string): boolean {
    const { kind, text } = this.peek();
    return kind === 'word' && text.toUpperCase() === word;
  }

  isSymbol(symbol: string, ahead = 0): boolean {
    const { kind, text } = this.peek(ahead);
    return kind === 'symbol' && text === symbol;
  }

  takeWord(word: string): boolean {
    const isThere = this.isWord(word);
    if (isThere) this.at++;
    return isThere;
  }

  takeSymbol(symbol: string): boolean {
    const isThere = this.isSymbol(symbol);
    if (isThere) this.at++;
    return isThere;
  }

  expectSymbol(symbol: string): void {
    if (!this.takeSymbol(symbol)) throw this.syntaxError();
  }

  expectEnd(): void {
    if (this.peek().kind !== 'end') throw this.syntaxError();
  }

  syntaxError() {
    const token = this.peek();
    const text = token.kind === 'end' ? '<EOF>' : token.text;
    return invalid(`Invalid ${this.parameter}: Syntax error; token: "${text}"`);
  }

  refuse(why: string) {
    return invalid(`Invalid ${this.parameter}: ${why}`);
  }

  isValue(): boolean {
    return this.peek().kind === 'value';
  }

  value(): Value {
    const { kind, text } = this.peek();
    if (kind !== 'value') throw this.syntaxError();
    this.at++;
    return this.placeholders.value(this.parameter, text);
  }

  path(): Path {
    const path: (string | number)[] = [this.attributeName()];
    for (;;) {
      if (this.takeSymbol('.')) path.push(this.attributeName());
      else if (this.takeSymbol('[')) {
        const { kind, text } = this.next();
        if (kind !== 'index') throw this.syntaxError();
        path.push(Number(text));
        this.expectSymbol(']');
      } else return path;
    }
  }

  private attributeName(): string {
    const { kind, text } = this.peek();
    if (kind === 'name') {
      this.at++;
      return this.placeholders.name(this.parameter, text);
    }
    if (kind !== 'word') throw this.syntaxError();
    if (reservedWords.has(text.toUpperCase())) {
      throw this.refuse(`Attribute name is a reserved keyword; reserved keyword: ${text}`);
    }
    this.at++;
    return text;
  }
}
