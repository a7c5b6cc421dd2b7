import { IdempotencyError } from '../errors.ts';

export const maxKeyLength = 255;

/** Room for the longest key with every character escaped, its quotes, and parameters. A longer header is refused unread. */
const maxHeaderLength = 2_048;

/** RFC 9651: an Item that is a String. It may have parameters. None is defined for a key, so all are ignored. */
const characters = /(?:[\x20-\x21\x23-\x5b\x5d-\x7e]|\\["\\])*/.source;
const bareItem = [
  RegExp(`"${characters}"`),
  /@?-?\d{1,15}/,
  /-?\d{1,12}\.\d{1,3}/,
  /[A-Za-z*][\w!#$%&'*+.^`|~:/-]*/,
  /:[A-Za-z0-9+/=]*:/,
  /\?[01]/,
  /%"(?:[\x20\x21\x23\x24\x26-\x7e]|%[0-9a-f]{2})*"/,
]
  .map(({ source }) => source)
  .join('|');
const quotedKey = new RegExp(`^"(${characters})"(?:; *[a-z*][a-z0-9_.*-]*(?:=(?:${bareItem}))?)*$`);
const bareKey = /^[\x21\x23-\x2b\x2d-\x7e]+$/;

/**
 * Reads the idempotency key from a header, 1 to 255 characters without quotes; `undefined` if the header was not sent.
 *
 * @param lines each value that was sent
 * @param name the header's name, for messages
 * @param syntax `strict` takes an RFC 9651 String (`"k"`) only, as the IETF draft demands. `lenient` takes a bare `k` too,
 * and both are the same key
 * @throws `BAD_KEY`; its message does not hold the key, which may be personal data
 * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/
 * @see https://www.rfc-editor.org/rfc/rfc9651#section-3.3.3
 */
export function keyFromHeader(
  lines: readonly string[],
  name: string,
  syntax: 'lenient' | 'strict',
): string | undefined {
  if (lines.length === 0) return undefined;
  if (lines.length > 1) throw badKey(name, `was sent ${lines.length} times`, 'Send it once.');
  const text = lines[0] ?? '';
  if (text.length > maxHeaderLength) throw tooLong(name, text, `the ${maxHeaderLength} that are read`);
  return checkedKey(withoutBlanks(text), name, syntax);
}

function checkedKey(text: string, name: string, syntax: 'lenient' | 'strict'): string {
  const quoted = quotedKey.exec(text);
  if (!quoted && syntax === 'strict') {
    throw badKey(
      name,
      'is not a quoted string of printable ASCII characters',
      'Send a UUID in double quotes.',
    );
  }
  const key = quoted ? (quoted[1] ?? '').replace(/\\(["\\])/g, '$1') : text;
  if (key.trim() === '') throw badKey(name, 'is blank', 'Send a fresh UUID.');
  if (!quoted && !bareKey.test(key)) {
    throw badKey(
      name,
      'holds a space, a comma, a lone quote or a character outside printable ASCII',
      'Send a UUID, or quote it.',
    );
  }
  if (key.length > maxKeyLength) throw tooLong(name, key, `the ${maxKeyLength} allowed`);
  return key;
}

/** Cuts off the blanks that HTTP allows around a value. A regular expression for trailing blanks would be quadratic. */
function withoutBlanks(text: string): string {
  const isBlank = (at: number): boolean => text[at] === ' ' || text[at] === '\t';
  let start = 0;
  let end = text.length;
  while (isBlank(start)) start++;
  while (end > start && isBlank(end - 1)) end--;
  return text.slice(start, end);
}

const tooLong = (header: string, text: string, most: string): IdempotencyError =>
  badKey(
    header,
    `has ${text.length} characters, more than ${most}`,
    'Send a UUID, or a hash of what you have.',
  );

function badKey(header: string, what: string, fix: string): IdempotencyError {
  return new IdempotencyError('BAD_KEY', `The ${header} header ${what}. ${fix}`);
}
