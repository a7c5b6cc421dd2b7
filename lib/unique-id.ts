import { randomUUID } from 'node:crypto';

/**
 * A random UUID, drawn when it is asked for. By default Node draws many at once and keeps them. Processes restored from one
 * snapshot would then use the same ids, and two attempts with one owner would take each other's claim for their own.
 * Drawing each one costs about 1.5 microseconds more.
 */
export const uniqueId = (): string => randomUUID({ disableEntropyCache: true });
