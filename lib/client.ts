/** What callers import, in browsers too, as `idemkit/client`. */
export {
  browserStorage,
  type Delivery,
  memoryStorage,
  type NumberedMessage,
  type NumberedSender,
  type NumberedSenderOptions,
  newIdempotencyKey,
  numberedSender,
  type OverHttpOptions,
  overHttp,
  RequestTimeoutError,
  type Retry,
  type RetryClock,
  type RetryingFetchOptions,
  retryingFetch,
  type SenderEvent,
  type SenderStorage,
  type SendOnce,
  type Sent,
  type SequenceNumber,
  sequenceHeader,
} from './client/index.ts';
// The one name of two entries: a browser that tells errors apart must not load the main one.
export { IdempotencyError, type IdempotencyErrorCode } from './errors.ts';
