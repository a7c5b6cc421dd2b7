/** What all made events share: where they come from, and how their parts are written. */
import { Buffer } from 'node:buffer';

export const region = 'eu-west-1';
export const account = '123456789012';

export type Line = readonly [name: string, value: string];

/** The values of each name, in their order. */
export function listsOf(pairs: Iterable<Line>): Record<string, string[]> {
  const lists = new Map<string, string[]>();
  for (const [name, value] of pairs) {
    const list = lists.get(name);
    if (list) list.push(value);
    else lists.set(name, [value]);
  }
  return Object.fromEntries(lists);
}

/** A string as it is, anything else as JSON. */
export const textOf = (value: unknown): string =>
  typeof value === 'string' ? value : (JSON.stringify(value) ?? '');

/** Bytes or a string as they are, anything else as JSON. */
export const bytesOf = (value: unknown): Buffer =>
  value instanceof Uint8Array ? Buffer.from(value) : Buffer.from(textOf(value));
