import { createHash, randomUUID } from 'node:crypto';
import type { Context } from 'aws-lambda';
import { IdempotencyError } from './errors.ts';
import type { Attempt } from './operation.ts';

/** The operation that a handler is working on: `context.idempotency`, or `operation(context)`. */
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
   * @throws `OVERTAKEN` once the lease is over, `NOT_GUARDED` once the operation has been settled.
   */
  token(name: string): string;
}

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
    );
  }
  const found = (context as { idempotency?: Operation } | null | undefined)?.idempotency;
  if (typeof found === 'object' && found !== null && brand in found) return found;
  throw new IdempotencyError(
    'NOT_GUARDED',
    'No operation in this context: the handler is not guarded. Put `.use(idempotent())` first, or wrap it as `idempotent(handler)`, and pass on the context that the handler was given.',
  );
}

function operationOfRecord(context: unknown, record: unknown): Operation {
  const found = batchOf(context)?.operationOf(record);
  if (found) return found;
  throw new IdempotencyError(
    'NOT_GUARDED',
    'No operation for this record in this context: the batch handler is not guarded, or the record is not one that it was given. Put `.use(idempotent())` first, or wrap the batch handler as `idempotent(handler)`, and pass on context and record as they came.',
  );
}

/**
 * A copy of `context` that carries `operation`. A copy, because nested guards and concurrent calls may share one
 * context; with accessors and prototype, because Lambda's `callbackWaitsForEmptyEventLoop` is an accessor.
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
  const copy = Object.create(Object.getPrototypeOf(from), Object.getOwnPropertyDescriptors(from));
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

// Classes, so that a logged context shows no key: it is behind a private field.

export class GuardedOperation implements Operation {
  readonly [brand] = true;
  readonly guarded = true;
  readonly #attempt: Attempt;
  readonly #identity: { readonly key: string; readonly scope: string };
  #lease: { readonly controller: AbortController; readonly timer: NodeJS.Timeout | undefined } | undefined;

  constructor(attempt: Attempt, identity: { readonly key: string; readonly scope: string }) {
    this.#attempt = attempt;
    this.#identity = identity;
  }

  get key(): string {
    return this.#identity.key;
  }

  get scope(): string {
    return this.#identity.scope;
  }

  get attempt(): number {
    return this.#attempt.number;
  }

  get expiresAt(): Date {
    return new Date(this.#attempt.endsAtMs);
  }

  get signal(): AbortSignal {
    if (!this.#lease) {
      const controller = new AbortController();
      const abort = () => controller.abort(leaseIsOver());
      const { leaseLeftMs } = this.#attempt;
      const timer = leaseLeftMs > 0 ? setTimeout(abort, Math.min(leaseLeftMs, 2 ** 31 - 1)) : undefined;
      timer?.unref();
      if (timer === undefined) abort();
      this.#lease = { controller, timer };
    }
    return this.#lease.controller.signal;
  }

  token(name: string): string {
    if (this.#attempt.settled) {
      throw new IdempotencyError(
        'NOT_GUARDED',
        'This operation has been settled: its handler has already returned. Await everything before returning.',
        { effect: 'possible' },
      );
    }
    if (this.#attempt.leaseLeftMs <= 0) throw leaseIsOver();
    this.#attempt.begun = true;
    return tokenOf(this.#attempt.pk, this.#attempt.window, name);
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

export class UnguardedOperation implements Operation {
  readonly [brand] = true;
  readonly guarded = false;
  readonly key = '';
  readonly scope = '';
  readonly attempt = 1;
  readonly expiresAt = new Date(0);
  readonly signal: AbortSignal = new AbortController().signal;
  readonly #window = randomUUID();

  token(name: string): string {
    return tokenOf('', this.#window, name);
  }
}

const leaseIsOver = (): IdempotencyError =>
  new IdempotencyError(
    'OVERTAKEN',
    'The lease of this attempt is over: another attempt may be running. What was begun may have happened.',
    { effect: 'possible' },
  );

/** @see https://www.rfc-editor.org/rfc/rfc9562#section-5.8 version 8: bits of the application's own making */
function tokenOf(pk: string, window: string, name: string): string {
  const hash = createHash('sha256')
    .update(JSON.stringify([pk, window, name]))
    .digest();
  hash[6] = ((hash[6] ?? 0) & 0x0f) | 0x80;
  hash[8] = ((hash[8] ?? 0) & 0x3f) | 0x80;
  const hex = hash.toString('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20, 32)].join(
    '-',
  );
}
