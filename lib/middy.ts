import type { Context } from 'aws-lambda';
import { begin, type Guard, type Run } from './guard.ts';
import type { Settings } from './options.ts';

/** The part of Middy's request that the middleware touches; Middy itself is never imported, it may not be there. */
export interface MiddyRequest {
  event: unknown;
  context: Context;
  response: any;
  earlyResponse?: any;
  error: any;
  internal: any;
}

/** A Middy middleware, for Middy 6 and 7. */
export interface IdempotentMiddleware {
  before(request: MiddyRequest): Promise<void>;
  after(request: MiddyRequest): Promise<void>;
  onError(request: MiddyRequest): Promise<void>;
}

export function idempotentMiddleware(settings: Settings): IdempotentMiddleware {
  const guard: Guard = { settings, subject: {} };
  // By request, not in a variable of this closure: one sandbox may serve concurrent requests.
  const chains = new WeakMap<object, Chain>();

  return {
    async before(request) {
      const begun = await begin(guard, request.event, request.context);
      if (begun.kind === 'answer') {
        // The property and not a returned value, for an answer may be `undefined`.
        request.earlyResponse = begun.answer;
        return;
      }
      request.context = begun.context;
      chains.set(request, new Chain(request, begun.run));
    },
    // Middy reads a returned value as an early answer, so neither of these may return one.
    async after(request) {
      await chains.get(request)?.ended();
    },
    async onError(request) {
      // Middy calls every onError, also for a request whose claim we did not win or have settled already.
      await chains.get(request)?.failed();
    },
  };
}

/**
 * A request's way through the other middlewares, up to the end of its claim.
 *
 * An inner middleware can end the chain early, and then neither our `after` nor our `onError` runs: Middy assigns
 * `request.earlyResponse` to `request.response` and returns that. So `response` becomes an accessor which, once
 * `earlyResponse` is there, reads as a promise that settles the claim before it yields the answer. Middy awaits it.
 */
class Chain {
  readonly #request: MiddyRequest;
  readonly #run: Run;
  /** How often `response` was assigned before any early answer or error: by Middy, once the handler has returned. */
  #assignments = 0;
  #settled = false;

  constructor(request: MiddyRequest, run: Run) {
    this.#request = request;
    this.#run = run;
    this.#watchResponse();
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
    // Middy resets `response` when something throws: an assignment of its own.
    const handlerReturned = this.#assignments > 1;
    if (handlerReturned) await this.#run.returnedInVain();
    else await this.#run.threw(this.#request.error);
  }

  async #endedEarly(): Promise<unknown> {
    const { error, earlyResponse } = this.#request;
    if (error) {
      await this.failed();
      // An `onError` cannot answer with `undefined`: Middy throws the error then, and would take our promise for an answer.
      if (earlyResponse === undefined) throw error;
      return earlyResponse;
    }
    this.#settled = true;
    if (this.#assignments > 0) return this.#run.returned(earlyResponse);
    // A `before` answered, so the handler has not run: the key stays free for a corrected request.
    await this.#run.threw(undefined);
    return earlyResponse;
  }

  #watchResponse(): void {
    const request = this.#request;
    // Another guard in the same chain may have put its own accessor here: pass through it.
    const inherited = Object.getOwnPropertyDescriptor(request, 'response');
    let value: unknown = inherited?.value;
    const read = () => (inherited?.get ? inherited.get.call(request) : value);
    const write = (next: unknown) => {
      if (inherited?.set) inherited.set.call(request, next);
      else value = next;
    };
    let early: Promise<unknown> | undefined;
    let isOver = false;

    Object.defineProperty(request, 'response', {
      configurable: true,
      enumerable: true,
      get: () => {
        if (isOver || !('earlyResponse' in request)) return read();
        if (this.#settled && early === undefined) return read();
        early ??= this.#endedEarly().then((answer) => {
          isOver = true;
          write(answer);
          return read();
        });
        return early;
      },
      set: (assigned) => {
        // What an `onError` assigns is an answer made from an error.
        if (!('earlyResponse' in request) && !request.error) this.#assignments++;
        write(assigned);
      },
    });
  }
}
