import { IdempotencyError } from '../errors.ts';
import type { Numbering } from './place.ts';

/** The header in which a numbered sender names itself, its epoch and its number. */
export const sequenceHeader = 'Idempotency-Sequence';

/** Room for the longest producer with every character escaped, and both numbers. A longer header is refused unread. */
const maxHeaderLength = 1_024;

const memberName = /[ \t]*(producer|epoch|number)=/y;
/** RFC 9651: a String. */
const quoted = /"((?:[ !#-[\]-~]|\\["\\])*)"/y;
/** RFC 9651: an Integer. Its sign is left out, because no epoch and no number is below 0. */
const integer = /(\d{1,15})(?![\d.])/y;
const memberEnd = /[ \t]*(,|$)/y;

/**
 * Reads a place from the header: a Dictionary of RFC 9651 with a String and two Integers, in any order, and nothing else.
 * Lines that were sent apart are one Dictionary. `undefined` if the header was not sent.
 *
 * @param lines each value that was sent
 * @throws `BAD_KEY`; its message shows nothing that was sent
 * @example numberingIn(['producer="till-7", epoch=3, number=42'])
 * @see https://www.rfc-editor.org/rfc/rfc9651#section-4.2.2
 */
export function numberingIn(lines: readonly string[]): Numbering | undefined {
  if (lines.length === 0) return undefined;
  const length = lines.reduce((sum, line) => sum + line.length + 1, -1);
  if (length > maxHeaderLength) {
    throw badHeader(`has ${length} characters, more than the ${maxHeaderLength} that are read`);
  }
  const members = membersOf(lines.join(','));
  for (const name of ['producer', 'epoch', 'number'] as const) {
    if (!members.has(name)) throw badHeader(`has no member \`${name}\``);
  }
  return Object.fromEntries(members) as unknown as Numbering;
}

function membersOf(text: string): Map<string, string | number> {
  const members = new Map<string, string | number>();
  let at = 0;
  /** Sticky patterns begin where the last one ended, so every character is read once. */
  const next = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found) at = pattern.lastIndex;
    return found?.[1];
  };
  for (let separator: string | undefined = ','; separator === ','; ) {
    const name = next(memberName);
    if (name === undefined) throw badHeader('holds something else than `producer`, `epoch` and `number`');
    if (members.has(name)) throw badHeader(`has the member \`${name}\` twice`);
    members.set(name, name === 'producer' ? textOf(next(quoted)) : numberOf(name, next(integer)));
    separator = next(memberEnd);
    if (separator === undefined) throw badHeader(`has something behind the value of \`${name}\``);
  }
  return members;
}

function textOf(found: string | undefined): string {
  if (found === undefined) throw badHeader('has a `producer` that is no printable ASCII in double quotes');
  return found.replace(/\\(["\\])/g, '$1');
}

function numberOf(name: string, found: string | undefined): number {
  if (found === undefined) throw badHeader(`has \`${name}\` not as a whole number of 1 to 15 digits`);
  return Number(found);
}

const badHeader = (what: string): IdempotencyError =>
  new IdempotencyError('BAD_KEY', `The ${sequenceHeader} header ${what}. ${howToWrite}`);

export const howToWrite = 'Send it as in `producer="till-7", epoch=3, number=42`.';
