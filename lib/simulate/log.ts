/** A log of real requests, line by line. Keys are hashed as they are read, and no message shows what a line holds. */
import { sha256 } from '../hash.ts';
import { isRecord } from '../validate.ts';

/** A request that somebody has logged. */
export interface LoggedRequest {
  /** Epoch milliseconds. */
  readonly atMs: number;
  readonly method: string;
  /** The hash of the key; absent where the request had none. */
  readonly key: string | undefined;
  /** Equal for equal payloads; absent where the log does not tell. */
  readonly fingerprint: string | undefined;
}

/** A line that is no request, by its number and what is wrong with it. */
export class LogError extends Error {
  override readonly name = 'LogError';
  readonly line: number;

  constructor(line: number, problem: string) {
    super(`Line ${line}: ${problem}`);
    this.line = line;
  }
}

/** What a log was found to hold. */
export interface LogFindings {
  readonly requests: number;
  /** Requests with another method than `POST` and `PATCH`, which are not played. */
  readonly otherMethods: number;
  /** Requests without a key, which are not played. */
  readonly withoutKey: number;
  /** Requests that are logged after a later one. They are played at that one's time. */
  readonly outOfOrder: number;
  /** Keys that were given up early, because more are remembered at once than fit into memory. */
  readonly forgotten: number;
}

const mostCharacters = 65_536;

/**
 * Reads CSV with a head, or one JSON object a line, whichever the first line is. Either names `time`, `method` and `key`, and may
 * name `fingerprint`.
 *
 * @throws {@link LogError}
 */
export async function* requestsIn(
  lines: AsyncIterable<string> | Iterable<string>,
): AsyncGenerator<LoggedRequest> {
  let number = 0;
  let read: ((text: string, line: number) => LoggedRequest) | undefined;
  for await (const line of lines) {
    number++;
    if (line.length > mostCharacters)
      throw new LogError(number, `has more than ${mostCharacters} characters.`);
    const text = number === 1 ? line.replace(/^\uFEFF/, '') : line;
    if (text.trim() === '') continue;
    if (read) yield read(text, number);
    else if (text.trimStart().startsWith('{')) {
      read = fromJson;
      yield read(text, number);
    } else read = fromCsv(text, number);
  }
}

function fromJson(text: string, line: number): LoggedRequest {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The parser's message quotes the line.
    throw new LogError(line, 'is no JSON.');
  }
  if (!isRecord(value) || Array.isArray(value)) throw new LogError(line, 'is no JSON object.');
  const member = (name: string): unknown => (Object.hasOwn(value, name) ? value[name] : undefined);
  return requestOf(member, line);
}

function fromCsv(head: string, line: number): (text: string, line: number) => LoggedRequest {
  const names = fieldsOf(head, line).map((name) => name.trim().toLowerCase());
  for (const name of ['time', 'method', 'key']) {
    if (!names.includes(name)) {
      throw new LogError(
        line,
        `has no column \`${name}\`. Expected the head of a CSV file with time, method and key, or a JSON object.`,
      );
    }
  }
  return (text, number) => {
    const fields = fieldsOf(text, number);
    if (fields.length !== names.length) {
      throw new LogError(number, `has ${fields.length} fields, and the head has ${names.length}.`);
    }
    return requestOf((name) => fields[names.indexOf(name)], number);
  };
}

/** Fields as RFC 4180 writes them, but for line breaks in quotes. */
function fieldsOf(text: string, line: number): string[] {
  const fields: string[] = [];
  let at = 0;
  for (;;) {
    if (text[at] !== '"') {
      const end = text.indexOf(',', at);
      fields.push(text.slice(at, end === -1 ? undefined : end));
      if (end === -1) return fields;
      at = end + 1;
      continue;
    }
    const { field, end } = quoted(text, at + 1, line);
    fields.push(field);
    if (end === text.length) return fields;
    if (text[end] !== ',') throw new LogError(line, 'has text after a closing quote.');
    at = end + 1;
  }
}

function quoted(text: string, from: number, line: number): { readonly field: string; readonly end: number } {
  const parts: string[] = [];
  for (let at = from; ; ) {
    const quote = text.indexOf('"', at);
    if (quote === -1) throw new LogError(line, 'has a quote that is not closed.');
    parts.push(text.slice(at, quote));
    if (text[quote + 1] !== '"') return { field: parts.join('"'), end: quote + 1 };
    at = quote + 2;
  }
}

function requestOf(member: (name: string) => unknown, line: number): LoggedRequest {
  const [method, key, fingerprint] = [member('method'), member('key'), member('fingerprint')];
  if (typeof method !== 'string' || !/^[A-Za-z]{1,20}$/.test(method)) {
    throw new LogError(line, 'its method is no HTTP method.');
  }
  return {
    atMs: momentOf(member('time'), line),
    method: method.toUpperCase(),
    key: hashed(key, 'key', line),
    fingerprint: hashed(fingerprint, 'fingerprint', line),
  };
}

function hashed(value: unknown, name: string, line: number): string | undefined {
  if (value === undefined || value === null || value === '') return undefined;
  if (typeof value !== 'string' && typeof value !== 'number') {
    throw new LogError(line, `its ${name} is neither a string nor a number.`);
  }
  return sha256(String(value));
}

const date = /^\d{4}-\d\d-\d\d[T ]\d\d:\d\d(?::\d\d(?:[.,]\d{1,9})?)?(?:Z|[+-]\d\d:?\d\d)?$/;

/** Epoch seconds, epoch milliseconds, or ISO 8601, which is UTC where it names no zone. */
function momentOf(value: unknown, line: number): number {
  const text = typeof value === 'number' ? String(value) : typeof value === 'string' ? value.trim() : '';
  let ms = Number.NaN;
  if (/^\d{1,16}(?:\.\d{1,9})?$/.test(text)) {
    ms = Number(text) < 1e11 ? Number(text) * 1000 : Number(text);
  } else if (date.test(text)) {
    const hasZone = /(?:Z|[+-]\d\d:?\d\d)$/.test(text);
    ms = Date.parse(`${text.replace(' ', 'T').replace(',', '.')}${hasZone ? '' : 'Z'}`);
  }
  if (Number.isFinite(ms) && ms < 8.64e15) return ms;
  throw new LogError(line, 'its time is neither ISO 8601 nor epoch seconds or milliseconds.');
}
