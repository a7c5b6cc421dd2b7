import { Validator } from '@seriousme/openapi-schema-validator';
import { describe, expect, test } from 'vitest';
import type { HttpResponse } from '../../lib/index.ts';
import {
  type IdempotentOptions,
  idempotent,
  numbered,
  openApi,
  type SequencedOptions,
} from '../../lib/index.ts';
import { memoryStore } from '../../lib/testing.ts';
import { paymentEvent } from '../support/http-events.ts';

/** A document of one guarded operation, as its author would put the fragment in. */
function documentOf(options?: IdempotentOptions | SequencedOptions) {
  const { components, operation, methods, responseHeaders } = openApi(options);
  const own = {
    summary: 'Pays',
    responses: { '201': { description: 'Paid', headers: responseHeaders } },
  };
  return {
    openapi: '3.1.0',
    info: { title: 'Payments', version: '1' },
    paths: {
      '/payments': Object.fromEntries(
        methods.map((method) => [
          method,
          { ...own, ...operation, responses: { ...own.responses, ...operation.responses } },
        ]),
      ),
    },
    components,
  };
}

const documents: [string, IdempotentOptions | SequencedOptions | undefined][] = [
  ['no options', undefined],
  ['the strict syntax', { http: { keySyntax: 'strict' } }],
  ['a link', { http: { errors: 'problem-link', docsUrl: 'https://api.example.com/docs' } }],
  ["Stripe's errors", { http: { errors: 'stripe' } }],
  ['errors of its own', { http: { errors: () => ({ statusCode: 400 }) } }],
  ['numbered senders', { sequence: numbered() }],
  ['numbered senders of its own', { sequence: numbered(() => undefined) }],
  ["numbered senders and Stripe's errors", { sequence: numbered(), http: { errors: 'stripe' } }],
  ['an optional key in another header', { required: false, http: { keyHeader: 'PayPal-Request-Id' } }],
];

describe('the OpenAPI fragment', () => {
  test.each(documents)('of a guard with %s makes a valid OpenAPI 3.1 document', async (_, options) => {
    const validator = new Validator();
    const { valid, errors } = await validator.validate(documentOf(options));
    expect(errors).toBeUndefined();
    expect(valid).toBe(true);
    expect(validator.version).toBe('3.1');
    // Every reference leads somewhere.
    expect(() => validator.resolveRefs()).not.toThrow();
  });

  test('is not valid in any shape: the validator finds what is wrong', async () => {
    const document = documentOf();
    (document.components.parameters.IdempotencyKey as { in: string }).in = 'nowhere';
    expect((await new Validator().validate(document)).valid).toBe(false);
  });

  test('says what the key looks like, how long it may be, when it expires, and that it is required', () => {
    const { components, methods } = openApi({
      ttlSeconds: 3_600,
      http: { docsUrl: 'https://api.example.com/docs' },
    });
    const parameter = components.parameters.IdempotencyKey as {
      description: string;
      schema: { pattern: string };
    };
    expect(parameter).toMatchObject({
      name: 'Idempotency-Key',
      in: 'header',
      required: true,
      'x-expires-after-seconds': 3_600,
    });
    expect(parameter.description).toContain('1 to 255 characters');
    expect(parameter.description).toContain('kept for 3600 seconds');
    expect(parameter.description).toContain('https://api.example.com/docs');
    expect(methods).toEqual(['post', 'patch']);
  });

  test('says of numbered senders what the header looks like, and which refusals are theirs', () => {
    const { components, operation } = openApi({ sequence: numbered({ forgetAfterSeconds: 60 }) });
    expect(Object.keys(components.parameters)).toEqual(['IdempotencySequence']);
    expect(operation.parameters).toEqual([{ $ref: '#/components/parameters/IdempotencySequence' }]);
    const parameter = components.parameters.IdempotencySequence as { schema: { pattern: string } };
    expect(parameter).toMatchObject({
      name: 'Idempotency-Sequence',
      required: true,
      'x-expires-after-seconds': 60,
      schema: { maxLength: 1_024 },
    });
    const pattern = new RegExp(parameter.schema.pattern);
    for (const good of ['producer="till-7", epoch=3, number=42', 'number=0,epoch=0,producer="a\\"b"']) {
      expect(pattern.test(good), good).toBe(true);
    }
    for (const bad of [
      '',
      'epoch=3, number=42',
      'producer="", epoch=3, number=42',
      'producer="a", epoch=x, number=1',
    ]) {
      expect(pattern.test(bad), bad).toBe(false);
    }
    const { code, expected } = (
      components.schemas.IdempotencyError as { properties: Record<string, { enum: string[] }> }
    ).properties;
    expect(code?.enum).toEqual(expect.arrayContaining(['FENCED', 'SEQUENCE_GAP']));
    expect(expected).toMatchObject({ type: 'integer' });
    expect(components.responses.IdempotencyConflict).toMatchObject({
      description: expect.stringContaining(
        'A newer epoch of this sender has taken over. An operation before this one is missing.',
      ),
    });
    // A guard by keys has neither.
    expect(JSON.stringify(openApi())).not.toMatch(/FENCED|SEQUENCE_GAP|"expected"|epoch/);
  });

  test('describes no header where a function says what the number is', () => {
    const { components, operation } = openApi({ sequence: numbered(() => undefined) });
    expect(components.parameters).toEqual({});
    expect(operation.parameters).toEqual([]);
  });

  test.each([
    ['lenient', ['key', '"key"', '"a b"', '"a\\"b"'], ['', 'a b', 'a,b', '"a', '""', 'é']],
    ['strict', ['"key"', '"a b"', '"a\\"b"'], ['', 'key', '""', 'a b']],
  ] as const)('has a pattern that takes what a %s guard takes', (keySyntax, good, bad) => {
    const { schema } = openApi({ http: { keySyntax } }).components.parameters.IdempotencyKey as {
      schema: { pattern: string; minLength: number; maxLength: number };
    };
    const pattern = new RegExp(schema.pattern, 'u');
    expect(good.filter((key) => !pattern.test(key) || key.length < schema.minLength)).toEqual([]);
    expect(bad.filter((key) => pattern.test(key))).toEqual([]);
    expect(`"${'\\"'.repeat(255)}"`.length).toBeLessThanOrEqual(schema.maxLength);
  });

  test('names the statuses of each profile', () => {
    const statuses = (options?: IdempotentOptions) => Object.keys(openApi(options).operation.responses);
    expect(statuses()).toEqual(['400', '409', '410', '422', '503']);
    expect(statuses({ http: { errors: 'stripe' } })).toEqual(['400', '409', '503']);
  });

  test('does not speak of a missing key where none is required', () => {
    const { components } = openApi({ required: false });
    expect(components.parameters.IdempotencyKey).toMatchObject({ required: false });
    expect(JSON.stringify(components.responses)).not.toContain('key is missing');
  });

  test.each(['problem', 'stripe'] as const)(
    'describes what a guard with the profile %s answers',
    async (errors) => {
      const options = { store: memoryStore(), http: { errors } };
      const handler = idempotent(async (_: unknown) => ({ statusCode: 201 }), options);
      const answer = (await handler(paymentEvent({ key: null }))) as Required<HttpResponse>;
      const { components, operation } = openApi(options);
      expect(operation.responses[answer.statusCode]).toBeDefined();
      const schema = components.schemas.IdempotencyError as { required: string[]; properties: object };
      const body = JSON.parse(answer.body);
      expect(Object.keys(body)).toEqual(expect.arrayContaining(schema.required));
      expect(Object.keys(schema.properties)).toEqual(expect.arrayContaining(Object.keys(body)));
      const response = Object.values(components.responses)[0] as { content: object };
      expect(Object.keys(response.content)).toEqual([answer.headers['Content-Type']]);
    },
  );

  test('refuses options that a guard refuses', () => {
    expect(() => openApi({ ttl: 1 } as never)).toThrow('Did you mean `ttlSeconds`?');
  });
});
