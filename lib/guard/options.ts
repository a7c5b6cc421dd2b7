// biome-ignore-all lint/suspicious/noExplicitAny: without a handler, as under Middy, nothing says what type an event has
/** The options as users write them. What each must be is in `option-rules.ts`, what becomes of them in `resolve-options.ts`. */
import type { Context } from 'aws-lambda';
import type { CacheOptions, Outcome } from '../engine/index.ts';
import type { IdempotencyError } from '../errors.ts';
import type { Key } from '../events/index.ts';
import type { ErrorProfile, HttpResponse } from '../http/index.ts';
import type { IdempotencyEvent } from '../observe/index.ts';
import type { Sequence } from '../sequence/index.ts';
import type { Store } from '../store/index.ts';

/** Options of a guard, however it names its operations. */
interface SharedOptions<Event> {
  /**
   * Where the guard keeps its records.
   *
   * @default `dynamoStore()` on the table that `IDEMPOTENCY_TABLE` names
   */
  readonly store?: Store;
  /**
   * The function or app that the keys belong to, 1 to 255 characters. Equal keys in two namespaces are two operations.
   *
   * @default `IDEMPOTENCY_NAMESPACE`, then `AWS_LAMBDA_FUNCTION_NAME`. Without either it is required, except with `memoryStore()`
   */
  readonly namespace?: string;
  /**
   * The caller that a key belongs to. Equal keys of two callers are two operations.
   * Where it returns anything but a non-blank string, the call is refused (`MISSING_TENANT`).
   *
   * @default HTTP: the authenticated caller, none for an open API; EventBridge: `source`; a record of a batch: its queue,
   * stream, topic or bucket
   */
  readonly tenant?: (event: Event, context: Context) => string | undefined;
  /**
   * What must be equal when a key is used again. If it differs, the call is refused (`PAYLOAD_MISMATCH`).
   * `false` compares nothing.
   *
   * @default HTTP: method, path, query and body; EventBridge: source, detail type and detail; SQS and SNS: the body;
   * streams and Kafka: nothing; other events: the whole event
   */
  readonly fingerprint?: false | ((event: Event, context: Context) => unknown);
  /**
   * Whether an event must have a key. One without it is refused (`MISSING_KEY`) if `true`, and runs unguarded if `false`.
   *
   * @default true
   */
  readonly required?: boolean;
  /**
   * How long a claim holds, in seconds. More than 0, at most one day. If its owner crashes, the next call may take over then.
   *
   * @default the invocation's remaining time, plus 1 s for clock skew. Without a context: 901 s inside Lambda, 60 s elsewhere
   */
  readonly lease?: { readonly seconds: number };
  /**
   * What a duplicate of a running call does. `'refuse'`: it is refused (`IN_PROGRESS`). `{ waitMs }`: it waits up to
   * `waitMs` milliseconds, at most 15 minutes, for the first call's answer. If the first call fails, the duplicate runs.
   *
   * @default 'refuse'
   */
  readonly whenBusy?: 'refuse' | { readonly waitMs: number };
  /**
   * Whether a returned value completes the operation. If not, the claim is released and the next call runs again.
   * A thrown error always releases the claim.
   *
   * @default every value does, except HTTP answers with a status of 500 and up, 408, 409, 425 or 429
   */
  readonly remember?: (outcome: Outcome) => boolean;
  /**
   * When the operation is claimed. `'eager'`: before the handler runs. `'at-commit'`: by `commit()`, which saves a request.
   * `'at-commit'` is for handlers that have no effect outside `commit()`: duplicates may run at the same time, and only one
   * of them commits. `step`, `transaction` and `token` are refused then.
   *
   * @default 'eager'
   */
  readonly claim?: 'eager' | 'at-commit';
  /**
   * Where messages of `commit()` and `transaction()` may go: names of destinations that a pipe or a relay reads.
   *
   * @default the names in `IDEMPOTENCY_DESTINATIONS`, separated by commas
   */
  readonly destinations?: readonly string[];
  /**
   * What happens when the store cannot be reached for a claim. `'refuse'`: the call is refused (`STORE_UNAVAILABLE`).
   * `'run'`: the handler runs unguarded. A call is refused either way where the store is set up wrongly, and where the store
   * has shown that the operation is under way: by its record, or by another transaction on it.
   *
   * @default 'refuse'
   */
  readonly whenStoreFails?: 'refuse' | 'run';
  /**
   * What the record keeps for an operator to see: `key` the raw key, `input` the event, up to 64 KB as stored.
   * Both may be personal data.
   *
   * @default neither
   */
  readonly keep?: { readonly key?: boolean; readonly input?: boolean };
  /** How HTTP events are read and answered. */
  readonly http?: HttpOptions<Event>;
  /**
   * Turns a stored answer into the one that a repeat gets, e.g. with the resource's current state.
   *
   * @default the stored answer
   */
  readonly onReplay?: (answer: any, event: Event, context: Context) => unknown;
  /**
   * Is told each thing that the guard does. What it throws is ignored.
   *
   * @default nobody is told
   */
  readonly observe?: (event: IdempotencyEvent) => void;
}

/** Options of a guard. Each has a default. They are checked when the guard is made, and changes after that have no effect. */
export interface IdempotentOptions<Event = any> extends SharedOptions<Event> {
  /**
   * What makes two events the same operation: a string that is not blank, a finite number, or an array of these.
   * `undefined` means that the event has no key.
   *
   * @default HTTP: the `Idempotency-Key` header; EventBridge: `id`; a record of a batch: the id that its service gives it.
   * Events of other shapes have no key
   */
  readonly key?: (event: Event, context: Context) => Key;
  /**
   * How long a completed answer is replayed, in seconds after its completion. More than 0, at most ten years.
   *
   * @default `IDEMPOTENCY_TTL_SECONDS`, then 86 400 (one day)
   */
  readonly ttlSeconds?: number;
  /**
   * Keeps completed answers in this process too. A repeat that comes to the same process then costs no request.
   * At most `maxItems` answers, and `maxBytes` bytes in all, as stored (default 10 MB).
   *
   * @default none
   */
  readonly cache?: CacheOptions;
  /** Takes the place of `key`, `ttlSeconds` and `cache`: see {@link SequencedOptions}. */
  readonly sequence?: undefined;
}

/** Options of a guard whose operations are named by their senders' numbers instead of keys. */
export interface SequencedOptions<Event = any> extends SharedOptions<Event> {
  /**
   * Which sender an event is from, and its number there: what `numbered()` returns. Instead of `key`.
   *
   * @default none: operations have keys
   */
  readonly sequence: Sequence<Event>;
  /** A numbered operation has no other key. */
  readonly key?: undefined;
  /** `forgetAfterSeconds` of `numbered()` takes its place. */
  readonly ttlSeconds?: undefined;
  /** A cached answer would reach a sender that has been fenced since. */
  readonly cache?: undefined;
}

export type GuardOptions<Event = any> = IdempotentOptions<Event> | SequencedOptions<Event>;

/** How a guard reads and answers HTTP events. */
export interface HttpOptions<Event = any> {
  /**
   * The header that carries the key, e.g. `PayPal-Request-Id`.
   *
   * @default 'Idempotency-Key'
   */
  readonly keyHeader?: string;
  /**
   * Methods that are guarded. A request with another method runs unguarded.
   *
   * @default ['POST', 'PATCH']
   */
  readonly methods?: readonly string[];
  /**
   * How the key may be written. `'lenient'`: quoted or bare, and both are the same key. `'strict'`: quoted, as RFC 9651
   * writes a String.
   *
   * @default 'lenient'
   */
  readonly keySyntax?: 'lenient' | 'strict';
  /**
   * How refusals look. `'problem'`: RFC 9457 problem details. `'problem-link'`: the same, with a `Link` to `docsUrl`.
   * `'stripe'`: as Stripe's API writes errors, for clients made from its SDKs. A function: what it returns.
   *
   * @default 'problem'
   */
  readonly errors?: ErrorProfile | ((error: IdempotencyError) => HttpResponse);
  /**
   * Headers for each answer that the guard gives instead of the handler, which is a refusal or a replay. CORS needs them.
   *
   * @default none
   */
  readonly answerHeaders?: (event: Event) => Record<string, string>;
  /**
   * The page where your API documents its keys. It becomes the `type` of problem details.
   *
   * @default none: the `type` is `about:blank`
   */
  readonly docsUrl?: string;
}
