import { carriedBy, carrying, type Execution, parts, type Settings } from '../engine/index.ts';
import { IdempotencyError } from '../errors.ts';
import { GuardedOperation } from './guarded-operation.ts';
import type { Operation } from './operation.ts';
import { transactUnrecorded } from './transact.ts';
import { UnguardedOperation } from './unguarded-operation.ts';

parts.carrying = carrying;

/** The operations of a batch's records. */
export interface BatchOperations {
  /** @param record as the event has it, or a copy */
  operationOf(record: unknown): Operation | undefined;
}

/** The guarded batch that `context` belongs to. */
function batchOf(context: unknown): BatchOperations | undefined {
  const carried = carriedBy(context);
  return carried?.kind === 'batch' ? (carried.batch as BatchOperations) : undefined;
}

/** The operation of a guarded execution. It is made once. */
export function guardedOperation(execution: Execution): GuardedOperation {
  execution.companion ??= new GuardedOperation(execution.progress, execution.identity);
  return execution.companion as GuardedOperation;
}

/** The operation of a call that its guard lets through unguarded. */
export const unguardedOperation = (settings: Settings): UnguardedOperation =>
  new UnguardedOperation((name, work) => transactUnrecorded(settings, name, work));

/**
 * The operation that `context` belongs to; in a batch, that of `record`.
 *
 * @throws `NOT_GUARDED` where no guard has seen this context, or where `record` is not one that the handler was given to
 * process.
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
  const carried = carriedBy(context);
  if (carried?.kind === 'guarded') return guardedOperation(carried.execution);
  if (carried?.kind === 'unguarded') {
    carried.operation ??= unguardedOperation(carried.settings);
    return carried.operation as Operation;
  }
  throw new IdempotencyError(
    'NOT_GUARDED',
    'No operation in this context: the handler is not guarded. Put `.use(idempotent())` first, or wrap it as `idempotent(handler)`, and pass on the context that the handler was given.',
    asked,
  );
}

/** The handler may have acted before it asked. */
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
