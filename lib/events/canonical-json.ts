import { arrayText, canonicalText, type Member, maxDepth, objectText, tooDeep } from './canonical.ts';

/**
 * The canonical text of a JSON document, in time linear in its length, but for the sorting of names. A number that a double
 * cannot hold (`12345678901234567891`) keeps all its digits, so that it differs from its neighbours.
 *
 * @throws `SyntaxError` where `text` is not JSON
 * @throws `BAD_PAYLOAD` for more than 1,000 levels of nesting
 */
export function canonicalJson(text: string): string {
  const value: unknown = JSON.parse(text);
  return unsafeNumber.test(text) || hasEscapedName(text) ? rewritten(text) : canonicalText(value);
}

/** What may begin a number of 16 digits and more, or one with an exponent: all others survive `JSON.parse`. May be in a string. */
const unsafeNumber = /(?:^|[[:,\s])-?(?:[\d.]{16}|[\d.]+[eE])/;

/**
 * Whether a member's name is written with escapes. V8 may read such a name as another one, if it has read a name with a backslash
 * in its place before: then one caller's document changes how another's is read. Alone, the same name is read as it is.
 *
 * @param json must be valid
 * @see https://github.com/nodejs/node/issues/63785
 */
function hasEscapedName(json: string): boolean {
  if (!json.includes('\\')) return false;
  let start = json.indexOf('"');
  while (start !== -1) {
    const end = endOfString(json, start + 1);
    colon.lastIndex = end;
    if (json.slice(start, end).includes('\\') && colon.test(json)) return true;
    start = json.indexOf('"', end);
  }
  return false;
}

/** What follows a name. */
const colon = /\s*:/y;
/** A number, or `true`, `false`, `null`. */
const bareToken = /[-+.\w]+/y;

/** An array or an object whose end has not been read yet. */
interface Open {
  /** The items of an array so far. */
  readonly items: string[];
  /** The members of an object so far; `undefined` in an array. */
  readonly members: Member[] | undefined;
  /** The name of the object's next value, once it has been read. */
  name: string | undefined;
}

/**
 * Rewrites text as text, because `JSON.parse` drops digits. A reviver would see them, but takes a hundred times as long.
 *
 * @param json must be valid
 */
function rewritten(json: string): string {
  const isWellFormed = json.isWellFormed();
  const around: Open[] = [];
  let open: Open = { items: [], members: undefined, name: undefined };

  const put = (text: string): void => {
    if (open.members) open.members.push([open.name ?? '', text]);
    else open.items.push(text);
    open.name = undefined;
  };

  let at = 0;
  while (at < json.length) {
    const start = at;
    const first = json.charAt(at++);
    switch (first) {
      case '{':
      case '[':
        if (around.push(open) > maxDepth) throw tooDeep();
        open = { items: [], members: first === '{' ? [] : undefined, name: undefined };
        break;
      case '}':
      case ']': {
        const text = open.members ? objectText(open.members) : arrayText(open.items);
        open = around.pop() ?? open;
        put(text);
        break;
      }
      case '"': {
        at = endOfString(json, at);
        const text = json.slice(start, at);
        const isName = open.members !== undefined && open.name === undefined;
        // Without escapes and lone surrogates, the string is written as `JSON.stringify` would write it.
        const isCanonical = isWellFormed && !text.includes('\\');
        if (isName) open.name = isCanonical ? text.slice(1, -1) : JSON.parse(text);
        else put(isCanonical ? text : JSON.stringify(JSON.parse(text)));
        break;
      }
      case ',':
      case ':':
      case ' ':
      case '\n':
      case '\r':
      case '\t':
        break;
      default: {
        bareToken.lastIndex = start;
        bareToken.test(json);
        at = bareToken.lastIndex;
        const text = json.slice(start, at);
        put(first > '9' ? text : number(text));
      }
    }
  }
  return open.items[0] ?? '';
}

/** @param from what follows the opening quote */
function endOfString(json: string, from: number): number {
  let end = json.indexOf('"', from);
  while (isEscaped(json, end, from)) end = json.indexOf('"', end + 1);
  return end + 1;
}

function isEscaped(json: string, at: number, from: number): boolean {
  let backslashes = 0;
  while (at - backslashes > from && json[at - backslashes - 1] === '\\') backslashes++;
  return backslashes % 2 === 1;
}

/** A number by its value: as JavaScript writes it, if a double holds it exactly, else its digits and a power of ten. */
function number(source: string): string {
  const value = Number(source);
  const magnitude = Math.abs(value);
  // A double holds any fifteen digits unchanged, if it is far from its limits.
  if (source.length <= 15 && magnitude > 1e-290 && magnitude < 1e290) return String(value);
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
