/**
 * What an observer is told, and CloudWatch's metric format for it. It decides nothing.
 */
export { type EmfOptions, emf } from './emf.ts';
export type { IdempotencyEvent, Occurrence, UnguardedReason } from './events.ts';
