import type { Guard, Run } from '../engine/index.ts';
import { afterActing } from '../errors.ts';
import { begin } from './begin.ts';
import type { GuardSettings } from './options.ts';
import { type MiddyRequest, watchRequest } from './watched-request.ts';

export type { MiddyRequest } from './watched-request.ts';

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
  const calls = new WeakMap<object, GuardedCall>();

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
      calls.set(request, new GuardedCall(request, begun.run));
    };
  // Middy reads a returned value as an early answer, so neither of these may return one.
  async function after(request: MiddyRequest): Promise<void> {
    await calls.get(request)?.ended();
  }
  async function onError(request: MiddyRequest): Promise<void> {
    // Middy calls every onError, also for a request whose claim we did not win or have settled already.
    await calls.get(request)?.failed();
    calls.get(request)?.completeAnswer();
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
 * How far the handler has come, as Middy's use of the request tells.
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
  /** The handler may have been called. */
  | { readonly at: 'running' }
  | { readonly at: 'returned'; readonly result: unknown }
  | { readonly at: 'thrown'; readonly error: unknown; readonly after: Progress };

/** A call on its way through the other middlewares, up to the end of its claim: what each of their ends is reported as. */
class GuardedCall {
  readonly #request: MiddyRequest;
  readonly #run: Run;
  #progress: Progress = { at: 'waiting' };
  /** Before the latest assignment to `response`. */
  #before: Progress = this.#progress;
  #isSettled = false;

  constructor(request: MiddyRequest, run: Run) {
    this.#request = request;
    this.#run = run;
    watchRequest(request, {
      called: () => {
        if (this.#progress.at === 'waiting') this.#progress = { at: 'running' };
      },
      responded: (result, isEarly) => {
        this.#before = this.#progress;
        const isHandlers = this.#progress.at === 'running' || this.#progress.at === 'returned';
        if (isHandlers && !isEarly) this.#progress = { at: 'returned', result };
      },
      failed: (error) => {
        // Middy resets `response` just before: that assignment was not the handler's.
        if (this.#progress.at !== 'thrown') this.#progress = { at: 'thrown', error, after: this.#before };
      },
      isSettled: () => this.#isSettled,
      settleEarly: () => this.#endedEarly(),
    });
  }

  /** All went well: stores the final answer, with everything that inner middlewares added. */
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
        // A middleware threw on the way out: what was done must not be done again.
        await this.#run.returnedInVain(after.result);
        return this.#leave(error, afterActing(error));
      case 'waiting':
      case 'running':
      case 'thrown': {
        const ended = await this.#run.threw(error);
        if (ended.kind === 'answer') this.#request.response = ended.answer;
        // Where a `before` threw, the handler has done nothing.
        else if (after.at !== 'waiting') this.#leave(error, ended.error);
      }
    }
  }

  /** An inner `onError` has made an answer of the error. */
  completeAnswer(): void {
    const { response } = this.#request;
    if (response !== undefined && this.#run.completed) this.#request.response = this.#run.completed(response);
  }

  /** A middleware has ended the chain with an answer of its own: resolves to what Middy is to answer. */
  async #endedEarly(): Promise<unknown> {
    const { earlyResponse } = this.#request;
    const answer = () => (this.#run.completed ? this.#run.completed(earlyResponse) : earlyResponse);
    switch (this.#progress.at) {
      case 'thrown':
        await this.failed();
        // An `onError` cannot answer with `undefined`: Middy throws the error then, and would take our promise for an answer.
        if (earlyResponse === undefined) throw this.#request.error;
        return answer();
      case 'returned':
        this.#isSettled = true;
        return this.#run.returned(earlyResponse);
      case 'waiting':
      case 'running':
        this.#isSettled = true;
        // A `before` answered, so the handler has not run: the key stays free for a corrected request.
        await this.#run.threw(undefined);
        return answer();
    }
  }

  #failure(): { readonly error: unknown; readonly after: Progress } {
    const progress = this.#progress;
    return progress.at === 'thrown' ? progress : { error: undefined, after: progress };
  }

  /** Middy throws what is in `error`, unless a later `onError` answers. What another middleware made of it stays. */
  #leave(thrown: unknown, error: unknown): void {
    if (error !== thrown && this.#request.error === thrown) this.#request.error = error;
  }
}
