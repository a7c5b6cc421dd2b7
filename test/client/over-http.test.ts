import { parseDictionary } from 'structured-headers';
import { describe, expect, it } from 'vitest';
import {
  IdempotencyError,
  memoryStorage,
  numberedSender,
  overHttp,
  sequenceHeader,
} from '../../lib/client.ts';
import { json, problem, retryingBench } from './retrying.ts';
import type { Answer, ScriptedServer } from './scripted-server.ts';

const { serve } = retryingBench();

const senderTo = (origin: string, options: { maxAttempts?: number } = {}, http = {}) =>
  numberedSender({
    ...{ producer: 'till-7', storage: memoryStorage(), send: overHttp(origin, http) },
    ...{ baseDelayMs: 0, maxDelayMs: 0, epoch: () => 3, ...options },
  });
const sequences = ({ received }: ScriptedServer) =>
  received.map(({ headers }) => headers['idempotency-sequence']);

describe('what sends over HTTP', () => {
  it.each([
    [undefined, {}, 'Expected option `url` to be a string, a URL or a function, got null.'],
    ['', {}, 'Expected option `url` to be a string, a URL or a function, got "" (string).'],
    ['/sales', { headers: {} }, 'Unknown option `headers`. Did you mean `request`? Known: request, fetch.'],
    [
      '/sales',
      { request: { headers: {} } },
      'Expected option `request` to be a function that returns what fetch() takes for a payload, got {"headers":{}} (object).',
    ],
    ['/sales', { fetch: 'fetch' }, 'Expected option `fetch` to be a function, got "fetch" (string).'],
  ])('is refused with %j and %j before there is a message', (url, options, message) => {
    expect(() => overHttp(url as never, options as never)).toThrow(
      expect.objectContaining({ code: 'BAD_OPTION', message }),
    );
  });
});

describe('the header of a numbered message', () => {
  it.each(['till-7', 'a "quoted" \\ name', ' ', 'x, epoch=9'].filter((name) => name.trim() !== ''))(
    'is a dictionary of structured fields, with the producer %s',
    (producer) => {
      const header = sequenceHeader({ producer, epoch: 3, number: 999_999_999_999_999 });
      expect(
        Object.fromEntries([...parseDictionary(header)].map(([name, [value]]) => [name, value])),
      ).toEqual({
        producer,
        epoch: 3,
        number: 999_999_999_999_999,
      });
    },
  );

  it.each([
    ['till-ü', 0, 0],
    ['line\nbreak', 0, 0],
    [' ', 0, 0],
    ['till', -1, 0],
    ['till', 0, 1.5],
    ['till', 0, 1e15],
  ])('refuses what it cannot carry: %j, %d, %d', (producer, epoch, number) => {
    const make = () => sequenceHeader({ producer, epoch, number });
    expect(make).toThrow(expect.objectContaining({ code: 'BAD_KEY' }));
  });
});

describe('a numbered sender over HTTP', () => {
  it('posts JSON under the header, and resolves to the answer', async () => {
    const server = await serve([json(201, { id: 1 })]);
    const sent = await senderTo(server.origin).send({ amount: 100 });
    if (sent.outcome !== 'answered') throw new Error(sent.outcome);
    expect([sent.answer.status, await sent.answer.json()]).toEqual([201, { id: 1 }]);
    expect(sequences(server)).toEqual(['producer="till-7", epoch=3, number=0']);
    expect(server.keys()).toEqual([undefined]);
    const [{ method, headers, body }] = server.received as [(typeof server.received)[0]];
    expect([method, headers['content-type'], body.toString()]).toEqual([
      'POST',
      'application/json',
      '{"amount":100}',
    ]);
  });

  it('sends the request that it is told to', async () => {
    const server = await serve([]);
    const send = overHttp<string>((payload) => `${server.origin}/${payload}`, {
      request: (payload) => ({ method: 'PUT', headers: { Authorization: 'token' }, body: `<${payload}>` }),
    });
    await numberedSender({ producer: 'till-7', storage: memoryStorage(), send }).send('sale');
    expect(server.received[0]).toMatchObject({
      ...{ method: 'PUT', url: '/sale', body: Buffer.from('<sale>') },
      headers: { authorization: 'token', 'idempotency-sequence': expect.stringMatching(/number=0$/) },
    });
  });

  it.each<[what: string, answer: Answer | 'drop' | 'lose-answer']>([
    ['a broken connection', 'drop'],
    ['a lost answer', 'lose-answer'],
    ['a 503', { status: 503 }],
    ['a 429', { status: 429, headers: { 'Retry-After': '0' } }],
    ['a 408', { status: 408 }],
    ['a call that runs', problem(409, 'IN_PROGRESS')],
  ])('sends the same again after %s', async (_, step) => {
    const server = await serve([step]);
    expect(await senderTo(server.origin).send(1)).toMatchObject({ outcome: 'answered', number: 0 });
    expect(sequences(server)).toEqual(Array(2).fill('producer="till-7", epoch=3, number=0'));
  });

  it.each<[what: string, answer: Answer]>([
    ['missing credentials', { status: 401 }],
    ['a guard that sees no number', problem(400, 'MISSING_KEY')],
    ['a guard that refuses the number', problem(400, 'BAD_KEY')],
    ["a refusal of Stripe's profile", json(400, { error: { type: 'idempotency_error' } })],
    ['a gap without the expected number', problem(409, 'SEQUENCE_GAP', { 'Retry-After': '1' })],
  ])('keeps the message, and pauses, after %s', async (_, answer) => {
    const server = await serve([answer]);
    const sender = senderTo(server.origin);
    const sent = await sender.send(1);
    expect(sent).toMatchObject({ outcome: 'queued', cause: { status: answer.status } });
    expect(await ((sent as { cause: unknown }).cause as Response).text()).toBe(answer.body ?? '');
    expect(server.received).toHaveLength(1);
    expect(await sender.queued()).toEqual([1]);
  });

  it.each<[what: string, answer: Answer]>([
    ['a refusal by the application', json(422, { code: 'BAD_SALE' })],
    ['a conflict of the application', json(409, { code: 'SOLD_OUT' })],
    ['a resource that is gone', { status: 410 }],
    ['a 501', { status: 501 }],
    ['a stored 503', { status: 503, headers: { 'Idempotent-Replayed': 'true' } }],
  ])('goes on after %s, which is an answer', async (_, answer) => {
    const server = await serve([answer]);
    const sender = senderTo(server.origin);
    expect(await sender.send(1)).toMatchObject({ outcome: 'answered', answer: { status: answer.status } });
    expect(await sender.send(2)).toMatchObject({ outcome: 'answered', number: 1 });
    expect(server.received).toHaveLength(2);
  });

  it('knows a message as done whose answer is gone', async () => {
    const server = await serve([problem(410, 'RESULT_UNAVAILABLE')]);
    expect(await senderTo(server.origin).send(1)).toEqual({ outcome: 'done', epoch: 3, number: 0 });
  });

  it.each<[profile: string, gap: Answer]>([
    ['problem details', { ...problem(409, 'SEQUENCE_GAP'), body: '{"code":"SEQUENCE_GAP","expected":0}' }],
    ["Stripe's errors", json(409, { error: { type: 'idempotency_error', expected: 0 } })],
  ])('begins a new epoch after a gap, told by %s', async (_, gap) => {
    const server = await serve(['work', { ...gap, headers: { ...gap.headers, 'Retry-After': '1' } }]);
    const sender = senderTo(server.origin);
    await sender.send(1);
    expect(await sender.send(2)).toMatchObject({ outcome: 'answered', epoch: 4, number: 0 });
    expect(server.received).toHaveLength(3);
  });

  it.each<[profile: string, refusal: Answer]>([
    ['problem details', problem(409, 'FENCED')],
    [
      "Stripe's errors",
      {
        ...json(409, { error: { type: 'idempotency_error' } }),
        headers: { 'Content-Type': 'application/json', 'Stripe-Should-Retry': 'false' },
      },
    ],
  ])('stops when it is fenced, told by %s', async (_, refusal) => {
    const server = await serve([refusal]);
    const sender = senderTo(server.origin);
    await expect(sender.send(1)).rejects.toMatchObject({ code: 'FENCED' });
    await expect(sender.send(2)).rejects.toMatchObject({ code: 'FENCED' });
    expect(server.received).toHaveLength(1);
  });

  it('fails a message whose number was used for another one', async () => {
    const server = await serve([problem(422, 'PAYLOAD_MISMATCH')]);
    await expect(senderTo(server.origin).send(1)).rejects.toMatchObject({ code: 'PAYLOAD_MISMATCH' });
  });

  it('keeps a message whose request cannot be sent twice', async () => {
    const server = await serve([]);
    const request = () => ({ body: new Blob(['x']).stream(), duplex: 'half' });
    const sent = await senderTo(server.origin, {}, { request }).send(1);
    expect(sent).toMatchObject({ outcome: 'queued', cause: { code: 'UNSUPPORTED' } });
    expect(server.received).toHaveLength(0);
  });

  it('ends a hanging request when it is paused', async () => {
    const server = await serve(['hang']);
    const sender = senderTo(server.origin);
    const sending = sender.send(1);
    await server.arrived(1);
    await sender.pause();
    expect(await sending).toMatchObject({ outcome: 'queued', cause: { name: 'AbortError' } });
    expect(IdempotencyError.is(await sending)).toBe(false);
  });
});
