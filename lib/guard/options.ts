import type { Context } from 'aws-lambda';
import { dynamoStore } from '../dynamo/index.ts';
import { AnswerCache, type CacheOptions, type Outcome, type Settings } from '../engine/index.ts';
import { IdempotencyError, show } from '../errors.ts';
import type { IdentitySettings, Key } from '../events/index.ts';
import type { ErrorProfile, HttpResponse, ReplySettings } from '../http/index.ts';
import type { IdempotencyEvent } from '../observe/index.ts';
import { defaultTtlSeconds, environment } from '../record.ts';
import { type Store, systemClock } from '../store/index.ts';
import { checkOptions } from '../validate.ts';
import { httpRules, isNamespace, isTtl, maxNamespaceLength, otherNames, rules } from './option-rules.ts';

/** Options of a guard. All have defaults; they are checked and frozen when the guard is made. */
export interface IdempotentOptions<Event = any> {
  /**
   * Where records are kept.
   *
   * @default `dynamoStore()` on the table that `IDEMPOTENCY_TABLE` names
   */
  readonly store?: Store;
  /**
   * Whose keys these are, 1 to 255 characters: one function, one app. Equal keys in two namespaces are two operations.
   *
   * @default `IDEMPOTENCY_NAMESPACE`, then `AWS_LAMBDA_FUNCTION_NAME`; else it is required, except with `memoryStore`
   */
  readonly namespace?: string;
  /**
   * What makes two events the same operation: a text that is not blank, of any length and any characters; a finite number; or
   * several of them. `undefined` means that the event has no key.
   *
   * @default HTTP: the `Idempotency-Key` header; EventBridge: `id`; a record of a batch: what its service tells it apart by; anything else must be told
   */
  readonly key?: (event: Event, context: Context) => Key;
  /**
   * The caller a key belongs to. Must return a non-empty string: a caller who cannot be named is refused.
   *
   * @default HTTP: the authenticated caller, none for an open API; EventBridge: `source`; a record: its queue, stream, topic or bucket
   */
  readonly tenant?: (event: Event, context: Context) => string | undefined;
  /**
   * What must be equal when a key is used again; `false` compares nothing.
   *
   * @default HTTP: method, path, query and body; EventBridge: source, detail type and detail; SQS and SNS: the body; nothing for
   * streams and Kafka; else the whole event
   */
  readonly fingerprint?: false | ((event: Event, context: Context) => unknown);
  /**
   * Whether an event without a key is refused (`MISSING_KEY`) or runs unguarded.
   *
   * @default true
   */
  readonly required?: boolean;
  /**
   * How long a completed answer is replayed, in seconds from its completion; more than 0, at most ten years.
   *
   * @default `IDEMPOTENCY_TTL_SECONDS`, then 86 400 (one day)
   */
  readonly ttlSeconds?: number;
  /**
   * How long a claim holds if its owner falls silent.
   *
   * @default the invocation's remaining time plus 1 s for clock skew; without a context 901 s inside Lambda, 60 s elsewhere
   */
  readonly lease?: { readonly seconds: number };
  /**
   * What a duplicate of a running call does: be refused (`IN_PROGRESS`), or wait up to `waitMs` milliseconds for the
   * first one's answer, and run if the first one fails.
   *
   * @default 'refuse'
   */
  readonly whenBusy?: 'refuse' | { readonly waitMs: number };
  /**
   * Whether a returned value is the operation's answer. What is not remembered is released: the next call runs. A
   * thrown error always releases.
   *
   * @default everything, except HTTP answers with a status of 500 and up, 408, 409, 425 or 429
   */
  readonly remember?: (outcome: Outcome) => boolean;
  /**
   * When the right to execute is won: before the handler (`eager`), or together with what it does, in `commit()`, which
   * saves a round trip. `at-commit` is for handlers without any effect outside `commit()`: `step`, `transaction` and `token`
   * are refused, duplicates may compute at once, and one of them commits.
   *
   * @default 'eager'
   */
  readonly claim?: 'eager' | 'at-commit';
  /**
   * Names of the destinations that messages of `commit()` and `transaction()` may go to: those of the pipes or the relay.
   *
   * @default `IDEMPOTENCY_DESTINATIONS`, names separated by commas
   */
  readonly destinations?: readonly string[];
  /**
   * What happens when the store cannot be reached to claim: refuse (`STORE_UNAVAILABLE`), or run without protection.
   * A store that is set up wrongly is refused either way, and so is a call whose record was seen, or in whose way another
   * transaction was: those are known to be under way.
   *
   * @default 'refuse'
   */
  readonly whenStoreFails?: 'refuse' | 'run';
  /**
   * What to keep in the record for an operator to see: the raw key, the event (up to 64 KB as stored). Both may be
   * personal data.
   *
   * @default neither
   */
  readonly keep?: { readonly key?: boolean; readonly input?: boolean };
  /** For HTTP events. */
  readonly http?: HttpOptions<Event>;
  /**
   * Keeps completed answers in this process as well, so that a repeat that comes here costs no request: `maxItems` of
   * them, `maxBytes` (default 10 MB as stored) in all.
   *
   * @default none
   */
  readonly cache?: CacheOptions;
  /** Turns a stored answer into the one to send, e.g. with the resource's current state. */
  readonly onReplay?: (answer: any, event: Event, context: Context) => unknown;
  /** Is told what the guard does. An observer that throws is ignored. */
  readonly observe?: (event: IdempotencyEvent) => void;
}

export interface HttpOptions<Event = any> {
  /**
   * The header that carries the key, e.g. `PayPal-Request-Id`.
   *
   * @default 'Idempotency-Key'
   */
  readonly keyHeader?: string;
  /**
   * Methods that are guarded; requests with any other pass through.
   *
   * @default ['POST', 'PATCH']
   */
  readonly methods?: readonly string[];
  /**
   * `lenient` takes a bare key and a quoted one, and they are the same key; `strict` only the quoted one of RFC 9651.
   *
   * @default 'lenient'
   */
  readonly keySyntax?: 'lenient' | 'strict';
  /**
   * How refusals look: RFC 9457 problem details; the same with a `Link` to `docsUrl`; as Stripe's API does, for clients
   * made from its SDKs; or what a function of yours returns.
   *
   * @default 'problem'
   */
  readonly errors?: ErrorProfile | ((error: IdempotencyError) => HttpResponse);
  /** Headers for every answer that the guard gives instead of the handler, refusals and replays: CORS, for one. */
  readonly answerHeaders?: (event: Event) => Record<string, string>;
  /** Where your API documents its use of the key: the `type` of problem details. */
  readonly docsUrl?: string;
}

/** A guard's options, resolved. */
export interface GuardSettings extends Settings, IdentitySettings {
  readonly http: IdentitySettings['http'] & ReplySettings;
  readonly disabled: () => boolean;
}

/** @throws `BAD_OPTION`, naming the option, the value, its type and the fix. */
export function resolveOptions(options: IdempotentOptions = {}): GuardSettings {
  checkOptions(options, rules, otherNames);
  const { http = {} } = options;
  if (http.errors === 'problem-link' && http.docsUrl === undefined) {
    throw new IdempotencyError(
      'BAD_OPTION',
      "Option `http.errors` is 'problem-link', but there is nothing to link to: give `http.docsUrl` as well, e.g. 'https://api.example.com/docs/idempotency'.",
    );
  }

  // Taken now, for an options object that is changed later is not checked again.
  const { observe, namespace: ownNamespace } = options;
  const destinations = options.destinations && [...options.destinations];
  const disabled = () => isTrue(process.env[environment.disabled]);
  const store = lazyStore(options.store);
  const namespace = () => resolveNamespace(ownNamespace, store());
  // What can be told now is told now; only the environment's table and name wait for the first call.
  if (options.store && !disabled()) namespace();
  const clock = () => store().clock ?? systemClock;
  const nowMs = () => (disabled() ? Date.now() : clock().now());
  return Object.freeze<GuardSettings>({
    store,
    namespace,
    clock,
    key: options.key,
    tenant: options.tenant,
    fingerprint: options.fingerprint,
    required: options.required ?? rules.required.fallback,
    ttlMs: (options.ttlSeconds ?? ttlFromEnvironment() ?? defaultTtlSeconds) * 1000,
    leaseMs: options.lease && options.lease.seconds * 1000,
    waitMs: typeof options.whenBusy === 'object' ? options.whenBusy.waitMs : 0,
    remember: options.remember ?? rules.remember.fallback,
    claim: options.claim ?? rules.claim.fallback,
    destinations: () => destinations ?? destinationsFromEnvironment(),
    whenStoreFails: options.whenStoreFails ?? rules.whenStoreFails.fallback,
    keep: { key: options.keep?.key ?? false, input: options.keep?.input ?? false },
    http: {
      keyHeader: http.keyHeader ?? httpRules.keyHeader.fallback,
      methods: (http.methods ?? httpRules.methods.fallback).map((method) => method.toUpperCase()),
      keySyntax: http.keySyntax ?? httpRules.keySyntax.fallback,
      errors: http.errors ?? httpRules.errors.fallback,
      answerHeaders: http.answerHeaders,
      docsUrl: http.docsUrl,
    },
    cache: options.cache && new AnswerCache(options.cache),
    onReplay: options.onReplay,
    observe: (occurrence) => {
      if (!observe) return;
      try {
        // The union's members lost two fields each; putting them back is beyond what the checker can follow.
        const where = disabled() ? (ownNamespace ?? '') : namespace().name;
        const event = { namespace: where, atMs: nowMs(), ...occurrence } as unknown as IdempotencyEvent;
        // A step's name may hold an id, and events are logged.
        if (event.type === 'step') Object.defineProperty(event, 'name', { enumerable: false });
        const returned: unknown = observe(event);
        // An async observer is not awaited, and its failure is as much ignored as a sync one's.
        if (returned instanceof Promise) returned.catch(() => {});
      } catch {
        // An observer's failure is its own.
      }
    },
    disabled,
  });
}

function lazyStore(given: Store | undefined): () => Store {
  let store = given ?? (process.env[environment.table] ? dynamoStore() : undefined);
  return () => {
    store ??= dynamoStore();
    return store;
  };
}

function resolveNamespace(given: string | undefined, store: Store): { name: string; isDefault: boolean } {
  if (given) return { name: given, isDefault: false };
  const name =
    process.env[environment.namespace] || process.env.AWS_LAMBDA_FUNCTION_NAME || store.defaultNamespace;
  if (name && isNamespace(name)) return { name, isDefault: true };
  if (name) {
    throw new IdempotencyError(
      'BAD_OPTION',
      `Expected ${environment.namespace} to be a string of 1 to ${maxNamespaceLength} characters, got ${show(name)}.`,
    );
  }
  throw new IdempotencyError(
    'BAD_OPTION',
    `Option \`namespace\` is missing, and neither ${environment.namespace} nor AWS_LAMBDA_FUNCTION_NAME is set. Name what the keys belong to, e.g. { namespace: 'payments' }.`,
  );
}

const destinationsFromEnvironment = (): string[] =>
  (process.env[environment.destinations] ?? '')
    .split(',')
    .map((name) => name.trim())
    .filter((name) => name !== '');

function ttlFromEnvironment(): number | undefined {
  const text = process.env[environment.ttlSeconds];
  if (text === undefined || text === '') return undefined;
  const seconds = Number(text);
  if (isTtl(seconds)) return seconds;
  throw new IdempotencyError(
    'BAD_OPTION',
    `Expected ${environment.ttlSeconds} to be a number of seconds, more than 0, at most ten years; got ${show(text)}.`,
  );
}

const isTrue = (text: string | undefined): boolean => text === 'true' || text === '1';
