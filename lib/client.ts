/** What callers import, in browsers too, as `idemkit/client`. */
export {
  newIdempotencyKey,
  RequestTimeoutError,
  type Retry,
  type RetryClock,
  type RetryingFetchOptions,
  retryingFetch,
} from './client/index.ts';
// The one name of two entries: a browser that tells errors apart must not load the main one.
export { IdempotencyError, type IdempotencyErrorCode } from './errors.ts';
