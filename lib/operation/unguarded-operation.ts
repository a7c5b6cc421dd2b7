import { afterActing, IdempotencyError } from '../errors.ts';
import { uniqueId } from '../unique-id.ts';
import type { Operation } from './operation.ts';
import { checkTokenName, tokenOf } from './token.ts';
import { type AtomicWork, checkWork } from './transact.ts';

/** Sends writes and messages without a record. */
type SendUnrecorded = (name: string, work: AtomicWork) => Promise<void>;

const nothingToSendWith: SendUnrecorded = async () => {
  throw new IdempotencyError(
    'NOT_GUARDED',
    'Writes and messages need the store of a guard, and there is none here. Put `.use(idempotent())` first, or wrap the handler as `idempotent(handler)`.',
  );
};

export class UnguardedOperation implements Operation {
  readonly guarded = false;
  readonly key = '';
  readonly scope = '';
  readonly attempt = 1;
  readonly expiresAt = new Date(0);
  readonly signal: AbortSignal = new AbortController().signal;
  readonly #window = uniqueId();
  readonly #send: SendUnrecorded;

  constructor(send: SendUnrecorded = nothingToSendWith) {
    this.#send = send;
  }

  token(name: string): string {
    checkTokenName(name);
    return tokenOf('', this.#window, name);
  }

  async step<T>(name: string, fn: (step: { token: string }) => Promise<T> | T): Promise<T> {
    return fn({ token: this.token(name) });
  }

  async transaction<T>(name: string, given: AtomicWork & { readonly value?: T }): Promise<T> {
    checkWork('transaction()', given, 'value');
    const { value, ...work } = given;
    await this.#sendAny(name, work);
    return value as T;
  }

  async commit<R>(given: AtomicWork & { readonly result: R }): Promise<R> {
    // `upTo`: of a lane that nothing guards.
    checkWork('commit()', given, 'result', 'upTo');
    const { result, ...work } = given;
    await this.#sendAny('commit', work);
    return result;
  }

  async #sendAny(name: string, work: AtomicWork): Promise<void> {
    if ((work.writes?.length ?? 0) + (work.messages?.length ?? 0) === 0) return;
    try {
      await this.#send(name, work);
    } catch (error) {
      throw afterActing(error);
    }
  }
}
