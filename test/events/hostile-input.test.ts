import { deflateRawSync } from 'node:zlib';
import { type AttributeValue, PutItemCommand } from '@aws-sdk/client-dynamodb';
import { describe, expect, it } from 'vitest';
import { dynamoStore, idempotent, wholePayload } from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { cpuMs } from '../support/cpu.ts';
import { countRequests, createTable } from '../support/dynamodb.ts';
import { albEvent, type HttpRequest, httpApiEvent, restEvent } from '../support/http-events.ts';

const megabyte = 1_000_000;
const filled = (piece: string): string => piece.repeat(Math.ceil(megabyte / piece.length));

/** What a megabyte may cost. It is a hundredth of this, and time that grows with the square would be minutes. */
const maxCpuMs = 2_000;

describe('a megabyte that a caller sends costs no more than a moment', () => {
  const contentTypes = [
    ['one kind of multipart form', 'multipart/'],
    ['boundaries', `multipart/${filled('boundary=')}`],
    ['boundaries in quotes', `multipart/${filled('boundary="')}`],
    ['empty boundaries', `multipart/${filled('boundary= ')}`],
    ['a boundary that has no end', `multipart/form-data; boundary="${filled('a')}`],
    ['almost JSON', filled('jso ')],
    ['almost JSON as one word', filled('json_')],
    ['blanks', filled(' ')],
    ['line breaks', `multipart/${filled('\n')}`],
  ] as const;
  it.each(contentTypes)('as the content type: %s', (_, contentType) => {
    const event = restEvent({ headers: [['Content-Type', contentType]], body: 'a' });
    expect(cpuMs(() => wholePayload(event))).toBeLessThan(maxCpuMs);
  });

  it.each([
    ['blanks', filled(' ')],
    ['blanks and a bracket', `${filled(' ')}[`],
    ['line breaks of all kinds', filled('\n\r\u2028')],
    ['a text', filled('a')],
  ])('as a body without content type: %s', (_, body) => {
    expect(cpuMs(() => wholePayload(restEvent({ body })))).toBeLessThan(maxCpuMs);
  });

  const pairs = ['&', '=', 'a&', 'a=b&', '%', '%4', '%41', '%FF', '%e2%82', '+', '&=&', 'é', ';', 'a=1&b=2&'];
  it.each(pairs)('as a form or a query of %j', (piece) => {
    const form: HttpRequest['headers'] = [['Content-Type', 'application/x-www-form-urlencoded']];
    const inBase64 = Buffer.from(filled(piece)).toString('base64');
    for (const event of [
      httpApiEvent({ headers: form, body: filled(piece) }),
      httpApiEvent({ headers: form, body: inBase64, isBase64Encoded: true }),
      httpApiEvent({ query: filled(piece) }),
    ]) {
      expect(cpuMs(() => wholePayload(event))).toBeLessThan(maxCpuMs);
    }
  });

  it.each([
    ['a form with a short boundary', 'a'],
    ['a form with a boundary of dashes', '-'],
  ])('as %s', (_, boundary) => {
    const event = httpApiEvent({
      headers: [['Content-Type', `multipart/form-data; boundary=${boundary}`]],
      body: filled(`--${boundary}`),
    });
    expect(cpuMs(() => wholePayload(event))).toBeLessThan(maxCpuMs);
  });

  it.each([
    ['blanks', filled(' ')],
    ['blanks before a key', `${filled(' \t')}k`],
    ['blanks after a key', `k${filled('\t ')}`],
    ['blanks inside a key', `k${filled(' ')}k`],
    ['a key', filled('k')],
    ['quotes', filled('"')],
    ['a key in quotes', `"${filled('k')}"`],
    ['escapes', `"${filled('\\"')}`],
    ['parameters', `"k"${filled(';a')}!`],
    ['parameters with blanks', `"k"${filled('; ')}`],
    ['one parameter with blanks', `"k";${filled(' ')}`],
    ['parameters that are numbers', `"k"${filled(';a=1.1')}!`],
    ['a parameter that is bytes', `"k";a=:${filled('a')}`],
    ['a parameter that is a display string', `"k";a=%"${filled('%ff')}`],
    ['a parameter that is a string', `"k";a="${filled('\\\\')}`],
  ])('as the idempotency key: %s', async (_, key) => {
    for (const keySyntax of ['lenient', 'strict'] as const) {
      const call = idempotent(async () => 'done', { store: memoryStore(), http: { keySyntax } });
      const event = restEvent({ headers: [['Idempotency-Key', key]] });
      let answer: Promise<unknown> = Promise.resolve();
      const cost = cpuMs(() => {
        // Identity is read before the first `await`.
        answer = call(event);
      });
      expect(cost).toBeLessThan(maxCpuMs);
      expect(await answer).toMatchObject({ statusCode: 400 });
      expect(JSON.stringify(await answer).length).toBeLessThan(1_000);
    }
  });

  it('as many lines of one header', async () => {
    const lines = Array.from({ length: 500_000 }, () => 'k');
    const event = { ...restEvent(), multiValueHeaders: { 'Idempotency-Key': lines } };
    const call = idempotent(async () => 'done', { store: memoryStore() });
    expect(await call(event)).toMatchObject({ statusCode: 400 });
  });

  it.each([':assumed-role/', '/', ':', ':assumed-role/a/'])('as an ARN of %s', async (piece) => {
    const call = idempotent(async () => 'done', { store: memoryStore() });
    const event = restEvent({
      headers: [['Idempotency-Key', 'k']],
      identity: { userArn: `${filled(piece)}\n` },
    });
    let answer: Promise<unknown> = Promise.resolve();
    const cost = cpuMs(() => {
      answer = call(event);
    });
    expect(cost).toBeLessThan(maxCpuMs);
    expect(await answer).toBe('done');
  });

  it('as the query of a load balancer', () => {
    const many = Object.fromEntries(Array.from({ length: 100_000 }, (_, index) => [`n${index}`, '1']));
    const event = { ...albEvent(), queryStringParameters: many };
    expect(cpuMs(() => wholePayload(event))).toBeLessThan(maxCpuMs);
  });
});

describe('a stored answer', () => {
  /** A guard whose answer to the key `k` somebody else has replaced. */
  async function tamperedWith(item: Record<string, AttributeValue>) {
    const table = await createTable();
    const call = idempotent(async () => 'done', {
      ...{ store: dynamoStore(table.store), namespace: 'n', key: () => 'k' },
    });
    await call({});
    const [claim] = await table.dump();
    const { data: _, ...rest } = claim ?? {};
    await table.client.send(new PutItemCommand({ TableName: table.tableName, Item: { ...rest, ...item } }));
    return { table, call, pk: claim?.pk, window: claim?.window?.S };
  }

  it('that unpacks to more than any answer is refused before it fills the memory', async () => {
    const bomb = deflateRawSync(Buffer.alloc(300 * megabyte), { level: 9 });
    const { call } = await tamperedWith({ data: { B: Buffer.concat([Buffer.from([2]), bomb]) } });

    const before = process.memoryUsage().rss;
    await expect(call({})).rejects.toMatchObject({ code: 'RESULT_UNAVAILABLE' });
    expect(process.memoryUsage().rss - before).toBeLessThan(150 * megabyte);
  });

  it('that names more chunks than an answer has is not read', async () => {
    const { call, table, pk, window } = await tamperedWith({ writeId: { S: 'w' }, chunks: { N: '30' } });
    await Promise.all(
      Array.from({ length: 30 }, (_, index) => {
        const sk = { S: `${window}#result#w#${String(index + 1).padStart(4, '0')}` };
        const chunk = { pk: pk as AttributeValue, sk, data: { B: Buffer.alloc(390_000) } };
        return table.client.send(new PutItemCommand({ TableName: table.tableName, Item: chunk }));
      }),
    );
    const requests = countRequests(table.client);
    await expect(call({})).rejects.toMatchObject({ code: 'RESULT_UNAVAILABLE' });
    expect(requests).toEqual(['PutItem']);
  });

  it('comes back, however well it compresses', async () => {
    for (const length of [megabyte, 15 * megabyte, 17 * megabyte]) {
      const call = idempotent(async () => 'x'.repeat(length), { store: memoryStore(), key: () => 'k' });
      await call({});
      expect(((await call({})) as string).length).toBe(length);
    }
  });
});
