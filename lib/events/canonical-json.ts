import { arrayText, type Member, maxDepth, objectText, tooDeep } from './canonical.ts';

/**
 * The canonical text of a JSON document, in time linear in its length but for the sorting of names. Numbers that a double
 * cannot carry (`12345678901234567891`) are compared digit by digit instead of being rounded into their neighbour's.
 *
 * @throws `SyntaxError` where `text` is not JSON; `BAD_PAYLOAD` for nesting beyond reason
 */
export function canonicalJson(text: string): string {
  JSON.parse(text);
  return rewritten(text);
}

/** An array or an object that has not ended yet. */
interface Open {
  /** The items of an array so far. */
  readonly items: string[];
  /** The members of an object so far; `undefined` in an array. */
  readonly members: Member[] | undefined;
  /** What the object's next value is called, once its name was read. */
  name: string | undefined;
}

/**
 * From text to text, for the parser drops digits. A reviver is shown them, but takes a hundred times as long as this.
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
        // Without escapes it is written as `JSON.stringify` would, but for half a surrogate pair.
        const isCanonical = isWellFormed && !text.includes('\\');
        if (isName) open.name = isCanonical ? text.slice(1, -1) : JSON.parse(text);
        else put(isCanonical ? text : JSON.stringify(JSON.parse(text)));
        break;
      }
      case 't':
      case 'f':
      case 'n': {
        const literal = first === 't' ? 'true' : first === 'f' ? 'false' : 'null';
        at = start + literal.length;
        put(literal);
        break;
      }
      case ',':
      case ':':
      case ' ':
      case '\n':
      case '\r':
      case '\t':
        break;
      default:
        while (isInNumber(json.charCodeAt(at))) at++;
        put(number(json.slice(start, at)));
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

/** Digits, `+`, `-`, `.`, `e`, `E`; what follows a number in JSON is none of these. `NaN`, the end of the text, is none. */
const isInNumber = (code: number): boolean =>
  (code >= 0x30 && code <= 0x39) ||
  code === 0x2b ||
  code === 0x2d ||
  code === 0x2e ||
  code === 0x45 ||
  code === 0x65;

/** A number by its value: as JavaScript writes it where a double carries it, else its digits and a power of ten. */
function number(source: string): string {
  const value = Number(source);
  const magnitude = Math.abs(value);
  // Fifteen digits go into a double and come out of it unchanged, far from its limits.
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
