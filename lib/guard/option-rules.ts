/** What each option must be, and its default. The types of the options are in `options.ts`. */
import type { Outcome } from '../engine/index.ts';
import {
  aFunction,
  checkedElsewhere,
  isBetween,
  isBoolean,
  isFunction,
  isOneOf,
  isRecord,
  lifetimeInSeconds,
  type OtherNames,
  type Rules,
  rule,
} from '../validate.ts';
import type { HttpOptions, IdempotentOptions } from './options.ts';

export const maxNamespaceLength = 255;

/** DynamoDB stores every lone half of a surrogate pair as one and the same character. */
const isWellFormed = (text: string): boolean => text.isWellFormed();
const isString =
  (pattern: RegExp) =>
  (value: unknown): boolean =>
    typeof value === 'string' && pattern.test(value);

/** These statuses say "not now": they are no answer to the operation. */
const passingStatuses = new Set([408, 409, 425, 429]);

const rememberByDefault = ({ statusCode }: Outcome): boolean =>
  statusCode === undefined || (statusCode < 500 && !passingStatuses.has(statusCode));

export const isNamespace = (value: unknown): boolean =>
  typeof value === 'string' &&
  value.trim() !== '' &&
  value.length <= maxNamespaceLength &&
  isWellFormed(value);

/** The first of `values` is the default. */
const oneOf = <const Value extends string>(...values: readonly [Value, ...Value[]]) => ({
  expected: values.map((value) => `'${value}'`).join(' or '),
  isFine: isOneOf(...values),
  fallback: values[0],
});
const yesOrNo = rule('true or false', isBoolean);
const anObject = rule('an object', isRecord);
const aCount = rule(
  'a whole number of 1 and up',
  (value) => Number.isSafeInteger(value) && (value as number) >= 1,
);

export const httpRules = {
  keyHeader: { ...rule("a header's name", isString(/^[\w!#$%&'*+.^`|~-]+$/)), fallback: 'Idempotency-Key' },
  methods: {
    ...rule(
      "an array of HTTP methods such as ['POST']",
      (value) => Array.isArray(value) && value.length > 0 && value.every(isString(/^[A-Za-z]+$/)),
    ),
    fallback: ['POST', 'PATCH'],
  },
  keySyntax: oneOf('lenient', 'strict'),
  errors: {
    ...rule(
      "'problem', 'problem-link', 'stripe' or a function",
      (value) => isOneOf('problem', 'problem-link', 'stripe')(value) || isFunction(value),
    ),
    fallback: 'problem',
  },
  answerHeaders: aFunction,
  docsUrl: rule('an absolute URL', (value) => typeof value === 'string' && URL.canParse(value)),
} satisfies Rules<HttpOptions>;

/** Name, check and default of every option. */
export const rules = {
  store: rule(
    'a store: dynamoStore(…), or memoryStore() of idemkit/testing',
    (value) => isRecord(value) && isFunction(value.claim) && isFunction(value.complete),
  ),
  namespace: rule(`a string of 1 to ${maxNamespaceLength} characters`, isNamespace),
  key: aFunction,
  sequence: rule(
    'numbered((event) => ({ producer, epoch, number }))',
    (value) => isRecord(value) && isFunction(value.guarding),
  ),
  tenant: aFunction,
  fingerprint: rule('a function or false', (value) => value === false || isFunction(value)),
  required: { ...yesOrNo, fallback: true },
  ttlSeconds: lifetimeInSeconds,
  lease: {
    ...rule(
      'an object such as { seconds: 30 }',
      (value) => isRecord(value) && isBetween(value.seconds, 0, 86_400),
    ),
    members: { seconds: checkedElsewhere },
  },
  whenBusy: {
    ...rule(
      "'refuse' or an object such as { waitMs: 2000 }",
      (value) => value === 'refuse' || (isRecord(value) && isBetween(value.waitMs, 0, 900_000)),
    ),
    members: { waitMs: checkedElsewhere },
  },
  remember: { ...aFunction, fallback: rememberByDefault },
  claim: oneOf('eager', 'at-commit'),
  destinations: rule(
    "an array of names such as ['ledger']",
    (value) => Array.isArray(value) && value.every(isString(/^[^,\s]+$/)) && value.every(isWellFormed),
  ),
  whenStoreFails: oneOf('refuse', 'run'),
  keep: {
    ...anObject,
    fallback: {},
    members: { key: { ...yesOrNo, fallback: false }, input: { ...yesOrNo, fallback: false } },
  },
  http: { ...anObject, fallback: {}, members: httpRules },
  cache: {
    ...rule('an object such as { maxItems: 1000 }', isRecord),
    members: { maxItems: { ...aCount, isRequired: true }, maxBytes: aCount },
  },
  onReplay: aFunction,
  observe: aFunction,
} satisfies Rules<IdempotentOptions>;

/** The names that these options have in Powertools for AWS Lambda. */
const powertoolsNames: Readonly<Record<string, keyof IdempotentOptions>> = {
  persistenceStore: 'store',
  eventKeyJmesPath: 'key',
  payloadValidationJmesPath: 'fingerprint',
  expiresAfterSeconds: 'ttlSeconds',
  throwOnNoIdempotencyKey: 'required',
  useLocalCache: 'cache',
  maxLocalCacheSize: 'cache',
  responseHook: 'onReplay',
  keyPrefix: 'namespace',
};

export const otherNames: OtherNames = {
  renamed: { 'http.header': 'http.keyHeader', 'http.headers': 'http.answerHeaders' },
  elsewhere: powertoolsNames,
};
