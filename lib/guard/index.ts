/**
 * The front doors: the wrapper and the middleware for Middy, and the options as users write them. It takes a call to the handler, or
 * answers instead of it, and reports how the handler ended. It re-implements nothing of the protocol.
 */
export { type Answer, type GuardedHandler, idempotent, type SubjectOf } from './idempotent.ts';
export type { IdempotentMiddleware, MiddyRequest } from './middy.ts';
export { type OpenApiFragment, openApi } from './openapi.ts';
export type { HttpOptions, IdempotentOptions } from './options.ts';
