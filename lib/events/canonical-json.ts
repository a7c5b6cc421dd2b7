import { isDigit, maxDepth, objectText, tooDeep } from './canonical.ts';

/**
 * The canonical text of a JSON document, in time linear in its length, but for the sorting of names. A number that a double
 * cannot hold (`12345678901234567891`) keeps all its digits, so that it differs from its neighbours.
 *
 * Text is made of text, in one pass. `JSON.parse` would drop digits, and V8's may read a name that is written with escapes
 * as another one that it has read before (https://github.com/nodejs/node/issues/63785).
 *
 * @throws `SyntaxError` where `text` is not JSON (RFC 8259)
 * @throws `BAD_PAYLOAD` for more than 1,000 levels of nesting
 */
export const canonicalJson = (text: string): string => new Scanner(text).document();

/** Copies what is canonical as it is written, in runs as long as can be, and replaces what is not. */
class Scanner {
  readonly #json: string;
  readonly #isWellFormed: boolean;
  /** Between tokens they are blanks; in a string they need an escape. */
  readonly #hasControls: boolean;
  #at = 0;
  #depth = 0;
  /** Where the next backslash is; beyond the end where there is none. */
  #escapeAt: number;
  /** The canonical text up to `#copyFrom`. What follows there is copied later. */
  #text = '';
  #copyFrom = 0;
  #replacements = 0;
  /** Names and texts of the members of all objects that are being read; those of the innermost come last. */
  readonly #names: string[] = [];
  readonly #texts: string[] = [];
  #memberCount = 0;

  constructor(json: string) {
    this.#json = json;
    this.#isWellFormed = json.isWellFormed();
    this.#hasControls = control.test(json);
    this.#escapeAt = this.#escapeFrom(0);
  }

  document(): string {
    this.#skipBlanks();
    this.#value();
    this.#skipBlanks();
    if (this.#at < this.#json.length) throw this.#unexpected();
    return this.#text + this.#json.slice(this.#copyFrom);
  }

  #value(): void {
    const first = this.#json[this.#at];
    if (first === '{') this.#object();
    else if (first === '[') this.#array();
    else if (first === '"') this.#string();
    else if (first === 't') this.#literal('true');
    else if (first === 'f') this.#literal('false');
    else if (first === 'n') this.#literal('null');
    else this.#number();
  }

  #array(): void {
    this.#enter();
    this.#skipBlanks();
    if (!this.#isNext(']')) {
      do {
        this.#skipBlanks();
        this.#value();
        this.#skipBlanks();
      } while (this.#isNext(','));
      this.#expect(']');
    }
    this.#depth--;
  }

  #object(): void {
    const start = this.#at;
    const textBefore = this.#text;
    const copyFromBefore = this.#copyFrom;
    const replacementsBefore = this.#replacements;
    const first = this.#memberCount;
    this.#enter();
    let isAsWritten = !this.#passBlanks();
    if (!this.#isNext('}')) {
      do {
        if (this.#passBlanks()) isAsWritten = false;
        this.#text = '';
        this.#copyFrom = this.#at;
        const name = this.#string();
        this.#skipBlanks();
        this.#expect(':');
        this.#skipBlanks();
        this.#value();
        const member = this.#memberCount++;
        if (member > first && name <= (this.#names[member - 1] as string)) isAsWritten = false;
        this.#names[member] = name;
        this.#texts[member] = this.#text + this.#json.slice(this.#copyFrom, this.#at);
        if (this.#passBlanks()) isAsWritten = false;
      } while (this.#isNext(','));
      this.#expect('}');
    }
    this.#depth--;
    this.#text = textBefore;
    this.#copyFrom = copyFromBefore;
    if (!isAsWritten || this.#replacements > replacementsBefore) {
      this.#replace(start, objectText(this.#names, this.#texts, first, this.#memberCount));
    }
    this.#memberCount = first;
  }

  /** Reads a string. Returns what it stands for. */
  #string(): string {
    const start = this.#at;
    if (this.#json[start] !== '"') throw this.#unexpected();
    let end = this.#json.indexOf('"', start + 1);
    if (end !== -1 && end < this.#escapeAt && this.#isWellFormed) {
      const value = this.#json.slice(start + 1, end);
      if (this.#hasControls && control.test(value)) throw this.#unexpected();
      this.#at = end + 1;
      return value;
    }
    while (isEscaped(this.#json, end, start)) end = this.#json.indexOf('"', end + 1);
    if (end === -1) throw this.#unexpected();
    this.#at = end + 1;
    if (this.#escapeAt < end) this.#escapeAt = this.#escapeFrom(end);
    const written = this.#json.slice(start, this.#at);
    const value: string = JSON.parse(written);
    const canonical = JSON.stringify(value);
    if (canonical !== written) this.#replace(start, canonical);
    return value;
  }

  #literal(text: string): void {
    if (!this.#json.startsWith(text, this.#at)) throw this.#unexpected();
    this.#at += text.length;
  }

  #number(): void {
    const start = this.#at;
    let at = start;
    while (isDigit(this.#json.charCodeAt(at))) at++;
    const digitsEnd = at;
    while (isInNumber(this.#json.charCodeAt(at))) at++;
    this.#at = at;
    const hasDigitsOnly = at === digitsEnd;
    const length = at - start;
    const isShort = length > 0 && length < unsafeLength;
    if (isShort && hasDigitsOnly && (length === 1 || this.#json[start] !== '0')) return;
    const written = this.#json.slice(start, this.#at);
    if (!numberSyntax.test(written)) throw this.#unexpected();
    const canonical = number(written);
    if (canonical !== written) this.#replace(start, canonical);
  }

  #skipBlanks(): void {
    const start = this.#at;
    if (this.#passBlanks()) this.#replace(start, '');
  }

  /** Leaves it to the caller that they are not copied. Returns whether there are any. */
  #passBlanks(): boolean {
    const start = this.#at;
    let at = start;
    while (isBlank(this.#json.charCodeAt(at))) at++;
    this.#at = at;
    return at > start;
  }

  /** Lets `text` stand for what is written from `start` to here. */
  #replace(start: number, text: string): void {
    this.#text += this.#json.slice(this.#copyFrom, start);
    this.#text += text;
    this.#copyFrom = this.#at;
    this.#replacements++;
  }

  #enter(): void {
    this.#at++;
    if (++this.#depth > maxDepth) {
      // What is no JSON is told as that, however deep it is.
      JSON.parse(this.#json);
      throw tooDeep();
    }
  }

  #isNext(token: string): boolean {
    if (this.#json[this.#at] !== token) return false;
    this.#at++;
    return true;
  }

  #expect(token: string): void {
    if (!this.#isNext(token)) throw this.#unexpected();
  }

  #escapeFrom(start: number): number {
    const at = this.#json.indexOf('\\', start);
    return at === -1 ? this.#json.length : at;
  }

  /** It shows nothing of what is written there. */
  #unexpected(): SyntaxError {
    return new SyntaxError(`No JSON from character ${this.#at} on`);
  }
}

// biome-ignore lint/suspicious/noControlCharactersInRegex: they are looked for
const control = /[\0-\x1f]/;

/** @see https://www.rfc-editor.org/rfc/rfc8259#section-6 */
const numberSyntax = /^-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?$/;

/** A double holds every number of fewer digits, if it is far from its limits. */
const unsafeLength = 16;

/** What JSON allows between its tokens. */
const isBlank = (one: number): boolean =>
  one <= 0x20 && (one === 0x20 || one === 0x0a || one === 0x0d || one === 0x09);

/** Whether an odd number of backslashes stands before `at`. */
function isEscaped(json: string, at: number, from: number): boolean {
  let backslashes = 0;
  while (at - backslashes > from && json[at - backslashes - 1] === '\\') backslashes++;
  return backslashes % 2 === 1;
}

/** Digits, `+`, `-`, `.`, `e`, `E`. In JSON none of them follows a number. Beyond the text `one` is `NaN`. */
const isInNumber = (one: number): boolean =>
  isDigit(one) || one === 0x2b || one === 0x2d || one === 0x2e || one === 0x45 || one === 0x65;

/** A number by its value: as JavaScript writes it, if a double holds it exactly, else its digits and a power of ten. */
function number(source: string): string {
  const value = Number(source);
  const magnitude = Math.abs(value);
  if (source.length < unsafeLength && magnitude > 1e-290 && magnitude < 1e290) return String(value);
  const written = decimal(source);
  return Number.isFinite(value) && decimal(String(value)) === written ? String(value) : written;
}

/** `-12.50e3` → `-125e2`: sign, digits without zeros at either end, power of ten. */
function decimal(source: string): string {
  const [mantissa = '', exponent = '0'] = source.split(/[eE]/);
  const [whole = '', fraction = ''] = mantissa.split('.');
  const sign = whole.startsWith('-') ? '-' : '';
  const digits = whole.slice(sign.length) + fraction;
  let start = 0;
  let end = digits.length;
  while (start < end && digits[start] === '0') start++;
  while (start < end && digits[end - 1] === '0') end--;
  if (start === end) return '0';
  const written = Number(exponent);
  const power = written + (digits.length - end - fraction.length);
  // An exponent that a double rounds is compared as it was written.
  const isExact = Number.isSafeInteger(written) && Number.isSafeInteger(power);
  return isExact ? `${sign}${digits.slice(start, end)}e${power}` : source;
}
