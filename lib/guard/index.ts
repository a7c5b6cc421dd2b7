/**
 * The front doors: the wrapper, the Middy middleware, and the options as users write them.
 * This room decides whether a call reaches the handler, and tells the engine how the handler ended.
 * It never decides what a record means, and never writes one.
 */
export { type Answer, type GuardedHandler, idempotent, type SubjectOf } from './idempotent.ts';
export type { IdempotentMiddleware, MiddyRequest } from './middy.ts';
export { type OpenApiFragment, openApi } from './openapi.ts';
export type { HttpOptions, IdempotentOptions, SequencedOptions } from './options.ts';
