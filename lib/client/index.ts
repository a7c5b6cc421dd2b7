/**
 * The caller's side: new keys, and a `fetch` that retries with one key.
 * This room decides when a request is sent again. It holds no code of Node or AWS, and runs in browsers.
 */
export { newIdempotencyKey } from './new-key.ts';
export type { Retry, RetryClock, RetryingFetchOptions } from './options.ts';
export { retryingFetch } from './retrying-fetch.ts';
export { RequestTimeoutError } from './timeout-error.ts';
