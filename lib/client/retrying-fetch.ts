import { IdempotencyError } from '../errors.ts';
import { check, checkKnown, isBetween, isBoolean, isFunction, kindOf } from '../validate.ts';

/** How {@link retryingFetch} names the operation, how often it tries, and how long that may take. */
export interface RetryingFetchOptions {
  /**
   * The idempotency key: 1 to 255 printable ASCII characters. Give one that you stored where the operation is to
   * survive a reload.
   *
   * @default the one in the request's headers, else `newIdempotencyKey()`
   */
  readonly key?: string;
  /**
   * The header that carries the key.
   *
   * @default 'Idempotency-Key'
   */
  readonly header?: string;
  /**
   * Sends the key as a quoted string (`"k"`), as the IETF draft demands, and not bare (`k`), as most APIs document it.
   * idemkit takes both for the same key, unless `http.keySyntax` is `strict`. A key that is in the headers already is
   * sent as it stands.
   *
   * @default false
   */
  readonly quote?: boolean;
  /**
   * How often the request is sent at most, the first time included. 1 to 100.
   *
   * @default 5
   */
  readonly maxAttempts?: number;
  /**
   * A wait is a random part of `baseDelayMs`, of twice that after the second attempt, and so on up to `maxDelayMs`.
   *
   * @default 250
   */
  readonly baseDelayMs?: number;
  /**
   * Ceiling of the random part of a wait. `Retry-After` comes on top.
   *
   * @default 20_000
   */
  readonly maxDelayMs?: number;
  /**
   * How long one attempt waits for the head of its answer. `Infinity`: as long as the whole.
   *
   * @default 30_000
   */
  readonly attemptTimeoutMs?: number;
  /**
   * How long the whole may take: all attempts and the waits between them. `Infinity`: no limit.
   *
   * @default 60_000
   */
  readonly deadlineMs?: number;
  /** Told before each wait. An error thrown here ends the retrying, and is what the caller gets. */
  readonly onRetry?: (retry: Retry) => void;
  /**
   * What sends the requests.
   *
   * @default the global `fetch`
   */
  readonly fetch?: (input: string | Request, init?: RequestInit) => Promise<Response>;
  /**
   * Time, for tests.
   *
   * @default the platform's
   */
  readonly clock?: RetryClock;
  /**
   * Numbers from 0 to below 1, for tests.
   *
   * @default Math.random
   */
  readonly random?: () => number;
}

/** Why and when a request is about to be sent again. */
export type Retry = {
  /** The attempt that failed, from 1. */
  readonly attempt: number;
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

/**
 * No answer came in time. Named `TimeoutError`, as the reason of the platform's `AbortSignal.timeout` is. The request
 * may have been carried out: only the same key tells.
 */
export class RequestTimeoutError extends Error {
  override readonly name = 'TimeoutError';
  /** Which limit it was: `attemptTimeoutMs` of the last attempt allowed, or `deadlineMs`. */
  readonly limit: 'attempt' | 'deadline';
  /** How many attempts were begun. */
  readonly attempts: number;
  /** The key of all attempts, for sending the request again later. */
  readonly key: string;

  constructor(
    limit: 'attempt' | 'deadline',
    afterMs: number,
    attempts: number,
    key: string,
    cause?: unknown,
  ) {
    const option = limit === 'attempt' ? 'attemptTimeoutMs' : 'deadlineMs';
    const effect =
      attempts === 0
        ? 'Nothing has been sent.'
        : 'The request may have been carried out: send it again with the same key to find out.';
    super(
      `No answer within ${afterMs} ms (\`${option}\`), in attempt ${attempts}. ${effect}`,
      cause === undefined ? undefined : { cause },
    );
    this.limit = limit;
    this.attempts = attempts;
    this.key = key;
  }
}

let lastMs = 0;
let counter = 0;

/**
 * A new UUIDv7. Each one sorts after all that this process or page made before.
 *
 * RFC 9562 §6.2, method 1: `rand_a` is a 12-bit counter that starts at a random number below 2048 in each millisecond.
 * When it is used up, or when the clock stands still or steps back, the timestamp runs ahead of the clock.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9562#section-6.2
 */
export function newIdempotencyKey(): string {
  // `crypto.randomUUID` is missing from pages without TLS; this is not.
  const random = crypto.getRandomValues(new Uint8Array(10));
  const seed = hex(random.subarray(0, 2));
  const nowMs = Date.now();
  if (nowMs <= lastMs && counter < 0xfff) {
    counter++;
  } else {
    lastMs = Math.max(nowMs, lastMs + 1);
    counter = Number.parseInt(seed, 16) & 0x7ff;
  }
  const time = lastMs.toString(16).padStart(12, '0');
  const count = counter.toString(16).padStart(3, '0');
  const tail = hex(random.subarray(2));
  const variant = (8 + (Number.parseInt(tail.charAt(0), 16) & 3)).toString(16);
  return `${time.slice(0, 8)}-${time.slice(8)}-7${count}-${variant}${tail.slice(1, 4)}-${tail.slice(4)}`;
}

const hex = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');

/**
 * `fetch` that sends a request again, under one idempotency key, for as long as its outcome is not known: after network
 * errors and timeouts, 409 while the operation is in progress, 425, 429 and 5xx. Waits with full jitter, and never less
 * than `Retry-After` says.
 *
 * Resolves to the first answer that is final. When attempts or time run out between attempts it resolves to the last
 * answer, or throws the last network error.
 *
 * @throws {RequestTimeoutError} when the deadline comes during an attempt, or the last attempt timed out.
 * @throws {IdempotencyError} before anything is sent: `BAD_OPTION`, `BAD_KEY`, or `UNSUPPORTED` for what cannot be sent
 * twice.
 * @throws the reason of the caller's `signal`, at once, also during a wait.
 *
 * @example
 * const response = await retryingFetch('/payments', { method: 'POST', body: JSON.stringify({ amount: 100 }) });
 */
export async function retryingFetch(
  input: string | URL | Request,
  init: RequestInit = {},
  options?: RetryingFetchOptions,
): Promise<Response> {
  const settings = resolve(options);
  const draft = prepare(settings, input, init);
  const { key } = draft;
  const { clock, deadlineMs } = settings;

  let attempt = 0;
  let lastError: unknown;
  const deadline = new AbortController();
  const signal = anyOf(draft.signal, deadline.signal);
  signal.throwIfAborted();
  const endsAtMs = clock.now() + deadlineMs;
  const stopDeadline = clock.after(deadlineMs, () =>
    deadline.abort(new RequestTimeoutError('deadline', deadlineMs, attempt, key, lastError)),
  );

  try {
    const send = await withBody(settings, draft, signal);
    for (;;) {
      attempt++;
      const outcome = await tryOnce(settings, send, signal, attempt, key);
      lastError = outcome.error;
      const delayMs = (outcome.retryAfterMs ?? 0) + backoffMs(settings, attempt);
      const isLast = attempt >= settings.maxAttempts || clock.now() + delayMs >= endsAtMs;
      if (outcome.isFinal || isLast) {
        if (outcome.response) return outcome.response;
        throw outcome.error;
      }

      const { response, error } = outcome;
      try {
        settings.onRetry?.({ attempt, delayMs, key, ...(response ? { response } : { error }) });
      } finally {
        discard(response);
      }
      await pause(clock, delayMs, signal);
    }
  } finally {
    stopDeadline();
  }
}

// --- One attempt ---

type Outcome = { readonly isFinal: boolean; readonly retryAfterMs?: number | undefined } & (
  | { readonly response: Response; readonly error?: undefined }
  | { readonly error: unknown; readonly response?: undefined }
);

async function tryOnce(
  { clock, attemptTimeoutMs }: Settings,
  send: (signal: AbortSignal) => Promise<Response>,
  signal: AbortSignal,
  attempt: number,
  key: string,
): Promise<Outcome> {
  const timeout = new AbortController();
  const stopTimeout = clock.after(attemptTimeoutMs, () =>
    timeout.abort(new RequestTimeoutError('attempt', attemptTimeoutMs, attempt, key)),
  );
  try {
    const response = await send(anyOf(signal, timeout.signal));
    const retryAfterMs = retryAfterMsOf(response.headers, clock.now());
    return { response, retryAfterMs, isFinal: !(await mayChange(response, retryAfterMs)) };
  } catch (error) {
    signal.throwIfAborted();
    if (timeout.signal.aborted) return { error: timeout.signal.reason, isFinal: false };
    // By name: a test runner's realm has a TypeError of its own.
    return { error, isFinal: (error as Error | undefined)?.name !== 'TypeError' };
  } finally {
    stopTimeout();
  }
}

const inProgressCodes: readonly unknown[] = ['IN_PROGRESS', 'OVERTAKEN', 'idempotency_key_in_use'];

/** Whether the same request may get another answer later. */
async function mayChange(response: Response, retryAfterMs: number | undefined): Promise<boolean> {
  const { status, headers } = response;
  // The operation's stored answer: every repeat gets it.
  if (headers.get('Idempotent-Replayed') === 'true') return false;
  if (status === 409) return retryAfterMs !== undefined || inProgressCodes.includes(await codeOf(response));
  if (status === 501 || status === 505) return false;
  return status === 425 || status === 429 || status >= 500;
}

/** The `code` of a problem (RFC 9457), or of an error in Stripe's shape; leaves the body to the caller. */
async function codeOf(response: Response): Promise<unknown> {
  if (!/[/+]json\b/i.test(response.headers.get('Content-Type') ?? '')) return undefined;
  const text = await response.clone().text();
  try {
    const body = JSON.parse(text);
    return body?.code ?? body?.error?.code;
  } catch {
    return undefined;
  }
}

function retryAfterMsOf(headers: Headers, nowMs: number): number | undefined {
  const value = headers.get('Retry-After') ?? '';
  if (/^\d+$/.test(value)) return Number(value) * 1000;
  const atMs = httpDateMs(value);
  // By the server's own clock where it tells it: the caller's may be wrong.
  return atMs === undefined ? undefined : Math.max(0, atMs - (httpDateMs(headers.get('Date')) ?? nowMs));
}

/** `Date.parse` alone takes nearly anything for a date. */
function httpDateMs(text: string | null): number | undefined {
  const ms = /^[A-Z][a-z]+, .+ GMT$/.test(text ?? '') ? Date.parse(text ?? '') : Number.NaN;
  return Number.isNaN(ms) ? undefined : ms;
}

const backoffMs = ({ random, baseDelayMs, maxDelayMs }: Settings, attempt: number): number =>
  random() * Math.min(maxDelayMs, baseDelayMs * 2 ** (attempt - 1));

/** An unread body would keep its connection. */
function discard(response: Response | undefined): void {
  response?.body?.cancel().catch(() => {
    // Already broken, or being read by `onRetry`.
  });
}

// --- The request ---

interface Draft {
  readonly input: string | Request;
  readonly init: RequestInit;
  readonly headers: Headers;
  readonly key: string;
  readonly signal: AbortSignal | undefined;
}

/** Takes down what the request is, before the caller can change it; refuses what cannot be sent twice. */
function prepare(settings: Settings, input: string | URL | Request, init: RequestInit): Draft {
  const request = isRequest(input) ? input : undefined;
  const url = request ? undefined : String(input);
  if ((init.mode ?? request?.mode) === 'no-cors') {
    throw new IdempotencyError(
      'UNSUPPORTED',
      'The mode `no-cors` drops the header that carries the key. Use `cors`, and let the API allow the header.',
    );
  }
  if (isOneShot(init.body)) {
    throw new IdempotencyError(
      'UNSUPPORTED',
      'A stream can be sent once only, and a retry has to send it again. Buffer it: `body: await new Response(stream).arrayBuffer()`.',
    );
  }
  if (request?.bodyUsed && !hasBody(init.body)) {
    throw new IdempotencyError(
      'UNSUPPORTED',
      'The body of this Request has been read already, so it cannot be sent. Pass `request.clone()` to what reads it first.',
    );
  }

  const headers = new Headers(init.headers ?? request?.headers);
  const key = setKey(settings, headers);
  if (url !== undefined && !settings.fetch) {
    // What `fetch` would refuse time and again, it refuses here: a malformed URL, a GET with a body.
    void new Request(url, { ...init, headers, body: hasBody(init.body) ? '' : null, signal: null });
  }
  return {
    input: request ?? (url as string),
    // Given together with a Request, an `init` resets these two.
    init: { ...(request && { referrer: request.referrer, referrerPolicy: request.referrerPolicy }), ...init },
    headers,
    key,
    signal: (init.signal === undefined ? request?.signal : init.signal) ?? undefined,
  };
}

/** What sends the request, with the same bytes each time. */
async function withBody(
  settings: Settings,
  { input, init, headers }: Draft,
  signal: AbortSignal,
): Promise<(signal: AbortSignal) => Promise<Response>> {
  let body = init.body;
  if (body instanceof FormData) {
    // Encoded once: `fetch` would draw a new boundary for each attempt.
    const form = new Response(body);
    body = await orAborted(form.blob(), signal);
    if (!headers.has('Content-Type')) headers.set('Content-Type', form.headers.get('Content-Type') ?? '');
  } else if (hasBody(body)) {
    body = copyOf(body);
  } else if (typeof input !== 'string' && input.body !== null && !/^(?:GET|HEAD)$/.test(input.method)) {
    // Whether it was made of a text or of a stream, a Request does not tell; Firefox's has no `body` to look at either.
    body = await orAborted(input.arrayBuffer(), signal);
  }
  // Detached: a browser's `fetch` refuses to be called as a method.
  const send = settings.fetch ?? fetch;
  return async (attemptSignal) =>
    send(input, {
      ...init,
      ...(hasBody(body) && { body }),
      headers: new Headers(headers),
      signal: attemptSignal,
    });
}

const isRequest = (input: unknown): input is Request =>
  typeof input === 'object' && input !== null && 'bodyUsed' in input;

type Body = RequestInit['body'];

const hasBody = (body: Body): body is NonNullable<Body> => body !== undefined && body !== null;

/** Streams of the web and of Node, and what yields its parts asynchronously. */
function isOneShot(body: unknown): boolean {
  return (
    typeof body === 'object' &&
    body !== null &&
    ['getReader', 'pipe', Symbol.asyncIterator].some((name) => isFunction(Reflect.get(body, name)))
  );
}

function copyOf(body: NonNullable<Body>): NonNullable<Body> {
  if (body instanceof URLSearchParams) return new URLSearchParams(body);
  if (body instanceof ArrayBuffer) return body.slice(0);
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength).slice();
  return body;
}

// --- The key ---

const printable = /^[\x20-\x7e]{1,255}$/;
/** What idemkit and APIs like it take unquoted. */
const bareKey = /^[\x21\x23-\x2b\x2d-\x7e]+$/;

/** Puts the key into the headers, if it is not there, and returns it. */
function setKey({ key, header, quote }: Settings, headers: Headers): string {
  const sent = headers.get(header);
  if (sent !== null) {
    const found = /^"(.*)"$/.exec(sent)?.[1]?.replace(/\\(["\\])/g, '$1') ?? sent;
    if (found.trim() === '') {
      throw new IdempotencyError('BAD_KEY', `The header ${header} is blank. Leave it out, or give it a key.`);
    }
    if (key !== undefined && key !== found) {
      throw new IdempotencyError(
        'BAD_KEY',
        `The header ${header} and option \`key\` name two different keys. Give one of them.`,
      );
    }
    return found;
  }
  const fresh = key ?? newIdempotencyKey();
  if (!quote && !bareKey.test(fresh)) {
    throw new IdempotencyError(
      'BAD_KEY',
      'Option `key` holds a space, a comma or a double quote, so it cannot be sent bare. Set `quote: true`, or use `newIdempotencyKey()`.',
    );
  }
  headers.set(header, quote ? `"${fresh.replace(/["\\]/g, '\\$&')}"` : fresh);
  return fresh;
}

// --- Options ---

type Settings = Required<Omit<RetryingFetchOptions, 'key' | 'onRetry' | 'fetch'>> &
  Pick<RetryingFetchOptions, 'key' | 'onRetry' | 'fetch'>;

const defaults = {
  key: undefined,
  header: 'Idempotency-Key',
  quote: false,
  maxAttempts: 5,
  baseDelayMs: 250,
  maxDelayMs: 20_000,
  attemptTimeoutMs: 30_000,
  deadlineMs: 60_000,
  onRetry: undefined,
  fetch: undefined,
  clock: undefined,
  random: undefined,
} satisfies { [Name in keyof Required<RetryingFetchOptions>]: RetryingFetchOptions[Name] };

function resolve(options: RetryingFetchOptions = {}): Settings {
  checkKnown('', options, Object.keys(defaults));
  const { key } = options;
  if (key !== undefined && !(typeof key === 'string' && printable.test(key) && key.trim() !== '')) {
    // Not shown: it may be personal data.
    const what = typeof key === 'string' ? `a string of ${key.length} characters` : kindOf(key);
    throw new IdempotencyError(
      'BAD_KEY',
      `Expected option \`key\` to be 1 to 255 printable ASCII characters, not all blank, got ${what}. Use \`newIdempotencyKey()\`, or a hash of what you have.`,
    );
  }
  check('header', options.header, 'the name of a header', isToken);
  check('quote', options.quote, 'true or false', isBoolean);
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
  check('onRetry', options.onRetry, 'a function', isFunction);
  check('fetch', options.fetch, 'a function', isFunction);
  check('clock', options.clock, 'an object with the methods `now` and `after`', (value) => {
    return isFunction((value as RetryClock | null)?.now) && isFunction((value as RetryClock).after);
  });
  check('random', options.random, 'a function', isFunction);

  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const settings: Settings = { ...defaults, clock: systemClock, random: Math.random, ...given };
  if (settings.baseDelayMs > settings.maxDelayMs) {
    throw new IdempotencyError(
      'BAD_OPTION',
      `Option \`baseDelayMs\` (${settings.baseDelayMs}) is above \`maxDelayMs\` (${settings.maxDelayMs}). Lower the one or raise the other.`,
    );
  }
  return settings;
}

/** RFC 9110 §5.6.2. */
const isToken = (value: unknown): boolean =>
  typeof value === 'string' && /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(value);

// --- Time ---

/** Timers that are set for longer fire at once. */
const maxTimerMs = 2_147_483_647;

const systemClock: RetryClock = {
  // Does not jump when the system's clock is set.
  now: () => performance.timeOrigin + performance.now(),
  after(ms, callback) {
    const timer = setTimeout(callback, Math.min(ms, maxTimerMs));
    return () => clearTimeout(timer);
  },
};

function anyOf(first: AbortSignal | undefined, second: AbortSignal): AbortSignal {
  return first ? AbortSignal.any([first, second]) : second;
}

function pause(clock: RetryClock, ms: number, signal: AbortSignal): Promise<void> {
  let cancel = (): void => {};
  const over = new Promise<void>((resolve) => {
    cancel = clock.after(ms, resolve);
  });
  return orAborted(over, signal).finally(cancel);
}

async function orAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let stop = (): void => {};
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(signal.reason);
    if (signal.aborted) stop();
    else signal.addEventListener('abort', stop, { once: true });
  });
  try {
    return await Promise.race([promise, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}
