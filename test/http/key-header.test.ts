import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { operation } from '../../lib/index.ts';
import { albMultiValueEvent, eventSources, httpApiEvent, restEvent } from '../support/http-events.ts';
import { api, created, keyed, problem } from './api.ts';

describe('a key in a header', () => {
  const bad: readonly (readonly [string, string])[] = [
    ['empty', ''],
    ['blank', '   '],
    ['quoted and empty', '""'],
    ['quoted and blank', '"  "'],
    ['two words', 'secret key'],
    ['two keys', 'secret,key'],
    ['two quoted keys', '"secret", "key"'],
    ['with a lone quote in front', '"secret'],
    ['with a lone quote behind', 'secret"'],
    ['with a quote inside', 'sec"ret'],
    ['with an unescaped quote in quotes', '"sec"ret"'],
    ['with an unknown escape', '"sec\\ret"'],
    ['that ends in an escape', '"secret\\"'],
    ['with text after it', '"secret" v=1'],
    ['with a letter beyond ASCII', 'secrét'],
    ['with a quoted letter beyond ASCII', '"secrét"'],
    ['with an emoji', '"secret😀"'],
    ['with a NUL', 'secret\u0000'],
    ['with a tab inside', 'secret\tkey'],
    ['with a quoted tab', '"secret\tkey"'],
    ['with a line break', '"secret\r\nkey"'],
    ['with a DEL', '"secret\u007f"'],
    ['of 256 characters', 'secret'.padEnd(256, 'x')],
    ['of 256 quoted characters', `"${'secret'.padEnd(256, 'x')}"`],
    ['of 256 characters after unescaping', `"secret${'\\"'.repeat(250)}"`],
  ];

  it.each(bad)('%s is refused before any call to the store, and is not shown', async (_, key) => {
    for (const keySyntax of ['lenient', 'strict'] as const) {
      const { call, handler, store } = api(created, { http: { keySyntax } });
      for (const [, event] of eventSources) {
        const refused = await call(event(keyed(key)));
        expect(refused.statusCode).toBe(400);
        expect(problem(refused)).toMatchObject({ status: 400, code: 'BAD_KEY' });
        expect(JSON.stringify(refused)).not.toMatch(/secr|ret/);
      }
      expect(handler).not.toHaveBeenCalled();
      expect(store.calls).toEqual([]);
    }
  });

  it('that is refused is so with the reason and the fix', async () => {
    const { call } = api();
    const detailOf = async (...lines: string[]) =>
      problem(await call(restEvent({ headers: lines.map((line) => ['Idempotency-Key', line] as const) })))
        .detail;

    expect(await detailOf('a b')).toBe(
      'The Idempotency-Key header holds a space, a comma, a lone quote or a character outside printable ASCII. Send a UUID, or quote it.',
    );
    expect(await detailOf('""')).toBe('The Idempotency-Key header is blank. Send a fresh UUID.');
    expect(await detailOf('a', 'a')).toBe('The Idempotency-Key header was sent 2 times. Send it once.');
    expect(await detailOf('a'.repeat(300))).toBe(
      'The Idempotency-Key header has 300 characters, more than the 255 allowed. Send a UUID, or a hash of what you have.',
    );
  });

  it.each([
    ['key-1', 'key-1'],
    ['8e03978e-40d5-43e8-bc93-6894a57f9324', '8e03978e-40d5-43e8-bc93-6894a57f9324'],
    ["it's;a=key!#$%&()*+-./:<=>?@[]^_`{|}~", "it's;a=key!#$%&()*+-./:<=>?@[]^_`{|}~"],
    ['back\\slash', 'back\\slash'],
    ['  key-1\t', 'key-1'],
    ['"key-1"', 'key-1'],
    ['"key-1";v=1; a="b;c" ', 'key-1'],
    [' "key-1" ', 'key-1'],
    ['"two words, and a comma"', 'two words, and a comma'],
    ['" key-1 "', ' key-1 '],
    ['"a \\"quoted\\" \\\\ key"', 'a "quoted" \\ key'],
    ['k'.repeat(255), 'k'.repeat(255)],
    [`"${'k'.repeat(255)}"`, 'k'.repeat(255)],
    [`"${'\\"'.repeat(255)}"`, '"'.repeat(255)],
  ])('%j is read as %j', async (sent, key) => {
    const { call } = api((_event, context) => ({ statusCode: 200, body: operation(context).key }));
    expect((await call(restEvent(keyed(sent)))).body).toBe(key);
  });

  it('is the same quoted and bare', async () => {
    const { call, handler, store } = api();
    for (const key of ['key-1', '"key-1"', ' "key-1"  ']) await call(restEvent(keyed(key)));
    expect(handler).toHaveBeenCalledTimes(1);
    expect(store.operations).toHaveLength(1);
  });

  it('that differs in case or in quoted blanks is another one', async () => {
    const { call, handler } = api();
    for (const key of ['key', 'KEY', '" key"', '"key "']) await call(restEvent(keyed(key)));
    expect(handler).toHaveBeenCalledTimes(4);
  });

  it('must be quoted where the syntax is strict', async () => {
    const { call, handler } = api(created, { http: { keySyntax: 'strict' } });
    const refused = await call(restEvent(keyed('key-1')));
    expect(problem(refused)).toMatchObject({
      code: 'BAD_KEY',
      detail:
        'The Idempotency-Key header is not a quoted string of printable ASCII characters. Send a UUID in double quotes.',
    });
    expect((await call(restEvent(keyed('"key-1"')))).statusCode).toBe(201);
    expect(handler).toHaveBeenCalledTimes(1);
  });

  it('is a String of RFC 9651, and nothing else, where the syntax is strict', async () => {
    const { call } = api((_event, context) => ({ statusCode: 200, body: operation(context).key }), {
      http: { keySyntax: 'strict' },
    });
    const pieces = [
      '"',
      '"',
      '\\',
      '\\"',
      '\\\\',
      'a',
      ' ',
      ',',
      ';',
      '=',
      '\t',
      'é',
      '\u007f',
      "'",
      ':',
      '?',
      '1',
      '.',
      '-',
    ];
    const text = (maxLength: number) =>
      fc.array(fc.constantFrom(...pieces), { maxLength }).map((all) => all.join(''));
    const sentence = fc.oneof(
      text(8),
      text(6).map((inner) => `"${inner}"`),
      fc.tuple(text(2), text(5)).map(([inner, value]) => `"${inner}";a=${value}`),
      fc.tuple(text(2), text(5)).map(([inner, more]) => `"${inner}";${more}`),
    );
    await fc.assert(
      fc.asyncProperty(sentence, async (sent) => {
        const key = rfc9651String(sent);
        const isKey = key !== undefined && key.trim() !== '';
        const { statusCode, body } = await call(httpApiEvent(keyed(sent)));
        expect(isKey ? [statusCode, body] : [statusCode]).toEqual(isKey ? [200, key] : [400]);
      }),
      { numRuns: 3_000 },
    );
  });

  it.each([
    ['two lines of a REST API', restEvent],
    ['two lines of a load balancer', albMultiValueEvent],
    ['two lines that an HTTP API has joined', httpApiEvent],
  ] as const)('is refused when it comes twice: %s', async (_, event) => {
    const { call, handler, store } = api();
    for (const names of [
      ['Idempotency-Key', 'Idempotency-Key'],
      ['Idempotency-Key', 'idempotency-key'],
    ]) {
      for (const keys of [
        ['key-1', 'key-1'],
        ['key-1', 'key-2'],
        ['"key-1"', '"key-2"'],
      ]) {
        const headers = names.map((name, at) => [name, keys[at] ?? ''] as const);
        const refused = await call(event({ headers }));
        expect(problem(refused)).toMatchObject({ status: 400, code: 'BAD_KEY' });
      }
    }
    expect(handler).not.toHaveBeenCalled();
    expect(store.calls).toEqual([]);
  });

  it('is found where a proxy or a test fills only one of the two header maps', async () => {
    const { call, handler } = api();
    const event = restEvent(keyed('key-1'));
    for (const part of [
      { multiValueHeaders: null },
      { multiValueHeaders: {} },
      { multiValueHeaders: { Accept: ['*/*'] } },
      { headers: null },
      { headers: {} },
    ]) {
      expect((await call({ ...event, ...part })).statusCode).toBe(201);
    }
    expect(handler).toHaveBeenCalledTimes(1);
  });
});

/** RFC 9651, section 4.2.3, an Item that is a String, character by character; the blanks around it belong to HTTP. */
function rfc9651String(field: string): string | undefined {
  const input = [...field.replace(/^[ \t]+|[ \t]+$/g, '')];
  const failed = new Error('This is not an Item.');
  const next = () => {
    const char = input.shift();
    if (char === undefined) throw failed;
    return char;
  };
  const peek = () => input[0];
  const all = (allowed: RegExp): string => {
    let output = '';
    while (input[0] !== undefined && allowed.test(input[0])) output += next();
    return output;
  };
  const sfString = (): string => {
    let output = '';
    for (let char = next(); char !== '"'; char = next()) {
      if (char < ' ' || char > '~') throw failed;
      const escaped = char === '\\' ? next() : char;
      if (char === '\\' && escaped !== '"' && escaped !== '\\') throw failed;
      output += escaped;
    }
    return output;
  };
  const bareItem = (): void => {
    const first = next();
    if (first === '"') sfString();
    else if (first === '?') {
      if (!/[01]/.test(next())) throw failed;
    } else if (first === ':') {
      all(/[A-Za-z0-9+/=]/);
      if (next() !== ':') throw failed;
    } else if (/[A-Za-z*]/.test(first)) all(/[A-Za-z0-9!#$%&'*+.^_`|~:/-]/);
    else if (!/^-?(?:\d{1,15}|\d{1,12}\.\d{1,3})$/.test(first + all(/[\d.]/))) throw failed;
  };

  try {
    if (next() !== '"') return undefined;
    const value = sfString();
    while (peek() === ';') {
      next();
      all(/ /);
      if (!/[a-z*]/.test(next())) throw failed;
      all(/[a-z0-9_.*-]/);
      if (peek() !== '=') continue;
      next();
      bareItem();
    }
    return input.length === 0 ? value : undefined;
  } catch (error) {
    if (error === failed) return undefined;
    throw error;
  }
}
