/** The options of `retryingFetch`: what each means, its default, and what is refused. */
import { IdempotencyError } from '../errors.ts';
import { check, checkKnown, isBetween, isBoolean, isFunction, kindOf } from '../validate.ts';

/** Options of {@link retryingFetch}: the key, how often to try, and how long that may take. Each has a default. */
export interface RetryingFetchOptions {
  /**
   * The idempotency key: 1 to 255 printable ASCII characters. If a retry may come after a reload of the page, make a key,
   * store it and give it here.
   *
   * @default the key in the request's headers, else `newIdempotencyKey()`
   */
  readonly key?: string;
  /**
   * The header that carries the key.
   *
   * @default 'Idempotency-Key'
   */
  readonly header?: string;
  /**
   * Whether to send the key quoted (`"k"`), as the IETF draft demands, or bare (`k`), as most APIs document it.
   * To idemkit both are the same key, unless `http.keySyntax` is `strict`, which takes the quoted one only.
   * A key that is in the headers already is sent as it is.
   *
   * @default false
   */
  readonly quote?: boolean;
  /**
   * How often the request is sent at most, the first time included: 1 to 100.
   *
   * @default 5
   */
  readonly maxAttempts?: number;
  /**
   * The longest random wait after the first attempt, in milliseconds. It doubles with each attempt, up to `maxDelayMs`.
   * The wait is a random part of it, from zero up.
   *
   * @default 250
   */
  readonly baseDelayMs?: number;
  /**
   * The longest random wait after any attempt, in milliseconds. What `Retry-After` demands is added to it.
   *
   * @default 20_000
   */
  readonly maxDelayMs?: number;
  /**
   * How long one attempt waits for the head of its answer, in milliseconds. `Infinity`: until `deadlineMs`.
   *
   * @default 30_000
   */
  readonly attemptTimeoutMs?: number;
  /**
   * How long all attempts and the waits between them may take, in milliseconds. `Infinity`: no limit.
   *
   * @default 60_000
   */
  readonly deadlineMs?: number;
  /**
   * Is told before each wait. If it throws, there is no further attempt, and the caller gets its error.
   *
   * @default nobody is told
   */
  readonly onRetry?: (retry: Retry) => void;
  /**
   * The function that sends the requests.
   *
   * @default the global `fetch`
   */
  readonly fetch?: (input: string | Request, init?: RequestInit) => Promise<Response>;
  /**
   * The clock; tests may give another.
   *
   * @default the platform's
   */
  readonly clock?: RetryClock;
  /**
   * Returns random numbers from 0 to below 1; tests may give another.
   *
   * @default Math.random
   */
  readonly random?: () => number;
}

/** Why and when a request will be sent again: what `onRetry` is told. */
export type Retry = {
  /** The number of the attempt that failed, from 1. */
  readonly attempt: number;
  /** The wait before the next attempt. */
  readonly delayMs: number;
  /** The key of all attempts, without the quotes that it may be sent in. */
  readonly key: string;
} & (
  | { readonly response: Response; readonly error?: undefined }
  | { readonly error: unknown; readonly response?: undefined }
);

/** A clock with timers. */
export interface RetryClock {
  /** Epoch milliseconds. */
  now(): number;
  /** Calls `callback` once, `ms` milliseconds later, unless the function that it returns was called before. */
  after(ms: number, callback: () => void): () => void;
}

// --- Time ---

/** A timer that is set for longer fires at once. */
const maxTimerMs = 2_147_483_647;

const systemClock: RetryClock = {
  // Unlike `Date.now`, this does not jump when the system's clock is set.
  now: () => performance.timeOrigin + performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, Math.min(ms, maxTimerMs));
    return () => clearTimeout(timer);
  },
};

// --- Options ---

/** The options, with all defaults filled in. */
export type Settings = Required<Omit<RetryingFetchOptions, 'key' | 'onRetry' | 'fetch'>> &
  Pick<RetryingFetchOptions, 'key' | 'onRetry' | 'fetch'>;

const defaults = {
  key: undefined,
  header: 'Idempotency-Key',
  quote: false,
  onRetry: undefined,
  fetch: undefined,
};

export const defaultTiming: Timing = {
  maxAttempts: 5,
  baseDelayMs: 250,
  maxDelayMs: 20_000,
  attemptTimeoutMs: 30_000,
  deadlineMs: 60_000,
  clock: systemClock,
  random: Math.random,
};

/** Names every option: the compiler refuses one that is missing here. */
const names = Object.keys({ ...defaults, ...defaultTiming } satisfies {
  [Name in keyof Required<RetryingFetchOptions>]: RetryingFetchOptions[Name];
});

export function resolveOptions(options: RetryingFetchOptions = {}): Settings {
  checkKnown('', options, names);
  const { key } = options;
  if (key !== undefined && !(typeof key === 'string' && printable.test(key) && key.trim() !== '')) {
    // The key is not shown, because it may be personal data.
    const what = typeof key === 'string' ? `a string of ${key.length} characters` : kindOf(key);
    throw new IdempotencyError(
      'BAD_KEY',
      `Expected option \`key\` to be 1 to 255 printable ASCII characters, not all blank, got ${what}. Use \`newIdempotencyKey()\`, or a hash of what you have.`,
    );
  }
  check('header', options.header, 'the name of a header', isToken);
  check('quote', options.quote, 'true or false', isBoolean);
  checkTiming(options);
  check('onRetry', options.onRetry, 'a function', isFunction);
  check('fetch', options.fetch, 'a function', isFunction);

  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const settings: Settings = { ...defaults, ...defaultTiming, ...given };
  checkDelays(settings);
  return settings;
}

/** How often to try, and how long that may take. */
export type Timing = Required<
  Pick<
    RetryingFetchOptions,
    'maxAttempts' | 'baseDelayMs' | 'maxDelayMs' | 'attemptTimeoutMs' | 'deadlineMs' | 'clock' | 'random'
  >
>;

/** @throws `BAD_OPTION` */
export function checkTiming(options: Partial<Timing>): void {
  check('maxAttempts', options.maxAttempts, 'an integer from 1 to 100', (value) => {
    return Number.isInteger(value) && isBetween(value, 0, 100);
  });
  for (const name of ['baseDelayMs', 'maxDelayMs'] as const) {
    check(name, options[name], `milliseconds from 0 to ${maxTimerMs}`, (value) => {
      return value === 0 || isBetween(value, 0, maxTimerMs);
    });
  }
  for (const name of ['attemptTimeoutMs', 'deadlineMs'] as const) {
    check(name, options[name], `milliseconds above 0 up to ${maxTimerMs}, or Infinity`, (value) => {
      return value === Number.POSITIVE_INFINITY || isBetween(value, 0, maxTimerMs);
    });
  }
  check('clock', options.clock, 'an object with the methods `now` and `after`', (value) => {
    return isFunction((value as RetryClock | null)?.now) && isFunction((value as RetryClock).after);
  });
  check('random', options.random, 'a function', isFunction);
}

/** @throws `BAD_OPTION` */
export function checkDelays({ baseDelayMs, maxDelayMs }: Timing): void {
  if (baseDelayMs > maxDelayMs) {
    throw new IdempotencyError(
      'BAD_OPTION',
      `Option \`baseDelayMs\` (${baseDelayMs}) is above \`maxDelayMs\` (${maxDelayMs}). Lower one or raise the other.`,
    );
  }
}

/** RFC 9110 §5.6.2. */
const isToken = (value: unknown): boolean =>
  typeof value === 'string' && /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(value);

// --- The key ---

const printable = /^[\x20-\x7e]{1,255}$/;
