/**
 * Watches how Middy uses the request of one call, for Middy tells a middleware too little.
 *
 * - An inner middleware can end the chain early, and then neither our `after` nor our `onError` runs: Middy assigns
 *   `request.earlyResponse` to `request.response` and returns that. So `response` becomes an accessor which, once
 *   `earlyResponse` is there, reads as a promise that settles the claim before it yields the answer. Middy awaits it.
 * - Only the error that is assigned first says what happened: `http-error-handler` replaces it. So `error` becomes one, too.
 * - Middy calls the handler as `handler(request.event, request.context, …)`: both are read at once, in this order, and then
 *   only. What is assigned to `response` before that is another middleware's, not what the handler returned.
 */
import type { Context } from 'aws-lambda';

/** The part of Middy's request that the middleware touches; Middy itself is never imported, it may not be there. */
export interface MiddyRequest {
  event: unknown;
  context: Context;
  response: any;
  earlyResponse?: any;
  error: any;
  // Anything else would change the type of the handler that the middleware is used on.
  // biome-ignore lint/complexity/noBannedTypes: Middy's own type for "nothing in particular"
  internal: {};
}

/** Who is told. */
interface Watcher {
  /** The handler may have been called; certainly not before this. */
  called(): void;
  /** @param isEarly whether a middleware has ended the chain with an answer of its own */
  responded(response: unknown, isEarly: boolean): void;
  failed(error: unknown): void;
  isSettled(): boolean;
  /** Resolves to what Middy is to answer. */
  settleEarly(): Promise<unknown>;
}

export function watchRequest(request: MiddyRequest, watcher: Watcher): void {
  watchCall(request, watcher);
  watchResponse(request, watcher);
  watchError(request, watcher);
}

function watchCall(request: MiddyRequest, watcher: Watcher): void {
  let eventWasJustRead = false;
  watch(request, 'event', () => {
    eventWasJustRead = true;
    // Middy evaluates its two arguments at once; what is read in another turn belongs to something else.
    queueMicrotask(() => {
      eventWasJustRead = false;
    });
  });
  watch(request, 'context', () => {
    if (eventWasJustRead) watcher.called();
  });
}

function watchResponse(request: MiddyRequest, watcher: Watcher): void {
  const { read, write } = beneath(request, 'response');
  let early: Promise<unknown> | undefined;
  let isOver = false;
  const settleEarly = async () => {
    try {
      const answer = await watcher.settleEarly();
      // For an outer guard in the same chain: what it is to store is what this one answers with.
      request.earlyResponse = answer;
      write(answer);
    } finally {
      isOver = true;
    }
    return read();
  };

  Object.defineProperty(request, 'response', {
    configurable: true,
    enumerable: true,
    get: () => {
      if (isOver || !('earlyResponse' in request)) return read();
      if (watcher.isSettled() && early === undefined) return read();
      early ??= settleEarly();
      return early;
    },
    set: (response) => {
      watcher.responded(response, 'earlyResponse' in request);
      write(response);
    },
  });
}

function watchError(request: MiddyRequest, watcher: Watcher): void {
  const { read, write } = beneath(request, 'error');
  Object.defineProperty(request, 'error', {
    configurable: true,
    enumerable: true,
    get: read,
    set: (error) => {
      watcher.failed(error);
      write(error);
    },
  });
}

/** Tells of every read of a property, which otherwise stays as it is. */
function watch(request: MiddyRequest, name: 'event' | 'context', onRead: () => void): void {
  const { read, write } = beneath(request, name);
  Object.defineProperty(request, name, {
    configurable: true,
    enumerable: true,
    get: () => {
      onRead();
      return read();
    },
    set: write,
  });
}

/** What lies under an accessor about to be put on a request: a value, or the accessor of an outer guard. */
function beneath(request: MiddyRequest, name: 'event' | 'context' | 'response' | 'error') {
  const inherited = Object.getOwnPropertyDescriptor(request, name);
  let value: unknown = inherited?.value;
  return {
    read: (): unknown => (inherited?.get ? inherited.get.call(request) : value),
    write: (next: unknown): void => {
      if (inherited?.set) inherited.set.call(request, next);
      else value = next;
    },
  };
}
