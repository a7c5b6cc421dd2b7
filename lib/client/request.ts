/** The request that every attempt sends: copied once, with its key, so that each attempt sends the same bytes. */
import { IdempotencyError } from '../errors.ts';
import { isFunction } from '../validate.ts';
import { newIdempotencyKey } from './new-key.ts';
import type { Settings } from './options.ts';
import { orAborted } from './waiting.ts';

// --- The request ---

interface Draft {
  readonly input: string | Request;
  readonly init: RequestInit;
  readonly headers: Headers;
  readonly key: string;
  readonly signal: AbortSignal | undefined;
}

/**
 * Copies the request before the caller can change it.
 *
 * @throws `UNSUPPORTED` where it cannot be sent twice, `BAD_KEY`, and what `fetch` itself would refuse in every attempt
 */
export function prepare(settings: Settings, input: string | URL | Request, init: RequestInit): Draft {
  const request = isRequest(input) ? input : undefined;
  const url = request ? undefined : String(input);
  refuseUnrepeatable(request, init);
  const headers = new Headers(init.headers ?? request?.headers);
  const key = setKey(settings, headers);
  if (url !== undefined && !settings.fetch) {
    // Throws for a malformed URL or a GET with a body.
    void new Request(url, { ...init, headers, body: hasBody(init.body) ? '' : null, signal: null });
  }
  return {
    input: request ?? (url as string),
    // An `init` beside a Request resets these two.
    init: { ...(request && { referrer: request.referrer, referrerPolicy: request.referrerPolicy }), ...init },
    headers,
    key,
    signal: (init.signal === undefined ? request?.signal : init.signal) ?? undefined,
  };
}

function refuseUnrepeatable(request: Request | undefined, init: RequestInit): void {
  if ((init.mode ?? request?.mode) === 'no-cors') {
    throw new IdempotencyError(
      'UNSUPPORTED',
      'The mode `no-cors` drops the header that carries the key. Use `cors`, and let the API allow the header.',
    );
  }
  if (isOneShot(init.body)) {
    throw new IdempotencyError(
      'UNSUPPORTED',
      'A stream can be sent only once, so it cannot be sent again. Buffer it: `body: await new Response(stream).arrayBuffer()`.',
    );
  }
  if (request?.bodyUsed && !hasBody(init.body)) {
    throw new IdempotencyError(
      'UNSUPPORTED',
      'The body of this Request has already been read, so it cannot be sent. Read `request.clone()` instead.',
    );
  }
}

/** Resolves to a function that sends the request, with the same bytes each time. */
export async function withBody(
  settings: Settings,
  { input, init, headers }: Draft,
  signal: AbortSignal,
): Promise<(signal: AbortSignal) => Promise<Response>> {
  let body = init.body;
  if (body instanceof FormData) {
    // Encoded here, because `fetch` would draw a new boundary for each attempt.
    const form = new Response(body);
    body = await orAborted(form.blob(), signal);
    if (!headers.has('Content-Type')) headers.set('Content-Type', form.headers.get('Content-Type') ?? '');
  } else if (hasBody(body)) {
    body = copyOf(body);
  } else if (typeof input !== 'string' && input.body !== null && !/^(?:GET|HEAD)$/.test(input.method)) {
    // A Request does not tell whether its body is a stream, so it is read in any case. In Firefox it has no `body` to look at.
    body = await orAborted(input.arrayBuffer(), signal);
  }
  // A variable, because a browser's `fetch` refuses to be called as a method of `settings`.
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

/** Whether a body is a stream of the web or of Node, or an async iterable. */
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

/** The keys that idemkit and similar APIs take without quotes. */
const bareKey = /^[\x21\x23-\x2b\x2d-\x7e]+$/;

/**
 * Returns the key in the headers, unquoted. If there is none, puts one in.
 *
 * @throws `BAD_KEY`
 */
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
