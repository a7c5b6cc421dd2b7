/**
 * The other end: new keys, and a fetch that retries with one key. No AWS code; it runs in browsers.
 */
export {
  newIdempotencyKey,
  RequestTimeoutError,
  type Retry,
  type RetryClock,
  type RetryingFetchOptions,
  retryingFetch,
} from './retrying-fetch.ts';
