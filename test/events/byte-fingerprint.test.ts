import type { SQSRecord } from 'aws-lambda';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { idempotent, wholePayload } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { fifoMessage, sqsMessage } from '../support/batch-events.ts';
import { type HttpRequest, httpApiEvent } from '../support/http-events.ts';
import { recordingStore } from '../support/recording-store.ts';

const typed = (type: string): HttpRequest['headers'] => [['Content-Type', type]];
const form = (body: string): string =>
  wholePayload(httpApiEvent({ headers: typed('application/x-www-form-urlencoded'), body }));
const binary = (type: string, bytes: Uint8Array): string =>
  wholePayload(
    httpApiEvent({
      ...{ headers: typed(type), isBase64Encoded: true },
      body: Buffer.from(bytes).toString('base64'),
    }),
  );
const query = (text: string): string => wholePayload(httpApiEvent({ query: text }));
const json = (text: string): Buffer => Buffer.from(text, 'latin1');

describe('what a caller sends', () => {
  it.each<[string, string, string]>([
    ['bytes in a form that are no UTF-8', form('name=M%FCller'), form('name=M%F6ller')],
    ['such bytes and the character for them', form('name=M%FCller'), form('name=M%EF%BF%BDller')],
    ['such bytes in a name', form('M%FC=1'), form('M%F6=1')],
    ['an overlong encoding and the usual one', form('a=%C0%AF'), form('a=%2F')],
    ['bytes in a query that are no UTF-8', query('name=M%FCller'), query('name=M%F6ller')],
    [
      'bytes in a binary form that are no UTF-8',
      binary('application/x-www-form-urlencoded', json('name=M\xfcller')),
      binary('application/x-www-form-urlencoded', json('name=M\xf6ller')),
    ],
    [
      'bytes in a binary JSON body that are no UTF-8',
      binary('application/json', json('{"name":"M\xfcller"}')),
      binary('application/json', json('{"name":"M\xf6ller"}')),
    ],
    [
      'bytes in a binary body without type',
      binary('', json('{"name":"M\xfcller"}')),
      binary('', json('{"name":"M\xf6ller"}')),
    ],
    ['half a surrogate pair and another in a form', form('a=\ud800'), form('a=\udbff')],
    ['half a surrogate pair and the character for it in a form', form('a=\ud800'), form('a=\ufffd')],
    ['half a surrogate pair in a query', query('a=\ud800'), query('a=\ufffd')],
    [
      'half a surrogate pair in a text',
      wholePayload(httpApiEvent({ body: 'a\ud800' })),
      wholePayload(httpApiEvent({ body: 'a\ufffd' })),
    ],
    [
      'half a surrogate pair in a message',
      wholePayload(sqsMessage('m', 'a\ud800')),
      wholePayload(sqsMessage('m', 'a\ufffd')),
    ],
    ['a sign that is escaped', form('a=1%262'), form('a=1&2')],
    ['a percent sign', form('a=%'), form('a=%25%25')],
  ])('is told apart by its bytes: %s', (_, left, right) => {
    expect(left).not.toBe(right);
  });

  it('is the same where a form spells its bytes in another way', () => {
    expect(form('name=M%C3%BCller')).toBe(form('name=Müller'));
    expect(form('name=M%c3%bcller')).toBe(form('name=Müller'));
    expect(form('a=1+2')).toBe(form('a=1%202'));
    expect(form('b=2&&a')).toBe(form('a=&b=2'));
    expect(binary('application/x-www-form-urlencoded', json('name=M\xfcller'))).toBe(
      binary('application/x-www-form-urlencoded', json('name=M%FCller')),
    );
    expect(binary('application/x-www-form-urlencoded', Buffer.from('name=Müller'))).toBe(form('name=Müller'));
    expect(binary('application/json', Buffer.from('{"name":"Müller"}'))).toBe(
      wholePayload(httpApiEvent({ headers: typed('application/json'), body: '{"name": "M\\u00fcller"}' })),
    );
  });

  it('is the same form if, and only if, the bytes of its pairs are', () => {
    const bytes = fc.uint8Array({ maxLength: 4 });
    const spell = (value: Uint8Array) =>
      Array.from(value, (byte) => `%${byte.toString(16).padStart(2, '0')}`).join('');
    fc.assert(
      fc.property(bytes, bytes, bytes, bytes, (name, value, otherName, otherValue) => {
        const isSame = Buffer.compare(name, otherName) === 0 && Buffer.compare(value, otherValue) === 0;
        const left = `${spell(name)}=${spell(value)}`;
        const right = `${spell(otherName)}=${spell(otherValue)}`;
        expect(form(left) === form(right)).toBe(isSame);
        expect(query(left) === query(right)).toBe(isSame);
        expect(form(left)).toBe(form(left.toUpperCase()));
      }),
    );
  });

  it('is refused where the key was used for other bytes', async () => {
    const call = idempotent(async () => ({ statusCode: 201 }), { store: memoryStore() });
    const paying = (body: string) =>
      httpApiEvent({
        headers: [
          ['Idempotency-Key', 'k'],
          ['Content-Type', 'application/x-www-form-urlencoded'],
        ],
        body,
      });
    expect(await call(paying('name=M%FCller'))).toMatchObject({ statusCode: 201 });
    expect(await call(paying('name=M%F6ller'))).toMatchObject({ statusCode: 422 });
  });

  it('is compared as another middleware has parsed it, for a message too', async () => {
    const call = idempotent(async () => undefined, { store: memoryStore(), key: () => 'k' });
    const parsed = (body: unknown) => ({ ...sqsMessage('m'), body });
    await call(parsed({ a: 1, b: 2 }));
    await call(parsed({ b: 2, a: 1 }));
    await expect(call(parsed({ a: 1 }))).rejects.toMatchObject({ code: 'PAYLOAD_MISMATCH' });
  });

  it('names a FIFO message whose body another middleware has parsed', async () => {
    const store = recordingStore();
    const call = idempotent(async () => undefined, { store });
    const parsed = (message: SQSRecord) => ({ ...message, body: JSON.parse(message.body) as unknown });
    // Made of the content: two messages that are equal on purpose.
    await call(parsed(fifoMessage('m-1', 'g', { body: { a: 1 } })));
    await call(parsed(fifoMessage('m-2', 'g', { body: { a: 1 } })));
    expect(store.operations).toHaveLength(2);
    // Given by the sender: one message, sent again.
    await call(parsed(fifoMessage('m-3', 'g', { body: { a: 1 }, deduplicationId: 'd' })));
    await call(parsed(fifoMessage('m-4', 'g', { body: { a: 1 }, deduplicationId: 'd' })));
    expect(store.operations).toHaveLength(3);
  });
});
