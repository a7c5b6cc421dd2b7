import type { Context } from 'aws-lambda';
import { afterActing } from './errors.ts';
import { begin } from './guard.ts';
import type { Guard } from './namespace.ts';
import type { GuardSettings } from './options.ts';
import type { Run } from './run.ts';

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

/** A Middy middleware, for Middy 6 and 7. */
export interface IdempotentMiddleware {
  before(request: MiddyRequest): Promise<void>;
  after(request: MiddyRequest): Promise<void>;
  onError(request: MiddyRequest): Promise<void>;
}

export function idempotentMiddleware(settings: GuardSettings): IdempotentMiddleware {
  const byHand: Guard<GuardSettings> = { settings, subject: {} };
  /** The use whose members are being read. */
  let reading = { isChain: false };
  // By request, not in a variable of this closure: one sandbox may serve concurrent requests.
  const chains = new WeakMap<object, Chain>();

  const beforeOf = (guard: () => Guard<GuardSettings>) =>
    async function before(request: MiddyRequest): Promise<void> {
      // In this order: the other one is how Middy calls the handler, and an outer guard in the chain is watching.
      const { context, event } = request;
      const begun = await begin(guard(), event, context);
      if (begun.kind === 'answer') {
        // The property and not a returned value, for an answer may be `undefined`.
        request.earlyResponse = begun.answer;
        return;
      }
      request.event = begun.event;
      request.context = begun.context;
      chains.set(request, new Chain(request, begun.run));
    };
  // Middy reads a returned value as an early answer, so neither of these may return one.
  async function after(request: MiddyRequest): Promise<void> {
    await chains.get(request)?.ended();
  }
  async function onError(request: MiddyRequest): Promise<void> {
    // Middy calls every onError, also for a request whose claim we did not win or have settled already.
    await chains.get(request)?.failed();
    chains.get(request)?.completeAnswer();
  }

  // `use()` reads all three members, once for a chain: so two chains that share this object are told apart. Whoever reads and
  // calls them one by one is one guard.
  return {
    get before() {
      const use = { isChain: false };
      reading = use;
      return beforeOf(() => (use.isChain ? { settings, subject: use } : byHand));
    },
    get after() {
      return after;
    },
    get onError() {
      reading.isChain = true;
      return onError;
    },
  };
}

/**
 * A request's way through the other middlewares, up to the end of its claim.
 *
 * An inner middleware can end the chain early, and then neither our `after` nor our `onError` runs: Middy assigns
 * `request.earlyResponse` to `request.response` and returns that. So `response` becomes an accessor which, once
 * `earlyResponse` is there, reads as a promise that settles the claim before it yields the answer. Middy awaits it.
 * `error` becomes one too, because only what is assigned first says what happened: `http-error-handler` replaces it.
 * `event` and `context` become accessors to see the handler called: `handler(request.event, request.context, …)`. What is
 * assigned to `response` before that is another middleware's, not what the handler returned.
 */
class Chain {
  readonly #request: MiddyRequest;
  readonly #run: Run;
  /** Whether the handler may have been called: certainly not while this is false. */
  #called = false;
  /** Whether the handler has returned: Middy has assigned `response` before any early answer or error. */
  #returned = false;
  #result: unknown;
  /** Both before the last assignment to `response`. */
  #before: { readonly returned: boolean; readonly result: unknown } = { returned: false, result: undefined };
  #thrown: { readonly error: unknown } | undefined;
  #settled = false;

  constructor(request: MiddyRequest, run: Run) {
    this.#request = request;
    this.#run = run;
    this.#watchCall();
    this.#watchResponse();
    this.#watchError();
  }

  /** All went well: stores the final answer, with everything that inner middlewares added. */
  async ended(): Promise<void> {
    if (this.#settled) return;
    this.#settled = true;
    const answer = this.#request.response;
    const final = await this.#run.returned(answer);
    if (final !== answer) this.#request.response = final;
  }

  async failed(): Promise<void> {
    if (this.#settled) return;
    this.#settled = true;
    const thrown = this.#thrown?.error;
    if (this.#returned) {
      await this.#run.returnedInVain(this.#result);
      return this.#leave(afterActing(thrown));
    }
    const ended = await this.#run.threw(thrown);
    if (ended.kind === 'answer') this.#request.response = ended.answer;
    // A `before` threw: the handler has done nothing.
    else if (this.#called) this.#leave(ended.error);
  }

  /** Middy throws what is in `error`, unless a later `onError` answers. */
  #leave(error: unknown): void {
    if (error !== this.#thrown?.error && this.#request.error === this.#thrown?.error)
      this.#request.error = error;
  }

  /** An inner `onError` has made an answer of the error. */
  completeAnswer(): void {
    const { response } = this.#request;
    if (response !== undefined && this.#run.completed) this.#request.response = this.#run.completed(response);
  }

  async #endedEarly(): Promise<unknown> {
    const { earlyResponse } = this.#request;
    const answer = () => (this.#run.completed ? this.#run.completed(earlyResponse) : earlyResponse);
    if (this.#thrown) {
      await this.failed();
      // An `onError` cannot answer with `undefined`: Middy throws the error then, and would take our promise for an answer.
      if (earlyResponse === undefined) throw this.#request.error;
      return answer();
    }
    this.#settled = true;
    if (this.#returned) return this.#run.returned(earlyResponse);
    // A `before` answered, so the handler has not run: the key stays free for a corrected request.
    await this.#run.threw(undefined);
    return answer();
  }

  #watchCall(): void {
    let eventWasJustRead = false;
    watch(this.#request, 'event', () => {
      eventWasJustRead = true;
      // Middy evaluates its two arguments at once; what is read in another turn belongs to something else.
      queueMicrotask(() => {
        eventWasJustRead = false;
      });
    });
    watch(this.#request, 'context', () => {
      this.#called ||= eventWasJustRead;
    });
  }

  #watchResponse(): void {
    const request = this.#request;
    const { read, write } = beneath(request, 'response');
    let early: Promise<unknown> | undefined;
    let isOver = false;
    const settleEarly = async () => {
      try {
        const answer = await this.#endedEarly();
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
        if (this.#settled && early === undefined) return read();
        early ??= settleEarly();
        return early;
      },
      set: (assigned) => {
        this.#before = { returned: this.#returned, result: this.#result };
        // What an `onError` assigns is an answer made from an error.
        if (this.#called && !('earlyResponse' in request) && !this.#thrown) {
          this.#returned = true;
          this.#result = assigned;
        }
        write(assigned);
      },
    });
  }

  #watchError(): void {
    const { read, write } = beneath(this.#request, 'error');
    Object.defineProperty(this.#request, 'error', {
      configurable: true,
      enumerable: true,
      get: read,
      set: (error) => {
        if (!this.#thrown) {
          this.#thrown = { error };
          // Middy resets `response` just before: that assignment was not the handler's.
          this.#returned = this.#before.returned;
          this.#result = this.#before.result;
        }
        write(error);
      },
    });
  }
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
