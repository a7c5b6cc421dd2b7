/** Whether the time that a reader takes grows with the length of what it reads, and not with its square. */
import { Buffer } from 'node:buffer';
import { decode } from '../../../lib/engine/index.ts';
import { wholePayload } from '../../../lib/index.ts';
import { httpEventV2, sqsEvent } from '../../../lib/testing.ts';
import { cpuMs } from '../../support/cpu.ts';
import type { Draw } from './draw.ts';
import { fragments } from './mutate.ts';
import { read } from './target.ts';

export type TextReader = (text: string) => unknown;

const withType =
  (contentType: string): TextReader =>
  (body) =>
    wholePayload(httpEventV2({ headers: { 'content-type': contentType }, body }));

/** All that read a text of a caller's, or of a stored record. */
export const textReaders: readonly (readonly [name: string, reader: TextReader])[] = [
  ['a JSON body', withType('application/json')],
  ['a form', withType('application/x-www-form-urlencoded')],
  ['a multipart form', withType('multipart/form-data; boundary=a')],
  ['any body', withType('text/plain')],
  ['a content type', (text) => withType(text)('a')],
  ['a query', (query) => wholePayload({ ...httpEventV2(), rawQueryString: query })],
  ['a message', (body) => wholePayload(sqsEvent({ body }).Records[0])],
  ['a stored answer', (text) => decode(Buffer.from(`\u0004${text}`), { operation: 'operation' })],
];

const shortLength = 4_000;
const factor = 16;
/** Linear work for the longer text takes a few milliseconds; with the square it would be seconds. */
const allowedMs = 100;
const tolerance = 6;

/** One fragment over and over, between two others. */
export function drawText(draw: Draw): (length: number) => string {
  const [opening, ending] = [draw.list(2, () => draw.pick(fragments)).join(''), draw.pick(fragments)];
  const piece = draw.pick(fragments) + (draw.isTrue(0.5) ? draw.pick(fragments) : '');
  return (length) => opening + piece.repeat(Math.ceil(length / piece.length)) + ending;
}

/** @returns what is too slow; `undefined` where nothing is */
export function growthComplaint(reader: TextReader, textOf: (length: number) => string): string | undefined {
  const short = leastCpuMs(reader, textOf(shortLength));
  const long = leastCpuMs(reader, textOf(shortLength * factor));
  if (long <= short * factor * tolerance + allowedMs) return undefined;
  return `${factor} times ${JSON.stringify(textOf(1))} takes ${long} ms instead of ${short} ms`;
}

/** The least of three, for other work can only add to it. */
const leastCpuMs = (reader: TextReader, text: string): number =>
  Math.min(...[1, 2, 3].map(() => cpuMs(() => read(() => reader(text)))));
