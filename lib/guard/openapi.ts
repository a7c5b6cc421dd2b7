import { maxKeyLength } from '../events/index.ts';
import { type ErrorProfile, refusals, statusPhrase } from '../http/index.ts';
import { sequenceHeader } from '../sequence/index.ts';
import type { GuardOptions } from './options.ts';
import { type GuardSettings, resolveOptions } from './resolve-options.ts';

/** What an OpenAPI 3.1 document must say about its guarded operations. */
export interface OpenApiFragment {
  /** Merge it into the document's `components`. */
  readonly components: {
    readonly parameters: Readonly<Record<string, object>>;
    readonly headers: Readonly<Record<string, object>>;
    readonly schemas: Readonly<Record<string, object>>;
    readonly responses: Readonly<Record<string, object>>;
  };
  /** Merge it into each guarded operation: references to the header parameter and to the refusals. */
  readonly operation: {
    readonly parameters: readonly { readonly $ref: string }[];
    readonly responses: Readonly<Record<string, { readonly $ref: string }>>;
  };
  /** The guarded methods, as OpenAPI writes them: `post`, `patch`. */
  readonly methods: readonly string[];
  /** Merge it into the headers of each guarded operation's own responses: a reference to `Idempotent-Replayed`. */
  readonly responseHeaders: Readonly<Record<string, { readonly $ref: string }>>;
}

/**
 * What clients must know of a guard with these options, for an OpenAPI document.
 * The IETF draft demands that an API publishes the key's format and length, when a key expires, and which operations
 * require one.
 *
 * @param options the guard's options; those that clients cannot notice are ignored
 * @throws `BAD_OPTION`
 * @see https://datatracker.ietf.org/doc/draft-ietf-httpapi-idempotency-key-header/ section 2.5
 */
export function openApi(options: GuardOptions = {}): OpenApiFragment {
  const settings = resolveOptions(options);
  const { http } = settings;
  const { sequence } = options;
  const refusalsOf = sequence ? Object.entries(refusals) : refusalsOfKeys;
  const responses = refusalResponses(settings, refusalsOf);
  const parameters: Record<string, object> = sequence
    ? { ...(sequence.isInHeader && { IdempotencySequence: sequenceParameter(settings) }) }
    : { IdempotencyKey: keyParameter(settings) };
  return {
    components: {
      parameters,
      headers: {
        IdempotentReplayed: {
          description:
            'Present on a repeat: the answer is the stored one of the first request with this key.',
          schema: { type: 'string', enum: ['true'] },
        },
        RetryAfter: {
          description:
            'Seconds after which a retry with the same key has a chance; at most 5 while the first request runs.',
          schema: { type: 'integer', minimum: 1 },
        },
      },
      schemas:
        typeof http.errors === 'function' ? {} : { IdempotencyError: errorSchema(http.errors, refusalsOf) },
      responses: Object.fromEntries(responses.map(({ name, response }) => [name, response])),
    },
    operation: {
      parameters: Object.keys(parameters).map((name) => ({ $ref: `#/components/parameters/${name}` })),
      responses: Object.fromEntries(
        responses.map(({ status, name }) => [status, { $ref: `#/components/responses/${name}` }]),
      ),
    },
    methods: http.methods.map((method) => method.toLowerCase()),
    responseHeaders: { 'Idempotent-Replayed': { $ref: '#/components/headers/IdempotentReplayed' } },
  };
}

function keyParameter({ required, ttlMs, http }: GuardSettings): object {
  const quoted = '"(?:[ !#-\\[\\]-~]|\\\\["\\\\])+"';
  const bare = '[!#-+\\--~]+';
  return {
    name: http.keyHeader,
    in: 'header',
    required,
    description: [
      `What makes two requests the same operation. Send a fresh UUID with every new operation, and the same one with every retry of it. ${
        http.keySyntax === 'strict'
          ? 'An RFC 9651 String, in double quotes'
          : 'An RFC 9651 String in double quotes, or the same key bare'
      }; 1 to ${maxKeyLength} characters without the quotes.`,
      `The first answer is kept for ${ttlMs / 1000} seconds and sent again to every repeat, marked with \`Idempotent-Replayed: true\`; after that the key is a new operation. A repeat must have the same method, path, query and body.`,
      ...(http.docsUrl ? [`See ${http.docsUrl}.`] : []),
    ].join('\n\n'),
    schema: {
      type: 'string',
      minLength: http.keySyntax === 'strict' ? 3 : 1,
      // Two quotes, and at most one backslash before each character.
      maxLength: 2 * maxKeyLength + 2,
      pattern: http.keySyntax === 'strict' ? `^${quoted}$` : `^(?:${quoted}|${bare})$`,
    },
    examples: { uuid: { value: '"8e03978e-40d5-43dd-bc93-6894a57f9324"' } },
    'x-expires-after-seconds': ttlMs / 1000,
  };
}

function sequenceParameter({ required, ttlMs, http }: GuardSettings): object {
  const producer = '"(?:[ !#-\\[\\]-~]|\\\\["\\\\])+"';
  return {
    name: sequenceHeader,
    in: 'header',
    required,
    description: [
      `The sender, its epoch and the request's number: a Dictionary of RFC 9651 with a String of 1 to ${maxKeyLength} characters and two Integers, in any order. The first number of an epoch is 0, each one is its predecessor plus 1, and a retry has the same. A sender that has lost its count begins a higher epoch.`,
      `A number is done once for as long as its sender is known, which is ${ttlMs / 1000} seconds after it was last heard of. The last five answers are sent again to a repeat, marked with \`Idempotent-Replayed: true\`. A repeat must have the same method, path, query and body.`,
      'A number that comes before its predecessor is refused with a 409, whose `expected` is the number to go on from. A number of an older epoch is refused with a 409 without `Retry-After`: stop sending.',
      ...(http.docsUrl ? [`See ${http.docsUrl}.`] : []),
    ].join('\n\n'),
    // In any order: each member once, and nothing else.
    schema: {
      type: 'string',
      pattern: `^(?=.*producer=${producer})(?=.*epoch=\\d{1,15})(?=.*number=\\d{1,15})`,
      maxLength: 1_024,
    },
    examples: { till: { value: 'producer="till-7", epoch=3, number=42' } },
    'x-expires-after-seconds': ttlMs / 1000,
  };
}

/** An operation with a key has no number, so it is never refused for one. */
const refusalsOfKeys = Object.entries(refusals).filter(
  ([code]) => code !== 'FENCED' && code !== 'SEQUENCE_GAP',
);

interface RefusalResponse {
  readonly status: string;
  readonly name: string;
  readonly response: object;
}

/** One response for each status: several refusals may share a status, and OpenAPI allows one response for it. */
function refusalResponses(
  { required, http }: GuardSettings,
  refusalsOf: typeof refusalsOfKeys,
): RefusalResponse[] {
  const isStripe = http.errors === 'stripe';
  const titles = new Map<number, string[]>();
  for (const [code, [status, title, stripe]] of refusalsOf) {
    if (code === 'MISSING_KEY' && !required) continue;
    const answered = isStripe ? stripe.status : status;
    titles.set(answered, [...(titles.get(answered) ?? []), title]);
  }
  return [...titles].map(([status, meanings]) => ({
    status: String(status),
    name: `Idempotency${(statusPhrase[status] ?? '').replaceAll(/\W/g, '')}`,
    response: {
      description: `${meanings.join('. ')}.`,
      ...((status === 409 || status === 503) && {
        headers: { 'Retry-After': { $ref: '#/components/headers/RetryAfter' } },
      }),
      ...(typeof http.errors !== 'function' && {
        content: {
          [isStripe ? 'application/json' : 'application/problem+json']: {
            schema: { $ref: '#/components/schemas/IdempotencyError' },
          },
        },
      }),
    },
  }));
}

function errorSchema(profile: ErrorProfile, refusalsOf: typeof refusalsOfKeys): object {
  const expected = refusalsOf !== refusalsOfKeys && {
    expected: { type: 'integer', minimum: 0, description: 'The number to go on from.' },
  };
  if (profile !== 'stripe') {
    return {
      type: 'object',
      required: ['type', 'title', 'status', 'detail', 'code'],
      properties: {
        type: { type: 'string', format: 'uri-reference' },
        title: { type: 'string' },
        status: { type: 'integer' },
        detail: { type: 'string' },
        code: { type: 'string', enum: refusalsOf.map(([code]) => code) },
        ...expected,
      },
    };
  }
  const shapes = refusalsOf.map(([, [, , stripe]]) => stripe);
  return {
    type: 'object',
    required: ['error'],
    properties: {
      error: {
        type: 'object',
        required: ['type', 'message'],
        properties: {
          type: { type: 'string', enum: [...new Set(shapes.map(({ type }) => type))] },
          code: { type: 'string', enum: [...new Set(shapes.flatMap(({ code }) => code ?? []))] },
          message: { type: 'string' },
          ...expected,
        },
      },
    },
  };
}
