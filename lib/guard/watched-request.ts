// biome-ignore-all lint/suspicious/noExplicitAny: Middy types an answer and an error so, and other middlewares set them
/**
 * Watches how Middy uses the request of one call. Middy tells a middleware too little, so four properties become accessors:
 *
 * - `response`: an inner middleware can end the chain early. Middy then assigns `request.earlyResponse` to
 *   `request.response`, returns that, and calls neither our `after` nor our `onError`. So once there is an `earlyResponse`,
 *   `response` reads as a promise that settles the claim and then yields the answer. Middy awaits it.
 * - `error`: only the first error says what happened. `http-error-handler` replaces it by another.
 * - `event` and `context`: Middy calls `handler(request.event, request.context, …)`, and nobody else reads the two in this
 *   order, one directly after the other. A `response` that is assigned before that is not the handler's.
 */
import type { Context } from 'aws-lambda';

/** The part of Middy's request that the middleware touches. Middy is never imported: it may not be installed. */
export interface MiddyRequest {
  event: unknown;
  context: Context;
  response: any;
  earlyResponse?: any;
  error: any;
  // Any other type would change the type of the handler that the middleware is used on.
  // biome-ignore lint/complexity/noBannedTypes: Middy's own type here
  internal: {};
}

/** Is told what Middy does with the request. */
interface Watcher {
  /** Middy is calling the handler, as far as can be told. Before this it has certainly not called it. */
  called(): void;
  /** @param isEarly whether a middleware has ended the chain with an answer of its own */
  responded(response: unknown, isEarly: boolean): void;
  failed(error: unknown): void;
  isSettled(): boolean;
  /** Settles the claim of a chain that ended early. Resolves to what Middy must answer. */
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
    // Middy reads both arguments in one turn. A read in a later turn is somebody else's.
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
      // An outer guard in the same chain must store what this guard answers.
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

/** Calls `onRead` at each read of a property, and changes nothing else. */
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

/** Reads and writes what a property holds before it becomes an accessor: a value, or the accessor of an outer guard. */
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
