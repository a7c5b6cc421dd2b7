import type { Context } from 'aws-lambda';
import { afterActing, IdempotencyError } from '../errors.ts';
import { uniqueId } from '../unique-id.ts';
import { checkKnown } from '../validate.ts';
import { leaseIsOver } from './refusals.ts';
import { checkTokenName, tokenOf } from './token.ts';
import type { AtomicWork } from './transact.ts';
import type { Work } from './work.ts';

/** The operation that a handler is working on: `operation(context)`, in a wrapped handler also `context.idempotency`. */
export interface Operation {
  /** `false` when nothing guards this call: everything works, without a record. */
  readonly guarded: boolean;
  /** The key as it was read; several parts are joined by `#`. Empty if unguarded. May be personal data. */
  readonly key: string;
  /** Namespace and tenant that the key belongs to. Empty if unguarded. */
  readonly scope: string;
  /** Which attempt this is, from 1. */
  readonly attempt: number;
  /** Until when this operation's key cannot be used for another, as of now; completing extends it. */
  readonly expiresAt: Date;
  /** Aborts when the lease is over: whatever is begun after that may be done twice. */
  readonly signal: AbortSignal;
  /**
   * A UUID-shaped token to send downstream (`ClientToken`, `Idempotency-Key`, `PayPal-Request-Id`): the same in every
   * attempt of this operation, another one for each `name`. Unguarded, it is the same within one call.
   *
   * @throws `OVERTAKEN` once the lease is over, `NOT_GUARDED` once the operation has been settled, `BAD_STEP` for a name that is
   * missing or blank.
   */
  token(name: string): string;
  /**
   * Runs `fn` once in this operation: a later attempt gets the value that was recorded, as a copy. One that is interrupted
   * is repeated with the same `token`, so send that downstream. With `atMostOnce` it is never repeated: an interrupted one fails
   * with `INDETERMINATE`, for somebody to look into; for a downstream that knows no tokens.
   *
   * @param name the same in every attempt, another one for each step; 1 to 255 characters
   * @throws what `fn` throws; `BAD_STEP`, `OVERTAKEN`, `INDETERMINATE`, `RESULT_UNAVAILABLE` (done before, value not kept),
   * `STORE_UNAVAILABLE`
   */
  step<T>(
    name: string,
    fn: (step: { readonly token: string }) => Promise<T> | T,
    options?: StepOptions,
  ): Promise<T>;
  /**
   * An atomic step: its writes, its messages and its record are one DynamoDB transaction, at most 100 items and 4 MB.
   * Resolves to `value`; a later attempt gets the recorded one and writes nothing.
   *
   * @throws `COMMIT_REJECTED` with the items that conditions met, when nothing was written; `OUTCOME_UNKNOWN`; `BAD_WRITES`,
   * `BAD_STEP`, `OVERTAKEN`, `STORE_UNAVAILABLE`
   */
  transaction<T = undefined>(name: string, work: AtomicWork & { readonly value?: T }): Promise<T>;
  /**
   * The atomic end: writes, messages and the operation's completion with `result` happen at once or not at all, under every
   * crash, retry, lost answer and overtaken lease. Return `result`, or over HTTP what becomes of it; nothing can be begun
   * after it.
   *
   * @returns `result`
   * @throws `COMMIT_REJECTED` with the items that conditions met: nothing was written, and the handler may still answer, or
   * commit something else; `OUTCOME_UNKNOWN`; `BAD_WRITES`, `BAD_STEP`, `OVERTAKEN`, `STORE_UNAVAILABLE`
   */
  commit<R>(work: AtomicWork & { readonly result: R }): Promise<R>;
}

export interface StepOptions {
  /**
   * Never repeats the step, for a downstream that knows no tokens: one that was interrupted fails with `INDETERMINATE`, for somebody
   * to look into.
   *
   * @default false
   */
  readonly atMostOnce?: boolean;
}

const stepOptionNames: readonly (keyof StepOptions)[] = ['atMostOnce'];

/** A Lambda context with the operation in it. */
export type IdempotentContext = Context & { readonly idempotency: Operation };

const brand = Symbol.for('idemkit.operation');

/** The operations of a batch's records. */
export interface BatchOperations {
  /** @param record as the event has it, or a copy */
  operationOf(record: unknown): Operation | undefined;
}

const batchBrand = Symbol.for('idemkit.batch');

/** The guarded batch that `context` belongs to. */
export function batchOf<Guarded extends BatchOperations>(context: unknown): Guarded | undefined {
  return (context as { [batchBrand]?: Guarded } | null | undefined)?.[batchBrand];
}

/**
 * The operation that `context` belongs to; in a batch, that of `record`.
 *
 * @throws `NOT_GUARDED` where no guard has seen this context, or where the record is none of its batch that are to be
 * processed.
 */
export function operation(context: unknown, record?: unknown): Operation {
  if (record !== undefined) return operationOfRecord(context, record);
  if (batchOf(context)) {
    throw new IdempotencyError(
      'NOT_GUARDED',
      'This is a batch, in which every record has an operation of its own: call operation(context, record).',
      asked,
    );
  }
  const found = (context as { idempotency?: Operation } | null | undefined)?.idempotency;
  if (typeof found === 'object' && found !== null && brand in found) return found;
  throw new IdempotencyError(
    'NOT_GUARDED',
    'No operation in this context: the handler is not guarded. Put `.use(idempotent())` first, or wrap it as `idempotent(handler)`, and pass on the context that the handler was given.',
    asked,
  );
}

/** It is a handler that asks, and what it did before nobody here has seen. */
const asked = { effect: 'possible' } as const;

function operationOfRecord(context: unknown, record: unknown): Operation {
  const found = batchOf(context)?.operationOf(record);
  if (found) return found;
  throw new IdempotencyError(
    'NOT_GUARDED',
    'No operation for this record in this context: the batch handler is not guarded, or the record is not one that it was given. Put `.use(idempotent())` first, or wrap the batch handler as `idempotent(handler)`, and pass on context and record as they came.',
    asked,
  );
}

/**
 * Another context with the members of `context`, which carries `operation`. Another one, because nested guards and concurrent
 * calls may share one context.
 */
export function withOperation(context: Context | undefined, operation: Operation): IdempotentContext {
  // Inside a batch it is the operation that counts, no longer the batch.
  return withHidden(context, { idempotency: operation, [batchBrand]: undefined }) as IdempotentContext;
}

/** The same for a batch. */
export function withBatch(context: Context | undefined, batch: BatchOperations): IdempotentContext {
  return withHidden(context, { [batchBrand]: batch }) as IdempotentContext;
}

function withHidden(
  context: Context | undefined,
  values: Readonly<Record<string | symbol, unknown>>,
): object {
  const from = context ?? {};
  const copy = isOfClass(from) ? viewOf(from) : copyOf(from);
  for (const name of Reflect.ownKeys(values)) {
    Object.defineProperty(copy, name, {
      value: values[name],
      enumerable: false,
      configurable: true,
      writable: true,
    });
  }
  return copy;
}

const isRoot = (prototype: object | null): boolean =>
  prototype === null || Object.getPrototypeOf(prototype) === null;

const isOfClass = (value: object): boolean => !isRoot(Object.getPrototypeOf(value));

/** With accessors, because Lambda's `callbackWaitsForEmptyEventLoop` is one. */
const copyOf = (from: object): object =>
  Object.create(Object.getPrototypeOf(from), Object.getOwnPropertyDescriptors(from));

/** Methods of a class may need its private fields, which no copy has: all that is read, set and called is the original's. */
function viewOf(from: object): object {
  const view = Object.create(Object.getPrototypeOf(from));
  for (let owner = from; !isRoot(owner); owner = Object.getPrototypeOf(owner)) {
    for (const name of Reflect.ownKeys(owner)) {
      if (name === 'constructor' || Object.hasOwn(view, name)) continue;
      const { value, enumerable } = Object.getOwnPropertyDescriptor(owner, name) ?? {};
      const method =
        owner !== from && typeof value === 'function'
          ? (...args: unknown[]) => Reflect.apply(value, from, args)
          : undefined;
      Object.defineProperty(view, name, {
        get: () => {
          const current: unknown = Reflect.get(from, name);
          // Unless another one was set since.
          return current === value && method ? method : current;
        },
        set: (next) => Reflect.set(from, name, next),
        configurable: true,
        enumerable: enumerable ?? false,
      });
    }
  }
  return view;
}

// Classes, so that a logged context shows no key: it is behind a private field.

export class GuardedOperation implements Operation {
  readonly [brand] = true;
  readonly guarded = true;
  readonly #work: Work;
  readonly #identity: { readonly key: string; readonly scope: string };
  #lease: { readonly controller: AbortController; readonly timer: NodeJS.Timeout | undefined } | undefined;

  constructor(work: Work, identity: { readonly key: string; readonly scope: string }) {
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

  /** @internal Tells a message of this operation from all others, also where the record is gone; counts as `token`. */
  queueIdentity(name: string): string[] {
    this.token(name);
    return [this.#work.attempt.pk, name];
  }

  /** @internal The handler has returned: nothing is left to abort. */
  end(): void {
    clearTimeout(this.#lease?.timer);
  }

  /** @internal Another attempt has the claim. */
  abort(): void {
    this.#lease?.controller.abort(leaseIsOver());
  }
}

/** Sends writes and messages without a record. */
type SendUnrecorded = (name: string, work: AtomicWork) => Promise<void>;

const nothingToSendWith: SendUnrecorded = async () => {
  throw new IdempotencyError(
    'NOT_GUARDED',
    'Writes and messages need the store of a guard, and there is none here. Put `.use(idempotent())` first, or wrap the handler as `idempotent(handler)`.',
  );
};

export class UnguardedOperation implements Operation {
  readonly [brand] = true;
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

  async transaction<T>(name: string, { value, ...work }: AtomicWork & { readonly value?: T }): Promise<T> {
    await this.#sendAny(name, work);
    return value as T;
  }

  async commit<R>({ result, ...work }: AtomicWork & { readonly result: R }): Promise<R> {
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
