/**
 * The caller's side: new keys, a `fetch` that retries with one key, and a sender that numbers its messages.
 * This room decides when a request is sent again. It holds no code of Node or AWS, and runs in browsers.
 */
export { newIdempotencyKey } from './new-key.ts';
export { type NumberedSender, numberedSender } from './numbered-sender.ts';
export type { Retry, RetryClock, RetryingFetchOptions } from './options.ts';
export { type OverHttpOptions, overHttp } from './over-http.ts';
export { retryingFetch } from './retrying-fetch.ts';
export type {
  Delivery,
  NumberedMessage,
  NumberedSenderOptions,
  SenderEvent,
  SendOnce,
  Sent,
} from './sender-options.ts';
export { browserStorage, memoryStorage, type SenderStorage } from './sender-storage.ts';
export { type SequenceNumber, sequenceHeader } from './sequence-header.ts';
export { RequestTimeoutError } from './timeout-error.ts';
