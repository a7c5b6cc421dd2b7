import { randomUUID } from 'node:crypto';

/**
 * Environments that Lambda starts from the code, and never restores from a snapshot.
 *
 * @see https://docs.aws.amazon.com/lambda/latest/dg/configuration-envvars.html
 */
const isStartedAnew = ['on-demand', 'provisioned-concurrency'].includes(
  process.env.AWS_LAMBDA_INITIALIZATION_TYPE ?? '',
);

/**
 * A random UUID. By default Node draws many at once and keeps them. Processes restored from one snapshot would then use the same
 * ids, and two attempts with one owner would take each other's claim for their own. So each id is drawn when it is asked for,
 * which costs about 3 microseconds more, unless Lambda says that this process is no copy of another.
 */
export const uniqueId = (): string => randomUUID({ disableEntropyCache: !isStartedAnew });
