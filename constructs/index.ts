/**
 * What a CDK app imports: the table, functions, queues, routes, pipes and dashboard of idempotent handlers.
 * Constructs decide permissions, environments, numbers and alarms. They import nothing of `lib/` but the names in `record.ts`.
 */
export type { AlarmOptions } from './alarms.ts';
export { FifoIngest } from './fifo-ingest.ts';
export type { GuardedFunction } from './guarded-function.ts';
export { IdempotencyDashboard, type IdempotencyDashboardProps } from './idempotency-dashboard.ts';
export { IdempotencyTable, type IdempotencyTableProps } from './idempotency-table.ts';
export { IdempotentFunction, type IdempotentFunctionProps } from './idempotent-function.ts';
export { IdempotentQueue, type IdempotentQueueProps, type RuleTargetOptions } from './idempotent-queue.ts';
export { IdempotentStream } from './idempotent-stream.ts';
export type {
  FifoIngestProps,
  FunctionIngestProps,
  HttpApiIngestProps,
  RestApiIngestProps,
} from './ingest-props.ts';
export { OutboxPipe, type OutboxPipeProps } from './outbox-pipe.ts';
export type { FromQueueArnOptions, IIdempotentQueue } from './queue-base.ts';
export type { IdempotentStreamProps, KafkaClusterOptions, StreamOrTopic } from './stream-props.ts';
export type { IdempotencyTableAttributes, IIdempotencyTable, ProtectOptions } from './table-base.ts';
export type { IdempotencyTableGrants } from './table-grants.ts';
