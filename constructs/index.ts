export type { AlarmOptions } from './alarms.ts';
export {
  IdempotencyTable,
  type IdempotencyTableProps,
  type IIdempotencyTable,
  type ProtectOptions,
} from './idempotency-table.ts';
export { IdempotentFunction, type IdempotentFunctionProps } from './idempotent-function.ts';
export { IdempotentQueue, type IdempotentQueueProps } from './idempotent-queue.ts';
export { IdempotencyTableGrants } from './table-grants.ts';
