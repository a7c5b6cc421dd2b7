import type { Guard, Run } from '../engine/index.ts';
import { afterActing } from '../errors.ts';
import { begin } from './begin.ts';
import type { GuardSettings } from './resolve-options.ts';
import { type MiddyRequest, type Watcher, watchRequest } from './watched-request.ts';

export type { MiddyRequest } from './watched-request.ts';

/** A Middy middleware, for Middy 6 and 7. */
export interface IdempotentMiddleware {
  before(request: MiddyRequest): Promise<void>;
  after(request: MiddyRequest): Promise<void>;
  onError(request: MiddyRequest): Promise<void>;
}

export function idempotentMiddleware(settings: GuardSettings): IdempotentMiddleware {
  const byHand: Guard<GuardSettings> = { settings, subject: {} };
  /** The `use()` that is reading our members now. */
  let reading = { isChain: false };
  // Kept on the request, for one process may serve concurrent requests. The garbage of a WeakMap is dear to collect.
  const ourCall = Symbol('idemkit.call');
  const callOf = (request: MiddyRequest) => (request as { readonly [ourCall]?: GuardedCall })[ourCall];

  const beforeOf = (guard: () => Guard<GuardSettings>) =>
    async function before(request: MiddyRequest): Promise<void> {
      // `context` first: to an outer guard in the chain, `event` and then `context` would look like a call of the handler.
      const { context, event } = request;
      const begun = await begin(guard(), event, context);
      if (begun.kind === 'answer') {
        // Assigned, not returned: Middy takes a returned `undefined` for no answer.
        request.earlyResponse = begun.answer;
        return;
      }
      request.event = begun.event;
      request.context = begun.context;
      const call = new GuardedCall(request, begun.run);
      Object.defineProperty(request, ourCall, { value: call, configurable: true });
    };
  // Neither of these may return a value: Middy would take it for an early answer.
  async function after(request: MiddyRequest): Promise<void> {
    await callOf(request)?.ended();
  }
  async function onError(request: MiddyRequest): Promise<void> {
    // Middy also calls this for requests that we did not take to the handler, and for those that are settled.
    await callOf(request)?.failed();
    callOf(request)?.completeAnswer();
  }

  // `use()` reads all three members once for each chain. So each chain that shares this object becomes a guard of its own.
  // A caller who reads the members one by one, without `use()`, gets one guard for all its calls.
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
 * How far the call has come, judged by how Middy uses the request.
 *
 * ```text
 *   waiting ──called──▶ running ──response assigned──▶ returned ──┐ response assigned:
 *      │                   │                            │   ▲─────┘ what an inner `after` made of it
 *      │ error assigned    │ error assigned             │ error assigned
 *      ▼                   ▼                            ▼
 *   thrown              thrown                       thrown
 *   after waiting       after running                after returned
 * ```
 */
type Progress =
  | { readonly at: 'waiting' }
  /** Middy has called the handler, as far as can be told. */
  | { readonly at: 'running' }
  | { readonly at: 'returned'; readonly result: unknown }
  | { readonly at: 'thrown'; readonly error: unknown; readonly after: Progress };

/** One call on its way through the other middlewares. Decides, for each way that it can end, what the engine is told. */
class GuardedCall implements Watcher {
  readonly #request: MiddyRequest;
  readonly #run: Run;
  #progress: Progress = { at: 'waiting' };
  /** The progress before the latest assignment to `response`. */
  #before: Progress = this.#progress;
  #isSettled = false;

  constructor(request: MiddyRequest, run: Run) {
    this.#request = request;
    this.#run = run;
    watchRequest(request, this);
  }

  onCall(): void {
    if (this.#progress.at !== 'waiting') return;
    this.#progress = { at: 'running' };
    this.#run.called?.();
  }

  onResponse(result: unknown, isEarly: boolean): void {
    this.#before = this.#progress;
    const isHandlers = this.#progress.at === 'running' || this.#progress.at === 'returned';
    if (isHandlers && !isEarly) this.#progress = { at: 'returned', result };
  }

  onError(error: unknown): void {
    // Middy resets `response` directly before it assigns `error`. That assignment was not the handler's.
    if (this.#progress.at !== 'thrown') this.#progress = { at: 'thrown', error, after: this.#before };
  }

  get isSettled(): boolean {
    return this.#isSettled;
  }

  /** No middleware threw. Stores the final answer, with everything that inner middlewares added. */
  async ended(): Promise<void> {
    if (this.#isSettled) return;
    this.#isSettled = true;
    const answer = this.#request.response;
    const final = await this.#run.returned(answer);
    if (final !== answer) this.#request.response = final;
  }

  async failed(): Promise<void> {
    if (this.#isSettled) return;
    this.#isSettled = true;
    const { error, after } = this.#failure();
    switch (after.at) {
      case 'returned':
        // The handler returned, but a later middleware threw. Complete the operation, so that it never runs again.
        await this.#run.returnedInVain(after.result);
        return this.#leave(error, afterActing(error));
      case 'waiting':
      case 'running':
      case 'thrown': {
        const ended = await this.#run.threw(error);
        if (ended.kind === 'answer') this.#request.response = ended.answer;
        // If a `before` threw, the handler has done nothing, and the error may say so.
        else if (after.at !== 'waiting') this.#leave(error, ended.error);
      }
    }
  }

  /** An inner `onError` may have made an answer of the error. A batch adds its failures to it. */
  completeAnswer(): void {
    const { response } = this.#request;
    if (response !== undefined && this.#run.completed) this.#request.response = this.#run.completed(response);
  }

  /** A middleware has ended the chain with an answer of its own. Resolves to what Middy must answer. */
  async settleEarly(): Promise<unknown> {
    const { earlyResponse } = this.#request;
    const answer = () => (this.#run.completed ? this.#run.completed(earlyResponse) : earlyResponse);
    switch (this.#progress.at) {
      case 'thrown':
        await this.failed();
        // Where an `onError` answers with `undefined`, Middy throws the error. It cannot see that behind our promise.
        if (earlyResponse === undefined) throw this.#request.error;
        return answer();
      case 'returned':
        this.#isSettled = true;
        return this.#run.returned(earlyResponse);
      case 'waiting':
      case 'running':
        this.#isSettled = true;
        // A `before` answered, so the handler did not run. Release the claim: a corrected request may use the key.
        await this.#run.threw(undefined);
        return answer();
    }
  }

  #failure(): { readonly error: unknown; readonly after: Progress } {
    const progress = this.#progress;
    return progress.at === 'thrown' ? progress : { error: undefined, after: progress };
  }

  /** Puts `error` in the place of `thrown`, so that Middy throws it. If another middleware has replaced `thrown`, that stays. */
  #leave(thrown: unknown, error: unknown): void {
    if (error !== thrown && this.#request.error === thrown) this.#request.error = error;
  }
}
