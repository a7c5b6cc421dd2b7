export type { AlarmOptions } from './alarms.ts';
export {
  FifoIngest,
  type FifoIngestProps,
  type FunctionIngestProps,
  type HttpApiIngestProps,
  type RestApiIngestProps,
} from './fifo-ingest.ts';
export { IdempotencyDashboard, type IdempotencyDashboardProps } from './idempotency-dashboard.ts';
export {
  IdempotencyTable,
  type IdempotencyTableAttributes,
  type IdempotencyTableProps,
  type IIdempotencyTable,
  type ProtectOptions,
} from './idempotency-table.ts';
export { IdempotentFunction, type IdempotentFunctionProps } from './idempotent-function.ts';
export { IdempotentQueue, type IdempotentQueueProps, type RuleTargetOptions } from './idempotent-queue.ts';
export { OutboxPipe, type OutboxPipeProps } from './outbox-pipe.ts';
export type { FromQueueArnOptions, IIdempotentQueue } from './queue-base.ts';
export type { IdempotencyTableGrants } from './table-grants.ts';
export type { GuardedFunction } from './targets.ts';
