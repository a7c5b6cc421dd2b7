import { deepStrictEqual } from 'node:assert';
import fc from 'fast-check';
import { describe, expect, it, vi } from 'vitest';
import type { HttpResponse } from '../../lib/index.ts';
import { type IdempotentOptions, idempotent } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { albEvent, albMultiValueEvent, httpApiEvent, restEvent } from '../support/http-events.ts';

const headers = [['Idempotency-Key', 'key-1']] as const;
const sources = [
  ['a REST API', restEvent({ headers, body: '{}' })],
  ['an HTTP API', httpApiEvent({ headers, body: '{}' })],
  ['a load balancer', albEvent({ headers, body: '{}' })],
  ['a load balancer with multi-value headers', albMultiValueEvent({ headers, body: '{}' })],
] as const;

/** What Lambda sends of an answer. */
const sent = (answer: unknown): Sent => JSON.parse(JSON.stringify(answer) ?? 'null');

/** First answer and replay, as a gateway sees them; the mark of a replay apart. */
/** An answer as JSON: what a handler did not return is not there. */
interface Sent extends Partial<HttpResponse> {
  readonly multiValueHeaders?: Record<string, string[]>;
}

async function answersOverHttp(event: unknown, answer: unknown, options: IdempotentOptions = {}) {
  const store = memoryStore();
  const handler = vi.fn(async () => answer);
  const call = idempotent(handler, { store, ...options });
  const first = sent(await call(event as never));
  const replay = sent(await call(event as never));
  expect(handler).toHaveBeenCalledTimes(1);
  const { 'Idempotent-Replayed': mark, ...others } = replay.headers ?? {};
  return { first, replay: { ...replay, headers: others }, mark, raw: replay };
}

class Answer {
  readonly #status: number;
  readonly #headers: object;
  constructor(status: number, headers: object) {
    this.#status = status;
    this.#headers = headers;
  }
  toJSON() {
    return { statusCode: this.#status, headers: this.#headers, body: 'paid' };
  }
}

class HeaderBag {
  readonly entries: Record<string, string>;
  constructor(entries: Record<string, string>) {
    this.entries = entries;
  }
  toJSON() {
    return this.entries;
  }
}

describe.each(sources)('an answer to %s', (source, event) => {
  const isMulti = source.includes('multi-value');

  it('that says by toJSON what it is, is replayed as it was sent', async () => {
    const { first, raw, replay } = await answersOverHttp(event, new Answer(201, { 'X-Receipt': 'r-1' }));
    expect(first).toEqual({ statusCode: 201, headers: { 'X-Receipt': 'r-1' }, body: 'paid' });
    expect(raw.statusCode).toBe(201);
    if (isMulti) expect(raw.multiValueHeaders).toMatchObject({ 'X-Receipt': ['r-1'] });
    else expect(replay).toEqual(first);
  });

  it('loses its private headers also where toJSON gives them', async () => {
    const bag = new HeaderBag({ 'Set-Cookie': 'sid=secret', 'X-Receipt': 'r-1' });
    for (const answer of [
      new Answer(200, { 'Set-Cookie': 'sid=secret', 'X-Receipt': 'r-1' }),
      { statusCode: 200, headers: bag, body: 'paid' },
    ]) {
      const { first, raw } = await answersOverHttp(event, answer);
      expect(JSON.stringify(first)).toContain('sid=secret');
      expect(JSON.stringify(raw)).not.toContain('sid=secret');
      expect(JSON.stringify(raw)).toContain('r-1');
    }
  });

  it('whose toJSON returns an object with a toJSON of its own, is replayed as it was sent', async () => {
    const date = new Date(0);
    for (const answer of [
      { toJSON: () => date },
      { toJSON: () => new Answer(201, {}) },
      { toJSON: () => ({ statusCode: 201, body: 'paid', toJSON: () => 'never asked' }) },
      { statusCode: 201, headers: { toJSON: () => date }, body: 'paid' },
    ]) {
      const { first, raw } = await answersOverHttp(event, answer);
      const { headers: _, multiValueHeaders: __, ...replay } = raw;
      const { headers: ___, ...was } = first;
      const isInferred = source === 'an HTTP API' && first.statusCode === undefined;
      expect(replay).toEqual(isInferred ? { statusCode: 200, body: JSON.stringify(first) } : was);
    }
  });

  it('is released where toJSON says that it failed', async () => {
    const handler = vi.fn(async () => new Answer(503, {}));
    const call = idempotent(handler, { store: memoryStore() });
    await call(event as never);
    await call(event as never);
    expect(handler).toHaveBeenCalledTimes(2);
  });

  it('is what onReplay makes of it, by its toJSON too', async () => {
    const { raw } = await answersOverHttp(
      event,
      { statusCode: 200, body: 'old' },
      {
        onReplay: () => new Answer(200, { 'X-Receipt': 'r-2' }),
      },
    );
    expect(raw).toMatchObject({ statusCode: 200, body: 'paid' });
    expect(JSON.stringify(raw)).toContain('r-2');
  });

  it('reaches the first caller where its toJSON throws', async () => {
    vi.spyOn(console, 'warn').mockImplementation(() => {});
    const answer = {
      toJSON() {
        throw new Error('not now');
      },
    };
    const call = idempotent(async () => answer, { store: memoryStore() });
    expect(await call(event as never)).toBe(answer);
    expect(await call(event as never)).toMatchObject({ statusCode: 410 });
    vi.restoreAllMocks();
  });
});

describe.each(sources.filter(([source]) => source !== 'an HTTP API'))(
  'an answer without a status to %s',
  (source, event) => {
    it('is stored without its private headers, and marked when it is replayed', async () => {
      const { first, raw } = await answersOverHttp(event, {
        headers: { 'Set-Cookie': 'sid=secret', 'X-Receipt': 'r-1' },
        multiValueHeaders: { 'set-cookie': ['sid=secret'] },
        body: 'paid',
      });
      expect(JSON.stringify(first)).toContain('sid=secret');
      expect(JSON.stringify(raw)).not.toContain('sid=secret');
      const found = source.includes('multi-value') ? raw.multiValueHeaders : raw.headers;
      expect(found).toMatchObject({
        'X-Receipt': source.includes('multi-value') ? ['r-1'] : 'r-1',
        'Idempotent-Replayed': source.includes('multi-value') ? ['true'] : 'true',
      });
      expect(raw.body).toBe('paid');
    });

    it('is left as it is where it is data that somebody else makes an answer of', async () => {
      for (const data of [{ id: 7 }, { id: 7, headers: { date: 'monday' } }, [{ headers: {} }], 'text', {}]) {
        const call = idempotent(async () => data, { store: memoryStore() });
        await call(event as never);
        expect(await call(event as never)).toEqual(data);
      }
    });
  },
);

it('a guard replays a Date to an HTTP API as it was sent', async () => {
  const [, event] = sources[1];
  const call = idempotent(async () => new Date(0), { store: memoryStore() });
  expect(sent(await call(event as never))).toBe('1970-01-01T00:00:00.000Z');
  expect(await call(event as never)).toMatchObject({ statusCode: 200, body: '1970-01-01T00:00:00.000Z' });
});

describe('an answer in this process', () => {
  /** The replay, or the code of its refusal. */
  async function replayOf(value: unknown): Promise<unknown> {
    const call = idempotent(async (_event: unknown) => value, { store: memoryStore(), key: () => 'k' });
    expect(await call({})).toBe(value);
    return call({}).catch((error: { code: string }) => ({ refused: error.code }));
  }
  const refused = { refused: 'RESULT_UNAVAILABLE' };

  it('keeps the members that an array has beside its items', async () => {
    const rows = Object.assign([1, 2], { total: 2, at: new Date(0) });
    const found = await replayOf({ rows });
    deepStrictEqual(found, { rows });
    deepStrictEqual(await replayOf(/(?<cents>\d+)/.exec('a 500 b')), /(?<cents>\d+)/.exec('a 500 b'));
    deepStrictEqual(await replayOf(Object.assign([], { total: 0 })), Object.assign([], { total: 0 }));
    // biome-ignore lint/suspicious/noSparseArray: holes stay holes
    const holes = Object.assign([1, , 3], { total: 2 });
    const replayed = (await replayOf(holes)) as number[];
    deepStrictEqual(replayed, holes);
    expect(1 in replayed).toBe(false);
    const circular: unknown[] & { self?: unknown } = [1];
    circular.self = circular;
    const again = (await replayOf(circular)) as typeof circular;
    expect(again.self).toBe(again);
  });

  it('equals the first one, for any array with any members', async () => {
    vi.spyOn(console, 'warn').mockImplementation(() => {});
    const member = fc
      .string({ minLength: 1 })
      .filter((name) => !['__proto__', 'toJSON', 'then', 'length'].includes(name));
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.anything({ withDate: true, withMap: true })),
        fc.dictionary(member, fc.anything({ withDate: true })),
        async (items, members) => {
          const list = Object.assign([...items], members);
          const replay = await replayOf({ list });
          if ((replay as typeof refused).refused === undefined) deepStrictEqual(replay, { list });
        },
      ),
      { numRuns: 200 },
    );
    vi.restoreAllMocks();
  });

  it('is not stored where JSON would write something else than it is', async () => {
    vi.spyOn(console, 'warn').mockImplementation(() => {});
    class Rows extends Array<number> {}
    class Day extends Date {}
    class Index extends Map<number, number> {}
    const hidden = Object.defineProperty({ a: 1 }, 'toJSON', { value: () => 'other', enumerable: false });
    for (const value of [
      { toJSON: () => 'other' },
      hidden,
      { deep: [hidden] },
      Object.assign([1], { toJSON: () => 'other' }),
      Rows.of(1, 2),
      new Day(0),
      new Index([[1, 2]]),
      Object.assign(new Date(0), { zone: 'UTC' }),
      Object.assign(new Map(), { total: 0 }),
    ]) {
      expect(await replayOf(value)).toEqual(refused);
    }
    vi.restoreAllMocks();
  });
});
