import type { ClaimStatus } from './record.ts';

/**
 * What went wrong, as a stable string.
 *
 * | code | meaning |
 * |---|---|
 * | `MISSING_KEY` | the event has no idempotency key and one is required |
 * | `BAD_KEY` | the key is malformed, or a part of it is empty |
 * | `MISSING_TENANT` | the caller cannot be named, so nobody knows whose key this is |
 * | `BAD_PAYLOAD` | the payload cannot be fingerprinted (a cycle, a function), or a record's payload is not JSON or does not fit its schema |
 * | `PAYLOAD_MISMATCH` | the key was used before with other parameters |
 * | `IN_PROGRESS` | an earlier call with this key is still running |
 * | `FENCED` | a newer epoch of the same numbered sender has taken over |
 * | `SEQUENCE_GAP` | a numbered operation came before its predecessor; `expectedNumber` is the next one |
 * | `OVERTAKEN` | this attempt outlived its lease and another one took over |
 * | `NO_TIME_LEFT` | the invocation's deadline is too near to begin |
 * | `STORE_UNAVAILABLE` | the store did not answer, or kept throttling |
 * | `STORE_MISCONFIGURED` | the table, its keys, its TTL, the credentials or the permissions are wrong |
 * | `RESULT_UNAVAILABLE` | the operation was completed, but its answer could not be stored or is gone |
 * | `COMMIT_REJECTED` | a condition of the handler's own writes failed; nothing was written |
 * | `OUTCOME_UNKNOWN` | a transaction was sent, and nobody knows whether it was applied |
 * | `INDETERMINATE` | a step that must not be repeated was begun, and its end was never recorded |
 * | `NOT_COMMITTED` | a handler with `claim: 'at-commit'` returned without a commit |
 * | `RESULT_DIFFERS` | a handler returned something else than it had committed |
 * | `BAD_STEP` | a step's name is malformed or was used before, or something was begun after the commit |
 * | `BAD_WRITES` | DynamoDB or the destination would refuse the writes or the messages |
 * | `BATCH_FAILED` | records of a batch failed, and its service knows no partial failures |
 * | `NAMESPACE_CLASH` | two guards would share one default namespace |
 * | `UNSUPPORTED` | this kind of event, handler or execution cannot be guarded like this |
 * | `NOT_GUARDED` | `operation()` was called outside a guard |
 * | `QUEUE_FULL` | a numbered sender holds as many messages as it may; this one was not taken |
 * | `STORAGE_FAILED` | the storage of a numbered sender could not be read or written |
 * | `BAD_OPTION` | an option is unknown, of a wrong type or out of range |
 */
export type IdempotencyErrorCode =
  | 'MISSING_KEY'
  | 'BAD_KEY'
  | 'MISSING_TENANT'
  | 'BAD_PAYLOAD'
  | 'PAYLOAD_MISMATCH'
  | 'IN_PROGRESS'
  | 'FENCED'
  | 'SEQUENCE_GAP'
  | 'OVERTAKEN'
  | 'NO_TIME_LEFT'
  | 'STORE_UNAVAILABLE'
  | 'STORE_MISCONFIGURED'
  | 'RESULT_UNAVAILABLE'
  | 'COMMIT_REJECTED'
  | 'OUTCOME_UNKNOWN'
  | 'INDETERMINATE'
  | 'NOT_COMMITTED'
  | 'RESULT_DIFFERS'
  | 'BAD_STEP'
  | 'BAD_WRITES'
  | 'BATCH_FAILED'
  | 'NAMESPACE_CLASH'
  | 'UNSUPPORTED'
  | 'NOT_GUARDED'
  | 'QUEUE_FULL'
  | 'STORAGE_FAILED'
  | 'BAD_OPTION';

/** The record that an error is about, without its answer. */
export interface RecordSummary {
  readonly status: ClaimStatus;
  readonly attempt: number;
  readonly createdAt: Date;
  readonly completedAt?: Date;
  /** When the attempt's claim ends by itself, and another attempt may take over. */
  readonly leaseUntil: Date;
  /** When the record ends: from then on the key names a new operation. */
  readonly endsAt: Date;
}

/** An item's attributes, as JavaScript has them. */
// biome-ignore lint/suspicious/noExplicitAny: an item that is typed by an interface has no index signature, which `unknown` would ask for
export type Attributes = Record<string, any>;

/** One of the handler's own writes whose condition failed. */
export interface Rejection {
  /** Its place in `writes`, from 0. */
  readonly index: number;
  /** DynamoDB's reason, e.g. `ConditionalCheckFailed`. */
  readonly code: string;
  /** The item as it was when the condition failed, if there was one. */
  readonly item?: Attributes;
}

interface ErrorDetails {
  readonly cause?: unknown;
  readonly effect?: 'none' | 'possible';
  readonly retryAfterSeconds?: number;
  readonly record?: RecordSummary;
  readonly rejections?: readonly Rejection[];
  readonly step?: string;
  readonly expectedNumber?: number;
}

const brand = Symbol.for('idemkit.error');

/**
 * Every failure that idemkit reports. `code` tells one from another.
 * Recognise it with {@link IdempotencyError.is}, which also works where two copies of the package are loaded.
 */
export class IdempotencyError extends Error {
  override readonly name = 'IdempotencyError';
  /** What went wrong; see {@link IdempotencyErrorCode}. */
  readonly code: IdempotencyErrorCode;
  /**
   * `none`: this call has certainly done nothing. `possible`: it may have done something.
   * Once a handler was called it is `possible`, because a handler may act at any time. With `claim: 'at-commit'` a handler
   * acts in its commit only, so it is `possible` once a commit may have been applied.
   */
  readonly effect: 'none' | 'possible';
  /** Seconds after which a retry may succeed; `undefined` where a retry cannot help. */
  readonly retryAfterSeconds: number | undefined;
  /** Status, attempt and times of the existing record, where there is one. */
  readonly record: RecordSummary | undefined;
  /** With `COMMIT_REJECTED`: the writes whose conditions failed. Not enumerable, because items may hold personal data. */
  declare readonly rejections: readonly Rejection[] | undefined;
  /** The name of the step that the error is about, where there is one. Not enumerable, because a name may hold an id. */
  declare readonly step: string | undefined;
  /** With `SEQUENCE_GAP`: the number that the sender's next operation must have. */
  readonly expectedNumber: number | undefined;
  /** @internal */
  readonly [brand] = true;

  constructor(code: IdempotencyErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.effect = details.effect ?? 'none';
    this.retryAfterSeconds = details.retryAfterSeconds;
    this.record = details.record;
    this.expectedNumber = details.expectedNumber;
    // Hidden from logs: both may hold the caller's data.
    Object.defineProperties(this, {
      rejections: { value: details.rejections },
      step: { value: details.step },
    });
  }

  /** Whether `value` is an error of idemkit, and has this `code` if one is given. */
  static is(value: unknown, code?: IdempotencyErrorCode): value is IdempotencyError {
    return (
      typeof value === 'object' &&
      value !== null &&
      brand in value &&
      (code === undefined || (value as { code?: unknown }).code === code)
    );
  }
}

/**
 * Returns `error` with `effect: 'possible'`. Every error that leaves a call after its handler was called comes through here:
 * whoever made the error (a store, an option, another guard) cannot know that a handler was called.
 *
 * It returns a new error, because the maker may keep the one that it made. Values that are no error of idemkit are returned
 * as they are.
 *
 * @param message replaces the error's own message
 */
export function afterActing<Thrown>(error: Thrown, message?: string): Thrown | IdempotencyError {
  if (!IdempotencyError.is(error) || error.effect === 'possible') return error;
  const { code, cause, retryAfterSeconds, record, rejections, step, expectedNumber } = error;
  const said = /\bnothing has been done\b/i.test(error.message)
    ? `${error.message} What this call did before that may have happened.`
    : error.message;
  const left = new IdempotencyError(code, message ?? said, {
    effect: 'possible',
    // A new message replaces the old one, so the error itself becomes the cause.
    cause: message === undefined ? cause : error,
    retryAfterSeconds,
    record,
    rejections,
    step,
    expectedNumber,
  });
  // The stack shows where the error was made, not where it left.
  if (error.stack !== undefined) {
    left.stack = error.stack.replace(error.message, () => left.message);
  }
  return left;
}

export const badOption = (message: string): IdempotencyError => new IdempotencyError('BAD_OPTION', message);

/** Its message goes to HTTP callers, so it names neither the table nor the cause. */
export const storeUnavailable = (cause: unknown): IdempotencyError =>
  new IdempotencyError(
    'STORE_UNAVAILABLE',
    'The record of this operation cannot be reached at the moment. Nothing has been done; try again.',
    { cause, retryAfterSeconds: 1 },
  );

/** A value as a message about an option shows it: at most 60 characters, with its type. Never use it on a caller's data. */
export function show(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'function') return 'a function';
  let text: string | undefined;
  try {
    if (typeof value === 'bigint') text = `${value}n`;
    // JSON writes NaN and Infinity as `null`.
    else text = typeof value === 'number' ? String(value) : JSON.stringify(value);
  } catch {
    text = undefined;
  }
  text ??= String(value);
  const kind = Array.isArray(value) ? 'array' : typeof value;
  return `${text.length > 60 ? `${text.slice(0, 57)}…` : text} (${kind})`;
}

/**
 * A foreign error as a log may show it: its name and its stack, without its message. A message may quote the caller's data,
 * as a parser's does.
 */
export function withoutMessage(error: unknown): string {
  if (!(error instanceof Error)) return `a ${typeof error}`;
  const { stack = '', message } = error;
  const at = message === '' ? stack.indexOf('\n') : stack.indexOf(message);
  // Cut by position, because a message may hold lines that look like a stack.
  const frames = at < 0 ? '' : stack.slice(at + message.length);
  return `${/^\w{1,60}$/.test(error.name) ? error.name : 'Error'}${frames}`;
}
