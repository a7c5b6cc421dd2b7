import { describe, expect, it, vi } from 'vitest';
import { IdempotencyError, type RetryingFetchOptions, retryingFetch } from '../../lib/client.ts';

/** Sends a request that has to be refused, and tells the message. */
async function refusal(options: unknown, init: RequestInit = {}, url = 'https://api.test/'): Promise<string> {
  const fetch = vi.fn(async () => new Response('done'));
  vi.stubGlobal('fetch', fetch);
  try {
    const error = await retryingFetch(url, init, options as RetryingFetchOptions).then(
      () => undefined,
      (error: unknown) => error,
    );
    expect(fetch).not.toHaveBeenCalled();
    expect(error).toBeInstanceOf(Error);
    return `${IdempotencyError.is(error) ? error.code : (error as Error).name}: ${(error as Error).message}`;
  } finally {
    vi.unstubAllGlobals();
  }
}

describe('the options of retryingFetch', () => {
  it('are refused under an unknown name, with the nearest known one', async () => {
    expect(await refusal({ maxAttempt: 3 })).toMatch(
      /^BAD_OPTION: Unknown option `maxAttempt`\. Did you mean `maxAttempts`\?/,
    );
    expect(await refusal({ deadlineMS: 3 })).toMatch(/Did you mean `deadlineMs`\?/);
  });

  it('are refused where they are no object', async () => {
    expect(await refusal(null)).toMatch(/^BAD_OPTION: Expected the options to be an object, got null/);
    expect(await refusal('key')).toMatch(/^BAD_OPTION: .*got "key" \(string\)/);
  });

  const bad: [keyof RetryingFetchOptions, unknown, RegExp][] = [
    ['header', 'Idempotency Key', /the name of a header, got "Idempotency Key" \(string\)/],
    ['header', '', /the name of a header/],
    ['quote', 'yes', /true or false, got "yes"/],
    ['maxAttempts', 0, /an integer from 1 to 100, got 0 \(number\)/],
    ['maxAttempts', 101, /an integer/],
    ['maxAttempts', 1.5, /an integer/],
    ['maxAttempts', Number.POSITIVE_INFINITY, /an integer/],
    ['baseDelayMs', -1, /milliseconds from 0/],
    ['baseDelayMs', '250', /milliseconds from 0 .*got "250" \(string\)/],
    ['maxDelayMs', Number.NaN, /milliseconds from 0/],
    ['maxDelayMs', 2 ** 31, /milliseconds from 0 to 2147483647/],
    ['attemptTimeoutMs', 0, /milliseconds above 0/],
    ['deadlineMs', -5, /milliseconds above 0 .* or Infinity, got -5/],
    ['deadlineMs', 2 ** 31, /milliseconds above 0/],
    ['onRetry', {}, /a function/],
    ['fetch', 'fetch', /a function/],
    ['clock', { now: Date.now }, /the methods `now` and `after`/],
    ['clock', null, /the methods `now` and `after`, got null/],
    ['random', 0.5, /a function/],
  ];
  for (const [name, value, message] of bad) {
    it(`are refused where ${name} is ${String(JSON.stringify(value) ?? value)}`, async () => {
      const refused = await refusal({ [name]: value });
      expect(refused).toContain(`BAD_OPTION: Expected option \`${name}\` to be `);
      expect(refused).toMatch(message);
    });
  }

  it('are refused where the first wait is above the longest', async () => {
    expect(await refusal({ baseDelayMs: 500, maxDelayMs: 100 })).toMatch(
      /^BAD_OPTION: Option `baseDelayMs` \(500\) is above `maxDelayMs` \(100\)/,
    );
    expect(await refusal({ baseDelayMs: 20_001 })).toMatch(/is above `maxDelayMs` \(20000\)/);
  });

  it('have their defaults where they are undefined', async () => {
    const fetch = async (): Promise<Response> => new Response('done');
    const options = {
      fetch,
      maxAttempts: undefined,
      key: undefined,
      clock: undefined,
    } as RetryingFetchOptions;
    expect((await retryingFetch('https://api.test/', {}, options)).status).toBe(200);
  });
});

describe('the key that retryingFetch is given', () => {
  it('is refused where no server would take it, and is not shown', async () => {
    for (const key of ['', '   ', 'geheim-ü', 'secret\n', 'secret'.repeat(43)]) {
      const refused = await refusal({ key });
      expect(refused).toMatch(/^BAD_KEY: Expected option `key` to be 1 to 255 printable ASCII characters/);
      expect(refused).not.toContain('secret');
      expect(refused).not.toContain('geheim');
    }
    expect(await refusal({ key: null })).toMatch(/^BAD_KEY: .*got null/);
    expect(await refusal({ key: 42 })).toMatch(/^BAD_KEY: .*got a number/);
  });

  it('is refused without quotes where idemkit itself would refuse it so', async () => {
    for (const key of ['a b', 'a,b', 'a"b']) {
      expect(await refusal({ key })).toMatch(/^BAD_KEY: .*Set `quote: true`/);
    }
  });

  it('is refused where its header is blank', async () => {
    for (const value of ['', '""', '" "']) {
      expect(await refusal({}, { headers: { 'Idempotency-Key': value } })).toMatch(/^BAD_KEY: .* is blank/);
    }
  });
});

describe('the request that retryingFetch is given', () => {
  it('is refused before the first attempt where `fetch` would refuse every attempt', async () => {
    expect(await refusal({}, {}, '/relative')).toMatch(/^TypeError: .*URL/);
    expect(await refusal({}, {}, 'https://user:secret@api.test/')).toMatch(/^TypeError: .*credentials/);
    expect(await refusal({}, { body: 'a GET with a body' })).toMatch(/^TypeError: .*GET/);
    expect(await refusal({}, { method: 'TRACE' })).toMatch(/^TypeError: .*TRACE/);
    expect(await refusal({}, { headers: { 'X-A': 'line\nbreak' } })).toMatch(/^TypeError: /);
  });

  it('is refused in the mode `no-cors`, where the key could not be sent', async () => {
    expect(await refusal({}, { mode: 'no-cors' })).toMatch(/^UNSUPPORTED: .*`no-cors`/);
  });

  it('may have a relative URL where the given `fetch` knows what to do with it', async () => {
    const urls: unknown[] = [];
    const fetch = async (url: unknown): Promise<Response> => {
      urls.push(url);
      return new Response('done');
    };
    await retryingFetch('/payments', { method: 'POST' }, { fetch });
    expect(urls).toEqual(['/payments']);
  });
});
