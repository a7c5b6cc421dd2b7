import { describe, expect, test } from 'vitest';
import { decode, encode } from '../../lib/engine/index.ts';
import { canonicalJson } from '../../lib/events/canonical-json.ts';
import { keyFromHeader } from '../../lib/events/key-syntax.ts';
import { IdempotencyError, type IdempotentOptions, idempotent, wholePayload } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { Draw } from './fuzz/draw.ts';
import { drawText, growthComplaint, textReaders } from './fuzz/growth.ts';
import { fuzz, fuzzedText } from './fuzz/run.ts';
import type { Target } from './fuzz/target.ts';
import { canonicalJsonTarget } from './fuzz/targets/canonical-json.ts';
import { codecTarget } from './fuzz/targets/codec.ts';
import { eventsTarget } from './fuzz/targets/events.ts';
import { targets } from './fuzz/targets/index.ts';
import { keyHeaderTarget } from './fuzz/targets/key-header.ts';
import { requestsTarget } from './fuzz/targets/requests.ts';
import { storedRecordsTarget } from './fuzz/targets/stored-records.ts';

test('ten thousand inputs are read as they are to be', { timeout: 120_000 }, async () => {
  const fuzzed = await fuzz({ from: 1, count: 10_000 });
  expect(fuzzed.outcome === 'broken' ? fuzzedText(fuzzed) : '').toBe('');
  expect(fuzzed).toMatchObject({
    inputs: Object.fromEntries(targets.map(({ name }) => [name, expect.any(Number)])),
  });
});

const quoted = (event: unknown): never => {
  throw new IdempotencyError('BAD_KEY', `Cannot read ${JSON.stringify(event)}`);
};

const withoutDigits = canonicalJsonTarget((text) => canonicalJson(JSON.stringify(JSON.parse(text))));

interface Sent {
  readonly rawQueryString?: string;
  readonly body: string;
  readonly isBase64Encoded: boolean;
}

const queryIn = (event: unknown): string => (event as Sent).rawQueryString ?? '';
const withQuery = (event: unknown, change: (query: string) => string): unknown => ({
  ...(event as Sent),
  ...((event as Sent).rawQueryString !== undefined && { rawQueryString: change(queryIn(event)) }),
});
const sorted = (query: string): string => query.split('&').sort().join('&');
const asText = (event: unknown): unknown => {
  const { body, isBase64Encoded } = event as Sent;
  const text = isBase64Encoded ? Buffer.from(body, 'base64').toString() : body;
  return { ...(event as Sent), body: text, isBase64Encoded: false };
};

/** A guard whose options are other than those that it is given. */
const guardWith = (options: () => IdempotentOptions<never>): typeof idempotent =>
  ((handler: () => unknown, given: object) =>
    (...args: readonly [never]) =>
      idempotent(handler, { ...given, ...options() } as never)(...args)) as never;

describe('a broken reader is found', () => {
  const broken: readonly (readonly [fault: string, target: Target])[] = [
    ['drops digits', withoutDigits],
    ['does not sort names', canonicalJsonTarget((text) => JSON.stringify(JSON.parse(text)))],
    ['reads the start only', canonicalJsonTarget((text) => canonicalJson(text).slice(0, 40))],
    ['takes what is no JSON', canonicalJsonTarget((text) => canonicalJson(text.replace('\ufeff', '')))],
    [
      'takes bare keys where they are to be quoted',
      keyHeaderTarget((lines, name) => keyFromHeader(lines, name, 'lenient')),
    ],
    [
      'reads the first of two keys',
      keyHeaderTarget(([line], ...how) => keyFromHeader(line === undefined ? [] : [line], ...how)),
    ],
    [
      'leaves escapes in a key',
      keyHeaderTarget((...given) => keyFromHeader(...given)?.replace(/["\\]/, '\\$&')),
    ],
    ['sorts values of one name', requestsTarget((event) => wholePayload(withQuery(event, sorted)))],
    ['leaves a query as it was sent', requestsTarget((event) => wholePayload(event) + queryIn(event))],
    ['drops bytes that are no text', requestsTarget((event) => wholePayload(asText(event)))],
    [
      'reads answers as JSON',
      codecTarget({ encode, decode: (bytes) => JSON.parse(Buffer.from(bytes.subarray(1)).toString()) }),
    ],
    [
      'keeps a copy of another kind',
      codecTarget({ encode: (answer, how) => encode(structuredClone(answer), how), decode }),
    ],
    [
      'trusts a stored answer',
      storedRecordsTarget(guardWith(() => ({ onReplay: (answer: string) => answer.trim() }))),
    ],
    [
      'trusts the shape of an event',
      eventsTarget(guardWith(() => ({ key: ({ Records: [record] }: { Records: [string] }) => record }))),
    ],
    ['forgets an event', eventsTarget(guardWith(() => ({ store: memoryStore() })))],
    ['quotes what was sent', eventsTarget(guardWith(() => ({ key: quoted })))],
  ];
  test.each(broken)('that %s', { timeout: 60_000 }, async (_fault, target) => {
    expect(await fuzz({ from: 1, count: 5_000, targets: [target] })).toMatchObject({ outcome: 'broken' });
  });
});

test('what is found is small, and its seed finds it again', { timeout: 60_000 }, async () => {
  const found = await fuzz({ from: 1, count: 5_000, targets: [withoutDigits] });
  if (found.outcome === 'sound') throw new Error('The broken reader was not found.');
  expect(JSON.stringify(found.input).length).toBeLessThan(80);
  expect(fuzzedText(found)).toContain(`--fuzz 1 --seed ${found.seed} --reader 'canonical JSON'`);
  expect(await fuzz({ from: found.seed, count: 1, targets: [withoutDigits] })).toEqual(found);
});

test('a reader that is unknown is refused with the names of those that there are', async () => {
  await expect(fuzz({ from: 1, count: 1, only: 'tea leaves' })).rejects.toThrow('canonical JSON');
});

describe('time grows with the length of what is read, and not with its square', () => {
  test.each(textReaders)('of %s', { timeout: 120_000 }, (_name, reader) => {
    for (let seed = 1; seed <= 40; seed++) {
      expect(growthComplaint(reader, drawText(new Draw(seed)))).toBeUndefined();
    }
  });

  test('which a reader that looks through the rest at each character does not keep to', () => {
    const slow = (text: string) => {
      let sum = 0;
      for (let at = 0; at < text.length; at++) {
        for (let rest = at; rest < text.length; rest += 8) sum += text.charCodeAt(rest);
      }
      return sum;
    };
    // Until it is compiled, the short text takes as long as a longer one.
    for (let calls = 0; calls < 20; calls++) slow('a'.repeat(4_000));
    expect(growthComplaint(slow, drawText(new Draw(1)))).toContain('instead of');
  });
});
