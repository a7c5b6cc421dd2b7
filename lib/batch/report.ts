/** What the service of a batch is told when the batch is over. */
import { afterActing, IdempotencyError } from '../errors.ts';
import { type Batch, type BatchRecord, itemFailures, lowestOf } from '../events/index.ts';

export interface BatchFate {
  /** The records that the service must deliver again. */
  readonly comeAgain: readonly BatchRecord[];
  /** The errors of those that failed. The others were not started. */
  readonly errors: ReadonlyMap<BatchRecord, unknown>;
  /** The records that the handler was called with. */
  readonly started: ReadonlySet<BatchRecord>;
}

/**
 * @param handlersAnswer what the handler returned; its members other than `batchItemFailures` are kept
 * @throws for a service without partial failures: why it must deliver the batch again
 */
export function reportOf(batch: Batch, fate: BatchFate, handlersAnswer?: unknown): unknown {
  const again = new Set(fate.comeAgain.map(({ id }) => id));
  const ids = batch.records.map(({ id }) => id).filter((id) => again.has(id));
  switch (batch.report) {
    case 'each':
      return withFailures(handlersAnswer, ids);
    case 'lowest':
      return withFailures(handlersAnswer, lowestOf(ids));
    case 'throw':
      if (ids.length === 0) return handlersAnswer;
      throw fate.errors.size > 0
        ? failureOf(fate.errors, batch, fate.started)
        : notStarted(fate.started.size > 0);
  }
}

/** The error that fails the whole batch: the error of the only record that failed, or a `BATCH_FAILED` with all of them. */
function failureOf(
  failures: ReadonlyMap<BatchRecord, unknown>,
  { records }: Batch,
  started: ReadonlySet<BatchRecord>,
): unknown {
  const errors = [...failures.values()];
  const [failed] = failures.keys();
  // A handler may throw anything. A bare `undefined` could be taken for success, so it is wrapped.
  if (errors.length === 1 && errors[0] instanceof Error) return asOfBatch(errors[0], failed, started);
  return new IdempotencyError(
    'BATCH_FAILED',
    `Records failed: ${errors.length} of ${records.length}. Under a guard, the others do not run again with the batch.`,
    {
      cause: new AggregateError(errors, 'Records failed.'),
      effect: started.size > 0 ? 'possible' : 'none',
    },
  );
}

/** One record's error for the whole batch. Its `effect` is `'possible'` if the handler was called with any record. */
export function asOfBatch(
  error: unknown,
  failed: BatchRecord | undefined,
  started: ReadonlySet<BatchRecord>,
): unknown {
  if (started.size === 0 || !IdempotencyError.is(error)) return error;
  const isAlone = started.size === 1 && (failed === undefined || started.has(failed));
  return isAlone
    ? afterActing(error)
    : afterActing(error, `${error.message} Other records of the batch may have been processed.`);
}

function withFailures(answer: unknown, ids: readonly string[]): object {
  const rest = typeof answer === 'object' && answer !== null ? answer : {};
  return { ...rest, batchItemFailures: itemFailures(ids) };
}

const notStarted = (someWere: boolean): IdempotencyError =>
  new IdempotencyError(
    'NO_TIME_LEFT',
    'There was no time left to start all records of the batch. Those not started are delivered again.',
    { effect: someWere ? 'possible' : 'none', retryAfterSeconds: 1 },
  );
