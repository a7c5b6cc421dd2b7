// biome-ignore-all lint/suspicious/noExplicitAny: a handler's event, answer and further arguments have whatever types it gives them
import { IdempotencyError, show } from '../errors.ts';
import { isFunction } from '../validate.ts';
import { take } from './take.ts';

/**
 * Lets a batch handler of your own run inside a guard: it is given only the records that are to be processed, and its
 * `batchItemFailures` are reported together with those of records that are busy elsewhere. The records that it does not report are
 * completed when it returns. Where every record was done before, it is not called.
 *
 * `operation(context, record)` is the operation of one of them. Outside a guard the handler is called with everything.
 *
 * For a handler of single records there is {@link eachRecord}, which settles each one as soon as it is done, and keeps the
 * order of groups.
 *
 * @example
 * export const handler = idempotent(freshRecords(async (event: SQSEvent) => { … }));
 *
 * @throws `BAD_OPTION` at once, for what is no function
 */
export function freshRecords<Handler extends (event: any, context: any, ...rest: any[]) => any>(
  handler: Handler,
): (...args: Parameters<Handler>) => Promise<Awaited<ReturnType<Handler>>> {
  if (!isFunction(handler)) {
    throw new IdempotencyError(
      'BAD_OPTION',
      `Expected a batch handler, got ${show(handler)}. Call freshRecords(async (event, context) => { … }).`,
    );
  }
  const fresh = async (event: object, context: unknown, ...rest: unknown[]): Promise<unknown> => {
    const taken = await take('freshRecords', event, context);
    if (!taken) return handler(event, context, ...rest);
    const { guarded, records } = taken;
    return records.length === 0 ? undefined : handler(guarded.batch.only(event, records), context, ...rest);
  };
  return fresh as unknown as (...args: Parameters<Handler>) => Promise<Awaited<ReturnType<Handler>>>;
}
