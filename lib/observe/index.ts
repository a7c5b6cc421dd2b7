/**
 * The events that a guard's observer is told, and an observer that writes them as CloudWatch metrics.
 * This room says what an event holds. It never decides when there is one, and holds no key, payload or answer.
 */
export { type EmfOptions, emf } from './emf.ts';
export type { IdempotencyEvent, Occurrence, UnguardedReason } from './events.ts';
