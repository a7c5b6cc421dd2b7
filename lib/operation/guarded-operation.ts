import { type Companion, leaseIsOver, type OperationIdentity, type Progress } from '../engine/index.ts';
import { checkKnown } from '../validate.ts';
import type { Operation, StepOptions } from './operation.ts';
import type { AtomicWork } from './transact.ts';
import { Work } from './work.ts';

const stepOptionNames: readonly (keyof StepOptions)[] = ['atMostOnce'];

/** The operation of a guarded handler. A class, because a private field keeps the key out of logs. */
export class GuardedOperation implements Operation, Companion {
  readonly guarded = true;
  readonly #work: Work;
  readonly #identity: OperationIdentity;
  #lease: { readonly controller: AbortController; readonly timer: NodeJS.Timeout | undefined } | undefined;

  constructor(progress: Progress, identity: OperationIdentity, work = new Work(progress)) {
    this.#work = work;
    this.#identity = identity;
  }

  get key(): string {
    return this.#identity.key;
  }

  get scope(): string {
    return this.#identity.scope;
  }

  get attempt(): number {
    return this.#work.attempt.number;
  }

  get expiresAt(): Date {
    return new Date(this.#work.attempt.endsAtMs);
  }

  get signal(): AbortSignal {
    if (!this.#lease) {
      const controller = new AbortController();
      const abort = () => controller.abort(leaseIsOver());
      const { leaseLeftMs } = this.#work.attempt;
      const timer = leaseLeftMs > 0 ? setTimeout(abort, Math.min(leaseLeftMs, 2 ** 31 - 1)) : undefined;
      timer?.unref();
      if (timer === undefined) abort();
      this.#lease = { controller, timer };
    }
    return this.#lease.controller.signal;
  }

  token(name: string): string {
    return this.#work.token(name);
  }

  step<T>(
    name: string,
    fn: (step: { token: string }) => Promise<T> | T,
    options: StepOptions = {},
  ): Promise<T> {
    checkKnown('', options, stepOptionNames, { renamed: { once: 'atMostOnce' } });
    return this.#work.step(name, fn, options.atMostOnce ?? false);
  }

  transaction<T>(name: string, work: AtomicWork & { readonly value?: T }): Promise<T> {
    return this.#work.transaction(name, work);
  }

  commit<R>(work: AtomicWork & { readonly result: R }): Promise<R> {
    return this.#work.commit(work);
  }

  /** @internal What no other operation's message has, even once the record is gone. Like `token`, it begins something. */
  queueIdentity(name: string): string[] {
    this.token(name);
    return [this.#work.attempt.pk, name];
  }

  close(): Promise<boolean> {
    return this.#work.close();
  }

  hasRaised(error: unknown): boolean {
    return this.#work.hasRaised(error);
  }

  /** The handler has returned: nothing is left to abort. */
  end(): void {
    clearTimeout(this.#lease?.timer);
  }

  /** Another attempt has the claim. */
  abort(): void {
    this.#lease?.controller.abort(leaseIsOver());
  }
}
