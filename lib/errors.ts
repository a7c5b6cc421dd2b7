import type { ClaimStatus } from './record.ts';

/**
 * What went wrong, as a stable string.
 *
 * | code | meaning |
 * |---|---|
 * | `MISSING_KEY` | the event has no idempotency key and one is required |
 * | `BAD_KEY` | the key is malformed, or a part of it is empty |
 * | `MISSING_TENANT` | who is calling could not be told, so whose key this is could not either |
 * | `BAD_PAYLOAD` | the payload cannot be fingerprinted (a cycle, a function), or a record's is not JSON or does not fit its schema |
 * | `PAYLOAD_MISMATCH` | the key was used before with other parameters |
 * | `IN_PROGRESS` | an earlier call with this key is still running |
 * | `OVERTAKEN` | this attempt outlived its lease and another one took over |
 * | `NO_TIME_LEFT` | the invocation's deadline is too near to begin |
 * | `STORE_UNAVAILABLE` | the store did not answer, or kept throttling |
 * | `STORE_MISCONFIGURED` | the table, its keys, its TTL, the credentials or the permissions are not as they must be |
 * | `RESULT_UNAVAILABLE` | the operation was completed, but its answer could not be stored or is gone |
 * | `COMMIT_REJECTED` | a condition of the handler's own writes failed; nothing was written |
 * | `OUTCOME_UNKNOWN` | a transaction was sent and it could not be told whether it was applied |
 * | `INDETERMINATE` | a step that must not be repeated was begun, and its end was never recorded |
 * | `NOT_COMMITTED` | a handler with `claim: 'at-commit'` returned without a commit |
 * | `RESULT_DIFFERS` | a handler returned something else than it had committed |
 * | `BAD_STEP` | a step's name is malformed or was used before, or something was begun after the commit |
 * | `BAD_WRITES` | writes or messages that DynamoDB or the destination would refuse |
 * | `BATCH_FAILED` | records of a batch failed, and its service knows no partial failure |
 * | `NAMESPACE_CLASH` | two guards would share one default namespace |
 * | `UNSUPPORTED` | this kind of event, handler or execution mode cannot be guarded like this |
 * | `NOT_GUARDED` | `operation()` was called outside a guard |
 * | `BAD_OPTION` | an option is unknown, of a wrong type or out of range |
 */
export type IdempotencyErrorCode =
  | 'MISSING_KEY'
  | 'BAD_KEY'
  | 'MISSING_TENANT'
  | 'BAD_PAYLOAD'
  | 'PAYLOAD_MISMATCH'
  | 'IN_PROGRESS'
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
  | 'BAD_OPTION';

/** What is known of the record that an error is about. Never its answer. */
export interface RecordSummary {
  readonly status: ClaimStatus;
  readonly attempt: number;
  readonly createdAt: Date;
  readonly completedAt?: Date;
  /** When the running attempt's claim ends by itself. */
  readonly leaseUntil: Date;
  /** When the key may be used for something new. */
  readonly endsAt: Date;
}

/** One of the handler's own writes whose condition failed. */
export interface Rejection {
  /** Its place in `writes`, from 0. */
  readonly index: number;
  /** DynamoDB's word for it, e.g. `ConditionalCheckFailed`. */
  readonly code: string;
  /** The item that the condition met, if there was one. */
  readonly item?: Record<string, any>;
}

interface ErrorDetails {
  readonly cause?: unknown;
  readonly effect?: 'none' | 'possible';
  readonly retryAfterSeconds?: number;
  readonly record?: RecordSummary;
  readonly rejections?: readonly Rejection[];
  readonly step?: string;
}

const brand = Symbol.for('idemkit.error');

/**
 * Every failure that idemkit reports. Tell them apart by `code`; recognise them with
 * {@link IdempotencyError.is}, which also works across two copies of the package.
 */
export class IdempotencyError extends Error {
  override readonly name = 'IdempotencyError';
  /** What went wrong; see {@link IdempotencyErrorCode}. */
  readonly code: IdempotencyErrorCode;
  /**
   * `none`: this call has certainly done nothing. `possible`: it may have. Once a handler was called it is `possible`, for a
   * handler may act at any time; with `claim: 'at-commit'`, which acts in its commit only, once a commit may have been applied.
   */
  readonly effect: 'none' | 'possible';
  /** Seconds after which a retry has a chance; absent where a retry cannot help. */
  readonly retryAfterSeconds: number | undefined;
  /** The existing record's times, attempt and status, where there is one. */
  readonly record: RecordSummary | undefined;
  /** `COMMIT_REJECTED`: which writes were refused, by their place, with the items that their conditions met. */
  declare readonly rejections: readonly Rejection[] | undefined;
  /** The name of the step that it is about, where there is one. Not enumerable, for a name may hold an id. */
  declare readonly step: string | undefined;
  /** @internal */
  readonly [brand] = true;

  constructor(code: IdempotencyErrorCode, message: string, details: ErrorDetails = {}) {
    super(message, details.cause === undefined ? undefined : { cause: details.cause });
    this.code = code;
    this.effect = details.effect ?? 'none';
    this.retryAfterSeconds = details.retryAfterSeconds;
    this.record = details.record;
    // Hidden, for they hold what is the caller's, and errors are logged.
    Object.defineProperty(this, 'rejections', { value: details.rejections, enumerable: false });
    Object.defineProperty(this, 'step', { value: details.step, enumerable: false });
  }

  /** Whether `value` is an error of idemkit's, and of this `code` if one is given. */
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
 * `error` as it leaves a call that may have done something: then no error of ours says `none`. Everything that leaves after
 * a handler was called comes through here, for whoever made the error (a store, an option, another guard) cannot know.
 *
 * A new error, for its maker may hold on to the one it made; any other value is returned as it is.
 *
 * @param message what to say instead
 */
export function afterActing<Thrown>(error: Thrown, message?: string): Thrown | IdempotencyError {
  if (!IdempotencyError.is(error) || error.effect === 'possible') return error;
  const { code, cause, retryAfterSeconds, record, rejections, step } = error;
  const said = /\bnothing has been done\b/i.test(error.message)
    ? `${error.message} What this call did before that may have happened.`
    : error.message;
  const left = new IdempotencyError(code, message ?? said, {
    effect: 'possible',
    // With words of their own the first ones would be lost.
    cause: message === undefined ? cause : error,
    ...(retryAfterSeconds !== undefined && { retryAfterSeconds }),
    ...(record && { record }),
    ...(rejections && { rejections }),
    ...(step !== undefined && { step }),
  });
  // Where it was raised, not where it left.
  if (error.stack !== undefined) {
    left.stack = error.stack.replace(error.message, () => left.message);
  }
  return left;
}

/** The message goes to HTTP callers, so it names no table and no cause. */
export const storeUnavailable = (cause: unknown): IdempotencyError =>
  new IdempotencyError(
    'STORE_UNAVAILABLE',
    'The record of this operation cannot be reached at the moment. Nothing has been done; try again.',
    { cause, retryAfterSeconds: 1 },
  );

/** A value as an error message shows it: short, with its type. */
export function show(value: unknown): string {
  if (value === null || value === undefined) return String(value);
  if (typeof value === 'function') return 'a function';
  let text: string | undefined;
  try {
    if (typeof value === 'bigint') text = `${value}n`;
    // JSON would make `null` of NaN and of Infinity.
    else text = typeof value === 'number' ? String(value) : JSON.stringify(value);
  } catch {
    text = undefined;
  }
  text ??= String(value);
  const kind = Array.isArray(value) ? 'array' : typeof value;
  return `${text.length > 60 ? `${text.slice(0, 57)}…` : text} (${kind})`;
}

/**
 * An error of code that is not ours, as a log may show it: its name and where it was thrown. Its message may quote what it was
 * thrown over: a parser's does.
 */
export function withoutMessage(error: unknown): string {
  if (!(error instanceof Error)) return `a ${typeof error}`;
  const { stack = '', message } = error;
  const at = message === '' ? stack.indexOf('\n') : stack.indexOf(message);
  // A message may hold lines that look like a stack's.
  const frames = at < 0 ? '' : stack.slice(at + message.length);
  return `${/^\w{1,60}$/.test(error.name) ? error.name : 'Error'}${frames}`;
}
