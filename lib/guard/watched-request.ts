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
export interface Watcher {
  /** Middy is calling the handler, as far as can be told. Before this it has certainly not called it. */
  onCall(): void;
  /** @param isEarly whether a middleware has ended the chain with an answer of its own */
  onResponse(response: unknown, isEarly: boolean): void;
  onError(error: unknown): void;
  readonly isSettled: boolean;
  /** Settles the claim of a chain that ended early. Resolves to what Middy must answer. */
  settleEarly(): Promise<unknown>;
}

/** The properties that are watched. */
type Watched = Pick<MiddyRequest, 'event' | 'context' | 'response' | 'error'>;

// Registered, so that two copies of the package see each other's guards.
const innermost = Symbol.for('idemkit.watched');

interface WatchedRequest extends MiddyRequest {
  [innermost]?: Watched;
}

export function watchRequest(request: WatchedRequest, watcher: Watcher): void {
  const outer = request[innermost];
  if (outer) {
    request[innermost] = new Watch(request, watcher, outer);
    return;
  }
  const { context, event, response, error } = request;
  const watch = new Watch(request, watcher, { event, context, response, error });
  Object.defineProperty(request, innermost, { value: watch, writable: true });
  // One by one, which takes half the time.
  for (const [name, descriptor] of accessors) Object.defineProperty(request, name, descriptor);
}

/** Shared by all requests: V8 keeps a request alive for long whose accessors are its own. */
const accessors = (['event', 'context', 'response', 'error'] as const).map(
  (name) => [name, accessor(name)] as const,
);

function accessor(name: keyof Watched): PropertyDescriptor {
  return {
    configurable: true,
    enumerable: true,
    get(this: { readonly [innermost]: Watched }) {
      return this[innermost][name];
    },
    set(this: { readonly [innermost]: Watched }, value) {
      this[innermost][name] = value;
    },
  };
}

const soon = Promise.resolve();

/** A request's properties as one guard watches them. */
class Watch implements Watched {
  readonly #request: MiddyRequest;
  readonly #watcher: Watcher;
  /** The properties as the guard around this one watches them; what they hold, where there is none. */
  readonly #beneath: Watched;
  #eventWasJustRead = false;
  #early: Promise<unknown> | undefined;
  #isOver = false;

  constructor(request: MiddyRequest, watcher: Watcher, beneath: Watched) {
    this.#request = request;
    this.#watcher = watcher;
    this.#beneath = beneath;
  }

  get event(): unknown {
    this.#eventWasJustRead = true;
    // Middy reads both arguments in one turn. A read in a later turn is somebody else's.
    void soon.then(() => {
      this.#eventWasJustRead = false;
    });
    return this.#beneath.event;
  }
  set event(event) {
    this.#beneath.event = event;
  }

  get context(): Context {
    if (this.#eventWasJustRead) this.#watcher.onCall();
    return this.#beneath.context;
  }
  set context(context) {
    this.#beneath.context = context;
  }

  get response(): any {
    if (this.#isOver || !('earlyResponse' in this.#request)) return this.#beneath.response;
    if (this.#watcher.isSettled && this.#early === undefined) return this.#beneath.response;
    this.#early ??= this.#settleEarly();
    return this.#early;
  }
  set response(response) {
    this.#watcher.onResponse(response, 'earlyResponse' in this.#request);
    this.#beneath.response = response;
  }

  get error(): any {
    return this.#beneath.error;
  }
  set error(error) {
    this.#watcher.onError(error);
    this.#beneath.error = error;
  }

  async #settleEarly(): Promise<unknown> {
    try {
      const answer = await this.#watcher.settleEarly();
      // An outer guard in the same chain must store what this guard answers.
      this.#request.earlyResponse = answer;
      this.#beneath.response = answer;
    } finally {
      this.#isOver = true;
    }
    return this.#beneath.response;
  }
}
