export {
  newIdempotencyKey,
  RequestTimeoutError,
  type Retry,
  type RetryClock,
  type RetryingFetchOptions,
  retryingFetch,
} from './client/index.ts';
export { IdempotencyError, type IdempotencyErrorCode } from './errors.ts';
