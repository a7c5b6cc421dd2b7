// biome-ignore-all lint/suspicious/noExplicitAny: a handler's event, answer and further arguments have whatever types it gives them
import type { Context, MSKRecord } from 'aws-lambda';
import type { Guard } from '../engine/index.ts';
import { IdempotencyError, show } from '../errors.ts';
import type { SourceRecord } from '../events/index.ts';
import { kindOf } from '../validate.ts';
import { begin } from './begin.ts';
import { type IdempotentMiddleware, idempotentMiddleware } from './middy.ts';
import type { GuardOptions } from './options.ts';
import { type GuardSettings, resolveOptions } from './resolve-options.ts';

/**
 * What a guarded handler resolves to: the handler's own result.
 * For an HTTP event it may be a refusal instead, in the shape that the event source expects.
 *
 * The `void` in aws-lambda's `Handler` stands for its callback, which a guarded handler does not use.
 */
// biome-ignore lint/suspicious/noConfusingVoidType: aws-lambda has `void` in a union
export type Answer<Result> = void extends Result
  ? [Exclude<Result, void>] extends [never]
    ? Awaited<Result>
    : Awaited<Exclude<Result, void>>
  : Awaited<Result>;

/** What the options `key`, `tenant` and `fingerprint` are called with: the event, or each record of a batch. */
export type SubjectOf<Event> = Event extends { readonly Records: readonly (infer One extends SourceRecord)[] }
  ? One
  : Event extends {
        readonly records: { readonly [partition: string]: readonly (infer One extends MSKRecord)[] };
      }
    ? One
    : Event;

/** A guarded function. Only its first argument decides which operation a call belongs to. */
export type GuardedHandler<Event, Result> = (
  event: Event,
  context?: Context,
  ...rest: any[]
) => Promise<Answer<Result>>;

/**
 * Makes a handler safe to retry. Calls with the same key run it once, and all of them get the same answer.
 *
 * As a Middy middleware. Use it first, so that it stores the answer that all other middlewares have finished:
 *
 * @example
 * middy().use(idempotent()).handler(handler)
 *
 * As a wrapper around any async function, inside or outside Middy:
 *
 * @example
 * idempotent(handler, { key: (event) => event.orderId })
 *
 * @throws `BAD_OPTION` at once, for an option that is unknown or out of range.
 * @throws `UNSUPPORTED` at once, for a streaming handler.
 * @throws an {@link IdempotencyError} from a call that is refused; a refused HTTP request gets an answer that says so.
 */
export function idempotent<Event = any>(options?: GuardOptions<Event>): IdempotentMiddleware;
export function idempotent<Event, Result>(
  handler: (event: Event, context: Context, ...rest: any[]) => Result,
  options?: NoInfer<GuardOptions<SubjectOf<Event>>>,
): GuardedHandler<Event, Result>;
export function idempotent(
  first?: GuardOptions | ((...args: any[]) => unknown),
  second?: GuardOptions,
): IdempotentMiddleware | GuardedHandler<any, any> {
  if (typeof first === 'function') return wrap(first, resolveOptions(second));
  if (second !== undefined) {
    throw new IdempotencyError(
      'BAD_OPTION',
      `Expected a handler before the options, got ${show(first)}. Call idempotent(handler, options), or idempotent(options) for the middleware.`,
    );
  }
  return idempotentMiddleware(resolveOptions(first));
}

function wrap(handler: (...args: any[]) => unknown, settings: GuardSettings): GuardedHandler<any, any> {
  refuseStreaming(handler);
  const guard: Guard<GuardSettings> = { settings, subject: handler };
  // Its middlewares may read what its handler has not taken yet.
  const isMiddy = 'use' in handler && 'handler' in handler;
  async function guarded(this: unknown, event: unknown, context?: Context, ...rest: unknown[]): Promise<any> {
    refuseOtherThanContext(handler.name, context);
    const begun = await begin(guard, event, context);
    if (begun.kind === 'answer') return begun.answer;
    let result: unknown;
    try {
      if (!isMiddy) begun.run.called?.();
      result = await handler.call(this, begun.event, begun.context, ...rest);
    } catch (error) {
      const ended = await begun.run.threw(error);
      if (ended.kind === 'answer') return ended.answer;
      throw ended.error;
    }
    return await begun.run.returned(result);
  }
  return Object.defineProperty(guarded, 'name', { value: handler.name, configurable: true });
}

/** A second argument that is no context would not be part of the key: calls that differ only in it would be repeats. */
function refuseOtherThanContext(name: string, context: unknown): void {
  if (context === undefined || typeof context === 'object') return;
  throw new IdempotencyError(
    'UNSUPPORTED',
    `${name === '' ? 'A guarded function' : `\`${name}\``} was given ${kindOf(context)} as its second argument, which is Lambda's context. Only the first argument tells one operation from another: put everything into it, as one object.`,
  );
}

const streaming = Symbol.for('aws.lambda.runtime.handler.streaming');
const AsyncGeneratorFunction = Object.getPrototypeOf(async function* () {}).constructor as () => void;

function refuseStreaming(handler: object): void {
  const what =
    streaming in handler
      ? 'A streaming handler'
      : handler instanceof AsyncGeneratorFunction
        ? 'An async generator'
        : undefined;
  if (what === undefined) return;
  throw new IdempotencyError(
    'UNSUPPORTED',
    `${what} cannot be guarded: a stream that was sent cannot be replayed. Return a buffered answer, or guard the function that does the work and stream its result.`,
  );
}
