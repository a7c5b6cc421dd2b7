import { Buffer, isUtf8 } from 'node:buffer';
import { wholePayload } from '../../../../lib/index.ts';
import type { Draw } from '../draw.ts';
import { changed, type Document, drawDocument, spelled } from '../json-document.ts';
import { mutatedText } from '../mutate.ts';
import { isSame, type Meaning, meaningOf } from '../same-meaning.ts';
import { foreign, read, type Target } from '../target.ts';
import { maxLevels } from './canonical-json.ts';

interface Request {
  /** A place in {@link formats}. */
  readonly format: number;
  readonly method: string;
  readonly path: string;
  /** As in a URL. Only payload format 2.0 decodes it. */
  readonly query: string;
  /** A place in {@link contentTypes}. */
  readonly type: number;
  readonly body: string;
  /** A place in {@link encodings}. */
  readonly encoding: number;
}

const formats = ['2.0', '1.0', 'balancer'] as const;
/** `utf8` and `latin1` are sent as Base64. */
const encodings = ['text', 'utf8', 'latin1'] as const;
const contentTypes = [
  { header: undefined, kind: 'any', boundary: '' },
  { header: 'text/plain', kind: 'any', boundary: '' },
  { header: 'application/json', kind: 'json', boundary: '' },
  { header: 'Application/Problem+JSON; charset=utf-8', kind: 'json', boundary: '' },
  { header: 'application/x-www-form-urlencoded', kind: 'form', boundary: '' },
  { header: 'APPLICATION/X-WWW-FORM-URLENCODED;charset=UTF-8', kind: 'form', boundary: '' },
  { header: 'multipart/form-data; boundary=x', kind: 'multipart', boundary: 'x' },
  { header: 'multipart/form-data; boundary="a b"', kind: 'multipart', boundary: 'a b' },
] as const;

/** Two requests have one fingerprint where they ask for the same, and only there. */
export const requestsTarget = (reader: (event: unknown) => string = wholePayload): Target => ({
  name: 'forms, queries and bodies',
  make(draw) {
    const meant = drawMeant(draw);
    const left = drawRequest(draw, meant);
    const right = draw.isTrue(0.5) ? asMeant(draw, left, meant) : changedRequest(draw, left);
    return { left: { ...left }, right: { ...right } };
  },
  complaint({ left, right }: { readonly left?: Partial<Request>; readonly right?: Partial<Request> }) {
    const [one, other] = [complete(left), complete(right)];
    const [first, second] = [one, other].map((request) => read(() => reader(eventOf(request))));
    for (const found of [first, second]) {
      if (found?.kind === 'threw') return foreign(found.error);
      if (found?.kind === 'refused') return `it refuses with ${found.code}`;
    }
    const areOne = first?.kind === 'value' && second?.kind === 'value' && first.value === second.value;
    const verdict = asksTheSame(one, other);
    if (areOne && verdict === 'no') return 'two requests have one fingerprint';
    return !areOne && verdict === 'yes' ? 'one request has two fingerprints' : undefined;
  },
});

const complete = (request: Partial<Request> = {}): Request => ({
  ...{ format: 0, method: '', path: '', query: '', type: 0, body: '', encoding: 0 },
  ...request,
});

/** What a client means to send. */
interface Meant {
  readonly query: readonly Pair[];
  readonly form: readonly Pair[];
  readonly document: Document;
  readonly part: string;
}

const drawMeant = (draw: Draw): Meant => ({
  query: draw.isTrue(0.5) ? [] : drawPairs(draw),
  form: drawPairs(draw),
  document: drawDocument(draw, 2),
  part: draw.pick(['a', 'b', '--']),
});

function drawRequest(draw: Draw, meant: Meant): Request {
  const type = draw.between(0, contentTypes.length - 1);
  return {
    format: draw.between(0, formats.length - 1),
    method: draw.pick(['POST', 'post', 'PATCH']),
    path: draw.pick(['/', '/payments', '/é']),
    query: spelledPairs(draw, meant.query),
    type,
    body: draw.isTrue(0.1) ? draw.pick(oddBodies) : spelledBody(draw, meant, type),
    encoding: draw.between(0, encodings.length - 1),
  };
}

const oddBodies = ['', ' ', 'text', '\ud800', '\u00ff\u00fe', '"a"', '1', '{', '[1'];

function spelledBody(draw: Draw, { form, document, part }: Meant, type: number): string {
  const { kind, boundary } = contentTypes[type] ?? contentTypes[0];
  if (kind === 'form') return spelledPairs(draw, form);
  if (kind === 'multipart') return `--${boundary}\r\n\r\n${part}\r\n--${boundary}--`;
  return spelled(draw, document);
}

type Pair = readonly [name: string, value: string];

const drawPairs = (draw: Draw): Pair[] =>
  draw.list(4, () => [
    draw.pick(['a', 'b', 'é', '', '__proto__']),
    draw.pick(['1', '2', '', 'a b', '+', '%', '&=', '😀']),
  ]);

/** Names in any order, and the values of each in theirs. */
function spelledPairs(draw: Draw, pairs: readonly Pair[]): string {
  const values = new Map<string, string[]>();
  for (const [name, value] of pairs) values.set(name, [...(values.get(name) ?? []), value]);
  return draw
    .shuffled(pairs)
    .map(([name]) => `${escaped(draw, name)}=${escaped(draw, values.get(name)?.shift() ?? '')}`)
    .join(draw.isTrue(0.05) ? '&&' : '&');
}

function escaped(draw: Draw, text: string): string {
  let written = '';
  for (const byte of Buffer.from(text)) {
    const character = String.fromCharCode(byte);
    if (character === ' ' && draw.isTrue(0.5)) written += '+';
    else if (/[a-z0-9_]/.test(character) && !draw.isTrue(0.1)) written += character;
    else {
      const digits = byte.toString(16).padStart(2, '0');
      written += `%${draw.isTrue(0.5) ? digits : digits.toUpperCase()}`;
    }
  }
  return written;
}

/** The same request in other words. */
function asMeant(draw: Draw, request: Request, meant: Meant): Request {
  const { kind } = contentTypes[request.type] ?? contentTypes[0];
  const others = contentTypes.flatMap((other, place) => (other.kind === kind ? [place] : []));
  const type = draw.pick(others);
  return {
    ...request,
    method: draw.isTrue(0.5) ? request.method.toUpperCase() : request.method,
    query: spelledPairs(draw, meant.query),
    type,
    body: spelledBody(draw, meant, type),
    encoding: request.encoding === 2 ? 2 : draw.between(0, 1),
  };
}

function changedRequest(draw: Draw, request: Request): Request {
  switch (draw.between(0, 6)) {
    case 0:
      return { ...request, query: mutatedText(draw, request.query) };
    case 1:
      return { ...request, body: spelled(draw, changed(draw, drawDocument(draw, 1))) };
    case 2:
      return { ...request, type: draw.between(0, contentTypes.length - 1) };
    case 3:
      return { ...request, encoding: draw.between(0, encodings.length - 1) };
    case 4:
      return { ...request, query: request.body, body: request.query };
    case 5:
      return { ...request, query: request.query.split('&').toReversed().join('&') };
    default:
      return { ...request, body: mutatedText(draw, request.body) };
  }
}

function eventOf({ format, method, path, query, type, body, encoding }: Request): unknown {
  const header = contentTypes[type]?.header;
  const headers = header === undefined ? {} : { 'content-TYPE': header };
  const how = encodings[encoding] ?? 'text';
  const shared = {
    headers,
    body: how === 'text' ? body : Buffer.from(body, how).toString('base64'),
    isBase64Encoded: how !== 'text',
  };
  if ((formats[format] ?? '2.0') === '2.0') {
    return {
      ...shared,
      version: '2.0',
      rawPath: path,
      rawQueryString: query,
      requestContext: { http: { method } },
    };
  }
  const lists = new Map<string, string[]>();
  for (const [name, value] of cut(query)) lists.set(name, [...(lists.get(name) ?? []), value]);
  return {
    ...shared,
    httpMethod: method,
    path,
    multiValueQueryStringParameters: Object.fromEntries(lists),
    requestContext: format === 2 ? { elb: {} } : {},
  };
}

/** Names and values between `&` and the first `=`, as they are. */
function cut(text: string): Pair[] {
  const pairs: Pair[] = [];
  for (const part of text.split('&')) {
    if (part === '') continue;
    const [name = '', ...value] = part.split('=');
    pairs.push([name, value.join('=')]);
  }
  return pairs;
}

type Verdict = 'yes' | 'no' | 'as written';

function asksTheSame(left: Request, right: Request): Verdict {
  const isRest = left.method.toUpperCase() === right.method.toUpperCase() && left.path === right.path;
  if (!isRest || !haveSamePairs(queryOf(left), queryOf(right))) return 'no';
  return haveSameBody(bodyOf(left), bodyOf(right));
}

const queryOf = ({ format, query }: Request): Pair[] =>
  (formats[format] ?? '2.0') === '2.0' ? decodedPairs(bytesOf(query)) : cut(query);

/** For each name the values in their order. */
function haveSamePairs(left: readonly Pair[], right: readonly Pair[]): boolean {
  if (left.length !== right.length) return false;
  const valuesOf = (pairs: readonly Pair[], wanted: string) =>
    pairs.filter(([name]) => name === wanted).map(([, value]) => value);
  return left.every(([name]) => {
    const [mine, theirs] = [valuesOf(left, name), valuesOf(right, name)];
    return mine.length === theirs.length && mine.every((value, index) => value === theirs[index]);
  });
}

/** One character for each byte; a text that has no bytes, because of a lone surrogate, stays as it is. */
const bytesOf = (text: string): string => (text.isWellFormed() ? Buffer.from(text).toString('latin1') : text);

function decodedPairs(bytes: string): Pair[] {
  return cut(bytes).map(([name, value]) => [decoded(name), decoded(value)]);
}

function decoded(bytes: string): string {
  let text = '';
  for (let at = 0; at < bytes.length; at++) {
    const digits = bytes.slice(at + 1, at + 3);
    if (bytes[at] === '%' && /^[0-9a-f]{2}$/i.test(digits)) {
      text += String.fromCharCode(Number.parseInt(digits, 16));
      at += 2;
    } else text += bytes[at] === '+' ? ' ' : bytes[at];
  }
  return text;
}

type Body =
  | { readonly kind: 'form'; readonly pairs: readonly Pair[] }
  | { readonly kind: 'multipart'; readonly parts: readonly string[] }
  | { readonly kind: 'json'; readonly meaning: Meaning; readonly isHuge: boolean }
  | { readonly kind: 'bytes'; readonly bytes: string };

function bodyOf({ type, body, encoding }: Request): Body {
  const { kind, boundary } = contentTypes[type] ?? contentTypes[0];
  const how = encodings[encoding] ?? 'text';
  const sent = how === 'text' ? undefined : Buffer.from(body, how);
  const bytes = sent?.toString('latin1') ?? bytesOf(body);
  if (kind === 'form') return { kind, pairs: decodedPairs(bytes) };
  if (kind === 'multipart') {
    const parts: string[] = [];
    let from = 0;
    for (let at = 0; at < bytes.length; at++) {
      if (at < from || !bytes.startsWith(`--${boundary}`, at)) continue;
      parts.push(bytes.slice(from, at));
      from = at + boundary.length + 2;
    }
    return { kind, parts: [...parts, bytes.slice(from)] };
  }
  const text = sent === undefined ? body : isUtf8(sent) ? sent.toString() : undefined;
  const read = text === undefined ? undefined : meaningOf(text);
  const isContainer = read?.meaning.kind === 'array' || read?.meaning.kind === 'object';
  if (read === undefined || read.levels > maxLevels || (kind !== 'json' && !isContainer))
    return { kind: 'bytes', bytes };
  return { kind: 'json', meaning: read.meaning, isHuge: read.hasHugeExponent };
}

function haveSameBody(left: Body, right: Body): Verdict {
  const verdict = (isOne: boolean): Verdict => (isOne ? 'yes' : 'no');
  if (left.kind === 'form' && right.kind === 'form') return verdict(haveSamePairs(left.pairs, right.pairs));
  if (left.kind === 'bytes' && right.kind === 'bytes') return verdict(left.bytes === right.bytes);
  if (left.kind === 'multipart' && right.kind === 'multipart') {
    return verdict(
      left.parts.length === right.parts.length && left.parts.every((part, at) => part === right.parts[at]),
    );
  }
  if (left.kind !== 'json' || right.kind !== 'json') return 'no';
  if (!isSame(left.meaning, right.meaning)) return 'no';
  return left.isHuge || right.isHuge ? 'as written' : 'yes';
}
